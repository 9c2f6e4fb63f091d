"""Gradient accumulation: micro-batches that add up to the mini-batch."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests import helpers
from tests.trainers.conftest import tiny
from tf_mixed_nash import rng
from tf_mixed_nash.errors import InputError
from tf_mixed_nash.games.game import Shard
from tf_mixed_nash.training.loop import Loop
from tf_mixed_nash.types import PLAYERS, Pair, dirac, other
from trainers.experiment.build import build
from trainers.system import devices


@pytest.mark.parametrize("player", PLAYERS)
@pytest.mark.parametrize("shard", [Shard(), Shard(1, 2)])
def test_the_field_is_that_of_the_whole_mini_batch(player, shard):
    game = helpers.small_gan("hinge", gradient_penalty=0.7, r1=0.3)
    start, real = helpers.gan_start(game), helpers.real_batches()[0]
    key = rng.stream(0, "field")
    z, rival = start.of(player), dirac(start.of(other(player)))
    sizes = []

    def field(player, z, opponent, batch, key, shard):
        sizes.append(batch.shape[0])
        return game.field(player, z, opponent, batch, key, shard)

    whole, logs = game.field(player, z, rival, real, key, shard)
    parts, their_logs = tf.function(devices._accumulated(field, 3), autograph=False)(
        player, z, rival, real, key, shard
    )
    np.testing.assert_allclose(parts, whole, rtol=1e-11, atol=1e-13)
    for name, value in logs.items():
        np.testing.assert_allclose(their_logs[name], value, rtol=1e-11, atol=1e-13)
    assert set(sizes) == {real.shape[0] // 3}, "no part sees more than its rows"
    wrong, _ = devices._accumulated(
        lambda *a: game.field(*a[:-1]),
        3,  # every part draws for itself: the shard is lost
    )(player, z, rival, real, key, shard)
    assert np.abs(wrong - whole).max() > 1e-4


def test_parts_and_replicas_read_the_states_of_the_layers():
    def field(player, z, opponent, batch, key, shard, states):
        return states.w, {"loss": tf.reduce_mean(batch)}

    game: Any = SimpleNamespace(field=field)
    two: Any = SimpleNamespace(
        num_replicas_in_sync=2,
        run=lambda function, args: function(*args),
        reduce=lambda op, value, axis: value,
    )
    z, batch = tf.zeros([3]), tf.ones([4, 2])
    states = Pair(None, tf.constant([2.0, -1.0]))
    for evaluate in (devices.evaluator(game, two), devices.evaluator(game, None, 2)):
        g, logs = evaluate("w", z, dirac(z), batch, rng.stream(0, "field"), states=states)
        np.testing.assert_array_equal(g, states.w)
        assert float(logs["loss"]) == 1.0


def test_a_run_is_the_same_but_for_rounding():
    def run(accumulate):
        loop = Loop(build(tiny("mirror_gan", num_batches=8, precision="float64",
                               accumulate=accumulate, temperature=1e-4)))  # fmt: skip
        loop.advance(8)
        return loop.last().theta.numpy()

    one, four = run(1), run(4)
    np.testing.assert_allclose(four, one, rtol=1e-8, atol=1e-10)
    assert np.abs(four - one).max() > 0, "nothing was split"


@pytest.mark.parametrize("value", [0, 3])
def test_parts_must_divide_the_mini_batch(value):
    with pytest.raises(InputError, match="accumulate"):
        tiny(batch_size=16, accumulate=value)
