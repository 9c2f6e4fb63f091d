"""Statistics of the study: tables with spreads, and times.

Everything is computed from the records; no verdict is written by hand. Free of TensorFlow.
"""

from __future__ import annotations

import math
import operator
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from trainers.campaigns.cells import Cell, aggregate, over, text
from trainers.campaigns.evidence import Values, from_best, judged, weigh
from trainers.campaigns.study.protocol import (
    ALGORITHMS,
    PROTOCOLS,
    Planned,
    Protocol,
    Records,
    with_step,
)
from trainers.campaigns.study.records import DIVERGED, DONE, machine, select

__all__ = [
    "COST",
    "METRICS",
    "SECONDS",
    "STEPS",
    "Metric",
    "Stage",
    "Table",
    "clear_best",
    "cost",
    "costs",
    "first_reached",
    "quality_table",
    "reached",
    "show",
    "speed_table",
    "steps_to",
    "values_of",
]


class Metric(NamedTuple):
    """A column.

    Attributes:
      title: the heading.
      digits: after the point.
      distance: of a mean from the best possible value, the smaller the better.
      wish: how to read it.
      margin: a distance so much larger is not worse; of times a fraction of the other's mean.
    """

    title: str
    digits: int
    distance: Callable[[float], float]
    wish: str
    margin: float


_low, _high = operator.pos, operator.neg


def _near_one(value: float) -> float:
    return abs(value - 1.0)


# Margins are those of docs/results/protocol_study.md, twice the standard deviation of real data's
# own numbers or so. Records of before the judge lack the numbers of its scorecard.
METRICS = {
    "modes_captured": Metric("modes", 1, _high, "higher", 0.0),
    "high_quality_3sigma": Metric("HQ 3 sigma", 3, _high, "higher", 0.01),
    "std_ratio": Metric("std ratio", 3, _near_one, "near 1", 0.05),
    "mean_bias_sigma": Metric("bias / sigma", 3, _low, "lower", 0.05),
    "reverse_kl": Metric("reverse KL", 4, _low, "lower", 0.005),
    "law_distance": Metric("law distance", 4, _low, "lower", 0.01),
    "mode_kl": Metric("mode KL", 4, _low, "lower", 0.005),
    "principal_std_log": Metric("log principal std", 3, _low, "lower", 0.05),
    "radius_ks": Metric("radius KS", 3, _low, "lower", 0.02),
    "bridge_mass": Metric("bridges", 4, _low, "lower", 0.01),
    "wasserstein2": Metric("W2", 4, _low, "lower", 0.03),
}


def clear_best(sides: Mapping[str, Values], metric: Metric, seeds: int) -> str | None:
    """The name that is better than every other, by `evidence`, Holm's correction and all.

    Args:
      sides: name -> seed -> value. Those of fewer than `seeds` seeds, or with one that diverged, do
        not win, and those without any are left out.
      metric: the column.
      seeds: of the protocol; with one there is no spread, and no best.
    """
    known = {n: v for n, v in sides.items() if v}
    if len(known) < 2 or seeds < 2:
        return None

    def mean(name: str) -> float:
        return statistics.fmean(from_best(x, metric.distance) for x in known[name].values())

    first = min(known, key=mean)
    if len(known[first]) < seeds or math.isinf(mean(first)):
        return None
    others = [weigh(known[first], v, metric.distance) for n, v in known.items() if n != first]
    # One that has a seed alone was never beaten; who lost the others is no rival.
    judgement = [e.outcome for e in judged(others) if e.outcome != "one seed"]
    return first if judgement and set(judgement) == {"better"} else None


def values_of(runs: Sequence[Mapping[str, Any]], answer: str, key: str) -> dict[int, float]:
    """seed -> a number of an answer, of the runs that have it; inf of those that diverged.

    A run that captures no mode has no std ratio and no bias: that is as bad as any can be, too.
    """
    found = {r["seed"]: r["scorecards"].get(answer, {}).get(key) for r in runs}
    lost = {r["seed"] for r in select(runs, status=DIVERGED)}
    lost |= {s for s, v in found.items() if v is not None and math.isnan(v)}
    return {s: math.inf if s in lost else v for s, v in found.items() if s in lost or v is not None}


class Table(NamedTuple):
    """A table of texts.

    Attributes:
      title: above it.
      head: the headings.
      rows: cells; "**text**" is bold.
      note: below it.
    """

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""

    def markdown(self) -> str:
        """For GitHub."""
        rows = [self.head, ["---"] * len(self.head), *self.rows]
        lines = ["| " + " | ".join(c.replace("|", "\\|") for c in row) + " |" for row in rows]
        note = [f"\n{self.note}"] if self.note else []
        return "\n".join([f"**{self.title}**\n", *lines, *note])


class Stage:
    """What the records hold of one stage of a data set.

    Args:
      records: by key; of step sizes that the sweep no longer chooses, too.
      protocol: as it is now.
      dataset: its data set.
      name: one of STAGES.
    """

    def __init__(self, records: Records, protocol: Protocol, dataset: str, name: str):
        self.records, self.protocol = records, protocol
        self.dataset, self.name = dataset, name

    @property
    def seeds(self) -> tuple[int, ...]:
        """Of its runs."""
        return self.protocol.seeds_of(self.name)

    def runs(self, algorithm: str) -> list[Mapping[str, Any]]:
        """The records of this protocol as it is now, in the order of the seeds."""
        facts = (self.protocol.name, self.dataset, self.name, algorithm)
        wanted = (Planned(*facts, seed, None) for seed in self.seeds)
        known = (with_step(run, self.protocol, self.records) for run in wanted)
        return [self.records[r.key] for r in known if r is not None and r.key in self.records]

    def done(self, algorithm: str) -> list[Mapping[str, Any]]:
        """Those of its runs that did not diverge."""
        return select(self.runs(algorithm), status=DONE)

    @property
    def real(self) -> Mapping[str, Any]:
        """The scorecard of fresh real samples; {} if no run is done."""
        mine = select(self.records.values(), dataset=self.dataset, stage=self.name)
        return next((r["real_data_ceiling"] for r in mine if r["real_data_ceiling"]), {})

    def summaries(self, answer: str) -> dict[str, dict[str, Any]]:
        """Algorithm -> metric -> cell over seeds; algorithms without any record are left out."""
        return {
            name: aggregate([r["scorecards"][answer] for r in self.done(name)], METRICS)
            for name in self.protocol.algorithms
            if self.runs(name)
        }

    @property
    def main_machine(self) -> str | None:
        """The machine with most timed runs; times are of this one alone."""
        runs = [
            machine(r)
            for name in self.protocol.algorithms
            for r in self.done(name)
            if r["seconds"] is not None and len(r["hardware"]) == 1
        ]
        return statistics.mode(runs) if runs else None

    def timed(self, algorithm: str) -> list[Mapping[str, Any]]:
        """The finished runs on the main machine."""
        where = self.main_machine
        return [r for r in self.done(algorithm) if r["seconds"] and machine(r) == where]

    @property
    def target(self) -> float | None:
        """The quality that times are compared at: the objective at which Adam's last iterate ends.

        That of its worst seed, so that Adam itself gets there with every one.
        """
        curves = [_curve(r, "last") for r in self.runs("adam")]
        ends = [c[-1] for c in curves if c and c[-1] is not None]
        return max(ends) if ends else None


def quality_table(stage: Stage, answer: str) -> Table | None:
    """Mean ± s.e. over seeds of one answer; None without any run."""
    cells = stage.summaries(answer)
    if not cells:
        return None
    seeds = len(stage.seeds)
    metrics = {
        k: m
        for k, m in METRICS.items()
        if any(row[k]["count"] for row in cells.values()) or k in stage.real
    } or METRICS
    best = {
        k: clear_best({n: values_of(stage.runs(n), answer, k) for n in cells}, m, seeds)
        for k, m in metrics.items()
    }
    rows = []
    for name, row in cells.items():
        runs, done = stage.runs(name), len(stage.done(name))
        texts = [show(row[k], m, done) for k, m in metrics.items()]
        texts = [f"**{t}**" if best[k] == name else t for k, t in zip(metrics, texts, strict=True)]
        step = f"{runs[0]['step_size']:.3g}"
        rows.append([ALGORITHMS[name].title, step, _seeds(runs, seeds), *texts])
    texts = [show(over([stage.real.get(k)]), m) for k, m in metrics.items()]
    rows.append(["real data", "", "", *texts])
    head = ["algorithm", "step size", "seeds", *(f"{m.title} ({m.wish})" for m in metrics.values())]
    return Table(answer, head, rows)


def _seeds(runs: Sequence[Mapping[str, Any]], wanted: int) -> str:
    lost = select(runs, status=DIVERGED)
    text = str(wanted) if len(runs) == wanted else f"{len(runs)} of {wanted}"
    return f"{text}, {len(lost)} diverged" if lost else text


def show(cell: Cell, metric: Metric, of: int = 0) -> str:
    """The cell as text, with its count if it is less than `of`."""
    # A run that captures no mode has no std ratio and no bias.
    count = f" ({cell['count']} of {of})" if 0 < cell["count"] < of else ""
    return text(cell, metric.digits) + count


# Times.


def first_reached(record: Mapping[str, Any], goal: float, axis: str) -> float | None:
    """The first `step` or `seconds` at which the last iterate's objective is at most `goal`."""
    values = _curve(record, "last")
    points = zip(record["curve"][axis], values, strict=True)
    return next((x for x, v in points if v is not None and v <= goal), None)


def _curve(record: Mapping[str, Any], answer: str) -> list[float | None]:
    key = PROTOCOLS[record["protocol"]].objective
    return record["curve"]["scores"].get(answer, {}).get(key, [])


def steps_to(runs: Sequence[Mapping[str, Any]], goal: float, axis: str) -> dict[int, float]:
    """seed -> `first_reached`, if all of the runs got there; else {}."""
    found = {r["seed"]: first_reached(r, goal, axis) for r in runs}
    return {} if None in found.values() else {s: v for s, v in found.items() if v is not None}


def reached(runs: Sequence[Mapping[str, Any]], goal: float, axis: str) -> Cell:
    """Over the runs, if all of them got there; else no value."""
    return over(steps_to(runs, goal, axis).values())


STEPS = Metric("mini-batches to Adam's end", 0, _low, "lower", 0.05)
SECONDS = Metric("seconds to Adam's end", 1, _low, "lower", 0.05)
COST = Metric("ms / mini-batch", 2, _low, "lower", 0.05)


def costs(runs: Sequence[Mapping[str, Any]]) -> dict[int, float]:
    """seed -> milliseconds a mini-batch."""
    return {r["seed"]: 1e3 * r["seconds"] / r["num_batches"] for r in runs}


def cost(runs: Sequence[Mapping[str, Any]]) -> Cell:
    """Milliseconds a mini-batch."""
    return over(costs(runs).values())


def speed_table(stage: Stage) -> Table | None:
    """What a mini-batch costs and when the quality of Adam's end is reached; None without runs."""
    goal, where = stage.target, stage.main_machine
    rows = []
    for name in stage.protocol.algorithms:
        done, on_one = stage.done(name), stage.timed(name)
        if not done:
            continue
        steps = _arrival(done, goal, "step", STEPS)
        seconds = _arrival(on_one, goal, "seconds", SECONDS)
        rows.append([ALGORITHMS[name].title, show(cost(on_one), COST), steps, seconds])
    if not rows:
        return None
    note = f"Times are of {where}. " if where else "No times. "
    if goal is not None:
        title = METRICS[stage.protocol.objective].title
        note += f"Adam's last iterate ends at {title} = {goal:.4f} (its worst seed). "
    commits = {c for n in stage.protocol.algorithms for r in stage.timed(n) for c in r["commits"]}
    if len(commits) > 1:
        note += f"The code is of {len(commits)} commits, which may differ in speed."
    head = ["algorithm", *(m.title for m in (COST, STEPS, SECONDS))]
    return Table("Cost and speed", head, rows, note.strip())


def _arrival(runs: Sequence[Mapping[str, Any]], goal: float | None, axis: str, metric: Metric):
    if goal is None:
        return "-"
    cell = reached(runs, goal, axis)
    if cell["count"] or not runs:
        return show(cell, metric)
    count = sum(first_reached(r, goal, axis) is not None for r in runs)
    return f"reached by {count} of {len(runs)}"
