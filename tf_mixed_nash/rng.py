"""Stateless randomness: every draw is a function of (seed, stream name, mini-batch index).

A *stream* is a key int32[2] that belongs to one purpose of one run. Streams are split
from the run's seed once, by TFP; inside the compiled steps a counter is folded in. No
generator has a state, so a run can be resumed at any mini-batch without replay.
"""

from __future__ import annotations

import functools
import zlib

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tf_mixed_nash.compile import fused

__all__ = ["fold_in", "normal", "python_seed", "stream"]


def stream(seed: int, name: str) -> tf.Tensor:
    """The key of purpose `name` in the run with this seed.

    Args:
      seed: any integer in [0, 2**63).
      name: the purpose, such as "noise/theta".

    Returns:
      int32[2].
    """
    high = seed >> 31  # 32 bits, of which the first is the sign of an int32
    root = tf.constant([seed & 0x7FFFFFFF, high - (high >> 31 << 32)], tf.int32)
    salted = tfp.random.split_seed(root, n=2, salt=name)[0]
    # TFP hashes the salt into the key; folding a CRC in as well costs nothing and keeps
    # streams apart even if a future TFP ignored the salt.
    return fold_in(salted, zlib.crc32(name.encode()) & 0x7FFFFFFF)


def fold_in(key: tf.Tensor, counter: tf.Tensor | int) -> tf.Tensor:
    """The key number `counter` (an integer in [0, 2**31)) of a stream: int32[2]."""
    return tf.random.experimental.stateless_fold_in(key, tf.cast(counter, tf.int32))


def python_seed(key: tf.Tensor) -> int:
    """A Python integer in [0, 2**31) from a key, for APIs that want one (Keras initialisers)."""
    return int(key.numpy()[0]) & 0x7FFFFFFF


def normal(key: tf.Tensor, num: int, dtype: tf.DType = tf.float32) -> tf.Tensor:
    """xi ~ N(0, I_num), the weight noise of the Langevin samplers: [num].

    `tf.random.stateless_normal` costs 13 ms for 10^6 numbers on two cores outside XLA and
    405 ms inside it with the default generator; threefry bits through the inverse error
    function cost about 3 ms. It is one compiled function of its own, because inside the
    update's fusion XLA draws the same numbers several times (docs/decisions/0003).
    """
    # Lengths with no power of two in them run at a quarter of the speed; the slice shares
    # its buffer with the whole.
    return tf.slice(_normal(-(-num // 1024) * 1024, dtype)(key), [0], [num])


@functools.cache
def _normal(num: int, dtype: tf.DType):
    def draw(key):
        # The open interval (-1, 1): erfinv(-1) is -inf.
        lowest = float(np.nextafter(np.array(-1, dtype.as_numpy_dtype), 0))
        u = tf.random.stateless_uniform([num], key, lowest, 1.0, dtype, alg="threefry")
        return 2.0**0.5 * tf.math.erfinv(u)

    return fused(draw)
