"""The protocol of the study: which runs there are, in which order, and what determines each.

The paper compares algorithms by eye after a step size sweep (its section 5.1, Figures 1 and 6).
Here the step size of every algorithm is swept at equal budget on every data set, by the same
objective; then the chosen one runs at full length with several seeds; then the 25 Gaussians run
with large mini-batches for as long as the paper's. All answers (last iterate, EMA, mixture) of all
algorithms are judged alike.

Everything that determines a result is pinned here, not taken from configs/tuned.py: defaults that
are tuned later change no run of the study. This module must stay free of TensorFlow.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from tf_mixed_nash.errors import InputError
from trainers.workdir.folder import ANSWERS

__all__ = [
    "ALGORITHMS",
    "FIGURES",
    "LATER",
    "PROTOCOLS",
    "STAGES",
    "Algorithm",
    "Choice",
    "Planned",
    "Protocol",
    "Records",
    "choose",
    "missing",
    "objective",
    "plan",
    "planned",
    "ready",
    "with_step",
]

Records = Mapping[str, Mapping[str, Any]]  # by key; see records.py

# sweep: which step size. final: several seeds of the chosen one. large: large mini-batches.
STAGES = ("sweep", "final", "large")
# The data sets of the paper's figures. Figure 2 (LSUN bedrooms) is not of the plane.
_SETS = ("gaussians25", "gaussians8", "swissroll")
FIGURES = {"figure1": _SETS[:1], "figure6": _SETS, "all": _SETS}

# Raised when what a record means changes, so that older ones are not taken for it.
_FORMAT = 1

_ADAM = {"decay_1": 0.5, "decay_2": 0.9, "stability": 1e-8}
_LANGEVIN = {
    "temperature": 1e-6,
    "temperature_schedule": "linear",
    "num_inner_steps": 1,
    "inner_steps_rate": 0.0,
    "damping": 0.9,
    "preconditioner": "rms",
    "rms_decay": 0.99,
    "stability": 1e-3,  # docs/decisions/0005
}

# What came after the first records, at what changes nothing for them: no part of a key, which would
# be another then, and pinned all the same.
LATER = {
    "rms_correction": False,
    "prior_std": 0.0,
    "weight_decay": 0.0,
    "inner_steps_schedule": "constant",
}


class Algorithm(NamedTuple):
    """An algorithm of the study.

    Attributes:
      title: in tables.
      centre: of its step sizes, by its kind: those that divide by the root of a mean square move
        each coordinate by about the step size, plain gradient steps do not.
      settings: the hyperparameters that it has beside the step size.
    """

    title: str
    centre: float
    settings: Mapping[str, Any]


# In the order of the runs: those of the paper's Figure 1 first.
ALGORITHMS = {
    "sgd": Algorithm("SGD", 3e-3, {}),
    "adam": Algorithm("Adam", 1e-3, _ADAM),
    "optimistic_adam": Algorithm("Optimistic Adam", 1e-3, _ADAM),
    "extra_adam": Algorithm("Extra-Adam", 1e-3, _ADAM),
    "mirror_gan": Algorithm("Mirror-GAN", 1e-3, _LANGEVIN),
    "mirror_prox_gan": Algorithm("Mirror-Prox-GAN", 1e-3, _LANGEVIN),
    "rmsprop": Algorithm("RMSProp", 1e-3, {"rms_decay": 0.99, "stability": 1e-8}),
    "alt_extra_adam": Algorithm("Alternated Extra-Adam", 1e-3, _ADAM),
}

# The same for all.
_COMMON = {
    "game.objective": "wgan",
    "game.gradient_penalty": 0.1,
    "game.r1": 0.0,
    "game.weight_clip": 0.0,
    "model.hidden_units": (512, 512, 512),
    "model.activation": "relu",
    "model.latent_dim": 2,
    "step_size_schedule": "linear",
    "mixture.num_components": 30,
    "mixture.window": (0.75, 1.0),
    "ema_decay": 0.999,
    "discriminator_steps": 1,
    "scorecard.num_samples": 10_000,
}
_TINY = {
    "mixture.num_components": 2,
    "mixture.window": (0.0, 1.0),
    "model.hidden_units": (16, 16),
    "scorecard.num_samples": 300,
}


@dataclasses.dataclass(frozen=True)
class Protocol:
    """How much of the study is done.

    Attributes:
      name: full, or what marks the numbers as less.
      note: what the report says of it; "" for the full one.
      datasets: in the order of the runs.
      algorithms: in the order of the runs.
      points: step sizes of each algorithm on each data set.
      ratio: of neighbouring step sizes.
      sweep_batches: mini-batches of a run of the sweep, seed 0.
      batches: mini-batches of a final run.
      seeds: of the final runs.
      batch_size: of the sweep and the final runs.
      precision: of the sweep and the final runs.
      large_datasets: that also run with large mini-batches, seed 0.
      large_batches: mini-batches of such a run.
      large_batch_size: its samples a mini-batch.
      large_precision: its precision.
      large_seeds: of such runs.
      scores: how often a final or large run is scored along the way; a run of the sweep once.
      settings: config keys of all runs.
      objective: the scorecard's key that the sweep minimises. The protocols of before the judge
        (docs/results/judge.md) keep theirs, so that their records mean what they did.
    """

    name: str = "full"
    note: str = ""
    datasets: tuple[str, ...] = _SETS
    algorithms: tuple[str, ...] = tuple(ALGORITHMS)
    points: int = 5
    ratio: float = math.sqrt(10.0)
    sweep_batches: int = 6_000
    batches: int = 12_000
    seeds: tuple[int, ...] = (0, 1, 2)
    batch_size: int = 64
    precision: str = "float32"
    large_datasets: tuple[str, ...] = ("gaussians25",)
    large_batches: int = 100_000
    large_batch_size: int = 256
    large_precision: str = "mixed_bfloat16"
    large_seeds: tuple[int, ...] = (0,)
    scores: int = 20
    settings: Mapping[str, Any] = dataclasses.field(default_factory=lambda: _COMMON)
    objective: str = "wasserstein2"

    def steps_of(self, algorithm: str) -> tuple[float, ...]:
        """The step sizes of the sweep, ascending, log-spaced around the algorithm's centre."""
        middle, centre = (self.points - 1) / 2, ALGORITHMS[algorithm].centre
        exact = (centre * self.ratio ** (i - middle) for i in range(self.points))
        return tuple(float(f"{s:.2g}") for s in exact)

    def length(self, stage: str) -> int:
        """Mini-batches of a run of the stage."""
        batches = {"sweep": self.sweep_batches, "final": self.batches}
        return batches.get(stage, self.large_batches)

    def seeds_of(self, stage: str) -> tuple[int, ...]:
        """Seeds of the runs of the stage."""
        return {"final": self.seeds, "large": self.large_seeds}.get(stage, (0,))

    def sets_of(self, stage: str) -> tuple[str, ...]:
        """Data sets of the stage."""
        return self.large_datasets if stage == "large" else self.datasets


PROTOCOLS = {
    "full": Protocol(),
    # docs/results/protocol_study.md, written before any of its runs.
    "judged": Protocol(
        name="judged",
        sweep_batches=12_000,
        seeds=(0, 1, 2, 3, 4),
        large_batches=50_000,
        large_seeds=(0, 1, 2, 3, 4),
        objective="law_distance",
    ),
    "short": Protocol(
        name="short",
        note="Short protocol: fewer step sizes, shorter runs, one seed. It ranks nothing.",
        points=3,
        sweep_batches=2_000,
        batches=4_000,
        seeds=(0,),
        large_batches=10_000,
        scores=10,
    ),
    "tiny": Protocol(
        name="tiny",
        note="Tiny protocol: a rehearsal of the commands. Its numbers mean nothing.",
        datasets=("gaussians8",),
        algorithms=("adam", "mirror_gan"),
        points=2,
        sweep_batches=4,
        batches=8,
        seeds=(0, 1),
        batch_size=16,
        large_datasets=(),
        large_batches=8,
        large_batch_size=32,
        scores=2,
        settings={**_COMMON, **_TINY},
    ),
}


@dataclasses.dataclass(frozen=True)
class Planned:
    """One run of the study.

    Attributes:
      protocol: its name.
      dataset: of configs/DATASET_mp.py.
      stage: one of STAGES.
      algorithm: a key of ALGORITHMS.
      seed: of everything random in it.
      step_size: None where the sweep has yet to choose it.
    """

    protocol: str
    dataset: str
    stage: str
    algorithm: str
    seed: int
    step_size: float | None

    @property
    def settings(self) -> dict[str, Any]:
        """The config keys that determine the result, by dotted name; see configs/common.py."""
        p, large = PROTOCOLS[self.protocol], self.stage == "large"
        return {
            **p.settings,
            **ALGORITHMS[self.algorithm].settings,
            "algorithm": self.algorithm,
            "step_size": self.step_size,
            "seed": self.seed,
            "num_batches": p.length(self.stage),
            "batch_size": p.large_batch_size if large else p.batch_size,
            "precision": p.large_precision if large else p.precision,
        }

    @property
    def key(self) -> str:
        """A fingerprint of what determines the result: 16 hexadecimal digits."""
        facts = {"format": _FORMAT, "dataset": self.dataset, "settings": self.settings}
        # The stage is no part of a result, but a record holds more of a final run than of a sweep.
        text = json.dumps({**facts, "stage": self.stage}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def path(self) -> str:
        """Where its record lies below RESULTS/runs, without a suffix."""
        return f"{self.dataset}/{self.stage}/{self.algorithm}/{self.key}"

    @property
    def title(self) -> str:
        """For messages."""
        step = "" if self.step_size is None else f", step size {self.step_size:g}"
        return f"{self.dataset} {self.stage} {self.algorithm}, seed {self.seed}{step}"


def plan(protocol: Protocol, figure: str = "all") -> list[Planned]:
    """The runs in their order: what is done first is of most use alone.

    One data set after the other; in each the sweep, then all algorithms with seed 0 before any
    with seed 1; large mini-batches last.

    Raises:
      InputError: for an unknown figure.
    """
    if figure not in FIGURES:
        raise InputError(f"Unknown figure {figure!r}. Choose one of: {', '.join(FIGURES)}.")
    runs = []
    for data in (d for d in protocol.datasets if d in FIGURES[figure]):
        runs += [
            Planned(protocol.name, data, "sweep", algorithm, 0, step)
            for algorithm in protocol.algorithms
            for step in protocol.steps_of(algorithm)
        ]
        runs += _chosen(protocol, data, "final")
    if figure != "figure6":
        for data in (d for d in protocol.large_datasets if d in FIGURES[figure]):
            runs += _chosen(protocol, data, "large")
    return runs


def _chosen(protocol: Protocol, data: str, stage: str) -> list[Planned]:
    """The runs whose step size the sweep chooses."""
    return [
        Planned(protocol.name, data, stage, algorithm, seed, None)
        for seed in protocol.seeds_of(stage)
        for algorithm in protocol.algorithms
    ]


def objective(record: Mapping[str, Any]) -> float:
    """What the sweep minimises: the least of the three answers by the protocol's objective.

    Infinite for a run that diverged.
    """
    key = PROTOCOLS[record["protocol"]].objective
    values = [record["scorecards"].get(a, {}).get(key) for a in ANSWERS]
    return min((v for v in values if v is not None), default=math.inf)


class Choice(NamedTuple):
    """What a sweep says.

    Attributes:
      step_size: the best; None if all diverged.
      value: its objective.
      at_end: "lowest" or "highest" if the best is an end of the grid, else "".
      points: (step size, objective) of the grid, ascending.
    """

    step_size: float | None
    value: float
    at_end: str
    points: tuple[tuple[float, float], ...]


def choose(
    protocol: Protocol, dataset: str, algorithm: str, records: Records, partial: bool = False
) -> Choice | None:
    """The choice of a sweep; None while one of its runs is missing.

    Args:
      protocol: the protocol.
      dataset: of the sweep.
      algorithm: of the sweep.
      records: by key.
      partial: takes the runs that are there, if any are.
    """
    grid = protocol.steps_of(algorithm)
    keys = {s: Planned(protocol.name, dataset, "sweep", algorithm, 0, s).key for s in grid}
    points = tuple((s, objective(records[k])) for s, k in keys.items() if k in records)
    if not points or (len(points) < len(grid) and not partial):
        return None
    step, value = min(points, key=lambda p: p[1])  # of equals the smallest step
    if math.isinf(value):
        return Choice(None, value, "", points)
    ends = {grid[-1]: "highest", grid[0]: "lowest"}
    return Choice(step, value, ends.get(step, ""), points)


def with_step(run: Planned, protocol: Protocol, records: Records) -> Planned | None:
    """The run with its step size; None while (or if) the sweep has none for it."""
    if run.step_size is not None:
        return run
    choice = choose(protocol, run.dataset, run.algorithm, records)
    step = choice and choice.step_size
    return dataclasses.replace(run, step_size=step) if step else None


def planned(protocol: Protocol, records: Records) -> dict[str, Mapping[str, Any]]:
    """The records of the protocol's runs, in the order of the plan.

    Those of other protocols, and of step sizes that the sweep does not choose any more, are not
    among them.
    """
    runs = (with_step(r, protocol, records) for r in plan(protocol))
    return {r.key: records[r.key] for r in runs if r is not None and r.key in records}


def missing(protocol: Protocol, figure: str, records: Records) -> list[Planned]:
    """The runs of the plan that have no record, in their order.

    A run whose algorithm diverges at every step size is not missing: there is none to do.
    """
    return [r for r in plan(protocol, figure) if not _settled(r, protocol, records)]


def _settled(run: Planned, protocol: Protocol, records: Records) -> bool:
    known = with_step(run, protocol, records)
    if known is not None:
        return known.key in records
    return choose(protocol, run.dataset, run.algorithm, records) is not None


def ready(protocol: Protocol, figure: str, records: Records) -> list[Planned]:
    """The missing runs whose step size is known, in their order."""
    found = (with_step(r, protocol, records) for r in missing(protocol, figure, records))
    return [r for r in found if r is not None]
