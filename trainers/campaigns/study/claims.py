"""Which claims of the paper held: computed from the records, no verdict is written by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from trainers.campaigns.cells import NO_VALUE
from trainers.campaigns.study.protocol import ALGORITHMS, Protocol, Records
from trainers.campaigns.study.tables import (
    COST,
    METRICS,
    SECONDS,
    STEPS,
    Metric,
    Stage,
    compare,
    cost,
    reached,
    show,
)

__all__ = ["Claim", "Verdict", "claims"]


class Verdict(NamedTuple):
    """One comparison for a claim.

    Attributes:
      dataset: of it.
      text: the two sides and their numbers.
      outcome: held, opposite, undecided (within the spread), leans (one seed, its way), against
        (one seed, the other way), or no data.
    """

    dataset: str
    text: str
    outcome: str


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
        """In words, with counts."""
        count = {o: sum(v.outcome == o for v in self.verdicts) for o in _OUTCOMES}
        said = [words.format(count[o]) for o, words in _OUTCOMES.items() if count[o] and words]
        total = sum(n for o, n in count.items() if o != "no data")
        if not total:
            return "not tested: the runs are missing"
        lost = f"; {count['no data']} more without data" if count["no data"] else ""
        known = [v for v in self.verdicts if v.outcome != "no data"]
        data = {v.dataset for v in known}
        held = data - {v.dataset for v in known if v.outcome != "held"}
        whole = f"; it held throughout in {len(held)} of {len(data)} data sets"
        if count["leans"] + count["against"] == total:
            whole = ""  # no spread, no verdict
        return f"of {total} comparisons: {', '.join(said)}{lost}{whole}"


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
    found = [ask.better(_SGD, others, "wasserstein2", "last")]
    ours = [(a, b) for a in _OURS for b in _ADAMS]
    all_ours = [(a, b) for a in _OURS for b in ("sgd", *_ADAMS)]
    for answer in ("last", "mixture"):
        found += [
            ask.better(_MODES, ours, "mean_bias_sigma", answer),
            ask.better(_VARIANCE, ours, "std_ratio", answer),
            ask.comparable(_QUALITY, all_ours, "wasserstein2", answer),
        ]
    return [*found, ask.sooner("step"), ask.sooner("seconds"), ask.cost(), ask.stable()]


class _Questions:
    """Asks the runs of a stage, data set by data set."""

    def __init__(self, records: Records, protocol: Protocol, stage: str):
        self.stages = [Stage(records, protocol, d, stage) for d in protocol.sets_of(stage)]

    def better(self, said: tuple[str, str], pairs, key, answer, reading=None) -> Claim:
        """Whether the first of each pair is better than the second."""
        metric = METRICS[key]
        verdicts = []
        for stage in self.stages:
            cells = stage.summaries(answer)
            for a, b in pairs:
                one, two = (_value(stage, cells, n, key) for n in (a, b))
                verdicts.append(_judge(stage, a, b, one, two, metric, reading or _outcome))
        return Claim(*said, f"{metric.title}, {answer}", verdicts)

    def comparable(self, said: tuple[str, str], pairs, key, answer) -> Claim:
        """Whether the first of each pair is not worse than the second."""
        claim = self.better(said, pairs, key, answer, _not_worse)
        return claim._replace(measure=f"{claim.measure}; comparable is within the spread")

    def sooner(self, axis: str) -> Claim:
        """Whether Mirror reaches the quality of Adam's end before Adam does."""
        verdicts = []
        metric = STEPS if axis == "step" else SECONDS
        for stage in self.stages:
            goal = stage.target
            cells = {}
            for name in (*_OURS, "adam"):
                runs = stage.done(name) if axis == "step" else stage.timed(name)
                cells[name] = NO_VALUE if goal is None else reached(runs, goal, axis)
                if runs and goal is not None and not cells[name]["count"]:
                    cells[name] = {**NO_VALUE, "never": len(runs)}
            verdicts += [
                _judge(stage, a, "adam", cells[a], cells["adam"], metric, _outcome) for a in _OURS
            ]
        return Claim(
            "Mirror-GAN and Mirror-Prox-GAN are better also in speed",
            "section 5.1, Figure 6",
            metric.title + ", last",
            verdicts,
        )

    def cost(self) -> Claim:
        """Whether a mini-batch of Mirror-GAN costs no more than one of SGD."""
        verdicts = []
        for stage in self.stages:
            one, two = (cost(stage.timed(n)) for n in ("mirror_gan", "sgd"))
            verdicts.append(_judge(stage, "mirror_gan", "sgd", one, two, COST, _not_worse))
        return Claim(
            "Mirror-GAN costs no more than SGD per iteration",
            "issue 7's reading of the paper",
            "ms / mini-batch, both on one machine",
            verdicts,
        )

    def stable(self) -> Claim:
        """Who captures all modes in every run; others must fail somewhere for it to be a claim."""
        return Claim(
            "These algorithms perform well in learning all the distributions",
            "section 6",
            "all modes captured by the last iterate of every seed",
            [_learned(stage, a) for stage in self.stages for a in _OURS],
        )


def _value(stage: Stage, cells: Mapping[str, Mapping[str, Any]], name: str, key: str) -> Any:
    """The cell of an algorithm, which says if all its runs diverged."""
    runs = stage.runs(name)
    if runs and not stage.done(name):
        return {**NO_VALUE, "diverged": len(runs)}
    return cells[name][key] if name in cells else NO_VALUE


def _judge(stage: Stage, a: str, b: str, one: Any, two: Any, metric: Metric, reading) -> Verdict:
    sides = " against ".join(
        f"{ALGORITHMS[n].title} {_words(c, metric)}" for n, c in ((a, one), (b, two))
    )
    fails = [c.get("diverged") or c.get("never") for c in (one, two)]
    if fails[0] and (fails[1] or two["count"]):
        outcome = "undecided" if fails[1] else ("opposite" if two["count"] > 1 else "against")
    elif fails[1] and one["count"]:
        outcome = "held" if one["count"] > 1 else "leans"
    else:
        outcome = reading(*compare(one, two, metric))
    return Verdict(stage.dataset, sides, outcome)


def _words(cell: Any, metric: Metric) -> str:
    if cell.get("diverged"):
        return "(diverged)"
    if cell.get("never"):
        return "(not in every run)"
    return show(cell, metric)


def _outcome(verdict: str, gain: float, equal: str = "undecided") -> str:
    if verdict == "one seed":
        return "leans" if gain > 0 else "against"
    known = {"better": "held", "worse": "opposite", "within the spread": equal}
    return known.get(verdict, verdict)


def _not_worse(verdict: str, gain: float) -> str:
    even = verdict == "one seed" and gain == 0
    return "leans" if even else _outcome(verdict, gain, "held")


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
