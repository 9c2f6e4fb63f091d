"""Perceptrons with kinks, differentiated row by row, by hand.

A chain of dense layers whose activations are piecewise linear,

    h_0 = front(x),    h_l = act_l(h_{l-1} W_l + b_l),    f(x) = h_L,

is at almost every x a product of matrices: with D_l = diag(act_l') at x,

    s_L = c,   s_{l-1} = s_l D_l W_l^T        slopes: of c . f with respect to h_{l-1}
    d_l = s_l D_l                             and to what the l-th activation reads.

So the gradient of a loss of f is sum_i h_{l-1,i}^T d_{l,i} over the rows i, and so is that of a
penalty of the slopes u = grad_x f, since these are linear in every W_l: with v = dP / du and the
tangents

    a_0 = v,   a_l = a_{l-1} W_l D_l,

dP / dW_l = sum_i a_{l-1,i}^T d_{l,i}, with d for c = 1. A gradient penalty is rows beside those of
the loss (docs/decisions/0032), and no second differentiation of a graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from tf_mixed_nash.compile import in_whole
from tf_mixed_nash.models import activations
from tf_mixed_nash.models.fourier import FourierFeatures
from tf_mixed_nash.models.network import Network

__all__ = ["Chain", "Passed", "chain_of"]

_LINEAR = 1.0
_THIN = 64  # below it a stack of one matrix costs more than it saves


class _Layer(NamedTuple):
    """A dense layer and the activation behind it.

    Attributes:
      biased: whether it has a bias.
      slope: of the activation below 0; above it is 1.
    """

    biased: bool
    slope: float


class Passed(NamedTuple):
    """What a chain computed on its way.

    Attributes:
      x: its input.
      inputs: h_0 to h_{L-1}, [n, units], in the layers' precision.
      outputs: h_1 to h_L likewise.
      y: h_L in the parameters' dtype.
    """

    x: tf.Tensor
    inputs: list[tf.Tensor]
    outputs: list[tf.Tensor]
    y: tf.Tensor

    def rows(self, begin: int, end: int) -> Passed:
        """The same of rows begin to end - 1 alone."""
        return Passed(
            self.x[begin:end],
            [h[begin:end] for h in self.inputs],
            [h[begin:end] for h in self.outputs],
            self.y[begin:end],
        )


class Chain:
    """A network as a chain; made by `chain_of`. Leaves are those of `Network.unflatten`.

    Args:
      front: layers without weights that come first.
      layers: the dense ones.
      network: whose chain it is.
    """

    def __init__(self, front: Sequence[Any], layers: Sequence[_Layer], network: Network):
        self._front, self._layers = list(front), list(layers)
        self._dtype = network.compute_dtype
        self.one_logit = network.output_shape == (1,)

    def passed(self, leaves: Sequence[tf.Tensor], x: tf.Tensor) -> Passed:
        """The chain at rows x [n, d]."""
        h = self._in_front(tf.cast(x, self._dtype))
        inputs, outputs = [], []
        for layer, (W, b) in zip(self._layers, self._weights(leaves), strict=True):
            inputs.append(h)
            h = tf.matmul(h, W)
            h = h if b is None else h + b
            h = _activated(h, layer.slope)
            outputs.append(h)
        return Passed(x, inputs, outputs, tf.cast(h, leaves[0].dtype))

    def slopes(
        self, leaves: Sequence[tf.Tensor], passed: Passed, c: tf.Tensor | None = None
    ) -> list[tf.Tensor]:
        """d_1 to d_L of every row.

        Args:
          leaves: of `passed`.
          passed: of these rows.
          c: of y's shape; None: 1, of a chain with one output.
        """
        weights = self._weights(leaves)
        s = tf.ones_like(passed.outputs[-1]) if c is None else tf.cast(c, self._dtype)
        found: list[Any] = []
        for l in reversed(range(len(self._layers))):
            d = _scaled(s, passed.outputs[l], self._layers[l].slope)
            found.insert(0, d)
            if l:
                s = _times_transposed(d, weights[l][0])
        return found

    def of_inputs(
        self, leaves: Sequence[tf.Tensor], x: tf.Tensor, first: tf.Tensor
    ) -> tuple[tf.Tensor, Any]:
        """(u = grad_x of the rows, in the parameters' dtype; v -> a_0, which belongs to v).

        Args:
          leaves: as ever.
          x: the rows.
          first: d_1 of them.
        """
        W = self._weights(leaves)[0][0]
        s, dtype = _times_transposed(first, W), leaves[0].dtype
        if not self._front:
            u = tf.cast(s, dtype)
            return u, lambda v: tf.cast(v, self._dtype)
        with tf.GradientTape(watch_accessed_variables=False) as outer:
            outer.watch(s)
            with tf.GradientTape(watch_accessed_variables=False) as inner:
                inner.watch(x)
                h = self._in_front(tf.cast(x, self._dtype))
            of_x: Any = inner.gradient(h, x, output_gradients=s)
            u = tf.cast(of_x, dtype)
        return u, lambda v: outer.gradient(u, s, output_gradients=v)

    def tangents(
        self, leaves: Sequence[tf.Tensor], passed: Passed, a: tf.Tensor
    ) -> list[tf.Tensor]:
        """a_0 to a_{L-1} of every row, from a_0."""
        found = [a]
        weights = self._weights(leaves)[:-1]
        of = zip(self._layers[:-1], weights, passed.outputs[:-1], strict=True)
        for layer, (W, _), h in of:
            found.append(_scaled(tf.matmul(found[-1], W), h, layer.slope))
        return found

    def gradient(
        self,
        leaves: Sequence[tf.Tensor],
        rows: Sequence[tf.Tensor],
        slopes: Sequence[tf.Tensor],
        c: tf.Tensor | None = None,
    ) -> list[tf.Tensor]:
        """sum_i rows_{l,i}^T slopes_{l,i} of every weight, and sum_i c_i slopes_{l,i} of biases.

        Args:
          leaves: as ever.
          rows: of each layer, [n, units].
          slopes: of each layer, [n, units].
          c: [k, 1], of the first k rows; None: 1 of all.

        Returns:
          Tensors like `leaves`.
        """
        found = []
        for layer, h, d in zip(self._layers, rows, slopes, strict=True):
            found.append(tf.matmul(h, d, transpose_a=True))
            if not layer.biased:
                continue
            if c is None:
                found.append(tf.reduce_sum(d, axis=0))
            else:
                of_b = tf.matmul(tf.cast(c, d.dtype), d[: c.shape[0]], transpose_a=True)
                found.append(of_b[0])
        return [tf.cast(g, leaf.dtype) for g, leaf in zip(found, leaves, strict=True)]

    def _weights(self, leaves: Sequence[tf.Tensor]) -> list[tuple[tf.Tensor, Any]]:
        own = iter(tf.cast(leaf, self._dtype) for leaf in leaves)
        return [(next(own), next(own) if layer.biased else None) for layer in self._layers]

    def _in_front(self, x: tf.Tensor) -> tf.Tensor:
        for layer in self._front:
            x = layer.call(x)
        return x


def chain_of(network: Network) -> Chain | None:
    """The network as a chain, or None if it is none."""
    if not network.batched or len(network.input_shape) != 1:
        return None
    front, layers = [], []
    for layer in network.model.layers:
        kind = type(layer)
        if layer.compute_dtype != network.compute_dtype.name:
            return None
        if kind is keras.layers.Dense:
            slope = _slope_of(layer.activation)
            if slope is None:
                return None
            layers.append(_Layer(layer.use_bias, slope))
        elif kind is keras.layers.Flatten:  # of rows that are flat
            continue
        elif kind is FourierFeatures and not layers:
            front.append(layer)
        else:
            slope = _slope_of_layer(layer)
            if slope is None or not layers or layers[-1].slope != _LINEAR:
                return None
            layers[-1] = layers[-1]._replace(slope=slope)
    return Chain(front, layers, network) if layers else None


def _slope_of(activation: Any) -> float | None:
    if activation in (None, keras.activations.linear):
        return _LINEAR
    if activation in (keras.activations.relu, tf.nn.relu, activations.relu):
        return 0.0
    if activation is keras.activations.leaky_relu:
        return 0.2
    return activations.slope_of(activation)


def _slope_of_layer(layer: Any) -> float | None:
    if type(layer) is keras.layers.Activation:
        return _slope_of(layer.activation)
    if type(layer) is keras.layers.LeakyReLU:  # Keras has none below 0
        return float(layer.negative_slope)
    if type(layer) is keras.layers.ReLU and layer.max_value is None and not layer.threshold:
        return float(layer.negative_slope)
    return None


def _activated(x, slope):
    if slope == _LINEAR:
        return x
    return tf.nn.leaky_relu(x, slope) if slope else tf.nn.relu(x)


def _scaled(s, h, slope):
    """s act', at the activation's outputs h."""
    if slope == _LINEAR:
        return s
    if slope:
        return tf.raw_ops.LeakyReluGrad(gradients=s, features=h, alpha=slope)
    return tf.raw_ops.ReluGrad(gradients=s, features=h)


def _times_transposed(d, W):
    """d W^T."""
    if in_whole() or min(W.shape) < _THIN:
        return tf.matmul(d, W, transpose_b=True)
    # TensorFlow's product of matrices transposes W first on a CPU, that of stacks does not: 0.6 to
    # 0.8 of the time for 64 to 256 rows (docs/decisions/0032).
    return tf.matmul(d[None], W[None], transpose_b=True)[0]
