"""Fields of games between Keras models with all kinds of layers, beside plain Keras."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from tests.helpers import assert_close, f64
from tf_mixed_nash import rng
from tf_mixed_nash.games import gan as games
from tf_mixed_nash.games.game import Shard
from tf_mixed_nash.games.gan import GanGame, ParticleDraws, Regularizers
from tf_mixed_nash.games.objectives import OBJECTIVES, Losses
from tf_mixed_nash.models import Network, data_and_labels, latents_and_labels
from tf_mixed_nash.types import Measure, Pair, dirac, particles

D, N = 3, 6
KEY = tf.constant([5, 7], tf.int32)
SHARD = Shard()


@pytest.fixture(autouse=True)
def double():
    before = keras.config.floatx(), keras.config.dtype_policy()
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    keras.utils.set_random_seed(0)
    yield
    keras.config.set_floatx(before[0])
    keras.config.set_dtype_policy(before[1])


class Subclassed(keras.Model):
    def __init__(self, out, noise=False):
        super().__init__()
        self.first, self.last = layers.Dense(5, "tanh"), layers.Dense(out)
        self.noise = layers.GaussianNoise(0.3) if noise else None

    def call(self, x, training=False):
        x = self.first(x)
        return self.last(self.noise(x, training=training) if self.noise else x)


def sequential(inputs, out, *body):
    return keras.Sequential(
        [keras.Input(inputs), layers.Dense(6, "tanh"), *body, layers.Dense(out)]
    )


def residual(inputs, out):
    x = keras.Input(inputs)
    h = layers.Dense(6, "tanh")(x)
    h = layers.LayerNormalization()(layers.Add()([h, layers.Dense(6, "tanh")(h)]))
    return keras.Model(x, layers.Dense(out)(layers.Concatenate()([h, x])))


def built(model, width):
    model(tf.zeros([1, width]))
    return model


def image_generator(*body):
    return keras.Sequential(
        [
            keras.Input((D,)),
            layers.Dense(2 * 2 * 3),
            layers.Reshape((2, 2, 3)),
            *body,
            layers.Conv2DTranspose(1, 2, 2, "same", activation="tanh"),
        ]
    )


def image_critic(*body):
    return keras.Sequential(
        [
            keras.Input((4, 4, 1)),
            *body,
            layers.Conv2D(3, 3, 2, "same"),
            layers.GroupNormalization(3),
            layers.Flatten(),
            layers.Dense(1),
        ]
    )


# name -> (generator, discriminator), functions of nothing.
MODELS = {
    "residual": lambda: (residual((D,), 2), residual((2,), 1)),
    "subclassed": lambda: (built(Subclassed(2), D), built(Subclassed(1), 2)),
    "subclassed with noise": lambda: (
        built(Subclassed(2, True), D),
        built(Subclassed(1, True), 2),
    ),
    "batch normalisation": lambda: (
        sequential((D,), 2, layers.BatchNormalization()),
        sequential((2,), 1, layers.BatchNormalization()),
    ),
    "dropout": lambda: (
        sequential((D,), 2, layers.Dropout(0.4)),
        sequential((2,), 1, layers.Dropout(0.4), layers.GaussianDropout(0.2)),
    ),
    "dropout and batch normalisation": lambda: (
        sequential((D,), 2, layers.Dropout(0.4), layers.BatchNormalization()),
        sequential((2,), 1, layers.BatchNormalization(), layers.Dropout(0.4)),
    ),
    "augmentation": lambda: (
        image_generator(layers.BatchNormalization(), layers.SpatialDropout2D(0.5)),
        image_critic(layers.RandomFlip("horizontal"), layers.GaussianNoise(0.1)),
    ),
    "frozen layers": lambda: (
        sequential((D,), 2, layers.Dense(6, trainable=False)),
        sequential((2,), 1, layers.BatchNormalization(trainable=False)),
    ),
}


def data(shape, seed=0):
    return f64(np.random.default_rng(seed).normal(size=(N, *shape)))


def use(player, number, j=0, key=KEY):
    """The documented key of a call: `games.gan._Layers.key`."""
    counter = 3 + number + 8 * (player == "w")
    return rng.fold_in(rng.fold_in(key, counter), j)


GENERATED, REAL, FAKE, PENALTY = range(4)


def drawing(model, key):
    """The Keras model itself, in training, with its seed generators at the network's draws."""

    def call(x):
        seeds = [v for v in model.non_trainable_variables if v.path.endswith("_state")]
        for i, seed in enumerate(seeds):
            seed.assign(tf.cast(rng.fold_in(key, i), seed.dtype))
        return model(x, training=True)

    return call


def gradient(tape, loss, model):
    return tape.gradient(loss, [v.value for v in model.trainable_variables])


@pytest.mark.parametrize("name", MODELS)
def test_a_field_is_the_gradient_of_plain_keras(name):
    theta, w = MODELS[name]()
    networks = Network(theta), Network(w)
    objective = OBJECTIVES["nonsaturating"]
    game = GanGame(*networks, D, objective)
    real = data(theta.output_shape[1:] if hasattr(theta, "output_shape") else (2,))
    z = [network.initial() for network in networks]
    latents = game.latents(KEY, N, tf.float64)
    apart = networks[1].num_statistics > 0

    with tf.GradientTape() as tape:
        fake = drawing(theta, use("theta", GENERATED))(latents)
        f_real = drawing(w, use("w", REAL))(real)
        f_fake = drawing(w, use("w", FAKE))(fake)
        loss = objective(f_real, f_fake).generator
    expected = networks[0].flatten(gradient(tape, loss, theta))
    g, logs = game.field("theta", z[0], dirac(z[1]), real, KEY)
    assert_close(g, expected)
    assert_close(logs["loss"], loss)

    with tf.GradientTape() as tape:
        if apart:
            f_real = drawing(w, use("w", REAL))(real)
            f_fake = drawing(w, use("w", FAKE))(fake)
        else:
            both = drawing(w, use("w", REAL))(tf.concat([real, fake], 0))
            f_real, f_fake = tf.split(both, 2)
        loss = objective(f_real, f_fake).discriminator
    expected = networks[1].flatten(gradient(tape, loss, w))
    g, logs = game.field("w", z[1], dirac(z[0]), real, KEY)
    assert_close(g, expected)
    assert np.any(np.abs(g) > 1e-8)


# Spectral normalisation: the kernel is divided inside the function, so that the gradient is that of
# the quotient. (Keras's layer writes the quotient into the kernel and differentiates by that.)


def spectral_critic(noise=()):
    dense = layers.SpectralNormalization(layers.Dense(6, "tanh"))
    return keras.Sequential([keras.Input((2,)), dense, *noise, layers.Dense(1)])


def normalised(kernel, u):
    """(kernel / sigma, the next u), by hand."""
    u = u / np.linalg.norm(u)
    v = kernel.numpy() @ u
    v /= np.linalg.norm(v)
    u = kernel.numpy().T @ v
    u /= np.linalg.norm(u)
    return kernel / tf.tensordot(f64(v), tf.linalg.matvec(kernel, f64(u)), 1), u


def by_hand(leaves, x, u):
    kernel, bias, last, end = leaves
    return tf.tanh(x @ normalised(kernel, u)[0] + bias) @ last + end


def spectral_game(**regularizers):
    theta, w = Network(sequential((D,), 2)), Network(spectral_critic())
    return GanGame(theta, w, D, regularizers=Regularizers(**regularizers))


U = np.random.default_rng(3).normal(size=6)


def test_a_spectrally_normalised_field_is_that_of_the_quotient():
    game = spectral_game(gradient_penalty=2.0)
    theta, w = game.generator.initial(), game.discriminator.initial()
    real, latents = data((2,)), game.latents(KEY, N, tf.float64)
    fake = game.generator(theta, latents)
    u = rng.uniform(KEY, [N, 1], tf.float64, at=1)
    leaves = game.discriminator.unflatten(w)
    with tf.GradientTape() as tape:
        tape.watch(leaves)
        with tf.GradientTape() as inner:
            inner.watch(between := u * real + (1.0 - u) * fake)
            y = tf.reduce_sum(by_hand(leaves, between, U))
        norm = tf.norm(inner.gradient(y, between), axis=1)
        loss = tf.reduce_mean(by_hand(leaves, fake, U)) - tf.reduce_mean(by_hand(leaves, real, U))
        total = loss + 2.0 * tf.reduce_mean((norm - 1.0) ** 2)
    expected = game.discriminator.flatten(tape.gradient(total, leaves))
    states = Pair(None, f64(U))
    field = tf.function(
        lambda: game.field("w", w, dirac(theta), real, KEY, states=states), autograph=False
    )
    g, logs = field()
    assert_close(g, expected, 1e-7)  # 1e-12 under the norm's root
    assert_close(logs["loss"], loss)


def test_the_state_moves_by_one_power_iteration():
    game = spectral_game()
    theta, w = game.generator.initial(), game.discriminator.initial()
    states = game.updated(Pair(theta, w), data((2,)), KEY, Pair(None, f64(U)))
    assert states.theta is None
    assert_close(states.w, normalised(game.discriminator.unflatten(w)[0], U)[1])
    atoms = block(game.discriminator, 2, 4)
    rows = tf.stack([f64(U), f64(U[::-1])])
    states = game.updated(Pair(theta, atoms), data((2,)), KEY, Pair(None, rows))
    for z, row, u in zip(atoms, states.w, (U, U[::-1]), strict=True):
        assert_close(row, normalised(game.discriminator.unflatten(z)[0], u)[1])


def test_a_settled_state_is_the_singular_vector_whatever_the_run():
    network = Network(spectral_critic())
    leaves = network.unflatten(network.initial())
    u = network.settled(leaves, data((2,)))
    _, _, right = np.linalg.svd(leaves[0])
    np.testing.assert_allclose(np.abs(u), np.abs(right[0]), atol=1e-6)
    kernel = network.unflatten(network.calibrated(network.initial(), []))[0]
    assert np.linalg.norm(kernel, 2) == pytest.approx(1.0, abs=1e-9)
    # Without a state the layers are called at the settled one.
    x = data((2,))
    assert_close(network.apply(leaves, x), by_hand(leaves, x, u.numpy()))


class Running(layers.Layer):
    """Subtracts a running mean."""

    def build(self, shape):
        self.mean = self.add_weight(shape=shape[1:], trainable=False, initializer="zeros")

    def call(self, x, training=False):
        mean = self.mean + 0.0
        if training:
            self.mean.assign(0.5 * self.mean + 0.5 * tf.reduce_mean(x, 0))
        return x - mean


def test_a_running_mean_sees_fresh_latents_or_real_and_generated_data():
    theta = keras.Sequential([keras.Input((D,)), Running(), layers.Dense(2)])
    critic = keras.Sequential([keras.Input((2,)), Running(), layers.Dense(1)])
    game = GanGame(Network(theta), Network(critic), D)
    points = Pair(game.generator.initial(), game.discriminator.initial())
    real, mean = data((2,)), f64([1.0, 2.0, -1.0])
    after = game.updated(points, real, KEY, Pair(mean, f64([3.0, 4.0])))
    latents = game.latents(KEY, N, tf.float64)
    assert_close(after.theta, 0.5 * mean + 0.5 * tf.reduce_mean(latents, 0))
    seen = tf.concat([real, theta.layers[-1](latents - mean)], 0)
    assert_close(after.w, 0.5 * f64([3.0, 4.0]) + 0.5 * tf.reduce_mean(seen, 0))


# Particles: every atom has its own draws and its own state.


def mixed_game(draws):
    dense = layers.SpectralNormalization(layers.Dense(6, "tanh"))
    w = keras.Sequential([keras.Input((2,)), dense, layers.Dropout(0.4), layers.Dense(1)])
    theta = sequential((D,), 2, layers.Dropout(0.4))
    return GanGame(Network(theta), Network(w), D, draws=ParticleDraws(draws))


def block(network, num, seed):
    noise = np.random.default_rng(seed).normal(size=(num, network.dim))
    return network.initial() + f64(0.3 * noise)


@pytest.mark.parametrize("signed", [False, True])
def test_atoms_draw_and_keep_by_themselves(signed):
    """The critics' fields against a mixture are the means of those against its atoms."""
    game, real = mixed_game("full"), data((2,))
    theta, w = block(game.generator, 2, 1), block(game.discriminator, 2, 2)
    rows = f64(np.random.default_rng(5).normal(size=(2, 6)))
    measure = dirac(particles(theta, [0.25, 0.75]))
    if signed:
        old = particles(theta[::-1] + 0.1, [0.5, 0.5])
        measure = Measure((measure.atoms[0], old), (2.0, -1.0))
    g, _ = game.field("w", w, measure, real, KEY, states=Pair(None, rows))
    latents = game._latents_of(2, False, tf.float64, real, KEY, SHARD)
    for l in range(2):
        leaves = game.discriminator.unflatten(w[l])
        with tf.GradientTape() as tape:
            tape.watch(leaves)
            groups, weights = [], []
            for a, z in zip(measure.weights, measure.atoms, strict=True):
                for j in range(2):
                    drawn = use("theta", GENERATED, j)
                    groups.append(game.generator(z.atoms[j], latents[j], drawn))
                    weights.append(a * tf.exp(z.log_weights[j]))
            all_data = tf.concat([real, *groups], 0)
            f = game.discriminator.apply(leaves, all_data, use("w", REAL, l), rows[l])
            f_real, *f_fake = tf.split(f, 1 + len(groups))
            pairs = zip(weights, f_fake, strict=True)
            loss = sum(a * game.objective(f_real, y).discriminator for a, y in pairs)
        assert_close(g[l], game.discriminator.flatten(tape.gradient(loss, leaves)))


def test_a_generators_field_draws_for_every_atom_of_both():
    game, real = mixed_game("full"), data((2,))
    theta, w = block(game.generator, 2, 1), block(game.discriminator, 2, 2)
    rows = f64(np.random.default_rng(5).normal(size=(2, 6)))
    measure = dirac(particles(w, [0.25, 0.75]))
    g, _ = game.field("theta", theta, measure, real, KEY, states=Pair(None, rows))
    latents = game._latents_of(2, False, tf.float64, real, KEY, SHARD)
    leaves = game.generator.unflatten(theta)
    with tf.GradientTape() as tape:
        tape.watch(leaves)
        loss = 0.0
        each = [[x[i] for x in leaves] for i in range(2)]
        fakes = [
            game.generator.apply(each[i], latents[i], use("theta", GENERATED, i)) for i in range(2)
        ]
        for l, a in enumerate((0.25, 0.75)):
            f = game.discriminator(w[l], tf.concat(fakes, 0), use("w", FAKE, l), rows[l])
            loss -= a * (tf.reduce_mean(f[:N]) + tf.reduce_mean(f[N:]))
    assert_close(g, game.generator.flatten(tape.gradient(loss, leaves)))


def test_draws_differ_by_player_use_and_mini_batch():
    keys = [
        tuple(use(player, number, j, key).numpy())
        for player in ("theta", "w")
        for number in range(5)
        for j in range(2)
        for key in (KEY, KEY + 1)
    ]
    assert len(set(keys)) == len(keys)


# Class-conditional games of models with labels.


def embedding_generator(k):
    z, label = keras.Input((D,)), keras.Input((), dtype="int32")
    h = layers.Concatenate()([z, layers.Embedding(k, 2)(label)])
    return keras.Model([z, label], layers.Dense(2)(layers.Dense(5, "tanh")(h)))


def projection_critic(k):
    x, label = keras.Input((2,), name="x"), keras.Input((1,), dtype="int32", name="labels")
    h = layers.Dense(5, "tanh")(x)
    of_class = layers.Flatten()(layers.Embedding(k, 5)(label))
    return keras.Model({"x": x, "labels": label}, layers.Dense(1)(layers.Add()([h, of_class])))


def test_models_with_labels_get_them_and_penalties_leave_them_alone():
    k, theta, w = 3, embedding_generator(3), projection_critic(3)
    networks = (
        Network(theta, latents_and_labels(theta, D, k)),
        Network(w, data_and_labels(w, (2,), k)),
    )
    game = GanGame(*networks, D, regularizers=Regularizers(r1=2.0), num_classes=k)
    labels = tf.constant([0, 2, 1, 1, 0, 2])
    x = data((2,))
    real = tf.concat([x, tf.one_hot(labels, k, dtype=tf.float64)], 1)
    z = [network.initial() for network in networks]
    latents = game.latents(KEY, N, tf.float64)
    with tf.GradientTape() as tape:
        fake = theta([latents, labels])
        with tf.GradientTape() as inner:
            inner.watch(x)
            y = tf.reduce_sum(w({"x": x, "labels": labels[:, None]}))
        r1 = tf.reduce_mean(tf.reduce_sum(inner.gradient(y, x) ** 2, 1))
        f_real = w({"x": x, "labels": labels[:, None]})
        f_fake = w({"x": fake, "labels": labels[:, None]})
        loss = tf.reduce_mean(f_fake) - tf.reduce_mean(f_real) + r1
    slices = gradient(tape, loss, w)
    expected = networks[1].flatten([tf.convert_to_tensor(g) for g in slices])
    g, _ = game.field("w", z[1], dirac(z[0]), real, KEY)
    assert_close(g, expected)


# A layer of a user's own that reads the whole batch.


class Deviation(layers.Layer):
    def call(self, x):
        deviation = tf.math.reduce_std(x, 0, keepdims=True)
        return tf.concat([x, tf.broadcast_to(deviation, tf.shape(x))], 1)


def test_real_and_generated_data_are_never_in_one_batch():
    theta, critic = sequential((D,), 2), sequential((2,), 1, Deviation())
    game = GanGame(Network(theta), Network(critic), D)
    real, z, w = data((2,)), game.generator.initial(), game.discriminator.initial()
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(critic(theta(game.latents(KEY, N, tf.float64))))
        loss -= tf.reduce_mean(critic(real))
    expected = game.discriminator.flatten(gradient(tape, loss, critic))
    assert_close(game.field("w", w, dirac(z), real, KEY)[0], expected)
    assert_close(game.field("w", w[None], dirac(particles(z[None])), real, KEY)[0][0], expected)


def test_embeddings_have_the_same_gradient_every_time():
    k, num = 3, 512
    model = embedding_generator(k)
    network = Network(model, latents_and_labels(model, D, k))
    game = GanGame(network, Network(sequential((2 + k,), 1)), D, num_classes=k)
    labels = tf.one_hot(np.random.default_rng(0).integers(0, k, num), k, dtype=tf.float64)
    real = tf.concat([f64(np.random.default_rng(1).normal(size=(num, 2))), labels], 1)
    z, w = network.initial(), game.discriminator.initial()
    field = tf.function(lambda z: game.field("theta", z, dirac(w), real, KEY)[0], autograph=False)
    first = field(z)
    for _ in range(5):
        np.testing.assert_array_equal(field(z), first)


def test_shards_draw_by_themselves():
    game = mixed_game("full")
    real, z, w = data((2,)), game.generator.initial(), game.discriminator.initial()
    states = Pair(None, f64(U))

    def fields(parts):
        size = N // parts
        each = [
            game.field(
                "w", w, dirac(z), real[i * size :][:size], KEY, Shard(i, parts), states=states
            )[0]
            for i in range(parts)
        ]
        return tf.add_n(each) / parts

    np.testing.assert_array_equal(fields(2), fields(2))
    assert np.any(fields(2) != fields(1))
    same = [layers_.key("w", REAL) for layers_ in (_layers(game, i) for i in range(2))]
    assert np.any(same[0] != same[1])


def _layers(game, index):
    return games._Layers(game, KEY, Shard(index, 2), None)


# What a discriminator may give.


def test_logits_of_rank_one_count_as_columns():
    column = sequential((2,), 1)
    flat = keras.Model(column.inputs, layers.Reshape(())(column.outputs[0]))
    theta = Network(sequential((D,), 2))
    games = [
        GanGame(theta, Network(w), D, OBJECTIVES["hinge"], Regularizers(gradient_penalty=1.0))
        for w in (column, flat)
    ]
    w, real = games[0].discriminator.initial(), data((2,))
    blocks = block(theta, 2, 0), tf.stack([w, 2.0 * w])
    for player, z, against in (
        ("w", w, dirac(blocks[0][0])),
        ("theta", blocks[0][0], dirac(w)),
        ("w", blocks[1], dirac(particles(blocks[0]))),
        ("theta", blocks[0], dirac(particles(blocks[1]))),
    ):
        one, other = (game.field(player, z, against, real, KEY)[0] for game in games)
        assert_close(one, other)


def test_an_objective_of_ones_own_gets_any_output():
    def patches(real, fake):
        assert real.shape[1:] == (2, 2, 1)
        assert fake.shape[1:] == (2, 2, 1)
        return Losses(tf.reduce_mean(fake) - tf.reduce_mean(real), -tf.reduce_mean(fake[:, 0, 0]))

    critic = keras.Sequential([keras.Input((4, 4, 1)), layers.Conv2D(1, 3, 2, "same")])
    theta = Network(image_generator())
    game = GanGame(theta, Network(critic), D, patches, Regularizers(gradient_penalty=1.0))
    w, real = game.discriminator.initial(), data((4, 4, 1))
    one, _ = game.field("w", w, dirac(theta.initial()), real, KEY)
    several, _ = game.field("w", w[None], dirac(particles(theta.initial()[None])), real, KEY)
    assert_close(several[0], one)
    assert np.any(one != 0)


def test_a_player_without_weights_stands_still():
    theta = keras.Sequential([keras.Input((2,)), layers.Activation("tanh")])
    network = Network(theta)
    assert (network.num_parameters, network.dim) == (0, 256)
    game = GanGame(network, Network(sequential((2,), 1)), 2)
    real, z, w = data((2,)), network.initial(), game.discriminator.initial()
    np.testing.assert_array_equal(game.field("theta", z, dirac(w), real, KEY)[0], 0.0)
    g, _ = game.field("w", w, dirac(z), real, KEY)
    assert np.any(g != 0)


def test_a_weight_that_no_loss_reads_has_the_gradient_zero():
    x = keras.Input((2,))
    y = layers.Dense(1)(x)
    model = keras.Model(x, y)
    model.unused = layers.Dense(2)
    model.unused.build((None, 3))
    game = GanGame(Network(sequential((D,), 2)), Network(model), D)
    g, _ = game.field(
        "w", game.discriminator.initial(), dirac(game.generator.initial()), data((2,)), KEY
    )
    leaves = dict(
        zip(
            (v.path for v in model.trainable_variables),
            game.discriminator.unflatten(g),
            strict=True,
        )
    )
    unused = [x for path, x in leaves.items() if path in {v.path for v in model.unused.variables}]
    assert len(unused) == 2
    assert all(np.all(x == 0) for x in unused)
