"""Data that lie on the device whole: the compiled steps look their mini-batches up there."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from tf_mixed_nash.training import order
from trainers.tasks.data.decoding import to_unit

__all__ = ["DEVICE_BYTES", "DeviceFeed", "with_classes"]

DEVICE_BYTES = 2**29  # of data that may lie there
# Of one block: it is as long in every call of a compiled program, and small beside a mini-batch.
_MOST_BATCHES = 512


def with_classes(x: tf.Tensor, y: Any, num_classes: int, dtype: tf.DType) -> tf.Tensor:
    """Rows as a `GanGame` takes them: of `dtype`; with classes as constant channels, one-hot.

    Args:
      x: [n, ...]; of uint8 [n, h, w, c], numbers in [-1, 1] come out.
      y: integers [n]; not read without classes.
      num_classes: k, or 0.
      dtype: of the networks.
    """
    pixels = x.dtype == tf.uint8 and x.shape.rank == 4
    x = tf.cast(x, dtype)
    x = to_unit(x) if pixels else x
    if not num_classes:
        return x
    planes = tf.one_hot(tf.cast(y, tf.int64), num_classes, dtype=dtype)
    planes = tf.reshape(planes, [x.shape[0], *[1] * (x.shape.rank - 2), num_classes])
    return tf.concat([x, tf.broadcast_to(planes, [*x.shape[:-1], num_classes])], axis=-1)


class DeviceFeed:
    """See `feeds.Feed`: a block is (its first m, records [k, B], which are mirrored [k, B]).

    The mini-batches are those of `Images.batch`, of the same seed.

    Args:
      x: [n, ...], n >= 1.
      y: classes, integers [n]; not read without `num_classes`.
      seed: of the order and the flips.
      batch_size: B.
      num_classes: k, or 0.
      dtype: of the networks.
      flip: whether half of the images, [n, height, width, c], are mirrored.
    """

    waited = 0.0

    def __init__(self, x, y, seed, batch_size, num_classes, dtype, flip=False):
        self._seed, self._size, self._num = seed, batch_size, len(x)
        self._num_classes, self._dtype, self._flip = num_classes, dtype, flip
        # As they are: images of bytes are a quarter of numbers, and planes of classes k times more.
        self._x = tf.constant(x)
        self._y = tf.constant(y, tf.int64) if num_classes else None
        rows = tf.TensorSpec([None, batch_size], tf.int64)
        mirrored = tf.TensorSpec([None, batch_size], tf.bool)
        self.signature = (tf.TensorSpec([], tf.int64), rows, *([mirrored] if flip else []))

    def limit(self, start, end):
        """See `feeds.Feed.limit`."""
        return min(end, start + _MOST_BATCHES)

    def block(self, start, end):
        """See `feeds.Feed.block`."""
        positions = np.arange(start * self._size, end * self._size, dtype=np.int64)
        parts = [order.records_at(self._seed, positions, self._num)]
        parts += [order.coin_at(self._seed, positions)] if self._flip else []
        of_batches = (tf.constant(x.reshape(-1, self._size)) for x in parts)
        return tf.constant(start, tf.int64), *of_batches

    def batch_at(self, block, m):
        """See `feeds.Feed.batch_at`."""
        start, *parts = block
        rows, *mirrored = (tf.gather(x, tf.cast(m, tf.int64) - start) for x in parts)
        x, y = tf.gather(self._x, rows), None
        if self._flip:
            x = tf.where(mirrored[0][:, None, None, None], tf.reverse(x, [2]), x)
        if self._y is not None:
            y = tf.gather(self._y, rows)
        return with_classes(x, y, self._num_classes, self._dtype)

    def close(self):
        """See `feeds.Feed.close`."""
