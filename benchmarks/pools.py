"""A mixture in time, or a pool of runs? Of the samples that the paper's study kept.

    python -m benchmarks.pools [--render]

Of each algorithm and data set the final runs of five seeds: the law distance of each run's last
iterate and of its mixture, and of pools of the five last iterates, which cost five runs. All of
1,000 samples: a pool has 200 of each run, and there are five without a common sample. Pools share
their runs, so that nothing is tested. docs/results/pools.md; the protocol asks for it
(docs/results/protocol_study.md, "The question").
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from absl import flags

from benchmarks import studies
from benchmarks.pages.code import ROOT
from tf_mixed_nash.metrics.law import distance_from_law
from trainers.campaigns.study.protocol import ALGORITHMS, PROTOCOLS
from trainers.campaigns.study.records import read_samples
from trainers.campaigns.study.tables import Stage
from trainers.system import cli
from trainers.system.files import write_atomically

__all__ = ["RECORDS", "distances", "pools", "table"]

RECORDS = Path("docs/results/pools.json")
_STUDY = ROOT / "docs/results/study_narrow"
_DIGITS = 5


def pools(runs: Sequence[np.ndarray]) -> list[np.ndarray]:
    """As many pools as there are runs, each of as many samples as one of them.

    Args:
      runs: of each run its samples [n, d], the same n.

    Returns:
      Pools [n, d] or so: the i-th has the i-th part of every run, so that no sample is in two.
    """
    parts = [np.array_split(samples, len(runs)) for samples in runs]
    return [np.concatenate(each) for each in zip(*parts, strict=True)]


def distances(runs: Sequence[Mapping[str, np.ndarray]], data) -> dict[str, list[float]]:
    """Law distances of "last", "pool" and "mixture", five of each.

    Args:
      runs: of each run the samples [n, 2] of its answers.
      data: a `PlanarData`.
    """
    samples = {a: [run[a] for run in runs] for a in ("last", "mixture")}
    samples["pool"] = pools(samples["last"])
    return {
        what: [round(distance_from_law(x, data), _DIGITS) for x in samples[what]]
        for what in ("last", "pool", "mixture")
    }


def table(found: Mapping[str, Mapping[str, Mapping[str, Sequence[float]]]]) -> str:
    """Markdown, a line for each algorithm; pools share their runs and have no standard error."""
    head = ["law distance"]
    for data in found:
        head += [f"{data}: last iterate", "pool of five", "mixture"]
    rows = []
    for name in next(iter(found.values())):
        row = [ALGORITHMS[name].title]
        for each in found.values():
            row += [
                f"{statistics.fmean(each[name][what]):.3f}" if each.get(name) else "-"
                for what in ("last", "pool", "mixture")
            ]
        rows.append(row)
    return studies.markdown(head, rows)


def main() -> int:
    """The command."""
    if not flags.FLAGS.render:
        # Here, because it loads TensorFlow.
        from trainers.tasks.data import synthetic

        protocol, records = PROTOCOLS["narrow"], studies.paper_study()
        found: dict[str, dict[str, dict[str, list[float]]]] = {}
        for data in protocol.datasets:
            stage, law = Stage(records, protocol, data, "final"), synthetic.make(data)
            found[data] = {}
            for name in protocol.algorithms:
                runs = [read_samples(_STUDY, record) for record in stage.done(name)]
                # Of an algorithm with a run that diverged a pool is of the others.
                found[data][name] = distances([r for r in runs if r], law)
        text = json.dumps(found, indent=1) + "\n"
        write_atomically(RECORDS, lambda path: path.write_text(text))
    print(table(json.loads(RECORDS.read_text())))
    return cli.DONE


if __name__ == "__main__":
    flags.DEFINE_bool("render", False, "Print the table of the committed records alone.")
    cli.main(main, sys.argv)
