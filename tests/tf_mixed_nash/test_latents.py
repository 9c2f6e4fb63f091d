"""Laws of latents: of rows what they are of mini-batches, and functions of a key."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from export import checks
from tf_mixed_nash import latents as sut
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


ROWS = tf.constant([[1, 2], [3, -4], [5, 6]], tf.int32)
TFP = {
    "normal": tfd.MultivariateNormalDiag(tf.zeros([3]), [1.0, 2.0, 3.0]),
    "independent": tfd.Independent(tfd.Normal([0.0, 1.0], 2.0), 1),
    "uniform": tfd.Sample(tfd.Uniform(-1.0, 1.0), [2]),
    "mixture": LAWS["mixture"][0],
    "gamma": tfd.Sample(tfd.Gamma(2.0, 1.0), [2]),
    "student": tfd.Sample(tfd.StudentT(4.0, 0.0, 1.0), [2]),
    "laplace, moved": tfd.TransformedDistribution(
        tfd.Sample(tfd.Laplace(0.0, 1.0), [2]), tfp.bijectors.Shift([1.0, 2.0])
    ),
}


def operations(function):
    """Of a concrete function and all that it calls: (node, the nodes beside it by name)."""
    graph = function.graph.as_graph_def()
    for nodes in (graph.node, *(f.node_def for f in graph.library.function)):
        by_name = {node.name: node for node in nodes}
        yield from ((node, by_name) for node in nodes)


@pytest.mark.parametrize("name", TFP)
def test_rows_of_a_law_of_tfp_name_their_generator_and_no_number_is_another(name):
    law = TFP[name]
    latents = LatentLaw(law)
    expected = [law.sample(1, seed=key)[0] for key in tf.unstack(ROWS)]
    np.testing.assert_array_equal(latents.of_rows(ROWS), tf.stack(expected))
    graph = latents._rows.get_concrete_function()
    draws = [
        (node, by_name)
        for node, by_name in operations(graph)
        if node.op.startswith("StatelessRandom") and node.op.endswith(("V2", "V3"))
    ]
    assert draws
    assert all(checks._is_philox(node, by_name) for node, by_name in draws)
    assert not [node for node, _ in operations(graph) if node.op == "StatelessRandomGetKeyCounter"]


def test_other_draws_are_as_they_were():
    """Only what is traced inside names its generator, and what names another keeps it."""

    def pinned(**named):
        draw = tf.function(lambda key: tf.random.stateless_uniform([2], key, **named))
        nodes = operations(draw.get_concrete_function(ROWS[0]))
        return [checks._is_philox(n, by) for n, by in nodes if n.op == "StatelessRandomUniformV2"]

    with sut._named():
        assert pinned() == [True]
        assert pinned(alg="threefry") == [False]
    assert pinned() == [False]


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
