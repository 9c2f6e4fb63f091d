"""Many runs of one configuration as one program: a population (docs/decisions/0026).

Each run has its own `Loop`, with its state, its reservoir and its seed. A call takes the state of
all of them, makes the outer steps with one more leading axis, that of the runs, and gives each its
own state back: between two calls a run of a population is a loop like any other, equal to itself
alone but for rounding. What is one small operation of a run is one operation of all runs, so that S
of them cost little more than one where a step waits for the launches of its kernels.
"""

from __future__ import annotations

import contextlib
import contextvars
import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tf_mixed_nash import compile as compiling
from tf_mixed_nash.across import across
from tf_mixed_nash.algorithms import ALGORITHMS
from tf_mixed_nash.errors import InputError
from tf_mixed_nash.methods.schedules import Schedule, computed_type
from tf_mixed_nash.training.loop import Divergence, Loop
from tf_mixed_nash.training.run import Training
from tf_mixed_nash.training.whole import (
    COUNTERS,
    LENGTH,
    WIDTH,
    counted,
    first_batches,
    is_known,
    row_of,
    text_of,
)
from tf_mixed_nash.types import PLAYERS, Pair

__all__ = ["CHAINS", "DATA", "LAZY", "REBORN", "Population", "of_runs", "refusal"]

# Why some runs cannot be.
DATA = "only data that the program draws itself, those of the plane, are each run's own in it"
CHAINS = "{} remembers the players' past, for which there is no such program"
LAZY = "penalties are of every n-th outer step, n = {}, for which there is no such program"
REBORN = "atoms are reborn (rebirth_below), each run's at other steps"

# A call has room for so many snapshots of each run.
_ROOM = 4

# Which run is traced: an integer tensor [].
_run: contextvars.ContextVar[tf.Tensor] = contextvars.ContextVar("run")


def of_runs(schedules: Sequence[Schedule]) -> Schedule:
    """The schedule that is, in a program of all runs, each one's own.

    Args:
      schedules: of the runs, in their order. The same object twice is computed once.
    """
    distinct = list(dict.fromkeys(schedules))
    if len(distinct) == 1:
        return distinct[0]
    which = [distinct.index(schedule) for schedule in schedules]

    def schedule(t):
        dtype = computed_type()
        values = [x if tf.is_tensor(x) else tf.constant(x, dtype) for x in (s(t) for s in distinct)]
        each = tf.stack([tf.cast(x, dtype) for x in values])
        return tf.gather(each, tf.gather(tf.constant(which), _run.get()))

    return schedule


def refusal(run: Training) -> str:
    """Why a run cannot be one of a population; "" if it can."""
    if ALGORITHMS[run.algorithm].chains:
        return CHAINS.format(run.algorithm)
    if any(h.num_particles > 1 and h.rebirth_below for h in run.hyperparameters):
        return REBORN
    if run.game.regularizers.every > 1:
        return LAZY.format(run.game.regularizers.every)
    if any(network.constants for network in run.networks):
        return "its networks have weights that are not trained, each run's its own"
    return ""


class Population:
    """Loops that are advanced together.

    Args:
      loops: of the runs, all at the same mini-batch. They differ by seeds and by what `run` makes
        of their schedules, and by nothing else. Their feeds have a `key`, of which all their data
        are drawn, and `with_key`.
      run: the first of the runs with `of_runs` of all their schedules.

    Raises:
      InputError: for a run that cannot be one of a population, or loops that are apart.

    Attributes:
      loops: the same.
      compile: how the steps are compiled, as of `Loop`.
      refused: what XLA said, as of `Loop`.
    """

    def __init__(self, loops: Sequence[Loop], run: Training):
        if reason := refusal(run):
            raise InputError(f"This run cannot be one of a population: {reason}. Run it alone.")
        if len({loop.step for loop in loops}) > 1:
            steps = ", ".join(str(loop.step) for loop in loops)
            raise InputError(
                f"The runs of a population go on from the same mini-batch, and these stand at "
                f"{steps}. Advance each to the last of them first."
            )
        # Made here, and not while a program is traced, whose tensors it would hold.
        feeds: list[Any] = [loop._feed for loop in loops]
        if not all(hasattr(feed, "key") for feed in feeds):
            raise InputError(f"These runs cannot be one population: {DATA}. Run each alone.")
        oracles = [loop.run.oracle.keys for loop in loops]
        self._keys = _together(oracles), _together([feed.key for feed in feeds])
        self.loops = list(loops)
        self.compile, self.refused = run.compile, ""
        self._compiled = False
        self._left: set[int] = set()
        self._programs: dict[tuple[bool, bool], Any] = {}
        self._one = copy.copy(self.loops[0])  # which steps as the run does that is traced
        self._one.run = run

    @property
    def step(self) -> int:
        """m, the mini-batches that each has used so far."""
        return self.loops[0].step

    def advance(self, until: int) -> list[Divergence | None]:
        """Runs outer steps until each has used at least `until` mini-batches.

        A run that has left the finite numbers stays where it is worth nothing, and stops no other.

        Returns:
          What `Loop.advance` gives, of each run; None of one that has left.
        """
        first = self.loops[0]
        t = first.outer_step
        m = first.step
        left = first._end_of_call(m, t, until, None)[1] if m < until else 0
        while left:
            with compiling.deterministic():
                made = self._call(t, min(left, LENGTH))
            t, left = t + made, left - made
        return [None if id(x) in self._left else x.divergence for x in self.loops]

    def leave(self, loop: Loop) -> None:
        """Nothing more is asked of this loop, whose place in the program stays."""
        self._left.add(id(loop))

    def release(self) -> None:
        """Gives the programs' memory back. It cannot be advanced after it."""
        self._programs = {}

    def _call(self, t: int, most: int) -> int:
        """Up to `most` outer steps from step t on; how many were made."""
        count, wanted = self._wanted(t, most)
        given: list[Any] = []
        if wanted:
            slots = np.full([LENGTH, len(self.loops)], self._room, np.int32)
            for slot, (i, r) in enumerate(wanted):
                slots[i, r] = slot
            given = [tf.constant(slots)]
        try:
            kept = self._made(count, given)
        except (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError) as error:
            if self._compiled or self.compile == "parts" or not self._one.run.or_parts:
                raise
            self.compile, self.refused = "parts", error.message.strip().splitlines()[0]
            self.release()
            kept = self._made(count, given)
        self._compiled = True
        kept = {name: x.numpy() for name, x in kept.items()}
        for slot, (i, r) in enumerate(wanted):
            output, weights = (
                Pair(
                    *(kept[f"{kind}/{p}"][slot] if f"{kind}/{p}" in kept else None for p in PLAYERS)
                )
                for kind in ("output", "weights")
            )
            self.loops[r].reservoir.keep(t + i, output, weights)
        return count

    def _wanted(self, t: int, most: int) -> tuple[int, list[tuple[int, int]]]:
        """(How many steps, the snapshots of them: (which of the steps, whose)).

        Fewer than `most` where there are more snapshots than a call has room for.
        """
        wanted = []
        for r, loop in enumerate(self.loops):
            due = None if id(loop) in self._left else loop.reservoir.next(t)
            while due is not None and due < t + most:
                wanted.append((due - t, r))
                due = loop.reservoir.next(due + 1)
        wanted.sort()
        if len(wanted) <= self._room:
            return most, wanted
        count = wanted[self._room][0]
        return count, [(i, r) for i, r in wanted if i < count]

    @property
    def _room(self) -> int:
        """Snapshots of a call."""
        return _ROOM * len(self.loops)

    def _made(self, count: int, slots: list[Any]) -> dict[str, tf.Tensor]:
        known, keeping = self.compile == "whole" and is_known(count), bool(slots)
        if (known, keeping) not in self._programs:
            self._programs[known, keeping] = self._traced(self._function(known, keeping))
        given = [] if known else [tf.constant(count, tf.int32)]
        return self._programs[known, keeping](*given, *slots)

    def program_text(self, stage: str = "optimized_hlo") -> str:
        """XLA's program of LENGTH outer steps of all runs, see `whole.Calls.text`."""
        with compiling.deterministic():
            return text_of(self._function(known=True, keeping=False), stage)

    def _function(self, known: bool, keeping: bool) -> Any:
        """The program of LENGTH steps, or of as many as its first argument says.

        Args:
          known: LENGTH steps.
          keeping: its last argument is `slots` of `_steps`.
        """

        def steps(*given):
            count = LENGTH if known else given[0]
            return self._steps(count, given[-1] if keeping else None)

        signature = [] if known else [tf.TensorSpec([], tf.int32)]
        signature += [tf.TensorSpec([LENGTH, len(self.loops)], tf.int32)] if keeping else []
        return tf.function(
            steps,
            input_signature=signature,
            autograph=False,
            jit_compile=self.compile == "whole" or None,
        )

    def _traced(self, function: Any) -> Any:
        try:
            # Called as it was traced: else TensorFlow warns a process that trains many times.
            return function.get_concrete_function()
        except ValueError as error:  # of across
            raise InputError(
                "These runs cannot be one population: TensorFlow does not know how to make many of "
                f"one of their operations ({str(error).strip().splitlines()[-1]}). Run each alone."
            ) from error

    def _steps(self, count, slots) -> dict[str, tf.Tensor]:
        """Makes `count` outer steps of all runs, at most LENGTH.

        Args:
          count: int, or int32.
          slots: int32 [LENGTH, S], which of the kept snapshots is that of each step and run, or
            `_room` of those that nobody wants; None: none are kept.

        Returns:
          The snapshots by name, [_room + 1, ...].
        """
        states = [tf.nest.map_structure(tf.convert_to_tensor, x._state) for x in self.loops]
        counters = [{name: state.pop(name) for name in COUNTERS} for state in states]
        start = _together(states)
        t, m = counters[0]["t"], counters[0]["m"]
        per_step, first = first_batches(self._one.run.scheme.num_batches, t, m)
        size, dtype = len(self.loops), start["ema"].dtype

        def body(i, s, table, kept):
            number = tf.cast(i, tf.int64)
            at = m + number * per_step if isinstance(per_step, int) else tf.gather(first, i)
            s, rows = self._step(s, t + number, at, dtype)
            if slots is not None:
                snapshot = self._snapshot(s["scheme"])
                for r, slot in enumerate(tf.unstack(tf.gather(slots, i))):
                    kept = {name: x.write(slot, snapshot[name][r]) for name, x in kept.items()}
            return i + 1, s, table.write(i, rows), kept

        table = tf.TensorArray(dtype, LENGTH, element_shape=[size, WIDTH])
        kept = {
            name: tf.TensorArray(x.dtype, self._room + 1, element_shape=x.shape[1:])
            for name, x in ({} if slots is None else self._snapshot(start["scheme"])).items()
        }
        whole = compiling.whole() if self.compile == "whole" else contextlib.nullcontext()
        with whole:
            _, end, table, kept = tf.while_loop(
                lambda i, *_: i < count, body, (tf.constant(0), start, table, kept)
            )
        rows = table.stack()
        for r, loop in enumerate(self.loops):
            mine = tf.nest.map_structure(lambda x, r=r: x[r], end)
            new = {**mine, **counted(counters[r], rows[:, r], count, first)}
            tf.nest.map_structure(lambda variable, x: variable.assign(x), loop._state, new)
        return {name: x.stack() for name, x in kept.items()}

    def _snapshot(self, states) -> dict[str, tf.Tensor]:
        """What a reservoir keeps of the scheme's state of every run: [S, ...] by name."""
        scheme = self._one.run.scheme
        parts = {"output": scheme.output(states), "weights": scheme.weights(states)}
        return {
            f"{kind}/{p}": x
            for kind, pair in parts.items()
            for p in PLAYERS
            if (x := pair.of(p)) is not None
        }

    def _step(self, s, t, m, dtype):
        """One outer step of all runs: (their state, their rows of the table [S, WIDTH])."""
        oracle = self._one.run.oracle
        feed: Any = self.loops[0]._feed

        def one(given):
            run, s, keys, data = given
            token = _run.set(run)
            try:
                own = feed.with_key(data)
                asked = oracle.with_keys(keys).with_batches(lambda m: own.batch_at((), m))
                s, logs = self._one._step(asked, s, t, m)
            finally:
                _run.reset(token)
            return s, row_of(logs, dtype)

        return across(one, (tf.range(len(self.loops)), s, *self._keys))


def _together(each: Sequence[Any]) -> Any:
    """Nests of one structure as one, with a leading axis."""
    return tf.nest.map_structure(lambda *x: tf.stack(x), *each)
