"""Reports as one file: what goes in is inside, and nothing is fetched."""

import base64
import re

import pytest
from PIL import Image

from trainers.reports import html


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "a.png"
    Image.new("RGB", (3, 2)).save(path)
    return path


def test_a_page_holds_its_pictures_and_needs_no_other_file(picture):
    text = html.page(
        "title",
        [html.Text("Some **words**.")],
        [
            html.Section("One part", [html.Figure(picture, "what it shows")]),
            html.Section("Empty", []),
            html.Section("Two", [html.Details("more", [html.Code("x < 1")])]),
        ],
    )
    (data,) = re.findall(r'src="data:image/png;base64,([^"]+)"', text)
    assert base64.b64decode(data) == picture.read_bytes()
    assert 'alt="what it shows"' in text
    assert "<strong>words</strong>" in text
    assert 'href="#one-part"' in text
    assert '<section id="one-part">' in text
    assert "Empty" not in text
    assert "x &lt; 1" in text
    assert not re.search(r'(src|href)="(?!data:|#)', text)
    assert "<script" not in text


def test_names_of_users_are_text_and_no_markup(picture):
    evil = '<img src=x onerror="alert(1)">'
    blocks = [
        html.Table([evil], [[evil]], evil, evil),
        html.Figure(picture.read_bytes(), evil),
        html.Code(evil),
        html.Details(evil, []),
    ]
    text = html.page(evil, blocks, [html.Section(evil, blocks)])
    assert "<img src=x" not in text
    assert text.count("&lt;img src=x") >= 8


def test_a_film_is_a_gif(tmp_path):
    path = tmp_path / "film.gif"
    Image.new("RGB", (3, 2)).save(path)
    assert html.Figure(path, "").data.startswith("data:image/gif;base64,R0lG")


def test_markdown_becomes_a_page_with_captions_and_its_pictures(picture, tmp_path):
    text = (
        "# A & B\n\n**The table**\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n"
        "![shown](a.png)\n\n*shown*\n"
    )
    page = html.from_markdown(text, tmp_path)
    assert "<title>A &amp; B</title>" in page
    assert "<caption>The table</caption>" in page
    assert '<th scope="col">a</th>' in page
    assert "<figcaption>shown</figcaption>" in page
    assert "data:image/png;base64," in page
