"""Statistics of the study: tables with spreads, times, and which claims of the paper held.

Everything is computed from the records; no verdict is written by hand. Free of TensorFlow.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from trainers.campaigns.study.protocol import ALGORITHMS, Protocol, Records, Run, with_step
from trainers.campaigns.study.records import DIVERGED, DONE, machine, select
from trainers.compare import aggregate

__all__ = [
    "METRICS",
    "Cell",
    "Claim",
    "Metric",
    "Table",
    "Verdict",
    "ceiling",
    "claims",
    "clear_best",
    "compare",
    "main_machine",
    "quality_table",
    "speed_table",
]

# So many combined standard errors apart, a difference is outside the spread.
SPREAD = 2.0

Cell = Mapping[str, float]  # mean, standard_error (NaN for one), count


class Metric(NamedTuple):
    """A column.

    Attributes:
      title: the heading.
      digits: after the point.
      distance: of a mean from the best possible value, the smaller the better.
      wish: how to read it.
    """

    title: str
    digits: int
    distance: Callable[[float], float]
    wish: str


def _low(value: float) -> float:
    return value


def _high(value: float) -> float:
    return -value


def _near_one(value: float) -> float:
    return abs(value - 1.0)


METRICS = {
    "modes_captured": Metric("modes", 1, _high, "higher"),
    "high_quality_3sigma": Metric("HQ 3 sigma", 3, _high, "higher"),
    "std_ratio": Metric("std ratio", 3, _near_one, "near 1"),
    "mean_bias_sigma": Metric("bias / sigma", 3, _low, "lower"),
    "reverse_kl": Metric("reverse KL", 4, _low, "lower"),
    "wasserstein2": Metric("W2", 4, _low, "lower"),
}


def compare(a: Cell, b: Cell, metric: Metric) -> tuple[str, float]:
    """Whether a is better than b: (verdict, how much smaller a's distance is).

    The verdict is "better" or "worse" if the difference is more than `SPREAD` combined standard
    errors, else "within the spread"; "one seed" if either has no spread; "no data".
    """
    if not a["count"] or not b["count"]:
        return "no data", math.nan
    gain = metric.distance(b["mean"]) - metric.distance(a["mean"])
    if min(a["count"], b["count"]) < 2:
        return "one seed", gain
    spread = SPREAD * math.hypot(a["standard_error"], b["standard_error"])
    if abs(gain) <= spread:
        return "within the spread", gain
    return ("better" if gain > 0 else "worse"), gain


def clear_best(cells: Mapping[str, Cell], metric: Metric, seeds: int) -> str | None:
    """The name that is better than the second best outside the spread; None if none is.

    Args:
      cells: by name. Those of fewer than `seeds` seeds (missing or diverged) do not win, and those
        without any are left out.
      metric: the column.
      seeds: of the protocol; with one there is no spread, and no best.
    """
    known = {n: c for n, c in cells.items() if c["count"]}
    order = sorted(known, key=lambda n: metric.distance(known[n]["mean"]))
    if len(order) < 2 or seeds < 2 or known[order[0]]["count"] < seeds:
        return None
    verdict, _ = compare(known[order[0]], known[order[1]], metric)
    return order[0] if verdict == "better" else None


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


def ceiling(records: Records, dataset: str) -> Mapping[str, Any]:
    """The scorecard of fresh real samples; {} if no run of the data set is done."""
    cards = [r["real_data_ceiling"] for r in select(records.values(), dataset=dataset)]
    return next((c for c in cards if c), {})


def summaries(
    records: Records, protocol: Protocol, dataset: str, stage: str, answer: str
) -> dict[str, dict[str, Any]]:
    """Algorithm -> metric -> cell over seeds; algorithms without any record are left out."""
    found = {}
    for name in protocol.algorithms:
        runs = current(records, protocol, dataset, stage, name)
        cards = [r["scorecards"][answer] for r in runs if r["status"] == DONE]
        if runs:
            found[name] = aggregate(cards, METRICS)
    return found


def current(
    records: Records, protocol: Protocol, dataset: str, stage: str, algorithm: str
) -> list[Mapping[str, Any]]:
    """The records of this protocol as it is now, in the order of the seeds.

    Records of step sizes that the sweep no longer chooses are not among them.
    """
    wanted = [
        Run(protocol.name, dataset, stage, algorithm, s, None) for s in protocol.seeds_of(stage)
    ]
    runs = [r for r in (with_step(w, protocol, records) for w in wanted) if r is not None]
    return [records[r.key] for r in runs if r.key in records]


def quality_table(
    records: Records, protocol: Protocol, dataset: str, stage: str, answer: str
) -> Table | None:
    """Mean ± s.e. over seeds of one answer; None without any run."""
    cells = summaries(records, protocol, dataset, stage, answer)
    if not cells:
        return None
    seeds = len(protocol.seeds_of(stage))
    best = {
        k: clear_best({n: row[k] for n, row in cells.items()}, m, seeds) for k, m in METRICS.items()
    }
    rows = []
    for name, row in cells.items():
        runs = current(records, protocol, dataset, stage, name)
        done = len(select(runs, status=DONE))
        texts = [_bold(_cell(row[k], m, done), best[k] == name) for k, m in METRICS.items()]
        step = f"{runs[0]['step_size']:g}"
        rows.append([ALGORITHMS[name].title, step, _seeds(runs, seeds), *texts])
    real = ceiling(records, dataset)
    texts = [f"{real[k]:.{m.digits}f}" if real.get(k) is not None else "-" for k, m in _items()]
    rows.append(["real data", "", "", *texts])
    head = ["algorithm", "step size", "seeds", *(f"{m.title} ({m.wish})" for _, m in _items())]
    return Table(f"{answer}", head, rows)


def _items():
    return METRICS.items()


def _seeds(runs: Sequence[Mapping[str, Any]], wanted: int) -> str:
    lost = select(runs, status=DIVERGED)
    text = str(wanted) if len(runs) == wanted else f"{len(runs)} of {wanted}"
    return f"{text}, {len(lost)} diverged" if lost else text


def _cell(cell: Cell, metric: Metric, of: int = 0) -> str:
    if not cell["count"]:
        return "-"
    text = f"{cell['mean']:.{metric.digits}f}"
    if not math.isnan(cell["standard_error"]):
        text += f" ± {cell['standard_error']:.{metric.digits}f}"
    # A run that captures no mode has no std ratio and no bias.
    return f"{text} ({cell['count']} of {of})" if cell["count"] < of else text


def _bold(text: str, bold: bool) -> str:
    return f"**{text}**" if bold else text


# Times.


def main_machine(records: Records, protocol: Protocol, dataset: str, stage: str) -> str | None:
    """The machine with most timed runs of a stage; times are of this one alone."""
    runs = [
        machine(r)
        for name in protocol.algorithms
        for r in current(records, protocol, dataset, stage, name)
        if r["status"] == DONE and r["seconds"] is not None and len(r["hardware"]) == 1
    ]
    return statistics.mode(runs) if runs else None


def timed(
    records: Records, protocol: Protocol, dataset: str, stage: str, algorithm: str
) -> list[Mapping[str, Any]]:
    """The finished runs on the stage's main machine."""
    where = main_machine(records, protocol, dataset, stage)
    runs = current(records, protocol, dataset, stage, algorithm)
    return [r for r in select(runs, status=DONE) if r["seconds"] and machine(r) == where]


def target(records: Records, protocol: Protocol, dataset: str, stage: str) -> float | None:
    """The quality that times are compared at: the W2 at which Adam's last iterate ends.

    That of its worst seed, so that Adam itself gets there with every one.
    """
    curves = [_curve(r, "last") for r in current(records, protocol, dataset, stage, "adam")]
    ends = [c[-1] for c in curves if c and c[-1] is not None]
    return max(ends) if ends else None


def first_reached(record: Mapping[str, Any], goal: float, axis: str) -> float | None:
    """The first `step` or `seconds` at which the last iterate's W2 is at most `goal`."""
    values = _curve(record, "last")
    points = zip(record["curve"][axis], values, strict=True)
    return next((x for x, v in points if v is not None and v <= goal), None)


def _curve(record: Mapping[str, Any], answer: str) -> list[float | None]:
    return record["curve"]["scores"].get(answer, {}).get("wasserstein2", [])


def _reached(runs: Sequence[Mapping[str, Any]], goal: float, axis: str) -> Cell:
    """Over the runs, if all of them got there; else no value."""
    found = [first_reached(r, goal, axis) for r in runs]
    if not found or any(x is None for x in found):
        found = []
    return aggregate([{"x": x} for x in found], ["x"])["x"]


_STEPS = Metric("mini-batches to Adam's W2", 0, _low, "lower")
_SECONDS = Metric("seconds to Adam's W2", 1, _low, "lower")
_COST = Metric("ms / mini-batch", 2, _low, "lower")


def _cost(runs: Sequence[Mapping[str, Any]]) -> Cell:
    costs = [{"x": 1e3 * r["seconds"] / r["num_batches"]} for r in runs]
    return aggregate(costs, ["x"])["x"]


def speed_table(records: Records, protocol: Protocol, dataset: str, stage: str) -> Table | None:
    """What a mini-batch costs and when the quality of Adam's end is reached; None without runs."""
    facts = (records, protocol, dataset, stage)
    goal, where = target(*facts), main_machine(*facts)
    rows = []
    for name in protocol.algorithms:
        done, on_one = select(current(*facts, name), status=DONE), timed(*facts, name)
        if not done:
            continue
        cells = [_cell(_cost(on_one), _COST)]
        if goal is None:
            cells += ["-", "-"]
        else:
            cells.append(_arrival(done, goal, "step", _STEPS))
            cells.append(_arrival(on_one, goal, "seconds", _SECONDS))
        rows.append([ALGORITHMS[name].title, *cells])
    if not rows:
        return None
    note = f"Times are of {where}. " if where else "No times. "
    if goal is not None:
        note += f"Adam's last iterate ends at W2 = {goal:.4f} (its worst seed). "
    commits = {c for n in protocol.algorithms for r in timed(*facts, n) for c in r["commits"]}
    if len(commits) > 1:
        note += f"The code is of {len(commits)} commits, which may differ in speed."
    head = ["algorithm", *(m.title for m in (_COST, _STEPS, _SECONDS))]
    return Table("Cost and speed", head, rows, note.strip())


def _arrival(runs: Sequence[Mapping[str, Any]], goal: float, axis: str, metric: Metric) -> str:
    cell = _reached(runs, goal, axis)
    if cell["count"] or not runs:
        return _cell(cell, metric)
    count = sum(first_reached(r, goal, axis) is not None for r in runs)
    return f"reached by {count} of {len(runs)}"


# Claims.


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


def claims(records: Records, protocol: Protocol, stage: str = "final") -> list[Claim]:
    """The paper's claims about data in the plane, against the runs of a stage."""
    ask = _Questions(records, protocol, stage)
    found = [
        ask.better(
            "SGD performs poorly, the other algorithms yield reasonable results",
            "section 5.1",
            [(a, "sgd") for a in protocol.algorithms if a != "sgd"],
            "wasserstein2",
            "last",
        )
    ]
    ours = [(a, b) for a in _OURS for b in _ADAMS]
    for answer in ("last", "mixture"):
        found += [
            ask.better(
                "Mirror- and Mirror-Prox-GAN find the modes more accurately than Adam, Optimistic "
                "Adam and Extra-Adam, which are perceptibly biased",
                "section 5.1",
                ours,
                "mean_bias_sigma",
                answer,
            ),
            ask.better(
                "Mirror- and Mirror-Prox-GAN capture the variance much better; Adam-based "
                "algorithms collapse to the modes",
                "section 5.1",
                ours,
                "std_ratio",
                answer,
            ),
            ask.comparable(
                "Mirror- and Mirror-Prox-GAN consistently achieve better or comparable performance",
                "section 5",
                [(a, b) for a in _OURS for b in ("sgd", *_ADAMS)],
                "wasserstein2",
                answer,
            ),
        ]
    return [*found, ask.sooner("step"), ask.sooner("seconds"), ask.cost(), ask.stable()]


class _Questions:
    """Asks the runs of a stage, data set by data set."""

    def __init__(self, records: Records, protocol: Protocol, stage: str):
        self.records, self.protocol, self.stage = records, protocol, stage
        self.datasets = protocol.sets_of(stage)

    def better(self, text, source, pairs, key, answer, reading=None):
        """Whether the first of each pair is better than the second."""
        metric = METRICS[key]
        verdicts = []
        for data in self.datasets:
            cells = summaries(self.records, self.protocol, data, self.stage, answer)
            for a, b in pairs:
                one, two = (self._cell(cells, n, key, data) for n in (a, b))
                verdicts.append(_judge(data, a, b, one, two, metric, reading or _outcome))
        return Claim(text, source, f"{metric.title}, {answer}", verdicts)

    def comparable(self, text, source, pairs, key, answer):
        """Whether the first of each pair is not worse than the second."""
        claim = self.better(text, source, pairs, key, answer, _not_worse)
        return claim._replace(measure=f"{claim.measure}; comparable is within the spread")

    def _cell(self, cells, name: str, key: str, data: str) -> Cell:
        if name not in cells:
            return _NOTHING
        runs = current(self.records, self.protocol, data, self.stage, name)
        if runs and all(r["status"] == DIVERGED for r in runs):
            return {**_NOTHING, "diverged": len(runs)}
        return cells[name][key]

    def sooner(self, axis: str) -> Claim:
        """Whether Mirror reaches the quality of Adam's end before Adam does."""
        verdicts = []
        metric = _STEPS if axis == "step" else _SECONDS
        for data in self.datasets:
            facts = (self.records, self.protocol, data, self.stage)
            goal = target(*facts)
            cells = {}
            for name in (*_OURS, "adam"):
                done = select(current(*facts, name), status=DONE)
                runs = done if axis == "step" else timed(*facts, name)
                cells[name] = _NOTHING if goal is None else _reached(runs, goal, axis)
                if runs and goal is not None and not cells[name]["count"]:
                    cells[name] = {**_NOTHING, "never": len(runs)}
            verdicts += [
                _judge(data, a, "adam", cells[a], cells["adam"], metric, _outcome) for a in _OURS
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
        for data in self.datasets:
            facts = (self.records, self.protocol, data, self.stage)
            one, two = (_cost(timed(*facts, n)) for n in ("mirror_gan", "sgd"))
            verdicts.append(_judge(data, "mirror_gan", "sgd", one, two, _COST, _not_worse))
        return Claim(
            "Mirror-GAN costs no more than SGD per iteration",
            "issue 7's reading of the paper",
            "ms / mini-batch, both on one machine",
            verdicts,
        )

    def stable(self) -> Claim:
        """Who captures all modes in every run; others must fail somewhere for it to be a claim."""
        verdicts = []
        for data in self.datasets:
            for a in _OURS:
                runs = current(self.records, self.protocol, data, self.stage, a)
                need = len(self.protocol.seeds_of(self.stage))
                verdicts.append(_learned(data, a, runs, need))
        return Claim(
            "These algorithms perform well in learning all the distributions",
            "section 6",
            "all modes captured by the last iterate of every seed",
            verdicts,
        )


_NOTHING: Any = {"mean": math.nan, "standard_error": math.nan, "count": 0}


def _judge(data, a: str, b: str, one: Any, two: Any, metric: Metric, reading) -> Verdict:
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
    return Verdict(data, sides, outcome)


def _words(cell: Any, metric: Metric) -> str:
    if cell.get("diverged"):
        return "(diverged)"
    if cell.get("never"):
        return "(not in every run)"
    return _cell(cell, metric)


def _outcome(verdict: str, gain: float) -> str:
    known = {"better": "held", "worse": "opposite", "within the spread": "undecided"}
    if verdict == "one seed":
        return "leans" if gain > 0 else "against"
    return known.get(verdict, verdict)


def _not_worse(verdict: str, gain: float) -> str:
    if verdict == "one seed":
        return "leans" if gain >= 0 else "against"
    known = {"better": "held", "within the spread": "held", "worse": "opposite"}
    return known.get(verdict, verdict)


def _learned(data: str, name: str, runs: Sequence[Mapping[str, Any]], need: int) -> Verdict:
    cards = [r["scorecards"].get("last", {}) for r in runs]
    good = sum(bool(c) and c["modes_captured"] == c["num_modes"] for c in cards)
    text = f"{ALGORITHMS[name].title}: all modes in {good} of {len(runs)} runs"
    if len(runs) < need:
        return Verdict(data, text, "no data")
    if need < 2:
        return Verdict(data, text, "leans" if good == need else "against")
    return Verdict(data, text, "held" if good == len(runs) else "opposite")
