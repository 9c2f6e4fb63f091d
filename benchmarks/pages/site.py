"""Hooks of MkDocs (mkdocs.yml): the navigation, README as the first page, links to source files.

The pages are written for people who read them in the repository, so that links may lead out of
docs/. Here README.md, CONTRIBUTING.md and CHANGELOG.md become pages, any other file that a page
links to is shown as source/FILE, and the links follow. This module imports nothing of ours: MkDocs
loads it by its path.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

__all__ = ["on_config", "on_files", "on_page_markdown", "on_post_page", "on_post_template"]

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
# Pages that are files of the root.
_OF_ROOT = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
    "NOTICE.md": "notice.md",
}
# The four parts; a page of docs/ that is named in none is a how-to guide.
_TUTORIALS = ("first_run.md", "tutorials/*.md")
_REFERENCE = (
    *("algorithms.md", "scorecard.md", "image_metrics.md", "keys.md"),
    *("reference/commands.md", "reference/public.md"),
)
_EXPLANATIONS = ("when.md", "known.md", "reading.md", "decisions/README.md")
_MEASURED = (
    *("speed.md", "serving_speed.md", "gpu.md", "rates.md", "random_games.md", "particles.md"),
    *("particles_gan.md", "sampled.md", "chaos.md", "reproduction.md"),
)
_HOW_TO = (
    *(
        "tour.md",
        "install.md",
        "your_own.md",
        "pictures.md",
        "images.md",
        "modern.md",
        "games.md",
        "mixtures.md",
    ),
    *("serving.md", "resuming.md", "sweep.md", "distribution.md"),
)
_SHIM = "https://unpkg.com/iframe-worker/shim"
_FENCE = re.compile(r"^(```|~~~).*?^\1[^\n]*$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(\]\()([^)\s#]+)((?:#[^)\s]*)?(?:\s+\"[^\"]*\")?\))")
_CODE = {".py": "python", ".toml": "toml", ".yml": "yaml", ".yaml": "yaml", ".json": "json"}


def on_config(config: Any) -> Any:
    """Builds the navigation from what is in docs/."""
    there = {p.relative_to(DOCS).as_posix() for p in DOCS.rglob("*.md")}
    used: set[str] = set()

    def take(*patterns: str) -> list[str]:
        found = []
        for pattern in patterns:
            names = sorted(
                n for n in there if Path(n).match(pattern) and n.count("/") == pattern.count("/")
            )
            found += [n for n in names if n not in used]
            used.update(names)
        return found

    tutorials = take(*_TUTORIALS)
    reference = take(*_REFERENCE)
    explanations = take(*_EXPLANATIONS)
    decisions = take("decisions/*.md")
    algorithms = take("algorithms/*.md")
    library = take("reference/*.md")
    measured = take(*_MEASURED)
    results = take("results/*.md", "results/*/*.md")
    how_to = take(*_HOW_TO)
    how_to += sorted(there - used)
    config.nav = [
        {"Home": "index.md"},
        {"Tutorials": tutorials},
        {"How-to": how_to},
        {"Reference": [*reference, {"Algorithms": algorithms}, {"Library": library}]},
        {
            "Explanations": [
                *explanations,
                {"Decisions": decisions},
                {"Measured": measured},
                {"Results": results},
                {"Contributing": "contributing.md"},
                {"Security": "security.md"},
                {"Licences": "notice.md"},
                {"Changelog": "changelog.md"},
            ]
        },
    ]
    return config


def on_files(files: Any, config: Any) -> Any:
    """Adds the files of the root, and those that pages link to."""
    for name, uri in _OF_ROOT.items():
        if (ROOT / name).is_file():
            text = (ROOT / name).read_text(encoding="utf-8")
            files.append(File.generated(config, uri, content=text))
    for path in sorted({p for p in _linked() if _uri_of(p).startswith("source/")}):
        uri = _uri_of(path)
        if path.suffix == ".ipynb":
            files.append(File.generated(config, uri, content=path.read_bytes()))
        else:
            page = File.generated(config, uri, content=_shown(path))
            page.inclusion = _not_in_nav()
            files.append(page)
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Turns links to files into links to their pages."""
    here = page.file.src_uri
    if here.startswith("source/"):
        return markdown
    base = _base_of(here)

    def follow(match: re.Match[str]) -> str:
        path = _target(base, match[2])
        if path is None:
            return match[0]
        uri = os.path.relpath(_uri_of(path), os.path.dirname(here) or ".")
        return f"{match[1]}{uri}{match[3]}"

    pieces, end = [], 0
    for fence in _FENCE.finditer(markdown):
        pieces += [_LINK.sub(follow, markdown[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join([*pieces, _LINK.sub(follow, markdown[end:])])


def on_post_page(output: str, page: Any, **_: Any) -> str:
    """Takes the script of the search from the site itself: it fetches nothing."""
    here = os.path.dirname(page.file.dest_uri) or "."
    return output.replace(_SHIM, os.path.relpath("assets/iframe-worker.js", here))


def on_post_template(output: str, **_: Any) -> str:
    """The same of the page that is shown for a lost one."""
    return output.replace(_SHIM, "assets/iframe-worker.js")


def _not_in_nav() -> Any:
    from mkdocs.structure.files import InclusionLevel

    return InclusionLevel.NOT_IN_NAV


def _base_of(uri: str) -> Path:
    """The folder that the links of a page start from."""
    return ROOT if uri in _OF_ROOT.values() else (DOCS / uri).parent


def _target(base: Path, link: str) -> Path | None:
    """The file or folder of ours that a link means; None for one that leads elsewhere."""
    if re.match(r"[a-z]+:", link):
        return None
    path = Path(os.path.normpath(base / link))
    return path if path.exists() and ROOT in path.parents else None


def _uri_of(path: Path) -> str:
    """Where a file is on the site."""
    name = path.relative_to(ROOT).as_posix()
    if name in _OF_ROOT:
        return _OF_ROOT[name]
    if DOCS in path.parents:
        return path.relative_to(DOCS).as_posix()
    return f"source/{name}" if path.suffix in (".ipynb", ".md") else f"source/{name}.md"


def _linked() -> Iterator[Path]:
    """What pages link to."""
    pages = [*DOCS.rglob("*.md"), *(ROOT / name for name in _OF_ROOT)]
    for page in (p for p in pages if p.is_file()):
        text = _FENCE.sub("", page.read_text(encoding="utf-8"))
        for match in _LINK.finditer(text):
            if path := _target(page.parent, match[2]):
                yield path


def _shown(path: Path) -> str:
    """A file, or the list of a folder, as a page."""
    name = path.relative_to(ROOT).as_posix()
    if path.is_dir():
        inside = sorted(p.name + "/" * p.is_dir() for p in path.iterdir() if p.name[0] not in "._")
        return "\n".join([f"# {name}/", "", *(f"- `{one}`" for one in inside)]) + "\n"
    if path.suffix == ".md":
        return path.read_text(encoding="utf-8")
    kind = _CODE.get(path.suffix, "text")
    return f"# {name}\n\n````{kind}\n{path.read_text(encoding='utf-8')}\n````\n"
