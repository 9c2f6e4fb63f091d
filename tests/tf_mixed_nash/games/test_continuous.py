"""Continuous games against NumPy and analytic derivatives."""

import math

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import assert_close, f64
from tf_mixed_nash.errors import InputError
from tf_mixed_nash.games.boxes import Box
from tf_mixed_nash.games.continuous import ContinuousGame
from tf_mixed_nash.types import Measure

LINE, PLANE = Box(-1.0, 1.0), Box([-1.0, -1.0], 1.0)
X = np.array([[0.1, 0.2], [-0.5, 0.9], [0.3, -0.7]])
Y = np.array([[0.4], [-0.6]])


def value(x, y, xp=np):
    """F on R^2 x R, coordinates first."""
    return xp.sin(x[0]) * y[0] ** 2 + x[0] * x[1] * y[0] - xp.cos(x[1])


GAME = ContinuousGame(lambda x, y: value(x, y, tf), PLANE, LINE)
NUMPY_MATRIX = np.array([[value(x, y) for y in Y] for x in X])
NU = Measure(X, np.array([0.2, 0.3, 0.5]))
MU = Measure(Y, np.array([0.6, 0.4]))


def test_matrix_and_value():
    assert_close(GAME.matrix(X, Y), NUMPY_MATRIX, 1e-15)
    assert_close(GAME.value(NU, MU), NU.weights @ NUMPY_MATRIX @ MU.weights, 1e-15)


@pytest.mark.parametrize("compiled", [False, True])
def test_against_a_measure(compiled):
    """Values and gradients by hand, eagerly and inside a graph."""
    against = tf.function(GAME.against, autograph=False) if compiled else GAME.against
    values, gradient = against("theta", f64(X), Measure(f64(MU.atoms), f64(MU.weights)))
    assert_close(values, NUMPY_MATRIX @ MU.weights, 1e-15)
    m1, m2 = MU.weights @ Y[:, 0], MU.weights @ Y[:, 0] ** 2
    expected = [np.cos(X[:, 0]) * m2 + X[:, 1] * m1, X[:, 0] * m1 + np.sin(X[:, 1])]
    assert_close(gradient, np.transpose(expected), 1e-15)
    values, gradient = against("w", f64(Y), Measure(f64(NU.atoms), f64(NU.weights)))
    assert_close(values, NU.weights @ NUMPY_MATRIX, 1e-15)
    slope = NU.weights @ (2 * np.sin(X[:, :1]) * Y[:, 0] + X[:, :1] * X[:, 1:])
    assert_close(gradient[:, 0], slope, 1e-15)


def test_derivatives_of_pairs():
    x, y = X[:2], Y
    F, gradient, hessian = GAME.derivatives(x, y)
    assert_close(F, [value(x[i], y[i]) for i in range(2)], 1e-15)
    for i in range(2):
        (a, b), c = x[i], y[i, 0]
        assert_close(
            gradient[i],
            [np.cos(a) * c**2 + b * c, a * c + np.sin(b), 2 * np.sin(a) * c + a * b],
            1e-15,
        )
        mixed = 2 * np.cos(a) * c + b
        assert_close(
            hessian[i],
            [[-np.sin(a) * c**2, c, mixed], [c, np.cos(b), a], [mixed, a, 2 * np.sin(a)]],
            1e-15,
        )


def test_unit_boxes_are_a_change_of_coordinates():
    game = ContinuousGame(
        lambda x, y: value(x, y, tf), Box([-1.0, 2.0], [3.0, 4.0]), Box(0.0, 5.0, periodic=True)
    )
    unit = game.on_unit_boxes()
    assert_close(unit.matrix([[0.25, 0.5]], [[0.4]]), game.matrix([[0.0, 3.0]], [[2.0]]), 1e-15)
    assert unit.y_set.periodic.all()
    assert_close(unit.x_set.width, [1, 1])


def test_eager_calls_are_traced_once():
    calls = []

    def payoff(x, y):
        calls.append(1)
        return x[0] * y[0]

    game = ContinuousGame(payoff, LINE, LINE)
    for n in range(1, 6):
        game.matrix(np.zeros((n, 1)), np.zeros((2 * n, 1)))
        game.against("w", np.zeros((n, 1)), Measure(np.zeros((n, 1)), np.ones(n)))
    traced = len(calls)
    game.matrix(np.zeros((9, 1)), np.zeros((7, 1)))
    game.against("w", np.zeros((9, 1)), Measure(np.zeros((8, 1)), np.ones(8)))
    assert len(calls) == traced


@pytest.mark.parametrize(
    ("payoff", "message"),
    [
        (3.0, "must be a function"),
        (lambda x, y: x, r"must return one number of float64 .* got shape \(1,\)"),
        (lambda x, y: tf.cast(x[0], tf.float32), "of float32"),
        (lambda x, y: x[0] > y[0], "of bool"),
        (lambda x, y: x[5], "failed at x="),
        (lambda x, y: y[0] / 0.0, "not finite everywhere"),
        (lambda x, y: tf.math.log(x[0] + 0.5), "not finite everywhere"),
    ],
)
def test_bad_payoffs_are_refused(payoff, message):
    with pytest.raises(InputError, match=message):
        ContinuousGame(payoff, LINE, LINE)


def test_sets_must_be_boxes():
    with pytest.raises(InputError, match="x_set of continuous game must be a Box"):
        ContinuousGame(lambda x, y: x[0], (-1, 1), LINE)


def test_shapes_are_checked():
    with pytest.raises(InputError, match=r"Points of y .* \[number, 1\], got \(3, 2\)"):
        GAME.matrix(X, X)
    with pytest.raises(InputError, match="one weight for each of its 2 atoms"):
        GAME.against("theta", X, Measure(Y, np.ones(3)))


@pytest.mark.parametrize(
    ("payoff", "letter"),
    [
        (lambda x, y: tf.round(x[0]) * y[0], "x"),
        (lambda x, y: x[0] * tf.cast(y[0] > math.pi / 10, tf.float64), "y"),
    ],
)
def test_a_payoff_without_a_gradient_is_refused_where_one_is_needed(payoff, letter):
    game = ContinuousGame(payoff, LINE, LINE)
    game.matrix([[0.0]], [[0.0]])
    with pytest.raises(InputError, match=f"not differentiable in {letter}"):
        game.against("theta" if letter == "x" else "w", [[0.1]], Measure([[0.2]], [1.0]))
