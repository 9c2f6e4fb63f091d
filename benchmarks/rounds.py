"""Timings that alternate, so that a noisy machine disturbs all alike, and their summaries."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeVar

__all__ = ["Contestant", "Result", "alternate", "summary"]

K = TypeVar("K")
_SECONDS = 0.4  # of one timing
_WARM_UP = 2


class Contestant(NamedTuple):
    """Something that is timed.

    Attributes:
      seconds: num_steps -> how long they took; the first call may compile.
      flops: of one step, for GFLOP/s; 0: not counted.
    """

    seconds: Callable[[int], float]
    flops: float = 0.0


class Result(NamedTuple):
    """Per round: milliseconds a step, and their ratio to the first contestant's."""

    ms: list[float]
    ratio: list[float]


def alternate(
    contestants: Mapping[K, Contestant], rounds: int, seconds: float = _SECONDS
) -> dict[K, Result]:
    """Times everyone once a round, in turn.

    Args:
      contestants: by name; ratios are to the first.
      rounds: how many.
      seconds: about how long one timing takes; at least two steps.
    """
    chunk = {}
    for name, one in contestants.items():
        one.seconds(_WARM_UP)
        chunk[name] = 2 * max(1, round(seconds / max(1e-9, one.seconds(2))))
        one.seconds(chunk[name])  # who compiles for a number of steps does so here
    results = {name: Result([], []) for name in contestants}
    for _ in range(rounds):
        for name, one in contestants.items():
            results[name].ms.append(1e3 * one.seconds(chunk[name]) / chunk[name])
        base = next(iter(results.values())).ms[-1]
        for result in results.values():
            result.ratio.append(result.ms[-1] / base)
    return results


def summary(values: Sequence[float]) -> dict[str, float]:
    """Median and quartiles."""
    low, _, high = statistics.quantiles(values, n=4) if len(values) > 1 else (values[0],) * 3
    return {"median": statistics.median(values), "quartile_1": low, "quartile_3": high}
