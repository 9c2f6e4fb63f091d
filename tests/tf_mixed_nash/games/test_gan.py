"""Fields of the games: against gradients by hand, finite differences, and their symmetries."""

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from tests import helpers
from tests.helpers import BATCH, DISCRIMINATOR, GENERATOR, assert_close, f64
from tests.oracles import gan, payoff
from tf_mixed_nash import rng
from tf_mixed_nash.games.functions import BilinearGame, FunctionGame
from tf_mixed_nash.games.game import Shard
from tf_mixed_nash.games.gan import GanGame, ParticleDraws, Regularizers
from tf_mixed_nash.games.objectives import OBJECTIVES, nonsaturating
from tf_mixed_nash.models import dcgan_discriminator, dcgan_generator, mlp
from tf_mixed_nash.types import PLAYERS, Measure, Pair, dirac, other, particles

PENALTIES = {
    "none": {},
    "gradient_penalty": {"gradient_penalty": 0.7},
    "r1": {"r1": 0.3},
    "both": {"gradient_penalty": 0.7, "r1": 0.3},
    "r2": {"r2": 0.4},
    "zero-centred": {"r1": 0.3, "r2": 0.4},
}
each_player = pytest.mark.parametrize("player", PLAYERS)
each_objective = pytest.mark.parametrize("objective", [*OBJECTIVES, "cubic"])
each_penalty = pytest.mark.parametrize("penalties", PENALTIES)


def setting(player, objective, penalties, m=3):
    """A small GAN and everything that `player` sees on mini-batch m."""
    game = helpers.small_gan(objective, **PENALTIES[penalties])
    start, elsewhere = helpers.gan_start(game), helpers.gan_start(game, seed=1)
    latents, u = helpers.gan_draws(game, player, m)
    return SimpleNamespace(
        game=game,
        numpy_gan=gan.Gan(GENERATOR, DISCRIMINATOR, objective, **PENALTIES[penalties]),
        z=start.of(player),
        rivals=[start.of(other(player)), elsewhere.of(other(player))],
        real=helpers.real_batches()[m],
        draws=(helpers.real_batches()[m].numpy(), latents, u),
        key=rng.fold_in(rng.stream(0, f"field/{player}"), m),
    )


def field(s, player, measure, **kwargs):
    g, logs = s.game.field(player, s.z, measure, s.real, s.key, **kwargs)
    return g.numpy(), logs


# GAN games.


@each_player
@each_objective
@each_penalty
def test_gan_field_is_the_gradient_by_hand(player, objective, penalties):
    """Against one atom, and against the signed measure 2 delta - delta'."""
    s = setting(player, objective, penalties)
    a, b = s.rivals
    for measure, opponent in [
        (dirac(a), [(1.0, a.numpy())]),
        (Measure((a, b), (2.0, -1.0)), [(2.0, a.numpy()), (-1.0, b.numpy())]),
    ]:
        g, logs = field(s, player, measure)
        assert_close(g, s.numpy_gan.field(player, s.z.numpy(), opponent, *s.draws))
        loss = s.numpy_gan.loss(player, s.z.numpy(), opponent, *s.draws)
        assert_close(logs["loss"] + logs["penalty"], loss)


@each_player
@each_objective
@each_penalty
def test_gan_field_is_the_slope_of_the_loss(player, objective, penalties):
    """Central differences along random directions e of unit length: (loss(z + h e) - loss(z - h e))
    / 2h at h = 1e-5, off by O(h^2) = 1e-10 times third derivatives and 1e-16 / h of rounding."""
    s, h = setting(player, objective, penalties), 1e-5
    rival = [(1.0, s.rivals[0].numpy())]
    g, _ = field(s, player, dirac(s.rivals[0]))
    random = np.random.default_rng(2)
    for _ in range(5):
        e = random.normal(size=g.shape)
        e /= np.linalg.norm(e)
        ahead, behind = (
            s.numpy_gan.loss(player, s.z.numpy() + step * e, rival, *s.draws) for step in (h, -h)
        )
        np.testing.assert_allclose(g @ e, (ahead - behind) / (2 * h), rtol=1e-6, atol=1e-8)


@each_player
@each_objective
def test_gan_field_is_linear_in_the_opponents_measure(player, objective):
    """sum_j a_j field(delta(z_j)), for tensors of atoms as for tuples; the draws are shared."""
    s = setting(player, objective, "both")
    single = [field(s, player, dirac(z))[0] for z in s.rivals]
    weights = [1.7, -0.4]
    expected = weights[0] * single[0] + weights[1] * single[1]
    for measure in (
        Measure(tuple(s.rivals), tuple(weights)),
        Measure(tf.stack(s.rivals), f64(weights)),
    ):
        assert_close(field(s, player, measure)[0], expected, 1e-13)
    assert np.max(np.abs(single[0] - single[1])) > 1e-3


@each_player
def test_unused_entries_of_a_parameter_vector_have_no_gradient(player):
    s = setting(player, "wgan", "both")
    g, _ = field(s, player, dirac(s.rivals[0]))
    used = {"theta": s.game.generator, "w": s.game.discriminator}[player].num_parameters
    assert np.all(g[used:] == 0)
    assert np.any(g[:used] != 0)


def test_only_the_discriminator_pays_the_penalty():
    plain, penalised = (setting("theta", "wgan", p) for p in ("none", "both"))
    a, logs = field(plain, "theta", dirac(plain.rivals[0]))
    b, penalised_logs = field(penalised, "theta", dirac(penalised.rivals[0]))
    np.testing.assert_array_equal(a, b)
    assert logs["penalty"] == penalised_logs["penalty"] == 0
    s = setting("w", "wgan", "both")
    assert field(s, "w", dirac(s.rivals[0]))[1]["penalty"] > 0


def test_wgan_is_zero_sum():
    """What w loses to fakes, theta wins: grad_x f enters both fields with opposite signs.

    The slope of F(theta, w) = E f_w(real) - E f_w(G_theta) along (d theta, d w).
    """
    s = setting("theta", "wgan", "none")
    latents, w = s.draws[1], s.rivals[0].numpy()

    def F(theta, w):
        samples = s.numpy_gan.samples(theta, latents)
        return np.mean(s.numpy_gan.logits(w, s.draws[0])) - np.mean(s.numpy_gan.logits(w, samples))

    e = np.random.default_rng(0).normal(size=(2, len(w))) / 16
    g_theta, _ = field(s, "theta", dirac(s.rivals[0]))
    g_w = s.game.field("w", s.rivals[0], dirac(s.z), s.real, s.key)[0].numpy()
    h, theta = 1e-5, s.z.numpy()
    slope_theta = (F(theta + h * e[0], w) - F(theta - h * e[0], w)) / (2 * h)
    slope_w = (F(theta, w + h * e[1]) - F(theta, w - h * e[1])) / (2 * h)
    np.testing.assert_allclose(g_theta @ e[0], slope_theta, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(-g_w @ e[1], slope_w, rtol=1e-6, atol=1e-9)


@each_player
def test_the_field_is_a_function_of_key_and_batch(player):
    s = setting(player, "wgan", "gradient_penalty")
    measure = dirac(s.rivals[0])
    again = s.game.field(player, s.z, measure, s.real, s.key)[0]
    other_key = s.game.field(player, s.z, measure, s.real, rng.fold_in(s.key, 1))[0]
    g, _ = field(s, player, measure)
    np.testing.assert_array_equal(g, again)
    assert np.max(np.abs(g - other_key)) > 1e-3


def test_latents_are_standard_normal():
    """Bounds of five standard errors: 1/sqrt n, sqrt(2/n)."""
    n = 60_000
    latents = helpers.small_gan().latents(tf.constant([1, 2]), n, tf.float32).numpy()
    assert latents.shape == (n, helpers.LATENT_DIM)
    assert np.all(np.abs(latents.mean(0)) < 5 / np.sqrt(n))
    assert np.all(np.abs(latents.var(0) - 1) < 5 * np.sqrt(2 / n))
    assert np.all(np.abs(np.corrcoef(latents.T) - np.eye(3)) < 5 / np.sqrt(n))


@each_player
@each_penalty
def test_shards_average_to_the_whole_mini_batch(player, penalties):
    s, count = setting(player, "nonsaturating", penalties), 3
    measure = Measure(tuple(s.rivals), (2.0, -1.0))
    rows = tf.split(s.real, count)
    parts = [
        s.game.field(player, s.z, measure, part, s.key, Shard(i, count))[0]
        for i, part in enumerate(rows)
    ]
    assert BATCH % count == 0
    assert_close(tf.reduce_mean(tf.stack(parts), axis=0), field(s, player, measure)[0], 1e-13)


@pytest.mark.parametrize(("clip", "bound"), [(0.05, 0.05), (0.0, np.inf)])
def test_weight_clipping_projects_the_discriminator_onto_its_box(clip, bound):
    game = helpers.small_gan(weight_clip=clip)
    start = helpers.gan_start(game)
    assert np.max(np.abs(start.w)) > 0.05
    np.testing.assert_array_equal(game.project("w", start.w), np.clip(start.w, -bound, bound))
    np.testing.assert_array_equal(game.project("theta", start.theta), start.theta)


# Several atoms at once. One by one, the same fields are those tested above.


WEIGHTS = [0.2, 0.5, 0.3]


def blocks(game, num=3) -> Pair:
    """num points of each player, [num, d]."""
    networks = Pair(game.generator, game.discriminator)
    random = np.random.default_rng(3)
    return Pair(
        *(
            tf.stack(
                [
                    network.initial() + tf.constant(0.1 * random.normal(size=network.dim), dtype)
                    for _ in range(num)
                ]
            )
            for network in networks
            for dtype in [network.dtype]
        )
    )


def conditional_gan():
    """Points of the plane in two classes."""
    game = GanGame(
        mlp(helpers.LATENT_DIM + 2, 2, (8, 8), seed=1, dtype="float64"),
        mlp(4, 1, (8, 8), seed=11, dtype="float64"),
        helpers.LATENT_DIM,
        nonsaturating,
        Regularizers(gradient_penalty=0.7, r1=0.3),
        num_classes=2,
    )
    classes = tf.one_hot([0, 1, 1, 0, 0, 1], 2, dtype=tf.float64)
    return game, tf.concat([helpers.real_batches()[3], classes], axis=1)


def image_gan():
    """Convolutions and batch normalisation, whose atoms are called one after the other."""
    game = GanGame(
        dcgan_generator(28, 1, 5, 4, dtype="float64"),
        dcgan_discriminator(28, 1, 4, dtype="float64"),
        5,
        nonsaturating,
    )
    real = np.random.default_rng(0).uniform(-1, 1, size=(6, 28, 28, 1))
    return game, f64(real)


def plane_gan(objective):
    return lambda: (helpers.small_gan(objective, **PENALTIES["both"]), helpers.real_batches()[3])


GAMES = {
    **{objective: plane_gan(objective) for objective in [*OBJECTIVES, "cubic"]},
    "conditional": conditional_gan,
    "images": image_gan,
}


@each_player
@pytest.mark.parametrize("name", GAMES)
def test_the_fields_of_a_block_are_those_of_its_rows(name, player):
    """And against a measure of particles they are the weighted mean of those against its atoms:
    also of the signed measure 2 mu - mu', and for a single point."""
    game, real = GAMES[name]()
    game.draws = ParticleDraws("full", "shared")
    key, points = tf.constant([1, 2]), blocks(game)
    block, rivals = points.of(player)[:2], points.of(other(player))
    mu, old = particles(rivals, WEIGHTS), particles(rivals[::-1] + 0.1)

    def field(z, opponent):
        return game.field(player, z, opponent, real, key)

    expected, losses = [], []
    for z in tf.unstack(block):
        rows = [field(z, dirac(rival)) for rival in tf.unstack(rivals)]
        expected.append(sum(a * g for a, (g, _) in zip(WEIGHTS, rows, strict=True)))
        losses.append(
            sum(a * (x["loss"] + x["penalty"]) for a, (_, x) in zip(WEIGHTS, rows, strict=True))
        )
    g, logs = field(block, dirac(mu))
    assert_close(g, tf.stack(expected), 1e-11)
    assert_close(logs["loss"] + logs["penalty"], tf.stack(losses), 1e-11)
    assert_close(field(block[0], dirac(mu))[0], expected[0], 1e-11)
    assert np.max(np.abs(expected[0] - expected[1])) > 1e-5

    signed = Measure((mu, old), (2.0, -1.0))
    assert_close(
        field(block, signed)[0],
        2.0 * g - field(block, dirac(old))[0],
        1e-10,
    )
    # As plain measures: a tensor of atoms, and one point.
    assert_close(field(block, Measure(rivals, f64(WEIGHTS)))[0], g, 1e-11)
    alone = tf.stack([field(z, dirac(rivals[0]))[0] for z in tf.unstack(block)])
    assert_close(field(block, dirac(rivals[0]))[0], alone, 1e-11)


@each_player
@pytest.mark.parametrize("batch", ["split", "full"])
@pytest.mark.parametrize("latents", ["own", "shared"])
def test_draws_of_particles(player, batch, latents):
    """Rows of equal atoms differ if and only if their latents do; the first generator's are those
    of a single one, as are all of a split mini-batch together."""
    s = setting(player, "wgan", "both")
    s.game.draws = ParticleDraws(batch, latents)
    rival = s.rivals[0]
    single, _ = field(s, player, dirac(rival))
    if player == "theta":
        g, _ = s.game.field(player, tf.stack([s.z] * 3), dirac(rival), s.real, s.key)
        assert_close(g[0], single, 1e-12)
        for row in g[1:]:
            same = np.max(np.abs(row - single)) < 1e-12
            assert same == (latents == "shared")
        assert (np.max(np.abs(g[1] - g[2])) < 1e-12) == (latents == "shared")
    else:
        g, _ = field(s, player, dirac(particles(tf.stack([rival] * 3))))
        same = np.max(np.abs(g - single)) < 1e-12
        assert same == ((batch, latents) in [("split", "own"), ("full", "shared")])


@pytest.mark.parametrize("num", [2, 3])
def test_no_number_of_the_particles_own_latents_is_drawn_twice(num):
    s = setting("theta", "wgan", "both")
    s.game.draws = ParticleDraws("full", "own")
    latents = s.game._latents_of(num, False, tf.float64, s.real, s.key, Shard(0, 1)).numpy()
    assert latents.shape == (num, len(s.real), helpers.LATENT_DIM)
    assert len(np.unique(latents)) == latents.size


def test_a_signed_measure_has_common_latents():
    """2 mu - mu = mu: with latents of their own the two would not cancel."""
    s = setting("w", "wgan", "both")
    mu = particles(tf.stack(s.rivals))
    twice = Measure((mu, mu), (2.0, -1.0))
    for draws in (ParticleDraws("split"), ParticleDraws("full")):
        s.game.draws = draws
        assert_close(field(s, "w", twice)[0], field(s, "w", dirac(mu))[0], 1e-12)


@each_player
@pytest.mark.parametrize("batch", ["split", "full", "thin"])
def test_shards_of_particles_average_to_the_whole_mini_batch(player, batch):
    s, count = setting(player, "nonsaturating", "both"), 2
    s.game.draws = ParticleDraws(batch)
    points = blocks(s.game)
    measure = dirac(particles(points.of(other(player)), WEIGHTS))
    block = points.of(player)
    parts = [
        s.game.field(player, block, measure, part, s.key, Shard(i, count))[0]
        for i, part in enumerate(tf.split(s.real, count))
    ]
    whole = s.game.field(player, block, measure, s.real, s.key)[0]
    assert_close(tf.reduce_mean(tf.stack(parts), axis=0), whole, 1e-12)


@pytest.mark.parametrize("batch", ["split", "full"])
def test_the_critics_field_of_a_sampled_mixture_has_the_exact_mean(batch):
    """Over 400 mini-batches, within five standard errors: split and full estimate one field, whose
    value is that of the generators one by one on large mini-batches of theirs."""
    s = setting("w", "minimax", "none")
    atoms, weights = blocks(s.game).theta, WEIGHTS
    real = tf.concat([s.real] * 2, axis=0)
    e = f64(np.random.default_rng(2).normal(size=s.game.discriminator.dim) / 16)

    @tf.function(autograph=False)
    def slope(draws, key):
        s.game.draws = draws
        return tf.reduce_sum(
            e * s.game.field("w", s.z, dirac(particles(atoms, weights)), real, key)[0]
        )

    keys = tf.stack([tf.constant([7, i]) for i in range(400)])
    draws = [ParticleDraws(batch), ParticleDraws("full", "shared")]
    sampled, exact = (np.array([slope(d, key) for key in keys]) for d in draws)
    error = np.sqrt(np.var(sampled) / 400 + np.var(exact) / 400)
    assert abs(sampled.mean() - exact.mean()) < 5 * error


# The NumPy oracle itself.


@each_player
@pytest.mark.parametrize("penalties", ["none", "both"])
def test_the_numpy_gradients_are_the_slopes_of_the_numpy_loss(player, penalties):
    s, h = setting(player, "minimax", penalties), 1e-5
    opponent = [(2.0, s.rivals[0].numpy()), (-1.0, s.rivals[1].numpy())]
    z, e = s.z.numpy(), np.random.default_rng(4).normal(size=s.z.shape) / 16
    ahead, behind = (s.numpy_gan.loss(player, z + step * e, opponent, *s.draws) for step in (h, -h))
    slope = s.numpy_gan.field(player, z, opponent, *s.draws) @ e
    np.testing.assert_allclose(slope, (ahead - behind) / (2 * h), rtol=1e-6, atol=1e-8)


# Games of a payoff.


def central_differences(f, z, h=1e-5):
    return np.array([(f(z + h * e) - f(z - h * e)) / (2 * h) for e in np.eye(len(z))])


@each_player
def test_function_game_is_the_gradient_of_the_payoff(player):
    """theta descends F, w ascends it; the rounding of central differences is 1e-11."""
    theta, w = payoff.THETA, payoff.W
    z, rival = (theta, w) if player == "theta" else (w, theta)
    g, logs = FunctionGame(helpers.payoff_in_tf).field(player, f64(z), dirac(f64(rival)))
    assert_close(g, payoff.descent(player, z, [(1.0, rival)]), 1e-14)
    loss = (
        (lambda z: payoff.value(z, w)) if player == "theta" else (lambda z: -payoff.value(theta, z))
    )
    np.testing.assert_allclose(g, central_differences(loss, z), atol=1e-8)
    assert_close(logs["loss"], loss(z), 1e-14)


@each_player
def test_function_game_is_linear_in_the_opponents_measure(player):
    z, rival = (payoff.THETA, payoff.W) if player == "theta" else (payoff.W, payoff.THETA)
    rivals, weights = [rival, rival + 1, -rival], [0.5, 2.0, -1.5]
    game = FunctionGame(helpers.payoff_in_tf)
    g, _ = game.field(player, f64(z), Measure(f64(rivals), f64(weights)))
    assert_close(g, payoff.descent(player, z, list(zip(weights, rivals, strict=True))), 1e-14)


@each_player
@pytest.mark.parametrize("with_offsets", [False, True])
def test_bilinear_game(player, with_offsets):
    b, c = ([0.3, -0.2, 0.1], [0.1, 0.4, -0.3, 0.2]) if with_offsets else (0.0, 0.0)
    game = BilinearGame(f64(payoff.A), f64(b), f64(c))
    expected = {"theta": payoff.A @ payoff.W + b, "w": -(payoff.A.T @ payoff.THETA + c)}[player]
    z, rival = (payoff.THETA, payoff.W) if player == "theta" else (payoff.W, payoff.THETA)
    assert_close(game.field(player, f64(z), dirac(f64(rival)))[0], expected, 1e-14)
    np.testing.assert_array_equal(game.project(player, f64(z)), z)
