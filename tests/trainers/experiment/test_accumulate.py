"""Gradient accumulation: micro-batches that add up to the mini-batch."""

import numpy as np
import pytest
import tensorflow as tf

from tests import helpers
from tests.trainers.conftest import tiny
from tf_mixed_nash import rng
from tf_mixed_nash.errors import InputError
from tf_mixed_nash.games.game import Shard
from tf_mixed_nash.training.loop import Loop
from tf_mixed_nash.types import PLAYERS, dirac, other
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


def test_a_run_is_the_same_but_for_rounding():
    def run(accumulate):
        loop = Loop(build(tiny("mirror_prox_gan", num_batches=20, precision="float64",
                               accumulate=accumulate, temperature=1e-4)))  # fmt: skip
        loop.advance(20)
        return loop.last().theta.numpy()

    one, four = run(1), run(4)
    np.testing.assert_allclose(four, one, rtol=1e-8, atol=1e-10)
    assert np.abs(four - one).max() > 0, "nothing was split"


@pytest.mark.parametrize("value", [0, 3])
def test_parts_must_divide_the_mini_batch(value):
    with pytest.raises(InputError, match="accumulate"):
        tiny(batch_size=16, accumulate=value)
