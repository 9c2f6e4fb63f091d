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
from tf_mixed_nash.games.objectives import OBJECTIVES
from tf_mixed_nash.types import PLAYERS, Measure, dirac, other

PENALTIES = {
    "none": {},
    "gradient_penalty": {"gradient_penalty": 0.7},
    "r1": {"r1": 0.3},
    "both": {"gradient_penalty": 0.7, "r1": 0.3},
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
