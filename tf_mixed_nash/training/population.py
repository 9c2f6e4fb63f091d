"""Many runs of one configuration as one program: a population (docs/decisions/0025).

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
import functools
from collections.abc import Callable, Sequence
from typing import Any

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
    row_of,
    text_of,
)

__all__ = ["CHAINS", "DATA", "LAZY", "REBORN", "Population", "of_runs", "refusal"]

# Why some runs cannot be.
DATA = "only data that the program draws itself, those of the plane, are each run's own in it"
CHAINS = "{} remembers the players' past, for which there is no such program"
LAZY = "penalties are computed on every {}th mini-batch, for which there is no such program"
REBORN = "atoms are reborn (rebirth_below), each run's at other steps"

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
        if not hasattr(loops[0]._feed, "key"):
            raise InputError(f"These runs cannot be one population: {DATA}. Run each alone.")
        self.loops = list(loops)
        self.compile, self.refused = run.compile, ""
        self._compiled = False
        self._left: set[int] = set()
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
        while first.step < until:
            t = first.outer_step
            dues = [self._due(loop, t) for loop in self.loops]
            due = min((d for d in dues if d is not None), default=None)
            _, count = first._end_of_call(until, due)
            with compiling.deterministic():
                self._call(count)
            now = first.outer_step
            for loop, mine in zip(self.loops, dues, strict=True):
                if mine is not None and now == mine + 1:
                    loop.reservoir.keep(mine, loop.last(), loop.weights())
        return [None if id(x) in self._left else x.divergence for x in self.loops]

    def leave(self, loop: Loop) -> None:
        """Nothing more is asked of this loop, whose place in the program stays."""
        self._left.add(id(loop))

    def release(self) -> None:
        """Gives the programs' memory back. It cannot be advanced after it."""
        self.__dict__.pop("_many", None)
        self.__dict__.pop("_rest", None)

    def _due(self, loop: Loop, t: int) -> int | None:
        return None if id(loop) in self._left else loop.reservoir.next(t)

    def _call(self, count: int) -> None:
        try:
            self._made(count)
            self._compiled = True
        except (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError) as error:
            if self._compiled or self.compile == "parts" or not self._one.run.or_parts:
                raise
            self.compile, self.refused = "parts", error.message.strip().splitlines()[0]
            self.release()
            self._made(count)

    def _made(self, count: int) -> None:
        many, rest = divmod(count, LENGTH)
        for _ in range(many):
            if self.compile == "whole":
                self._many()
            else:
                self._rest(tf.constant(LENGTH, tf.int32))
        if rest:
            self._rest(tf.constant(rest, tf.int32))

    @functools.cached_property
    def _many(self):
        return self._traced(self._of_length())

    @functools.cached_property
    def _rest(self):
        return self._traced(self._function(self._steps, [tf.TensorSpec([], tf.int32)]))

    def _of_length(self) -> Any:
        return self._function(lambda: self._steps(LENGTH), [])

    def program_text(self, stage: str = "optimized_hlo") -> str:
        """XLA's program of LENGTH outer steps of all runs, see `whole.Calls.text`."""
        with compiling.deterministic():
            return text_of(self._of_length(), stage)

    def _function(self, function: Callable, signature: list[Any]) -> Any:
        return tf.function(
            function,
            input_signature=signature,
            autograph=False,
            jit_compile=self.compile == "whole" or None,
        )

    def _traced(self, function: Any) -> Any:
        try:
            return function.get_concrete_function()
        except ValueError as error:  # of across
            raise InputError(
                "These runs cannot be one population: TensorFlow does not know how to make many of "
                f"one of their operations ({str(error).strip().splitlines()[-1]}). Run each alone."
            ) from error

    def _steps(self, count) -> None:
        """Makes `count` outer steps of all runs, at most LENGTH."""
        states = [tf.nest.map_structure(tf.convert_to_tensor, x._state) for x in self.loops]
        counters = [{name: state.pop(name) for name in COUNTERS} for state in states]
        start = tf.nest.map_structure(lambda *each: tf.stack(each), *states)
        t, m = counters[0]["t"], counters[0]["m"]
        per_step, first = first_batches(self._one.run.scheme.num_batches, t, m)
        size, dtype = len(self.loops), start["ema"].dtype

        def body(i, s, table):
            number = tf.cast(i, tf.int64)
            at = m + number * per_step if isinstance(per_step, int) else tf.gather(first, i)
            s, rows = self._step(s, t + number, at, dtype)
            return i + 1, s, table.write(i, rows)

        table = tf.TensorArray(dtype, LENGTH, element_shape=[size, WIDTH])
        whole = compiling.whole() if self.compile == "whole" else contextlib.nullcontext()
        with whole:
            _, end, table = tf.while_loop(
                lambda i, *_: i < count, body, (tf.constant(0), start, table)
            )
        rows = table.stack()
        for r, loop in enumerate(self.loops):
            mine = tf.nest.map_structure(lambda x, r=r: x[r], end)
            new = {**mine, **counted(counters[r], rows[:, r], count, first)}
            tf.nest.map_structure(lambda variable, x: variable.assign(x), loop._state, new)

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

        return across(one, (tf.range(len(self.loops)), s, *self._keys()))

    def _keys(self) -> tuple[Any, Any]:
        """The keys of the runs' oracles and of their data, a leading axis of runs."""

        def together(keys: Sequence[Any]) -> Any:
            return tf.nest.map_structure(lambda *each: tf.stack(each), *keys)

        feeds: Any = [loop._feed for loop in self.loops]
        oracles = together([loop.run.oracle.keys for loop in self.loops])
        return oracles, together([feed.key for feed in feeds])
