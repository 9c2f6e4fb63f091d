"""Pictures: who stands where."""

import numpy as np
from PIL import Image

from trainers.tasks import pictures
from trainers.tasks.pictures import Modes, pairs, panel_order, scatter


def test_panels_are_in_the_places_of_figure_1():
    six = ["sgd", "adam", "optimistic_adam", "extra_adam", "mirror_gan", "mirror_prox_gan"]
    assert panel_order(six) == [
        ["sgd", "optimistic_adam", "mirror_gan"],
        ["adam", "extra_adam", "mirror_prox_gan"],
    ]
    assert panel_order(["adam", "rmsprop"]) == [[None, "rmsprop"], ["adam", None]]


def hues(path):
    """How many pixels are red, green and blue beyond grey."""
    pixels = np.asarray(Image.open(path).convert("RGB")).astype(int)
    return [int((2 * pixels[..., c] - pixels.sum(-1) / 1.5 > 40).sum()) for c in range(3)]


def test_points_have_the_colour_of_their_atom(tmp_path):
    window = (-1.0, 1.0, -1.0, 1.0)
    real = np.full([50, 2], -0.8) + np.linspace(0, 0.2, 50)[:, None]
    # Many of each in one place: their colours are opaque there.
    fake = np.repeat([[0.5, 0.5], [-0.5, 0.5]], 200, axis=0)
    atom = np.repeat([0, 1], 200)
    plain, coloured = tmp_path / "plain.png", tmp_path / "coloured.png"
    scatter(plain, real, [[("last", fake)]], window)
    scatter(coloured, real, [[("last", fake)]], window, atoms={"last": atom})
    red, green, blue = hues(plain)
    assert red > 0 < blue, "generated red, real blue"
    assert green == 0
    red, green, blue = hues(coloured)
    assert red > 0 < green, "two atoms"
    assert blue == 0, "real data are grey"
    other = tmp_path / "other.png"
    scatter(other, real, [[("ema", fake)]], window, atoms={"last": atom})
    scatter(plain, real, [[("ema", fake)]], window)
    assert hues(other) == hues(plain)


def test_a_pair_plot_of_any_table(tmp_path):
    """One column, many, atoms, and samples that are not finite."""
    r = np.random.default_rng(0)
    for d in (1, 3, 8):
        real, fake = r.normal(size=(2, 30, d))
        fake[0] = np.inf
        atoms = np.arange(30) % 3 if d == 3 else None
        path = pairs(tmp_path / f"{d}.png", "title", real, fake, atoms)
        assert path.stat().st_size > 1_000
    empty = pairs(tmp_path / "none.png", "title", real, np.full_like(fake, np.nan))
    assert empty.exists()


def pixels_of(path):
    with Image.open(path) as picture:
        return np.asarray(picture)


WINDOW = (-2.0, 2.0, -2.0, 2.0)
MODES = Modes(np.array([[1.0, 0.0], [0.0, 1.0]]), 0.05)


def test_the_fullest_mode_is_the_one_that_is_enlarged():
    assert MODES.fullest(np.array([[0.0, 1.0], [0.0, 1.1], [1.0, 0.0]])) == 1
    assert MODES.fullest(np.array([[9.0, 9.0]])) == 0


def test_the_spread_within_a_mode_is_seen_in_the_enlarged_panel(tmp_path, monkeypatch):
    """Rings of 1 and 3 sigma around the mode, beside one panel and below several."""
    rings = []
    real_circle = pictures.Circle

    def circle(centre, radius, **more):
        rings.append((centre, radius))
        return real_circle(centre, radius, **more)

    monkeypatch.setattr(pictures, "Circle", circle)
    x = np.tile([[0.0, 1.0]], [50, 1])
    one = scatter(tmp_path / "one.png", x, [[("last", x)]], WINDOW, modes=MODES)
    assert rings == [((0.0, 1.0), 0.05), ((0.0, 1.0), 3 * 0.05)]
    three = [("last", x), ("ema", x), ("mixture", None)]
    several = scatter(tmp_path / "several.png", x, [three], WINDOW, modes=MODES)
    assert len(rings) == 6, "none of an empty panel"
    plain = scatter(tmp_path / "plain.png", x, [three], WINDOW)
    (w1, h1), (w3, h3), (w, h) = (pixels_of(p).shape[1::-1] for p in (one, several, plain))
    assert (w1, w3) == (2 * 540, 3 * 540)
    assert w == w3
    assert h3 > 1.8 * h
    assert min(w1, h1) >= 512


def test_a_grid_of_images_can_be_seen_and_says_what_it_shows(tmp_path):
    images = np.full([36, 28, 28, 1], 128, np.uint8)
    plain = pixels_of(pictures.grid(tmp_path / "a.png", images))
    assert plain.shape[1] >= 512
    path = pictures.grid(tmp_path / "b.png", images, 12, "a title", ("upper", "middle", "lower"))
    titled = pixels_of(path)
    (top, left) = titled.shape[0] - 2 * 92, titled.shape[1] - 2 * 362
    assert top > 10 < left
    assert titled[:top].min() < 100, "the title is there"
    for i in range(3):  # a caption beside each row
        height = (titled.shape[0] - top) // 3
        assert titled[top + i * height : top + (i + 1) * height, :left].min() < 100
    inside = titled[top:, left:]
    assert np.array_equal(inside, pictures.tiles(images, 12).repeat(2, axis=0).repeat(2, axis=1))


def test_a_film_has_a_picture_of_each_frame_and_begins_again(tmp_path):
    frames = []
    for i in range(3):
        frames.append(tmp_path / f"{i}.png")
        pixels = np.full([20, 30, 3], 255, np.uint8)
        pixels[:, 10 * i : 10 * i + 10] = (200, 30, 60)
        Image.fromarray(pixels).save(frames[-1])
    with Image.open(pictures.film(tmp_path / "film.gif", frames)) as film:
        assert (film.n_frames, film.size, film.info["loop"]) == (3, (30, 20), 0)
        for i in range(3):
            film.seek(i)
            red = np.asarray(film.convert("RGB"))[10, :, 1] < 100
            assert np.flatnonzero(red).tolist() == list(range(10 * i, 10 * i + 10))
        assert film.info["duration"] == 2_000
    with Image.open(pictures.film(tmp_path / "one.gif", frames[:1])) as film:
        assert film.n_frames == 1
