"""Blocks, pages, and Markdown as a page."""

from __future__ import annotations

import base64
import functools
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jinja2
import markdown
import markupsafe
from PIL import Image

__all__ = [
    "Block",
    "Code",
    "Details",
    "Figure",
    "Section",
    "Table",
    "Text",
    "from_markdown",
    "page",
]


class Text(NamedTuple):
    """Markdown of ours: no text of a user's goes in unescaped."""

    markdown: str
    kind: str = "text"

    @property
    def html(self) -> markupsafe.Markup:
        """What it becomes."""
        return markupsafe.Markup(markdown.markdown(self.markdown, extensions=["tables"]))


class Table(NamedTuple):
    """A table of texts; they are escaped.

    Attributes:
      head: the headings.
      rows: cells.
      caption: above it.
      note: below it.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    note: str = ""
    kind: str = "table"


class Figure(NamedTuple):
    """A picture: a file, or the bytes of a PNG. The caption is what is read in its place, too."""

    picture: Path | bytes
    caption: str
    kind: str = "figure"

    @property
    def data(self) -> str:
        """The address that holds the bytes: a film as it is, a PNG as WebP where that is less.

        WebP without loss: the same pixels in half the bytes of matplotlib's pictures.
        """
        picture, suffix = self.picture, "png"
        if isinstance(picture, Path):
            picture, suffix = picture.read_bytes(), "gif" if picture.suffix == ".gif" else suffix
        if suffix == "png" and len(smaller := _webp(picture)) < len(picture):
            picture, suffix = smaller, "webp"
        return f"data:image/{suffix};base64,{base64.b64encode(picture).decode()}"


def _webp(picture: bytes) -> bytes:
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(picture)) as image:
        image.save(buffer, "WEBP", lossless=True)
    return buffer.getvalue()


class Code(NamedTuple):
    """A text as it is: a command, a file."""

    text: str
    kind: str = "code"


class Details(NamedTuple):
    """Blocks that are opened by a click."""

    title: str
    blocks: Sequence[Text | Table | Figure | Code]
    kind: str = "details"


Block = Text | Table | Figure | Code | Details


class Section(NamedTuple):
    """A heading and what is below it."""

    title: str
    blocks: Sequence[Block]

    @property
    def anchor(self) -> str:
        """Its address in the page."""
        return re.sub(r"\W+", "-", self.title.lower()).strip("-")


@functools.cache
def _templates() -> jinja2.Environment:
    # Text of users (names of data sets, of classes) is escaped by itself.
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    return jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)


def page(title: str, head: Sequence[Block], sections: Sequence[Section]) -> str:
    """The page of blocks.

    Args:
      title: of the page.
      head: before the list of the sections.
      sections: each with a heading; those without blocks are left out.
    """
    some = [section for section in sections if section.blocks]
    body = _templates().get_template("blocks.html").render(title=title, head=head, sections=some)
    return _framed(title, markupsafe.Markup(body))


def from_markdown(text: str, folder: Path) -> str:
    """A report that is written in Markdown as one page.

    Args:
      text: Markdown, its title in the first line.
      folder: of the pictures.
    """
    body = markdown.markdown(text, extensions=["tables"])
    # What Markdown has no words for: captions, headings of columns, numbers that do not break.
    for pattern, replacement in (
        (r"<p><strong>(.*)</strong></p>\n<table>", r"<table><caption>\1</caption>"),
        (r"<table>", r'<div class="wide"><table>'),
        (r"</table>", r"</table></div>"),
        (r"<th>", r'<th scope="col">'),
        (r"<td>(?=.{,25}</td>)", r'<td class="short">'),
        (r"<p>(<img .*>)</p>\n<p><em>(.*)</em></p>", _FIGURE),
    ):
        body = re.sub(pattern, replacement, body)

    def inside(match: re.Match[str]) -> str:
        if not (folder / match[2]).is_file():
            return match[0]  # of what could not be drawn
        return f'{match[1]}src="{Figure(folder / match[2], "").data}"'

    body = re.sub(r'(?<=<img )(.*)src="([^"]*)"', inside, body)
    title = text.partition("\n")[0].removeprefix("# ")
    return _framed(title, markupsafe.Markup(body))


_FIGURE = r"<figure>\1<figcaption>\2</figcaption></figure>"


def _framed(title: str, body: markupsafe.Markup) -> str:
    return _templates().get_template("page.html").render(title=title, body=body) + "\n"
