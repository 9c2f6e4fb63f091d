"""A Keras model seen as a function of one parameter vector."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import keras
import tensorflow as tf

__all__ = ["FrozenNetwork", "Network"]


class _Packing:
    """Tensors of given shapes as one vector, padded to whole groups of 256 entries.

    XLA's loops over a vector of odd length take twice as long (docs/decisions/0003).
    """

    ALIGNMENT = 256

    def __init__(self, shapes: Sequence[tuple[int, ...]]):
        self.shapes = list(shapes)
        self.sizes = [math.prod(shape) for shape in self.shapes]
        self.offsets = [sum(self.sizes[:i]) for i in range(len(self.sizes))]
        self.used = sum(self.sizes)
        self.dim = -(-self.used // self.ALIGNMENT) * self.ALIGNMENT

    def pack(self, leaves: Sequence[Any]) -> tf.Tensor:
        many = list(leaves[0].shape)[: len(leaves[0].shape) - len(self.shapes[0])]
        padding = tf.zeros([*many, self.dim - self.used], leaves[0].dtype)
        return tf.concat([*(tf.reshape(leaf, [*many, -1]) for leaf in leaves), padding], axis=-1)

    def unpack(self, z: tf.Tensor) -> list[tf.Tensor]:
        many: list[Any] = z.shape[:-1].as_list()
        return [
            tf.reshape(tf.slice(z, [*[0] * len(many), offset], [*many, size]), [*many, *shape])
            for offset, size, shape in zip(self.offsets, self.sizes, self.shapes, strict=True)
        ]


def _dense(layer, leaves: list[tf.Tensor], x: tf.Tensor) -> tf.Tensor:
    """activation(x W + b), of m layers: x [m or 1, n, in], W [m, in, out], b [m, out]."""
    x = tf.matmul(x, leaves[0])
    x = x + leaves[1][:, None] if layer.use_bias else x
    return layer.activation(x)


def _function(layer, leaves: list[tf.Tensor], x: tf.Tensor) -> tf.Tensor:
    return layer.call(x)


def _flatten(layer, leaves: list[tf.Tensor], x: tf.Tensor) -> tf.Tensor:
    return tf.reshape(x, [*x.shape[:2], -1])


# What a layer of a class is, on m networks at once: see `Network.apply_many`.
_LAYERS: dict[type, Callable[..., Any]] = {
    keras.layers.Dense: _dense,
    keras.layers.Activation: _function,
    keras.layers.ReLU: _function,
    keras.layers.LeakyReLU: _function,
    keras.layers.Flatten: _flatten,
}


class Network:
    """f(z, x): a Keras model whose trainable parameters are one vector z in R^d.

    The mathematics moves vectors; Keras gives the architecture. The model's own variables
    hold only the initialisation and are never written.

    Batch normalisation normalises by the statistics of the batch at hand, always: there are
    no moving statistics in training, so that no state is lost and none lags behind averaged
    parameters. For samples that do not depend on their batch, `calibrated` measures the
    statistics of a parameter vector on given inputs, and `frozen` uses them
    (docs/decisions/0012).

    Attributes:
      model: the Keras model (built).
      num_parameters: how many entries of z the model reads.
      num_statistics: how many numbers its normalisation layers measure; 0 without them.
      dim: d, the length of z: num_parameters, padded to a multiple of 256.
      dtype: of z, whatever precision the layers compute in.
      compute_dtype: that precision.
      batched: whether `apply_many` is one product per layer: a chain of dense layers and functions.
    """

    ALIGNMENT = _Packing.ALIGNMENT

    def __init__(self, model: keras.Model):
        strange = [
            v.path
            for v in model.non_trainable_variables
            if v.path.rsplit("/", 1)[-1] not in ("moving_mean", "moving_variance")
        ]
        if strange:
            raise ValueError(
                f"Network cannot carry the state of {', '.join(strange[:3])} in {model.name!r}. "
                "Use layers whose only non-trainable variables are batch normalisation's moving "
                "statistics; tf_mixed_nash.models.SpectralConv2D normalises kernels without state."
            )
        self.model = model
        self.dtype = tf.as_dtype(model.trainable_variables[0].dtype)
        self.compute_dtype = tf.as_dtype(model.layers[-1].compute_dtype)
        self._packing = _Packing([tuple(v.shape) for v in model.trainable_variables])
        self._statistics = _Packing([tuple(v.shape) for v in model.non_trainable_variables])
        self.shapes, self.sizes = self._packing.shapes, self._packing.sizes
        self.offsets = self._packing.offsets
        self.num_parameters, self.dim = self._packing.used, self._packing.dim
        self.num_statistics = self._statistics.used
        self.batched = isinstance(model, keras.Sequential) and all(
            type(layer) in _LAYERS for layer in model.layers
        )

    def initial(self) -> tf.Tensor:
        """The model's initialisation as a vector [d]."""
        return self.flatten([tf.convert_to_tensor(v.value) for v in self.model.trainable_variables])

    def flatten(self, leaves: Sequence[Any]) -> tf.Tensor:
        """The vector [d] of tensors shaped like the model's variables; or [m, d] of m of each."""
        return self._packing.pack(leaves)

    def unflatten(self, z: tf.Tensor) -> list[tf.Tensor]:
        """The views of z [d] shaped like the model's variables (no copy where aligned).

        Of m vectors, [m, d], tensors [m, ...].
        """
        return self._packing.unpack(z)

    def apply(self, leaves: Sequence[tf.Tensor], x: tf.Tensor) -> tf.Tensor:
        """The model at parameters `leaves` (see `unflatten`) and inputs x [n, ...].

        The output has the parameters' dtype, whatever precision the layers compute in.
        """
        return self._call(leaves, self._moving(0.0), x, training=True)[0]

    def __call__(self, z: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
        """The model at the parameter vector z [d] and inputs x [n, ...]."""
        return self.apply(self.unflatten(z), x)

    def apply_many(self, leaves: Sequence[tf.Tensor], x: tf.Tensor) -> tf.Tensor:
        """m networks of this architecture at once: [m, n, ...].

        Perceptrons (`batched`) are products of matrices with a leading axis; other models are
        called m times, side by side in the graph.

        Args:
          leaves: [m, ...], of `unflatten`.
          x: inputs [m, n, ...] of each; or [n, ...], which all of them read.
        """
        m: Any = leaves[0].shape[0]
        shared = x.shape.rank == len(self.model.input_shape)
        if self.batched:
            return tf.cast(self._batched(leaves, x[None] if shared else x), leaves[0].dtype)
        each: Any = zip(*(tf.unstack(leaf, m) for leaf in leaves), strict=True)
        inputs = [x] * m if shared else tf.unstack(x, m)
        return tf.stack([self.apply(own, y) for own, y in zip(each, inputs, strict=True)])

    def many(self, z: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
        """`apply_many` at parameter vectors z [m, d]."""
        return self.apply_many(self.unflatten(z), x)

    def _batched(self, leaves: Sequence[tf.Tensor], x: tf.Tensor) -> tf.Tensor:
        """Layer after layer, on x [m, n, ...] or [1, n, ...]."""
        own = iter(leaves)
        for layer in self.model.layers:
            x = tf.cast(x, layer.compute_dtype)
            mine = [tf.cast(next(own), x.dtype) for _ in layer.trainable_variables]
            x = _LAYERS[type(layer)](layer, mine, x)
        return x

    def calibrated(self, z: tf.Tensor, batches: Iterable[tf.Tensor]) -> tf.Tensor:
        """z followed by the statistics of its normalisation layers, means over the batches.

        Args:
          z: [d].
          batches: inputs [n, ...], each normalised by itself, as in training.

        Returns:
          The vector of `frozen()`: [d + s], or z itself without normalisation layers.
        """
        if not self.num_statistics:
            return z
        leaves, total, count = self.unflatten(z), None, 0
        for x in batches:
            # A moving statistic s becomes m s + (1 - m) b, with b the batch's own: two values
            # of s give the layer's m and b.
            _, from_0 = self._call(leaves, self._moving(0.0), x, training=True)
            _, from_1 = self._call(leaves, self._moving(1.0), x, training=True)
            own = [s0 / (1.0 - (s1 - s0)) for s0, s1 in zip(from_0, from_1, strict=True)]
            total = own if total is None else [a + b for a, b in zip(total, own, strict=True)]
            count += 1
        if total is None:
            raise ValueError("calibrated needs at least one batch.")
        means = [tf.cast(a, z.dtype) / count for a in total]
        return tf.concat([z, self._statistics.pack(means)], axis=0)

    def frozen(self) -> Network | FrozenNetwork:
        """The network at inference, on vectors of `calibrated`; itself without statistics."""
        return FrozenNetwork(self) if self.num_statistics else self

    def _moving(self, value: float) -> list[tf.Tensor]:
        return [
            tf.fill(v.shape, tf.cast(value, v.dtype)) for v in self.model.non_trainable_variables
        ]

    def _call(self, leaves, moving, x, training):
        called: Any = self.model.stateless_call(list(leaves), moving, x, training=training)
        output, moved = called
        return tf.cast(output, leaves[0].dtype), moved


class FrozenNetwork:
    """A `Network` at inference: its vectors end with the normalisation layers' statistics.

    A row of its output depends on that row of the input alone.

    Attributes:
      model: the Keras model.
      dim: d + s; see `Network.calibrated`.
      dtype: of its vectors.
    """

    def __init__(self, network: Network):
        self._network = network
        self.model, self.dtype = network.model, network.dtype
        self.dim = network.dim + network._statistics.dim

    def __call__(self, z: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
        """The model at z [d + s] and inputs x [n, ...]."""
        net = self._network
        leaves = net.unflatten(z)
        types = [v.dtype for v in self.model.non_trainable_variables]
        moving = [
            tf.cast(s, t) for s, t in zip(net._statistics.unpack(z[net.dim :]), types, strict=True)
        ]
        return net._call(leaves, moving, x, training=False)[0]
