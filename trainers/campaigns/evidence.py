"""What two sets of seeds say of each other: tests by SciPy, effect sizes, margins.

A number of a run is judged by its distance from the best possible value (of a ratio that should be
1, |x - 1| of each run, not of the mean: errors of two signs are errors). Runs of one seed share
their initial networks and their data, so that two algorithms are compared on the differences of the
seeds that both have: a paired t test. Where the seeds do not share their draws it is Welch's. A
run that diverged is an infinite number, the worst there is: means and pairs then say nothing, and
the two sides are compared by all their ranks, in every way to divide them (a permutation test).

    better    the mean gain is above 0 at 5 %, two-sided, after Holm's correction for the family
    worse     below 0
    undecided neither: no evidence of a difference, which is no evidence of equality

"Not worse" is another question, with a margin that the protocol states beforehand: yes if a gain
below minus the margin is rejected, no if the gain is below it, undecided else. Five seeds cannot
decide by permutation of pairs, whose least p is 2 / 2^5 = 0.06. Free of TensorFlow.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

__all__ = ["LEVEL", "Evidence", "Values", "effect_size", "from_best", "gains", "holm", "judged"]
__all__ += ["weigh"]

# seed -> number of its run, inf if it diverged; what has not been run is left out.
Values = Mapping[int, float]

LEVEL = 0.05
# Ways to divide two sides that are all tried; of more there is the normal law of the ranks' sum.
_DIVISIONS = 20_000


class Evidence(NamedTuple):
    """What a comparison of a with b says.

    Attributes:
      outcome: better, worse, undecided; "one seed" without a spread; "no data".
      gain: how much smaller the mean distance of a is; of ranks, the median distance.
      interval: of the gain, at 95 %, for this comparison alone; NaN without a spread.
      p: of no difference, two-sided, or of being worse than the margin; not corrected.
      effect: the gain in standard deviations: of the differences of pairs, else pooled.
      test: "paired t", "Welch" or "ranks".
      pairs: seeds that both have; for Welch's the smaller number.
      towards: of ranks, how much higher the mean rank of b is: the side that a verdict takes.
    """

    outcome: str
    gain: float
    interval: tuple[float, float] = (math.nan, math.nan)
    p: float = math.nan
    effect: float = math.nan
    test: str = ""
    pairs: int = 0
    towards: float = 0.0


def weigh(
    a: Values,
    b: Values,
    distance: Callable[[float], float],
    paired: bool = True,
    margin: float | None = None,
) -> Evidence:
    """The evidence of one comparison, without correction for others.

    Args:
      a: seed -> number.
      b: the same of the other side.
      distance: of a number from the best possible value.
      paired: the seeds share their draws; of fewer than two common ones it is Welch's test.
      margin: at least 0: the question is whether a is not worse by more than it. None: whether a
        is better.

    Raises:
      ValueError: a number is NaN, or the margin is negative.
    """
    if margin is not None and not margin >= 0:
        raise ValueError(f"A margin of {margin} is none: give one of at least 0.")
    if lost := [s for side in (a, b) for s, x in side.items() if math.isnan(x)]:
        raise ValueError(f"Seed {lost[0]} has no number: leave it out, or give inf if it diverged.")
    if not a or not b:
        return Evidence("no data", math.nan)
    whole = all(math.isfinite(x) for side in (a, b) for x in side.values())
    common = sorted(set(a) & set(b))
    paired = paired and whole and len(common) >= 2
    if paired:
        one, two = (np.array([distance(side[s]) for s in common]) for side in (a, b))
    else:
        one, two = (np.array([from_best(x, distance) for x in side.values()]) for side in (a, b))
    if not whole:
        return _by_ranks(one, two, margin)
    gain = float(two.mean() - one.mean())
    few = min(len(one), len(two))
    if few < 2:
        return Evidence("one seed", gain, pairs=few)
    shift = 0.0 if margin is None else margin
    side = "two-sided" if margin is None else "greater"
    test = "paired t" if paired else "Welch"
    spread = float(np.std(two - one)) if paired else float(np.std(one) + np.std(two))
    if spread <= 1e-12 * max(1.0, abs(gain)):  # every run says the same: no test has a say
        p = 1.0 if gain + shift == 0 or (margin is not None and gain < -shift) else 0.0
        return Evidence("", gain, (gain, gain), p, math.copysign(math.inf, gain), test, few)
    if paired:
        found = stats.ttest_rel(two + shift, one, alternative=side)
        interval = stats.ttest_rel(two, one).confidence_interval(1 - LEVEL)
    else:
        found = stats.ttest_ind(two + shift, one, equal_var=False, alternative=side)
        interval = stats.ttest_ind(two, one, equal_var=False).confidence_interval(1 - LEVEL)
    ends = (float(interval.low), float(interval.high))
    return Evidence("", gain, ends, float(found.pvalue), effect_size(one, two, paired), test, few)


def from_best(number: float, distance: Callable[[float], float]) -> float:
    """Of a run's number from the best possible value; inf of a run that diverged."""
    return distance(number) if math.isfinite(number) else math.inf


def _by_ranks(one: np.ndarray, two: np.ndarray, margin: float | None) -> Evidence:
    """Of distances, some of them infinite."""
    few = min(len(one), len(two))
    middles = float(np.median(one)), float(np.median(two))
    gain = 0.0 if middles[0] == middles[1] else middles[1] - middles[0]
    if few < 2:
        return Evidence("one seed", gain, pairs=few)
    ranks = stats.rankdata(np.concatenate([one, two + (margin or 0.0)]))
    sides = ranks[len(one) :], ranks[: len(one)]
    side = "two-sided" if margin is None else "greater"
    if math.comb(len(ranks), few) <= _DIVISIONS:
        found = stats.permutation_test(
            sides,
            lambda x, y, axis: x.mean(axis) - y.mean(axis),
            n_resamples=_DIVISIONS,  # as many or more: all of them
            vectorized=True,
            alternative=side,
        )
    else:
        found = stats.mannwhitneyu(*sides, alternative=side, method="asymptotic")
    towards = float(sides[0].mean() - sides[1].mean())
    return Evidence("", gain, p=float(found.pvalue), test="ranks", pairs=few, towards=towards)


def effect_size(one: np.ndarray, two: np.ndarray, paired: bool) -> float:
    """mean(two) - mean(one) in standard deviations: of the differences of pairs, or pooled."""
    spread = (
        float(np.std(two - one, ddof=1))
        if paired
        else math.sqrt((float(np.var(one, ddof=1)) + float(np.var(two, ddof=1))) / 2)
    )
    return float(two.mean() - one.mean()) / spread if spread else math.nan


def holm(p: Sequence[float]) -> list[float]:
    """The p values corrected for their number (Holm 1979); NaN counts for nothing and stays.

    The i-th smallest of m is multiplied by m - i + 1, and is at least the one before it.
    """
    known = [i for i, x in enumerate(p) if not math.isnan(x)]
    corrected, least = list(p), 0.0
    for rank, i in enumerate(sorted(known, key=lambda i: p[i])):
        least = max(least, min(1.0, (len(known) - rank) * p[i]))
        corrected[i] = least
    return corrected


def judged(family: Sequence[Evidence], margin: float | Sequence[float | None] | None = None):
    """The evidence of comparisons that are read together, each with its outcome, by Holm.

    Args:
      family: of `weigh`, all with a margin or all without.
      margin: of each, or of all.

    Returns:
      The list. With a margin "better" is "not worse", and "worse" is a gain below minus the margin
      by the interval of that comparison, which ranks have not.

    Raises:
      ValueError: some have a margin and others have none.
    """
    margins = margin if isinstance(margin, Sequence) else [margin] * len(family)
    if len({m is None for m in margins}) > 1:
        raise ValueError("Comparisons with a margin and without one are two families.")
    corrected = holm([e.p for e in family])
    found = []
    for e, p, m in zip(family, corrected, margins, strict=True):
        if e.outcome:
            found.append(e)
        elif m is None:
            side = "better" if (e.towards or e.gain) > 0 else "worse"
            outcome = side if p < LEVEL else "undecided"
            found.append(e._replace(outcome=outcome))
        else:
            shown = e.interval[1] < -m
            found.append(
                e._replace(outcome="better" if p < LEVEL else "worse" if shown else "undecided")
            )
    return found


def gains(e: Evidence, digits: int) -> str:
    """By how much, in words: the gain with its interval, p and the effect."""
    if math.isnan(e.gain):
        return ""
    if math.isnan(e.p):
        return f"{e.gain:+.{digits}f}"
    if e.test == "ranks":
        return f"{e.gain:+.{digits}f} of medians, ranks, p {e.p:.2g}"
    low, high = (f"{x:+.{digits}f}" for x in e.interval)
    size = "" if math.isinf(e.effect) or math.isnan(e.effect) else f", {e.effect:+.1f} sd"
    return f"{e.gain:+.{digits}f} [{low}, {high}], {e.test}, p {e.p:.2g}{size}"
