"""The page for people, in a headless Chromium."""

from __future__ import annotations

import base64
import json
import re
import shutil

import numpy as np
import pytest
import tensorflow as tf

from export.serving.config import ModelConfig
from export.serving.predictor import Limits
from export.serving.server import Settings
from tests.export.conftest import seed_array
from tests.export.serving import browser
from tests.export.serving.conftest import Running, settings

pytestmark = pytest.mark.skipif(bool(browser.missing()), reason=browser.missing())

# Every disc that is drawn on a canvas.
_RECORD_ARCS = """
window.arcs = [];
const arc = CanvasRenderingContext2D.prototype.arc;
CanvasRenderingContext2D.prototype.arc = function (x, y, ...rest) {
  window.arcs.push([x, y]);
  return arc.call(this, x, y, ...rest);
};
"""
_REDS = """() => {
  const canvas = document.getElementById("points");
  const { width, height } = canvas;
  const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
  return window.arcs.map(([x, y]) => {
    const i = 4 * (Math.floor(y) * width + Math.floor(x));
    return [data[i], data[i + 1], data[i + 2]];
  });
}"""
_IMAGES = """async () => {
  const images = [...document.querySelectorAll("#images img")];
  await Promise.all(images.map((image) => image.decode()));
  return images.map((image) => [image.src, image.naturalWidth, image.naturalHeight]);
}"""


class Visit:
    """The page of a server, and all that it asks for and complains of."""

    def __init__(self, context, origin: str):
        self.page = context.new_page()
        self.origin = origin
        self.urls: list[str] = []
        self.bodies: list[dict] = []  # of Predict
        self.complaints: list[str] = []
        self.page.on("request", self._note)
        self.page.on("console", lambda m: self.complaints.append(f"{m.type}: {m.text}"))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.add_init_script(_RECORD_ARCS)
        self.page.goto(f"{origin}/")

    def _note(self, request):
        self.urls.append(request.url)
        if request.method == "POST":
            self.bodies.append({"url": request.url, **json.loads(request.post_data)})

    def settled(self) -> str:
        """The status line, once the page has drawn or failed."""
        self.page.wait_for_function(
            """() => {
              const status = document.getElementById("status");
              return status.className === "error" || / drawn/.test(status.textContent);
            }""",
            timeout=30_000,
        )
        return self.page.inner_text("#status")

    def choose(self, **values) -> str:
        """Chooses in lists and fills fields, by id; the status line after the draw."""
        self.settled()
        for name, value in values.items():
            field = self.page.locator(f"#{name}")
            if field.evaluate("x => x.tagName") == "SELECT":
                field.select_option(str(value))
            else:
                field.fill(str(value))
        self.settled()  # a list that changes draws at once
        return self.draw()

    def draw(self) -> str:
        self.page.evaluate("window.arcs = []")
        self.bodies.clear()
        self.page.click("#draw")
        return self.settled()

    def images(self) -> list[bytes]:
        """The PNGs that are shown, each 28 pixels wide and high."""
        shown = self.page.evaluate(_IMAGES)
        assert self.page.is_visible("#images") == bool(shown)
        assert all(size == [28, 28] for _, *size in shown)
        prefix = "data:image/png;base64,"
        assert all(source.startswith(prefix) for source, *_ in shown)
        return [base64.b64decode(source.removeprefix(prefix)) for source, *_ in shown]

    def see_points(self, samples: np.ndarray) -> None:
        """Asserts that these points are drawn, x to the right and y up, in red."""
        assert self.page.is_visible("#points")
        assert not self.page.is_visible("#images")
        arcs = np.array(self.page.evaluate("window.arcs"))
        assert arcs.shape == samples.shape
        # One scale for both axes and a shift.
        flipped = samples.astype(np.float64) * [1, -1]
        centred, moved = flipped - flipped.mean(0), arcs - arcs.mean(0)
        scale = (centred * moved).sum() / (centred**2).sum()
        assert scale > 0
        np.testing.assert_allclose(moved, scale * centred, atol=1e-3)  # pixels
        inside = [(80 < x < 1020 and 10 < y < 980) for x, y in arcs]
        assert all(inside), "the window holds all of them"
        reds = np.array(self.page.evaluate(_REDS))
        # A cross of a mode, in black, may lie upon a point.
        assert np.mean((reds[:, 0] > 150) & (reds[:, 2] < 150)) > 0.9

    def open_card(self) -> None:
        self.page.click("#card summary")
        self.page.wait_for_function("() => document.getElementById('card-text').textContent")

    def options(self, name: str) -> list[str]:
        return self.page.locator(f"#{name} option").all_inner_texts()

    def close(self) -> None:
        self.page.close()
        own = (f"{self.origin}/", "data:", "blob:")
        assert [url for url in self.urls if not url.startswith(own)] == []
        assert self.complaints == []


@pytest.fixture(scope="module")
def context():
    with browser.launch() as context:
        # Nothing but loopback: what needs another host fails, and is seen in `complaints`.
        context.route(re.compile(r"^https?://(?!127\.0\.0\.1[:/])"), lambda route: route.abort())
        yield context


@pytest.fixture
def visit(context, running):
    visit = Visit(context, running.rest)
    yield visit
    visit.close()


def answer(signatures, model, version, signature, **inputs):
    (value,) = signatures[model, version][signature](
        **{name: tf.constant(x) for name, x in inputs.items()}
    ).values()
    return value.numpy()


def drawn(signatures, model, version, seeds):
    draw = signatures[model, version]["draw"](seeds=tf.constant(seeds))
    return {name: value.numpy() for name, value in draw.items()}


# What is shown.


def test_the_first_view_is_64_samples_of_seed_0_of_the_first_model(visit, signatures):
    assert re.fullmatch(r"64 drawn in \d+ ms", visit.settled())
    visit.see_points(answer(signatures, "points", 2, "sample", seeds=seed_array(0, 64)))
    assert visit.options("model") == ["points", "images"]
    assert visit.options("version") == ["2 (canary)", "1 (stable)"]
    about = visit.page.inner_text("#about")
    assert about == "points from gaussians8, by mirror_prox_gan; 1 generator"


@pytest.mark.parametrize(("seed", "count"), [(0, 64), (-3, 2), (2**53 - 1, 400)])
def test_points_are_those_of_seed_and_version(visit, signatures, seed, count):
    assert visit.choose(version=1, seed=seed, count=count).startswith(f"{count} drawn")
    visit.see_points(answer(signatures, "points", 1, "sample", seeds=seed_array(seed, count)))


def test_a_component_of_the_mixture(visit, signatures):
    weights = visit.choose(version=1, component=3, seed=4, count=30)
    assert weights.startswith("30 drawn")
    assert visit.options("component")[:2] == ["mixture", "0 (weight 0.300)"]
    latents = drawn(signatures, "points", 1, seed_array(4, 30))["latents"]
    components = np.full(30, 3)
    want = answer(
        signatures, "points", 1, "generate_component", latents=latents, components=components
    )
    visit.see_points(want)


@pytest.mark.parametrize("label", ["any", 2])
def test_images_are_the_bytes_of_the_saved_model(visit, signatures, label):
    status = visit.choose(model="images", seed=7, count=20, **{"class": label})
    assert status.startswith("20 drawn")
    assert not visit.page.is_visible("#points")
    seeds = seed_array(7, 20)
    if label == "any":
        want = answer(signatures, "images", 1, "sample_png", seeds=seeds)
    else:
        want = answer(
            signatures, "images", 1, "sample_class_png", seeds=seeds, labels=np.full(20, label)
        )
    assert visit.images() == list(want)
    assert visit.options("class") == ["any", "0", "1", "2", "3"]


def test_a_component_and_a_class_of_images(visit, signatures):
    visit.choose(model="images", component=1, seed=7, count=9, **{"class": 3})
    latents = drawn(signatures, "images", 1, seed_array(7, 9))["latents"]
    want = answer(
        signatures, "images", 1, "generate_component_png",
        latents=latents, components=np.full(9, 1), labels=np.full(9, 3),
    )  # fmt: skip
    assert visit.images() == list(want)


def slerp(a, b, t):
    angle = np.arccos(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))
    return (np.sin((1 - t) * angle) * a + np.sin(t * angle) * b) / np.sin(angle)


def test_a_path_between_two_samples(visit, signatures):
    values = {"model": "images", "mode": "interpolation", "seed": 5, "from": 2, "to": 6, "steps": 8}
    status = visit.choose(**values)
    ends = drawn(signatures, "images", 1, np.array([[5, 2], [5, 6]]))
    component, label = ends["components"][0], ends["labels"][0]
    assert status.startswith(f"8 drawn by component {component} in")
    first, last = ends["latents"].astype(np.float64)
    latents = np.stack([slerp(first, last, t) for t in np.linspace(0, 1, 8)]).astype(np.float32)
    asked = visit.bodies[-1]["inputs"]
    np.testing.assert_allclose(asked["latents"], latents, rtol=1e-5, atol=1e-6)
    assert asked["components"] == [component] * 8
    assert asked["labels"] == [label] * 8
    given = {
        "latents": np.float32(asked["latents"]),
        "components": np.full(8, component),
        "labels": np.full(8, label),
    }
    shown = visit.images()
    assert shown == list(answer(signatures, "images", 1, "generate_component_png", **given))
    # It begins at the sample itself.
    assert shown[0] == answer(signatures, "images", 1, "sample_png", seeds=np.array([[5, 2]]))[0]


def test_from_images_to_points_and_back(visit):
    visit.choose(model="images", count=3)
    assert len(visit.images()) == 3
    visit.choose(model="points")
    assert visit.page.is_visible("#points")
    assert not visit.page.is_visible("#images")
    assert not visit.page.is_visible("#class-label")
    visit.choose(model="images")
    assert len(visit.images()) == 3
    assert not visit.page.is_visible("#points")


def test_the_card(visit, models):
    visit.choose(version=1)
    text = (models / "points" / "1" / "README.md").read_text()
    visit.open_card()
    assert visit.page.locator("#card-text").text_content() == text
    visit.page.click("#card-link")
    visit.page.wait_for_url("**/card/points/1")
    assert visit.page.locator("pre").text_content() == text
    visit.page.goto(f"{visit.origin}/card/points/1/samples.png")
    assert visit.page.evaluate("document.images[0].naturalWidth") > 100


def test_the_command_for_a_shell_is_the_request(visit):
    visit.choose(seed=9, count=2)
    visit.page.locator("details").last.locator("summary").click()
    command = visit.page.inner_text("#curl")
    body = json.dumps({"signature_name": "sample", "inputs": {"seeds": [[9, 0], [9, 1]]}})
    url = f"{visit.origin}/v1/models/points/versions/2:predict"
    assert command == f"curl -d '{body}' {url}".replace(": ", ":").replace(", ", ",")


# What is refused, and what goes wrong.


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"count": "0"}, "Count must be a whole number from 1 to 1024."),
        ({"count": "1025"}, "Count must be a whole number from 1 to 1024."),
        ({"count": "2.5"}, "Count must be"),
        ({"count": ""}, "Count must be"),
        ({"seed": ""}, "Seed must be a whole number from -9007199254740991 to"),
        ({"seed": "9007199254740993"}, "Seed must be"),
        ({"mode": "interpolation", "steps": "1"}, "Steps must be a whole number from 2 to 1024."),
        ({"mode": "interpolation", "from": "-1"}, "From sample must be"),
    ],
)
def test_bad_input_is_a_message_and_no_request(visit, values, says):
    visit.settled()
    if mode := values.pop("mode", None):
        visit.choose(mode=mode)
    for name, value in values.items():
        visit.page.fill(f"#{name}", value)
    before = len(visit.urls)
    assert says in visit.draw()
    assert visit.page.get_attribute("#status", "class") == "error"
    assert len(visit.urls) == before
    for name in values:
        visit.page.fill(f"#{name}", "5")
    assert " drawn" in visit.draw()
    assert visit.page.get_attribute("#status", "class") == ""


def test_a_bad_count_does_not_hinder_a_path(visit):
    """The field is hidden then."""
    visit.settled()
    visit.page.fill("#count", "0")
    assert visit.choose(mode="interpolation").startswith("10 drawn")


def test_the_count_keeps_to_the_server_s_limit(context, models):
    with Running(settings(models, limits=Limits(rows=8))) as running:
        visit = Visit(context, running.rest)
        assert visit.settled().startswith("8 drawn")
        visit.page.fill("#count", "9")
        assert "from 1 to 8" in visit.draw()
        visit.close()


def test_the_token(context, models):
    token = "a-token-of-enough-characters"
    with Running(settings(models, token=token)) as running:
        visit = Visit(context, running.rest)
        visit.page.wait_for_selector("#token")
        assert visit.page.inner_text("#about") == "This server needs a token."
        assert visit.page.inner_text("#status") == ""
        visit.page.fill("#token", "another-token-that-is-wrong")
        assert visit.draw() == "The server does not know this token."
        visit.page.fill("#token", token)
        assert visit.draw().startswith("64 drawn")
        visit.open_card()
        text = (models / "points" / "2" / "README.md").read_text()
        assert visit.page.locator("#card-text").text_content() == text
        visit.page.click("#card-link")  # a link cannot bear the token: it leads to a copy
        visit.page.wait_for_url("blob:**")
        assert visit.page.locator("pre").text_content() == text
        assert token not in " ".join(visit.urls)
        # Chromium reports the two refusals itself.
        assert [c for c in visit.complaints if "401" not in c] == []
        assert len(visit.complaints) == 2
        visit.complaints.clear()
        visit.close()


def test_a_version_that_is_replaced_meanwhile(context, models, tmp_path):
    base = tmp_path / "points"
    shutil.copytree(models / "points" / "1", base / "1")
    only = Settings([ModelConfig("points", base)], poll_seconds=3600, access_log="")
    with Running(only) as running:
        visit = Visit(context, running.rest)
        visit.settled()
        assert visit.options("version") == ["1"]
        shutil.copytree(models / "points" / "2", tmp_path / "new")
        (tmp_path / "new").rename(base / "2")
        running.poll()
        assert "Draw again" in visit.draw()
        assert visit.draw().startswith("64 drawn")
        assert visit.options("version") == ["2"]
        assert [c for c in visit.complaints if "404" not in c] == []
        visit.complaints.clear()
        visit.close()


def test_a_later_draw_wins(visit, signatures):
    """The answer of an earlier draw, should it come later, is not shown."""
    visit.settled()
    visit.page.evaluate(
        """() => {
          const now = window.fetch;
          let first = true;
          window.fetch = async (...call) => {
            const late = first;
            first = false;
            const response = await now(...call);
            if (late) await new Promise((done) => setTimeout(done, 300));
            return response;
          };
        }"""
    )
    visit.page.fill("#seed", "1")
    visit.page.click("#draw")
    visit.page.fill("#seed", "2")
    visit.draw()
    visit.page.wait_for_timeout(500)
    visit.see_points(answer(signatures, "points", 2, "sample", seeds=seed_array(2, 64)))


def test_a_server_that_is_gone(context, models):
    with Running(settings(models)) as running:
        visit = Visit(context, running.rest)
        visit.settled()
    assert "fetch" in visit.draw()
    visit.complaints.clear()
    visit.close()


# Security.


def test_no_inline_script_runs(visit):
    visit.settled()
    html = visit.page.content()
    assert re.findall(r"<script[^>]*>[^<]", html) == []
    assert re.findall(r"<[^>]*\s(on\w+|style)=", html) == []
    ran = visit.page.evaluate(
        """() => {
          const script = document.createElement("script");
          script.textContent = "window.ran = true";
          document.body.append(script);
          return Boolean(window.ran);
        }"""
    )
    assert ran is False
    assert len(visit.complaints) == 1
    assert "Content Security Policy" in visit.complaints[0]
    visit.complaints.clear()


def test_names_are_text(context, models):
    name = "<img src=x onerror=alert(1)>'\""
    named = [ModelConfig(name, models / "points", labels={"<b>": 2})]
    with Running(settings(models)._replace(models=named)) as running:
        visit = Visit(context, running.rest)
        assert visit.settled().startswith("64 drawn")
        assert visit.options("model") == [name]
        assert visit.options("version") == ["2 (<b>)"]
        assert visit.page.locator("img, b").count() == 0
        visit.open_card()
        assert "mirror_prox_gan" in visit.page.locator("#card-text").text_content()
        visit.close()
