"""One law of draws: every draw of a training is a function of (seed, stream name, counters).

A *stream* is a key int32[2] that belongs to one purpose of one run. Streams are split
from the run's seed once, on the host; inside the compiled steps counters are folded in, such as a
mini-batch's number. No generator has a state, so a run can be resumed at any mini-batch without
replay.

Keys and words come from Threefry-2x32 (Salmon et al. 2011), 20 rounds for keys, 13 for what is
drawn: integer operations, whose results are the same in a plain graph, under XLA, on every device
and with any number of replicas. Entry i of a draw is a function of (key, i); what is made of its
words is computed in float32, or for float64 in float64, from the same words: a draw is the same
number in every precision, but for its rounding.

Every function that draws takes `at`, the second counter: a draw has an entry for each value of the
first, and draws of one key at other counters are independent. That is cheaper than a key for each.
Draws and keys are compiled functions: as single operations of a graph each is a hundred kernels.
"""

from __future__ import annotations

import functools
import math
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tf_mixed_nash.compile import apart, fused, in_whole

__all__ = [
    "LAW",
    "choice",
    "fold_in",
    "integer",
    "keys",
    "normal",
    "normal_from_bits",
    "normal_pair_from_bits",
    "python_seed",
    "reservoir_slot",
    "row_words",
    "stream",
    "threefry",
    "uniform",
    "uniform_from_bits",
]

# The number of this law, in checkpoints and provenance.json. Law 1 was TensorFlow's own
# generators, whose numbers are others under XLA (docs/decisions/0023).
LAW = 2

# The second counter word of keys, xor the high half of the counter. (Draws have other rounds, too.)
_KEYS = 0x6B657973


def stream(seed: int, name: str) -> tf.Tensor:
    """The key of purpose `name` in the run with this seed.

    Made on the host, also while a graph is traced. The seeds of initialisations and of the order
    of records come from here: it is the same in every law of draws.

    Args:
      seed: any integer in [0, 2**63).
      name: the purpose, such as "noise/theta".

    Returns:
      int32[2].
    """
    return tf.constant(_stream(seed, name), tf.int32)


@functools.lru_cache(maxsize=4_096)
def _stream(seed: int, name: str) -> tuple[int, int]:
    high = seed >> 31  # 32 bits, of which the first is the sign of an int32
    # Not in the graph that may be traced now: XLA would make another key of it.
    with tf.init_scope(), tf.device("CPU:0"):
        root = tf.constant([seed & 0x7FFFFFFF, high - (high >> 31 << 32)], tf.int32)
        salted = tfp.random.split_seed(root, n=2, salt=name)[0]
        # TFP hashes the salt into the key; folding a CRC in as well costs nothing and keeps
        # streams apart even if a future TFP ignored the salt.
        crc = zlib.crc32(name.encode()) & 0x7FFFFFFF
        first, second = tf.random.experimental.stateless_fold_in(salted, crc).numpy()
    return int(first), int(second)


def fold_in(key: tf.Tensor, *counters: tf.Tensor | int) -> tf.Tensor:
    """The key number `counter` of a stream: int32[2]; of several, one folded in after the other.

    Args:
      key: int32[2].
      counters: integers in [0, 2**63), or integer tensors [].
    """
    return _compiled(_folded, ())(key, [_counter(c) for c in counters])


def keys(key: tf.Tensor, counters: tf.Tensor) -> tf.Tensor:
    """The keys of many counters at once, [n] integers: int32 [n, 2]; plain operations."""
    words = tf.bitcast(key, tf.uint32)
    return _as_key(_fold((words[0], words[1]), tf.cast(counters, tf.int64)))


def python_seed(key: tf.Tensor) -> int:
    """A Python integer in [0, 2**31) from a key, for APIs that want one (Keras initialisers)."""
    return int(key.numpy()[0]) & 0x7FFFFFFF


def normal(
    key: tf.Tensor,
    shape: int | Sequence[int] | tf.TensorShape,
    dtype: tf.DType = tf.float32,
    at: tf.Tensor | int = 0,
) -> tf.Tensor:
    """N(0, I) of this shape, within 5.8 sigma: latents, noise of weights and data.

    Each counter's two words make two normals, neighbours in the result (Box & Muller 1958).

    `tf.random.stateless_normal` takes four times as long in a plain graph, and 60 times
    under XLA with its default generator. This is one compiled function of its own, because
    inside the update's fusion XLA draws the same numbers again (docs/decisions/0003).

    Args:
      key: int32[2].
      shape: static; a number n is [n]. The first numbers of a longer draw are those of a shorter.
      dtype: floating; what has 16 bits is drawn in float32 and rounded.
      at: in [0, 2^32), an integer or an integer tensor []; see the module.
    """
    shape = _static(shape)
    num, computed = math.prod(shape), _computed_in(dtype)
    if in_whole():  # XLA cannot see complex numbers as real ones
        flat = _draw(_normals, (num, computed), key, at)
        return tf.cast(tf.reshape(flat, shape), dtype)
    # A pair as one complex number: of two real tensors XLA would compute each by itself,
    # words, logarithm and root included. Lengths with no power of two in them run at a quarter of
    # the speed; the slice shares its buffer with the whole.
    count = -(-num // 2048) * 1024 if num > 2048 else -(-num // 2)
    pairs = tf.bitcast(_draw(_complex_normals, (count, computed), key, at), computed)
    flat = tf.slice(tf.reshape(pairs, [-1]), [0], [num])
    return tf.cast(tf.reshape(flat, shape), dtype)


def uniform(
    key: tf.Tensor,
    shape: int | Sequence[int] | tf.TensorShape,
    dtype: tf.DType = tf.float32,
    at: tf.Tensor | int = 0,
) -> tf.Tensor:
    """Uniforms in (0, 1) of this shape; the arguments are those of `normal`.

    In float64 the centres of 2^52 equal cells, in float32 of 2^23, each that of the cell in which
    the float64 lies. Rounded to 16 bits they may be 1.
    """
    shape = _static(shape)
    drawn = _draw(_uniforms, (math.prod(shape), _computed_in(dtype)), key, at)
    return tf.cast(tf.reshape(drawn, shape), dtype)


def integer(
    key: tf.Tensor, shape: int | Sequence[int], end: tf.Tensor | int, at: tf.Tensor | int = 0
) -> tf.Tensor:
    """Integers of this shape, uniform on 0, ..., end - 1: int64.

    Each is floor(end x / 2^64) of 64 random bits x: no probability is off by more than
    end / 2^64 of itself, less than 2^-32.

    Args:
      key: int32[2].
      shape: see `normal`.
      end: in [1, 2^32), an integer or an integer tensor [].
      at: see `normal`.
    """
    shape = _static(shape)
    return tf.reshape(_draw(_integers, (math.prod(shape),), key, at, _counter(end)), shape)


def choice(key: tf.Tensor, num: int, weights: tf.Tensor, at: tf.Tensor | int = 0) -> tf.Tensor:
    """num indices, independent, index j with probability weights[j] / sum(weights): int64 [num].

    Args:
      key: int32[2].
      num: how many.
      weights: [n], non-negative, n >= 1; their sums are made in float64.
      at: see `normal`.
    """
    edges = tf.cumsum(tf.cast(weights, tf.float64))
    # Not in the compiled function: XLA's sums of a thousand weights take a million additions.
    u = _draw(_uniforms, (num, tf.float64), key, at)
    index = tf.searchsorted(edges, u * edges[-1], side="right", out_type=tf.int64)
    return tf.minimum(index, tf.shape(edges, tf.int64)[0] - 1)


def reservoir_slot(index: tf.Tensor, num_components: int, key: tf.Tensor) -> tf.Tensor:
    """Where reservoir sampling puts element number `index` of a stream (Vitter 1985, R).

    After any number n >= M of elements, the M kept ones are a uniform sample without
    replacement of the n. Plain operations, for many elements at once; `fused` makes one of one.

    Args:
      index: int [...], 0, 1, 2, ...
      num_components: M >= 1.
      key: int32 [..., 2], one per element.

    Returns:
      int64 [...] in [0, M), or -1: the element is not kept.
    """
    index = tf.cast(index, tf.int64)
    words = tf.bitcast(key, tf.uint32)
    zero = tf.zeros_like(words[..., 0])
    # As `integer` draws a single number.
    draw = _below(index + 1, *threefry((words[..., 0], words[..., 1]), zero, zero))
    slot = tf.where(index < num_components, index, draw)
    return tf.where(slot < num_components, slot, tf.constant(-1, tf.int64))


# How they are made: functions of tensors, pure and of static size.


def _draw(law: Callable[..., Any], sizes: tuple, key: tf.Tensor, at: Any, *given) -> Any:
    """`law(*sizes, key, at, *given)`, by one compiled function."""
    return _compiled(law, sizes)(key, _counter(at), *given)


@functools.cache
def _compiled(law: Callable[..., Any], sizes: tuple):
    # A partial function: all of one code TensorFlow would take for one that it traces anew.
    return fused(functools.partial(law, *sizes))


def _counter(c: Any) -> tf.Tensor:
    return tf.cast(c, tf.int64) if tf.is_tensor(c) else tf.constant(c, tf.int64)


def _static(shape: Any) -> tuple[int, ...]:
    return (int(shape),) if isinstance(shape, int | np.integer) else tuple(int(n) for n in shape)


def _computed_in(dtype: tf.DType) -> tf.DType:
    return tf.float64 if dtype == tf.float64 else tf.float32


def _fold(key: Any, counter: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The key's words at counters int64 [...]: two uint32 [...]."""
    halves = tf.bitcast(counter, tf.uint32)  # [..., 2], the low half first
    high = tf.bitwise.bitwise_xor(halves[..., 1], tf.constant(_KEYS, tf.uint32))
    return threefry(key, halves[..., 0], high, rounds=20)


def _as_key(words) -> tf.Tensor:
    return tf.bitcast(tf.stack(words, axis=-1), tf.int32)


def _folded(key, counters) -> tf.Tensor:
    words = tf.bitcast(key, tf.uint32)
    words = words[0], words[1]
    for counter in counters:
        words = _fold(words, counter)
    # In the loop over a vector that is drawn by it, XLA on CPUs would make the key anew for each
    # entry: a hundred times the work.
    return apart(_as_key(words))


def _words(key, num: int, at: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The two words of the counters (0, at), ..., (num - 1, at): uint32 [num] each."""
    return _words_of(key, _entries(num), at)


def _words_of(key, first: tf.Tensor, at: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    words = tf.bitcast(key, tf.uint32)
    return threefry((words[0], words[1]), first, tf.zeros_like(first) + tf.cast(at, tf.uint32))


def _entries(num: int) -> tf.Tensor:
    return tf.bitcast(tf.range(num, dtype=tf.int32), tf.uint32)


def _complex_normals(count: int, dtype: tf.DType, key, at) -> tf.Tensor:
    return tf.complex(*normal_pair_from_bits(*_words(key, count, at), dtype))


def _normals(num: int, dtype: tf.DType, key, at) -> tf.Tensor:
    """The first `num` of the pairs in a row; each entry makes its pair and takes its half.

    Of both halves put together XLA makes the pairs twice, too, and in a fusion on CPUs number by
    number, with all that reads them: ten times as long (docs/decisions/0031).
    """
    entries = _entries(num)
    even, odd = normal_pair_from_bits(*_words_of(key, _right(entries, 1), at), dtype)
    first = tf.equal(tf.bitwise.bitwise_and(entries, tf.constant(1, tf.uint32)), 0)
    return tf.where(first, even, odd)


def _uniforms(num: int, dtype: tf.DType, key, at) -> tf.Tensor:
    x0, x1 = _words(key, num, at)
    if dtype == tf.float32:
        return uniform_from_bits(x0)
    # 52 bits: with the half behind them exact in float64, so that the ends are never 0 and 1.
    low = tf.cast(_right(x1, 12), tf.float64)
    return (tf.cast(x0, tf.float64) * 2.0**20 + low + 0.5) * 2.0**-52


def _integers(num: int, key, at, end: tf.Tensor) -> tf.Tensor:
    return _below(end, *_words(key, num, at))


def _below(end: tf.Tensor, x0: tf.Tensor, x1: tf.Tensor) -> tf.Tensor:
    """floor(end x / 2^64) with x = 2^32 x0 + x1: int64."""
    n, high, low = (tf.cast(x, tf.uint64) for x in (end, x0, x1))
    half = tf.constant(32, tf.uint64)
    carried = tf.bitwise.right_shift(n * low, half)
    return tf.cast(tf.bitwise.right_shift(n * high + carried, half), tf.int64)


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
    return _row_words(num)(seeds)


@functools.cache
def _row_words(num: int):
    # Traced once for all graphs that sample: three hundred operations, which a published model has
    # in each of its signatures.
    def words(seeds):
        halves = tf.bitcast(seeds, tf.uint32)  # [n, 2, 2], the low half first
        x0, x1 = halves[:, 1, 0], halves[:, 1, 1]
        key = threefry((halves[:, 0, 0], halves[:, 0, 1]), x0, x1, rounds=20)
        counter = tf.bitcast(tf.range(-(-num // 2), dtype=tf.int32), tf.uint32)[None]
        pairs = threefry((key[0][:, None], key[1][:, None]), counter, tf.zeros_like(counter), 20)
        return tf.concat(pairs, axis=1)[:, :num]

    return tf.function(words, [tf.TensorSpec([None, 2], tf.int64)], autograph=False)


def uniform_from_bits(bits: tf.Tensor) -> tf.Tensor:
    """Uniforms in (0, 1), float32, at the centres of 2^23 cells, from uint32 words."""
    # Each step is exact in float32, so that the ends are never 0 and 1.
    cell = tf.cast(tf.bitcast(_right(bits, 9), tf.int32), tf.float32)
    return (cell + 0.5) * 2.0**-23


def normal_from_bits(bits: tf.Tensor) -> tf.Tensor:
    """Standard normals, float32, within 5.3 sigma, from uint32 words."""
    return 2.0**0.5 * tf.math.erfinv(2.0 * uniform_from_bits(bits) - 1.0)


def normal_pair_from_bits(
    x0: tf.Tensor, x1: tf.Tensor, dtype: tf.DType = tf.float32
) -> tuple[tf.Tensor, tf.Tensor]:
    """Two independent standard normals from two uint32 words (Box & Muller 1958).

    One logarithm for two normals, and in float32 a sine and a cosine that are two short
    polynomials: half the time of `normal_from_bits`. XLA's own sine and cosine are scalar loops on
    CPUs, and twice as slow as that.

    Args:
      x0: the radius: its first 23 bits are the uniform of which it is made.
      x1: the angle.
      dtype: float32, or float64: the same pair, computed in float64.
    """
    r = tf.sqrt(-2.0 * tf.math.log(tf.cast(uniform_from_bits(x0), dtype)))
    sine, cosine = _sine_and_cosine(x1, dtype)
    return r * cosine, r * sine


def _sine_and_cosine(word: tf.Tensor, dtype: tf.DType) -> tuple[tf.Tensor, tf.Tensor]:
    """Of the angle 2 pi word / 2^32, within 1e-7 in float32."""
    # The angle is `quadrant` quarters of a turn and a rest of at most an eighth either way.
    turned = word + tf.constant(1 << 29, tf.uint32)
    quadrant = _right(turned, 30)
    rest = tf.cast(tf.bitcast(word - _left(quadrant, 30), tf.int32), dtype)
    x = rest * (2.0 * math.pi * 2.0**-32)
    if dtype == tf.float64:
        s, c = tf.sin(x), tf.cos(x)
    else:
        # Minimax polynomials on [-pi/4, pi/4] (Moshier, Cephes: sinf, cosf).
        x2 = x * x
        s = x + x * x2 * (-1.6666654611e-1 + x2 * (8.3321608736e-3 - x2 * 1.9515295891e-4))
        tail = -1.388731625493765e-3 + x2 * 2.443315711809948e-5
        c = x2 * x2 * (4.166664568298827e-2 + x2 * tail)
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
    """x with its sign changed where the bit, the first of a word, is set."""
    if x.dtype == tf.float64:
        return tf.where(tf.equal(sign_bit, tf.zeros_like(sign_bit)), x, -x)
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
