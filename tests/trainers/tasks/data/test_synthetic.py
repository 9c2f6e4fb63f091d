"""The synthetic data against closed forms."""

import numpy as np
import pytest
import tensorflow as tf

from tf_mixed_nash import rng
from tf_mixed_nash.errors import InputError
from trainers.tasks.data import synthetic

GAUSSIANS = {"gaussians8": (8, 0.02 / 1.414), "gaussians25": (25, 0.05 / 2.828)}
N = 20_000


def draw(name, number=0, num=N):
    return synthetic.make(name).sample(rng.fold_in(rng.stream(5, "data"), number), num).numpy()


@pytest.mark.parametrize("name", GAUSSIANS)
def test_gaussians_have_their_modes_and_spread(name):
    data, (count, sigma) = synthetic.make(name), GAUSSIANS[name]
    assert data.num_modes == count
    index, offset = data.nearest_mode(draw(name))
    # Multinomial counts: 5 standard deviations.
    expected = N / count
    assert np.abs(np.bincount(index, minlength=count) - expected).max() < 5 * expected**0.5
    # The standard deviation of a standard deviation is sigma / sqrt(2 * 2N).
    assert abs(offset.std() / sigma - 1) < 5 / (2 * N**0.5)
    assert np.abs(offset.mean(0)).max() < 5 * sigma / N**0.5


def test_unbalanced_modes_have_a_geometric_sequence_of_masses():
    data = synthetic.make("gaussians25_unbalanced")
    np.testing.assert_array_equal(data.modes, synthetic.make("gaussians25").modes)
    masses = np.sort(data.masses)[::-1]
    ratio = 100.0 ** (-1 / 24)
    np.testing.assert_allclose(masses[1:] / masses[:-1], ratio, rtol=1e-12)
    np.testing.assert_allclose(masses[0], (1 - ratio) / (1 - ratio**25), rtol=1e-12)
    # Beside the rarest mode there are heavy ones.
    rows = data.masses.reshape(5, 5)
    i, j = np.unravel_index(rows.argmin(), rows.shape)
    beside = [rows[a, b] for a, b in ((i - 1, j), (i + 1, j), (i, j - 1), (i, j + 1))
              if 0 <= a < 5 and 0 <= b < 5]  # fmt: skip
    assert max(beside) > 10 * rows.min()
    index, offset = data.nearest_mode(draw("gaussians25_unbalanced"))
    counts, expected = np.bincount(index, minlength=25), N * data.masses
    assert (np.abs(counts - expected) < 5 * np.sqrt(expected)).all()
    assert abs(offset.std() / data.sigma - 1) < 5 / (2 * N**0.5)
    kernel = np.exp(-(((data.modes[0] - data.modes) / data.sigma) ** 2).sum(1) / 2)
    density = (data.masses * kernel).sum() / (2 * np.pi * data.sigma**2)
    log_prob = data.distribution.log_prob(tf.constant(data.modes[0], tf.float64))
    assert float(log_prob) == pytest.approx(np.log(density), rel=1e-10)


@pytest.mark.parametrize("name", GAUSSIANS)
def test_the_noise_of_a_gaussian_does_not_depend_on_its_mode(name):
    """The squared distance of each mode's n samples, in units of 2 sigma^2, has mean 1 and
    standard error 1 / sqrt(n)."""
    data, (count, sigma) = synthetic.make(name), GAUSSIANS[name]
    index, offset = data.nearest_mode(draw(name))
    squared = (offset**2).sum(1) / (2 * sigma**2)
    for mode in range(count):
        mine = squared[index == mode]
        assert abs(mine.mean() - 1) < 5 / len(mine) ** 0.5


def test_the_precision_changes_the_rounding_of_the_data_alone():
    key = rng.stream(5, "data")
    for name in synthetic.DATASETS:
        data = synthetic.make(name)
        single, double = (data.sample(key, 500, t).numpy() for t in (tf.float32, tf.float64))
        np.testing.assert_allclose(single, double, rtol=0, atol=1e-5)


def test_the_modes_are_those_of_the_papers_set_up():
    eight = synthetic.make("gaussians8").modes
    np.testing.assert_allclose(np.linalg.norm(eight, axis=1), 2 / 1.414, rtol=1e-12)
    np.testing.assert_allclose(eight[1], np.array([2**0.5, 2**0.5]) / 1.414, rtol=1e-12)
    grid = {tuple(np.round(m * 2.828).astype(int)) for m in synthetic.make("gaussians25").modes}
    assert grid == {(2 * i, 2 * j) for i in range(-2, 3) for j in range(-2, 3)}


@pytest.mark.parametrize("name", GAUSSIANS)
def test_the_density_is_the_exact_mixture_and_gives_scores(name):
    data = synthetic.make(name)
    x = tf.constant(draw(name, num=50), tf.float64)
    squared = ((x.numpy()[:, None] - data.modes[None]) ** 2).sum(-1)
    kernel = np.exp(-squared / (2 * data.sigma**2)) / (2 * np.pi * data.sigma**2)
    np.testing.assert_allclose(data.distribution.log_prob(x), np.log(kernel.mean(1)), rtol=1e-10)
    with tf.GradientTape() as tape:
        tape.watch(x)
        log_prob = tf.reduce_sum(data.distribution.log_prob(x))
    away = data.modes[None] - x.numpy()[:, None]
    score = (kernel[..., None] * away).sum(1) / kernel.sum(1, keepdims=True) / data.sigma**2
    np.testing.assert_allclose(tape.gradient(log_prob, x), score, rtol=1e-8, atol=1e-8)


def test_the_swiss_roll_is_uniform_in_its_angle_and_normal_across():
    data = synthetic.make("swissroll")
    x = draw("swissroll")
    arcs, distance = data.nearest_mode(x)
    counts = np.bincount(arcs, minlength=data.num_modes)
    # Noise along the roll moves some samples over the borders of arcs: 6 deviations.
    assert np.abs(counts[1:-1] - N / 50).max() < 6 * (N / 50) ** 0.5
    # Near the inner end the curvature radius is 20 sigma: 2 % of bias at most.
    assert abs(distance.std() / data.sigma - 1) < 0.02
    radius = np.linalg.norm(x, axis=1) * data.scale
    assert 1.5 * np.pi - 1.5 < radius.min() < radius.max() < 4.5 * np.pi + 1.5


@pytest.mark.parametrize("name", synthetic.DATASETS)
def test_batches_are_functions_of_seed_and_number(name):
    np.testing.assert_array_equal(draw(name, 3, 64), draw(name, 3, 64))
    assert np.abs(draw(name, 3, 64) - draw(name, 4, 64)).min() > 0


@pytest.mark.parametrize("name", synthetic.DATASETS)
def test_the_window_shows_the_data(name):
    data, x = synthetic.make(name), draw(name)
    xmin, xmax, ymin, ymax = data.window
    assert ((x > [xmin, ymin]) & (x < [xmax, ymax])).all()


def test_unknown_data_names_the_choices():
    with pytest.raises(InputError, match="gaussians8, gaussians25, swissroll"):
        synthetic.make("moons")
