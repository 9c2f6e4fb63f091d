"""The prox steps by themselves: damping, inner steps, what is logged."""

import numpy as np
import pytest
import tensorflow as tf

from tests import helpers
from tests.helpers import assert_close, f64, index
from tests.oracles import payoff
from tf_mixed_nash.games.functions import FunctionGame
from tf_mixed_nash.methods import samplers
from tf_mixed_nash.methods.oracle import Oracle
from tf_mixed_nash.methods.prox import langevin_mean, one_step
from tf_mixed_nash.methods.schedules import constant
from tf_mixed_nash.types import dirac

GAMMA, EPS = 0.1, 0.05


def noisy_sampler(preconditioner=None):
    return samplers.langevin(constant(GAMMA), constant(EPS), preconditioner or samplers.identity())


def move(prox, at=None, m=7, game=None):
    """A prox step of theta from the start against the start's w: a Move."""
    theta, w = helpers.payoff_start()
    oracle = Oracle(game or FunctionGame(helpers.payoff_in_tf), seed=2)
    at = theta if at is None else f64(at)
    return prox.step(oracle, "theta", theta, at, dirac(w), prox.init(theta), index(0), index(m))


def sampler_displacement(z, m):
    """What one SGLD step adds to z, with the oracle's noise."""
    theta, _ = helpers.payoff_start()
    xi = Oracle(FunctionGame(helpers.payoff_in_tf), seed=2).noise("theta", theta, index(m)).numpy()
    return -GAMMA * payoff.gradient_theta(z, payoff.W) + np.sqrt(2 * GAMMA * EPS) * xi


@pytest.mark.parametrize("beta", [0.3, 0.9, 1.0])
@pytest.mark.parametrize("K", [1, tf.constant(1, tf.int64)], ids=["python", "tensor"])
def test_one_inner_step_moves_by_beta_squared_of_the_displacement(beta, K):
    """Both code paths of K = 1: with and without the loop."""
    moved = move(langevin_mean(noisy_sampler(), lambda t: K, beta)).z - payoff.THETA
    assert_close(moved, beta**2 * sampler_displacement(payoff.THETA, m=7), 1e-14)


def test_two_inner_steps_by_hand():
    """w2 = w1 + D(w1), with weights (1-b)(1 + b(1-b)), b^2 (1-b), b^2 on anchor, w1, w2."""
    b = 0.9
    first = payoff.THETA + sampler_displacement(payoff.THETA, m=7)
    second = first + sampler_displacement(first, m=8)
    mean = (1 - b) * (1 + b * (1 - b)) * payoff.THETA + b**2 * (1 - b) * first + b**2 * second
    assert_close(move(langevin_mean(noisy_sampler(), lambda t: 2, b)).z, mean, 1e-14)


def test_one_step_takes_its_field_at_the_given_point_and_starts_at_the_anchor():
    at = payoff.THETA + 0.5
    xi_part = sampler_displacement(at, m=7)
    assert_close(move(one_step(noisy_sampler()), at=at).z, payoff.THETA + xi_part, 1e-14)


def test_the_langevin_prox_ignores_the_point_of_the_one_step_prox():
    prox = langevin_mean(noisy_sampler(), lambda t: 2, 0.9)
    np.testing.assert_array_equal(move(prox, at=payoff.THETA + 0.5).z, move(prox).z)


def test_the_preconditioner_persists_over_inner_steps():
    """V after two inner steps from V_0 = 0: a (1-a) g_1^2 + (1-a) g_2^2."""
    a, lam = 0.9, 1e-3
    noiseless = samplers.langevin(constant(GAMMA), constant(0.0), samplers.rms(a, lam))
    g1 = payoff.gradient_theta(payoff.THETA, payoff.W)
    second = payoff.THETA - GAMMA * g1 / (np.sqrt((1 - a) * g1**2) + lam)
    g2 = payoff.gradient_theta(second, payoff.W)
    V = move(langevin_mean(noiseless, lambda t: 2, 0.9)).state
    assert_close(V, a * (1 - a) * g1**2 + (1 - a) * g2**2, 1e-13)


@pytest.mark.parametrize(
    "prox",
    [
        pytest.param(one_step(noisy_sampler()), id="one_step"),
        pytest.param(langevin_mean(noisy_sampler(), constant(1), 0.9), id="K=1"),
        pytest.param(langevin_mean(noisy_sampler(), constant(3), 0.9), id="K=3"),
    ],
)
def test_logs_describe_the_last_field(prox):
    K = prox.num_batches(0)
    z = payoff.THETA
    for k in range(K - 1):
        z = z + sampler_displacement(z, m=7 + k)
    logs = move(prox).logs
    assert set(logs) == {"loss", "penalty", "field_norm", "finite"}
    assert_close(logs["loss"], payoff.value(z, payoff.W), 1e-13)
    norm = np.linalg.norm(payoff.gradient_theta(z, payoff.W))
    assert_close(logs["field_norm"], norm, 1e-13)
    assert_close(logs["penalty"], 0.0)
    assert logs["finite"]


@pytest.mark.parametrize("K", [1, 3])
def test_a_field_that_is_not_finite_is_reported(K):
    game = FunctionGame(lambda theta, w: tf.reduce_sum(tf.sqrt(theta - 10.0)) * w[0])
    assert not move(langevin_mean(noisy_sampler(), constant(K), 0.9), game=game).logs["finite"]
    assert not move(one_step(noisy_sampler()), game=game).logs["finite"]


@pytest.mark.parametrize("damping", [-0.1, 0.0, 1.0001])
def test_damping_outside_its_range_is_an_error(damping):
    with pytest.raises(ValueError, match=r"damping \(beta\) must be in \(0, 1\]"):
        langevin_mean(noisy_sampler(), constant(1), damping)
