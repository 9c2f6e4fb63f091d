"""How far two executions of one SavedModel may be apart where its kernels differ.

On the CPU of one machine the strategy in memory and its SavedModel give the same numbers. A GPU
picks its kernels by shape, fuses otherwise in another graph, and multiplies float32 with 11 bits
(TF32); another processor sums in another order. With operands of 8 bits (bfloat16) a sum that
falls on the other side of a rounding moves a sample by 1/128 (seen on an H200; docs/gpu.md).
"""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import saved_model_pb2

__all__ = ["of_other_kernels", "of_this_machine"]

_SAME = 1e-5  # same kernels, other graphs
_FLOAT32 = 1e-4
# Four roundings of an operand each, of a few layers: 11 bits of float16 and TF32, 8 of bfloat16.
_HALF, _BFLOAT16 = 4 * 2.0**-11, 4 * 2.0**-8


def of_this_machine(directory: Path) -> float:
    """Between two graphs here; absolute, and relative to the sample."""
    return of_other_kernels(directory) if _has_gpu() else _SAME


def of_other_kernels(directory: Path) -> float:
    """Between this machine and another; absolute, and relative to the sample."""
    types = _types(directory)
    if types_pb2.DT_BFLOAT16 in types:
        return _BFLOAT16
    if types_pb2.DT_HALF in types:
        return _HALF
    tf32 = _has_gpu() and tf.config.experimental.tensor_float_32_execution_enabled()
    return _HALF if tf32 else _FLOAT32


def _has_gpu() -> bool:
    return bool(tf.config.list_logical_devices("GPU"))


def _types(directory: Path) -> set[int]:
    """Element types that operations of the graph have."""
    proto = saved_model_pb2.SavedModel.FromString((directory / "saved_model.pb").read_bytes())
    graphs = [m.graph_def for m in proto.meta_graphs]
    bodies = [g.node for g in graphs] + [f.node_def for g in graphs for f in g.library.function]
    return {a.type for nodes in bodies for node in nodes for a in node.attr.values()}
