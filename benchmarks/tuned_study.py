"""Tuned defaults from the study's sweeps, and what they are better than. docs/results/tuned.md.

    python -m benchmarks.tuned_study --choose            # the trial of each algorithm
    python -m benchmarks.tuned_study --together=5 [--stages=gaussians8,...] [--budget=MIN]
    python -m benchmarks.tuned_study --stages=wide --seeds=0
    python -m benchmarks.tuned_study --render

The rule was written before the sweeps it is about (docs/results/protocol_study.md, "Tuned
defaults"): the trial with the least mean regret over the three data sets, checked against the
former defaults with seeds that the sweeps never saw. How it runs: benchmarks/studies.py.
"""

from __future__ import annotations

import math
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from absl import flags

from benchmarks import studies
from benchmarks.former import FORMER
from benchmarks.studies import Setting, Study
from trainers.campaigns import evidence
from trainers.campaigns.study.candidates import Candidate
from trainers.campaigns.study.protocol import (
    ALGORITHMS,
    LATER,
    PROTOCOLS,
    Records,
    choose,
)
from trainers.system import cli

__all__ = ["DATASETS", "RECORDS", "Chosen", "Verdict", "chosen", "items_of", "study"]
__all__ += ["tables", "verdicts"]

_PROTOCOL = PROTOCOLS["narrow"]
DATASETS = _PROTOCOL.datasets
RECORDS = Path("docs/results/tuned.json")
_SIZES = {"num_batches": _PROTOCOL.batches, "batch_size": _PROTOCOL.batch_size}
_COLUMNS = studies.columns(
    "law_distance", "high_quality_3sigma", "std_ratio", "principal_std_log", "modes_captured"
)


class Chosen(NamedTuple):
    """The trial of an algorithm that is best over the data sets.

    Attributes:
      candidate: its hyperparameters; those that it does not name are the study's.
      regrets: by data set, log(its law distance / the least of the algorithm's trials).
    """

    candidate: Candidate
    regrets: Mapping[str, float]


def chosen(records: Records) -> dict[str, Chosen]:
    """By algorithm, of those whose sweeps are whole on all data sets.

    Args:
      records: of the study, by key.
    """
    found = {}
    for name in ALGORITHMS:
        values = [_values(records, data, name) for data in DATASETS]
        if any(v is None for v in values):
            continue
        regrets = {
            candidate: {
                data: math.log(each[candidate] / min(each.values()))
                for data, each in zip(DATASETS, values, strict=True)
                if each is not None
            }
            for candidate in _PROTOCOL.candidates(name)
        }
        best = min(regrets, key=lambda c: math.fsum(regrets[c].values()))
        found[name] = Chosen(best, regrets[best])
    return found


def _values(records: Records, data: str, name: str) -> dict[Candidate, float] | None:
    """The law distance of each trial, a mean over its seeds; None while the sweep is not whole."""
    choice = choose(_PROTOCOL, data, name, records)
    return None if choice is None else {t.candidate: t.value for t in choice.trials}


def items_of(name: str, own: Mapping[str, Any], sizes: Mapping[str, Any]) -> tuple[str, ...]:
    """What a run has, in full: nothing of it follows configs/tuned.py.

    Args:
      name: of the algorithm.
      own: the hyperparameters that were chosen.
      sizes: num_batches, batch_size, and networks if others than the study's.
    """
    pinned = {**_PROTOCOL.settings, **ALGORITHMS[name].settings, **LATER, **own, **sizes}
    items = {"algorithm": name, **pinned, "compile": "whole"}
    return tuple(f"{key}={value}".replace(" ", "") for key, value in items.items())


def study(found: Mapping[str, Chosen]) -> Study:
    """Former and new defaults of these algorithms on each data set; wide: with 3 x 512 units.

    Args:
      found: of `chosen`.
    """

    def pairs(stage: str, data: str, sizes: Mapping[str, Any] = _SIZES) -> list[Setting]:
        return [
            Setting(
                f"{stage}_{name}_{which}",
                f"{ALGORITHMS[name].title}, {which}",
                f"configs/{data}_mp.py:pure",
                items_of(name, own, sizes),
            )
            for name in found
            for which, own in (("former", FORMER[name]), ("new", found[name].candidate.settings))
        ]

    stages: dict[str, Sequence[Setting]] = {data: pairs(data, data) for data in DATASETS}
    stages["wide"] = pairs("wide", "gaussians8", {**_SIZES, "model.hidden_units": (512, 512, 512)})
    return Study(stages, RECORDS, dict.fromkeys(stages, _COLUMNS), "algorithm, defaults")


class Verdict(NamedTuple):
    """Whether a new default replaces the former.

    Attributes:
      takes: whether it does.
      wide: whether it keeps with networks of 3 x 512 the modes that the former has there; None
        before the former's run.
      gain: how much smaller its mean log law distance is, over the data sets.
      each: by data set, the evidence of the log law distances.
    """

    takes: bool
    wide: bool | None
    gain: float
    each: Mapping[str, evidence.Evidence]


def verdicts(runs: Mapping[str, Mapping[str, Any]]) -> dict[str, Verdict]:
    """By algorithm, of those with runs of both defaults on every data set.

    A new one is taken where no data set decides against it, its mean is less, and it loses no mode
    with networks of 3 x 512: paired t tests of log law distance, Holm's correction over the data
    sets. A run's is that of its best answer, as in the sweep; infinite where one of the two has a
    seed and the other diverged, and then ranks decide.

    Args:
      runs: setting's name -> seed -> its record.
    """
    found = {}
    for name in ALGORITHMS:
        sides = {
            data: _logs(*(runs.get(f"{data}_{name}_{which}", {}) for which in ("new", "former")))
            for data in DATASETS
        }
        if not all(new and former for new, former in sides.values()):
            continue
        family = [evidence.weigh(new, former, float) for new, former in sides.values()]
        each = dict(zip(sides, evidence.judged(family), strict=True))
        means = [
            statistics.fmean(f.values()) - statistics.fmean(n.values()) for n, f in sides.values()
        ]
        gain = statistics.fmean(means)
        wide = _keeps(*(runs.get(f"wide_{name}_{which}", {}) for which in ("new", "former")))
        takes = bool(wide) and gain > 0.0 and all(e.outcome != "worse" for e in each.values())
        found[name] = Verdict(takes, wide, gain, each)
    return found


def _keeps(new: Mapping[str, Any], former: Mapping[str, Any]) -> bool | None:
    """Whether the new one's mixtures miss no mode that the former's have; not if it diverged."""

    def modes(one: Mapping[str, Any]) -> float:
        return one["answers"]["mixture"]["modes_captured"]

    if not former:
        return None
    return all(seed in new and modes(new[seed]) >= modes(one) for seed, one in former.items())


def _logs(*sides: Mapping[str, Any]) -> list[dict[int, float]]:
    """The logarithm of the law distance of each run's best answer, of the seeds of either side."""
    seeds = sorted({int(seed) for side in sides for seed in side})
    return [
        {
            seed: math.log(studies.least(side[str(seed)], "law_distance"))
            if str(seed) in side
            else math.inf
            for seed in seeds
        }
        for side in sides
    ]


def tables(runs: Mapping[str, Mapping[str, Any]]) -> str:
    """Markdown: what was chosen, and the verdicts."""
    found, judged = chosen(studies.paper_study()), verdicts(runs)
    check = [s.name for data in DATASETS for s in study(found).stages[data]]
    done = sum(len(runs.get(name, {})) for name in check)
    rows = [
        [ALGORITHMS[n].title, str(c.candidate), *(f"{c.regrets[d]:.2f}" for d in DATASETS)]
        for n, c in found.items()
    ]
    head = ["algorithm", "step size and what else differs", *(f"regret, {d}" for d in DATASETS)]
    text = studies.markdown(head, rows)
    text += f"\n\nOf the check {done} of {len(_PROTOCOL.seeds) * len(check)} runs are done."
    if judged:
        rows = [
            [
                ALGORITHMS[n].title,
                "new" if v.takes else "former",
                f"{v.gain:+.2f}",
                {None: "not run", True: "keeps the modes", False: "loses modes"}[v.wide],
                *(f"{e.outcome}, {evidence.gains(e, 2)}" for e in v.each.values()),
            ]
            for n, v in judged.items()
        ]
        head = ["algorithm", "default", "mean gain", "3 x 512", *DATASETS]
        text += f"\n\n{studies.markdown(head, rows)}"
        pairs = {
            n: [f"{_mean(runs, n, d, 'former')}, {_mean(runs, n, d, 'new')}" for d in DATASETS]
            for n in judged
        }
        rows = [[ALGORITHMS[n].title, *pair] for n, pair in pairs.items()]
        head = ["law distance, former and new", *DATASETS]
        text += f"\n\n{studies.markdown(head, rows)}"
    return text


def _mean(runs: Mapping[str, Mapping[str, Any]], name: str, data: str, which: str) -> str:
    """Of the best answers of the seeds that did not diverge."""
    done = runs[f"{data}_{name}_{which}"].values()
    return f"{statistics.fmean(studies.least(one, 'law_distance') for one in done):.3f}"


def main() -> int:
    """The command."""
    found = chosen(studies.paper_study())
    if flags.FLAGS.choose:
        print(tables({}))
        return cli.DONE
    return studies.command(study(found)._replace(more=tables))


if __name__ == "__main__":
    flags.DEFINE_bool("choose", False, "Only prints which trials the sweeps choose.")
    studies.define_flags(study({}), ",".join(DATASETS))
    cli.main(main, sys.argv)
