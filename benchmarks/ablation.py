"""RMSProp and Mirror-GAN differ in three things: which of them does what? 2 x 2 x 2 cells.

    python -m benchmarks.ablation [--stages=ablation,window] [--seeds=0,1,2,3,4] [--together=2]
        [--budget=MIN] [--render]

Mirror-GAN with lambda 1e-8 or 1e-3, epsilon 0 or the default, beta 1 or 0.9, on the 8 Gaussians
with short networks; (1e-8, 0, 1) is RMSProp. window: its noise against a step size that moves the
snapshots apart as far. The protocol is docs/results/protocol_study.md; how it runs,
benchmarks/studies.py.
"""

from __future__ import annotations

import itertools
import statistics
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import former, studies
from benchmarks.studies import Setting, Study
from trainers.campaigns import evidence
from trainers.campaigns.study.tables import METRICS
from trainers.system import cli
from trainers.workdir.folder import ANSWERS

__all__ = ["CELLS", "STUDY", "Cell", "at_equal_spread", "effects", "interactions", "tables"]

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
        return _setting(
            f"lambda{self.stability}_epsilon{self.temperature}_beta{self.damping}",
            f"lambda {self.stability}, epsilon {self.temperature}, beta {self.damping}",
            *(f"{key}={value}" for key, value in self._asdict().items()),
        )


def _setting(name: str, title: str, *own: str) -> Setting:
    units = (f"model.{player}_hidden_units={_UNITS}" for player in ("generator", "discriminator"))
    pinned = ("algorithm=mirror_gan", *former.items("mirror_gan"))
    items = (*pinned, *own, "num_batches=12000", *units, "compile=whole")
    return Setting(name, title, "configs/gaussians8_mp.py:pure", items)


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


# Snapshots of the last quarter, of constant step size and temperature; what moves them apart there
# is Mirror-GAN's noise, or RMSProp's step size.
_LAMBDA_OF_RMSPROP = ("stability=1e-8", "damping=1.0", "temperature_schedule=constant")


def _window(name: str, title: str, temperature: float, end: float) -> Setting:
    step = f"step_size_schedule=linear(end={end:g}, until=0.75)"
    own = (*_LAMBDA_OF_RMSPROP, f"temperature={temperature:g}", step)
    return _setting(f"window_{name}", title, *own)


NOISE = [
    _window(f"epsilon{value:g}", f"epsilon {value:g}, step size falls to 0.1", value, 0.1)
    for value in (1e-9, 1e-8, 3e-8, 1e-7, 3e-7, 1e-6)
]
CONTROL = [
    _window(f"end{value:g}", f"no noise, step size falls to {value:g}", 0.0, value)
    for value in (0.05, 0.1, 0.2, 0.4, 0.7, 1.0)
]
_COLUMNS = ("law_distance", "high_quality_3sigma", "std_ratio", "modes_captured")
# Effects are tested of these.
_JUDGED = ("law_distance", "high_quality_3sigma", "std_ratio")

Runs = Mapping[str, Mapping[str, Any]]


def _values(runs: Runs, setting: Setting, answer: str, number: str) -> dict[int, float]:
    mine = runs.get(setting.name, {})
    return {int(seed): one["answers"][answer][number] for seed, one in mine.items()}


def effects(runs: Runs, answer: str, number: str) -> list[tuple[str, Any]]:
    """(what, evidence) of each factor: Mirror-GAN's value against RMSProp's.

    Over the four settings of the other two: a seed's number is its mean over these, so that the
    seeds are the pairs; of seeds that all eight cells have. Holm's correction over the three.
    """
    distance = METRICS[number].distance
    values = {cell: _values(runs, cell.setting, answer, number) for cell in CELLS}
    seeds = sorted(set.intersection(*(set(v) for v in values.values())))
    found = []
    for factor, (letter, rmsprop, mirror) in _FACTORS.items():

        def mean(value: str, factor=factor) -> dict[int, float]:
            mine = [c for c in CELLS if getattr(c, factor) == value]
            return {s: sum(distance(values[c][s]) for c in mine) / len(mine) for s in seeds}

        # These are distances already; that of HQ is below 0.
        shown = evidence.weigh(mean(mirror), mean(rmsprop), float)
        found.append((f"{letter} {mirror} instead of {rmsprop}", shown))
    return studies.judged(found)


def interactions(runs: Runs, answer: str, number: str) -> list[tuple[str, Any]]:
    """(what, evidence) of each pair of factors: a factor's effect at the other's two values.

    A seed's number is how much farther the first factor's Mirror-GAN value takes it, the mean over
    the third's two; a gain is less harm at the other's Mirror-GAN value. Holm's correction over the
    three. Not in the protocol: asked when the effects were known.
    """
    distance = METRICS[number].distance
    values = {cell: _values(runs, cell.setting, answer, number) for cell in CELLS}
    seeds = sorted(set.intersection(*(set(v) for v in values.values())))

    def harm(factor: str, at: tuple[str, str]) -> dict[int, float]:
        """The mean over the cells with that value of the other factor, seed by seed."""
        _, rmsprop, mirror = _FACTORS[factor]
        cells = [c for c in CELLS if getattr(c, at[0]) == at[1]]
        signs = {mirror: 2.0, rmsprop: -2.0}
        return {
            s: sum(signs[getattr(c, factor)] * distance(values[c][s]) for c in cells) / len(cells)
            for s in seeds
        }

    found = []
    for other, factor in itertools.combinations(_FACTORS, 2):
        (at, low, high), letter = _FACTORS[other], _FACTORS[factor][0]
        shown = evidence.weigh(harm(factor, (other, high)), harm(factor, (other, low)), float)
        found.append((f"what {letter} does at {at} {high} instead of {low}", shown))
    return studies.judged(found)


def _effects_table(runs: Runs) -> str:
    """Markdown; "" while no seed has all eight cells."""
    rows = []
    for answer, number in itertools.product(ANSWERS, _JUDGED):
        metric = METRICS[number]
        for what, e in (*effects(runs, answer, number), *interactions(runs, answer, number)):
            if e.outcome != "no data":
                told = evidence.gains(e, metric.digits)
                rows.append([what, answer, metric.title, e.outcome, told])
    return studies.markdown(["effect", "answer", "number", "", "gain"], rows) if rows else ""


def _spread(one: Mapping[str, Any]) -> tuple[float, float]:
    """(within, between) of a run's mixture, in squares of the modes' own standard deviation.

    Within is that of the last iterate, which in a window of constant step size is as any other of
    it; between is what the mixture has more.
    """
    within, total = (one["answers"][a]["std_ratio"] ** 2 for a in ("last", "mixture"))
    return within, total - within


def _mean(runs: Runs, setting: Setting, what: Callable[[Any], float]) -> float:
    return statistics.fmean(what(one) for one in runs[setting.name].values())


def at_equal_spread(runs: Runs) -> tuple[Setting, Setting, list[tuple[str, Any]]] | None:
    """The noise whose mixtures have the widths of the modes, and the control as far apart.

    Returns:
      (the temperature whose mean within plus between is nearest to 1, the control whose mean
      between is nearest to its one, (number, evidence) of the first's mixtures against the
      second's, with Holm's correction); None while either arm has no runs.
    """
    noise, control = ([s for s in arm if runs.get(s.name)] for arm in (NOISE, CONTROL))
    if not noise or not control:
        return None
    one = min(noise, key=lambda s: abs(1.0 - _mean(runs, s, lambda r: sum(_spread(r)))))
    goal = _mean(runs, one, lambda r: _spread(r)[1])
    two = min(control, key=lambda s: abs(goal - _mean(runs, s, lambda r: _spread(r)[1])))

    family = []
    for number in _JUDGED:
        a, b = (_values(runs, s, "mixture", number) for s in (one, two))
        family.append(evidence.weigh(a, b, METRICS[number].distance))
    return one, two, list(zip(_JUDGED, evidence.judged(family), strict=True))


def _equal_spread_table(runs: Runs) -> str:
    """Markdown: within and between of every setting of the window, and the comparison; or ""."""
    found = at_equal_spread(runs)
    if found is None:
        return ""
    rows = [
        [s.title, *(f"{_mean(runs, s, lambda r, i=i: _spread(r)[i]):.2f}" for i in range(2))]
        for s in (*NOISE, *CONTROL)
        if runs.get(s.name)
    ]
    one, two, judged = found
    compared = [
        [METRICS[n].title, e.outcome, evidence.gains(e, METRICS[n].digits)] for n, e in judged
    ]
    head = [f"{one.title}, against {two.title}: the mixtures'", "", "gain"]
    spread = studies.markdown(["", "within", "between"], rows)
    return f"{spread}\n\n{studies.markdown(head, compared)}"


STUDY = Study(
    {"ablation": [cell.setting for cell in CELLS], "window": [*NOISE, *CONTROL]},
    Path("docs/results/ablation.json"),
    dict.fromkeys(("ablation", "window"), studies.columns(*_COLUMNS)),
    "Mirror-GAN with",
    more=lambda runs: f"{_effects_table(runs)}\n\n{_equal_spread_table(runs)}".strip(),
)


def tables(runs: Runs, stage: str = "ablation") -> str:
    """Markdown: the settings, mean ± standard error, then what is compared."""
    more = _effects_table if stage == "ablation" else _equal_spread_table
    return f"{studies.table(STUDY, stage, runs)}\n\n{more(runs)}".rstrip()


def main() -> int:
    """The command."""
    return studies.command(STUDY)


if __name__ == "__main__":
    studies.define_flags(STUDY, "ablation")
    cli.main(main, sys.argv)
