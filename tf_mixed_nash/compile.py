"""Where XLA is used: small element-wise functions inside a plain graph, or the whole step.

On CPUs the gradients run well in a plain TensorFlow graph (oneDNN, bfloat16 matrix units), the
updates fastest as one XLA loop over the parameter vector (docs/decisions/0003). On a GPU a step of
small networks is hundreds of kernels that are over before the next is launched; there the whole
loop as one XLA program launches fewer of them (docs/speed.md).
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
from collections.abc import Iterator
from typing import Any, cast

import tensorflow as tf
from tensorflow.compiler.tf2xla.ops import gen_xla_ops as _xla
from tensorflow.python.framework import config as _framework

__all__ = [
    "WAYS",
    "apart",
    "as_before",
    "as_for_gpu",
    "deterministic",
    "for_gpu",
    "freely",
    "fused",
    "in_whole",
    "on_gpu",
    "whole",
]

# How the steps of a training are compiled: XLA for parts of a graph, or one XLA program.
WAYS = ("parts", "whole")

_whole: contextvars.ContextVar[bool] = contextvars.ContextVar("whole", default=False)
_for_gpu: contextvars.ContextVar[bool] = contextvars.ContextVar("for_gpu", default=False)


def fused(function):
    """Compiles a pure tensor function with XLA, also when called inside a graph.

    Inside `whole` it is the function itself: what calls it is compiled already. Its own tracing is
    inside `whole`.
    """

    @functools.wraps(function)  # TensorFlow counts the traces of what was wrapped
    def program(*args):
        with whole():
            return function(*args)

    compiled = tf.function(program, jit_compile=True, autograph=False, reduce_retracing=False)

    @tf.autograph.experimental.do_not_convert
    @functools.wraps(function)
    def call(*args):
        return (function if in_whole() else compiled)(*args)

    return call


@contextlib.contextmanager
def whole() -> Iterator[None]:
    """What is traced inside becomes part of one XLA program, and must do without other kernels."""
    token = _whole.set(True)
    try:
        yield
    finally:
        _whole.reset(token)


def apart(x: tf.Tensor) -> tf.Tensor:
    """x, which XLA computes once and by itself; only inside `fused` or `whole`.

    Else it makes a few numbers that many read a part of each reader's loop.
    """
    (alone,) = cast("Any", _xla.xla_optimization_barrier(input=[x]))
    return alone


def on_gpu() -> bool:
    """Whether TensorFlow computes on a GPU."""
    return bool(tf.config.list_logical_devices("GPU"))


@contextlib.contextmanager
def as_for_gpu() -> Iterator[None]:
    """What is traced inside is made as for a GPU, where that is a choice of ours."""
    token = _for_gpu.set(True)
    try:
        yield
    finally:
        _for_gpu.reset(token)


def for_gpu() -> bool:
    """Whether what is traced is to launch few kernels, rather than keep several cores busy."""
    return _for_gpu.get() or on_gpu()


def in_whole() -> bool:
    """Whether the code that runs is being traced inside `whole`."""
    return _whole.get()


# Whether operations were deterministic outside of each `deterministic` that is open.
_outside: list[bool] = []


@contextlib.contextmanager
def deterministic() -> Iterator[None]:
    """Operations are deterministic inside; afterwards the process is as it was before.

    `tf.config.experimental.enable_op_determinism` switches it on for good, and from then on
    whatever draws without a seed raises (`tf.random.normal`, `Dataset.shuffle`). What switches it
    off again is not exported; `tensorflow.python.framework.config` has it.
    """
    before = _framework.is_op_determinism_enabled()
    _outside.append(before)
    _switch_determinism(True)
    try:
        yield
    finally:
        _outside.pop()
        _switch_determinism(before)


def as_before() -> contextlib.AbstractContextManager[None]:
    """Inside `deterministic`: code of the user's, for which the process is as it was outside."""
    return _switched(_outside[0] if _outside else _framework.is_op_determinism_enabled())


def freely() -> contextlib.AbstractContextManager[None]:
    """Inside, operations need not be deterministic."""
    return _switched(False)


@contextlib.contextmanager
def _switched(on: bool) -> Iterator[None]:
    now = _framework.is_op_determinism_enabled()
    _switch_determinism(on)
    try:
        yield
    finally:
        _switch_determinism(now)


def _switch_determinism(on: bool) -> None:
    if on:
        _framework.enable_op_determinism()
    else:
        _framework.disable_op_determinism()
