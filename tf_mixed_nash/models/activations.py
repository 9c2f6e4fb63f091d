"""Rectifiers whose second derivative is known to be none, so that nothing computes it.

A gradient penalty differentiates the gradient of the network. TensorFlow takes the derivative
of ReLU's gradient by the unit's sign for a tensor of zeros, which it then carries back through
all layers: four of twenty matrix products of the discriminator's field (MLP 3 x 512), whose
results are zeros (docs/decisions/0003). Here the sign is a constant to the second derivative.
The values and the first and second derivatives are those of `tf.nn`, bit for bit.
"""

from __future__ import annotations

import weakref
from collections.abc import MutableMapping
from typing import Any

import tensorflow as tf

__all__ = ["leaky_relu", "relu", "slope_of"]

# A user's activation may have an attribute of any name.
_SLOPES: MutableMapping[Any, float] = weakref.WeakKeyDictionary()


@tf.autograph.experimental.do_not_convert  # which loses the gradient of a custom gradient
@tf.custom_gradient
def relu(x: tf.Tensor):
    """max(x, 0), of any shape and floating dtype."""
    y = tf.nn.relu(x)
    sign = tf.stop_gradient(y)
    return y, lambda upstream: tf.raw_ops.ReluGrad(gradients=upstream, features=sign)


def leaky_relu(slope: float):
    """x -> max(x, slope x), 0 < slope < 1, of any shape and floating dtype."""

    @tf.autograph.experimental.do_not_convert
    @tf.custom_gradient
    def activation(x: tf.Tensor):
        sign = tf.stop_gradient(x)
        return tf.nn.leaky_relu(x, slope), lambda upstream: tf.raw_ops.LeakyReluGrad(
            gradients=upstream, features=sign, alpha=slope
        )

    _SLOPES[activation] = slope
    return activation


def slope_of(activation: Any) -> float | None:
    """The slope below 0 of a `leaky_relu` of this module; None of anything else."""
    return _SLOPES.get(activation) if callable(activation) else None
