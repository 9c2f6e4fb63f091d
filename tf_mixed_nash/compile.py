"""Where XLA is used: small element-wise functions inside a plain graph.

The gradients run fastest in a plain TensorFlow graph (oneDNN, bfloat16 matrix units), the
updates fastest as one XLA loop over the parameter vector (docs/decisions/0003).
"""

from __future__ import annotations

import functools

import tensorflow as tf

__all__ = ["fused"]


def fused(function):
    """Compiles a pure tensor function with XLA, also when called inside a graph."""
    compiled = tf.function(function, jit_compile=True, autograph=False, reduce_retracing=False)
    return functools.wraps(function)(lambda *args: compiled(*args))
