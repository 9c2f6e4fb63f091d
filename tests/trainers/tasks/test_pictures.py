"""Pictures: who stands where."""

import numpy as np
from PIL import Image

from trainers.tasks.pictures import pairs, panel_order, scatter


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
