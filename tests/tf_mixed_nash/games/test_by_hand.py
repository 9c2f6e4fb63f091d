"""Chains, differentiated by hand: against TensorFlow's gradients, and differences of the loss."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests import helpers
from tests.helpers import assert_close
from tf_mixed_nash import compile as compiling
from tf_mixed_nash import rng
from tf_mixed_nash.algorithms import ALGORITHMS, build
from tf_mixed_nash.games.gan import GanGame, Regularizers
from tf_mixed_nash.games.objectives import OBJECTIVES
from tf_mixed_nash.methods.oracle import Oracle
from tf_mixed_nash.models import mlp
from tf_mixed_nash.models.activations import leaky_relu
from tf_mixed_nash.models.chain import chain_of
from tf_mixed_nash.models.network import Network
from tf_mixed_nash.types import PLAYERS, Measure, Pair, dirac

KEY, NUM, LATENT_DIM = tf.constant([3, 4], tf.int32), 8, 3
PENALTIES = {
    "none": {},
    "gradient": {"gradient_penalty": 10.0},
    "r1": {"r1": 0.3},
    "r2": {"r2": 0.4},
    "both": {"r1": 0.3, "r2": 0.4},
    "gradient, r1": {"gradient_penalty": 1.0, "r1": 0.3},
    "gradient, r2": {"gradient_penalty": 1.0, "r2": 0.3},
}


def game(
    penalty="gradient", objective="wgan", fourier=0, activation="relu", classes=0, packing=1,
    dtype="float64", regularizers=None,
):  # fmt: skip
    generator = mlp(LATENT_DIM + classes, 2, (16, 16), activation=activation, dtype=dtype, seed=1)
    critic = mlp((2 + classes) * packing, 1, (16, 24), activation=activation, dtype=dtype, seed=9,
                 penalized=True, fourier_features=fourier, fourier_highest=4.0)  # fmt: skip
    return GanGame(generator, critic, LATENT_DIM, OBJECTIVES[objective],
                   regularizers or Regularizers(**PENALTIES[penalty]), classes,
                   packing=packing)  # fmt: skip


def in_general(game):
    """The game, whose fields TensorFlow differentiates."""
    game._chains = Pair(None, None)
    return game


def points(game):
    networks = Pair(game.generator, game.discriminator)
    return Pair(*(
        networks.of(p).initial() + 0.3 * rng.normal(KEY, [networks.of(p).dim], networks.of(p).dtype,
                                                     at=4 + i)
        for i, p in enumerate(PLAYERS)
    ))  # fmt: skip


def data(game):
    x = rng.normal(KEY, [NUM, 2], game.generator.dtype, at=9)
    if not game.num_classes:
        return x
    k = game.num_classes
    return tf.concat([x, tf.one_hot(tf.range(NUM) % k, k, dtype=x.dtype)], axis=1)


def asked(game, player, measure=None, key=KEY):
    """(field, logs) of a player, in a graph."""
    at = points(game)
    rival = measure or dirac(at.w if player == "theta" else at.theta)
    ask = tf.function(
        lambda: game.field(player, at.of(player), rival, data(game), key), autograph=False
    )
    g, logs = ask()
    return g.numpy(), {name: float(x) for name, x in logs.items()}


def assert_same(ours, theirs, tolerance=1e-12):
    assert np.linalg.norm(ours[0] - theirs[0]) <= tolerance * np.linalg.norm(theirs[0])
    assert ours[1] == pytest.approx(theirs[1], rel=tolerance, abs=tolerance)


WAYS = {
    "fourier": {"fourier": 5, "objective": "relativistic"},
    "leaky": {"activation": leaky_relu(0.3), "objective": "nonsaturating"},
    "classes": {"classes": 2, "fourier": 3},
    "packs": {"packing": 2},
}


@pytest.mark.parametrize(
    ("penalty", "how"),
    [
        *((penalty, {}) for penalty in PENALTIES),
        *((penalty, how) for how in WAYS.values() for penalty in ("gradient", "both")),
    ],
    ids=[*PENALTIES, *(f"{how}-{p}" for how in WAYS for p in ("gradient", "both"))],
)
def test_the_critics_field_is_that_of_tensorflow(penalty, how):
    ours, theirs = game(penalty, **how), in_general(game(penalty, **how))
    assert ours._chains.w is not None
    assert_same(asked(ours, "w"), asked(theirs, "w"))
    z = points(ours).theta
    signed = Measure((z, 0.9 * z), (2.0, -1.0))
    assert_same(asked(ours, "w", signed), asked(theirs, "w", signed))


@pytest.mark.parametrize("penalty", ["gradient", "both"])
def test_the_critics_field_is_the_slope_of_its_loss(penalty):
    one = game(penalty, "relativistic", fourier=3)
    g, _ = asked(one, "w")
    at, direction = points(one), rng.normal(KEY, [one.discriminator.dim], tf.float64, at=77)

    def total(w):
        logs = one.field("w", w, dirac(at.theta), data(one), KEY)[1]
        return float(logs["loss"] + logs["penalty"])

    h = 1e-6  # so near that few rows cross a kink: their share of the error is of order h
    difference = (total(at.w + h * direction) - total(at.w - h * direction)) / (2 * h)
    assert float(np.dot(g, direction)) == pytest.approx(difference, rel=1e-6)


@pytest.mark.parametrize(
    ("penalty", "objective", "fourier"),
    [("gradient", "wgan", 0), ("both", "relativistic", 5), ("none", "hinge", 0)],
)
def test_both_fields_at_once_are_the_two(penalty, objective, fourier):
    one = game(penalty, objective, fourier)
    keys = Pair(KEY, KEY + 5)
    found = tf.function(lambda: one.both(points(one), data(one), keys), autograph=False)()
    for player in PLAYERS:
        g, logs = found.of(player)
        ours = g.numpy(), {name: float(x) for name, x in logs.items()}
        assert_same(ours, asked(in_general(game(penalty, objective, fourier)), player,
                                key=keys.of(player)))  # fmt: skip


@pytest.mark.parametrize(
    "how", [{"classes": 2}, {"packing": 2}, {"regularizers": Regularizers(own=lambda *_: 0.0)}]
)
def test_other_games_find_each_field_alone(how):
    one = game(**how)
    assert one.both(points(one), data(one), Pair(KEY, KEY)) is None
    assert in_general(game()).both(points(one), data(one), Pair(KEY, KEY)) is None


def test_half_precision_is_that_of_tensorflow_as_far_as_it_goes():
    how = {"penalty": "gradient", "dtype": "mixed_bfloat16"}
    for player in PLAYERS:
        ours, theirs = asked(game(**how), player), asked(in_general(game(**how)), player)
        assert np.linalg.norm(ours[0] - theirs[0]) < 0.05 * np.linalg.norm(theirs[0])
    assert game(dtype="mixed_float16")._chains == (None, None), "whose loss is scaled"


def network(*layers, width=2):
    return Network(keras.Sequential([keras.Input((width,)), *layers]))


Dense = keras.layers.Dense


@pytest.mark.parametrize(
    ("layers", "slopes"),
    [
        ([Dense(4, "relu"), Dense(1)], [0.0, 1.0]),
        ([Dense(4), keras.layers.LeakyReLU(0.1), Dense(1)], [0.1, 1.0]),
        ([Dense(4), keras.layers.ReLU(), keras.layers.Flatten(), Dense(1)], [0.0, 1.0]),
        ([Dense(4, "leaky_relu", use_bias=False), Dense(2)], [0.2, 1.0]),
        ([Dense(4), keras.layers.Activation("relu"), Dense(1)], [0.0, 1.0]),
        ([Dense(4, "tanh"), Dense(1)], None),
        ([Dense(4, "relu"), keras.layers.ReLU(), Dense(1)], None),
        ([Dense(4), keras.layers.ReLU(max_value=6.0), Dense(1)], None),
        ([keras.layers.ReLU(), Dense(1)], None),
        ([Dense(4, "relu"), keras.layers.BatchNormalization(), Dense(1)], None),
        ([Dense(4, "relu"), keras.layers.Dropout(0.1), Dense(1)], None),
        ([Dense(4, "relu", dtype="mixed_bfloat16"), Dense(1)], None),
    ],
)
def test_which_networks_are_chains(layers, slopes):
    found = chain_of(network(*layers))
    assert (found and [layer.slope for layer in found._layers]) == slopes


def test_rows_of_more_than_one_axis_are_no_chains():
    layers = [keras.Input((3, 2)), Dense(4, "relu"), Dense(1)]
    assert chain_of(Network(keras.Sequential(layers))) is None


class Sloping:
    """An activation of the user's, with an attribute of an inviting name."""

    slope = 0.2

    def __call__(self, x):
        return tf.sin(x)


def test_an_activation_is_known_by_what_it_is():
    assert chain_of(network(Dense(4, Sloping()), Dense(1))) is None
    found = chain_of(network(Dense(4, leaky_relu(0.3)), Dense(1)))
    assert found._layers[0].slope == 0.3


@pytest.mark.parametrize("bias", [True, False])
def test_a_chain_is_its_network_and_its_slopes_are_the_gradients(bias):
    one = network(Dense(5, "relu", use_bias=bias), Dense(4, "leaky_relu", use_bias=bias), Dense(1))
    chain = chain_of(one)
    leaves = one.unflatten(rng.normal(KEY, [one.dim], tf.float32))
    x = rng.normal(KEY, [6, 2], tf.float32, at=2)
    passed = chain.passed(leaves, x)
    assert_close(passed.y, one.apply(leaves, x), 1e-6)
    slopes = chain.slopes(leaves, passed)
    u, _ = chain.of_inputs(leaves, x, slopes[0])
    with tf.GradientTape() as tape:
        tape.watch([x, *leaves])
        y = tf.reduce_sum(one.apply(leaves, x))
    of_x, *of_leaves = tape.gradient(y, [x, *leaves])
    assert_close(u, of_x, 1e-5)
    for ours, theirs in zip(chain.gradient(leaves, passed.inputs, slopes), of_leaves, strict=True):
        assert_close(ours, theirs, 1e-5)


SIMULTANEOUS = ("sgd", "adam", "mirror_gan", "extra_adam", "past_extra_adam", "mirror_prox_gan")


@pytest.mark.parametrize(
    ("name", "steps"),
    [*((name, 1) for name in SIMULTANEOUS), ("alt_mirror_gan", 1), ("mirror_gan", 3)],
)
def test_steps_for_a_gpu_are_those_of_a_cpu(name, steps, monkeypatch):
    def after(scheme, oracle, start):
        states, _ = helpers.run(scheme, oracle, start, 2)
        return states[-1]

    calls = []
    both = GanGame.both
    monkeypatch.setattr(GanGame, "both", lambda *args: calls.append(1) or both(*args))
    one = game("gradient")
    settings, _ = helpers.hyperparameters(growing=False, preconditioned=True)
    if ALGORITHMS[name].langevin:
        settings = Pair(*(dataclasses.replace(h, num_inner_steps=lambda t: 1) for h in settings))
    scheme = build(name, settings, steps)
    oracle = Oracle(one, lambda m: data(one) * tf.cast(1 + m, tf.float64), seed=3)
    apart = after(scheme, oracle, points(one))
    assert not calls
    with compiling.as_for_gpu():
        together = after(scheme, oracle, points(one))
    assert bool(calls) == (not name.startswith("alt_"))
    for player in PLAYERS:
        assert_close(together[player], apart[player], 1e-12)


def test_only_the_question_that_was_met_is_answered_at_once():
    one = game()
    at, m = points(one), tf.constant(3, tf.int64)
    plain = Oracle(one, lambda m: data(one) * tf.cast(1 + m, tf.float64), seed=3)
    with compiling.as_for_gpu():
        oracle = plain.together(at, m)
    other = 0.9 * at.theta
    for z, rival, batch in (
        (at.w, dirac(at.theta), m),
        (at.w, dirac(other), m),
        (at.w, Measure((at.theta,), (2.0,)), m),
        (at.w, Measure((at.theta, other), (2.0, -1.0)), m),
        (at.w + 0.1, dirac(at.theta), m),
        (at.w, dirac(at.theta), m + 1),
    ):
        ours, theirs = (o.field("w", z, rival, batch)[0] for o in (oracle, plain))
        assert_close(ours, theirs, 1e-12)
