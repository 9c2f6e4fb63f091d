"""Networks as functions of one parameter vector."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import assert_close
from tests.oracles import gan
from tf_mixed_nash.models import Network, dcgan_discriminator, dcgan_generator, mlp
from tf_mixed_nash.models.activations import leaky_relu

WIDTHS = (3, 8, 5, 2)


def network(dtype="float32", seed=0):
    return mlp(3, 2, WIDTHS[1:-1], seed=seed, dtype=dtype)


X = np.random.default_rng(0).normal(size=(7, 3))


def test_dimensions_and_padding():
    net = network()
    assert net.num_parameters == 3 * 8 + 8 + 8 * 5 + 5 + 5 * 2 + 2
    assert net.dim == 256
    assert net.initial().shape == [256]
    assert Network(keras.Sequential([keras.Input((16,)), keras.layers.Dense(32)])).dim == 768


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_it_is_a_relu_perceptron(dtype):
    net = network(dtype)
    z = np.random.default_rng(1).normal(size=net.dim)
    output = net(tf.constant(z, dtype), tf.constant(X, dtype))
    assert output.dtype == dtype
    expected, _, _ = gan.forward(gan.unpack(z, WIDTHS), X)
    assert_close(output, expected, 1e-13 if dtype == "float64" else 1e-4)


def test_the_initial_vector_is_the_keras_models():
    net = network()
    np.testing.assert_array_equal(net(net.initial(), X), net.model(X))
    np.testing.assert_array_equal(net.initial()[net.num_parameters :], 0.0)


def test_unflatten_is_the_inverse_of_flatten():
    net = network()
    z = tf.range(net.dim, dtype=tf.float32)
    leaves = net.unflatten(z)
    assert [tuple(leaf.shape) for leaf in leaves] == [(3, 8), (8,), (8, 5), (5,), (5, 2), (2,)]
    used = net.num_parameters
    np.testing.assert_array_equal(net.flatten(leaves)[:used], z[:used])
    np.testing.assert_array_equal(net.flatten(leaves)[used:], 0.0)


def test_padding_is_not_read():
    net = network()
    z = net.initial()
    poisoned = tf.where(tf.range(net.dim) < net.num_parameters, z, np.nan)
    np.testing.assert_array_equal(net(poisoned, X), net(z, X))


def test_calls_do_not_write_the_model():
    net = network()
    before = [v.numpy() for v in net.model.variables]
    net(tf.ones([net.dim]), X)
    for old, variable in zip(before, net.model.variables, strict=True):
        np.testing.assert_array_equal(old, variable)


def test_mixed_precision_outputs_have_the_parameters_type():
    net = network("mixed_bfloat16")
    output = net(net.initial(), tf.constant(X, tf.float32))
    assert net.initial().dtype == tf.float32
    assert output.dtype == tf.float32
    # bfloat16 has 8 bits: three layers differ by about 1 % of the size of the activations.
    np.testing.assert_allclose(output, network()(network().initial(), X), atol=0.1)
    assert np.max(np.abs(output - network()(network().initial(), X))) > 0


# Several networks at once.


def chain(*layers, inputs=(3,), dtype="float64"):
    return Network(keras.Sequential([keras.Input(inputs, dtype=dtype), *layers]))


def dense(units, **kwargs):
    return keras.layers.Dense(units, dtype="float64", **kwargs)


MODELS = {
    "mlp": (lambda: network("float64"), True),
    "penalized": (lambda: mlp(3, 1, (8, 5), dtype="float64", penalized=True), True),
    "functions": (
        lambda: chain(
            dense(6, use_bias=False),
            keras.layers.LeakyReLU(dtype="float64"),
            dense(4, activation="tanh"),
            keras.layers.Activation(leaky_relu(0.2), dtype="float64"),
            dense(3),
            keras.layers.ReLU(dtype="float64"),
            dense(2, activation="sigmoid"),
        ),
        True,
    ),
    "flatten": (lambda: chain(keras.layers.Flatten(), dense(2), inputs=(2, 3)), True),
    "layer normalisation": (
        lambda: chain(dense(6), keras.layers.LayerNormalization(dtype="float64"), dense(2)),
        False,
    ),
    "batch normalisation": (lambda: dcgan_generator(28, 1, 3, 4, dtype="float64"), False),
    "convolutions": (lambda: dcgan_discriminator(28, 1, 4, "layer", dtype="float64"), False),
}


@pytest.mark.parametrize("name", MODELS)
def test_many_networks_are_each_by_itself(name):
    """Outputs, and the gradients by leaves and by inputs; own inputs and shared ones."""
    make, batched = MODELS[name]
    net, num = make(), 3
    assert net.batched == batched
    random = np.random.default_rng(4)
    z = tf.constant(random.normal(size=(num, net.dim)) / 3)
    x = tf.constant(random.normal(size=(num, 5, *net.model.input_shape[1:])))
    leaves = net.unflatten(z)
    np.testing.assert_array_equal(
        net.flatten(leaves)[:, : net.num_parameters], z[:, : net.num_parameters]
    )
    assert np.all(net.flatten(leaves)[:, net.num_parameters :] == 0)
    with tf.GradientTape() as tape:
        tape.watch([z, x])
        y = net.many(z, x)
        loss = tf.reduce_sum(tf.sin(y))
    g_z, g_x = tape.gradient(loss, [z, x])
    for j in range(num):
        with tf.GradientTape() as tape:
            tape.watch([one := z[j], own := x[j]])
            expected = net(one, own)
            loss = tf.reduce_sum(tf.sin(expected))
        assert_close(y[j], expected)
        for ours, theirs in zip((g_z[j], g_x[j]), tape.gradient(loss, [one, own]), strict=True):
            assert_close(ours, theirs)
    shared = net.many(z, x[0])
    assert_close(shared, tf.stack([net(z[j], x[0]) for j in range(num)]))


def test_many_networks_in_mixed_precision_have_the_parameters_type():
    net = network("mixed_bfloat16")
    z = tf.stack([net.initial(), 2.0 * net.initial()])
    y = net.many(z, tf.constant(X, tf.float32))
    assert y.dtype == tf.float32
    np.testing.assert_allclose(y[1], net(z[1], tf.constant(X, tf.float32)), rtol=0.05, atol=0.2)
