"""Augmentation of what the critic reads: the operations, where they are, ADA's feedback."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import assert_close
from tests.oracles import augmentation as oracle
from tf_mixed_nash import rng
from tf_mixed_nash.errors import InputError
from tf_mixed_nash.games.augmentation import OPERATIONS, Augmentation, parse, transformed
from tf_mixed_nash.games.game import Shard
from tf_mixed_nash.games.gan import GanGame, ParticleDraws, Regularizers
from tf_mixed_nash.games.objectives import OBJECTIVES
from tf_mixed_nash.methods.oracle import Oracle
from tf_mixed_nash.models import mlp
from tf_mixed_nash.models.network import Network
from tf_mixed_nash.types import PLAYERS, Measure, Pair, dirac, particles

H, W, C, N, D, M = 8, 9, 3, 6, 2, 5
RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.normal(size=(24, H, W, C))
U = RANDOM.random((24, 12)).astype(np.float32)
KEY = rng.stream(0, "field")


@pytest.mark.parametrize("policy", [*OPERATIONS, "cutout,color,translation"])
@pytest.mark.parametrize("p", [1.0, 0.5])
def test_the_operations_are_the_authors(policy, p):
    policy = parse(policy)
    for shape in ((H, W, C), (9, 8, 1)):
        x = np.resize(IMAGES, (24, *shape))
        ours = transformed(tf.constant(x), tf.constant(U), policy, p)
        assert_close(ours, oracle.transformed(x, U.astype(np.float64), policy, p), 1e-12)
        assert np.abs(ours - x).max() > 0.1


def test_what_is_not_applied_changes_no_bit_and_a_generator_learns_through_the_rest():
    x, u = tf.constant(IMAGES, tf.float32), tf.constant(U)
    np.testing.assert_array_equal(transformed(x, u, OPERATIONS, 0.0), x)
    # T is affine in the image: its derivative in the direction v is T(x + v) - T(x).
    x, v = tf.constant(IMAGES), tf.constant(np.roll(IMAGES, 1, axis=1))
    up = tf.constant(np.cos(np.arange(IMAGES.size)).reshape(IMAGES.shape))
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = transformed(x, u, OPERATIONS, 0.7)
    g = tape.gradient(y, x, up)
    expected = tf.reduce_sum(up * (transformed(x + v, u, OPERATIONS, 0.7) - y))
    assert float(tf.reduce_sum(g * v)) == pytest.approx(float(expected), rel=1e-10)


def test_in_another_precision_the_same_pixels_move():
    single = transformed(tf.constant(IMAGES, tf.float32), tf.constant(U), OPERATIONS, 0.8)
    double = transformed(tf.constant(IMAGES), tf.constant(U), OPERATIONS, 0.8)
    np.testing.assert_allclose(single, double, atol=1e-5)


# In a game.


def networks(num_classes=0):
    def dense(n, seed, activation=None):
        start = keras.initializers.RandomNormal(0.0, 0.3, seed=seed)
        return keras.layers.Dense(n, activation, kernel_initializer=start, dtype="float64")

    reshape = keras.layers.Reshape((H, W, C), dtype="float64")
    flatten = keras.layers.Flatten(dtype="float64")
    generator = [
        keras.Input((D + num_classes,), dtype="float64"),
        dense(H * W * C, 1, "tanh"),
        reshape,
    ]
    discriminator = [
        keras.Input((H, W, C + num_classes), dtype="float64"),
        flatten,
        dense(4, 2, "tanh"),
        dense(1, 3),
    ]
    return Pair(*(Network(keras.Sequential(x)) for x in (generator, discriminator)))


def game(augmentation, objective="nonsaturating", num_classes=0, draws=ParticleDraws(), **more):  # noqa: B008
    return GanGame(*networks(num_classes), D, OBJECTIVES[objective], Regularizers(**more),
                   num_classes, draws, augmentation=augmentation)  # fmt: skip


def real_data(num_classes=0):
    x = IMAGES[:N]
    if not num_classes:
        return tf.constant(x)
    classes = np.eye(num_classes)[np.arange(N) % num_classes][:, None, None]
    return tf.constant(np.concatenate([x, np.broadcast_to(classes, (N, H, W, num_classes))], -1))


def uniforms(player, use, seed=7):
    key = rng.fold_in(rng.stream(seed, f"augment/{player}"), M)
    return rng.uniform(key, [N, 12], tf.float32, at=use).numpy()


def seen(x, player, use, p, num_classes=0):
    """Data as the critic sees them, by the transcription."""
    x = x.numpy()
    u = uniforms(player, use).astype(np.float64)
    images = oracle.transformed(x[..., :C], u, OPERATIONS, p)
    return tf.constant(np.concatenate([images, x[..., C:]], axis=-1))


@pytest.mark.parametrize("num_classes", [0, 2])
def test_the_critic_learns_on_transformed_data_with_its_penalties_there(num_classes):
    ours = game(Augmentation(OPERATIONS, 7, 0.8), num_classes=num_classes, r1=0.3, r2=0.4)
    plain = game(None, num_classes=num_classes, r1=0.3, r2=0.4)
    theta, w = (network.initial() for network in networks(num_classes))
    real = real_data(num_classes)
    g, logs = ours.field("w", w, dirac(theta), real, KEY, m=tf.constant(M, tf.int64))
    assert set(logs) == {"loss", "penalty"}
    # The same game whose generator makes images that are transformed already.
    latents = plain.conditioned(plain.latents(KEY, N, tf.float64), real)
    fake = plain.labelled(plain.generator(theta, latents), latents)
    leaves = plain.discriminator.unflatten(w)
    with tf.GradientTape() as tape:
        tape.watch(leaves)
        f = lambda x: plain._critic(leaves, x)  # noqa: E731
        x, y = (seen(z, "w", use, 0.8, num_classes) for use, z in enumerate((real, fake)))
        loss = plain.objective(f(x), f(y)).discriminator
        penalty = plain._penalties(f, x, [1.0], [y], KEY, Shard())
        total = loss + penalty
    expected = plain.discriminator.flatten(tape.gradient(total, leaves))
    assert_close(g, expected, 1e-10)
    assert float(logs["penalty"]) == pytest.approx(float(penalty), rel=1e-10)
    assert np.abs(g - plain.field("w", w, dirac(theta), real, KEY)[0]).max() > 1e-3
    # Where no mini-batch is told, as in a duality gap, the data are as they are.
    np.testing.assert_array_equal(
        ours.field("w", w, dirac(theta), real, KEY)[0],
        plain.field("w", w, dirac(theta), real, KEY)[0],
    )


@pytest.mark.parametrize("objective", ["nonsaturating", "relativistic"])
def test_the_generator_learns_through_the_operations(objective):
    ours = game(Augmentation(OPERATIONS, 7), objective)
    theta, w = (network.initial() for network in networks())
    g, logs = ours.field("theta", theta, dirac(w), real_data(), KEY, m=M)
    u = [tf.constant(uniforms("theta", use)) for use in (0, 1)]
    leaves = ours.generator.unflatten(theta)
    with tf.GradientTape() as tape:
        tape.watch(leaves)
        fake = ours.generator.apply(leaves, ours.latents(KEY, N, tf.float64))
        x, y = (transformed(z, a, OPERATIONS, 1.0) for z, a in zip((real_data(), fake), u,
                                                                     strict=True))  # fmt: skip
        loss = ours.objective(ours.discriminator(w, x), ours.discriminator(w, y)).generator
    assert_close(g, ours.generator.flatten(tape.gradient(loss, leaves)), 1e-10)
    assert float(logs["loss"]) == pytest.approx(float(loss), rel=1e-12)


@pytest.mark.parametrize("player", PLAYERS)
def test_shards_have_their_rows_of_the_draws(player):
    ours = game(Augmentation(OPERATIONS, 7, 0.8))
    start, real = Pair(*(network.initial() for network in networks())), real_data()
    against = dirac(start.w if player == "theta" else start.theta)
    g, _ = ours.field(player, start.of(player), against, real, KEY, m=M)
    parts = [
        ours.field(player, start.of(player), against, x, KEY, Shard(i, 2), m=M)[0]
        for i, x in enumerate(tf.split(real, 2))
    ]
    assert_close(sum(parts) / 2, g, 1e-12)


def test_blocks_and_the_terms_of_a_measure_share_the_draws_of_a_point():
    start, real = Pair(*(network.initial() for network in networks())), real_data()
    ours = game(Augmentation(OPERATIONS, 7, 0.8, target=0.5))
    asked = {"m": M, "chance": tf.constant(0.8, tf.float64)}
    one, logs = ours.field("w", start.w, dirac(start.theta), real, KEY, **asked)
    f = ours.discriminator(start.w, seen(real, "w", 0, 0.8)).numpy()
    assert float(logs["sign"]) == np.sign(f).mean()
    twice = Measure((start.theta, start.theta), (2.0, -1.0))
    assert_close(ours.field("w", start.w, twice, real, KEY, **asked)[0], one, 1e-12)
    block, logs = ours.field("w", start.w[None], dirac(start.theta), real, KEY, **asked)
    assert_close(block[0], one, 1e-12)
    assert float(logs["sign"][0]) == np.sign(f).mean()
    # A mini-batch that is split between two equal generators is that of one of them.
    both = particles(tf.stack([start.theta, start.theta]))
    signed = Measure((both, both), (2.0, -1.0))
    thin = game(Augmentation(OPERATIONS, 7, 0.8))
    g, _ = thin.field("w", start.w, dirac(both), real, KEY, m=M)
    assert_close(thin.field("w", start.w, signed, real, KEY, m=M)[0], g, 1e-12)
    assert_close(g, one, 1e-12)
    block, _ = thin.field("theta", start.theta[None], dirac(start.w), real, KEY, m=M)
    one, _ = thin.field("theta", start.theta, dirac(start.w), real, KEY, m=M)
    assert_close(block[0], one, 1e-12)


def test_the_oracle_tells_the_mini_batch_and_the_probability():
    ours = game(Augmentation(OPERATIONS, 7, 1.0, target=0.5))
    start = Pair(*(network.initial() for network in networks()))
    asked = Oracle(ours, lambda m: real_data())
    assert (asked.logged("w"), asked.logged("theta")) == (("sign",), ())
    at = lambda o: o.field("w", start.w, dirac(start.theta), tf.constant(M, tf.int64))[0]  # noqa: E731
    never = Oracle(game(None), lambda m: real_data())
    assert never.logged("w") == ()
    np.testing.assert_array_equal(at(asked), at(never), "it begins at 0")
    always = at(Oracle(game(Augmentation(OPERATIONS, 7)), lambda m: real_data()))
    assert_close(at(asked.with_chance(tf.constant(1.0, tf.float64))), always, 1e-12)
    falling = Augmentation(OPERATIONS, 7, 0.5, lambda m: 1.0 - tf.cast(m, tf.float64) / 10)
    assert float(falling.chance(5)) == 0.25
    assert float(falling.chance(20)) == 0.0, "a factor may leave the range"


def test_the_probability_follows_the_signs_of_the_critic():
    ada = Augmentation(OPERATIONS, 0, 0.8, target=0.6, speed=1_000)
    for p, signs in ((0.3, [1, 1, 1, -1]), (0.3, [1, 1, 1, 1]), (0.79, [1] * 4), (0.01, [-1] * 4)):
        moved = ada.moved(tf.constant(p), tf.constant(np.mean(signs), tf.float32), tf.constant(20))
        assert float(moved) == pytest.approx(oracle.chance(p, signs, 0.6, 20, 1_000, 0.8), abs=1e-7)
    stays = ada.moved(tf.constant(0.3), tf.constant(0.6), tf.constant(20))
    assert float(stays) == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: parse("colour"), "Did you mean 'color'"),
        (lambda: parse("cutout,cutout"), "twice"),
        (lambda: Augmentation(OPERATIONS, probability=0.0), r"\(0, 1\], got 0.0"),
        (lambda: Augmentation(OPERATIONS, target=1.0), "mean sign of D"),
        (lambda: Augmentation(OPERATIONS, speed=0), "above 0"),
        (lambda: GanGame(mlp(D, 2, (4,)), mlp(2, 1, (4,)), D,
                         augmentation=Augmentation(OPERATIONS)), r"shape \[2\]"),
    ],
)  # fmt: skip
def test_errors(make, says):
    with pytest.raises(InputError, match=says):
        make()
