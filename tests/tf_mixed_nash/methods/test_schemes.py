"""Identities between algorithms, and the dynamics of the schemes on a bilinear game."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from tests import helpers
from tests.helpers import assert_close, f64, index
from tests.oracles import payoff
from tf_mixed_nash.algorithms import Hyperparameters, build
from tf_mixed_nash.games.functions import BilinearGame, FunctionGame
from tf_mixed_nash.methods import samplers, schemes
from tf_mixed_nash.methods.oracle import Oracle
from tf_mixed_nash.methods.prox import langevin_mean, one_step
from tf_mixed_nash.methods.schedules import constant, exponential
from tf_mixed_nash.types import Measure, Pair, dirac

BILINEAR = BilinearGame(f64(payoff.A), b=f64([0.3, -0.2, 0.1]), c=f64([0.1, 0.4, -0.3, 0.2]))
NONLINEAR = FunctionGame(helpers.payoff_in_tf)

# K = 1, beta = 1, eps = 0: one inner step, no damping, no noise.
PLAIN = Hyperparameters(
    step_size=exponential(0.1, 0.05),
    temperature=constant(0.0),
    num_inner_steps=constant(1),
    damping=1.0,
    preconditioner="none",
    rms_decay=0.9,
    stability=1e-3,
)
RMS = Hyperparameters(**{**PLAIN.__dict__, "preconditioner": "rms"})


def outputs(scheme, game, num_steps=5):
    """[T, d + e]: the iterates after every outer step."""
    trajectory, _ = helpers.run(scheme, Oracle(game, seed=1), helpers.payoff_start(), num_steps)
    return np.array([np.concatenate([s["theta"], s["w"]]) for s in trajectory])


def both(prox):
    return Pair(prox(), prox())


def langevin_with(sampler):
    """The Langevin prox with K = 1, beta = 1 around any sampler."""
    return langevin_mean(sampler, constant(1), 1.0)


def plain_sampler():
    return samplers.langevin(PLAIN.step_size, constant(0.0), samplers.identity())


def adam():
    return samplers.adam(PLAIN.step_size, 0.5, 0.9, 1e-3, stability_before_correction=True)


# Reductions. Each side is built from different parts of the package.


@pytest.mark.parametrize(("h", "name"), [(PLAIN, "sgd"), (RMS, "rmsprop")])
def test_undamped_mirror_gan_without_noise_is_gradient_descent(h, name):
    hyperparameters = Pair(h, h)
    mirror = outputs(build("mirror_gan", hyperparameters), NONLINEAR)
    assert_close(mirror, outputs(build(name, hyperparameters), NONLINEAR), 1e-13)


@pytest.mark.parametrize(
    "scheme",
    [
        pytest.param(schemes.mirror_prox(both(lambda: langevin_with(plain_sampler()))), id="sgd"),
        pytest.param(schemes.mirror_prox(both(lambda: langevin_with(adam()))), id="adam"),
    ],
)
def test_undamped_mirror_prox_is_extragradient_on_bilinear_games(scheme, request):
    """Where the own field does not depend on the own point, the anchor is as good as any."""
    sampler = adam if "adam" in request.node.callspec.id else plain_sampler
    extragradient = schemes.mirror_prox(both(lambda: one_step(sampler())))
    assert_close(outputs(scheme, BILINEAR), outputs(extragradient, BILINEAR), 1e-13)


def test_mirror_prox_skeleton_with_adam_is_extra_adam_on_bilinear_games():
    """Mirror-Prox outputs its intermediates, Extra-Adam the updated anchors."""
    h = Hyperparameters(step_size=PLAIN.step_size, stability=1e-3, decay_1=0.5, decay_2=0.9)
    skeleton = schemes.mirror_prox(both(lambda: langevin_with(adam())))
    skeleton = skeleton._replace(output=lambda s: Pair(s.theta.tilde, s.w.tilde))
    extra_adam = outputs(build("extra_adam", Pair(h, h)), BILINEAR)
    assert_close(outputs(skeleton, BILINEAR), extra_adam, 1e-13)


def extragradient_by_hand(own_field_at_anchor, gamma=0.1):
    """theta and w after one step from the start on the non-linear payoff."""
    theta, w = payoff.THETA, payoff.W
    middle_theta = theta - gamma * payoff.gradient_theta(theta, w)
    middle_w = w + gamma * payoff.gradient_w(theta, w)
    at_theta, at_w = (theta, w) if own_field_at_anchor else (middle_theta, middle_w)
    return (
        theta - gamma * payoff.gradient_theta(at_theta, middle_w),
        w + gamma * payoff.gradient_w(middle_theta, at_w),
    )


@pytest.mark.parametrize(
    ("prox", "own_field_at_anchor"), [(langevin_with, True), (one_step, False)]
)
def test_where_the_second_phase_takes_the_own_field(prox, own_field_at_anchor):
    """Mirror-Prox restarts at the anchor; extragradient looks from the lookahead."""
    scheme = schemes.mirror_prox(both(lambda: prox(plain_sampler())))
    _, s = helpers.run(scheme, Oracle(NONLINEAR), helpers.payoff_start(), 1)
    theta, w = extragradient_by_hand(own_field_at_anchor)
    assert_close(s.theta.tilde, theta, 1e-14)
    assert_close(s.w.tilde, w, 1e-14)
    other_theta, _ = extragradient_by_hand(not own_field_at_anchor)
    assert np.max(np.abs(theta - other_theta)) > 1e-4  # so that the two can be told apart


def test_alternation_plays_against_the_new_discriminator():
    scheme = schemes.mirror_descent(both(lambda: one_step(plain_sampler())), alternated=True)
    _, s = helpers.run(scheme, Oracle(NONLINEAR), helpers.payoff_start(), 1)
    w = payoff.W + 0.1 * payoff.gradient_w(payoff.THETA, payoff.W)
    assert_close(s.w.z, w, 1e-14)
    assert_close(s.theta.z, payoff.THETA - 0.1 * payoff.gradient_theta(payoff.THETA, w), 1e-14)


def test_past_extragradient_is_the_optimistic_recursion_for_sgd():
    """z_{t+1/2} = z_{t-1/2} - 2 gamma g_t + gamma g_{t-1}: Popov's lookaheads are optimistic SGD's
    iterates, here at a constant step size. z_{t+1/2} = z_t - gamma g_t with g_t its last field."""
    sampler = functools.partial(
        samplers.langevin, constant(0.1), constant(0.0), samplers.identity()
    )
    past = schemes.past_extragradient(both(sampler))
    optimistic = schemes.mirror_descent(both(lambda: one_step(samplers.optimistic(sampler()))))
    _, s = helpers.run(past, Oracle(NONLINEAR), helpers.payoff_start(), 5)
    lookahead = np.concatenate([s.theta.z - 0.1 * s.theta.past, s.w.z - 0.1 * s.w.past])
    assert_close(lookahead, outputs(optimistic, NONLINEAR)[-1], 1e-13)


# Chambolle-Pock.


@pytest.mark.parametrize("kappa", [1.0, 0.5])
def test_on_bilinear_games_both_extrapolations_agree(kappa):
    h = Pair(RMS, RMS)
    measure = build("chambolle_pock", h, kappa=kappa, extrapolate="measure")
    parameters = build("chambolle_pock", h, kappa=kappa, extrapolate="parameters")
    assert_close(outputs(measure, BILINEAR), outputs(parameters, BILINEAR), 1e-13)
    difference = outputs(measure, NONLINEAR) - outputs(parameters, NONLINEAR)
    assert np.max(np.abs(difference)) > 1e-5  # not so on a general game


def two_fields_game(name):
    """(game, theta_t, theta_{t-1}, w, mini-batch) of float64."""
    if name == "bilinear":
        theta, w = helpers.payoff_start()
        return BILINEAR, theta, theta + f64([0.2, -0.5, 0.4]), w, None
    game = helpers.small_gan(gradient_penalty=0.5 * (name == "wgan-gp"))
    theta, w = helpers.gan_start(game)
    return game, theta, helpers.gan_start(game, seed=1).theta, w, helpers.real_batches()[0]


@pytest.mark.parametrize("name", ["bilinear", "wgan", "wgan-gp"])
def test_the_field_at_theta_hat_is_the_extrapolated_field(name):
    """Against 2 nu_t - nu_{t-1}: 2 field_t - field_{t-1}, the mini-batch being the same."""
    game, new, old, w, batch = two_fields_game(name)
    key = tf.constant([3, 4])

    def field(measure):
        return game.field("w", w, measure, batch, key)[0].numpy()

    theta_hat = Measure((new, old), (2.0, -1.0))
    assert_close(field(theta_hat), 2 * field(dirac(new)) - field(dirac(old)), 1e-13)
    assert np.max(np.abs(field(dirac(new)) - field(dirac(old)))) > 1e-3


def test_at_theta_hat_a_bilinear_payoff_extrapolates_in_the_parameters():
    game, new, old, w, _ = two_fields_game("bilinear")
    measure = game.field("w", w, Measure((new, old), (2.0, -1.0)))[0]
    assert_close(measure, game.field("w", w, dirac(2.0 * new - old))[0], 1e-14)


# Dynamics on F = theta w, where the equilibrium is 0 and gamma = 0.3.

GAMMA = 0.3
ROTATION = BilinearGame(f64([[1.0]]))


def norms(scheme, num_steps):
    """|(theta, w)| from the start on."""
    start = Pair(f64([0.6]), f64([0.8]))
    trajectory, _ = helpers.run(scheme, Oracle(ROTATION), start, num_steps)
    points = [{"theta": start.theta, "w": start.w}, *trajectory]
    return np.array([np.hypot(s["theta"][0], s["w"][0]) for s in points])


def rotation_sampler():
    return samplers.langevin(constant(GAMMA), constant(0.0), samplers.identity())


def test_simultaneous_descent_diverges_at_its_exact_rate():
    """The step is the matrix I + gamma J, J^2 = -I, whose modulus is sqrt(1 + gamma^2)."""
    scheme = schemes.mirror_descent(both(lambda: one_step(rotation_sampler())))
    r = norms(scheme, 30)
    assert_close(r[1:] / r[:-1], np.full(30, np.sqrt(1 + GAMMA**2)), 1e-13)
    assert r[-1] > 3.5


def test_extragradient_converges_at_its_exact_rate():
    """The step is I + gamma J + gamma^2 J^2, of modulus sqrt(1 - gamma^2 + gamma^4)."""
    scheme = schemes.mirror_prox(both(lambda: one_step(rotation_sampler())))
    scheme = scheme._replace(output=lambda s: Pair(s.theta.tilde, s.w.tilde))
    r = norms(scheme, 100)
    assert_close(r[1:] / r[:-1], np.full(100, np.sqrt(1 - GAMMA**2 + GAMMA**4)), 1e-12)
    assert r[-1] < 0.02


def test_alternated_descent_neither_converges_nor_diverges():
    """Symplectic Euler: theta^2 + w^2 + gamma theta w is conserved."""
    scheme = schemes.mirror_descent(both(lambda: one_step(rotation_sampler())), alternated=True)
    trajectory, _ = helpers.run(scheme, Oracle(ROTATION), Pair(f64([0.6]), f64([0.8])), 30)
    theta = np.array([s["theta"][0] for s in trajectory])
    w = np.array([s["w"][0] for s in trajectory])
    conserved = theta**2 + w**2 + GAMMA * theta * w
    assert_close(conserved, np.full(30, 1.0 + GAMMA * 0.48), 1e-12)


@pytest.mark.parametrize("name", ["optimistic", "past", "chambolle_pock"])
def test_the_other_extrapolating_schemes_converge(name):
    """The eigenvalues of all three have modulus < 0.98 at gamma = 0.3."""
    scheme = {
        "optimistic": lambda: schemes.mirror_descent(
            both(lambda: one_step(samplers.optimistic(rotation_sampler())))
        ),
        "past": lambda: schemes.past_extragradient(both(rotation_sampler)),
        "chambolle_pock": lambda: schemes.chambolle_pock(
            both(lambda: langevin_with(rotation_sampler()))
        ),
    }[name]()
    assert norms(scheme, 200)[-1] < 0.03


# discriminator_steps.


def test_discriminator_steps_moves_only_the_discriminator_but_for_the_last():
    h = Pair(PLAIN, PLAIN)
    oracle = Oracle(NONLINEAR)
    scheme = build("sgd", h, discriminator_steps=3)
    _, s = helpers.run(scheme, oracle, helpers.payoff_start(), 1)
    w = payoff.W
    for _ in range(2):
        w = w + 0.1 * payoff.gradient_w(payoff.THETA, w)
    assert_close(s.theta.z, payoff.THETA - 0.1 * payoff.gradient_theta(payoff.THETA, w), 1e-14)
    assert_close(s.w.z, w + 0.1 * payoff.gradient_w(payoff.THETA, w), 1e-14)


class BadMiniBatch(FunctionGame):
    """The field of w is not finite where the batch is not."""

    def field(self, player, z, opponent, batch=None, key=None):
        g, logs = super().field(player, z, opponent)
        return (g + batch if player == "w" else g), logs


@pytest.mark.parametrize("first_batch", [0, 1])
def test_a_bad_point_is_reported_even_if_later_ones_recover(first_batch):
    """Mini-batch 0 spoils the first intermediate of w, which restarts at its anchor."""
    oracle = Oracle(
        BadMiniBatch(helpers.payoff_in_tf), lambda m: tf.where(m == 0, f64(np.nan), f64(0.0))
    )
    scheme = build("mirror_prox_gan", Pair(PLAIN, PLAIN), discriminator_steps=2)
    state = scheme.init(*helpers.payoff_start())
    state, logs = scheme.step(oracle, state, index(0), index(first_batch))
    assert all(np.all(np.isfinite(x)) for x in tf.nest.flatten(state))
    assert bool(logs.w["finite"]) == (first_batch == 1)
    assert logs.theta["finite"]


# Anchors.


@pytest.mark.parametrize(
    "name",
    ["sgd", "mirror_gan", "mirror_prox_gan", "alt_mirror_prox_gan", "extra_adam", "alt_extra_adam",
     "past_extra_adam", "chambolle_pock"],
)  # fmt: skip
def test_a_step_of_no_length_ends_at_the_anchor(name):
    """Of both players; in Mirror-Prox that is not the output of before."""
    moves, rests = (
        build(name, Pair(*[Hyperparameters(**{**RMS.__dict__, "step_size": constant(x)})] * 2), 1)
        for x in (0.1, 1e-12)
    )
    oracle = Oracle(NONLINEAR, seed=1)
    _, state = helpers.run(moves, oracle, helpers.payoff_start(), 4)
    after, _ = rests.step(oracle, state, index(4), index(8))
    before, anchor = moves.output(state), moves.anchor(state)
    for ours, theirs in zip(anchor, rests.output(after), strict=True):
        assert_close(ours, theirs, 1e-9)
    moved = np.abs(before.theta - anchor.theta).max()
    assert (moved > 0) == ("prox" in name)


@pytest.mark.parametrize("name", ["sample_md", "sample_mp"])
def test_several_chains_have_no_anchor(name):
    assert build(name, Pair(PLAIN, PLAIN), 1).anchor is None
