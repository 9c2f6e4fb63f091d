"""What the sampled algorithms remember: the samples of every past (mu_s, nu_s), and how to play
against their sum.

Unrolled, an entropic mirror-descent iterate depends on the whole past (paper section 4.1, step 1):

    d mu_{t+1} ~ exp(-eta sum_{s<=t} h_s),     h_s(w) = -g(w) + (G nu_s)(w)

A `History` holds n' samples of each nu_s. `Past` is the measure that the sum is taken over,

    sum_{s<=t} nu_s  =  N * (probability measure),   N = how many terms,

and a *play* is an estimate of the field against that probability measure: `exact`, over every
sample, or `subsampled`, over b of them drawn anew at every call, which is unbiased.

All memory of fixed size: `reservoir` keeps every term while they fit ("full" is a reservoir with
room for all), and is an approximation after; `window` is an approximation from the start.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from tf_mixed_nash import rng
from tf_mixed_nash.compile import fused
from tf_mixed_nash.errors import InputError, unknown
from tf_mixed_nash.methods.oracle import Oracle
from tf_mixed_nash.rng import reservoir_slot
from tf_mixed_nash.types import Measure, Player

__all__ = [
    "KINDS",
    "History",
    "Memory",
    "Past",
    "Play",
    "exact",
    "make_memory",
    "reservoir",
    "subsampled",
    "window",
]

# (oracle, player, z [d], past, m) -> (g [d], logs "loss" and "penalty"), as `Oracle.field`.
Play = Callable[..., tuple[tf.Tensor, dict[str, tf.Tensor]]]


class History(NamedTuple):
    """Samples of past strategies of one player.

    Attributes:
      atoms: [H, n', d]; the first min(count, H) entries are filled.
      count: int64, how many strategies were pushed.
    """

    atoms: tf.Tensor
    count: tf.Tensor


class Past(NamedTuple):
    """The measure  sum_s (strategy s) = (mass / filled) sum_i delta(rows_i) + one more term.

    Attributes:
      rows: [R, d], of which the first `filled` count.
      filled: int64, how many rows; may be 0 if there is an extra term.
      mass: float of the rows' dtype, how many terms of the sum the rows stand for.
      extra: [n', d], samples of one more term of mass 1 (Mirror-Prox: the anchor's), or None.
    """

    rows: tf.Tensor
    filled: tf.Tensor
    mass: tf.Tensor
    extra: Any = None

    @property
    def num_terms(self) -> tf.Tensor:
        """N, the mass of the whole sum."""
        return self.mass if self.extra is None else self.mass + 1.0


class Memory(NamedTuple):
    """A rule of what to keep.

    Attributes:
      empty: atoms [n', d] -> a History of nothing that has their shape.
      push: (history, atoms [n', d], key int32[2]) -> the History with one more strategy.
      past: (history, extra [n', d] or None) -> Past.
    """

    empty: Callable[[tf.Tensor], History]
    push: Callable[[History, tf.Tensor, tf.Tensor], History]
    past: Callable[..., Past]


def reservoir(capacity: int) -> Memory:
    """Everything while it fits, then a uniform sample of H of the past, scaled to its count.

    After any number N > H of strategies each is kept with probability H / N and has the weight
    N / H: the sum over the past is estimated without bias, [D], and its mass is N.

    Args:
      capacity: H >= 1; of at least the number of outer steps plus 1 it is exact.
    """
    return _memory(
        capacity,
        slot=fused(lambda count, key: reservoir_slot(count, capacity, key)),
        num_terms=lambda count: count,
    )


def window(capacity: int) -> Memory:
    """The last H strategies: the sum, and its mass, are cut to them [D].

    A biased approximation of the paper's sum, which forgets. With H = 1, and one sample and one
    inner step, what remains is Langevin descent-ascent.

    Args:
      capacity: H >= 1.
    """
    return _memory(
        capacity,
        slot=lambda count, key: tf.math.floormod(count, capacity),
        num_terms=lambda count: tf.minimum(count, capacity),
    )


KINDS: dict[str, Callable[[int], Memory]] = {
    "full": reservoir,
    "reservoir": reservoir,
    "window": window,
}


def make_memory(kind: str, capacity: int) -> Memory:
    """The memory called `kind`, for `capacity` strategies.

    Raises:
      InputError: for an unknown kind, or a capacity below 1.
    """
    if kind not in KINDS:
        raise unknown("history", kind, KINDS)
    return KINDS[kind](capacity)


def _memory(capacity: int, slot, num_terms) -> Memory:
    if capacity < 1:
        raise InputError(f"history_capacity (H) must be at least 1, got {capacity}.")

    def empty(atoms):
        return History(
            tf.zeros([capacity, *atoms.shape], atoms.dtype), tf.zeros([], dtype=tf.int64)
        )

    def push(history, atoms, key):
        where = slot(history.count, key)
        kept, where = where >= 0, tf.maximum(where, 0)
        written = tf.where(kept, atoms, tf.gather(history.atoms, where))
        return History(
            tf.tensor_scatter_nd_update(history.atoms, [[where]], [written]), history.count + 1
        )

    def past(history, extra=None):
        num_chains, dim = history.atoms.shape[1:]
        return Past(
            rows=tf.reshape(history.atoms, [capacity * num_chains, dim]),
            filled=tf.minimum(history.count, capacity) * num_chains,
            mass=tf.cast(num_terms(history.count), history.atoms.dtype),
            extra=extra,
        )

    return Memory(empty, push, past)


def exact(chunk: int = 4) -> Play:
    """The field against every sample of the past: O(t n') work, so O(T^2) over a run.

    Args:
      chunk: how many samples are evaluated together, in a compiled loop.
    """

    def play(oracle: Oracle, player: Player, z, past: Past, m):
        field = functools.partial(_field, oracle, player, z, m)
        weight = past.mass / past.num_terms / tf.cast(tf.maximum(past.filled, 1), z.dtype)

        def one_chunk(start, total):
            index = start + tf.range(chunk, dtype=tf.int64)
            inside = index < past.filled
            # Beyond the filled part stands row 0 with the weight 0: finite wherever the past is.
            atoms = tf.gather(past.rows, tf.where(inside, index, 0))
            weights = weight * tf.cast(inside, z.dtype)
            return start + chunk, _add(total, field(Measure(atoms, weights)))

        zero = tf.zeros([], z.dtype)
        total = (tf.zeros_like(z), dict.fromkeys(_LINEAR, zero))
        _, total = tf.while_loop(
            lambda start, _: start < past.filled, one_chunk, (tf.zeros([], tf.int64), total)
        )
        if past.extra is not None:
            num = int(past.extra.shape[0])
            weights = tf.fill([num], 1.0 / (past.num_terms * num))
            total = _add(total, field(Measure(past.extra, weights)))
        return total

    return play


def subsampled(num: int) -> Play:
    """The field against b samples of the past, drawn from it with replacement at every call.

    Its expectation over the draw is `exact`'s field [D]: a stochastic gradient, as the mini-batch
    makes it. A function of (seed, player, m): the chains of a player share the draw.

    Args:
      num: b >= 1.
    """

    def play(oracle: Oracle, player: Player, z, past: Past, m):
        atoms = _draw(past, num, oracle.history_key(player, m))
        return _field(oracle, player, z, m, Measure(atoms, (1.0 / num,) * num))

    return play


def _draw(past: Past, num: int, key: tf.Tensor) -> tf.Tensor:
    """num samples of past / N, independent: [num, d]."""

    atoms = tf.gather(past.rows, rng.integer(key, num, tf.maximum(past.filled, 1), at=0))
    if past.extra is None:
        return atoms
    u = rng.uniform(key, [num, 1], tf.float64, at=1)
    from_rows = u < tf.cast(past.mass / past.num_terms, tf.float64)
    extra = tf.gather(past.extra, rng.integer(key, num, past.extra.shape[0], at=2))
    return tf.where(from_rows, atoms, extra)


# The logs of a field that are linear in the opponent, as the field is.
_LINEAR = ("loss", "penalty")


def _field(oracle: Oracle, player: Player, z, m, opponent: Measure):
    g, logs = oracle.field(player, z, opponent, m)
    return g, {key: logs[key] for key in _LINEAR}


def _add(total, more):
    return tf.nest.map_structure(tf.add, total, more)
