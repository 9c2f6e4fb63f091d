"""What a step needs that depends on its number alone, made for all steps of a call at once.

Keys, latents, data of the plane and step sizes are functions of the outer step t or of the
mini-batch m. In a loop that is one XLA program each of them is a few small kernels in every step,
and on a GPU a step of small networks is as long as the launches of its kernels. Before the loop
they are the same few kernels for all steps together; a step reads its row.

The functions below do so while a loop is traced inside `steps`, and call the function anywhere
else: who uses them need not know where it is.
"""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import tensorflow as tf
from tensorflow.python.ops.parallel_for import pfor as _pfor

from tf_mixed_nash.compile import apart

__all__ = ["of_batch", "of_key", "of_step", "steps"]

# A table of more bytes is not made, nor one that would be made row after row: the rows are then
# computed where they are used.
_MOST_BYTES = 2**23


class _Axis(NamedTuple):
    """The numbers start, start + 1, ..., `size` of them, of which tables have a row each."""

    start: tf.Tensor
    size: int


class _Row(NamedTuple):
    value: tf.Tensor  # kept, so that no other tensor gets its id
    table: tf.Tensor
    index: tf.Tensor


class _Call:
    """The tables of one loop."""

    def __init__(self, graph: Any, of_step: _Axis, of_batch: _Axis | None):
        self.graph, self.of_step, self.of_batch = graph, of_step, of_batch
        self.rows: dict[int, _Row] = {}

    def table(self, function: Callable[[tf.Tensor], tf.Tensor], inputs: Callable) -> Any:
        """function of every row of `inputs()`, before the loop, at once; None if it cannot be."""
        # Nothing inside the loop is a condition for what is before it.
        with self.graph.as_default(), tf.control_dependencies(None):
            try:
                table: Any = tf.vectorized_map(function, inputs(), fallback_to_while_loop=False)
            except ValueError:  # an operation without a rule for many rows
                return None
        return table if table.shape.num_elements() * table.dtype.size <= _MOST_BYTES else None

    def row(self, table: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
        """Row `index` of a table, which `of_key` then knows."""
        shape: Any = table.shape[1:]
        begin = tf.stack([tf.cast(index, tf.int32), *[0] * len(shape)])
        value = tf.reshape(tf.slice(table, begin, [1, *shape]), shape)
        self.rows[id(value)] = _Row(value, table, index)
        return value

    def of_number(self, function, axis: _Axis, number) -> tf.Tensor:
        """`function` at a number of the axis."""

        def numbers():
            return axis.start + tf.range(axis.size, dtype=axis.start.dtype)

        table = self.table(function, numbers)
        if table is None:
            return function(number)
        return self.row(table, tf.cast(number, axis.start.dtype) - axis.start)


_call: contextvars.ContextVar[_Call | None] = contextvars.ContextVar("call", default=None)


@contextlib.contextmanager
def steps(t: tf.Tensor, m: tf.Tensor, num_steps: int, per_step: Any) -> Iterator[None]:
    """A loop is traced inside, over outer steps t, t + 1, ... that begin at mini-batch m.

    Args:
      t: int64, of the graph outside the loop.
      m: likewise.
      num_steps: how many there are at most.
      per_step: mini-batches of each, if that is a Python number; of others no tables of
        mini-batches are made.
    """
    batches = _Axis(m, num_steps * per_step) if isinstance(per_step, int) else None
    graph = tf.compat.v1.get_default_graph()
    token = _call.set(_Call(graph, _Axis(t, num_steps), batches))
    try:
        yield
    finally:
        _call.reset(token)


def of_step(function: Callable[[Any], tf.Tensor], t) -> tf.Tensor:
    """function(t).

    Args:
      function: of an outer step, a tensor; to a tensor. It reads no tensor of a loop.
      t: one of those of the call.
    """
    call = _call.get()
    return function(t) if call is None else call.of_number(function, call.of_step, t)


def of_batch(function: Callable[[Any], tf.Tensor], m) -> tf.Tensor:
    """function(m).

    Args:
      function: of a mini-batch's number; see `of_step`.
      m: one of those of the call.
    """
    call = _call.get()
    if call is None or call.of_batch is None:
        return function(m)
    return call.of_number(function, call.of_batch, m)


def of_key(function: Callable[[tf.Tensor], tf.Tensor], key: tf.Tensor) -> tf.Tensor:
    """function(key), of a key that `of_batch` may have made.

    Args:
      function: of a key; see `of_step`.
      key: int32[2].
    """
    call = _call.get()
    known = None if call is None else call.rows.get(id(key))
    if call is None or known is None:
        return function(key)
    table = call.table(function, lambda: known.table)
    return function(key) if table is None else call.row(table, known.index)


def _bitcast(call: Any) -> Any:
    """How `tf.vectorized_map` treats a bitcast, which has one more leading axis, and no more."""
    return _pfor.wrap(tf.bitcast(call.stacked_input(0), call.get_attr("type")), True)


def _apart(call: Any) -> Any:
    """How it treats `compile.apart`, of one tensor: as of all rows."""
    return _pfor.wrap(apart(call.stacked_input(0)), True)


# Our draws are full of them, and without a rule each would be a loop over the rows.
for _name, _rule in {"Bitcast": _bitcast, "XlaOptimizationBarrier": _apart}.items():
    if _name not in _pfor._pfor_converter_registry:
        _pfor.RegisterPFor(_name)(_rule)
