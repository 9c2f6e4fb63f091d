"""Quick measures of samples beside real rows, on samples whose faults are known."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from tf_mixed_nash.metrics import health as sut


def modes(num=8, radius=2.0):
    angles = 2 * np.pi * np.arange(num) / num
    return radius * np.stack([np.cos(angles), np.sin(angles)], 1)


def mixture(n, seed, of=range(8), sigma=0.02):
    generator = np.random.default_rng(seed)
    centres = modes()[list(of)]
    return centres[generator.integers(len(centres), size=n)] + sigma * generator.normal(size=(n, 2))


@pytest.fixture(scope="module")
def reference():
    return sut.Reference.of(mixture(512, 0), modes())


def test_other_real_rows_have_nothing_wrong(reference):
    found = sut.measures(mixture(512, 1), reference)
    assert found["diversity"] == pytest.approx(1.0, abs=0.03)
    assert found["kinds"] == found["num_kinds"] == 8
    assert found["duplicates"] < 0.02
    assert abs(found["distance"]) < 0.01
    assert "memorised" not in found


def test_too_narrow_modes_are_all_there(reference):
    found = sut.measures(mixture(512, 1, sigma=0.002), reference)
    assert found["kinds"] == 8
    assert found["duplicates"] < 0.1


def test_modes_that_are_lost_are_counted(reference):
    found = sut.measures(mixture(512, 1, of=(0, 1, 4)), reference)
    assert found["kinds"] == 3
    assert found["distance"] > 0.02


def test_a_constant_is_a_twin_of_itself_without_diversity(reference):
    found = sut.measures(np.tile(modes()[:1], (512, 1)), reference)
    assert found["diversity"] == pytest.approx(0.0, abs=1e-6)
    assert (found["duplicates"], found["kinds"]) == (1.0, 1.0)


def test_distance_is_the_energy_distance(reference):
    x, y = mixture(200, 3, of=(0, 2)), reference.rows
    n, m = len(x), len(y)
    within = cdist(x, x).sum() / (n * (n - 1)), cdist(y, y).sum() / (m * (m - 1))
    wanted = (2 * cdist(x, y).mean() - sum(within)) / within[1]
    assert sut.measures(x, reference)["distance"] == pytest.approx(wanted, rel=1e-6)
    assert reference.mean_distance == pytest.approx(within[1], rel=1e-6)


def test_samples_that_are_not_finite_have_no_measures(reference):
    samples = mixture(10, 0)
    samples[3] = np.nan
    assert sut.measures(samples, reference) == {}


def test_copies_of_training_rows_are_told_from_new_rows():
    generator = np.random.default_rng(0)
    training = generator.normal(size=(60, 12, 12, 1))
    reference = sut.Reference.of(training, training=training)
    copies = training[generator.integers(60, size=100)]
    copies = copies + 0.02 * generator.normal(size=copies.shape)
    assert sut.measures(copies, reference)["memorised"] > 0.95
    new = sut.measures(generator.normal(size=(100, 12, 12, 1)), reference)
    assert new["memorised"] < 0.02
    assert new["by_chance"] < 0.02
    # A blurred mean of all is near to none of them.
    mean = np.tile(training.mean(0), (100, 1, 1, 1))
    assert sut.measures(mean, reference)["memorised"] == 0


def test_twice_the_same_training_row_is_one():
    rows = np.random.default_rng(1).normal(size=(20, 6))
    reference = sut.Reference.of(rows, training=np.concatenate([rows, rows]))
    assert len(reference.training) == 20
    assert sut.measures(rows, reference)["memorised"] == 1.0


def test_one_training_row_has_no_copies():
    rows = np.random.default_rng(1).normal(size=(20, 6))
    reference = sut.Reference.of(rows, training=np.ones((20, 6)))
    assert "memorised" not in sut.measures(rows, reference)


def test_kinds_are_found_where_they_are_not_known():
    rows = mixture(400, 0)
    reference = sut.Reference.of(rows)
    assert len(reference.centres) == sut.KINDS
    nearest = cdist(modes(), reference.centres).min(1)
    assert nearest.max() < 0.05  # each mode has a centre
    assert sut.measures(mixture(400, 1, of=(0,)), reference)["kinds"] <= 2


def test_images_are_means_over_fields():
    images = np.arange(16 * 16, dtype=np.float64).reshape(1, 16, 16, 1)
    found = sut.coarse(images).reshape(8, 8)
    assert found[0, 0] == np.mean([0, 1, 16, 17])
    assert found[7, 7] == images[0, 14:, 14:, 0].mean()
    uneven = sut.coarse(np.ones([1, 9, 30, 2]))
    assert uneven.shape == (1, 8 * 8 * 2)
    np.testing.assert_allclose(uneven, 1.0)


def test_separation_is_the_probability_of_the_right_order():
    generator = np.random.default_rng(0)
    real, fake = generator.integers(5, size=40), generator.integers(4, size=30)
    pairs = real[:, None] - fake[None]
    assert sut.separation(real, fake) == pytest.approx((pairs > 0).mean() + (pairs == 0).mean() / 2)
