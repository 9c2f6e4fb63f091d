"""Every algorithm on 25 Gaussians of unequal masses. docs/results/unbalanced.md.

    python -m benchmarks.unbalanced_study [--together=5] [--seeds=0,1,2,3,4] [--budget=MIN]
    python -m benchmarks.unbalanced_study --render

Masses in a geometric sequence from 0.177 down to a hundredth of it; one generator of 3 x 64 units,
20,000 mini-batches of 256, each algorithm with what its sweep chose on the 25 Gaussians of equal
masses. The protocol is docs/results/protocol_study.md; how it runs, benchmarks/studies.py. Which
algorithm is compared with which was chosen when the runs had been seen: exploration.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks import studies
from benchmarks.studies import Setting, Study
from benchmarks.tuned_study import items_of
from trainers.campaigns import evidence
from trainers.campaigns.study.protocol import ALGORITHMS, PROTOCOLS, Records, choose
from trainers.campaigns.study.tables import METRICS
from trainers.system import cli

__all__ = ["compared", "study", "tables"]

STAGE = "unbalanced"
_SIZES = {"num_batches": 20_000, "batch_size": 256}
_COLUMNS = studies.columns(
    *("law_distance", "mode_kl", "rarest_mode_mass", "modes_captured"),
    *("high_quality_3sigma", "std_ratio"),
)


def study(records: Records) -> Study:
    """The algorithms whose sweep on the 25 Gaussians is whole.

    Args:
      records: of the study's narrow protocol, by key.
    """
    settings = []
    for name, algorithm in ALGORITHMS.items():
        choice = choose(PROTOCOLS["narrow"], "gaussians25", name, records)
        if choice is not None and choice.best is not None:
            items = items_of(name, choice.best.candidate.settings, _SIZES)
            config = "configs/gaussians25_unbalanced.py:pure"
            settings.append(Setting(name, algorithm.title, config, items))
    records_file = Path("docs/results/unbalanced.json")
    return Study({STAGE: settings}, records_file, {STAGE: _COLUMNS}, "algorithm", more=tables)


def compared(
    runs: Mapping[str, Mapping[str, Any]], number: str
) -> list[tuple[str, evidence.Evidence]]:
    """(algorithm, evidence) of its mixtures against RMSProp's, Holm's correction over all.

    Paired by seed; a seed that diverged is the worst of its comparison, by ranks.

    Args:
      runs: algorithm -> seed -> record.
      number: a scorecard's key.
    """
    seeds = sorted({seed for side in runs.values() for seed in side}, key=int)

    def values(name: str) -> dict[int, float]:
        return {
            int(s): runs[name][s]["answers"]["mixture"][number] if s in runs[name] else math.inf
            for s in seeds
        }

    others = [name for name in ALGORITHMS if name in runs and name != "rmsprop"]
    if "rmsprop" not in runs:
        return []
    distance = METRICS[number].distance
    found = [evidence.weigh(values(name), values("rmsprop"), distance) for name in others]
    return list(zip(others, evidence.judged(found), strict=True))


def tables(runs: Mapping[str, Mapping[str, Any]]) -> str:
    """Markdown: every algorithm against RMSProp; "" without its runs."""
    rows = []
    for number in ("law_distance", "mode_kl"):
        metric = METRICS[number]
        for name, e in compared(runs, number):
            gain = evidence.gains(e, metric.digits)
            rows.append([ALGORITHMS[name].title, metric.title, e.outcome, gain])
    head = ["mixtures, against RMSProp's", "number", "", "gain"]
    return studies.markdown(head, rows) if rows else ""


def main() -> int:
    """The command."""
    return studies.command(study(studies.paper_study()))


if __name__ == "__main__":
    studies.define_flags(study({}), STAGE)
    cli.main(main, sys.argv)
