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

import tensorflow as tf

__all__ = ["fused", "in_whole", "whole"]

_whole: contextvars.ContextVar[bool] = contextvars.ContextVar("whole", default=False)


def fused(function):
    """Compiles a pure tensor function with XLA, also when called inside a graph.

    Inside `whole` it is the function itself: what calls it is compiled already.
    """
    compiled = tf.function(function, jit_compile=True, autograph=False, reduce_retracing=False)

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


def in_whole() -> bool:
    """Whether the code that runs is being traced inside `whole`."""
    return _whole.get()
