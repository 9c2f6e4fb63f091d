"""The capacity-limited game: its fields against differences, its ball, its measures, its runs."""

import numpy as np
import pytest
import tensorflow as tf

from benchmarks import kernel_game
from benchmarks.former import FORMER
from benchmarks.kernel_game import KernelGame, Plan, Run, features_of
from configs import tuned
from tf_mixed_nash import rng
from tf_mixed_nash.errors import InputError
from tf_mixed_nash.types import Measure, dirac, particles

WIDTHS = (0.3, 1.2)
KEY = tf.constant([1, 2], tf.int32)


@pytest.fixture(scope="module")
def game():
    return KernelGame(features_of(WIDTHS, (16, 8)))


def normal(seed, *shape):
    return tf.constant(np.random.default_rng(seed).normal(size=shape), tf.float32)


def phi(game, x):
    """In NumPy, float64."""
    phase = np.asarray(x, np.float64) @ game.omega.numpy().astype(np.float64)
    return np.concatenate([np.cos(phase), np.sin(phase)], -1) * np.tile(game.scale.numpy(), 2)


def generated(theta, latents):
    theta = np.asarray(theta, np.float64)
    return np.asarray(latents, np.float64) @ theta[2:].reshape(2, 2).T + theta[:2]


def latents(num):
    return rng.normal(KEY, [num, 2], tf.float32).numpy()


def test_features_are_those_of_the_kernel():
    many = features_of(WIDTHS, (4_096, 4_096))
    x, y = np.random.default_rng(0).normal(size=(2, 30, 2)) * 0.5
    phase = [z @ many.omega.astype(np.float64) for z in (x, y)]
    found = (many.scale.astype(np.float64) ** 2 * np.cos(phase[0] - phase[1])).sum(-1)
    square = ((x - y) ** 2).sum(-1)
    expected = sum(np.exp(-square / (2 * h * h)) for h in WIDTHS)
    np.testing.assert_allclose(found, expected, atol=0.02)
    assert (many.scale.astype(np.float64) ** 2).sum() == pytest.approx(len(WIDTHS), rel=1e-6)
    assert many.dim == 4 * 4_096


def test_cosine_and_sine_of_large_angles():
    x = np.linspace(-300.0, 300.0, 20_001).astype(np.float32)
    cosine, sine = kernel_game._cosine_and_sine(tf.constant(x))
    np.testing.assert_allclose(cosine, np.cos(x.astype(np.float64)), atol=6e-5)
    np.testing.assert_allclose(sine, np.sin(x.astype(np.float64)), atol=6e-5)


def test_the_generators_field_is_the_gradient_of_the_mean_loss(game):
    """By central differences in float64, of each of two atoms, which share a mini-batch of six."""
    theta, w = normal(1, 2, 6), normal(2, game.dim)
    g, logs = game.field("theta", theta, dirac(w), tf.zeros([6, 2]), KEY)
    for j, z in enumerate(np.split(latents(6), 2)):

        def loss(point, z=z):
            return -(phi(game, generated(point, z)) @ w.numpy()).mean()

        assert logs["loss"][j].numpy() == pytest.approx(loss(theta[j]), abs=1e-4)
        for i in range(6):
            step = 1e-5 * np.eye(6)[i]
            point = theta[j].numpy().astype(np.float64)
            slope = (loss(point + step) - loss(point - step)) / 2e-5
            assert g[j, i].numpy() == pytest.approx(slope, abs=2e-3)
    one, _ = game.field("theta", theta[0], dirac(w), tf.zeros([6, 2]), KEY)
    assert one.shape == [6]


def test_the_critics_field_is_the_difference_of_mean_features_and_linear_in_the_measure(game):
    theta, w, real = normal(3, 2, 6), normal(4, game.dim), normal(5, 6, 2)
    nu = particles(theta, [0.3, 0.7])
    g, logs = game.field("w", w, dirac(nu), real, KEY)
    halves = zip(theta, np.split(latents(6), 2), strict=True)
    fakes = [phi(game, generated(t, z)).mean(0) for t, z in halves]
    expected = 0.3 * fakes[0] + 0.7 * fakes[1] - phi(game, real).mean(0)
    np.testing.assert_allclose(g, expected, atol=2e-5)
    assert logs["loss"].numpy() == pytest.approx(expected @ w.numpy(), abs=1e-4)
    # A signed measure, 2 nu - theta, is the same sum.
    signed = Measure((nu, theta[0]), (2.0, -1.0))
    h, _ = game.field("w", w, signed, real, KEY)
    alone = phi(game, generated(theta[0], latents(6))).mean(0)
    both = 2 * (expected + phi(game, real).mean(0)) - alone - phi(game, real).mean(0)
    np.testing.assert_allclose(h, both, atol=4e-5)
    # Against a measure of critics, which are worth their mean.
    mixed, _ = game.field("theta", theta, Measure((w, 0 * w), (0.25, 0.75)), real, KEY)
    mean, _ = game.field("theta", theta, dirac(0.25 * w), real, KEY)
    np.testing.assert_allclose(mixed, mean, atol=1e-6)


def test_the_critic_stays_in_the_ball_and_generators_are_free(game):
    w = normal(6, game.dim)
    inside = game.project("w", w / tf.norm(w) * 0.5)
    np.testing.assert_allclose(tf.norm(inside), 0.5, rtol=1e-6)
    np.testing.assert_allclose(game.project("w", w), w / tf.norm(w), rtol=1e-5)
    assert game.project("theta", w) is w
    with pytest.raises(InputError, match="mini-batch of 6 cannot be split over 4"):
        game.field("theta", normal(7, 4, 6), dirac(w), tf.zeros([6, 2]), KEY)


def test_the_witness_is_the_best_of_the_ball(game):
    """Steps of the critic's own field, projected, end at the normalised difference of features."""
    theta, real = normal(8, 6), normal(9, 6, 2)
    field = lambda w: game.field("w", w, dirac(theta), real, KEY)[0]  # noqa: E731
    best = -field(tf.zeros([game.dim]))
    w = tf.zeros([game.dim])
    for _ in range(5):
        w = game.project("w", w - 2.0 * field(w))
    np.testing.assert_allclose(w, best / tf.norm(best), atol=1e-5)


def plan(**more):
    own = {"rms_decay": 0.99, "stability": 1e-8}
    return Plan("rmsprop", own, batch_size=10, num_batches=8, num_snapshots=2, **more)


def sample(key, num):
    return rng.normal(key, [num, 2], tf.float32)


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["rmsprop", "adam", "mirror_gan", "mirror_prox_gan"])
@pytest.mark.parametrize(("num", "weights"), [(1, "uniform"), (5, "learnt")])
def test_many_runs_at_once_are_the_runs(algorithm, num, weights):
    features = features_of(WIDTHS, (16, 8))
    former = {**tuned.ANY, **FORMER[algorithm]}
    own = {key: former[key] for key in ("stability", "damping", "decay_1")}
    made = plan(num_particles=num, weights=weights)._replace(
        algorithm=algorithm, hyperparameters=own
    )
    runs = [Run(1e-2, 1e-4, 0), Run(3e-3, 1e-4, 1), Run(1e-2, 0.0, 2)]
    together = kernel_game.train(made, features, sample, runs)
    (alone,) = kernel_game.train(made, features, sample, runs[1:2])
    for name, answer in alone.items():
        snapshots = 2 if name == "mixture" else 1
        assert answer.theta.shape == (snapshots * num, 6)
        assert answer.weights.sum() == pytest.approx(1.0)
        np.testing.assert_allclose(answer.theta, together[1][name].theta, atol=2e-4)
        np.testing.assert_allclose(answer.weights, together[1][name].weights, atol=1e-5)
        assert np.abs(answer.theta - together[0][name].theta).max() > 1e-2


def test_a_run_is_rmsprop_of_both_players():
    """Transcribed: eight simultaneous steps in float64, the schedule falling from the first on."""
    made, features = plan(), features_of(WIDTHS, (16, 8))
    (found,) = kernel_game.train(made, features, sample, [Run(1e-2, 0.0, 7)])
    game = KernelGame(features)
    theta = kernel_game._start(made, 7).numpy().astype(np.float64)
    w, v_theta, v_w = np.zeros(game.dim), np.zeros(6), np.zeros(game.dim)
    keys = {p: rng.stream(7, f"field/{p}") for p in ("theta", "w")}
    data, kept, average = rng.stream(7, "capacity/data"), [], theta.copy()
    for t in range(8):
        real = sample(rng.fold_in(data, t), 10)
        point = tf.constant(theta, tf.float32)
        critic = tf.constant(w, tf.float32)
        g, _ = game.field("theta", point, dirac(critic), real, rng.fold_in(keys["theta"], t))
        h, _ = game.field("w", critic, dirac(point), real, rng.fold_in(keys["w"], t))
        gamma = 1e-2 * (1 - t / 8)
        v_theta, v_w = (0.99 * v + 0.01 * x.numpy() ** 2 for v, x in ((v_theta, g), (v_w, h)))
        theta = theta - gamma * g.numpy() / (np.sqrt(v_theta) + 1e-8)
        w = w - gamma * h.numpy() / (np.sqrt(v_w) + 1e-8)
        w /= max(1.0, np.linalg.norm(w))
        average = 0.999 * average + 0.001 * theta
        kept.append(theta)
    np.testing.assert_allclose(found["last"].theta[0], theta, atol=2e-4)
    np.testing.assert_allclose(found["ema"].theta[0], average, atol=2e-4)
    np.testing.assert_allclose(found["mixture"].theta, kept[6:], atol=2e-4)
    np.testing.assert_allclose(found["mixture"].weights, [0.5, 0.5])
