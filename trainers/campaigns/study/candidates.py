"""What a sweep of the study tries: step sizes alone, or a random search over all hyperparameters.

A search is in blocks. The trials of a block share what a program has fixed, so that they can be one
population (docs/many.md), and differ by step size and temperature, of which each has one value in
each of as many equal parts of its range: every choice of the rest is tried with small and large
step sizes. This module must stay free of TensorFlow.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

__all__ = ["OWN", "Candidate", "Log", "OneOf", "Range", "Uniform", "search"]

# Hyperparameters that runs of one program may have of their own.
OWN = ("step_size", "temperature")
_DIGITS = 3


class Candidate(NamedTuple):
    """A trial of a sweep.

    Attributes:
      step_size: its step size.
      more: its other hyperparameters that the sweep chooses, (name, value).
    """

    step_size: float
    more: tuple[tuple[str, Any], ...] = ()

    @property
    def settings(self) -> dict[str, Any]:
        """All hyperparameters that the sweep could choose, name -> value."""
        return {"step_size": self.step_size, **dict(self.more)}

    def __str__(self) -> str:
        return ", ".join([f"{self.step_size:g}", *(f"{k} {_short(v)}" for k, v in self.more)])


class Log(NamedTuple):
    """Numbers from `low` to `high`, uniform in their logarithm."""

    low: float
    high: float

    def at(self, u: float) -> float:
        """The number at a quantile."""
        return _rounded(self.low * (self.high / self.low) ** u)


class Uniform(NamedTuple):
    """Numbers from `low` to `high`."""

    low: float
    high: float

    def at(self, u: float) -> float:
        """The number at a quantile."""
        return _rounded(self.low + u * (self.high - self.low))


class OneOf(NamedTuple):
    """One of some values, each as likely."""

    values: tuple[Any, ...]

    def at(self, u: float) -> Any:
        """The value at a quantile."""
        return self.values[min(int(u * len(self.values)), len(self.values) - 1)]


Range = Log | Uniform | OneOf


def search(
    name: str, ranges: Mapping[str, Range], trials: int, block: int
) -> tuple[Candidate, ...]:
    """The trials of an algorithm, always the same.

    Args:
      name: of the algorithm, which seeds the draws.
      ranges: by hyperparameter; `step_size` is one.
      trials: how many, in blocks.
      block: trials of a block. Those of the first have only step size and temperature drawn, and
        the algorithm's own settings else.
    """
    random = np.random.default_rng(zlib.crc32(name.encode()))
    found = []
    for start in range(0, trials, block):
        fixed = {k: r.at(random.random()) for k, r in ranges.items() if k not in OWN}
        own = {k: _spread(random, ranges[k], block) for k in OWN if k in ranges}
        if start == 0:
            fixed = {}
        for i in range(min(block, trials - start)):
            more = {k: values[i] for k, values in own.items() if k != "step_size"} | fixed
            found.append(Candidate(own["step_size"][i], tuple(more.items())))
    return tuple(found)


def _spread(random: np.random.Generator, range: Range, count: int) -> list[Any]:
    """One value in each of `count` equal parts of a range, in random order."""
    quantiles = (random.permutation(count) + random.random(count)) / count
    return [range.at(u) for u in quantiles]


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
