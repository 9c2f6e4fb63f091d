"""K-step duality gaps against closed forms of a quadratic game, and of small GANs.

F(theta, w) = a/2 |theta|^2 + <theta, B w> - c/2 |w|^2 + <b, theta> + <e, w>
has the best responses w* = (B' theta + e) / c and theta* = -(B w + b) / a, and K steps of
gradient descent with step gamma leave (1 - gamma c)^K of the distance to w*.
"""

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import LATENT_DIM, f64, gan_start, real_batches, small_gan
from tests.oracles import gan
from tf_mixed_nash import rng
from tf_mixed_nash.errors import InputError
from tf_mixed_nash.games.functions import FunctionGame
from tf_mixed_nash.games.gan import GanGame
from tf_mixed_nash.methods import samplers, schedules
from tf_mixed_nash.methods.oracle import Oracle
from tf_mixed_nash.metrics import nash
from tf_mixed_nash.models import mlp
from tf_mixed_nash.types import Measure, Pair, dirac

A, C = 1.5, 0.8
RANDOM = np.random.default_rng(3)
B = RANDOM.normal(size=(3, 2))
SLOPE_THETA, SLOPE_W = RANDOM.normal(size=3), RANDOM.normal(size=2)


def payoff(theta, w):
    bilinear = tf.tensordot(theta, tf.linalg.matvec(f64(B), w), 1)
    squares = 0.5 * A * tf.reduce_sum(theta**2) - 0.5 * C * tf.reduce_sum(w**2)
    return (
        squares + bilinear + tf.tensordot(f64(SLOPE_THETA), theta, 1) + tf.tensordot(SLOPE_W, w, 1)
    )


def value(theta, w):
    squares = 0.5 * A * theta @ theta - 0.5 * C * w @ w
    return squares + theta @ B @ w + SLOPE_THETA @ theta + SLOPE_W @ w


def responses(theta, w):
    """(theta* against the mean w, w* against the mean theta)."""
    return -(B @ w + SLOPE_THETA) / A, (B.T @ theta + SLOPE_W) / C


def mean_value(thetas, a, ws, b):
    values = [[value(x, y) for y in ws] for x in thetas]
    return np.asarray(a) @ values @ np.asarray(b)


def sgd(step_size):
    zero = schedules.constant(0.0)
    return samplers.langevin(schedules.constant(step_size), zero, samplers.identity())


def gap_of(num_steps, gamma=0.3, **options):
    game = FunctionGame(payoff)
    samplers = Pair(sgd(gamma), sgd(gamma))
    return nash.DualityGap(game, game.payoff, samplers, num_steps, **options)


def pure(z):
    return Measure(f64(z)[None], f64([1.0]))


def start():
    return RANDOM.normal(size=3), RANDOM.normal(size=2)


@pytest.mark.parametrize("num_steps", [0, 1, 5, 200])
def test_k_steps_of_gradient_descent_give_the_closed_form(num_steps):
    theta, w = start()
    best_theta, best_w = responses(theta, w)
    w_K = best_w + (1 - 0.3 * C) ** num_steps * (w - best_w)
    theta_K = best_theta + (1 - 0.3 * A) ** num_steps * (theta - best_theta)
    result = gap_of(num_steps)(pure(theta), pure(w))
    np.testing.assert_allclose(result.ascended, value(theta, w_K), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(result.descended, value(theta_K, w), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(result.gap, value(theta, w_K) - value(theta_K, w), atol=1e-12)
    np.testing.assert_allclose(result.start, [value(theta, w)] * 2, rtol=1e-12)
    exact = value(theta, best_w) - value(best_theta, w)
    assert float(result.gap) <= exact + 1e-12, "a lower bound of the exact gap"
    if num_steps == 200:
        assert float(result.gap) == pytest.approx(exact, abs=1e-10)
        assert exact > 0.1


def test_adam_converges_to_the_exact_gap_and_it_vanishes_at_the_equilibrium_only():
    adam = samplers.adam(schedules.linear(0.1, 600))
    gap = nash.DualityGap(FunctionGame(payoff), payoff, Pair(adam, adam), 600)
    matrix = np.block([[A * np.eye(3), B], [B.T, -C * np.eye(2)]])
    nash_point = -np.linalg.solve(matrix, np.concatenate([SLOPE_THETA, SLOPE_W]))
    at_nash = gap(pure(nash_point[:3]), pure(nash_point[3:]))
    assert abs(float(at_nash.gap)) < 1e-6
    for _ in range(4):
        theta, w = start()
        best_theta, best_w = responses(theta, w)
        exact = value(theta, best_w) - value(best_theta, w)
        assert float(gap(pure(theta), pure(w)).gap) == pytest.approx(exact, abs=1e-5)
        assert exact > 1e-2
    assert gap._measure.experimental_get_tracing_count() == 1, "no call traces anew"


def test_against_measures_the_gap_is_that_of_the_bi_affine_payoff():
    thetas, ws = RANDOM.normal(size=(3, 3)), RANDOM.normal(size=(2, 2))
    a, b = np.array([0.2, 0.5, 0.3]), np.array([0.9, 0.1])
    theta, w = start()
    nu, mu = Measure(f64(thetas), f64(a)), Measure(f64(ws), f64(b))
    result = gap_of(200)(nu, mu, Pair(f64(theta), f64(w)))
    best_theta, best_w = responses(a @ thetas, b @ ws)
    expected = mean_value(thetas, a, [best_w], [1.0]) - mean_value([best_theta], [1.0], ws, b)
    assert float(result.gap) == pytest.approx(expected, abs=1e-10)
    np.testing.assert_allclose(result.start.w, mean_value(thetas, a, [w], [1.0]), rtol=1e-12)
    np.testing.assert_allclose(result.start.theta, mean_value([theta], [1.0], ws, b), rtol=1e-12)
    # One step from the given start, against the measures' means.
    step = gap_of(1)(nu, mu, Pair(f64(theta), f64(w)))
    mean_w_star, mean_theta_star = responses(a @ thetas, b @ ws)[::-1]
    w_1 = mean_w_star + (1 - 0.3 * C) * (w - mean_w_star)
    theta_1 = mean_theta_star + (1 - 0.3 * A) * (theta - mean_theta_star)
    np.testing.assert_allclose(step.ascended, mean_value(thetas, a, [w_1], [1.0]), rtol=1e-10)
    np.testing.assert_allclose(step.descended, mean_value([theta_1], [1.0], ws, b), rtol=1e-10)
    # By default the copies are those of the last atoms.
    last = gap_of(0)(nu, mu)
    np.testing.assert_allclose(last.start.w, mean_value(thetas, a, ws[-1:], [1.0]), rtol=1e-12)


def test_drawn_atoms_follow_the_weights():
    # Six atoms, two drawn at each step, weights far from uniform: the responses settle at
    # those to the weighted mean, up to the noise of the draws (gamma / 2 of their variance).
    thetas, a = RANDOM.normal(size=(6, 3)), np.array([0.6, 0.3, 0.04, 0.03, 0.02, 0.01])
    thetas[0] += 3.0
    w = RANDOM.normal(size=2)
    gap = gap_of(6000, gamma=0.003, max_atoms=2)
    theta_0 = RANDOM.normal(size=3)
    nu = Measure(f64(thetas), f64(a))
    result = gap(nu, pure(w), Pair(f64(theta_0), f64(w)))
    _, best_w = responses(a @ thetas, w)
    exact = mean_value(thetas, a, [best_w], [1.0])
    # The stationary loss of SGD on c/2 |w - w*|^2 is gamma / 4 E|noise|^2 in mean, and an
    # exponential-tailed variable: ten times the mean.
    spread = (a[:, None] * ((thetas - a @ thetas) @ B) ** 2).sum() / 2
    tolerance = 10 * 0.003 / 4 * spread
    assert -1e-9 <= exact - float(result.ascended) <= tolerance
    _, wrong = responses(thetas.mean(0), w)
    assert exact - mean_value(thetas, a, [wrong], [1.0]) > 2 * tolerance, "the test can tell"
    again = gap(nu, pure(w), Pair(f64(theta_0), f64(w)))
    assert float(again.gap) == float(result.gap), "equal calls, equal bits"


def gan_gap(game, num_steps, step_size=2e-3, **options):
    batches = real_batches()
    adam = samplers.adam(schedules.constant(step_size))
    real = tf.reshape(batches[40:], [-1, 2])
    gap = nash.gan_duality_gap(
        game, Pair(adam, adam), num_steps, lambda m: batches[m % 40], real, **options
    )
    latents = game.latents(rng.stream(options.get("seed", 0), "evaluation"), len(real), tf.float64)
    return gap, real.numpy(), latents.numpy()


@pytest.mark.parametrize("objective", ["wgan", "nonsaturating", "hinge", "least_squares"])
def test_the_payoff_of_a_gan_is_minus_the_discriminators_loss(objective):
    game = small_gan(objective, gradient_penalty=10.0)
    theta, w = gan_start(game)
    gap, real, latents = gan_gap(game, 0)
    result = gap(Measure(theta[None], f64([1.0])), Measure(w[None], f64([1.0])))
    fake, *_ = gan.forward(gan.unpack(theta.numpy(), (LATENT_DIM, 8, 8, 2)), latents)
    logits = [gan.forward(gan.unpack(w.numpy(), (2, 8, 8, 1)), x)[0] for x in (real, fake)]
    loss = gan.discriminator_loss(objective, *logits)
    loss = loss[0] if isinstance(loss, tuple) else loss
    np.testing.assert_allclose(result.ascended, -loss, rtol=1e-10)
    assert float(result.gap) == 0.0, "no steps, no penalty in F: the two halves are one number"


@pytest.mark.parametrize("objective", ["wgan", "nonsaturating", "minimax"])
def test_best_responses_of_a_gan_improve_on_held_out_data(objective):
    game = small_gan(objective, gradient_penalty=0.1)
    theta, w = gan_start(game)
    gap, *_ = gan_gap(game, 60)
    result = gap(Measure(theta[None], f64([1.0])), Measure(w[None], f64([1.0])))
    assert float(result.ascended) > float(result.start.w) + 1e-2
    assert float(result.descended) < float(result.start.theta) - 1e-2
    assert float(result.gap) == float(result.ascended - result.descended)


def test_the_critics_response_obeys_the_games_regularisers():
    free, clipped = small_gan(), small_gan(weight_clip=0.05)
    theta, w = gan_start(free)
    nu, mu = Measure(theta[None], f64([1.0])), Measure(w[None], f64([1.0]))
    # Every parameter within 0.05: |f(x) - f(y)| <= (0.05 * 8)^2 * 0.05 * 2 * |x - y|_1.
    assert float(gan_gap(clipped, 60)[0](nu, mu).ascended) < 0.2
    assert float(gan_gap(free, 60)[0](nu, mu).ascended) > 0.2


def test_the_regularised_payoff_has_the_penalties():
    """Times ten in its last layer a WGAN's critic wins ten times as much, unless it pays for it."""
    game = small_gan("wgan", r1=0.7, gradient_penalty=0.4)
    theta, w = gan_start(game)
    leaves = game.discriminator.unflatten(w)
    large = game.discriminator.flatten([*leaves[:-2], *(30.0 * x for x in leaves[-2:])])
    gap, real, _ = gan_gap(game, 0)
    regularised, *_ = gan_gap(game, 0, regularized=True)

    def halves(of, w):
        return of(Measure(theta[None], f64([1.0])), Measure(w[None], f64([1.0])))

    plain = [float(halves(gap, z).ascended) for z in (w, large)]
    paid = [float(halves(regularised, z).ascended) for z in (w, large)]
    assert plain[1] == pytest.approx(30 * plain[0], rel=1e-9)
    assert paid[1] < paid[0] - 1.0
    # What is paid for R1, by the definition; with the same draws a game without it pays less.
    x = f64(real)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = tf.reduce_sum(game.discriminator(w, x))
    squares = tf.reduce_mean(tf.reduce_sum(tape.gradient(y, x) ** 2, axis=1))
    without, *_ = gan_gap(small_gan("wgan", gradient_penalty=0.4), 0, regularized=True)
    r1 = float(halves(without, w).ascended) - paid[0]
    assert r1 == pytest.approx(0.35 * float(squares), rel=1e-9)
    assert float(halves(regularised, w).gap) == 0.0


def test_a_lazy_penalty_is_of_the_responses_own_steps():
    """One step, the 0th, is due: twice as large as the weight says. The next one is not."""
    games = small_gan("wgan", r1=1.4), small_gan("wgan", r1=0.7, every=2), small_gan("wgan")
    theta, w = gan_start(games[0])
    nu, mu = Measure(theta[None], f64([1.0])), Measure(w[None], f64([1.0]))
    each, lazy, none = (float(gan_gap(game, 1, 0.05)[0](nu, mu).ascended) for game in games)
    assert lazy == pytest.approx(each, rel=1e-12)
    assert abs(lazy - none) > 1e-6
    each, lazy, _ = (float(gan_gap(game, 2, 0.05)[0](nu, mu).ascended) for game in games)
    assert abs(lazy - each) > 1e-6


CLASSES = 3


def labelled(points, classes):
    """Points [n, 2] with their one-hot classes behind: what a conditional game calls real data."""
    return np.concatenate([points, np.eye(CLASSES)[classes]], axis=1)


def test_best_responses_of_a_conditional_gan_know_the_classes():
    """Both halves against NumPy: G reads a class behind its latents, f one behind its points."""
    sizes = (LATENT_DIM + CLASSES, 8, 8, 2), (2 + CLASSES, 8, 8, 1)
    networks = [mlp(s[0], s[-1], s[1:-1], seed=j, dtype="float64") for j, s in enumerate(sizes)]
    game = GanGame(*networks, LATENT_DIM, num_classes=CLASSES)
    theta, w = gan_start(game)
    random = np.random.default_rng(8)
    real, train = (
        labelled(random.normal(size=(60, 2)), random.integers(0, CLASSES, 60)) for _ in range(2)
    )
    gap = nash.gan_duality_gap(game, Pair(sgd(0.2), sgd(0.2)), 1, lambda m: f64(train), f64(real))
    latents = game.latents(rng.stream(0, "evaluation"), 60, tf.float64).numpy()

    def payoff(theta, w, data):
        classes = data[:, 2:]
        inputs = np.concatenate([latents, classes], axis=1)
        fake, *_ = gan.forward(gan.unpack(theta, sizes[0]), inputs)
        parameters = gan.unpack(w, sizes[1])
        fake_logits, *_ = gan.forward(parameters, np.concatenate([fake, classes], axis=1))
        return np.mean(gan.forward(parameters, data)[0]) - np.mean(fake_logits)

    # One step of each by the field of the game as it is trained.
    oracle = Oracle(game, lambda m: f64(train), 0)
    w_1 = w - 0.2 * oracle.field("w", w, dirac(theta), tf.constant(0, tf.int64))[0]
    theta_1 = theta - 0.2 * oracle.field("theta", theta, dirac(w), tf.constant(0, tf.int64))[0]
    result = gap(Measure(theta[None], f64([1.0])), Measure(w[None], f64([1.0])))
    theta, w, theta_1, w_1 = (z.numpy() for z in (theta, w, theta_1, w_1))
    np.testing.assert_allclose(result.start, [payoff(theta, w, real)] * 2, rtol=1e-9)
    np.testing.assert_allclose(result.ascended, payoff(theta, w_1, real), rtol=1e-9)
    np.testing.assert_allclose(result.descended, payoff(theta_1, w, real), rtol=1e-9)
    assert float(result.gap) > 1e-3
    confused = np.concatenate([real[:, :2], np.roll(real[:, 2:], 1, axis=1)], axis=1)
    assert abs(payoff(theta, w_1, confused) - float(result.ascended)) > 1e-3, "classes matter"


def test_evaluation_latents_are_not_those_of_the_responses():
    game = small_gan()
    gap, _, latents = gan_gap(game, 1, seed=5)
    oracle = gap._oracle
    for player in ("theta", "w"):
        for m in range(3):
            key = rng.fold_in(oracle._field_keys[player], m)
            drawn = game.latents(key, len(latents), tf.float64).numpy()
            assert not np.isin(drawn, latents).any()


def test_zero_sum_leaves_wgan_and_negates_the_others():
    from tf_mixed_nash.games.objectives import OBJECTIVES

    real, fake = f64([[0.3], [1.2]]), f64([[-0.4], [0.9]])
    for name, objective in OBJECTIVES.items():
        losses = nash.zero_sum(objective)(real, fake)
        np.testing.assert_allclose(losses.discriminator, objective(real, fake).discriminator)
        if name != "wgan":
            np.testing.assert_allclose(losses.generator, -losses.discriminator)
    assert nash.zero_sum(OBJECTIVES["wgan"]) is OBJECTIVES["wgan"]


@pytest.mark.parametrize(
    ("num_steps", "options", "says"),
    [(-1, {}, "num_steps"), (2.5, {}, "num_steps"), (1, {"max_atoms": 0}, "max_atoms")],
)
def test_bad_settings_are_refused(num_steps, options, says):
    with pytest.raises(InputError, match=says):
        gap_of(num_steps, **options)


def test_a_vector_is_no_measure():
    with pytest.raises(InputError, match=r"Measure\(z\[None\]"):
        gap_of(1)(Measure(f64([0.0, 1.0, 2.0]), f64([1.0])), pure(np.zeros(2)))
