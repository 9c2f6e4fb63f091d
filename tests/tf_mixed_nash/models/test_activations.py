"""Rectifiers without a second derivative: the values of `tf.nn`, and less work."""

import numpy as np
import pytest
import tensorflow as tf

from tf_mixed_nash.models import mlp
from tf_mixed_nash.models.activations import leaky_relu, relu

SLOPE = 0.2
CASES = [(relu, tf.nn.relu), (leaky_relu(SLOPE), lambda x: tf.nn.leaky_relu(x, SLOPE))]
each_rectifier = pytest.mark.parametrize(("ours", "theirs"), CASES, ids=["relu", "leaky_relu"])


def penalty(activation, w, x):
    """|d f / d x|^2 of a network of two layers, and its gradients by w and x."""
    with tf.GradientTape() as outer:
        outer.watch([w, x])
        with tf.GradientTape() as inner:
            inner.watch(x)
            y = tf.reduce_sum(activation(activation(x @ w) @ w) ** 2)
        g = inner.gradient(y, x)
        total = tf.reduce_sum(g**2)
    return (y, g, total, *outer.gradient(total, [w, x]))


@each_rectifier
@pytest.mark.parametrize("dtype", [tf.float32, tf.float64, tf.bfloat16], ids=lambda t: t.name)
def test_values_and_both_derivatives_are_those_of_tensorflow(ours, theirs, dtype):
    """Outside and inside a graph; the network is not piecewise linear, so that the second
    derivative by x is not 0."""
    w, x = (tf.random.stateless_normal([5, 5], [seed, 0], dtype=dtype) for seed in (1, 2))
    for call in (penalty, tf.function(penalty)):
        for a, b in zip(call(ours, w, x), call(theirs, w, x), strict=True):
            np.testing.assert_array_equal(a.numpy(), b.numpy())
            assert np.any(a.numpy().astype(np.float64) != 0)


@each_rectifier
def test_at_zero_and_at_the_unusual_numbers_they_are_tensorflows(ours, theirs):
    x = tf.constant([0.0, -0.0, np.inf, -np.inf, np.nan, 1e-45])

    def value_and_slope(f):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = f(x)
        return y, tape.gradient(y, x)

    for a, b in zip(value_and_slope(ours), value_and_slope(theirs), strict=True):
        np.testing.assert_array_equal(a, b)


@each_rectifier
def test_there_is_no_second_derivative_to_carry_back(ours, theirs):
    def second(f):
        x = tf.constant([-1.0, 2.0])
        with tf.GradientTape() as outer:
            outer.watch(x)
            with tf.GradientTape() as inner:
                inner.watch(x)
                y = f(x)
            g = inner.gradient(y, x)
        return outer.gradient(g, x)

    assert second(ours) is None
    np.testing.assert_array_equal(second(theirs), [0.0, 0.0])


def products(penalized):
    """How many matrix products the gradient of a penalty takes."""
    network = mlp(3, 1, (4, 4), penalized=penalized)

    @tf.function(autograph=False)
    def gradient(z, x):
        with tf.GradientTape() as outer:
            outer.watch(z)
            with tf.GradientTape() as inner:
                inner.watch(x)
                y = tf.reduce_sum(network(z, x))
            total = tf.reduce_sum(inner.gradient(y, x) ** 2)
        return outer.gradient(total, z)

    z, x = network.initial(), tf.ones([2, 3])
    graph = gradient.get_concrete_function(z, x).graph
    return sum(op.type == "MatMul" for op in graph.get_operations()), gradient(z, x)


def test_a_penalized_network_is_the_same_function_by_fewer_products():
    """Three layers: 3 products forward, 3 back to x; of these, 2 forward and 3 for the weights
    (and one of the last layer's to its constant input). TensorFlow's carries zeros back through
    the first two layers: a product for the weights of each, and between them one."""
    few, g = products(penalized=True)
    many, expected = products(penalized=False)
    np.testing.assert_array_equal(g, expected)
    assert few <= many - 3
