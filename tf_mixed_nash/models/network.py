"""A Keras model seen as a function of one parameter vector."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

__all__ = ["Network"]


class Network:
    """f(z, x): a Keras model whose trainable parameters are one vector z in R^d.

    The mathematics moves vectors; Keras gives the architecture. The model's own variables
    hold only the initialisation and are never written.

    z is padded with unused entries to a multiple of 256, since XLA's loops over a vector of
    odd length take twice as long (docs/decisions/0003).

    Attributes:
      model: the Keras model (built).
      num_parameters: how many entries of z the model reads.
      dim: d, the length of z.
      dtype: of z, whatever precision the layers compute in.
    """

    ALIGNMENT = 256

    def __init__(self, model: keras.Model):
        if model.non_trainable_variables:
            names = [v.path for v in model.non_trainable_variables][:3]
            raise ValueError(
                f"Network needs a model whose every variable is trainable; {model.name!r} has "
                f"non-trainable ones ({', '.join(names)}, ...). Use layers without moving "
                "statistics, such as LayerNormalization."
            )
        self.model = model
        self.dtype = tf.as_dtype(model.trainable_variables[0].dtype)
        self.shapes = [tuple(v.shape) for v in model.trainable_variables]
        self.sizes = [math.prod(shape) for shape in self.shapes]
        self.offsets = [sum(self.sizes[:i]) for i in range(len(self.sizes))]
        self.num_parameters = sum(self.sizes)
        self.dim = -(-self.num_parameters // self.ALIGNMENT) * self.ALIGNMENT

    def initial(self) -> tf.Tensor:
        """The model's initialisation as a vector [d]."""
        return self.flatten([tf.convert_to_tensor(v.value) for v in self.model.trainable_variables])

    def flatten(self, leaves: Sequence[Any]) -> tf.Tensor:
        """The vector [d] of tensors shaped like the model's variables."""
        padding = tf.zeros([self.dim - self.num_parameters], leaves[0].dtype)
        return tf.concat([*(tf.reshape(leaf, [-1]) for leaf in leaves), padding], axis=0)

    def unflatten(self, z: tf.Tensor) -> list[tf.Tensor]:
        """The views of z [d] shaped like the model's variables (no copy where aligned)."""
        return [
            tf.reshape(tf.slice(z, [offset], [size]), shape)
            for offset, size, shape in zip(self.offsets, self.sizes, self.shapes, strict=True)
        ]

    def apply(self, leaves: Sequence[tf.Tensor], x: tf.Tensor) -> tf.Tensor:
        """The model at parameters `leaves` (see `unflatten`) and inputs x [n, ...].

        The output has the parameters' dtype, whatever precision the layers compute in.
        """
        output = self.model.stateless_call(list(leaves), [], x, training=True)[0]
        return tf.cast(output, leaves[0].dtype)

    def __call__(self, z: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
        """The model at the parameter vector z [d] and inputs x [n, ...]."""
        return self.apply(self.unflatten(z), x)
