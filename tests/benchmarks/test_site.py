"""The site: built strict, offline; pages with alternative texts and headings in order."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.pages.code import ROOT

pytest.importorskip("mkdocs", reason="the extra `docs` is not installed")
import itertools

from benchmarks.pages import site


def test_links_out_of_docs_lead_to_pages():
    assert site._uri_of(ROOT / "README.md") == "index.md"
    assert site._uri_of(ROOT / "docs/games.md") == "games.md"
    assert site._uri_of(ROOT / "configs/common.py") == "source/configs/common.py.md"
    assert site._target(ROOT / "docs", "../configs/common.py") == ROOT / "configs/common.py"
    assert site._target(ROOT / "docs", "../nothing.py") is None
    assert site._target(ROOT / "docs", "https://example.org") is None


def test_links_are_followed_outside_of_code_alone():
    class Page:
        class file:  # noqa: N801
            src_uri = "decisions/0001.md"

    text = "[a](../../configs/common.py#L3)\n```\n[a](../../configs/common.py)\n```\n"
    assert site.on_page_markdown(text, Page) == (
        "[a](../source/configs/common.py.md#L3)\n```\n[a](../../configs/common.py)\n```\n"
    )


def test_every_page_is_in_one_of_the_four_parts():
    class Config:
        nav = None

    parts = {name: pages for part in site.on_config(Config()).nav for name, pages in part.items()}
    assert list(parts) == ["Home", "Tutorials", "How-to", "Reference", "Explanations"]

    def leaves(node):
        if isinstance(node, str):
            return [node]
        nodes = node.values() if isinstance(node, dict) else node
        return [leaf for one in nodes for leaf in leaves(one)]

    found = leaves(parts)
    assert len(found) == len(set(found))
    there = {p.relative_to(ROOT / "docs").as_posix() for p in (ROOT / "docs").rglob("*.md")}
    assert there <= set(found)
    assert "tutorials/1_ten_lines.md" in leaves(parts["Tutorials"])
    assert "your_own.md" in leaves(parts["How-to"])


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The site, as `make docs` builds it."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", f"--site-dir={folder}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/bin:/bin", "NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    yield folder
    shutil.rmtree(folder)


def pages_of(folder: Path):
    """(name, its main part) of every page that is no source file."""
    for path in sorted(folder.rglob("*.html")):
        name = path.relative_to(folder).as_posix()
        if not name.startswith("source/") and "report.html" not in name:
            yield name, path.read_text()


@pytest.mark.slow
def test_the_site_is_strict_and_fetches_nothing(built):
    names = [name for name, _ in pages_of(built)]
    assert {"index.html", "algorithms/mirror_gan.html", "reference/public.html"} <= set(names)
    for name, text in pages_of(built):
        fetched = re.findall(r'(?:src|<link[^>]*href)="(https?:[^"]+)"', text)
        assert not fetched, (name, fetched)


@pytest.mark.slow
def test_pages_can_be_read_aloud(built):
    for name, text in pages_of(built):
        assert re.search(r'<html lang="en"', text), name
        assert "viewport" in text, name
        assert all("alt=" in tag for tag in re.findall(r"<img [^>]*>", text)), name
        main = text[text.find("<article") : text.find("</article>")]
        levels = [int(level) for level in re.findall(r"<h([1-6])[ >]", main)]
        if name != "404.html":
            assert levels.count(1) == 1, name
        assert all(b - a <= 1 for a, b in itertools.pairwise(levels)), (name, levels)
