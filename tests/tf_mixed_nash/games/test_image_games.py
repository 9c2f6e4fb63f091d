"""What images bring to the GAN game: classes as channels, and batch normalisation."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_mixed_nash import rng
from tf_mixed_nash.games.gan import GanGame, Regularizers
from tf_mixed_nash.games.objectives import nonsaturating
from tf_mixed_nash.models import mlp
from tf_mixed_nash.models.network import Network
from tf_mixed_nash.strategies.mixed import MixedStrategy, seed_rows
from tf_mixed_nash.types import PLAYERS, Measure, dirac

N, D, C, K = 12, 3, 2, 4  # rows, latents, channels, classes
KEY = rng.stream(0, "field")


def softplus(x):
    return np.log1p(np.exp(x))


def slope(loss, z, direction, h=1e-6):
    """The central difference of loss at z along the direction."""
    return (loss(z + h * direction) - loss(z - h * direction)) / (2 * h)


def directions(z, count=4):
    random = np.random.default_rng(3)
    return [random.normal(size=z.shape) for _ in range(count)]


def conditional(**penalties):
    generator = mlp(D + K, C, (8,), "tanh", seed=1, dtype="float64")
    discriminator = mlp(C + K, 1, (8,), "tanh", seed=2, dtype="float64")
    game = GanGame(generator, discriminator, D, nonsaturating, Regularizers(**penalties), K)
    random = np.random.default_rng(0)
    classes = np.eye(K)[random.integers(0, K, N)]
    real = np.concatenate([random.normal(size=(N, C)), classes], axis=1)
    z = {"theta": generator.initial().numpy(), "w": discriminator.initial().numpy()}
    z = {p: v + 0.3 * np.random.default_rng(9).normal(size=v.shape) for p, v in z.items()}
    return game, real, classes, z


def critic(game, w, x):
    return game.discriminator(tf.constant(w), tf.constant(x)).numpy()


@pytest.mark.parametrize("player", PLAYERS)
def test_a_conditional_game_shows_both_networks_the_classes_of_the_real_data(player):
    game, real, classes, z = conditional()
    latents = game.latents(KEY, N, tf.float64).numpy()

    def loss(moved):
        at = {**z, player: moved}
        read = np.concatenate([latents, classes], axis=1)
        fake = game.generator(tf.constant(at["theta"]), tf.constant(read)).numpy()
        fake_logits = critic(game, at["w"], np.concatenate([fake, classes], axis=1))
        if player == "theta":
            return softplus(-fake_logits).mean()
        return softplus(-critic(game, at["w"], real)).mean() + softplus(fake_logits).mean()

    opponent = z["w" if player == "theta" else "theta"]
    g, _ = game.field(
        player, tf.constant(z[player]), dirac(tf.constant(opponent)), tf.constant(real), KEY
    )
    for d in directions(z[player]):
        assert g.numpy() @ d == pytest.approx(slope(loss, z[player], d), rel=1e-6, abs=1e-8)


def test_penalties_do_not_reach_into_the_classes():
    """R1 is the mean of |grad f|^2 / 2 over the image's own channels, not the one-hot ones."""
    game, real, _, z = conditional(r1=0.7)
    _, logs = game.field(
        "w", tf.constant(z["w"]), dirac(tf.constant(z["theta"])), tf.constant(real), KEY
    )
    step = 1e-6 * np.eye(C + K)
    gradients = np.stack(
        [
            (critic(game, z["w"], real + e) - critic(game, z["w"], real - e))[:, 0] / 2e-6
            for e in step
        ],
        axis=1,
    )
    own = 0.7 * 0.5 * (gradients[:, :C] ** 2).sum(1).mean()
    assert float(logs["penalty"]) == pytest.approx(own, rel=1e-6)
    assert 0.7 * 0.5 * (gradients**2).sum(1).mean() > 1.1 * own, "the classes would show"


def test_images_get_their_classes_as_constant_channels():
    game, *_ = conditional()
    latents = tf.concat([tf.zeros([2, D]), tf.one_hot([3, 1], K)], axis=1)
    labelled = game.labelled(tf.zeros([2, 5, 5, C]), latents).numpy()
    assert labelled.shape == (2, 5, 5, C + K)
    np.testing.assert_array_equal(labelled[0, 2, 4], [0, 0, 0, 0, 0, 1])
    np.testing.assert_array_equal(labelled[1, 0, 0], [0, 0, 0, 1, 0, 0])
    real = tf.reshape(labelled, [2, 5, 5, C + K])
    np.testing.assert_array_equal(game.conditioned(latents[:, :D], real), latents)


def normalised(input_dim, output_dim, seed):
    layers = [
        keras.Input((input_dim,), dtype="float64"),
        keras.layers.Dense(
            6, kernel_initializer=keras.initializers.HeNormal(seed=seed), dtype="float64"
        ),
        keras.layers.BatchNormalization(epsilon=1e-5, dtype="float64"),
        keras.layers.Activation("tanh", dtype="float64"),
        keras.layers.Dense(
            output_dim, kernel_initializer=keras.initializers.HeNormal(seed=seed), dtype="float64"
        ),
    ]
    return Network(keras.Sequential(layers))


def by_hand(z, x, output_dim):
    """The network `normalised` in NumPy, normalising by the rows of x."""
    sizes = [(x.shape[1], 6), (6,), (6,), (6,), (6, output_dim), (output_dim,)]
    parts, at = [], 0
    for size in sizes:
        parts.append(z[at : at + np.prod(size)].reshape(size))
        at += np.prod(size)
    W, b, gamma, beta, V, c = parts
    h = x @ W + b
    h = gamma * (h - h.mean(0)) / np.sqrt(h.var(0) + 1e-5) + beta
    return np.tanh(h) @ V + c


def test_batch_normalisation_sees_real_and_generated_data_apart():
    generator, discriminator = normalised(D, C, 1), normalised(C, 1, 2)
    game = GanGame(generator, discriminator, D, nonsaturating)
    theta, w = generator.initial().numpy(), discriminator.initial().numpy()
    real = 3.0 + 2.0 * np.random.default_rng(0).normal(size=(N, C))  # far from the generated
    latents = game.latents(KEY, N, tf.float64).numpy()
    fake = by_hand(theta, latents, C)

    def loss(w):
        return softplus(-by_hand(w, real, 1)).mean() + softplus(by_hand(w, fake, 1)).mean()

    g, logs = game.field("w", tf.constant(w), dirac(tf.constant(theta)), tf.constant(real), KEY)
    assert float(logs["loss"]) == pytest.approx(loss(w), rel=1e-10)
    for d in directions(w):
        assert g.numpy() @ d == pytest.approx(slope(loss, w, d), rel=1e-5, abs=1e-8)


def test_a_conditional_strategy_draws_classes_uniformly_and_by_row():
    generator = mlp(D + K, C, (8,), seed=1)
    atoms = tf.stack([generator.initial(), 2.0 * generator.initial()])
    strategy = MixedStrategy(Measure(atoms, tf.constant([0.25, 0.75])), generator, D, K)
    components, inputs = strategy.draw(seed_rows(7, 4000))
    classes = inputs[:, D:].numpy()
    assert set(classes.sum(1)) == {1.0}
    counts = np.zeros((2, K))
    np.add.at(counts, (components.numpy(), classes.argmax(1)), 1)
    expected = 4000 * np.array([[0.25], [0.75]]) / K
    # Independent of the component: every cell within 4.5 binomial deviations.
    assert (np.abs(counts - expected) < 4.5 * np.sqrt(expected)).all()
    latents = inputs[:, :D].numpy()
    assert abs(latents.mean()) < 4.5 / np.sqrt(latents.size)
    assert abs(latents.std() - 1.0) < 4.5 / np.sqrt(2 * latents.size)
    np.testing.assert_array_equal(strategy.draw(seed_rows(7, 40))[1], inputs[:40])
