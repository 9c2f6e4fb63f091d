"""Schedules: gamma_t, epsilon_t and K_t as functions of the outer step t = 0, 1, 2, ...

A schedule maps an integer t (a Python int or an integer tensor) to a float64 tensor, or to
a Python number where it does not depend on t, which lets the compiled step drop the work
(K = 1 needs no loop, epsilon = 0 needs no noise).

In a config a schedule is a text: a kind, with its options in brackets where they are not the
defaults, such as "cosine(warmup=0.05, end=0.1)" (`make`).
"""

from __future__ import annotations

import ast
import contextlib
import contextvars
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tf_mixed_nash.errors import InputError, unknown

__all__ = [
    "SCHEDULES",
    "Schedule",
    "check",
    "computed_in",
    "computed_type",
    "constant",
    "cosine",
    "cyclical",
    "exponential",
    "growing_inner_steps",
    "inner_steps",
    "linear",
    "low_points",
    "make",
    "of_function",
    "parse",
    "reduced",
    "warmed",
]

Schedule = Callable[[Any], Any]

_LOOKS = 300  # at a schedule that somebody wrote; the steps between differ by less than it can


_dtype: contextvars.ContextVar[Any] = contextvars.ContextVar("dtype", default=None)


@contextlib.contextmanager
def computed_in(dtype: tf.DType) -> Iterator[None]:
    """Schedules are computed in this type inside, not in float64."""
    token = _dtype.set(dtype)
    try:
        yield
    finally:
        _dtype.reset(token)


def computed_type() -> tf.DType:
    """The type in which schedules are computed here."""
    return _dtype.get() or tf.float64


def _float(t) -> tf.Tensor:
    return tf.cast(t, computed_type())


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


def inner_steps(schedule: Schedule) -> Schedule:
    """K_t: the whole number nearest to a schedule's value, at least 1.

    Args:
      schedule: of t, of one that is a Python number too.
    """
    if (value := getattr(schedule, "value", None)) is not None:
        return constant(max(int(value + 0.5), 1))

    def whole(t):
        # 1e-9: halves must not be rounded by the error of what computed them, here and there.
        raw = tf.floor(tf.cast(schedule(t), tf.float64) + 0.5 + 1e-9)
        return tf.cast(tf.maximum(raw, 1.0), tf.int64)

    def steps(t):
        # A function of the user's knows single numbers; who counts mini-batches asks for many.
        return tf.vectorized_map(whole, t) if tf.is_tensor(t) and t.shape.rank else whole(t)

    return steps if getattr(schedule, "own", False) else whole


def cyclical(
    value: float, num_steps: int, cycles: int = 4, end: float = 0.0, quiet: float = 0.0
) -> Schedule:
    """Half a cosine from `value` down to `end`, `cycles` times over (Zhang et al. 2020).

    Each cycle of ceil(T / cycles) steps starts at large steps, which find other modes, and ends at
    small ones, which sample them; snapshots belong at its end.

    Args:
      value: at the start of each cycle.
      num_steps: T.
      cycles: how many; at least 1.
      end: towards which a cycle falls.
      quiet: in this first part of every cycle, a fraction in [0, 1), it is 0: for a temperature,
        whose noise would disturb the large steps.
    """
    length = max(math.ceil(num_steps / cycles), 1)

    def schedule(t):
        part = _float(tf.math.floormod(tf.cast(t, tf.int64), length)) / length
        now = end + (value - end) * 0.5 * (1.0 + tf.cos(math.pi * part))
        return tf.where(part < quiet, tf.zeros_like(now), now) if quiet else now

    return schedule


def warmed(schedule: Schedule, num_steps: int) -> Schedule:
    """`schedule` from t = num_steps on, and before it a straight line from 0 to its first value.

    The first step has 1 / num_steps of it: a step of no length would be lost.
    """

    def value(t):
        t = tf.cast(t, tf.int64)
        ramp = tf.minimum((_float(t) + 1.0) / num_steps, 1.0)
        after = schedule(tf.maximum(t - num_steps, 0))
        return ramp * (_float(after) if tf.is_tensor(after) else tf.constant(after, ramp.dtype))

    return value


# kind -> its options and their ranges, as "NAME in RANGE".
_WARMUP = {"warmup": ("in [0, 1)", lambda x: 0 <= x < 1)}
_END = {"end": ("at least 0, a fraction of the first value", lambda x: x >= 0)}
_UNTIL = {"until": ("in (0, 1], a fraction of the run", lambda x: 0 < x <= 1)}
_OPTIONS: dict[str, dict[str, tuple[str, Callable[[float], bool]]]] = {
    "constant": _WARMUP,
    "linear": _END | _WARMUP | _UNTIL,
    "cosine": _END | _WARMUP | _UNTIL,
    "exponential": {
        "end": ("in (0, 1], a fraction of the first value", lambda x: 0 < x <= 1),
        **_WARMUP,
    },
    "cyclical": {
        "cycles": ("a whole number, at least 1", lambda x: x >= 1 and x == int(x)),
        **_END,
        "quiet": ("in [0, 1)", lambda x: 0 <= x < 1),
        **_WARMUP,
    },
}
SCHEDULES = tuple(_OPTIONS)


def parse(text: str) -> tuple[str, dict[str, float]]:
    """The kind and the options of a schedule's text, such as "cosine(warmup=0.05, end=0.1)".

    Raises:
      InputError: for another form, an unknown kind or option, or a value out of its range.
    """
    forms = "KIND or KIND(OPTION=NUMBER, ...), such as cosine(warmup=0.05, end=0.1)"
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        call = tree if isinstance(tree, ast.Call) else ast.Call(tree, [], [])
        kind = call.func.id  # pyright: ignore[reportAttributeAccessIssue]
        options = {str(k.arg): ast.literal_eval(k.value) for k in call.keywords}
        if call.args:
            raise ValueError
    except (SyntaxError, ValueError, AttributeError):
        raise InputError(f"A schedule is {forms}; got {text!r}.") from None
    if kind not in _OPTIONS:
        raise unknown("schedule", kind, SCHEDULES)
    for name, value in options.items():
        if name not in _OPTIONS[kind]:
            choices = ", ".join(_OPTIONS[kind])
            raise InputError(f"The schedule {kind} has no {name!r}. Its options: {choices}.")
        what, holds = _OPTIONS[kind][name]
        if not isinstance(value, (int, float)) or not math.isfinite(value) or not holds(value):
            raise InputError(f"The schedule {kind}: {name} must be {what}, got {value!r}.")
    if options.get("warmup", 0.0) >= options.get("until", 1.0):
        raise InputError(
            f"The schedule {text}: it rises until {options['warmup']:g} of the run, and is to end "
            f"at {options['until']:g}. Choose a warmup below until."
        )
    return kind, options


def make(kind: str, value: float, num_steps: int, rate: float = 0.0) -> Schedule:
    """The schedule of a text that starts at `value`.

    Args:
      kind: one of SCHEDULES, with options where they are not the defaults (see the module):
        `end`, what is left at T as a fraction of `value` (0; "exponential" has none); `until`, the
        fraction of T at which "linear" and "cosine" are there and stay (1); `warmup`, the fraction
        of T that it takes to rise to `value` (0); of "cyclical" also `cycles` (4), `quiet` (0).
      value: at t = 0, or after the warm-up; at least 0.
      num_steps: T, where "linear" and "cosine" reach their end.
      rate: of "exponential", where it has no `end`.

    Raises:
      InputError: for an unknown kind or option, or a value out of its range.
      ValueError: for a negative value.
    """
    name, options = parse(kind)
    if value < 0:
        raise ValueError(f"A step size or temperature must be at least 0, got {value}.")
    rising = math.ceil(options.pop("warmup", 0.0) * num_steps)
    # What falls before `until` is constant after it: a window in which a law can be sampled.
    falling = math.ceil(options.pop("until", 1.0) * num_steps)
    if value == 0:
        return constant(value)
    after = _unwarmed(name, value, max(falling - rising, 1), rate, options)
    return warmed(after, rising) if rising else after


def _unwarmed(
    name: str, value: float, num_steps: int, rate: float, options: Mapping[str, float]
) -> Schedule:
    end = value * options.get("end", 0.0)
    if name == "linear":
        return linear(value, num_steps, end)
    if name == "cosine":
        return cosine(value, num_steps, end)
    if name == "cyclical":
        cycles = int(options.get("cycles", 4))
        return cyclical(value, num_steps, cycles, end, options.get("quiet", 0.0))
    if name == "exponential":
        if "end" in options:
            rate = -math.expm1(math.log(options["end"]) / num_steps)
        return exponential(value, rate)
    return constant(value)


def low_points(kind: str, num_steps: int) -> list[int]:
    """The steps of [0, T) at which a cyclical schedule is lowest: the last of every cycle.

    Args:
      kind: see `make`.
      num_steps: T. The last cycle ends there, a few steps short where T is no multiple of a cycle.

    Raises:
      InputError: for a schedule that has no cycles.
    """
    name, options = parse(kind)
    if name != "cyclical":
        raise InputError(f"The schedule {kind} has no cycles, and so no low points.")
    rising = min(math.ceil(options.get("warmup", 0.0) * num_steps), num_steps - 1)
    after = num_steps - rising
    length = math.ceil(after / int(options.get("cycles", 4)))
    ends = {min(end, after) for end in range(length, after + length, length)}
    return [rising + end - 1 for end in sorted(ends)]


def check(schedule: Schedule, num_steps: int, what: str, below: float = math.inf) -> None:
    """Raises InputError where a schedule leaves its range on the way.

    Args:
      schedule: see the module; looked at at some hundreds of steps from the first to the last.
      num_steps: T.
      what: it is, for messages.
      below: all its values are in [0, below).
    """
    for t in np.unique(np.linspace(0, num_steps - 1, _LOOKS).astype(np.int64)):
        try:
            value = float(schedule(tf.constant(t, tf.int64)))
        except Exception as error:  # a user's code
            raise InputError(f"{what} failed with {str(error)[:200]!r} at t = {t}.") from None
        if not 0.0 <= value < below:
            valid = "at least 0" if below == math.inf else f"in [0, {below:g})"
            raise InputError(
                f"{what} must be {valid} at every t of the run, 0 to {num_steps - 1}; at t = {t} "
                f"it is {value:g}."
            )


def of_function(
    function: Callable[[tf.Tensor], Any], what: str, of: str = "the outer step t"
) -> tuple[Schedule, float]:
    """A schedule of the user's own.

    Args:
      function: of t, a float64 tensor [], to a number.
      what: it is, for messages.
      of: what t is, for messages.

    Returns:
      The schedule, and its value at t = 0.

    Raises:
      InputError: if it fails, in a graph too, or is not a number of at least 0 at t = 0.
    """
    schedule = lambda t: tf.cast(function(tf.cast(t, tf.float64)), tf.float64)  # noqa: E731
    try:
        first = float(schedule(tf.constant(0, tf.int64)))
        # As the compiled loop will call it.
        graph = tf.function(schedule, autograph=False)
        graph.get_concrete_function(tf.TensorSpec([], tf.int64))
    except Exception as error:  # a user's code
        raise InputError(
            f"{what} must be a function of {of} (a float64 tensor) that returns a "
            f"number; it failed with {str(error)[:200]!r}."
        ) from None
    if not (math.isfinite(first) and first >= 0):
        raise InputError(f"{what} as a function of t must be at least 0; of t = 0 it is {first}.")
    schedule.own = True
    return schedule, first


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
