"""Certified gaps: exact where the answer is known, global where one start is not."""

import math

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import assert_close
from tests.oracles.continuous_games import GAMES
from tf_mixed_nash.errors import InputError
from tf_mixed_nash.games.boxes import Box
from tf_mixed_nash.games.continuous import ContinuousGame
from tf_mixed_nash.solvers.certificates import best_response, certify, check, upper_bound
from tf_mixed_nash.types import Measure, Pair

LINE = Box(-1.0, 1.0)


def delta(*point) -> Measure:
    return Measure(np.array([point], float), np.ones(1))


def in_tf(name: str) -> ContinuousGame:
    g = GAMES[name]
    x_set, y_set = (Box(g.lower[p], g.upper[p], g.periodic) for p in range(2))
    return ContinuousGame(lambda x, y: g.payoff(x, y, tf), x_set, y_set, name=name)


@pytest.mark.parametrize("name", GAMES)
def test_the_exact_equilibrium_has_no_gap(name):
    g = GAMES[name]
    certificate = certify(in_tf(name), Measure(g.x, g.a), Measure(g.y, g.b))
    assert 0 <= certificate.gap < 1e-12
    assert_close([certificate.theta.value, certificate.w.value], [g.value] * 2, 1e-12)


def test_the_gap_of_wrong_profiles_is_the_analytic_one():
    """(x - y)^2 at (0.5, delta(0.2)): max_y = 1.5^2, min_x = 0."""
    game = in_tf("pursuit")
    certificate = certify(game, delta(0.5), delta(0.2))
    assert_close(certificate.gap, 2.25, 1e-12)
    assert_close(certificate.w.point, [-1.0], 1e-12)
    assert_close(certificate.theta.point, [0.2], 1e-8)
    # Against mu, min_x E(x - y)^2 is the variance; against 0, max_y y^2 = 1.
    mu = Measure(np.array([[-0.5], [0.9]]), np.array([0.3, 0.7]))
    variance = 0.3 * 0.7 * 1.4**2
    assert_close(certify(game, delta(0.0), mu).gap, 1.0 - variance, 1e-12)


def test_bilinear_gaps():
    """F = x y: the gap of (x, y) is |x| + |y|."""
    assert_close(certify(in_tf("bilinear"), delta(0.3), delta(-0.45)).gap, 0.75, 1e-12)


def test_the_global_maximum_among_many_local_ones_in_the_plane():
    """-Rastrigin with its peak at (0.31, -0.42): one start stops at a local maximum."""
    peak, box = tf.constant([0.31, -0.42], tf.float64), Box([-1.0, -1.0], 1.0)

    def payoff(x, y):
        z = y - peak
        return -tf.reduce_sum(z**2 - 0.1 * tf.cos(6 * math.pi * z)) + 0.0 * x[0]

    game = ContinuousGame(payoff, LINE, box)
    many = best_response(game, "w", delta(0.0))
    assert_close(many.point, peak, 1e-8)
    assert_close(many.value, 0.2, 1e-14)
    one = best_response(game, "w", delta(0.0), atoms=None, num_starts=1)
    assert one.value < 0.19
    assert len(many.optima) > 5
    assert (np.diff(many.values) <= 0).all()


def test_ten_dimensions_with_an_optimum_inside_and_at_bounds():
    """A quadratic whose constrained optimum is known coordinate by coordinate."""
    centre = np.linspace(-1.6, 1.6, 10)
    box = Box([-1.0] * 10, 1.0)
    game = ContinuousGame(
        lambda x, y: tf.reduce_sum((x - centre) ** 2 * np.arange(1.0, 11.0)) - y[0] ** 2, box, LINE
    )
    best = best_response(game, "theta", delta(0.0))
    inside = np.clip(centre, -1, 1)
    # The cost sees a displacement of 1e-8 at the 16th digit only.
    assert_close(best.point, inside, 2e-8)
    assert_close(best.value, np.sum((inside - centre) ** 2 * np.arange(1.0, 11.0)), 1e-12)


def test_circles_have_no_bounds():
    """F = cos(x - y): against x = 0.1 the best y is 0.1, found across the cut from 2 pi - e."""
    circle = Box(0.0, 2 * math.pi, periodic=True)
    game = ContinuousGame(lambda x, y: tf.cos(x[0] - y[0]), circle, circle)
    best = best_response(game, "w", delta(0.1), atoms=np.array([[6.2]]), num_starts=1)
    assert_close(best.value, 1.0, 1e-14)


def test_the_atoms_are_starts():
    """A peak that is too narrow for any other start; the certificate says how many there were."""
    game = ContinuousGame(
        lambda x, y: tf.exp(-(((y[0] - 0.1234) / 1e-3) ** 2)) + 0.0 * x[0], LINE, LINE
    )
    missed = best_response(game, "w", delta(0.0), num_starts=4)
    found = best_response(game, "w", delta(0.0), atoms=np.array([[0.1235]]), num_starts=4)
    assert missed.value < 0.5
    assert_close(found.value, 1.0, 1e-12)
    assert (missed.num_starts, found.num_starts) == (4, 5)
    assert "129 starts" in certify(game, delta(0.0), delta(0.1)).words


def test_atoms_of_weight_zero_do_not_count():
    game = in_tf("double_wells")
    nu = Measure(np.array([[0.6], [0.1]]), np.array([1.0, 0.0]))
    assert certify(game, nu, delta(0.5)).gap == certify(game, delta(0.6), delta(0.5)).gap


@pytest.mark.parametrize(
    ("nu", "message"),
    [
        (Measure(np.zeros((0, 1)), np.zeros(0)), "no atom of positive weight"),
        (Measure(np.zeros((2, 1)), np.zeros(2)), "no atom of positive weight"),
        (Measure(np.zeros((2, 3)), np.ones(2) / 2), r"must be of shape \[number, 1\]"),
        (Measure(np.zeros((2, 1)), np.ones(3) / 3), "one weight for each of its 2 atoms"),
    ],
)
def test_bad_measures_are_refused(nu, message):
    with pytest.raises(InputError, match=message):
        best_response(in_tf("bilinear"), "w", nu)


def test_a_payoff_that_is_not_finite_at_a_start_is_reported():
    game = ContinuousGame(lambda x, y: tf.math.log(1.0 - y[0]) + x[0], LINE, LINE)
    with pytest.raises(InputError, match="not finite against the solution"):
        best_response(game, "w", delta(0.0), atoms=np.array([[1.0]]))


def test_a_payoff_without_a_gradient_is_refused():
    game = ContinuousGame(lambda x, y: tf.round(3.0 * x[0]) * y[0], LINE, LINE)
    with pytest.raises(InputError, match="not differentiable in x"):
        certify(game, delta(0.0), delta(0.0))


# x^2 - y^2 has its saddle at 0; a spike a thousandth wide makes the best response 0.7137.
SPIKE = ContinuousGame(
    lambda x, y: tf.reduce_sum(x**2 - y**2 + 2.0 * tf.exp(-(((y - 0.7137) / 1e-3) ** 2))),
    LINE,
    LINE,
)
TRUE_GAP = 2.0 - 0.7137**2
# The slopes of x^2, and of y^2 and the spike: max |d/du exp(-u^2)| = sqrt(2 / e).
SLOPES = Pair(2.0, 2.0 + 2.0 * math.sqrt(2.0 / math.e) / 1e-3)


def test_a_gap_that_a_search_missed_is_found_by_the_check_and_bounded_by_the_bound():
    nu = mu = delta(0.0)
    assert certify(SPIKE, nu, mu).gap < 1e-9, "lower bounds can be too low"
    none = Pair(np.zeros([0, 1]), np.zeros([0, 1]))
    checked = check(SPIKE, nu, mu, none)
    assert checked.gap == pytest.approx(TRUE_GAP, abs=1e-4)
    assert "2049 and 2049 fresh starts" in checked.words
    assert "no certificate" in checked.words
    # Of few starts, by an optimum that was seen.
    few = check(SPIKE, nu, mu, none, num_starts=1, seed=3)
    assert few.gap < 1e-9
    seen = Pair(np.zeros([0, 1]), np.array([[0.7138]]))
    assert check(SPIKE, nu, mu, seen, num_starts=1, seed=3).gap == pytest.approx(TRUE_GAP, abs=1e-4)
    bound = upper_bound(SPIKE, nu, mu, SLOPES, tolerance=0.01)
    assert TRUE_GAP <= bound <= TRUE_GAP + 0.03
    # With few points the bound is poor, and one all the same.
    assert bound < upper_bound(SPIKE, nu, mu, SLOPES, max_points=100)


def test_the_upper_bound_of_measures_in_the_plane():
    """F = |x - y|^2 / 4 on [-1, 1]^2 x [-1, 1]^2 against two atoms: by hand."""
    square = Box([-1.0, -1.0], 1.0)
    game = ContinuousGame(lambda x, y: 0.25 * tf.reduce_sum((x - y) ** 2), square, square)
    mu = Measure(np.array([[1.0, 1.0], [-1.0, -1.0]]), np.array([0.5, 0.5]))
    # Against mu the least is 1/2, the variance, at 0; against 0 the most is 1/2 at a corner.
    exact = 0.0
    slope = math.sqrt(2.0)  # |x - y| / 2 is at most sqrt(8) / 2
    bound = upper_bound(game, delta(0.0, 0.0), mu, Pair(slope, slope), tolerance=0.02)
    assert exact <= bound <= exact + 0.05
    wrong = delta(0.5, 0.0)  # the most is (1.5^2 + 1) / 4 = 0.8125
    assert 0.3125 <= upper_bound(game, wrong, mu, Pair(slope, slope), 0.02) <= 0.37
    # Of one point each, the middles: F(0, 0) + L r - (F(0, mu) - L r), r the half diagonal.
    first = upper_bound(game, delta(0.0, 0.0), mu, Pair(slope, slope), max_points=1)
    assert first == pytest.approx(2.0 * slope * math.sqrt(2.0) - 0.5)
    with pytest.raises(InputError, match="must be finite and at least 0, got -1"):
        upper_bound(game, wrong, mu, Pair(-1.0, 1.0))


def test_a_payoff_that_is_not_finite_somewhere_has_no_bound():
    """At 1/2, the middle of the right half, which no check of the game looks at."""
    hole = ContinuousGame(
        lambda x, y: tf.reduce_sum(x * y + tf.where(tf.abs(y - 0.5) < 1e-4, np.nan, 0.0)),
        LINE,
        LINE,
    )
    with pytest.raises(InputError, match=r"not finite against the solution, from y=\[0.5\]"):
        upper_bound(hole, delta(0.0), delta(0.9), Pair(1.0, 1.0), 0.01)
