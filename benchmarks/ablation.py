"""RMSProp and Mirror-GAN differ in three things: which of them does what? 2 x 2 x 2 cells.

    python -m benchmarks.ablation [--seeds=0,1,2,3,4] [--together=2] [--budget=MIN] [--render]

Mirror-GAN with lambda 1e-8 or 1e-3, epsilon 0 or the default, beta 1 or 0.9, on the 8 Gaussians
with short networks; (1e-8, 0, 1) is RMSProp. The protocol is docs/results/protocol_study.md; how it
runs, benchmarks/studies.py.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import studies
from benchmarks.studies import Setting, Study
from trainers.campaigns import evidence
from trainers.campaigns.study.tables import METRICS
from trainers.system import cli
from trainers.workdir.folder import ANSWERS

__all__ = ["CELLS", "STUDY", "Cell", "effects", "tables"]

_UNITS = "(64,64,64)"
_EPSILON = "1e-6"


class Cell(NamedTuple):
    """One of the eight.

    Attributes:
      stability: lambda.
      temperature: epsilon.
      damping: beta.
    """

    stability: str
    temperature: str
    damping: str

    @property
    def setting(self) -> Setting:
        """What is run."""
        units = (
            f"model.{player}_hidden_units={_UNITS}" for player in ("generator", "discriminator")
        )
        own = (f"{key}={value}" for key, value in self._asdict().items())
        return Setting(
            f"lambda{self.stability}_epsilon{self.temperature}_beta{self.damping}",
            f"lambda {self.stability}, epsilon {self.temperature}, beta {self.damping}",
            "configs/gaussians8_mp.py:pure",
            ("algorithm=mirror_gan", *own, "num_batches=12000", *units, "compile=whole"),
        )


# Both temperatures of a pair are one program (--together=2).
CELLS = [
    Cell(stability, temperature, damping)
    for stability, damping, temperature in itertools.product(
        ("1e-8", "1e-3"), ("1.0", "0.9"), ("0.0", _EPSILON)
    )
]
# What a factor is, and its two values: (RMSProp's, Mirror-GAN's).
_FACTORS = {
    "stability": ("lambda", "1e-8", "1e-3"),
    "temperature": ("epsilon", "0.0", _EPSILON),
    "damping": ("beta", "1.0", "0.9"),
}


_COLUMNS = ("law_distance", "high_quality_3sigma", "std_ratio", "modes_captured")
# Effects are tested of these.
_JUDGED = ("law_distance", "high_quality_3sigma", "std_ratio")

Runs = Mapping[str, Mapping[str, Any]]


def _values(runs: Runs, cell: Cell, answer: str, number: str) -> dict[int, float]:
    mine = runs.get(cell.setting.name, {})
    return {int(seed): one["answers"][answer][number] for seed, one in mine.items()}


def effects(runs: Runs, answer: str, number: str) -> list[tuple[str, Any]]:
    """(what, evidence) of each factor: Mirror-GAN's value against RMSProp's.

    Over the four settings of the other two: a seed's number is its mean over these, so that the
    seeds are the pairs; of seeds that all eight cells have. Holm's correction over the three.
    """
    distance = METRICS[number].distance
    values = {cell: _values(runs, cell, answer, number) for cell in CELLS}
    seeds = sorted(set.intersection(*(set(v) for v in values.values())))
    found = []
    for factor, (letter, rmsprop, mirror) in _FACTORS.items():

        def mean(value: str, factor=factor) -> dict[int, float]:
            mine = [c for c in CELLS if getattr(c, factor) == value]
            return {s: sum(distance(values[c][s]) for c in mine) / len(mine) for s in seeds}

        # These are distances already; that of HQ is below 0.
        shown = evidence.weigh(mean(mirror), mean(rmsprop), float)
        found.append((f"{letter} {mirror} instead of {rmsprop}", shown))
    judged = evidence.judged([e for _, e in found])
    return [(what, e) for (what, _), e in zip(found, judged, strict=True)]


def _effects_table(runs: Runs) -> str:
    """Markdown; "" while no seed has all eight cells."""
    rows = []
    for answer, number in itertools.product(ANSWERS, _JUDGED):
        metric = METRICS[number]
        for what, e in effects(runs, answer, number):
            if e.outcome != "no data":
                told = evidence.gains(e, metric.digits)
                rows.append([what, answer, metric.title, e.outcome, told])
    return studies.markdown(["effect", "answer", "number", "", "gain"], rows) if rows else ""


_STAGE = "ablation"
STUDY = Study(
    {_STAGE: [cell.setting for cell in CELLS]},
    Path("docs/results/ablation.json"),
    {_STAGE: studies.columns(*_COLUMNS)},
    "Mirror-GAN with",
    more=_effects_table,
)


def tables(runs: Runs) -> str:
    """Markdown: the cells, mean ± standard error, then the effects."""
    return f"{studies.table(STUDY, _STAGE, runs)}\n\n{_effects_table(runs)}".rstrip()


def main() -> int:
    """The command."""
    return studies.command(STUDY)


if __name__ == "__main__":
    studies.define_flags(STUDY, _STAGE)
    cli.main(main, sys.argv)
