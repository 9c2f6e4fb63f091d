"""A checked sweep: its configs, its jobs, its samplers and pruners."""

from __future__ import annotations

import difflib
import itertools
import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna

from tf_mixed_nash.errors import InputError, unknown
from trainers.campaigns import groups
from trainers.campaigns.jobs import Job
from trainers.campaigns.search import space
from trainers.campaigns.search.spec import PRUNERS, SAMPLERS, Spec
from trainers.experiment import settings, unread
from trainers.system import cli
from trainers.tasks import kinds

__all__ = ["Plan"]

# Scores that are reported of each trial.
_REPORTS = 20
_STARTUP_TRIALS = 10
# Values of what is searched, with each other, that are looked at before the first trial: seconds.
_MOST_WAYS = 256


class Plan:
    """A checked spec.

    Attributes:
      searches, objective: read from their flags.
      looked_for: the objective as text, min|max:ANSWER/METRIC.
      points: of a grid; [] for the other samplers.
      limit: trials in all.
      score_every: of the trials; 0 if nothing is scored during them.
      reports: scores of each trial.
      notes: what is odd about the flags, and may be meant.

    Raises:
      InputError: for the first flag that is not valid.
    """

    def __init__(self, spec: Spec):
        self.spec = spec
        for flag, value, valid in (
            ("sampler", spec.sampler, SAMPLERS),
            ("pruner", spec.pruner, PRUNERS),
        ):
            if value not in valid:
                raise unknown(f"--{flag}", value, valid)
        for flag, value, low in (
            ("num_trials", spec.num_trials, 1),
            ("jobs", spec.jobs, 1),
            ("threads", spec.threads, 0),
            ("seed", spec.seed, 0),
            ("together", spec.together, 0),
        ):
            if not isinstance(value, int) or value < low:
                raise InputError(f"--{flag} must be an integer of at least {low}, got {value}.")
        if spec.together > 1 and spec.pruner != "none":
            raise InputError(
                f"--together={spec.together} trains trials as one program, of which --pruner="
                f"{spec.pruner} cannot stop one. Set --pruner=none."
            )
        # Who looks at the trials that ended before the next is chosen gets one at a time.
        blind = spec.pruner == "none" and spec.sampler in ("grid", "random")
        self.together = groups.most(spec.together) if blind or spec.together else 1
        self.searches = space.parse_searches(spec.search)
        self.points = space.grid(self.searches) if spec.sampler == "grid" else []
        self.limit = min(spec.num_trials, len(self.points) or spec.num_trials)
        config = self._config()
        self.notes = self._checked(config)
        kind = kinds.kind_of(config)
        self.looked_for = spec.objective or f"min:best/{kinds.SCORES[kind][0]}"
        self.objective = space.parse_objective(
            self.looked_for, settings.answers_of(config)[len(settings.ANSWERS) :]
        )
        if self.objective.metric not in kinds.SCORES[kind]:
            raise _no_metric(self.objective.metric, config, kinds.SCORES[kind])
        self.notes += _odd(self.objective, self.looked_for)
        self.algorithm: str = config.algorithm
        self.score_every = self._score_every(config)
        self.reports = config.num_batches // self.score_every if self.score_every else 0

    def _config(self) -> Any:
        """The config of the trials but for what is searched, whose extreme values it can take."""
        # The second is for the probes: a copy would not know the types of what is None.
        config, probe = (cli.load_config(self.spec.config) for _ in range(2))
        items = [f"algorithm={self.spec.algorithm}"] if self.spec.algorithm else []
        self._items = [*items, *self.spec.set]
        for each in (config, probe):
            settings.override(each, self._items)
        given = [item.partition("=")[0] for item in self._items]
        for s in self.searches:
            if s.key in given:
                raise InputError(f"{s.key} is searched, and set too. Do one of them.")
            for value in s.extremes():
                settings.assign(probe, s.key, value, "--search")
        return config

    def _checked(self, config: Any) -> list[str]:
        """Notes, once it is known that each value can be had, and does something.

        Looked at are the configs of the ends of ranges and the values of grids, with each other.
        """
        num = math.prod(len(s.extremes()) for s in self.searches)
        if num > _MOST_WAYS:  # of some of them nothing follows
            return self._notes([])
        ways = itertools.product(*(s.extremes() for s in self.searches))
        good, refused = set(), {}
        # What no way has read yet, and why the first did not.
        idle: dict[str, str] | None = None
        for way in ways:
            probe = self._with(way)
            pairs = [(s.key, repr(x)) for s, x in zip(self.searches, way, strict=True)]
            try:
                resolved = settings.resolve(probe)
            except InputError as error:
                refused |= {pair: error for pair in pairs if pair not in refused}
                continue
            good |= set(pairs)
            keys = [*(s.key for s in self.searches), *self._given] if idle is None else idle
            found = {key: unread.reason(resolved, key) for key in keys}
            idle = {key: (idle or found)[key] for key, why in found.items() if why}
        for (key, value), error in refused.items():
            if (key, value) not in good:
                raise InputError(f"--search={key}=... has {value}: {error}")
        idle = idle or {}
        for s in self.searches:
            if s.key in idle:
                raise InputError(
                    f"--search={s.key}=... has no effect: {idle[s.key]}. Search another key."
                )
        return self._notes([f"--set={key} has no effect: {why}" for key, why in idle.items()])

    def _notes(self, unused: Sequence[str]) -> list[str]:
        notes, searched = [*unused], {s.key for s in self.searches}
        if "seed" in searched:
            notes.append("--search=seed=... finds the luckiest seed, which no other run will have")
        if "num_batches" in searched:
            notes.append("--search=num_batches=... gives trials of unequal length")
        return notes

    @property
    def _given(self) -> list[str]:
        return [item.partition("=")[0] for item in self.spec.set]

    def _with(self, values: Sequence[Any]) -> Any:
        """The config of a trial with these values of what is searched."""
        config = cli.load_config(self.spec.config)
        settings.override(config, self._items)
        for s, value in zip(self.searches, values, strict=True):
            settings.assign(config, s.key, value, "--search")
        return config

    def _score_every(self, config: Any) -> int:
        if self.spec.pruner == "none":
            return config.score_every
        monitored = kinds.monitored(config)
        if self.objective.metric not in monitored:
            raise InputError(
                f"--pruner={self.spec.pruner} cannot see {self.objective.metric} during the "
                f"training. Choose --pruner=none, or a metric of: {', '.join(monitored)}."
            )
        # A record comes every log_every, so that no more scores than records can be had.
        return config.score_every or max(config.num_batches // _REPORTS, config.log_every)

    @property
    def study_name(self) -> str:
        """Of the flag, or the config's and the algorithm's."""
        return self.spec.study or f"{Path(self.spec.config).stem}-{self.algorithm}"

    @property
    def definition(self) -> dict[str, Any]:
        """What all sessions of one study must agree on."""
        return {
            "config": Path(self.spec.config).name,
            "algorithm": self.algorithm,
            "search": sorted(self.spec.search),
            "set": sorted(self.spec.set),
            "objective": self.looked_for,
            "grid": self.spec.sampler == "grid",
        }

    def job(self, name: str, params: dict[str, Any], workdir: Path, trainer: Sequence[str]) -> Job:
        """One trial."""
        spec = self.spec
        items = [f"algorithm={spec.algorithm}"] if spec.algorithm else []
        given = [item.partition("=")[0] for item in spec.set]
        if self.score_every and "score_every" not in given:
            items.append(f"score_every={self.score_every}")
        if "keep_last" not in given:
            items.append("keep_last=1")  # the disk is full of trials soon enough
        items += [*spec.set, *(f"{key}={value}" for key, value in params.items())]
        return Job(name, spec.config, items, workdir, trainer)

    def sampler(self, number: int) -> optuna.samplers.BaseSampler:
        """That of trial `number`: a function of the seed, the number, and the trials before."""
        if self.points:
            return _GridSampler(self.points)
        seed = int(np.random.SeedSequence([self.spec.seed, number]).generate_state(1)[0])
        if self.spec.sampler == "random":
            return optuna.samplers.RandomSampler(seed)
        startup = max(3, min(_STARTUP_TRIALS, self.spec.num_trials // 3))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            # Trials that run count as bad ones, lest many at once try the same place.
            return optuna.samplers.TPESampler(
                n_startup_trials=startup, seed=seed, constant_liar=True
            )

    def pruner(self) -> optuna.pruners.BasePruner:
        """Counts the scores of a trial, from 1 to `reports`."""
        if self.spec.pruner == "median":
            # Nothing is known of a trial at its beginning, nor of many after a few.
            warmup = self.reports // 4
            return optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=warmup)
        if self.spec.pruner == "hyperband":
            longest = max(self.reports, 1)
            return optuna.pruners.HyperbandPruner(max(longest // 9, 1), longest)
        return optuna.pruners.NopPruner()


def _odd(objective: space.Objective, text: str) -> list[str]:
    """A note if the objective is the worst run."""
    wrong = kinds.LOWER if objective.maximize else kinds.HIGHER
    if objective.metric in wrong:
        better = "lower" if objective.maximize else "higher"
        return [f"--objective={text} looks for the worst: {objective.metric} is better {better}"]
    if objective.metric == "std_ratio":
        return [f"--objective={text} looks for an end: a std ratio should be 1"]
    return []


def _no_metric(metric: str, config: Any, valid: Sequence[str]) -> InputError:
    close = difflib.get_close_matches(metric, valid, n=1)
    hint = f" Did you mean {close[0]}?" if close else ""
    return InputError(
        f"The scorecards of dataset={config.dataset} have no {metric}.{hint} Choose an --objective "
        f"of: {', '.join(valid)}."
    )


class _GridSampler(optuna.samplers.BaseSampler):
    """Trial number n is point n: each once, however many processes and sessions there are."""

    def __init__(self, points: Sequence[dict[str, Any]]):
        self._points = points

    def infer_relative_search_space(self, study, trial):
        return {}

    def sample_relative(self, study, trial, search_space):
        return {}

    def sample_independent(self, study, trial, param_name, param_distribution):
        return self._points[trial.number][param_name]
