"""Penalties: of the user, in every n-th outer step, by a schedule, of blocks; packs of data."""

import numpy as np
import pytest
import tensorflow as tf

from tests import helpers
from tests.helpers import GENERATOR, LATENT_DIM, assert_close
from tests.oracles import gan
from tf_mixed_nash import rng
from tf_mixed_nash.errors import InputError
from tf_mixed_nash.games.game import Shard
from tf_mixed_nash.games.gan import GanGame, ParticleDraws, Regularizers
from tf_mixed_nash.games.objectives import OBJECTIVES
from tf_mixed_nash.methods.oracle import Oracle
from tf_mixed_nash.models import mlp
from tf_mixed_nash.types import PLAYERS, Measure, dirac, particles

R = {"r1": 0.3, "r2": 0.4}
REAL = helpers.real_batches()[3]


def own_zero_centred(critic, real, fake, key):
    """R1 and R2 as a user would write them."""

    def mean(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = tf.reduce_sum(critic(x))
        return tf.reduce_mean(tf.reduce_sum(tape.gradient(y, x) ** 2, axis=-1))

    return R["r1"] / 2 * mean(real) + R["r2"] / 2 * mean(fake)


def game(objective="relativistic", draws=ParticleDraws(), **regularizers):  # noqa: B008
    nets = (mlp(LATENT_DIM, 2, (8, 8), seed=1, dtype="float64"),
            mlp(2, 1, (8, 8), seed=11, dtype="float64"))  # fmt: skip
    return GanGame(*nets, LATENT_DIM, OBJECTIVES[objective], Regularizers(**regularizers),
                   draws=draws)  # fmt: skip


def field(game, player="w", m=3, **kwargs):
    start = helpers.gan_start(game)
    key = rng.fold_in(rng.stream(0, f"field/{player}"), 3)
    rival = start.theta if player == "w" else start.w
    g, logs = game.field(player, start.of(player), dirac(rival), REAL, key, m=m, **kwargs)
    return g.numpy(), {k: float(x) for k, x in logs.items()}


def test_a_users_penalty_is_added_to_the_critics_loss():
    ours, logs = field(game(own=own_zero_centred))
    theirs, expected = field(game(**R))
    assert_close(ours, theirs, 1e-12)
    assert logs["penalty"] == pytest.approx(expected["penalty"], rel=1e-12)
    assert logs["penalty"] > 1e-3
    plain, _ = field(game(), "theta")
    np.testing.assert_array_equal(field(game(own=own_zero_centred), "theta")[0], plain)


@pytest.mark.parametrize("compiled", [False, True])
def test_a_lazy_penalty_is_that_of_its_outer_steps_times_their_interval(compiled):
    bare, whole = field(game())[0], field(game(**R))[0]
    lazy = game(every=4, **R)

    def at(t):
        if not compiled:
            return field(lazy, t=t)[0]
        start = helpers.gan_start(lazy)
        key = rng.fold_in(rng.stream(0, "field/w"), 3)
        step = tf.function(
            lambda t: lazy.field("w", start.w, dirac(start.theta), REAL, key, m=t, t=t)[0],
            autograph=False,
        )
        return step(tf.constant(t, tf.int64)).numpy()

    for t in (0, 4, 8):
        assert_close(at(t), bare + 4 * (whole - bare), 1e-12)
    for t in (1, 3, 7):
        assert_close(at(t), bare, 1e-12)


def test_a_lazy_penalty_follows_the_outer_step_whatever_the_mini_batch():
    bare, whole = field(game())[0], field(game(**R))[0]
    lazy = game(every=3, **R)
    for m in (0, 1, 3, 5):
        assert_close(field(lazy, m=m, t=6)[0], bare + 3 * (whole - bare), 1e-12)
        assert_close(field(lazy, m=m, t=1)[0], bare, 1e-12)
    start, index = helpers.gan_start(lazy), tf.constant(3, tf.int64)
    asked = Oracle(lazy, lambda m: REAL)
    given = ("w", start.w, dirac(start.theta), index)
    due, not_due = (asked.with_outer_step(t).field(*given)[0] for t in (3, 4))
    bare, whole = (Oracle(g, lambda m: REAL).field(*given)[0] for g in (game(), game(**R)))
    assert_close(due, bare + 3 * (whole - bare), 1e-12)
    assert_close(not_due, bare, 1e-12)
    with pytest.raises(InputError, match=r"n = 3, and the.*Ask oracle\.with_outer_step\(t\)"):
        asked.field(*given)


def test_what_is_known_of_lazy_penalties_is_said_of_them_alone():
    said = Regularizers(every=4, **R).note
    assert said.startswith("penalty_every=4: it saves time, no more; R3GAN's authors")
    assert Regularizers(**R).note == ""
    assert Regularizers(every=4).note == "", "there is no penalty"


def test_a_factor_follows_the_mini_batches_through_the_oracle():
    moving = game(factor=lambda m: 1.0 + tf.cast(m, tf.float64), **R)
    assert moving.reads_the_step
    assert not game(**R).reads_the_step
    assert not game(every=4).reads_the_step, "there is no penalty"
    start = helpers.gan_start(moving)
    batches = lambda m: REAL  # noqa: E731
    asked = {name: Oracle(g, batches) for name, g in (("bare", game()), ("one", game(**R)),
                                                     ("moving", moving))}  # fmt: skip
    for m in (0, 5):
        bare, one, ours = (
            asked[name].field("w", start.w, dirac(start.theta), tf.constant(m, tf.int64))[0]
            for name in ("bare", "one", "moving")
        )
        assert_close(ours, bare + (1 + m) * (one - bare), 1e-12)


@pytest.mark.parametrize("batch", ["split", "full"])
@pytest.mark.parametrize("penalties", [R, {"r2": 0.4}, {"own": own_zero_centred}])
def test_the_penalties_of_a_mixture_are_the_means_over_its_atoms(penalties, batch):
    """Of two equal generators they are those of one; R1 sees all real data in both."""
    mixed, one = game(draws=ParticleDraws(batch, "shared"), **penalties), game(**penalties)
    start = helpers.gan_start(one)
    key = rng.fold_in(rng.stream(0, "field/w"), 3)
    both = particles(tf.stack([start.theta, start.theta]))
    block = tf.stack([start.w, start.w])
    g, logs = mixed.field("w", block, dirac(both), REAL, key)
    assert_close(g[0], g[1], 1e-12)
    half = REAL if batch == "full" else None
    if half is not None:
        assert_close(g[0], one.field("w", start.w, dirac(start.theta), REAL, key)[0], 1e-11)
    assert logs["penalty"].shape == (2,)
    assert float(logs["penalty"][0]) > 1e-3


def test_parts_of_a_mini_batch_have_the_mean_of_their_penalties():
    whole = field(game(gradient_penalty=0.7, **R))[0]
    start, key = helpers.gan_start(game()), rng.fold_in(rng.stream(0, "field/w"), 3)
    size = REAL.shape[0] // 2
    parts = [
        game(gradient_penalty=0.7, **R).field(
            "w", start.w, dirac(start.theta), REAL[i * size : (i + 1) * size], key, Shard(i, 2)
        )[0]
        for i in range(2)
    ]
    assert_close(whole, (parts[0] + parts[1]) / 2, 1e-12)


# Packs.


def packing_game(m, objective="nonsaturating", **regularizers):
    nets = (mlp(LATENT_DIM, 2, (8, 8), seed=1, dtype="float64"),
            mlp(2 * m, 1, (8, 8), seed=11, dtype="float64"))  # fmt: skip
    return GanGame(*nets, LATENT_DIM, OBJECTIVES[objective], Regularizers(**regularizers),
                   packing=m)  # fmt: skip


@pytest.mark.parametrize("player", PLAYERS)
def test_packs_are_neighbours_side_by_side(player):
    """The loss in NumPy, and its slope along random directions, at h = 1e-5."""
    m, penalties = 2, {"r1": 0.3, "r2": 0.4}
    ours, widths = packing_game(m, **penalties), (2 * m, 8, 8, 1)
    start = helpers.gan_start(ours)
    latents, _ = helpers.gan_draws(packing_game(1), player, 3)
    numpy_gan = gan.Gan(GENERATOR, widths, "nonsaturating", **penalties)
    samples = numpy_gan.samples
    numpy_gan.samples = lambda theta, x: samples(theta, x).reshape(-1, 2 * m)
    real, z = REAL.numpy().reshape(-1, 2 * m), start.of(player).numpy()
    rival = [(1.0, (start.theta if player == "w" else start.w).numpy())]
    g, logs = field(ours, player)

    def loss(z):
        return numpy_gan.loss(player, z, rival, real, latents, np.zeros([len(real), 1]))

    assert_close(logs["loss"] + logs["penalty"], loss(z))
    random = np.random.default_rng(0)
    for _ in range(3):
        e = random.normal(size=z.shape)
        e /= np.linalg.norm(e)
        slope = (loss(z + 1e-5 * e) - loss(z - 1e-5 * e)) / 2e-5
        np.testing.assert_allclose(g @ e, slope, rtol=1e-6, atol=1e-8)


def test_packs_of_images_keep_each_image_whole():
    x = tf.reshape(tf.range(4 * 2 * 2 * 3), [4, 2, 2, 3])
    packs = packing_game(2).packed(x)
    assert packs.shape == (2, 2, 2, 6)
    np.testing.assert_array_equal(packs[0, ..., :3], x[0])
    np.testing.assert_array_equal(packs[0, ..., 3:], x[1])
    np.testing.assert_array_equal(packs[1, ..., 3:], x[3])


def test_what_cannot_be_packed_is_refused():
    with pytest.raises(InputError, match="multiple of 3"):
        packing_game(3).packed(tf.zeros([4, 2]))
    with pytest.raises(InputError, match="at once, got 0"):
        packing_game(0)
    ours = packing_game(2)
    start = helpers.gan_start(ours)
    both = particles(tf.stack([start.theta, start.theta]))
    with pytest.raises(InputError, match="punish generators that specialise"):
        ours.field("w", start.w, dirac(both), REAL, rng.stream(0, "field/w"))


@pytest.mark.parametrize(
    ("options", "says"), [({"r2": -1.0}, "r2 must be at least 0"), ({"every": 0}, "n >= 1")]
)
def test_regularisers_out_of_range_are_refused(options, says):
    with pytest.raises(InputError, match=says):
        game(**options)


@pytest.mark.parametrize("penalties", [{"r1": 0.3}, R, {"gradient_penalty": 0.7}])
def test_the_penalties_of_a_block_are_linear_in_the_measure(penalties):
    """Also of a measure whose mass is not 1."""
    mixed = game(draws=ParticleDraws("full"), **penalties)
    start = helpers.gan_start(mixed)
    key = rng.fold_in(rng.stream(0, "field/w"), 3)
    both = particles(tf.stack([start.theta, 1.1 * start.theta]))
    block = tf.stack([start.w, 0.9 * start.w])
    g, logs = mixed.field("w", block, dirac(both), REAL, key)
    more, more_logs = mixed.field("w", block, Measure((both,), (1.3,)), REAL, key)
    assert_close(more, 1.3 * g, 1e-12)
    assert_close(more_logs["penalty"], 1.3 * logs["penalty"], 1e-12)
