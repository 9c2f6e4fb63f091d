"""A training made in Python: no config, no files, data of the user's own."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import f64, gan_oracle, hyperparameters, real_batches, run, small_gan
from tf_mixed_nash import algorithms
from tf_mixed_nash.strategies.mixed import seed_rows
from tf_mixed_nash.training.loop import Loop
from tf_mixed_nash.training.run import Training, num_outer_steps
from tf_mixed_nash.types import Pair


class Feed:
    """64 mini-batches over and over, in the graph."""

    signature, waited = (), 0.0

    def __init__(self, dtype):
        self.batches = real_batches(dtype.name)

    def limit(self, start, end):
        return end

    def block(self, start, end):
        return ()

    def batch_at(self, block, m):
        return tf.gather(self.batches, tf.cast(m, tf.int64) % 64)

    def close(self):
        pass


def training(algorithm, num_batches=12, **more):
    game = small_gan(gradient_penalty=0.1)
    both, _ = hyperparameters(growing=True, preconditioned=False)
    both = Pair(*(dataclasses.replace(h, num_chains=3) for h in both))
    scheme = algorithms.build(algorithm, both, 1)
    return Training(
        algorithm=algorithm,
        oracle=gan_oracle(game),
        scheme=scheme,
        hyperparameters=both,
        feed=Feed,
        other_networks=lambda j: Pair(*_others(j)),
        seed=0,
        num_batches=num_batches,
        num_outer_steps=num_outer_steps(scheme, num_batches),
        batch_size=6,
        num_components=2,
        window=(0.5, 1.0),
        **more,
    )


def _others(j):
    game = small_gan()
    for network in (game.generator, game.discriminator):
        yield _Moved(network, j)


class _Moved:
    """A network whose initialisation is another's, moved."""

    def __init__(self, network, by):
        self.network, self.by = network, by

    def initial(self):
        return self.network.initial() + self.by


@pytest.mark.parametrize("algorithm", ["mirror_gan", "alt_mirror_prox_gan", "optimistic_adam"])
def test_the_loop_needs_no_config(algorithm):
    what = training(algorithm)
    loop = Loop(what)
    assert loop.advance(12) is None
    start = Pair(*(network.initial() for network in what.networks))
    outputs, _ = run(what.scheme, what.oracle, start, what.num_outer_steps)
    np.testing.assert_allclose(loop.last().theta, outputs[-1]["theta"], rtol=1e-9, atol=1e-11)
    # The window's snapshots are outputs, and can be sampled.
    pairs, steps = loop.mixture_pairs()
    first, last = what.kept_steps
    assert set(steps.numpy()) <= set(range(first, last))
    expected = [outputs[t]["theta"] for t in steps.numpy()]
    np.testing.assert_allclose(pairs.theta, expected, rtol=1e-9, atol=1e-11)
    mixture = what.strategy(pairs.theta)
    assert mixture.num_components == len(steps) == 2
    assert mixture.sample(seed_rows(0, 5)).shape == (5, 2)
    weighted = what.strategy(pairs.theta, f64([1.0, 0.0]))
    np.testing.assert_array_equal(weighted.weights, [1.0, 0.0])


@pytest.mark.parametrize("algorithm", ["mirror_gan", "sample_md"])
def test_only_algorithms_with_chains_start_at_several_initialisations(algorithm):
    what = training(algorithm)
    theta = what.initial_state().theta.z.numpy()
    first = what.networks.theta.initial().numpy()
    expected = first if algorithm == "mirror_gan" else np.stack([first, first + 1, first + 2])
    np.testing.assert_allclose(theta, expected, rtol=1e-12)


def test_the_window_is_of_outer_steps():
    what = training("mirror_prox_gan", num_batches=41)
    assert what.kept_steps == (int(0.5 * what.num_outer_steps), what.num_outer_steps)
