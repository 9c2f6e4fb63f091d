"""Back to Keras: the same outputs, to the last bit."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from tf_mixed_nash.errors import InputError
from tf_mixed_nash.models import (
    Network,
    data_and_labels,
    dcgan_discriminator,
    dcgan_generator,
    latents_and_labels,
    mlp,
)

D, K = 4, 3


@keras.saving.register_keras_serializable(package="tests")
class Block(layers.Layer):
    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.dense = layers.Dense(units, "relu")

    def build(self, shape):
        self.dense.build(shape)

    def call(self, x):
        return x + self.dense(x)

    def get_config(self):
        return {**super().get_config(), "units": self.units}


class Model(keras.Model):
    """Made anew from its argument, which Keras remembers."""

    def __init__(self, units=5):
        super().__init__()
        self.first = layers.SpectralNormalization(layers.Dense(units, "tanh"))
        self.normal, self.drop = layers.BatchNormalization(), layers.Dropout(0.3)
        self.last = layers.Dense(2)

    def call(self, x, training=False):
        x = self.normal(self.first(x, training=training), training=training)
        return self.last(self.drop(x, training=training))


class Unsaid(Model):
    def __init__(self, activation):
        super().__init__()
        self.activation = activation


def built(model):
    model(tf.zeros([1, D]))
    return model


def functional(dtype=None):
    z = keras.Input((D,))
    h = layers.Dense(6, dtype=dtype)(z)
    h = layers.LeakyReLU(dtype=dtype)(layers.BatchNormalization(dtype=dtype)(h))
    h = layers.Add(dtype=dtype)([h, layers.Dropout(0.5, dtype=dtype)(h)])
    inner = keras.Sequential([keras.Input((6,)), layers.Dense(6, dtype=dtype), Block(6)])
    return keras.Model(z, layers.Dense(2, dtype="float32")(inner(h)))


def partly_frozen():
    model = keras.Sequential(
        [keras.Input((D,)), layers.Dense(5), layers.BatchNormalization(), layers.Dense(2)]
    )
    model.layers[0].trainable = False
    return model


def frozen_spectral():
    spectral = layers.SpectralNormalization(layers.Dense(5))
    model = keras.Sequential([keras.Input((D,)), spectral, layers.Dense(2)])
    spectral.trainable = False
    return model


def embedding():
    label, z = keras.Input((1,), dtype="int32", name="label"), keras.Input((D,))
    h = layers.Concatenate()([layers.Flatten()(layers.Embedding(K, 2)(label)), z])
    dense = layers.SpectralNormalization(layers.Dense(5), power_iterations=2)
    return keras.Model([label, z], layers.Dense(2)(dense(h)))


def plain(make):
    return lambda: Network(make())


def conditional():
    model = embedding()
    return Network(model, latents_and_labels(model, D, K))


NETWORKS = {
    "perceptron": lambda: mlp(D, 1, (6, 6), penalized=True),
    "dcgan": lambda: dcgan_generator(28, 1, D, 2),
    "dcgan's critic": lambda: dcgan_discriminator(28, 1, 2, "spectral"),
    "functional": plain(functional),
    "bfloat16": plain(lambda: functional("mixed_bfloat16")),
    "float16": plain(lambda: functional("mixed_float16")),
    "subclassed": plain(lambda: built(Model())),
    "partly frozen": plain(partly_frozen),
    "frozen spectral": plain(frozen_spectral),
    "labels": conditional,
}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_outputs_are_the_same_to_the_last_bit(name):
    network = NETWORKS[name]()
    random = np.random.default_rng(0)
    z = network.initial() + tf.constant(0.1 * random.normal(size=network.dim), tf.float32)
    x = tf.constant(random.normal(size=(5, *network.input_shape)), tf.float32)
    if name == "labels":
        x = tf.concat([x[:, :D], tf.one_hot([0, 2, 1, 1, 0], K)], 1)
    before = [v.numpy() for v in network.model.variables]
    vector = network.calibrated(z, [x, 2.0 * x])
    model = network.to_keras(vector)
    given = x if network._inputs is None else network._inputs(x)
    ours = network.frozen()(vector, x)
    np.testing.assert_array_equal(tf.cast(model(given, training=False), tf.float32), ours)
    assert np.any(np.abs(ours - network.frozen()(network.calibrated(z * 0, [x]), x)) > 1e-3)
    # It is trained on by itself, and the network stays what it is.
    assert len(model.trainable_variables) == len(network.model.trainable_variables)
    for v in model.variables:
        v.assign(tf.zeros_like(v.value))
    for old, v in zip(before, network.model.variables, strict=True):
        np.testing.assert_array_equal(old, v)


def test_a_model_with_a_state_needs_no_batches():
    model = keras.Sequential(
        [keras.Input((D,)), layers.SpectralNormalization(layers.Dense(3)), layers.Dense(1)]
    )
    network = Network(model, data_and_labels(model, (D,)))
    z, state = network.initial(), tf.constant([0.5, -1.0, 2.0])
    x = tf.random.stateless_normal([5, D], [1, 2])
    expected = network.frozen()(network.calibrated(z, [x], state), x)
    new = network.to_keras(z, state)
    np.testing.assert_array_equal(new(x, training=False), expected)
    # What Keras would carry on with: the next power iteration's vector.
    after = network.update(network.unflatten(z), x, None, state)
    np.testing.assert_array_equal(new.layers[0].vector_u[0], after)
    assert np.any(new(x, training=False) != network.to_keras(z)(x, training=False))


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_it_can_be_saved_and_loaded(tmp_path):
    network = NETWORKS["functional"]()
    x = tf.random.stateless_normal([5, D], [1, 2])
    model = network.to_keras(network.calibrated(network.initial(), [x]))
    model.save(tmp_path / "g.keras")
    loaded = keras.models.load_model(tmp_path / "g.keras")
    np.testing.assert_array_equal(loaded(x, training=False), model(x, training=False))


def test_statistics_must_be_measured():
    network = NETWORKS["functional"]()
    with pytest.raises(InputError, match="Give the vector of `calibrated`"):
        network.to_keras(network.initial())


def test_models_that_do_not_say_how_they_are_made_are_refused():
    network = Network(built(Unsaid(lambda x: x)))
    vector = network.calibrated(network.initial(), [tf.eye(2, D)])
    with pytest.raises(InputError, match=r"cannot be made anew.*get_config"):
        network.to_keras(vector)
