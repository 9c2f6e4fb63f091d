"""Models as strangers bring them: what they give is what Keras gives, forth and back."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

from tf_mixed_nash.errors import InputError
from tf_mixed_nash.models import Network

X = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)


def chain(*body):
    return keras.Sequential([keras.Input((4,)), *body])


def graph(make):
    x = keras.Input((4,))
    return keras.Model(x, make(x))


def tied():
    dense = layers.Dense(4, "tanh")
    return graph(lambda x: layers.Dense(2)(dense(dense(x))))


def nested():
    inner = chain(layers.Dense(4, "relu"), layers.LayerNormalization())
    middle = graph(lambda x: inner(x) + 1.0)
    return graph(lambda x: layers.Dense(2)(middle(x)))


def attending():
    def make(x):
        x = layers.Reshape((2, 4))(layers.Dense(8)(x))
        return layers.Dense(2)(layers.Flatten()(x + layers.MultiHeadAttention(2, 3)(x, x)))

    return graph(make)


def embedded():
    def make(x):
        kind = layers.Embedding(2, 3)(ops.cast(x[:, 0] > 0, "int32"))
        return layers.Dense(2)(ops.concatenate([ops.tanh(x), kind], axis=-1))

    return graph(make)


class Scaled(keras.Model):
    """With a weight that is no layer's."""

    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(2)
        self.scale = self.add_weight(shape=(4,), initializer="ones", name="scale")

    def call(self, x):
        return self.dense(x * self.scale)


def scaled():
    model = Scaled()
    model(X)
    return model


def enclosing(factor=3.0):
    return chain(layers.Lambda(lambda x: factor * ops.tanh(x)), layers.Dense(2))


def on_maps(*body):
    return chain(layers.Dense(16), layers.Reshape((4, 4, 1)), *body, layers.Flatten())


def on_steps(*body):
    return chain(layers.Reshape((2, 2)), *body, layers.Flatten(), layers.Dense(2))


MODELS = {
    "tied": tied,
    "nested": nested,
    "attention": attending,
    "embedding of a computed class": embedded,
    "a model's own weight": scaled,
    "lambda": enclosing,
    "unit normalisation": lambda: chain(layers.Dense(3), layers.UnitNormalization()),
    "rescaling": lambda: chain(layers.Rescaling(2.0, -1.0), layers.Dense(2)),
    "group normalisation": lambda: on_maps(
        layers.Conv2DTranspose(4, 3, padding="same"), layers.GroupNormalization(2)
    ),
    "separable": lambda: on_maps(layers.SeparableConv2D(3, 3), layers.PReLU()),
    "resizing": lambda: on_maps(layers.Resizing(6, 6), layers.DepthwiseConv2D(3)),
    "step by step": lambda: on_steps(layers.TimeDistributed(layers.Dense(3))),
    "recurrent": lambda: on_steps(layers.LSTM(3, return_sequences=True), layers.GRU(2)),
    "both ways": lambda: on_steps(layers.Bidirectional(layers.SimpleRNN(2))),
    "frozen": lambda: chain(layers.Dense(3, trainable=False), layers.Dense(2)),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_network_is_its_model(name):
    model = MODELS[name]()
    network = Network(model)
    z = network.initial()
    np.testing.assert_allclose(network(z, tf.constant(X)), model(X), rtol=1e-5, atol=1e-6)
    moved = z + 0.1 * tf.sin(tf.range(z.shape[0], dtype=z.dtype))
    back = network.to_keras(moved)
    assert back is not model
    expected = network(moved, tf.constant(X))
    np.testing.assert_allclose(back(X), expected, rtol=1e-5, atol=1e-6)
    assert np.abs(expected - model(X)).max() > 1e-3


def test_the_constants_of_a_network_are_what_is_not_trained():
    frozen = MODELS["frozen"]()
    kernel, bias = frozen.layers[0].get_weights()
    first, second = Network(frozen).constants
    np.testing.assert_array_equal(first, kernel)
    np.testing.assert_array_equal(second, bias)
    assert Network(tied()).constants == []


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (layers.GRU(2, recurrent_dropout=0.1), "dropout of its own.*training=False"),
        (layers.LSTM(2, dropout=0.1), "put keras.layers.Dropout before or behind it"),
    ],
)
def test_dropout_inside_of_a_recurrent_layer_is_refused(layer, words):
    with pytest.raises(InputError, match=words):
        Network(on_steps(layer))
