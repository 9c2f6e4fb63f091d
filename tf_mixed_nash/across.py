"""A function of many rows at once, compiled parts and all: `tf.vectorized_map` as we need it.

TensorFlow rewrites each operation of a function for inputs with one more leading axis. Two things
it does otherwise than a training needs, and both are mended while a function is traced here:

- A function that XLA compiles by itself (`compile.fused`) is taken apart into a plain graph's
  operations; here it stays one compiled function, of all rows.
- `EuclideanNorm` has no rule.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf
from tensorflow.python.ops.parallel_for import pfor as _pfor

# Its rules for bitcasts and barriers, which our draws are full of.
from tf_mixed_nash import ahead  # noqa: F401

__all__ = ["across"]

_CALLS = ("PartitionedCall", "StatefulPartitionedCall")


def across(function: Callable[[Any], Any], rows: Any) -> Any:
    """function of every row: a nest with one more leading axis.

    Args:
      function: of one row; what it gives is a nest of tensors.
      rows: a nest of tensors [S, ...].

    Raises:
      ValueError: if an operation of it has no rule for many rows.
    """
    with _rules():
        return tf.vectorized_map(function, rows, fallback_to_while_loop=False)


@contextlib.contextmanager
def _rules() -> Iterator[None]:
    """Ours in the place of TensorFlow's, for what is traced inside."""
    registry = _pfor._pfor_converter_registry
    ours = dict.fromkeys(_CALLS, _call) | {"EuclideanNorm": _norm}
    theirs = {name: registry[name] for name in ours if name in registry}
    registry.update(ours)
    try:
        yield
    finally:
        for name in ours:
            registry.pop(name)
        registry.update(theirs)


def _call(given: Any) -> Any:
    """A call of a function; compiled by XLA if the function is."""
    name = given.get_attr("f").name
    called = given.op.graph._get_function(name.encode())
    parent = given.pfor
    converter = _pfor.PFor(
        loop_var=parent.loop_var,
        loop_len=parent.loop_len_vector[0],
        pfor_ops=called.graph.get_operations(),
        fallback_to_while_loop=parent.fallback_to_while_loop,
        all_indices=parent.all_indices,
        all_indices_partitioned=parent.all_indices_partitioned,
        pfor_config=parent.pfor_config,
    )
    outputs = called.graph.outputs[: len(called.function_type.flat_outputs)]
    compiled = called.cached_definition.attr["_XlaMustCompile"].b or None

    @tf.function(autograph=False, jit_compile=compiled)
    def of_rows(*tensors):
        for inside, x, wrapped in zip(called.graph.inputs, tensors, given.inputs, strict=True):
            converter._add_conversion(inside, _pfor.wrap(x, wrapped.is_stacked))
        return tuple(converter._convert_helper(y).t for y in outputs)

    made = of_rows(*(x.t for x in given.inputs))
    return [
        _pfor.wrap(x, converter._convert_helper(y).is_stacked)
        for x, y in zip(made, outputs, strict=True)
    ]


def _norm(given: Any) -> Any:
    x, axes = given.stacked_input(0), given.unstacked_input(1)
    axes += tf.cast(axes >= 0, axes.dtype)
    keep = given.get_attr("keep_dims")
    return _pfor.wrap(tf.math.reduce_euclidean_norm(x, axes, keepdims=keep), True)
