"""Which claims of the paper held: computed from the records, no verdict is written by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from trainers.campaigns.cells import over
from trainers.campaigns.evidence import Evidence, Values, gains, judged, weigh
from trainers.campaigns.study.protocol import ALGORITHMS, Protocol, Records
from trainers.campaigns.study.tables import (
    COST,
    METRICS,
    SECONDS,
    STEPS,
    Metric,
    Stage,
    Table,
    costs,
    show,
    steps_to,
    values_of,
)

__all__ = ["Claim", "Verdict", "claims", "in_time", "questions"]


class Verdict(NamedTuple):
    """One comparison for a claim.

    Attributes:
      dataset: of it.
      text: the two sides and their numbers.
      outcome: held, opposite, undecided, leans (one seed, its way), against (one seed, the other
        way), or no data.
      by: how much better the first side is, with an interval (`evidence.gains`).
      gain: the same as a number, NaN without data.
    """

    dataset: str
    text: str
    outcome: str
    by: str = ""
    gain: float = math.nan


class Claim(NamedTuple):
    """A claim of the paper, and what the runs say.

    Attributes:
      text: the claim.
      source: where the paper makes it.
      measure: what was compared.
      verdicts: one a comparison.
    """

    text: str
    source: str
    measure: str
    verdicts: Sequence[Verdict]

    @property
    def summary(self) -> str:
        """The verdict, in words, with counts: a claim holds if every comparison does."""
        count = {o: sum(v.outcome == o for v in self.verdicts) for o in _OUTCOMES}
        said = [words.format(count[o]) for o, words in _OUTCOMES.items() if count[o] and words]
        total = sum(n for o, n in count.items() if o != "no data")
        if not total:
            return "not tested: the runs are missing"
        lost = f"; {count['no data']} more without data" if count["no data"] else ""
        known = [v for v in self.verdicts if v.outcome != "no data"]
        verdict = "undecided"
        if count["held"] == total:
            verdict = "holds"
        elif count["opposite"]:
            verdict = "does not hold"
        data = {v.dataset for v in known}
        held = data - {v.dataset for v in known if v.outcome != "held"}
        whole = f"; it held throughout in {len(held)} of {len(data)} data sets"
        if count["leans"] + count["against"] == total:
            whole = ""  # no spread, no verdict
        return f"**{verdict}**; of {total} comparisons: {', '.join(said)}{lost}{whole}"


_OUTCOMES = {
    "held": "held in {}",
    "opposite": "the opposite in {}",
    "undecided": "undecided in {}",
    "leans": "in its direction in {} (one seed)",
    "against": "against it in {} (one seed)",
    "no data": "",
}
_OURS = ("mirror_gan", "mirror_prox_gan")
_ADAMS = ("adam", "optimistic_adam", "extra_adam")

# What the paper says, and where.
_SGD = ("SGD performs poorly, the other algorithms yield reasonable results", "section 5.1")
_MODES = (
    "Mirror- and Mirror-Prox-GAN find the modes more accurately than Adam, Optimistic Adam and "
    "Extra-Adam, which are perceptibly biased",
    "section 5.1",
)
_VARIANCE = (
    "Mirror- and Mirror-Prox-GAN capture the variance much better; Adam-based algorithms collapse "
    "to the modes",
    "section 5.1",
)
_QUALITY = (
    "Mirror- and Mirror-Prox-GAN consistently achieve better or comparable performance",
    "section 5",
)


def claims(records: Records, protocol: Protocol, stage: str = "final") -> list[Claim]:
    """The paper's claims about data in the plane, against the runs of a stage."""
    ask = _Questions(records, protocol, stage)
    others = [(a, "sgd") for a in protocol.algorithms if a != "sgd"]
    quality = protocol.objective
    found = [ask.better(_SGD, others, quality, "last")]
    ours = [(a, b) for a in _OURS for b in _ADAMS]
    all_ours = [(a, b) for a in _OURS for b in ("sgd", *_ADAMS)]
    for answer in ("last", "mixture"):
        found += [
            ask.better(_MODES, ours, "mean_bias_sigma", answer),
            ask.better(_VARIANCE, ours, "std_ratio", answer),
            ask.comparable(_QUALITY, all_ours, quality, answer),
        ]
    return [*found, ask.sooner("step"), ask.sooner("seconds"), ask.cost(), ask.stable()]


# Ours, and where they were put.
_PROTOCOL = "the question of protocol_study.md"
_OF_ONE_RUN = "The mixture of a run describes the data better than its {}"
_NOISE = "Mixtures of the Langevin algorithms describe the data better than RMSProp's"


def questions(records: Records, protocol: Protocol, stage: str = "final") -> list[Claim]:
    """What the protocol asks of mixtures: against one network of the same run, and RMSProp's."""
    ask, key = _Questions(records, protocol, stage), protocol.objective
    langevin = [a for a in protocol.algorithms if "temperature" in ALGORITHMS[a].ranges]
    found = [ask.within(key, one) for one in ("last", "ema")]
    if "rmsprop" in protocol.algorithms:
        pairs = [(a, "rmsprop") for a in langevin]
        found.append(ask.better((_NOISE, _PROTOCOL), pairs, key, "mixture"))
    return found


def in_time(found: Sequence[Claim], title: str) -> Table | None:
    """Of how many algorithms the mixture is nearer than a network of its run; None without runs.

    Args:
      found: of `questions`.
      title: of the stage.
    """
    rivals = ("last iterate", "EMA")
    head = ("data set", *(f"nearer than the {x}: {y}" for x in rivals for y in ("mean", "decided")))
    rows = []
    for data in dict.fromkeys(v.dataset for c in found for v in c.verdicts):
        known = [
            [v for v in c.verdicts if v.dataset == data and v.outcome != "no data"]
            for c in found[: len(rivals)]
        ]
        nearer = [
            text
            for of in known
            for text in (
                f"{sum(v.gain > 0 for v in of)} of {len(of)}",
                str(sum(v.outcome == "held" for v in of)),
            )
        ]
        if any(known):
            farther = sum(v.outcome == "opposite" for of in known for v in of)
            rows.append((data, *nearer, str(farther)))
    return Table(f"Of how many algorithms, {title}", (*head, "farther"), rows) if rows else None


class _Side(NamedTuple):
    """One side of a comparison: its numbers, and the runs that have none because they failed."""

    name: str
    values: Values
    failed: str = ""  # in words, if all did
    answer: str = ""  # where the two sides are of one run


class _Questions:
    """Asks the runs of a stage, data set by data set; a claim's comparisons are one family."""

    def __init__(self, records: Records, protocol: Protocol, stage: str):
        self.stages = [Stage(records, protocol, d, stage) for d in protocol.sets_of(stage)]

    def better(self, said: tuple[str, str], pairs, key, answer) -> Claim:
        """Whether the first of each pair is better than the second."""
        metric = METRICS[key]
        sides = self._sides(pairs, key, answer)
        return Claim(*said, f"{metric.title}, {answer}", _judge(sides, metric))

    def within(self, key: str, single: str) -> Claim:
        """Whether the mixture of a run is better than one of its networks, of each algorithm."""
        metric = METRICS[key]

        def side(stage: Stage, name: str, answer: str) -> _Side:
            return _side(stage, name, answer, key)._replace(answer=f" {answer}")

        sides = [
            (stage, side(stage, a, "mixture"), side(stage, a, single))
            for stage in self.stages
            for a in stage.protocol.algorithms
        ]
        said = _OF_ONE_RUN.format({"last": "last iterate", "ema": "EMA"}[single])
        measure = f"{metric.title}, mixture against {single}"
        return Claim(said, _PROTOCOL, measure, _judge(sides, metric))

    def comparable(self, said: tuple[str, str], pairs, key, answer) -> Claim:
        """Whether the first of each pair is not worse than the second, by the margin."""
        metric = METRICS[key]
        sides = self._sides(pairs, key, answer)
        measure = f"{metric.title}, {answer}; comparable: not worse by {metric.margin:g}"
        return Claim(*said, measure, _judge(sides, metric, metric.margin))

    def _sides(self, pairs, key, answer):
        return [
            (stage, _side(stage, a, answer, key), _side(stage, b, answer, key))
            for stage in self.stages
            for a, b in pairs
        ]

    def sooner(self, axis: str) -> Claim:
        """Whether Mirror reaches the quality of Adam's end before Adam does."""
        metric = STEPS if axis == "step" else SECONDS
        sides = []
        for stage in self.stages:
            goal, found = stage.target, {}
            for name in (*_OURS, "adam"):
                runs = stage.done(name) if axis == "step" else stage.timed(name)
                values = {} if goal is None else steps_to(runs, goal, axis)
                never = "(not in every run)" if runs and goal is not None and not values else ""
                found[name] = _Side(name, values, never)
            sides += [(stage, found[a], found["adam"]) for a in _OURS]
        return Claim(
            "Mirror-GAN and Mirror-Prox-GAN are better also in speed",
            "section 5.1, Figure 6",
            metric.title + ", last",
            _judge(sides, metric),
        )

    def cost(self) -> Claim:
        """Whether a mini-batch of Mirror-GAN costs no more than one of SGD, but for 5 %."""
        sides, margins = [], []
        for stage in self.stages:
            one, two = (_Side(n, costs(stage.timed(n))) for n in ("mirror_gan", "sgd"))
            sides.append((stage, one, two))
            margins.append(COST.margin * over(two.values.values())["mean"] if two.values else 0.0)
        return Claim(
            "Mirror-GAN costs no more than SGD per iteration",
            "issue 7's reading of the paper",
            f"ms / mini-batch, both on one machine; no more: by less than {COST.margin:.0%}",
            _judge(sides, COST, margins),
        )

    def stable(self) -> Claim:
        """Who captures all modes in every run; others must fail somewhere for it to be a claim."""
        return Claim(
            "These algorithms perform well in learning all the distributions",
            "section 6",
            "all modes captured by the last iterate of every seed",
            [_learned(stage, a) for stage in self.stages for a in _OURS],
        )


def _side(stage: Stage, name: str, answer: str, key: str) -> _Side:
    """The numbers of an algorithm, which says if all its runs diverged."""
    runs, done = stage.runs(name), stage.done(name)
    failed = "(diverged)" if runs and not done else ""
    return _Side(name, values_of(runs if done else (), answer, key), failed)


def _shown(side: _Side, metric: Metric) -> str:
    """Its mean over the runs that have a number, and how many have none."""
    good = [x for x in side.values.values() if math.isfinite(x)]
    lost = len(side.values) - len(good)
    without = f" ({lost} of {len(side.values)} without a number)" if lost else ""
    return show(over(good), metric) + without


def _judge(
    sides: Sequence[tuple[Stage, _Side, _Side]],
    metric: Metric,
    margin: float | Sequence[float] | None = None,
) -> list[Verdict]:
    """The verdicts of a family of comparisons; runs of one seed share their draws."""
    margins: Sequence[float | None] = (
        margin if isinstance(margin, Sequence) else [margin] * len(sides)
    )
    family = [
        weigh(one.values, two.values, metric.distance, margin=m)
        for (_, one, two), m in zip(sides, margins, strict=True)
    ]
    found = []
    for (stage, one, two), e, m in zip(sides, judged(family, margins), margins, strict=True):
        text = " against ".join(
            f"{ALGORITHMS[s.name].title}{s.answer} {s.failed or _shown(s, metric)}"
            for s in (one, two)
        )
        found.append(
            Verdict(stage.dataset, text, _outcome(one, two, e, m), gains(e, metric.digits), e.gain)
        )
    return found


def _outcome(one: _Side, two: _Side, e: Evidence, margin: float | None) -> str:
    """What a comparison says of the claim; an algorithm whose runs all failed is the worse one."""
    if one.failed and (two.failed or two.values):
        return "undecided" if two.failed else ("opposite" if len(two.values) > 1 else "against")
    if two.failed and one.values:
        return "held" if len(one.values) > 1 else "leans"
    if e.outcome == "one seed":
        return "leans" if e.gain > 0 or (margin is not None and e.gain == 0) else "against"
    known = {"better": "held", "worse": "opposite"}
    return known.get(e.outcome, e.outcome)


def _learned(stage: Stage, name: str) -> Verdict:
    runs, need = stage.runs(name), len(stage.seeds)
    cards = [r["scorecards"].get("last", {}) for r in runs]
    good = sum(bool(c) and c["modes_captured"] == c["num_modes"] for c in cards)
    text = f"{ALGORITHMS[name].title}: all modes in {good} of {len(runs)} runs"
    if len(runs) < need:
        outcome = "no data"
    elif need < 2:
        outcome = "leans" if good == need else "against"
    else:
        outcome = "held" if good == len(runs) else "opposite"
    return Verdict(stage.dataset, text, outcome)
