"""Stateless randomness: every draw is a function of (seed, stream name, mini-batch index).

A *stream* is a key int32[2] that belongs to one purpose of one run. Streams are split
from the run's seed once, by TFP; inside the compiled steps a counter is folded in. No
generator has a state, so a run can be resumed at any mini-batch without replay.
"""

from __future__ import annotations

import functools
import zlib
from typing import Any

import tensorflow as tf
import tensorflow_probability as tfp

from tf_mixed_nash.compile import fused

__all__ = [
    "fold_in",
    "normal",
    "normal_from_bits",
    "python_seed",
    "row_words",
    "stream",
    "threefry",
    "uniform_from_bits",
]


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

    Counter-based: entry i is a function of (key, i). Threefry-2x32 bits with 13 rounds give
    uniforms of 23 bits, and the inverse error function normals, within 5.3 sigma. The draw
    is in float32 for every dtype.

    `tf.random.stateless_normal` takes four times as long in a plain graph, and 60 times
    under XLA with its default generator. This is one compiled function of its own, because
    inside the update's fusion XLA draws the same numbers again (docs/decisions/0003).
    """
    # Lengths with no power of two in them run at a quarter of the speed; the slice shares
    # its buffer with the whole.
    whole = _normal(-(-num // 2048) * 2048)(key)
    return tf.cast(tf.slice(whole, [0], [num]), dtype)


@functools.cache
def _normal(num: int):
    def draw(key):
        counter = tf.bitcast(tf.range(num // 2, dtype=tf.int32), tf.uint32)
        words = threefry(tf.bitcast(key, tf.uint32), counter, tf.zeros_like(counter))
        return tf.concat([normal_from_bits(word) for word in words], axis=0)

    return fused(draw)


def row_words(seeds: tf.Tensor, num: int) -> tf.Tensor:
    """num random words for each row of seeds, a function of that row alone.

    Integer operations only: the same in a plain graph, under XLA and in TensorFlow Serving
    (`tf.random.stateless_normal` orders its numbers differently under XLA, pinned or not).

    Args:
      seeds: int64 [n, 2].
      num: how many words a row gets.

    Returns:
      uint32 [n, num].
    """
    halves = tf.bitcast(seeds, tf.uint32)  # [n, 2, 2], the low half first
    key = threefry((halves[:, 0, 0], halves[:, 0, 1]), halves[:, 1, 0], halves[:, 1, 1], rounds=20)
    counter = tf.bitcast(tf.range(-(-num // 2), dtype=tf.int32), tf.uint32)[None]
    words = threefry((key[0][:, None], key[1][:, None]), counter, tf.zeros_like(counter), 20)
    return tf.concat(words, axis=1)[:, :num]


def uniform_from_bits(bits: tf.Tensor) -> tf.Tensor:
    """Uniforms in (0, 1), float32, at the centres of 2^23 cells, from uint32 words."""
    # Each step is exact in float32, so that the ends are never 0 and 1.
    cell = tf.cast(tf.bitcast(_right(bits, 9), tf.int32), tf.float32)
    return (cell + 0.5) * 2.0**-23


def normal_from_bits(bits: tf.Tensor) -> tf.Tensor:
    """Standard normals, float32, within 5.3 sigma, from uint32 words."""
    return 2.0**0.5 * tf.math.erfinv(2.0 * uniform_from_bits(bits) - 1.0)


def threefry(
    key: Any, x0: tf.Tensor, x1: tf.Tensor, rounds: int = 13
) -> tuple[tf.Tensor, tf.Tensor]:
    """Threefry-2x32 (Salmon et al. 2011): two random words per counter (x0, x1).

    Args:
      key: uint32[2], or two tensors that broadcast with the counters.
      x0: first counter words, uint32 [n].
      x1: second counter words, uint32 [n].
      rounds: 13 or 20 of Random123's known answers.
    """
    parity = tf.constant(0x1BD11BDA, tf.uint32)
    k0, k1 = key[0], key[1]
    keys = (k0, k1, tf.bitwise.bitwise_xor(tf.bitwise.bitwise_xor(k0, k1), parity))
    x0, x1 = x0 + k0, x1 + k1
    for i in range(rounds):
        x0 += x1
        r = _ROTATIONS[i % 8]
        x1 = tf.bitwise.bitwise_xor(tf.bitwise.bitwise_or(_left(x1, r), _right(x1, 32 - r)), x0)
        if i % 4 == 3:
            j = i // 4 + 1
            x0 += keys[j % 3]
            x1 += keys[(j + 1) % 3] + tf.constant(j, tf.uint32)
    return x0, x1


_ROTATIONS = (13, 15, 26, 6, 17, 29, 16, 24)


def _left(x, n):
    return tf.bitwise.left_shift(x, tf.constant(n, tf.uint32))


def _right(x, n):
    return tf.bitwise.right_shift(x, tf.constant(n, tf.uint32))
