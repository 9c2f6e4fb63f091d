"""What texts say of the code: paths and module names in docs, docstrings and comments exist."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("benchmarks", "configs", "export", "tests", "tf_mixed_nash", "trainers")
# A changelog and the study's records tell of their own day.
TEXTS = [
    path
    for pattern in (
        "*.md",
        "docs/**/*.md",
        "Makefile",
        *(f"{p}/**/*.py" for p in PACKAGES if p != "tests"),
    )
    for path in sorted(ROOT.glob(pattern))
    if path.name != "CHANGELOG.md"
]
# Words in capitals (configs/NAME.py) stand for any name.
A_PATH = re.compile(rf"(?<![\w/.-])(?:{'|'.join(PACKAGES)})(?:/[a-z_0-9]+)+\.py\b")
A_MODULE = re.compile(
    rf"(?:`|-m |from |import )((?:{'|'.join(PACKAGES)})(?:\.[a-z]\w*)+(?:\.[A-Z]\w*[a-z]\w*)?)"
)


def attributes(path: Path) -> set[str]:
    """The names that a module or a package's face defines, imports or lists."""
    tree = ast.parse(path.read_text())
    names = {n.name for n in ast.walk(tree) if isinstance(n, (ast.FunctionDef, ast.ClassDef))}
    names |= {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)}
    names |= {
        a.asname or a.name for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) for a in n.names
    }
    return names | {
        n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)
    }


def exists(name: str) -> bool:
    """Whether package.module[.attribute[.attribute]] is there."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        folder = ROOT.joinpath(*parts[:length])
        module = folder.with_suffix(".py")
        rest = parts[length:]
        if module.is_file() or folder.is_dir():
            home = module if module.is_file() else folder / "__init__.py"
            return not rest or (home.is_file() and rest[0] in attributes(home))
    return False


A_LINK = re.compile(r"\]\(<?([^)\s>]+)>?(?: \"[^\"]*\")?\)")
CODE = re.compile(
    r"^(```|~~~).*?^\1|(?:^|(?<=\n\n))(?: {4}.*\n)+|`[^`\n]*`", re.DOTALL | re.MULTILINE
)
A_HEADING = re.compile(r"^#{1,6} +(.+?)(?: *\{#([\w-]+)\})? *$", re.MULTILINE)


def anchors(text: str) -> set[str]:
    """What the links to headings of a page may say, as GitHub and the site make it."""
    found = set()
    for title, own in A_HEADING.findall(text):
        plain = re.sub(r"[^\w\- ]", "", title.lower()).strip()
        found |= {own, plain.replace(" ", "-"), re.sub(r"[-\s]+", "-", plain)}
    return found


def lost_links(path: Path, text: str) -> list[str]:
    """The links of a page, outside of code, that lead to no file, or to no heading of one."""
    lost = []
    for link in A_LINK.findall(CODE.sub("", text)):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = path.parent / name if name else path
        if not target.exists():
            lost.append(link)
            continue
        there = text if target == path else target.read_text() if target.suffix == ".md" else None
        if anchor and there is not None and anchor not in anchors(there):
            lost.append(link)
    return lost


PAGES = [path for path in TEXTS if path.suffix == ".md"] + [ROOT / "CHANGELOG.md"]


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_links_lead_to_what_is_there(path):
    assert lost_links(path, path.read_text()) == []


def test_a_link_that_is_lost_is_found():
    page = "# A page\n[a](README.md) [b](docs/none.md) `[c](none)` [d](#a-page) [e](#b)\n"
    page += "\n    [f](none.py)\n\n```\n[g](none)\n```\n[h](https://example.org/none)\n"
    assert lost_links(ROOT / "README.md", page) == ["docs/none.md", "#b"]
    assert lost_links(ROOT / "docs/when.md", "[x](docs/when.md)") == ["docs/when.md"]


@pytest.mark.parametrize("path", TEXTS, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_paths_and_modules_in_texts_exist(path):
    text = path.read_text()
    lost = {p for p in A_PATH.findall(text) if not (ROOT / p).exists()}
    assert not lost
    lost = {m for m in A_MODULE.findall(text) if not exists(m)}
    assert not lost


def test_the_search_finds_what_is_lost():
    assert A_PATH.findall("see trainers/none.py and (tf_mixed_nash/methods/prox.py)") == [
        "trainers/none.py",
        "tf_mixed_nash/methods/prox.py",
    ]
    assert exists("tf_mixed_nash.methods.prox.Prox")
    assert exists("trainers.run")
    assert not exists("tf_mixed_nash.prox")
    assert not exists("tf_mixed_nash.methods.prox.Proxy")
