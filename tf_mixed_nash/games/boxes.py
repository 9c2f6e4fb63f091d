"""Compact strategy sets of continuous games: boxes, whose coordinates may be circles."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tf_mixed_nash import rng
from tf_mixed_nash.errors import InputError

__all__ = ["Box"]


class Box:
    """The set  prod_k [lower_k, upper_k]  in R^d.

    Args:
      lower: d numbers, or one.
      upper: d numbers, or one; lower_k < upper_k for every k.
      periodic: whether coordinate k is a circle on which lower_k and upper_k are the same
        point; one value for all coordinates, or d of them.

    Raises:
      InputError: for bounds that are not finite, are empty, or do not fit each other.

    Example:
      >>> Box([0.0, -1.0], 1.0).dim
      2
      >>> Box(0.0, 2.0, periodic=True).clip(np.array([2.5])).tolist()
      [0.5]
    """

    def __init__(
        self,
        lower: float | Sequence[float],
        upper: float | Sequence[float],
        periodic: bool | Sequence[bool] = False,
    ):
        try:
            low, high = (np.atleast_1d(np.asarray(b, np.float64)) for b in (lower, upper))
            low, high, circle = np.broadcast_arrays(low, high, np.asarray(periodic, bool))
        except (TypeError, ValueError):
            raise InputError(
                f"The bounds of a strategy set must be numbers of one length, got "
                f"lower={lower!r}, upper={upper!r}, periodic={periodic!r}."
            ) from None
        if low.ndim != 1 or not low.size:
            raise InputError(
                f"A strategy set needs at least one coordinate, got bounds of shape {low.shape}."
            )
        if not (np.isfinite(low).all() and np.isfinite(high).all()):
            raise InputError(
                f"A strategy set must be compact: its bounds must be finite, got "
                f"lower={low.tolist()}, upper={high.tolist()}."
            )
        if not (low < high).all():
            raise InputError(
                f"A strategy set must not be empty or flat: lower < upper is needed in every "
                f"coordinate, got lower={low.tolist()}, upper={high.tolist()}."
            )
        self.lower, self.upper, self.periodic = low.copy(), high.copy(), circle.copy()

    @property
    def dim(self) -> int:
        """d."""
        return len(self.lower)

    @property
    def width(self) -> np.ndarray:
        """upper - lower: float64 [d]."""
        return self.upper - self.lower

    def project(self, z: tf.Tensor) -> tf.Tensor:
        """The nearest point of the set; circles wrap. z: [..., d]."""
        low, high = tf.constant(self.lower, z.dtype), tf.constant(self.upper, z.dtype)
        wrapped = low + tf.math.floormod(z - low, high - low)
        return tf.where(tf.constant(self.periodic), wrapped, tf.clip_by_value(z, low, high))

    def clip(self, z: np.ndarray) -> np.ndarray:
        """`project` in NumPy: float64 [..., d]."""
        z = np.asarray(z, np.float64)
        wrapped = self.lower + (z - self.lower) % self.width
        return np.where(self.periodic, wrapped, np.clip(z, self.lower, self.upper))

    def difference(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """a - b, the short way round on circles: float64 [..., d]."""
        d = np.asarray(a, np.float64) - np.asarray(b, np.float64)
        wrapped = (d + self.width / 2) % self.width - self.width / 2
        return np.where(self.periodic, wrapped, d)

    def free(self, z: np.ndarray, gradient: np.ndarray, margin: float = 0.0) -> np.ndarray:
        """Which coordinates can descend the gradient, being no closer than `margin` widths to the
        bound that it pushes them against: bool [..., d]."""
        low = (z <= self.lower + margin * self.width) & (gradient > 0)
        high = (z >= self.upper - margin * self.width) & (gradient < 0)
        return self.periodic | ~(low | high)

    def scaled(self, u: tf.Tensor) -> tf.Tensor:
        """The points at the coordinates u of [0, 1]^d: [..., d]."""
        return tf.constant(self.lower, u.dtype) + u * tf.constant(self.width, u.dtype)

    def sobol(self, num: int, dtype: tf.DType = tf.float64) -> tf.Tensor:
        """The first num points of Sobol's low-discrepancy sequence: [num, d], d <= 1111."""
        return self.scaled(tf.math.sobol_sample(self.dim, num, dtype=dtype))

    def uniform(self, key: tf.Tensor, num: int, dtype: tf.DType = tf.float64) -> tf.Tensor:
        """num uniform points, a function of key (int32[2]): [num, d]."""
        seeds = tf.stack([tf.fill([num], tf.bitcast(key, tf.int64)), tf.range(num, dtype=tf.int64)])
        u = rng.uniform_from_bits(rng.row_words(tf.transpose(seeds), self.dim))
        return self.scaled(tf.cast(u, dtype))
