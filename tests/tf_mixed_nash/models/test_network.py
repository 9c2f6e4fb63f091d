"""Networks as functions of one parameter vector."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import assert_close
from tests.oracles import gan
from tf_mixed_nash.models import Network, mlp

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


def test_state_that_is_no_batch_statistic_is_refused():
    dense = keras.layers.SpectralNormalization(keras.layers.Dense(2))
    model = keras.Sequential([keras.Input((3,)), dense])
    with pytest.raises(ValueError, match=r"cannot carry the state.*SpectralConv2D"):
        Network(model)
