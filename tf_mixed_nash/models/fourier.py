"""Fourier features: what lets a perceptron see structure far finer than its domain."""

from __future__ import annotations

import keras
import numpy as np

__all__ = ["FourierFeatures"]


@keras.saving.register_keras_serializable(package="tf_mixed_nash")
class FourierFeatures(keras.layers.Layer):
    """x -> (x, sin(x B), cos(x B)), with a fixed B [d, count] (Tancik et al. 2020).

    A perceptron learns slow functions first; one of a mode's width, a hundredth of the distance
    between modes, it learns too late for a game. The frequencies |B_j| are spread evenly on a
    logarithmic scale from 1 to `highest`, each in a direction of its own. B is the same for every
    network and every seed, and is no weight.

    Args:
      count: of the frequencies, at least 1; the output has d + 2 count channels.
      highest: frequency, at least 1, in radians per unit of x. A feature of width s is seen from
        about 1 / s on.
      **kwargs: of `keras.layers.Layer`.

    Example:
      >>> FourierFeatures(8)(keras.ops.zeros([3, 2])).shape
      TensorShape([3, 18])
    """

    def __init__(self, count: int, highest: float = 80.0, **kwargs):
        super().__init__(**kwargs)
        self.count, self.highest = count, highest

    def frequencies(self, dim: int) -> np.ndarray:
        """B, float64 [dim, count]."""
        # RandomState's stream is frozen: these are the same numbers in every version of NumPy.
        directions = np.random.RandomState(0).standard_normal((self.count, dim))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        sizes = self.highest ** ((np.arange(self.count) + 0.5) / self.count)
        return (sizes[:, None] * directions).T

    def call(self, inputs):
        """Of inputs [..., d]: [..., d + 2 count]."""
        # One product, and a sine of some of its channels: a population of runs (docs/many.md)
        # cannot differentiate a concatenation.
        dim = inputs.shape[-1]
        B = self.frequencies(dim)
        matrix = np.concatenate([np.eye(dim), B, B], axis=1)
        shift = np.repeat([0.0, 0.0, 0.5 * np.pi], [dim, self.count, self.count])
        as_it_is = np.arange(len(shift)) < dim
        ops, dtype = keras.ops, inputs.dtype
        phase = ops.matmul(inputs, ops.convert_to_tensor(matrix, dtype))
        phase = phase + ops.convert_to_tensor(shift, dtype)
        return ops.where(as_it_is, phase, ops.sin(phase))

    def compute_output_shape(self, input_shape):
        """[..., d + 2 count]."""
        return (*input_shape[:-1], input_shape[-1] + 2 * self.count)

    def get_config(self):
        """See `keras.layers.Layer.get_config`."""
        return {**super().get_config(), "count": self.count, "highest": self.highest}
