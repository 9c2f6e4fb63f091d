"""The scorecard on samples whose scores are known."""

import math

import numpy as np
import ot
import pytest

from tf_mixed_nash.metrics.law import Law
from tf_mixed_nash.metrics.scorecard import (
    KEYS,
    by_atom,
    rarest_mode_mass,
    scorecard,
    scorecard_intervals,
    scores_by_atom,
    specialisation,
    wasserstein2,
)


class Grid:
    """Two modes on a line, sigma 0.1."""

    num_modes, sigma = 2, 0.1
    modes = np.array([[0.0, 0.0], [10.0, 0.0]])
    law = Law(modes, np.array([0.5, 0.5]), sigma)

    def nearest_mode(self, x):
        offsets = x[:, None] - self.modes[None]
        index = (offsets**2).sum(-1).argmin(1)
        return index, offsets[np.arange(len(x)), index]


def draw(n=20_000, scale=1.0, shift=(0.0, 0.0), weights=(0.5, 0.5), seed=0):
    generator = np.random.default_rng(seed)
    modes = Grid.modes[generator.choice(2, n, p=weights)]
    noise = generator.normal(size=(n, 2))
    return modes + np.array(shift) + scale * Grid.sigma * noise


REAL = draw(2_000, seed=99)
FEW = 100  # where the Wasserstein distance, most of the time of a scorecard, is not looked at


def test_real_data_score_what_theory_says():
    card = scorecard(draw(), REAL, Grid(), wasserstein_samples=FEW)
    assert tuple(card) == KEYS
    n = card["num_samples"]
    # In two dimensions P(|x| <= k sigma) = 1 - exp(-k^2 / 2); binomial, 5 deviations.
    for k in (3, 4):
        p = 1 - math.exp(-(k**2) / 2)
        assert abs(card[f"high_quality_{k}sigma"] - p) < 5 * math.sqrt(p * (1 - p) / n) + 1e-9
    # The standard deviation of the mean of four standard deviations of n/2 samples.
    assert abs(card["std_ratio"] - 1) < 5 / math.sqrt(4 * n)
    assert card["modes_captured"] == card["num_modes"] == 2
    # |mean of n/2| is Rayleigh with scale sqrt(2/n) per mode.
    assert card["mean_bias_sigma"] < 5 * math.sqrt(2 / n)
    # 2n KL is chi-square with 1 degree of freedom.
    assert card["reverse_kl"] < 25 / (2 * n)


def test_modes_of_unequal_masses_are_judged_by_these():
    class Unequal(Grid):
        masses = np.array([0.9, 0.1])

    n = 1_000
    card = scorecard(draw(n, weights=(0.9, 0.1)), REAL, Unequal(), wasserstein_samples=FEW)
    # 2n KL is chi-square with 1 degree of freedom, either way.
    assert 0 <= card["reverse_kl"] < 25 / (2 * n)
    assert card["mode_kl"] < 25 / (2 * n)
    assert abs(card["rarest_mode_mass"] - 0.0989) < 5 * math.sqrt(0.1 * 0.9 / n)
    # Nothing in the light mode, and half of the rest away from the heavy one.
    far = np.concatenate([draw(n // 2, weights=(1, 0)), draw(n // 2, shift=(2, 0), weights=(1, 0))])
    card = scorecard(far, REAL, Unequal(), wasserstein_samples=FEW)
    heavy, light = (n + 0.5) / (n + 1), 0.5 / (n + 1)
    assert card["mode_kl"] == pytest.approx(
        0.9 * math.log(0.9 / heavy) + 0.1 * math.log(0.1 / light), rel=1e-12
    )
    assert card["reverse_kl"] == pytest.approx(math.log(1 / 0.9), rel=1e-12)
    assert card["rarest_mode_mass"] == 0.0
    assert card["bridge_mass"] == 0.5
    assert card["law_distance"] > 0.5


def test_of_several_lightest_modes_the_rarest_counts():
    equal = np.full(3, 1 / 3)
    assert rarest_mode_mass(np.array([5, 2, 3]), 20, equal) == 0.1
    assert rarest_mode_mass(np.array([5, 2, 3]), 20, np.array([0.3, 0.5, 0.2])) == 0.15


def test_the_intervals_are_of_the_scorecard():
    samples = draw(400)
    card = scorecard(samples, REAL, Grid(), wasserstein_samples=FEW)
    found = scorecard_intervals(samples, REAL, Grid(), 20, wasserstein_samples=FEW)
    assert set(found) == set(KEYS) - {"num_samples", "num_modes"}
    for key, (low, high) in found.items():
        assert low <= card[key] + 0.1
        assert high >= low
    low, high = found["std_ratio"]
    # Four standard deviations of 200 each, their mean.
    assert high - low == pytest.approx(2 * 1.96 / math.sqrt(2 * 800), rel=0.6)


def test_std_ratio_is_one_for_few_samples_too():
    ratios = [scorecard(draw(16, seed=s), REAL[:20], Grid())["std_ratio"] for s in range(1600)]
    # About 8 samples a mode: without the small-sample correction the mean is 0.965.
    assert abs(np.mean(ratios) - 1) < 5 * np.std(ratios) / 40 < 0.03


@pytest.mark.parametrize("scale", [0.5, 0.8])
def test_std_ratio_measures_the_spread(scale):
    # Narrower samples are not truncated: the correction adds 0.13 %.
    card = scorecard(draw(scale=scale), REAL, Grid(), wasserstein_samples=FEW)
    assert abs(card["std_ratio"] / scale - 1) < 0.0014 + 5 / math.sqrt(80_000)


def test_a_shift_is_a_bias_in_units_of_sigma():
    samples = draw(scale=0.1, shift=(0.06, 0.08))
    card = scorecard(samples, REAL, Grid(), wasserstein_samples=FEW)
    assert abs(card["mean_bias_sigma"] - 1.0) < 0.01
    assert card["high_quality_3sigma"] == 1.0


def test_a_lost_mode_and_unequal_weights_show_in_the_histogram():
    lost = scorecard(draw(weights=(1.0, 0.0)), REAL, Grid(), wasserstein_samples=FEW)
    assert lost["modes_captured"] == 1
    assert lost["reverse_kl"] == pytest.approx(math.log(2))
    uneven = scorecard(draw(weights=(0.25, 0.75)), REAL, Grid(), wasserstein_samples=FEW)
    expected = 0.25 * math.log(0.5) + 0.75 * math.log(1.5)
    assert abs(uneven["reverse_kl"] - expected) < 0.02


def test_capture_needs_one_high_quality_sample_among_the_first():
    samples = np.concatenate([draw(100, weights=(1.0, 0.0)), draw(100, weights=(0.0, 1.0))])
    assert scorecard(samples, REAL, Grid(), capture_samples=100)["modes_captured"] == 1
    assert scorecard(samples, REAL, Grid(), capture_samples=200)["modes_captured"] == 2
    near_miss = Grid.modes[[1]] + [[3.01 * Grid.sigma, 0]]
    samples = np.concatenate([draw(100, weights=(1.0, 0.0)), near_miss])
    assert scorecard(samples, REAL, Grid())["modes_captured"] == 1


def test_no_sample_near_any_mode_scores_without_errors():
    card = scorecard(np.full((300, 2), 5.0), REAL, Grid())
    assert card["modes_captured"] == card["high_quality_4sigma"] == 0
    assert math.isnan(card["std_ratio"])
    assert math.isnan(card["mean_bias_sigma"])


def test_wasserstein2_is_the_linear_programmes():
    """Of equal sizes it is an assignment; repeating a sample makes the sizes unequal."""
    random = np.random.default_rng(0)
    x, y = random.normal(size=(60, 2)), 1.5 * random.normal(size=(60, 2)) + 0.3
    exact = ot.emd2([], [], ot.dist(x, y)) ** 0.5
    assert wasserstein2(x, y) == pytest.approx(exact, rel=1e-9)
    assert wasserstein2(np.repeat(x, 2, axis=0), y) == pytest.approx(exact, rel=1e-9)
    assert exact > 0.3


def test_wasserstein2_of_shifted_points_is_the_shift():
    x = np.random.default_rng(0).normal(size=(300, 2))
    assert wasserstein2(x, x + np.array([3.0, 4.0])) == pytest.approx(5.0)
    # Optimal, not row by row: the order does not matter.
    assert wasserstein2(x, x[::-1]) == pytest.approx(0.0, abs=1e-7)


def test_not_finite_samples_are_refused():
    with pytest.raises(ValueError, match="finite"):
        scorecard(np.array([[0.0, math.inf], [0.0, 1.0]]), REAL, Grid())


@pytest.mark.parametrize("shape", [(0, 2), (1, 2), (100, 3), (100,), (10, 2, 2)])
def test_samples_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match=rf"n of at least 2, got shape \({shape[0]}"):
        scorecard(np.zeros(shape), REAL, Grid())


def test_samples_beyond_all_squares_are_refused():
    with pytest.raises(ValueError, match="as far away as"):
        scorecard(REAL * 1e200, REAL, Grid())
    assert math.isfinite(scorecard(REAL[:50] * 1e100, REAL[:50], Grid())["law_distance"])


def test_each_atom_has_its_modes():
    samples = np.array([[0.0, 0.1], [0.29, 0.0], [10.0, 0.0], [5.0, 0.0], [0.31, 0.0], [10.1, 0.0]])
    found = scores_by_atom(samples, np.array([0, 0, 2, 2, 0, 0]), np.array([0.5, 0.1, 0.4]), Grid())
    first, none, third = found["atoms"]
    assert first == {
        "weight": 0.5, "num_samples": 4, "modes": [2, 1], "high_quality_3sigma": 0.75
    }  # fmt: skip
    assert (third["modes"], third["high_quality_3sigma"]) == ([0, 1], 0.5)
    assert none["num_samples"] == 0
    assert math.isnan(none["high_quality_3sigma"])
    # By hand: of (atom, mode) p(0, 0) = 1/2, p(0, 1) = p(2, 1) = 1/4; p(0) = 3/4, p(mode 1) = 1/2.
    bits = 0.5 * math.log2(4 / 3) + 0.25 * math.log2(2 / 3) + 0.25
    assert found["specialisation"] == pytest.approx(bits / math.log2(2))


def test_specialisation_is_1_of_a_division_and_0_of_equals():
    assert specialisation(np.eye(4) * 7) == pytest.approx(1.0)
    halves = np.kron(np.eye(2), np.ones(3))  # two atoms, three modes each
    assert specialisation(halves) == pytest.approx(1.0)
    assert specialisation(np.ones((3, 5)) * 4) == pytest.approx(0.0, abs=1e-12)
    assert math.isnan(specialisation(np.zeros((2, 2))))
    assert math.isnan(specialisation(np.ones((1, 8))))
    classes = by_atom(np.array([1, 1, 0]), np.array([0, 0, 1]), np.array([0.5, 0.5]), 2, "classes")
    assert [own["classes"] for own in classes["atoms"]] == [[0, 2], [1, 0]]
