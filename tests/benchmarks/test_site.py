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
from tests.export.serving import browser


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


# What a reader sees: a text's colour over all that lies behind it, against that, as WCAG 2 has it.
CONTRAST = r"""() => {
  const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const rgba = colour => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = (top, below) => [0, 1, 2].map(i => top[i] * top[3] + below[i] * (1 - top[3]));
  const linear = v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const light = c => 0.2126 * linear(c[0]) + 0.7152 * linear(c[1]) + 0.0722 * linear(c[2]);
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), found = [];
  let count = 0;
  while (texts.nextNode()) {
    const parent = texts.currentNode.parentElement, style = getComputedStyle(parent);
    const box = parent.getBoundingClientRect();
    if (!texts.currentNode.data.trim() || box.width < 2 || box.height < 2) continue;
    if (parent.closest(".md-search__output")) continue;  // shut
    if (!parent.checkVisibility({checkOpacity: true, checkVisibilityCSS: true})) continue;
    const chain = [];
    for (let node = parent; node; node = node.parentElement) chain.unshift(node);
    let behind = [255, 255, 255], opacity = 1;
    for (const node of chain) {
      behind = over(rgba(getComputedStyle(node).backgroundColor), behind);
      opacity *= getComputedStyle(node).opacity;
    }
    const ink = rgba(style.color);
    const [low, high] = [light(over([...ink.slice(0, 3), ink[3] * opacity], behind)), light(behind)]
      .sort((a, b) => a - b);
    const size = parseFloat(style.fontSize), bold = style.fontWeight >= 700;
    const needed = size >= 24 || (bold && size >= 18.66) ? 3 : 4.5;
    const ratio = (high + 0.05) / (low + 0.05);
    count += 1;
    if (ratio < needed) found.push([ratio.toFixed(2), parent.className, texts.currentNode.data]);
  }
  return [count, found.slice(0, 9)];
}"""
LOOKED_AT = (
    "index.html",
    "algorithms/mirror_gan.html",
    "reference/mixed_nash_gan.html",
    "tutorials/1_ten_lines.html",
    "results/study_narrow/report.html",
)


@pytest.mark.slow
@pytest.mark.skipif(bool(browser.missing()), reason=browser.missing() or "there is one")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_what_is_seen_has_contrast_and_fits_a_phone(built, scheme):
    with browser.launch(viewport={"width": 390, "height": 844}, color_scheme=scheme) as context:
        page, said = context.new_page(), []
        page.on("pageerror", lambda error: said.append(error.message))
        for name in LOOKED_AT:
            page.set_viewport_size({"width": 390, "height": 844})
            page.goto((built / name).as_uri())
            page.wait_for_timeout(300)
            wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
            assert page.evaluate(wide) == 0, name
            page.set_viewport_size({"width": 1280, "height": 900})
            page.wait_for_timeout(1_000)  # tabs fade in, one after the other
            count, poor = page.evaluate(CONTRAST)
            assert count > 20, name
            assert poor == [], name
        assert said == []


@pytest.mark.slow
def test_links_say_where_they_lead(built):
    """Out of their sentence, as a screen reader lists them."""
    for name, text in pages_of(built):
        main = text[text.find("<article") : text.find("</article>")]
        for tag, inside in re.findall(r"<a ([^>]*)>(.*?)</a>", main, re.DOTALL):
            words = re.sub(r"<[^>]+>", "", inside).strip()
            images = re.findall(r'alt="([^"]+)"', inside)
            assert words or images or "title=" in tag or "id=" in tag, (name, tag)
            assert words.lower() not in ("here", "click here", "link", "this", "more"), (name, tag)
