"""The oracle: which draw belongs to which seed, player and mini-batch."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from tests import helpers
from tests.helpers import index
from tf_mixed_nash import rng
from tf_mixed_nash.methods.oracle import Oracle
from tf_mixed_nash.types import PLAYERS, dirac, other


class Recorder:
    """A game that keeps what its field is called with."""

    def __init__(self):
        self.calls = []

    def field(self, *arguments):
        self.calls.append(arguments)
        return tf.zeros_like(arguments[1]), {}


@pytest.mark.parametrize("player", PLAYERS)
@pytest.mark.parametrize("m", [5, index(5)], ids=["python", "tensor"])
def test_field_passes_the_mini_batch_and_its_key(player, m):
    game, z, rival = Recorder(), tf.zeros([3]), dirac(tf.ones([2]))
    Oracle(game, lambda m: 10 * m, seed=4).field(player, z, rival, m)
    ((who, point, opponent, batch, key),) = game.calls
    assert (who, point is z, opponent is rival) == (player, True, True)
    assert int(batch) == 50
    np.testing.assert_array_equal(key, rng.fold_in(rng.stream(4, f"field/{player}"), 5))


@pytest.mark.parametrize("player", PLAYERS)
def test_noise_is_keyed_by_seed_player_and_mini_batch(player):
    z = tf.zeros([6], tf.float64)
    xi = Oracle(Recorder(), seed=4).noise(player, z, index(5))
    key = rng.stream(4, f"noise/{player}")
    np.testing.assert_array_equal(xi, rng.normal(key, 6, tf.float64, at=5))


def test_every_key_is_used_for_one_purpose():
    keys = set()
    for seed, purpose, player, m in itertools.product(
        range(5), ("field", "noise"), PLAYERS, range(20)
    ):
        keys.add(tuple(rng.fold_in(rng.stream(seed, f"{purpose}/{player}"), m).numpy()))
    assert len(keys) == 5 * 2 * 2 * 20


def test_a_custom_evaluation_replaces_the_call_of_the_game():
    """As a distribution strategy does."""
    game = helpers.small_gan()
    doubled = lambda *args: (2.0 * game.field(*args)[0], {})  # noqa: E731
    plain, custom = helpers.gan_oracle(game), helpers.gan_oracle(game, evaluate=doubled)
    theta, w = helpers.gan_start(game)
    g, _ = plain.field("w", w, dirac(theta), 0)
    np.testing.assert_array_equal(custom.field("w", w, dirac(theta), 0)[0], 2 * g)


def test_games_without_data_see_no_batch():
    game = Recorder()
    Oracle(game).field("w", tf.zeros([3]), dirac(tf.ones([2])), 0)
    assert game.calls[0][3] is None


@pytest.mark.parametrize("player", PLAYERS)
def test_project_is_the_games(player):
    game = helpers.small_gan(weight_clip=0.1)
    z = tf.constant([-0.5, 0.05, 0.5])
    expected = [-0.1, 0.05, 0.1] if player == "w" else [-0.5, 0.05, 0.5]
    np.testing.assert_allclose(Oracle(game).project(player, z), expected, rtol=1e-7)
    assert other(other(player)) == player != other(player)
