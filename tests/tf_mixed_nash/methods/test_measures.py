"""Weights of a player's atoms, and rebirth: the pure functions. Runs: test_particles_gan.py."""

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import assert_close, f64
from tf_mixed_nash.errors import InputError
from tf_mixed_nash.methods import measures
from tf_mixed_nash.methods.prox import Move, Prox
from tf_mixed_nash.methods.schedules import constant, exponential
from tf_mixed_nash.types import Particles

A = np.array([0.2, 0.5, 0.3])
V = np.array([1.0, -2.0, 0.5])


def test_entropic_weights_are_the_closed_form():
    """a_j exp(-eta_t V_j) / Z with eta_t = 0.4 * 0.5^t."""
    weigh = measures.entropic(exponential(0.4, 0.5))
    for t, eta in [(0, 0.4), (2, 0.1)]:
        expected = A * np.exp(-eta * V)
        a = tf.exp(weigh(f64(np.log(A)), f64(V), t))
        assert_close(a, expected / expected.sum(), 1e-14)


def test_a_level_of_V_does_not_matter_and_far_weights_keep_their_logarithm():
    weigh = measures.entropic(constant(1.0))
    assert_close(weigh(f64(np.log(A)), f64(V + 1e6), 0), weigh(f64(np.log(A)), f64(V), 0), 1e-9)
    far = weigh(f64(np.log(A)), f64([0.0, 2000.0, 4000.0]), 0)
    assert_close(far[1:], [-2000.0 + np.log(2.5), -4000.0 + np.log(1.5)], 1e-12)


def test_the_floor_is_a_mixture_with_equal_weights():
    a = tf.exp(measures.floored(f64(np.log(A)), 0.3))
    assert_close(a, 0.7 * A + 0.1, 1e-14)
    # Where a weight is gone, it comes back; without a floor it cannot.
    gone = f64(np.log([1.0, 1e-300, 1e-300]))
    assert_close(tf.exp(measures.floored(gone, 0.3)), [0.8, 0.1, 0.1], 1e-12)
    weigh = measures.entropic(constant(0.1), floor=0.3)
    for _ in range(40):
        gone = weigh(gone, f64([1.0, 0.0, 0.5]), 0)
    assert np.argmax(gone) == 1


@pytest.mark.parametrize("floor", [-0.1, 1.0, float("nan")])
def test_a_floor_out_of_range_is_refused(floor):
    with pytest.raises(InputError, match="weight_floor"):
        measures.entropic(constant(0.1), floor)


def test_parents_are_the_heaviest_of_those_that_are_too_light():
    log_a = f64(np.log([0.05, 0.6, 0.25, 0.1]))
    for below, expected in [(0.01, [0, 1, 2, 3]), (0.08, [1, 1, 2, 3]), (0.2, [1, 1, 2, 1])]:
        np.testing.assert_array_equal(measures.parents(log_a, below), expected)


def test_replaced_rows_are_their_parents_with_noise():
    """Every row of the state; half of the weight each; the same noise at every point."""
    log_a, z = f64(np.log([0.02, 0.8, 0.18])), f64([[0.0, 0.0], [1.0, 2.0], [3.0, 4.0]])
    state = (Particles(log_a, z), Particles(log_a, 10.0 * z), (z + 7.0, tf.constant(5)), ())
    parents = tf.constant([1, 1, 2])
    first, second, (moment, count), nothing = measures.replaced(
        state, parents, 0.5, tf.constant([3, 4])
    )
    # Half of 0.8 each and 0.18, of sum 0.98.
    assert_close(tf.exp(first.log_weights), np.array([0.4, 0.4, 0.18]) / 0.98, 1e-14)
    np.testing.assert_array_equal(first.atoms[1:], z[1:])
    noise = first.atoms[0] - z[1]
    assert np.all(np.abs(noise) > 0)
    assert np.all(np.abs(noise) < 3.0)
    assert_close(second.atoms[0] - 10.0 * z[1], noise, 1e-12)
    np.testing.assert_array_equal(moment, tf.gather(z + 7.0, parents))
    assert int(count) == 5
    assert nothing == ()


@pytest.mark.parametrize("loss", [V, np.array([np.inf, 0.0, 0.0])])
def test_every_atom_steps_and_the_weights_follow_the_first_variation(loss):
    """The anchor's atoms and weights move, by V = loss + penalty at `at`, whose measure the logs
    are means over; a V that is not finite is reported."""
    penalty = np.array([0.3, 0.0, 2.0])

    def inner(oracle, player, anchor, at, opponent, state, t, m):
        logs = {"loss": f64(loss), "penalty": f64(penalty), "finite": tf.constant(True)}
        return Move(anchor + 2.0 * at, state + t + m, logs)

    prox = measures.each_atom(
        Prox(lambda z: 3 * z, lambda t: 7, inner), measures.entropic(constant(0.4))
    )
    anchor = Particles(f64(np.log(A)), f64([[1.0], [2.0], [3.0]]))
    at = Particles(f64(np.log(A[::-1])), f64([[10.0], [20.0], [40.0]]))
    assert_close(prox.init(at), [[30.0], [60.0], [120.0]])
    assert prox.num_batches(0) == 7
    z, state, logs = prox.step(None, "theta", anchor, at, None, 100, 10, 1)
    np.testing.assert_array_equal(z.atoms[:, 0], [21.0, 42.0, 83.0])
    assert state == 111
    assert bool(logs["finite"]) == np.all(np.isfinite(loss))
    if logs["finite"]:
        expected = A * np.exp(-0.4 * (loss + penalty))
        assert_close(tf.exp(z.log_weights), expected / expected.sum(), 1e-14)
        assert_close(logs["loss"], A[::-1] @ loss, 1e-14)
        assert_close(logs["penalty"], A[::-1] @ penalty, 1e-14)


def test_logs_are_means_over_the_measure():
    z = Particles(f64(np.log(A)), f64(np.zeros([3, 2])))
    logs = {"loss": f64(V), "finite": tf.constant(False)}
    means = measures.mean_logs(z, logs)
    assert_close(means["loss"], A @ V, 1e-14)
    assert not means["finite"]
