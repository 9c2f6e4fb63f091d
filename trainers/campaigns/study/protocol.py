"""The protocol of the study: which runs there are, in which order, and what determines each.

The paper compares algorithms by eye after a step size sweep (its section 5.1, Figures 1 and 6).
Here every algorithm is tuned at equal budget on every data set, by the same objective (its step
size, in later protocols all of its hyperparameters); then the best runs with several seeds; then
the 25 Gaussians run with large mini-batches for as long as the paper's. All answers (last iterate,
EMA, mixture) of all algorithms are judged alike.

Everything that determines a result is pinned here, not taken from configs/tuned.py: defaults that
are tuned later change no run of the study. This module must stay free of TensorFlow.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tf_mixed_nash.errors import unknown
from trainers.campaigns.study.candidates import Candidate, Log, OneOf, Range, Uniform, search
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

# sweep: which hyperparameters. again: the best of them with another seed. final: several seeds of
# the chosen ones. large: large mini-batches.
STAGES = ("sweep", "again", "final", "large")
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
      ranges: of all its hyperparameters, where a protocol searches them.
    """

    title: str
    centre: float
    settings: Mapping[str, Any]
    ranges: Mapping[str, Range]


# docs/results/protocol_study.md. Weight decay is a Gaussian prior's, which ours have in their law.
_STEPS = {"step_size": Log(1e-4, 1e-2)}
_SCHEDULES = {
    "step_size_schedule": OneOf(("linear", "linear(end=0.1, until=0.75)", "cyclical(cycles=10)"))
}
_DECAYS = {"weight_decay": OneOf((0.0, 1e-5, 1e-4, 1e-3))}
_LAMBDA = {"stability": Log(1e-8, 1e-2)}
_CORRECTION = {"rms_correction": OneOf((False, True))}
_SGD_RANGES = {"step_size": Log(1e-3, 1e-1), **_DECAYS, **_SCHEDULES}
_ADAM_RANGES = {**_STEPS, **_LAMBDA, **_DECAYS, **_SCHEDULES}
_RMS_RANGES = {**_STEPS, **_LAMBDA, **_CORRECTION, **_DECAYS, **_SCHEDULES}
_LANGEVIN_RANGES = {
    **_STEPS,
    "temperature": Log(1e-10, 1e-5),
    **_LAMBDA,
    **_CORRECTION,
    "damping": Uniform(0.5, 1.0),
    "prior_std": OneOf((0.0, 0.1, 0.3, 1.0)),
    **_SCHEDULES,
}


# In the order of the runs: those of the paper's Figure 1 first.
ALGORITHMS = {
    "sgd": Algorithm("SGD", 3e-3, {}, _SGD_RANGES),
    "adam": Algorithm("Adam", 1e-3, _ADAM, _ADAM_RANGES),
    "optimistic_adam": Algorithm("Optimistic Adam", 1e-3, _ADAM, _ADAM_RANGES),
    "extra_adam": Algorithm("Extra-Adam", 1e-3, _ADAM, _ADAM_RANGES),
    "mirror_gan": Algorithm("Mirror-GAN", 1e-3, _LANGEVIN, _LANGEVIN_RANGES),
    "mirror_prox_gan": Algorithm("Mirror-Prox-GAN", 1e-3, _LANGEVIN, _LANGEVIN_RANGES),
    "rmsprop": Algorithm("RMSProp", 1e-3, {"rms_decay": 0.99, "stability": 1e-8}, _RMS_RANGES),
    "alt_extra_adam": Algorithm("Alternated Extra-Adam", 1e-3, _ADAM, _ADAM_RANGES),
    "past_extra_adam": Algorithm("Past Extra-Adam", 1e-3, _ADAM, _ADAM_RANGES),
    "alt_mirror_gan": Algorithm("Alternated Mirror-GAN", 1e-3, _LANGEVIN, _LANGEVIN_RANGES),
    "alt_mirror_prox_gan": Algorithm(
        "Alternated Mirror-Prox-GAN", 1e-3, _LANGEVIN, _LANGEVIN_RANGES
    ),
    "chambolle_pock": Algorithm("Chambolle-Pock", 1e-3, _LANGEVIN, _LANGEVIN_RANGES),
}
_FIRST = tuple(ALGORITHMS)[:8]  # of the protocols of before the search

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
      trials: of a random search over all hyperparameters in their place (candidates.py); 0: none.
      block: trials that share what a program has fixed.
      sweep_batches: mini-batches of a run of the sweep.
      sweep_seeds: of the sweep, and of its best trials again.
      again: so many of the best trials run with the second seed, and the mean of both decides.
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
    algorithms: tuple[str, ...] = _FIRST
    points: int = 5
    ratio: float = math.sqrt(10.0)
    trials: int = 0
    block: int = 10
    sweep_batches: int = 6_000
    sweep_seeds: tuple[int, ...] = (0,)
    again: int = 0
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

    def candidates(self, algorithm: str) -> tuple[Candidate, ...]:
        """The trials of the sweep: its grid of step sizes, or its search."""
        if not self.trials:
            return tuple(map(Candidate, self.steps_of(algorithm)))
        return _searched(algorithm, self.trials, self.block)

    def length(self, stage: str) -> int:
        """Mini-batches of a run of the stage."""
        sweep = self.sweep_batches
        batches = {"sweep": sweep, "again": sweep, "final": self.batches}
        return batches.get(stage, self.large_batches)

    def seeds_of(self, stage: str) -> tuple[int, ...]:
        """Seeds of the runs of the stage."""
        first, second = self.sweep_seeds[:1], self.sweep_seeds[1:]
        sweeps = {"sweep": first, "again": second}
        return {**sweeps, "final": self.seeds, "large": self.large_seeds}[stage]

    def sets_of(self, stage: str) -> tuple[str, ...]:
        """Data sets of the stage."""
        return self.large_datasets if stage == "large" else self.datasets


@functools.cache
def _searched(algorithm: str, trials: int, block: int) -> tuple[Candidate, ...]:
    return search(algorithm, ALGORITHMS[algorithm].ranges, trials, block)


# docs/results/protocol_study.md, written before any of its runs.
_JUDGED = Protocol(
    name="judged",
    algorithms=tuple(ALGORITHMS),
    trials=30,
    sweep_batches=12_000,
    sweep_seeds=(100, 101),
    again=5,
    seeds=(0, 1, 2, 3, 4),
    large_batches=50_000,
    large_seeds=(0, 1, 2, 3, 4),
    objective="law_distance",
)

PROTOCOLS = {
    "full": Protocol(),
    "judged": _JUDGED,
    # The same with networks that two cores can train in hours.
    "narrow": dataclasses.replace(
        _JUDGED,
        name="narrow",
        note="Narrow protocol: `judged` with networks of 3 x 64 units in place of 3 x 512.",
        datasets=("gaussians8", "gaussians25", "swissroll"),
        large_precision="float32",
        scores=10,
        settings={**_COMMON, "model.hidden_units": (64, 64, 64)},
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
      more: further hyperparameters that the sweep chooses, (name, value).
      rank: of a run of the stage `again`: of which of the sweep's trials, 0 the best.
    """

    protocol: str
    dataset: str
    stage: str
    algorithm: str
    seed: int
    step_size: float | None
    more: tuple[tuple[str, Any], ...] = ()
    rank: int | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """The config keys that determine the result, by dotted name; see configs/common.py."""
        p, large = PROTOCOLS[self.protocol], self.stage == "large"
        return {
            **p.settings,
            **ALGORITHMS[self.algorithm].settings,
            **dict(self.more),
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
        return _key(self)

    @property
    def path(self) -> str:
        """Where its record lies below RESULTS/runs, without a suffix."""
        return f"{self.dataset}/{self.stage}/{self.algorithm}/{self.key}"

    @property
    def title(self) -> str:
        """For messages."""
        rank = "" if self.rank is None else f", the sweep's number {self.rank + 1}"
        if self.step_size is not None:
            rank = f", step size {Candidate(self.step_size, self.more)}"
        return f"{self.dataset} {self.stage} {self.algorithm}, seed {self.seed}{rank}"

    @classmethod
    def trial(
        cls, protocol: Protocol, dataset: str, algorithm: str, candidate: Candidate
    ) -> Planned:
        """The run of the sweep that tries a candidate."""
        (seed,) = protocol.seeds_of("sweep")
        return cls(protocol.name, dataset, "sweep", algorithm, seed, *candidate)


@functools.cache  # asked of every run of the plan after every run
def _key(run: Planned) -> str:
    facts = {"format": _FORMAT, "dataset": run.dataset, "settings": run.settings}
    # The stage is no part of a result, but a record holds more of a final run than of a sweep.
    text = json.dumps({**facts, "stage": run.stage}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def plan(protocol: Protocol, figure: str = "all") -> list[Planned]:
    """The runs in their order: what is done first is of most use alone.

    One data set after the other; in each the sweeps, then all algorithms with seed 0 before any
    with seed 1; large mini-batches last.

    Raises:
      InputError: for an unknown figure.
    """
    if figure not in FIGURES:
        raise unknown("figure", figure, FIGURES)
    runs = []
    for data in (d for d in protocol.datasets if d in FIGURES[figure]):
        for algorithm in protocol.algorithms:
            runs += _trials(protocol, data, algorithm)
            runs += _again(protocol, data, algorithm)
        runs += _chosen(protocol, data, "final")
    if figure != "figure6":
        for data in (d for d in protocol.large_datasets if d in FIGURES[figure]):
            runs += _chosen(protocol, data, "large")
    return runs


def _trials(protocol: Protocol, data: str, algorithm: str) -> list[Planned]:
    return [
        Planned.trial(protocol, data, algorithm, candidate)
        for candidate in protocol.candidates(algorithm)
    ]


def _again(protocol: Protocol, data: str, algorithm: str) -> list[Planned]:
    """The sweep's best trials with the other seeds; the sweep chooses which."""
    return [
        Planned(protocol.name, data, "again", algorithm, seed, None, (), rank)
        for seed in protocol.seeds_of("again")
        for rank in range(protocol.again)
    ]


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


class Trial(NamedTuple):
    """What became of a candidate.

    Attributes:
      candidate: what was tried.
      values: the objective of its runs, by seed; infinite where one diverged.
    """

    candidate: Candidate
    values: tuple[float, ...]

    @property
    def value(self) -> float:
        """The mean over its runs."""
        return math.fsum(self.values) / len(self.values)


class Choice(NamedTuple):
    """What a sweep says.

    Attributes:
      best: the best trial; None if all diverged.
      at_end: "lowest" or "highest" if its step size is an end of the grid, else "". Of a search: if
        it is in the first or last tenth of the range.
      trials: in the order of the plan.
    """

    best: Trial | None
    at_end: str
    trials: tuple[Trial, ...]

    @property
    def step_size(self) -> float | None:
        """The best; None if all diverged."""
        return self.best and self.best.candidate.step_size

    @property
    def value(self) -> float:
        """Of the best."""
        return self.best.value if self.best else math.inf


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
    trials = _tried(protocol, dataset, algorithm, records)
    whole = len(trials) == len(protocol.candidates(algorithm))
    if not trials or not (whole or partial):
        return None
    ranked = _ranked(trials)
    if whole and protocol.again:
        best = _tried_again(protocol, dataset, algorithm, records, ranked[: protocol.again])
        if not partial and any(len(t.values) < len(protocol.sweep_seeds) for t in best):
            return None
        trials = [next((b for b in best if b.candidate == t.candidate), t) for t in trials]
        ranked = _ranked(best)
    best = ranked[0] if ranked else None
    end = _end(protocol, algorithm, best.candidate.step_size) if best else ""
    return Choice(best, end, tuple(trials))


def _tried(protocol: Protocol, dataset: str, algorithm: str, records: Records) -> list[Trial]:
    """The finished trials of the sweep, each of its first seed."""
    runs = {
        c: Planned.trial(protocol, dataset, algorithm, c) for c in protocol.candidates(algorithm)
    }
    return [Trial(c, (objective(records[r.key]),)) for c, r in runs.items() if r.key in records]


def _tried_again(
    protocol: Protocol, dataset: str, algorithm: str, records: Records, best: Sequence[Trial]
) -> list[Trial]:
    """The best trials with what their runs of the other seeds say, as far as those are done."""
    found = list(best)
    for run in _again(protocol, dataset, algorithm):
        if run.rank is not None and run.rank < len(best):
            record = records.get(_with(run, best[run.rank].candidate).key)
            values = found[run.rank].values + ((objective(record),) if record else ())
            found[run.rank] = found[run.rank]._replace(values=values)
    return found


def _ranked(trials: Sequence[Trial]) -> list[Trial]:
    """Those that did not diverge, the best first; of equals the smallest step size."""
    known = (t for t in trials if math.isfinite(t.value))
    return sorted(known, key=lambda t: (t.value, t.candidate.step_size))


def _end(protocol: Protocol, algorithm: str, step_size: float) -> str:
    """At which end of what was tried a step size is."""
    if protocol.trials:
        low, high = (ALGORITHMS[algorithm].ranges["step_size"].at(u) for u in (0.1, 0.9))
    else:
        low, *_, high = protocol.steps_of(algorithm)
    if step_size >= high:
        return "highest"
    return "lowest" if step_size <= low else ""


def _with(run: Planned, candidate: Candidate) -> Planned:
    return dataclasses.replace(run, step_size=candidate.step_size, more=candidate.more)


def with_step(run: Planned, protocol: Protocol, records: Records) -> Planned | None:
    """The run with its hyperparameters; None while (or if) the sweep has none for it."""
    if run.step_size is not None:
        return run
    where = (protocol, run.dataset, run.algorithm, records)
    if run.rank is None:
        choice = choose(*where)
        best = choice and choice.best
    else:
        best = dict(enumerate(_ranked(_tried(*where)))).get(run.rank) if _swept(*where) else None
    return _with(run, best.candidate) if best else None


def _swept(protocol: Protocol, dataset: str, algorithm: str, records: Records) -> bool:
    """Whether every trial of the sweep is done."""
    return len(_tried(protocol, dataset, algorithm, records)) == len(protocol.candidates(algorithm))


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
    where = (protocol, run.dataset, run.algorithm, records)
    return choose(*where) is not None if run.rank is None else _swept(*where)


def ready(protocol: Protocol, figure: str, records: Records) -> list[Planned]:
    """The missing runs whose step size is known, in their order."""
    found = (with_step(r, protocol, records) for r in missing(protocol, figure, records))
    return [r for r in found if r is not None]
