"""The reservoir of snapshots: M pairs (theta, w) at M random outer steps t-hat of a window.

The paper's answer is the output at a random outer step (section 4.1); reservoir sampling keeps M
of them, each uniform over the window, without knowing how many there will be. Which step goes
where is a function of the seed alone, so the loop stops exactly where a snapshot is due: M (1 +
ln(n / M)) times in a window of n steps. Where only some steps of the window may be kept, such as
the ends of a schedule's cycles, each is uniform over those. The snapshots lie in the host's memory,
once: 4 M (d + e) bytes in float32, 63 MB each for theta and w with M = 30 and three layers of 512
units.
"""

from __future__ import annotations

import bisect
import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tf_mixed_nash import rng
from tf_mixed_nash.errors import InputError
from tf_mixed_nash.memory import give_back
from tf_mixed_nash.rng import reservoir_slot
from tf_mixed_nash.training.rows import Row, Rows
from tf_mixed_nash.types import PLAYERS, Pair, Player

__all__ = ["NAMES", "Reservoir"]

# In checkpoints: of theta [m, d], of w [m, e], and of the outer steps [m]; of measures of n' atoms
# [m, n', d], and their weights [m, n'].
NAMES = ("mixture", "mixture_w", "mixture_t")
_WEIGHTS: dict[Player, str] = {"theta": "mixture_weights", "w": "mixture_w_weights"}
_CHUNK = 4_096  # outer steps whose slots are drawn at once


_POINTS = Pair(None, None)


class _Snapshot(NamedTuple):
    theta: Row
    w: Row
    t: int
    weights: Pair


class Reservoir:
    """M snapshots of both players. Of a measure, all atoms of a step and their weights.

    Args:
      num_components: M >= 1.
      window: outer steps [first, last).
      key: int32[2], of the reservoir's stream.
      shapes: of the players' outputs, (d,) and (e,), or (n', d) of a measure of n' atoms.
      dtype: of both players.
      steps: the outer steps that may be kept, ascending; None: all of the window.

    Attributes:
      names: of what `rows` gives.
    """

    def __init__(
        self,
        num_components: int,
        window: tuple[int, int],
        key: tf.Tensor,
        shapes: Pair,
        dtype: tf.DType,
        steps: Sequence[int] | None = None,
    ):
        self._num_components, self._key = num_components, key
        first, last = window
        # Those that may be kept: element number i of the reservoir's stream is self._steps[i].
        self._steps = (
            range(first, last) if steps is None else [t for t in steps if first <= t < last]
        )
        self._dtype = np.dtype(dtype.as_numpy_dtype)
        # Of a snapshot's weights and of the players' own, by name.
        self._weights: dict[str, tuple[Player, tuple[int, ...]]] = {
            name: (player, shapes.of(player)[:1])
            for player, name in _WEIGHTS.items()
            if len(shapes.of(player)) > 1
        }
        self._shapes = shapes
        self.names = (*NAMES, *self._weights)
        self._kept: dict[int, _Snapshot] = {}  # by slot
        self._drawn: dict[int, tuple[list[int], list[int]]] = {}  # the latest chunk

    # Which steps.

    def next(self, t: int) -> int | None:
        """The first outer step from t on whose output is kept; None if there is none."""
        number = bisect.bisect_left(self._steps, t)
        while number < len(self._steps):
            chunk = number // _CHUNK
            steps, _ = self._due(chunk)
            if (i := bisect.bisect_left(steps, t)) < len(steps):
                return steps[i]
            number = (chunk + 1) * _CHUNK
        return None

    def _slot(self, t: int) -> int:
        steps, slots = self._due(bisect.bisect_left(self._steps, t) // _CHUNK)
        return slots[bisect.bisect_left(steps, t)]

    def _due(self, chunk: int) -> tuple[list[int], list[int]]:
        """The kept steps of a chunk of those that may be, ascending, and their slots."""
        if chunk not in self._drawn:
            start = chunk * _CHUNK
            steps = np.array(self._steps[start : start + _CHUNK], np.int64)
            slots = self._draw(steps, start + np.arange(len(steps))).numpy()
            kept = slots >= 0
            self._drawn = {chunk: (steps[kept].tolist(), slots[kept].tolist())}
        return self._drawn[chunk]

    @functools.cached_property
    def _draw(self):
        @tf.function(input_signature=2 * [tf.TensorSpec([None], tf.int64)], autograph=False)
        def draw(steps, numbers):
            with tf.device("CPU"):
                keys = rng.keys(self._key, steps)
                return reservoir_slot(numbers, self._num_components, keys)

        return draw.get_concrete_function()

    # What is kept.

    def keep(self, t: int, output: Pair, weights: Pair = _POINTS) -> None:
        """Keeps the output of outer step t, which `next` named.

        Args:
          t: the outer step.
          output: Pair of vectors, or of the atoms of measures.
          weights: Pair of those of the atoms; None of a vector.
        """
        theta, w = (Row(np.array(x)) for x in output)
        own = Pair(*(None if a is None else np.array(a) for a in weights))
        self._kept[self._slot(t)] = _Snapshot(theta, w, t, own)

    def num_kept(self, t: int) -> int:
        """How many there are after t outer steps."""
        return min(bisect.bisect_left(self._steps, t), self._num_components)

    def mixture(self, t: int, take: bool = False) -> tf.Tensor:
        """The kept snapshots of the generator after t outer steps: [m, d] or [m, n', d].

        Args:
          t: outer steps.
          take: empties the reservoir on the way, so that there are never two copies beside it.
        """
        rows = list(reversed(self.rows(t)["mixture"].rows))
        if take:
            self.clear()
            give_back()
        pieces = [tf.constant(rows.pop().value) for _ in range(len(rows))]
        if take:
            give_back()
        if not pieces:
            return tf.zeros([0, *self._shapes.theta], self._dtype)
        return tf.stack(pieces)

    def pairs(self, t: int) -> tuple[Pair, tf.Tensor]:
        """Those of both players, [m, d] and [m, e], and their outer steps, int64 [m]."""
        rows = self.rows(t)
        theta, w, times = (rows[name] for name in NAMES)
        return Pair(*(tf.convert_to_tensor(np.asarray(x)) for x in (theta, w))), times

    def weights(self, t: int) -> Pair:
        """Those of both players' atoms, Pair of [m, n']; None of a player that is a point."""
        rows = self.rows(t)
        return Pair(*(rows.get(_WEIGHTS[player]) for player in PLAYERS))

    def rows(self, t: int) -> dict[str, Any]:
        """What a checkpoint holds after t outer steps, by name; nothing is copied."""
        kept = [self._kept[slot] for slot in range(self.num_kept(t))]
        return {
            "mixture": Rows([s.theta for s in kept], self._shapes.theta, self._dtype),
            "mixture_w": Rows([s.w for s in kept], self._shapes.w, self._dtype),
            "mixture_t": tf.constant([s.t for s in kept], tf.int64, [len(kept)]),
            **{
                name: tf.constant(
                    np.reshape([s.weights.of(p) for s in kept], (len(kept), *shape)), self._dtype
                )
                for name, (p, shape) in self._weights.items()
            },
        }

    def assign(self, matrices: Mapping[str, Any], t: int) -> None:
        """Takes what `rows` gave after t outer steps.

        Args:
          matrices: by name. Earlier versions wrote more rows than are kept, or no discriminators:
            those are zeros, of outer step -1.
          t: the outer steps.

        Raises:
          InputError: if a shape does not fit. Nothing changes then.
        """
        M, m = self._num_components, self.num_kept(t)
        shapes = dict(zip(NAMES, (*self._shapes, ()), strict=True))
        shapes |= {name: shape for name, (_, shape) in self._weights.items()}
        for name, columns in shapes.items():
            if name in matrices:
                shape = tuple(matrices[name].shape)
                if shape[1:] != columns or not m <= shape[0] <= M:
                    raise InputError(
                        f"The checkpoint is not of this run: {name} has shape {list(shape)} there, "
                        f"{[m, *columns]} here."
                    )
        theta = matrices["mixture"]
        w, times = np.zeros([m, *self._shapes.w], self._dtype), np.full([m], -1)
        if {"mixture_w", "mixture_t"} <= matrices.keys():
            w, times = matrices["mixture_w"], matrices["mixture_t"]

        def weights(i: int) -> Pair:
            a = {p: np.array(matrices[name][i]) for name, (p, _) in self._weights.items()}
            return Pair(*(a.get(player) for player in PLAYERS))

        # Copies, for a row must not keep all others alive.
        self._kept = {
            i: _Snapshot(Row(np.array(theta[i])), Row(np.array(w[i])), int(times[i]), weights(i))
            for i in range(m)
        }

    def clear(self) -> None:
        """Gives the memory back."""
        self._kept = {}
