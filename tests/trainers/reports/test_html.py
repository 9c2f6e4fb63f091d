"""Reports as one file: what goes in is inside, and nothing is fetched."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from trainers.reports import html


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(
        np.arange(6_000, dtype=np.uint32).view(np.uint8).reshape(40, 150, 4)[..., :3]
    ).save(path)
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
    (data,) = re.findall(r'src="data:image/webp;base64,([^"]+)"', text)
    with Image.open(io.BytesIO(base64.b64decode(data))) as shown, Image.open(picture) as drawn:
        np.testing.assert_array_equal(np.asarray(shown), np.asarray(drawn))
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
    assert "data:image/webp;base64," in page


def _luminance(colour):
    """Of WCAG 2, relative, from #rgb or #rrggbb."""
    digits = colour.removeprefix("#")
    digits = "".join(d * 2 for d in digits) if len(digits) == 3 else digits
    parts = np.array([int(digits[i : i + 2], 16) for i in (0, 2, 4)]) / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def _contrast(one, other):
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_text_and_links_have_the_contrast_of_wcag_aa():
    """4.5 to 1, in the light and in the dark, on the page and on what code lies on."""
    assert _contrast("#000", "#ffffff") == pytest.approx(21)
    assert _contrast("#777", "#fff") == pytest.approx(4.48, abs=0.01)
    page = html.page("t", [], [])
    light, _, dark = page.partition("@media (prefers-color-scheme: dark)")
    for style in (light, dark):
        ink = re.search(r"body \{[^}]*?[^-]color: (#\w+)", style)[1]
        ground = re.search(r"body \{[^}]*background: (#\w+)", style)[1]
        code = re.search(r"pre \{[^}]*background: (#\w+)", style)[1]
        said = re.search(r"\.said \{[^}]*color: (#\w+)", style)[1]
        link = re.search(r"\ba \{ color: (#\w+)", style)[1]
        for text, behind in ((ink, ground), (ink, code), (said, ground), (link, ground)):
            assert _contrast(text, behind) >= 4.5, (text, behind)
