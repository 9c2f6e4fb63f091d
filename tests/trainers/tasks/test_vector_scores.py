"""Scores of rows against held-out rows: exact values by hand, invariances, and what they see."""

import numpy as np
import pytest
from scipy import stats

from trainers.tasks import vector_scores as sut
from trainers.tasks.kinds import SCORES

R = np.random.default_rng(0)


def test_energy_distance_is_its_definition():
    x, y = R.normal(size=(5, 3)), R.normal(size=(7, 3))
    d = lambda a, b: np.linalg.norm(a[:, None] - b[None], axis=2)  # noqa: E731
    expected = 2 * d(x, y).mean() - d(x, x).sum() / 20 - d(y, y).sum() / 42
    assert sut.energy_distance(x, y) == pytest.approx(expected, rel=1e-12)


def test_kolmogorov_smirnov_is_scipys():
    x, y = R.normal(size=(50, 2)), R.normal(0.3, size=(40, 2))
    expected = [stats.ks_2samp(x[:, j], y[:, j]).statistic for j in range(2)]
    np.testing.assert_allclose(sut.kolmogorov_smirnov(x, y), expected, rtol=1e-12)


def test_no_unit_weighs_more_than_another():
    x, y = R.normal(size=(200, 2)), R.normal((0.5, 0.0), size=(200, 2))
    scale = np.array([1.0, 1e6])
    plain, scaled = sut.scorecard(x, y, 5), sut.scorecard(x * scale, y * scale, 5)
    for key in SCORES["custom"]:
        assert scaled[key] == pytest.approx(plain[key], rel=1e-6)


def test_a_constant_column_and_images_have_scores():
    x = np.concatenate([R.normal(size=(50, 1)), np.zeros((50, 1))], axis=1)
    assert np.isfinite(sut.scorecard(x, x[::-1], 3)["energy_distance"])
    card = sut.scorecard(R.normal(size=(30, 9, 9, 1)), R.normal(size=(30, 9, 9, 1)), 3)
    assert "ks" not in card
    with pytest.raises(ValueError, match="not all finite"):
        sut.scorecard(np.full((30, 2), np.inf), x, 3)


def test_each_score_is_worse_for_a_shifted_law():
    real, same, other = (R.normal(size=(300, 3)) for _ in range(3))
    good, bad = sut.scorecard(same, real, 5), sut.scorecard(other + 2.0, real, 5)
    for key, sign in (("energy_distance", 1), ("ks_max", 1), ("ks_mean", 1), ("precision", -1)):
        assert sign * (bad[key] - good[key]) > 0.2, key
    assert abs(good["energy_distance"]) < 0.1
