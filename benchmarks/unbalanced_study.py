"""Every algorithm on 25 Gaussians of unequal masses. docs/results/unbalanced.md.

    python -m benchmarks.unbalanced_study [--together=5] [--seeds=0,1,2,3,4] [--budget=MIN]
    python -m benchmarks.unbalanced_study --render

Masses in a geometric sequence from 0.177 down to a hundredth of it; one generator of 3 x 64 units,
20,000 mini-batches of 256, each algorithm with what its sweep chose on the 25 Gaussians of equal
masses. The protocol is docs/results/protocol_study.md; how it runs, benchmarks/studies.py.
"""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks import studies
from benchmarks.studies import Setting, Study
from benchmarks.tuned_study import items_of
from trainers.campaigns.study.protocol import ALGORITHMS, PROTOCOLS, Records, choose
from trainers.system import cli

__all__ = ["study"]

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
    return Study({STAGE: settings}, records_file, {STAGE: _COLUMNS}, "algorithm")


def main() -> int:
    """The command."""
    return studies.command(study(studies.paper_study()))


if __name__ == "__main__":
    studies.define_flags(study({}), STAGE)
    cli.main(main, sys.argv)
