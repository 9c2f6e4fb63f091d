"""Schedules: gamma_t, epsilon_t and K_t as functions of the outer step t = 0, 1, 2, ...

A schedule maps an integer t (a Python int or an integer tensor) to a float64 tensor, or to
a Python number where it does not depend on t, which lets the compiled step drop the work
(K = 1 needs no loop, epsilon = 0 needs no noise).
"""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import tensorflow as tf

__all__ = [
    "SCHEDULES",
    "Schedule",
    "computed_in",
    "constant",
    "cosine",
    "exponential",
    "growing_inner_steps",
    "linear",
    "make",
    "reduced",
]

Schedule = Callable[[Any], Any]


_dtype: contextvars.ContextVar[Any] = contextvars.ContextVar("dtype", default=None)


@contextlib.contextmanager
def computed_in(dtype: tf.DType) -> Iterator[None]:
    """Schedules are computed in this type inside, not in float64."""
    token = _dtype.set(dtype)
    try:
        yield
    finally:
        _dtype.reset(token)


def _float(t) -> tf.Tensor:
    return tf.cast(t, _dtype.get() or tf.float64)


def constant(value: float) -> Schedule:
    """value at every t."""
    schedule = lambda t: value  # noqa: E731 - the attribute below needs a name to hang on
    schedule.value = value
    return schedule


def linear(value: float, num_steps: int, end: float = 0.0) -> Schedule:
    """From `value` at t = 0 in a straight line to `end` at t = num_steps, and `end` after."""
    return lambda t: value + (end - value) * tf.minimum(_float(t) / num_steps, 1.0)


def cosine(value: float, num_steps: int, end: float = 0.0) -> Schedule:
    """Half a cosine from `value` at t = 0 to `end` at t = num_steps."""
    return lambda t: (
        end
        + (value - end)
        * 0.5
        * (1.0 + tf.cos(3.141592653589793 * tf.minimum(_float(t) / num_steps, 1.0)))
    )


def exponential(value: float, rate: float) -> Schedule:
    """value * (1 - rate)^t, the form of MixedNE-LD's gamma_t and sigma_t."""
    return lambda t: (
        value * tf.exp(_float(tf.math.log1p(tf.constant(-rate, tf.float64))) * _float(t))
    )


def growing_inner_steps(maximum: int, rate: float = 0.0) -> Schedule:
    """K_t = min(K, floor((1 + rate)^t)), the form of MixedNE-LD; rate = 0 means K at once."""
    if maximum < 1:
        raise ValueError(f"K_t is the number of inner steps and must be at least 1, got {maximum}.")
    if rate < 0:
        raise ValueError(f"The growth rate of K_t must be at least 0, got {rate}.")
    if rate == 0 or maximum == 1:
        return constant(int(maximum))
    growth = tf.math.log1p(tf.constant(rate, tf.float64))

    def schedule(t):
        # 1e-9: floor((1+r)^t) must not fall below an exact integer by a rounding error.
        raw = tf.floor(tf.exp(tf.minimum(growth * _float(t), 40.0)) + 1e-9)
        return tf.cast(tf.minimum(raw, float(maximum)), tf.int64)

    return schedule


SCHEDULES = ("constant", "linear", "cosine", "exponential")


def make(kind: str, value: float, num_steps: int, rate: float = 0.0) -> Schedule:
    """The schedule called `kind` that starts at `value`.

    Args:
      kind: one of SCHEDULES.
      value: at t = 0; at least 0.
      num_steps: T, where "linear" and "cosine" reach 0.
      rate: of "exponential".

    Raises:
      ValueError: for an unknown kind or a negative value.
    """
    if value < 0:
        raise ValueError(f"A step size or temperature must be at least 0, got {value}.")
    if value == 0 or kind == "constant":
        return constant(value)
    if kind == "linear":
        return linear(value, num_steps)
    if kind == "cosine":
        return cosine(value, num_steps)
    if kind == "exponential":
        return exponential(value, rate)
    raise ValueError(f"Unknown schedule {kind!r}. Choose one of: {', '.join(SCHEDULES)}.")


def reduced(schedule: Schedule, starts: Sequence[int], factor: float = 0.5) -> Schedule:
    """schedule(t) times `factor` for every one of `starts` that is at most t.

    Args:
      schedule: see the module.
      starts: steps, in any order; a step that stands there twice counts twice.
      factor: at least 0.
    """
    if not starts or getattr(schedule, "value", None) == 0:
        return schedule
    at = tf.constant(list(starts), tf.int64)

    def value(t):
        passed = tf.reduce_sum(_float(at <= tf.cast(t, tf.int64)))
        return _float(schedule(t)) * _float(tf.constant(factor, tf.float64)) ** passed

    return value
