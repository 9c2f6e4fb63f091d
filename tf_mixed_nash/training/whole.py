"""Calls of the loop as one XLA program each (`compile=whole`).

What a program must not do here is what costs nothing on a CPU and most of the time on a GPU, where
a step of small networks is as long as it takes to launch its kernels:

- *Ask the host whether to go on.* A loop whose bound is an argument does so after every turn, and
  nothing runs ahead. On a GPU most steps are in calls of LENGTH outer steps, a constant; a rest of
  fewer has a program of its own, whose bound is an argument.
- *Small work in every step.* Keys, latents and data of the plane are made for all steps before the
  loop (tf_mixed_nash/ahead.py); not on CPUs, where to trace that takes longer than it saves. Logs
  are one row of a table, which is added up after it, in float64: the loop has none. t and m are
  functions of the step's number in the call.
"""

from __future__ import annotations

import contextlib
import functools
import warnings
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tf_mixed_nash import ahead, xla_flags
from tf_mixed_nash import compile as compiling
from tf_mixed_nash.training.feeds import Feed
from tf_mixed_nash.training.run import Training
from tf_mixed_nash.types import PLAYERS, Pair

__all__ = [
    "COUNTERS",
    "LENGTH",
    "SUMMED",
    "WIDTH",
    "Calls",
    "counted",
    "first_batches",
    "is_known",
    "row_of",
    "text_of",
]

# Outer steps: it divides the 100 mini-batches after which runs log, of two a step, too.
LENGTH = 25
SUMMED = ("loss", "penalty", "field_norm")
# What a row of the table has of each player.
_LOGGED = (*SUMMED, "finite")
WIDTH = len(PLAYERS) * len(_LOGGED)
# Of the loop's state, what no step reads.
COUNTERS = ("t", "m", "sums", "summed_steps", "diverged_at")


def is_known(count: int) -> bool:
    """Whether a call of so many steps has the program whose length is a constant.

    On CPUs nothing waits for a look at the bound, and one program is compiled instead of two.
    """
    return count == LENGTH and compiling.on_gpu()


class Calls:
    """Advances the variables of a loop by whole outer steps.

    Args:
      run: what is trained.
      feed: its real mini-batches.
      state: the loop's variables, see `Loop`.
      step: (oracle, state, t, m) -> (state, logs), one outer step of the loop; of the state it
        makes anew what is no counter and no sum.
    """

    def __init__(self, run: Training, feed: Feed, state: dict[str, Any], step: Callable):
        self._run, self._feed, self._state, self._step = run, feed, state, step
        self._timed = False
        if compiling.on_gpu():
            convolutions = any(_may_have_convolutions(n) for n in run.networks)
            # Of who does not come by our commands, which do so themselves.
            xla_flags.for_one_run(convolutions, run.num_batches)
            self._timed = xla_flags.timed(convolutions, run.num_batches)

    def __call__(self, count: int, block: tuple[Any, ...]) -> None:
        """Makes `count` outer steps on the mini-batches of a block."""
        for done in range(0, count, LENGTH):
            steps = min(LENGTH, count - done)
            if is_known(steps):
                self._many(block)
            else:
                self._rest(tf.constant(steps, tf.int32), block)

    # Called as they were traced: else TensorFlow warns a process that trains many times.
    @functools.cached_property
    def _many(self):
        self._time_kernels()
        return self._compiled(known=True).get_concrete_function()

    @functools.cached_property
    def _rest(self):
        self._time_kernels()
        return self._compiled(known=False).get_concrete_function()

    def _time_kernels(self) -> None:
        """XLA times kernels for the program, and remembers what it chose; at most once."""
        if self._timed and not xla_flags.have_convolutions(
            (function := self._compiled(known=True)).get_concrete_function().graph
        ):
            # Of what XLA refuses the compilation that follows says so.
            with compiling.freely(), contextlib.suppress(tf.errors.OpError):
                text_of(function, "optimized_hlo", self._feed.block(0, 1))
        self._timed = False

    def _compiled(self, known: bool) -> Any:
        """The program of LENGTH steps, or of as many as its first argument says."""

        def many(block):
            self._steps(LENGTH, block, tables=True)

        def rest(count, block):
            self._steps(count, block, tables=compiling.on_gpu())

        signature: list[Any] = [self._feed.signature]
        if not known:
            signature.insert(0, tf.TensorSpec([], tf.int32))
        function = many if known else rest
        return tf.function(function, input_signature=signature, autograph=False, jit_compile=True)

    def text(self, stage: str = "optimized_hlo") -> str:
        """XLA's program of LENGTH outer steps as calls on a GPU are made, as text.

        Args:
          stage: of `tf.function.experimental_get_compiler_ir`: "hlo" is what TensorFlow gives XLA,
            "optimized_hlo" what XLA makes of it on this machine.
        """
        with compiling.as_for_gpu():
            return text_of(self._compiled(known=True), stage, self._feed.block(0, 1))

    def _steps(self, count, block, tables: bool) -> None:
        """`count` steps; with tables of what can be made before the loop, if `tables`."""
        feed = self._feed
        start = tf.nest.map_structure(tf.convert_to_tensor, self._state)
        counters = {name: start.pop(name) for name in COUNTERS}
        t, m = counters["t"], counters["m"]
        oracle = self._run.oracle.with_batches(lambda m: feed.batch_at(block, m))
        per_step, first = first_batches(self._run.scheme.num_batches, t, m)
        dtype = start["ema"].dtype

        def body(i, s, table):
            number = tf.cast(i, tf.int64)
            at = m + number * per_step if isinstance(per_step, int) else tf.gather(first, i)
            s, logs = self._step(oracle, s, t + number, at)
            return i + 1, s, table.write(i, row_of(logs, dtype))

        table = tf.TensorArray(dtype, LENGTH, element_shape=[WIDTH])
        with compiling.whole(), ahead.batches(m, per_step * LENGTH if tables else None):
            _, end, table = tf.while_loop(
                lambda i, *_: i < count, body, (tf.constant(0), start, table)
            )
        new = {**end, **counted(counters, table.stack(), count, first)}
        tf.nest.map_structure(lambda variable, x: variable.assign(x), self._state, new)


def _may_have_convolutions(network: Any) -> bool:
    """By the shapes of its weights, before it is traced."""
    return any(len(weight.shape) > 2 for weight in network.model.weights)


def text_of(function: Any, stage: str, *arguments: Any) -> str:
    """XLA's program of a compiled function of these arguments, as `Calls.text`."""
    devices = tf.config.list_logical_devices
    device = (devices("GPU") or devices("CPU"))[0].name
    compiled = function.experimental_get_compiler_ir(*arguments)
    with warnings.catch_warnings():
        # Deprecated; but without it TensorFlow finds the device by a draw without a seed.
        warnings.simplefilter("ignore")
        return compiled(stage=stage, device_name=device)


def first_batches(num_batches: Callable[[Any], Any], t, m) -> tuple[Any, tf.Tensor]:
    """Of the next LENGTH outer steps, from step t and mini-batch m on.

    Args:
      num_batches: of a scheme.
      t: int64.
      m: int64.

    Returns:
      (mini-batches of a step; the first one of each step and of the one after the last, int64).
    """
    per_step = num_batches(t)
    index = tf.range(LENGTH + 1, dtype=tf.int64)
    if isinstance(per_step, int):
        return per_step, m + index * per_step
    used = tf.cast(num_batches(t + index), tf.int64)
    return per_step, m + tf.cumsum(used, exclusive=True)


def row_of(logs: Pair, dtype: tf.DType) -> tf.Tensor:
    """A step's logs as a row of the table: [WIDTH]."""
    return tf.stack([tf.cast(logs.of(p)[k], dtype) for p in PLAYERS for k in _LOGGED])


def counted(counters: dict[str, Any], table: tf.Tensor, count, first: tf.Tensor) -> dict[str, Any]:
    """The loop's COUNTERS after `count` steps, of which the first rows of a table are.

    Args:
      counters: before them.
      table: [LENGTH, WIDTH], rows of `row_of`.
      count: int, or int32.
      first: of `first_batches`.
    """
    made = tf.range(LENGTH) < count
    rows = tf.reshape(table, [LENGTH, len(PLAYERS), len(_LOGGED)])
    lost = made[:, None] & (rows[:, :, -1] == 0)
    where = tf.where(lost, first[:-1, None], tf.int64.max)
    added = tf.where(made[:, None, None], tf.cast(rows, tf.float64), 0.0)
    added = tf.reduce_sum(added, axis=0)
    used = tf.cast(count, tf.int64)
    return {
        "t": counters["t"] + used,
        "m": tf.gather(first, count),
        "sums": {
            p: {k: counters["sums"][p][k] + added[i, j] for j, k in enumerate(SUMMED)}
            for i, p in enumerate(PLAYERS)
        },
        "summed_steps": counters["summed_steps"] + used,
        "diverged_at": Pair(
            *(
                tf.minimum(counters["diverged_at"].of(p), tf.reduce_min(where[:, i]))
                for i, p in enumerate(PLAYERS)
            )
        ),
    }
