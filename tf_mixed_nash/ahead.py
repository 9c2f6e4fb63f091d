"""What a step needs that depends on its number alone, made for all steps of a call at once.

Keys, latents and data of the plane are functions of the mini-batch's number m. In a loop that is
one XLA program each of them is a few small kernels in every step, and on a GPU a step of small
networks is as long as the launches of its kernels. Before the loop they are the same few kernels
for all steps together; a step reads its row.

The functions below do so while a loop is traced inside `batches`, and call the function anywhere
else: who uses them need not know where it is.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import tensorflow as tf
from tensorflow.compiler.tf2xla.ops import gen_xla_ops
from tensorflow.python.ops.parallel_for import pfor as _pfor

__all__ = ["batches", "of_batch", "of_key"]

# A table of more bytes is not made, nor one that would be made row after row: the rows are then
# computed where they are used.
_MOST_BYTES = 2**23


class _Row(NamedTuple):
    value: tf.Tensor  # kept, so that no other tensor gets its id
    table: tf.Tensor
    index: tf.Tensor


class _Call:
    """The tables of one loop."""

    def __init__(self, first: tf.Tensor, size: int):
        self.graph: Any = tf.compat.v1.get_default_graph()
        self.first, self.size = first, size
        self.rows: dict[int, _Row] = {}

    def numbers(self) -> tf.Tensor:
        """Of its mini-batches: int64 [size]."""
        return self.first + tf.range(self.size, dtype=tf.int64)

    def table(self, function: Callable[[tf.Tensor], tf.Tensor], inputs: Callable) -> Any:
        """function of every row of `inputs()`, before the loop, at once; None if it cannot be."""
        # Nothing inside the loop is a condition for what is before it.
        with self.graph.as_default(), tf.control_dependencies(None):
            rows = inputs()
            if not _is_vectorizable(function, rows.shape[1:], rows.dtype):
                return None
            table: Any = tf.vectorized_map(function, rows, fallback_to_while_loop=False)
        return table if table.shape.num_elements() * table.dtype.size <= _MOST_BYTES else None

    def row(self, table: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
        """Row `index` of a table, which `of_key` then knows."""
        # No tf.slice: where that begins XLA takes for a constant, of which the call's first number
        # is a part, and compiles every call anew.
        value = tf.gather(table, index)
        self.rows[id(value)] = _Row(value, table, index)
        return value


_call: contextvars.ContextVar[_Call | None] = contextvars.ContextVar("call", default=None)


@contextlib.contextmanager
def batches(first: tf.Tensor, size: Any) -> Iterator[None]:
    """A loop over mini-batches is traced inside.

    Args:
      first: number of the first, int64, of the graph outside the loop.
      size: how many there are at most, if that is a Python number; else no tables are made.
    """
    token = _call.set(_Call(first, size) if isinstance(size, int) else None)
    try:
        yield
    finally:
        _call.reset(token)


def of_batch(function: Callable[[Any], tf.Tensor], m) -> tf.Tensor:
    """function(m).

    Args:
      function: of a mini-batch's number, a tensor; to a tensor. It reads no tensor of a loop.
      m: one of those of the call.
    """
    call = _call.get()
    if call is None:
        return function(m)
    table = call.table(function, call.numbers)
    if table is None:
        return function(m)
    return call.row(table, tf.cast(m, tf.int64) - call.first)


def of_key(function: Callable[[tf.Tensor], tf.Tensor], key: tf.Tensor) -> tf.Tensor:
    """function(key), of a key that `of_batch` may have made.

    Args:
      function: of a key; see `of_batch`.
      key: int32[2].
    """
    call = _call.get()
    known = None if call is None else call.rows.get(id(key))
    if call is None or known is None:
        return function(key)
    table = call.table(function, lambda: known.table)
    return function(key) if table is None else call.row(table, known.index)


def _is_vectorizable(function: Callable, shape: Any, dtype: tf.DType) -> bool:
    """Whether every operation of a function has a rule of its own for many rows."""
    with tf.init_scope():
        spec = tf.TensorSpec(shape, dtype)
        graph = tf.function(function, autograph=False).get_concrete_function(spec).graph
    operations, seen = [graph.inputs[0].op], {graph.inputs[0].op}
    while operations:
        for x in operations.pop().outputs:
            for operation in set(x.consumers()) - seen:
                seen.add(operation)
                operations.append(operation)
    return all(operation.type in _rules() for operation in seen if operation.type != "Placeholder")


@functools.cache
def _rules() -> frozenset[str]:
    # TensorFlow's own draws have a rule that is a loop, and functions would have to be looked into.
    others = ("Stateless", "Random", "Partitioned", "Stateful")
    registered = {name for name in _pfor._pfor_converter_registry if not name.startswith(others)}
    return frozenset(registered)


def _bitcast(call: Any) -> Any:
    """How `tf.vectorized_map` treats a bitcast, which has one more leading axis, and no more."""
    return _pfor.wrap(tf.bitcast(call.stacked_input(0), call.get_attr("type")), True)


def _barrier(call: Any) -> Any:
    """Likewise an optimisation barrier, which gives what it is given."""
    given = [call.input(i) for i in range(call.num_inputs)]
    made: Any = gen_xla_ops.xla_optimization_barrier([x for x, *_ in given])
    return [_pfor.wrap(x, stacked) for x, (_, stacked, _) in zip(made, given, strict=True)]


# Our draws are full of them, and without a rule each would be a loop over the rows.
for _name, _rule in (("Bitcast", _bitcast), ("XlaOptimizationBarrier", _barrier)):
    if _name not in _pfor._pfor_converter_registry:
        _pfor.RegisterPFor(_name)(_rule)
