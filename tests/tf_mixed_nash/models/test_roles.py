"""What is carried of a Keras model, and what is refused."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from tf_mixed_nash.errors import InputError
from tf_mixed_nash.games.checks import check_pair
from tf_mixed_nash.games.objectives import hinge
from tf_mixed_nash.models import FrozenNetwork, Network

KEY = tf.constant([1, 2], tf.int32)
X = tf.constant(np.random.default_rng(0).normal(size=(5, 3)), tf.float32)


def sequential(*body, width=3):
    return keras.Sequential([keras.Input((width,)), *body])


# Layers of a user's own.


class Running(layers.Layer):
    """Subtracts a running mean of its inputs."""

    def build(self, shape):
        self.mean = self.add_weight(shape=shape[1:], trainable=False, initializer="zeros")
        self.table = self.add_weight(shape=shape[1:], trainable=False, initializer="ones")

    def call(self, x, training=False):
        mean = self.mean + 0.0
        if training:
            self.mean.assign(0.5 * self.mean + 0.5 * tf.reduce_mean(x, 0))
        return (x - mean) * self.table


class Noise(layers.Layer):
    def __init__(self, seeded=True, always=False, **kwargs):
        super().__init__(**kwargs)
        self.seeds = keras.random.SeedGenerator(1) if seeded else None
        self.always = always

    def call(self, x, training=False):
        if not (training or self.always):
            return x
        return x + keras.random.normal(tf.shape(x), seed=self.seeds)


class Counting(layers.Layer):
    def build(self, shape):
        self.count = self.add_weight(
            shape=(), dtype="int32", trainable=False, initializer="zeros", name="count"
        )

    def call(self, x, training=False):
        self.count.assign(self.count + 1)
        return x


class Stateful(layers.Layer):
    def call(self, x):
        return x + tf.random.normal(tf.shape(x))


class Compiled(layers.Layer):
    def build(self, shape):
        self.kernel = self.add_weight(shape=shape[1:])

    @tf.function
    def call(self, x):
        return x * self.kernel


class Losing(layers.Layer):
    def call(self, x):
        self.add_loss(tf.reduce_mean(x))
        return x


class Wordy(layers.Layer):
    def call(self, x):
        raise RuntimeError("of no use\nat all")


def test_a_float_state_of_ones_own_layer_is_carried():
    network = Network(sequential(Running(), layers.Dense(2)))
    assert network.num_state == 3  # the table is never written
    leaves = network.unflatten(network.initial())
    np.testing.assert_array_equal(network.initial_state(), 0.0)
    mean = tf.constant([1.0, -1.0, 2.0])
    dense = network.model.layers[-1]
    expected = dense(X - mean)
    np.testing.assert_allclose(network.apply(leaves, X, state=mean), expected, rtol=1e-6)
    after = network.update(leaves, X, None, mean)
    np.testing.assert_allclose(after, 0.5 * mean + 0.5 * tf.reduce_mean(X, 0), rtol=1e-6)
    # At inference: the state that is given, after one more call.
    vector = network.calibrated(network.initial(), [X], mean)
    frozen = network.frozen()(vector, X[:2])
    np.testing.assert_allclose(frozen, dense(X[:2] - after), rtol=1e-5, atol=1e-6)
    settled = network.calibrated(network.initial(), [X])
    expected = dense(X - tf.reduce_mean(X, 0))
    np.testing.assert_allclose(network.frozen()(settled, X), expected, rtol=1e-5, atol=1e-6)


def test_draws_of_ones_own_layer_are_functions_of_the_key():
    network = Network(sequential(Noise(), layers.Dense(2), Noise()))
    z = network.initial()
    one, other = network(z, X, KEY), network(z, X, KEY + 1)
    np.testing.assert_array_equal(one, network(z, X, KEY))
    assert np.all(one != other)
    seeds = [v.numpy() for v in network.model.non_trainable_variables]
    network(z, X, KEY)
    for seed, v in zip(seeds, network.model.non_trainable_variables, strict=True):
        np.testing.assert_array_equal(seed, v)


@pytest.mark.parametrize("training", [False, True])
def test_nothing_is_drawn_at_inference_nor_without_a_key(training):
    dropout = Network(sequential(layers.Dense(4), layers.Dropout(0.5)))
    z = dropout.initial()
    assert not dropout.calibrates
    assert dropout.calibrated(z, []) is z
    frozen = dropout.frozen()
    assert isinstance(frozen, FrozenNetwork)
    assert frozen.dim == dropout.dim
    expected = dropout.model(X, training=False)
    np.testing.assert_array_equal(frozen(z, X) if training else dropout(z, X), expected)


def test_a_layer_of_ones_own_that_knows_training_is_frozen():
    class Halving(layers.Layer):
        def call(self, x, training=False):
            return x / 2 if training else x

    network = Network(sequential(layers.Dense(3), Halving()))
    z = network.initial()
    np.testing.assert_array_equal(2 * network(z, X), network.frozen()(z, X))


def test_rows_at_inference_do_not_see_each_other_behind_batch_normalisation_and_dropout():
    network = Network(sequential(layers.Dense(4), layers.Dropout(0.5), layers.BatchNormalization()))
    vector = network.calibrated(network.initial(), [X, X + 1.0])
    frozen = network.frozen()
    np.testing.assert_allclose(frozen(vector, X)[:2], frozen(vector, X[:2]), rtol=1e-6)


def test_frozen_layers_are_constants():
    inner = layers.Dense(3, trainable=False)
    network = Network(sequential(inner, layers.Dense(2)))
    assert network.num_parameters == 8
    expected = network.model(X)
    inner.kernel.assign(tf.zeros([3, 3]))  # later: the network has its own
    np.testing.assert_array_equal(network(network.initial(), X), expected)
    assert not network.batched


def test_a_frozen_batch_normalisation_uses_what_it_has():
    normal = layers.BatchNormalization()
    model = sequential(layers.Dense(3), normal)
    normal.moving_mean.assign([1.0, 2.0, 3.0])
    normal.trainable = False
    network = Network(model)
    assert network.num_statistics == 0
    np.testing.assert_array_equal(network(network.initial(), X), model(X, training=False))


class Deviation(layers.Layer):
    """The standard deviation over the batch, as a further feature."""

    def __init__(self, always=True, **kwargs):
        super().__init__(**kwargs)
        self.always = always

    def call(self, x, training=False):
        over = 0 if training or self.always else 1
        deviation = tf.reduce_mean(tf.math.reduce_std(x, over, keepdims=True))
        return tf.concat([x, tf.fill([tf.shape(x)[0], 1], deviation)], 1) if over == 0 else x


def test_layers_that_see_the_whole_batch_are_found():
    assert Network(sequential(Deviation(), layers.Dense(2))).mixes_rows
    assert Network(sequential(layers.BatchNormalization())).mixes_rows
    assert not Network(sequential(Noise(), layers.Dense(2))).mixes_rows
    assert not Network(sequential(layers.Dropout(0.5), layers.Dense(2))).mixes_rows


def test_a_generator_whose_samples_hang_together_is_refused():
    model = sequential(Deviation(), layers.Dense(2))
    with pytest.raises(InputError, match="depends on the samples beside it, also with training"):
        check_pair(model, critic(), 3, 0, (2,))
    check_pair(generator(), sequential(Deviation(), layers.Dense(1), width=2), 3, 0, (2,))


def rnn():
    x = keras.Input(batch_shape=(2, 4, 3))
    return keras.Model(x, layers.LSTM(2, stateful=True)(x))


def lookup():
    x = keras.Input((), dtype="string")
    return keras.Model(x, layers.StringLookup(vocabulary=["a", "b"], output_mode="one_hot")(x))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: keras.Sequential([layers.Dense(2)], name="g"), "'g' is not built"),
        (lambda: layers.Dense(2), r"made of a keras\.Model, got Dense"),
        (
            lambda: sequential(Counting(name="tally")),
            r"Layer 'tally' of .* counts in .*count \(int32\)",
        ),
        (lambda: sequential(Stateful(name="hiss")), "Layer 'hiss' of .*RandomStandardNormal"),
        (lambda: sequential(Noise(seeded=False)), "random numbers by keras.random without a seed"),
        (
            lambda: sequential(Noise(always=True, name="style")),
            "Layer 'style' of .* draws random numbers with training=False",
        ),
        (lambda: sequential(Compiled(name="jit")), "jit.*no function of|cannot be called"),
        (lambda: sequential(Losing()), "adds a loss"),
        (rnn, r"remembers from batch to batch \(stateful=True\)"),
        (lookup, "no function of its inputs"),
        (
            lambda: sequential(layers.Dense(2, kernel_regularizer="l2", name="d")),
            r"weight .*d/kernel of .* has a regularizer",
        ),
        (
            lambda: sequential(layers.Dense(2, kernel_constraint="max_norm", name="d")),
            r"weight .*d/kernel of .* has a constraint.*weight_clip",
        ),
        (lambda: sequential(layers.Dense(2, activity_regularizer="l2")), "activity_regularizer"),
        (lambda: sequential(layers.Dense(2, dtype="bfloat16")), r"are bfloat16.*mixed_bfloat16"),
        (
            lambda: sequential(layers.Dense(2), layers.Dense(2, dtype="float64")),
            "are float32 and float64",
        ),
        (lambda: sequential(layers.BatchNormalization(renorm=True)), "renorm=False"),
        (
            lambda: keras.Sequential([keras.Input((8, 8, 3)), layers.AugMix()]),
            "by Python's random numbers.*RandAugment",
        ),
    ],
)
def test_what_cannot_be_carried_is_refused_in_words(make, words):
    with pytest.raises(InputError, match=words) as caught:
        Network(make())
    assert "\n" not in str(caught.value)


def test_a_layer_that_fails_is_named():
    class Model(keras.Model):
        def __init__(self):
            super().__init__(name="fragile")
            self.wordy = Wordy()
            self.built = True

        def get_build_config(self):
            return {"input_shape": (None, 3)}

        def call(self, x):
            return self.wordy(x)

    with pytest.raises(InputError, match=r"'fragile'.*Wordy.*of no use$"):
        Network(Model())


# Two models.


def generator(out=2, width=3, **kwargs):
    return sequential(layers.Dense(out, **kwargs), width=width)


def critic(out=1, width=2, **kwargs):
    return sequential(layers.Dense(out, **kwargs), width=width)


def test_a_pair_that_fits():
    theta, w = check_pair(generator(), critic(), 3, 0, (2,), hinge)
    assert (theta.output_shape, w.input_shape) == ((2,), (2,))
    assert check_pair(theta, w, 3, 0, (2,)) == (theta, w)


@pytest.mark.parametrize(
    ("theta", "w", "words"),
    [
        (generator(4), critic(), r"gives samples of shape \[4\], and the data are \[2\]"),
        (generator(), critic(width=5), r"takes .*\[5\].*data \[2\]"),
        (generator(width=4), critic(), r"latents \[3\]"),
        (generator(), critic(3), r"gives \[3\] numbers for each datum.*Dense\(1\).*wgan"),
        (
            generator(),
            critic(dtype="float64"),
            "are float32, those of .* float64. Give both models one dtype policy",
        ),
        (generator(), Network(critic(width=7)), r"reads rows of shape \[7\], and the game"),
    ],
)
def test_a_pair_that_does_not_fit(theta, w, words):
    with pytest.raises(InputError, match=words):
        check_pair(theta, w, 3, 0, (2,), hinge)


def test_an_objective_of_ones_own_takes_any_logits():
    def own(real, fake):
        return hinge(real, fake)

    check_pair(generator(), critic(3), 3, 0, (2,), own)
    own.any_logits = False
    with pytest.raises(InputError, match="numbers for each datum"):
        check_pair(generator(), critic(3), 3, 0, (2,), own)


def test_several_inputs_need_an_adapter():
    x, c = keras.Input((2,)), keras.Input((1,))
    model = keras.Model([x, c], layers.Dense(1)(layers.Concatenate()([x, c])))
    with pytest.raises(InputError, match=r"does not say the shape of its one input.*adapters"):
        check_pair(generator(), Network(model), 3, 0, (2,))


def test_a_model_of_several_outputs_is_refused():
    x = keras.Input((2,))
    model = keras.Model(x, [layers.Dense(1)(x), layers.Dense(1)(x)])
    with pytest.raises(InputError, match="gives list of tensors"):
        check_pair(generator(), model, 3, 0, (2,), hinge)
