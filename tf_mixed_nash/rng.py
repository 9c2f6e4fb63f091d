"""Stateless randomness: every draw is a function of (seed, stream name, mini-batch index).

A *stream* is a key int32[2] that belongs to one purpose of one run. Streams are split
from the run's seed once, by TFP; inside the compiled steps a counter is folded in. No
generator has a state, so a run can be resumed at any mini-batch without replay.
"""

from __future__ import annotations

import functools
import math
import zlib
from typing import Any

import tensorflow as tf
import tensorflow_probability as tfp

from tf_mixed_nash.compile import fused, in_whole

__all__ = [
    "fold_in",
    "normal",
    "normal_from_bits",
    "normal_pair_from_bits",
    "python_seed",
    "reservoir_slot",
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

    Counter-based: entry i is a function of (key, i). Threefry-2x32 with 13 rounds gives two
    words, and Box and Muller's transform two normals of them, within 5.8 sigma. The draw is in
    float32 for every dtype.

    `tf.random.stateless_normal` takes four times as long in a plain graph, and 60 times
    under XLA with its default generator. This is one compiled function of its own, because
    inside the update's fusion XLA draws the same numbers again (docs/decisions/0003).
    """
    # Lengths with no power of two in them run at a quarter of the speed; the slice shares
    # its buffer with the whole.
    count = -(-num // 2048) * 1024
    if in_whole():  # XLA cannot see complex numbers as real ones
        normals = tf.stack(_normal_pairs(key, count), axis=-1)
    else:
        normals = tf.bitcast(_complex_normals(count)(key), tf.float32)
    return tf.cast(tf.slice(tf.reshape(normals, [-1]), [0], [num]), dtype)


def _normal_pairs(key: tf.Tensor, num: int) -> tuple[tf.Tensor, tf.Tensor]:
    counter = tf.bitcast(tf.range(num, dtype=tf.int32), tf.uint32)
    words = threefry(tf.bitcast(key, tf.uint32), counter, tf.zeros_like(counter))
    return normal_pair_from_bits(*words)


@functools.cache
def _complex_normals(num: int):
    # A pair as one complex number: of two real tensors XLA would compute each by itself,
    # words, logarithm and root included.
    return fused(lambda key: tf.complex(*_normal_pairs(key, num)))


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


def reservoir_slot(index: tf.Tensor, num_components: int, key: tf.Tensor) -> tf.Tensor:
    """Where reservoir sampling puts element number `index` of a stream (Vitter 1985, R).

    After any number n >= M of elements, the M kept ones are a uniform sample without
    replacement of the n.

    Args:
      index: int, 0, 1, 2, ...
      num_components: M >= 1.
      key: int32[2], one per element.

    Returns:
      int64 in [0, M), or -1: the element is not kept.
    """
    index = tf.cast(index, tf.int64)
    draw = tf.random.stateless_uniform([], key, 0, index + 1, tf.int64, alg="philox")
    slot = tf.where(index < num_components, index, draw)
    return tf.where(slot < num_components, slot, tf.constant(-1, tf.int64))


def uniform_from_bits(bits: tf.Tensor) -> tf.Tensor:
    """Uniforms in (0, 1), float32, at the centres of 2^23 cells, from uint32 words."""
    # Each step is exact in float32, so that the ends are never 0 and 1.
    cell = tf.cast(tf.bitcast(_right(bits, 9), tf.int32), tf.float32)
    return (cell + 0.5) * 2.0**-23


def normal_from_bits(bits: tf.Tensor) -> tf.Tensor:
    """Standard normals, float32, within 5.3 sigma, from uint32 words."""
    return 2.0**0.5 * tf.math.erfinv(2.0 * uniform_from_bits(bits) - 1.0)


def normal_pair_from_bits(x0: tf.Tensor, x1: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Two independent standard normals, float32, from two uint32 words (Box & Muller 1958).

    One logarithm for two normals, and a sine and a cosine that are two short polynomials: half
    the time of `normal_from_bits`. XLA's own sine and cosine are scalar loops on CPUs, and twice
    as slow as that.
    """
    r = tf.sqrt(-2.0 * tf.math.log(uniform_from_bits(x0)))
    sine, cosine = _sine_and_cosine(x1)
    return r * cosine, r * sine


def _sine_and_cosine(word: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Of the angle 2 pi word / 2^32, within 1e-7."""
    # The angle is `quadrant` quarters of a turn and a rest of at most an eighth either way.
    turned = word + tf.constant(1 << 29, tf.uint32)
    quadrant = _right(turned, 30)
    rest = tf.cast(tf.bitcast(word - _left(quadrant, 30), tf.int32), tf.float32)
    x = rest * (2.0 * math.pi * 2.0**-32)
    # Minimax polynomials on [-pi/4, pi/4] (Moshier, Cephes: sinf, cosf).
    x2 = x * x
    s = x + x * x2 * (-1.6666654611e-1 + x2 * (8.3321608736e-3 - x2 * 1.9515295891e-4))
    c = x2 * x2 * (4.166664568298827e-2 + x2 * (-1.388731625493765e-3 + x2 * 2.443315711809948e-5))
    c += 1.0 - 0.5 * x2
    one, two = tf.constant(1, tf.uint32), tf.constant(2, tf.uint32)
    odd = tf.equal(tf.bitwise.bitwise_and(quadrant, one), one)
    sine_sign = _left(tf.bitwise.bitwise_and(quadrant, two), 30)
    cosine_sign = _left(tf.bitwise.bitwise_and(quadrant + one, two), 30)
    return (
        _with_sign(tf.where(odd, c, s), sine_sign),
        _with_sign(tf.where(odd, s, c), cosine_sign),
    )


def _with_sign(x, sign_bit):
    """x with its sign changed where the bit is set."""
    return tf.bitcast(tf.bitwise.bitwise_xor(tf.bitcast(x, tf.uint32), sign_bit), tf.float32)


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
