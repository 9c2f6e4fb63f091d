"""Laws of latents: of rows what they are of mini-batches, and functions of a key."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tf_mixed_nash import rng
from tf_mixed_nash.errors import InputError
from tf_mixed_nash.games.gan import GanGame
from tf_mixed_nash.latents import LatentLaw
from tf_mixed_nash.models import mlp
from tf_mixed_nash.strategies.mixed import MixedStrategy, seed_rows
from tf_mixed_nash.types import Measure

tfd = tfp.distributions


def cube(key, n):
    """Uniform on [0, 1]^3."""
    return tf.random.stateless_uniform([n, 3], key)


LAWS = {
    "function": (cube, 0.5, 1 / 12),
    "distribution": (tfd.Sample(tfd.Uniform(0.0, 1.0), [3]), 0.5, 1 / 12),
    "mixture": (
        tfd.MixtureSameFamily(
            tfd.Categorical(probs=[0.5, 0.5]),
            tfd.MultivariateNormalDiag([[-1.0] * 3, [1.0] * 3], [[0.1] * 3] * 2),
        ),
        0.0,
        1.01,
    ),
}


@pytest.mark.parametrize("name", LAWS)
def test_rows_and_mini_batches_have_the_law(name):
    law, mean, variance = LAWS[name]
    latents = LatentLaw(law)
    assert latents.dim == 3
    many = latents(rng.stream(0, "a"), 4_000, tf.float64)
    strategy = MixedStrategy(
        Measure(mlp(3, 2, (4,)).initial()[None], tf.ones([1])),
        mlp(3, 2, (4,)),
        3,
        latent_law=latents,
    )
    _, rows = strategy.draw(seed_rows(7, 2_000))
    for x in (many.numpy(), rows.numpy()):
        tolerance = 4.0 * (variance / len(x)) ** 0.5
        np.testing.assert_allclose(x.mean(axis=0), mean, atol=tolerance)
        np.testing.assert_allclose(x.var(axis=0), variance, rtol=0.15)
    _, some = strategy.draw(seed_rows(7, 5))
    np.testing.assert_array_equal(some, rows[:5])


def test_a_game_draws_its_latents_by_the_law():
    game = GanGame(mlp(3, 2, (4,)), mlp(2, 1, (4,)), 3, latent_law=LatentLaw(cube))
    x = game.latents(rng.stream(0, "a"), 100, tf.float32).numpy()
    assert 0.0 <= x.min() < 0.2 < 0.8 < x.max() <= 1.0


@pytest.mark.parametrize(
    ("law", "message"),
    [
        (tfd.Normal(0.0, 1.0), r"has event shape \[\]"),
        (tfd.MultivariateNormalDiag(tf.zeros([2, 3])), r"batch shape \[2\]"),
        (lambda key, n: tf.random.normal([n, 3]), "the same for the same key"),
        (lambda key, n: tf.zeros([n, 3]), "others for another"),
        (lambda key, n: tf.zeros([3, n]), r"must be float \[n, D\]"),
        (lambda n: n, "could not be drawn"),
        (3, "Latents must be"),
    ],
)
def test_what_is_no_law(law, message):
    with pytest.raises(InputError, match=message):
        LatentLaw(law)
