"""The loop's averages, snapshots and answers where the players are measures."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tests.trainers.conftest import state_of, tiny
from tf_mixed_nash.methods.schemes import Scheme
from tf_mixed_nash.training.loop import Loop
from tf_mixed_nash.types import Pair, Particles
from trainers.experiment.build import build

# Three generators; their weights and parents at outer steps 0, 1, ...
WEIGHTS = np.array([[0.5, 0.3, 0.2], [0.2, 0.2, 0.6], [0.1, 0.8, 0.1], [0.4, 0.4, 0.2]], "float32")
PARENTS = np.array([[0, 1, 2], [0, 0, 2], [2, 1, 2], [0, 1, 2]], "int32")
DECAY = 0.5


def moving(order=(0, 1, 2)) -> Scheme:
    """Atom j is at 10 j + t^2 after outer step t; all rows in another order."""
    order = np.array(order)
    inverse = np.argsort(order)

    def step(oracle, s, t, m):
        t = tf.minimum(t, 3)
        place = 10.0 * tf.cast(order, tf.float32) + tf.cast(t + 1, tf.float32) ** 2
        atoms = tf.zeros_like(s.theta.atoms) + place[:, None]
        log_weights = tf.math.log(tf.gather(tf.constant(WEIGHTS[:, order]), t))
        parents = tf.gather(tf.constant(inverse[PARENTS[:, order]], tf.int32), t)
        log = {k: tf.zeros([]) for k in ("loss", "penalty", "field_norm")}
        log["finite"] = tf.constant(True)
        return Pair(Particles(log_weights, atoms), s.w), Pair({**log, "parents": parents}, log)

    def init(theta, w):
        return Pair(Particles(tf.math.log(tf.fill([3], 1 / 3)), tf.zeros_like(theta)), w)

    return Scheme(
        init,
        step,
        output=lambda s: Pair(s.theta.atoms, s.w),
        num_batches=lambda t: 1,
        anchor=lambda s: Pair(s.theta.atoms, s.w),
        weights=lambda s: Pair(tf.exp(s.theta.log_weights), None),
    )


def loop_of(scheme, window=(0.5, 1.0)):
    config = tiny(
        "mirror_gan", num_batches=4, batch_size=15, generator__num_particles=3, ema_decay=DECAY
    )
    run = build(config)
    return Loop(dataclasses.replace(run, scheme=scheme, num_components=2, window=window))


@pytest.fixture(scope="module")
def loop():
    loop = loop_of(moving())
    assert loop.advance(4) is None
    return loop


def emas():
    """After four steps: every atom's own, from 0; a reborn one has its parent's past."""
    ema = np.zeros(3)
    for t in range(4):
        ema = ema[PARENTS[t]]
        ema = DECAY * ema + (1 - DECAY) * (10.0 * np.arange(3) + (t + 1) ** 2)
    return ema


def test_every_atom_has_its_own_average(loop):
    np.testing.assert_allclose(loop.ema()[:, 0], emas(), rtol=1e-6)
    beta = loop.run.hyperparameters.theta.damping
    end = 10.0 * np.arange(3) + 16.0
    expected = (end - (1 - beta) * (end - 16.0 + 9.0)) / beta
    np.testing.assert_allclose(loop.inner_average()[:, 0], expected, rtol=1e-5)


def test_answers_are_measures_with_weights(loop):
    answers = loop.answers()
    np.testing.assert_allclose(answers["last"].atoms[:, 0], [16, 26, 36])
    np.testing.assert_allclose(answers["last"].weights, WEIGHTS[3], rtol=1e-6)
    np.testing.assert_allclose(answers["ema"].atoms[:, 0], emas(), rtol=1e-6)
    np.testing.assert_allclose(answers["ema"].weights, WEIGHTS[3], rtol=1e-6)
    # All atoms of the two kept steps together, each step with half of the mass.
    steps = loop.mixture_pairs()[1].numpy()
    assert sorted(steps) == [2, 3]
    mixture = answers["mixture"]
    places = (10 * np.arange(3) + (steps[:, None] + 1) ** 2).reshape(-1)
    np.testing.assert_allclose(mixture.atoms[:, 0], places)
    np.testing.assert_allclose(mixture.weights, WEIGHTS[steps].reshape(-1) / 2, rtol=1e-6)
    np.testing.assert_allclose(tf.reduce_sum(mixture.weights), 1.0, rtol=1e-6)
    critics = loop.kept_critics()
    assert critics.atoms.shape == (2, loop.run.networks.w.dim)
    np.testing.assert_allclose(critics.weights, [0.5, 0.5])


def test_another_order_of_the_atoms_is_another_order_of_everything(loop):
    order = [2, 0, 1]
    permuted = loop_of(moving(order))
    permuted.advance(4)
    mine, theirs = permuted.answers(), loop.answers()
    for name in mine:
        rows = lambda x: np.reshape(x, [-1, 3, *x.shape[1:]])  # noqa: E731
        for a, b in zip(mine[name], theirs[name], strict=True):
            np.testing.assert_array_equal(rows(a.numpy()), rows(b.numpy())[:, order], name)


def test_a_checkpoint_holds_the_measures(loop):
    tensors = {name: np.array(value) for name, value in loop.tensors().items()}
    dim = loop.run.networks.theta.dim
    assert tensors["mixture"].shape == (2, 3, dim)
    assert tensors["mixture_weights"].shape == (2, 3)
    assert "mixture_w_weights" not in tensors
    again = loop_of(moving())
    again.assign(tensors)
    for name, value in state_of(again).items():
        np.testing.assert_array_equal(value, tensors[name], name)
    taken = again.answers(take=True)["mixture"]
    np.testing.assert_array_equal(taken.weights, loop.answers()["mixture"].weights)


def test_before_the_window_the_mixture_is_the_last_measure():
    answers = loop_of(moving()).answers()
    assert answers["mixture"] is answers["last"]
    assert answers["last"].atoms.shape[0] == 3
