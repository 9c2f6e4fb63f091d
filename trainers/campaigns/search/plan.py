"""A sweep at work: Optuna's study, the trials that run, what is written of them.

Optuna's storage is the truth. A trial belongs to the place where it began, a folder that has an
identity of its own (sweep.json); there, whoever holds its lock runs it, and a trial that is said
to run while nobody holds its lock is taken up where its checkpoint is.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import json
import time
import uuid
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from tf_mixed_nash.errors import InputError
from trainers.campaigns.search import report, space
from trainers.campaigns.trials import PRUNED, Process, Watch, free, mark_pruned, read_card
from trainers.experiment import settings
from trainers.sweep import PRUNERS, SAMPLERS, Spec, Trial
from trainers.system import cli, lock
from trainers.system.files import make_writable, write_json
from trainers.system.stopping import Stopped, StopRequest
from trainers.tasks import kinds

__all__ = ["Plan", "Study"]

_POLL_SECONDS, _LOOK_SECONDS = 0.2, 2.0
# A trial that was begun so long ago and belongs to no place lost its process at once.
_UNPLACED = datetime.timedelta(seconds=30)
# A trainer that others stop is started again so often.
_STARTS = 4
# After so many trials in a row that ended as no trial should, the sweep ends.
_FAILURES = 3
_RACES = 3
# Scores that are reported of each trial.
_REPORTS = 20
_STARTUP_TRIALS = 10


class Plan:
    """A checked spec.

    Attributes:
      searches, objective: read from their flags.
      points: of a grid; [] for the other samplers.
      limit: trials in all.
      score_every: of the trials; 0 if nothing is scored during them.
      reports: scores of each trial.

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
                raise InputError(f"Unknown --{flag}={value}. Choose one of: {', '.join(valid)}.")
        for flag, value, low in (
            ("num_trials", spec.num_trials, 1),
            ("jobs", spec.jobs, 1),
            ("threads", spec.threads, 0),
            ("seed", spec.seed, 0),
        ):
            if not isinstance(value, int) or value < low:
                raise InputError(f"--{flag} must be an integer of at least {low}, got {value}.")
        self.searches = space.parse_searches(spec.search)
        self.objective = space.parse_objective(spec.objective)
        self.points = space.grid(self.searches) if spec.sampler == "grid" else []
        self.limit = min(spec.num_trials, len(self.points) or spec.num_trials)
        config = self._config()
        self.algorithm: str = config.algorithm
        self.score_every = self._score_every(config)
        self.reports = config.num_batches // self.score_every if self.score_every else 0

    def _config(self) -> Any:
        """The config of the trials but for what is searched, whose extreme values it can take."""
        # The second is for the probes: a copy would not know the types of what is None.
        config, probe = (cli.load_config(self.spec.config) for _ in range(2))
        items = [f"algorithm={self.spec.algorithm}"] if self.spec.algorithm else []
        items += self.spec.set
        for each in (config, probe):
            settings.override(each, items)
        given = [item.partition("=")[0] for item in items]
        for s in self.searches:
            if s.key in given:
                raise InputError(f"{s.key} is searched, and set too. Do one of them.")
            for value in s.extremes():
                _override(probe, s.key, value)
        return config

    def _score_every(self, config: Any) -> int:
        if self.spec.pruner == "none":
            return config.score_every
        if kinds.kind_of(config) == "images":
            raise InputError(
                f"--pruner={self.spec.pruner} needs scores during the training, which there are "
                "of data in the plane only. Choose --pruner=none."
            )
        if self.objective.metric not in settings.SCORES:
            raise InputError(
                f"--pruner={self.spec.pruner} cannot see {self.objective.metric} during the "
                f"training. Choose --pruner=none, or a metric of: {', '.join(settings.SCORES)}."
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
            "objective": self.spec.objective,
            "grid": self.spec.sampler == "grid",
        }

    def command(self, trainer: Sequence[str], params: dict[str, Any], workdir: Path) -> list[str]:
        """The trainer's command for one trial."""
        spec = self.spec
        items = [f"algorithm={spec.algorithm}"] if spec.algorithm else []
        given = [item.partition("=")[0] for item in spec.set]
        if self.score_every and "score_every" not in given:
            items.append(f"score_every={self.score_every}")
        if "keep_last" not in given:
            items.append("keep_last=1")  # the disk is full of trials soon enough
        items += [*spec.set, *(f"{key}={value}" for key, value in params.items())]
        flags = (f"--config.{item}" for item in items)
        return [*trainer, f"--config={spec.config}", *flags, f"--workdir={workdir}"]

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


def _override(config: Any, key: str, value: Any) -> None:
    try:
        config.update_from_flattened_dict({key: value})
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"--search={key}: {str(error).strip()}") from None


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


class Study:
    """See `trainers.sweep.run`.

    Args:
      spec: the sweep.
      trainer: the command of trainers.run.
    """

    def __init__(self, spec: Spec, trainer: Sequence[str]):
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.plan = Plan(spec)
        self.trainer = trainer
        self.output = Path(spec.output)
        self._active: list[_Running] = []
        self._looked = -_LOOK_SECONDS
        self._failures = 0
        make_writable(self.output, "--output")
        for name in ("trials", "logs", "locks"):
            (self.output / name).mkdir(exist_ok=True)
        with self._alone():
            self.place = self._identity()
            self.study = self._open()

    def _identity(self) -> str:
        """The name of this folder among those that work on the study."""
        path, name = self.output / "sweep.json", self.plan.study_name
        if path.is_file():
            known = json.loads(path.read_text())
            _check_same(self.plan.definition, known["definition"], f"{self.output} holds")
            if known["study"] != name:
                raise InputError(
                    f"{self.output} holds the study {known['study']!r}, not {name!r}. Give another "
                    "folder with --output."
                )
            return known["place"]
        place = uuid.uuid4().hex
        write_json(path, {"study": name, "place": place, "definition": self.plan.definition})
        return place

    def _open(self) -> optuna.Study:
        """The study, made if it is not there."""
        spec, definition = self.plan.spec, json.dumps(self.plan.definition, sort_keys=True)
        url = spec.storage or f"sqlite:///{self.output.resolve()}/sweep.db"
        wait = {"connect_args": {"timeout": 60}} if url.startswith("sqlite") else {}

        def create() -> optuna.Study:
            storage = (
                optuna.storages.RDBStorage(url, engine_kwargs=wait)
                if "://" in url and not url.startswith(("redis", "journal"))
                else optuna.storages.get_storage(url)
            )
            return optuna.create_study(
                storage=storage,
                study_name=self.plan.study_name,
                direction=self.plan.objective.direction,
                load_if_exists=True,
                sampler=optuna.samplers.RandomSampler(),
                pruner=self.plan.pruner(),
            )

        try:
            study = _after_a_race(create)
        except Exception as error:  # Optuna, SQLAlchemy and the database's driver have their own
            line = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise InputError(
                f"The storage {url} cannot be used ({line}). Give a URL such as "
                "sqlite:////shared/sweep.db or postgresql://USER@HOST/NAME with --storage."
            ) from None
        there = study.user_attrs.get("definition")
        if there:
            _check_same(json.loads(definition), json.loads(there), "The storage's study is of")
        else:
            study.set_user_attr("definition", definition)
        return study

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Waits until no other process of this folder is inside."""
        with (self.output / "locks" / "sweep").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    # Running.

    def run(self) -> list[Trial]:
        """Runs what is missing; returns all trials."""
        with StopRequest() as stop:
            try:
                while not stop.code and self._go_on():
                    time.sleep(_POLL_SECONDS)
            finally:
                self._stop()
            if stop.code:
                self._report()
                raise Stopped(stop.code)
        trials = self._report()
        print(report.table(trials, self.plan.objective))
        return trials

    def _go_on(self) -> bool:
        """Starts, watches and ends trials; False if there is nothing left to do here."""
        self._fill()
        for running in list(self._active):
            state = running.advance()
            if state:
                self._active.remove(running)
                running.close()
                self._after(running, state)
        return bool(self._active) or self._fill(now=True)

    def _fill(self, now: bool = False) -> bool:
        """Takes trials while there are places for them; whether it took one."""
        if len(self._active) >= self.plan.spec.jobs:
            return False
        if not now and self._active and time.monotonic() - self._looked < _LOOK_SECONDS:
            return False
        before = len(self._active)
        with self._alone():
            while len(self._active) < self.plan.spec.jobs and (found := self._next()):
                self._active.append(found)
        self._looked = time.monotonic()
        return len(self._active) > before

    def _next(self) -> _Running | None:
        """A trial that lost its process, or else a new one, if there may be one more."""
        trials = self.study.get_trials(deepcopy=False)
        for frozen in trials:
            if frozen.state == TrialState.RUNNING and self._is_ours(frozen):
                with contextlib.suppress(InputError):
                    return self._take(optuna.Trial(self.study, frozen._trial_id))
        if len(trials) >= self.plan.limit:
            return None
        trial = self.study.ask()
        if self.plan.points and trial.number >= len(self.plan.points):  # another machine was faster
            self.study.tell(trial, state=TrialState.FAIL)
            return None
        return self._take(trial)

    def _is_ours(self, frozen: FrozenTrial) -> bool:
        if any(running.trial.number == frozen.number for running in self._active):
            return False
        place = frozen.user_attrs.get("place")
        if place is None and frozen.datetime_start:
            return datetime.datetime.now() - frozen.datetime_start > _UNPLACED
        return place == self.place

    def _take(self, trial: optuna.Trial) -> _Running:
        """Makes the trial this process's own.

        Raises:
          InputError: if another process has it.
        """
        running = _Running(self, trial)
        self.study.sampler = self.plan.sampler(trial.number)
        running.params = {s.key: s.suggest(trial) for s in self.plan.searches}
        return running

    def _stop(self) -> None:
        """Stops all that run, and waits for their checkpoints."""
        for running in self._active:
            running.stop()
        for running in self._active:
            running.wait()
            running.close()
        self._active.clear()

    def _after(self, running: _Running, state: str) -> None:
        """Says what became of a trial, and writes it."""
        trials = self._report()
        trial = next(t for t in trials if t.number == running.trial.number)
        print(report.progress(trial, trials, self.plan), flush=True)
        self._failures = self._failures + 1 if state == "failed" else 0
        if state == "failed":
            print(f"warning: trial {trial.number} failed: {running.said}", flush=True)
        if self._failures >= _FAILURES:
            raise InputError(
                f"{_FAILURES} trials in a row failed, the last with: {running.said} See "
                f"{running.log}."
            )

    # What is written.

    def _report(self) -> list[Trial]:
        with self._alone():
            trials = [self._trial(frozen) for frozen in self.study.get_trials(deepcopy=False)]
            report.write(self.output, trials, self.plan, self.trainer)
        return trials

    def _trial(self, frozen: FrozenTrial) -> Trial:
        facts = frozen.user_attrs
        here = facts.get("place") == self.place
        workdir = self.workdir(frozen.number) if here else Path(facts.get("workdir", ""))
        complete = frozen.state == TrialState.COMPLETE and not facts.get("diverged")
        value = frozen.value if complete and np.isfinite(frozen.value or 0.0) else None
        states = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned"}
        states |= {TrialState.FAIL: "failed"}
        return Trial(
            number=frozen.number,
            params=dict(frozen.params),
            state="diverged" if facts.get("diverged") else states.get(frozen.state, "running"),
            value=value,
            workdir=workdir,
            scorecard=read_card(workdir) if complete and workdir.name else None,
            strategy=facts.get("strategy"),
            seconds=facts.get("seconds", 0.0),
            scores=facts.get("scores"),
        )

    def workdir(self, number: int) -> Path:
        """Of a trial of this folder."""
        return self.output / "trials" / f"{number:04d}"


def _after_a_race(create: Callable[[], optuna.Study]) -> optuna.Study:
    """Creates the study; again if another process made the same tables in the same moment.

    Optuna makes the tables of a new database without a lock: who comes second fails once.
    """
    for _ in range(_RACES):
        try:
            return create()
        except Exception as error:  # of SQLAlchemy, wherever Optuna lets it through
            signs = ("unique constraint", "already exists")
            if not any(sign in str(error).lower() for sign in signs):
                raise
            time.sleep(0.5)
    return create()


def _check_same(ours: dict[str, Any], theirs: dict[str, Any], whose: str) -> None:
    different = [key for key in ours if ours[key] != theirs.get(key)]
    if different:
        key = different[0]
        raise InputError(
            f"{whose} a sweep with another {key} ({theirs.get(key)} there, {ours[key]} now). Give "
            "the same flags, or another --output and --study."
        )


class _Running:
    """A trial that this process runs; it holds its lock.

    Raises:
      InputError: if another process holds it.
    """

    def __init__(self, owner: Study, trial: optuna.Trial):
        self.owner, self.trial = owner, trial
        self.params: dict[str, Any] = {}
        self.workdir = owner.workdir(trial.number)
        self.log = owner.output / "logs" / f"{trial.number:04d}.log"
        self.said = ""
        folder = owner.output / "locks" / f"{trial.number:04d}"
        folder.mkdir(exist_ok=True)
        self._held = contextlib.ExitStack()
        self._held.enter_context(lock.hold(folder))
        self._process: Process | None = None
        self._starts = 0
        self._since: float | None = None  # the trainer runs
        self._watch = Watch(self.workdir)
        self._seconds = trial.user_attrs.get("seconds", 0.0)
        self._reported = set(owner.study._storage.get_trial(trial._trial_id).intermediate_values)
        self._pruned = (self.workdir / PRUNED).is_file()
        trial.set_user_attr("place", owner.place)
        trial.set_user_attr("workdir", str(self.workdir.resolve()))

    def advance(self) -> str | None:
        """Goes on; its state once it has ended, which the study knows then."""
        if self._process is None:
            return self._begin()
        code = self._process.poll()
        self._look()
        return None if code is None else self._end(code)

    def stop(self) -> None:
        """Asks the trainer to stop."""
        if self._process:
            self._process.stop()

    def wait(self) -> None:
        """Waits for the end of the trainer."""
        while self._process and self._process.poll() is None:
            time.sleep(_POLL_SECONDS / 4)

    def close(self) -> None:
        """Lets the trial go: ended, or for the next session."""
        self._add_seconds()
        self._held.close()

    # From its beginning to its end.

    def _begin(self) -> str | None:
        if read_card(self.workdir):
            return self._complete()
        if not free(self.workdir):
            return None  # the trainer of a sweep that was killed writes its checkpoint
        if self._pruned:
            return self._tell("pruned", state=TrialState.PRUNED)
        owner = self.owner
        command = owner.plan.command(owner.trainer, self.params, self.workdir)
        self._starts, self._since = self._starts + 1, time.monotonic()
        self._process = Process(command, self.log, owner.plan.spec.threads)
        return None

    def _look(self) -> None:
        """Reports new scores; stops a trial that the pruner gives up."""
        plan = self.owner.plan
        if not plan.score_every:
            return
        for step, scores in self._watch.new():
            found, index = plan.objective.of(scores), step // plan.score_every
            if found is None or index in self._reported:
                continue
            self._reported.add(index)
            self.trial.report(found[0], index)
            if not self._pruned and self.trial.should_prune():
                self._pruned = True
                mark_pruned(self.workdir, step, found[0])
                self.stop()

    def _end(self, code: int) -> str | None:
        """What an exit code means; None if the trainer is to be started again."""
        process, self._process = self._process, None
        assert process is not None
        self._add_seconds()
        if code == cli.DONE:
            return self._complete()
        if code == cli.DIVERGED:
            return self._diverge()
        self.said = process.said()
        if code == cli.BAD_INPUT:
            raise InputError(f"Trial {self.trial.number} could not be run: {self.said}")
        stopped = code < 0 or code in (cli.STOPPED, cli.INTERRUPTED)
        if stopped and self._pruned:
            return self._tell("pruned", state=TrialState.PRUNED)
        if stopped and self._starts < _STARTS:
            return None
        return self._tell("failed", state=TrialState.FAIL)

    def _complete(self) -> str:
        (self.workdir / PRUNED).unlink(missing_ok=True)  # it was faster than its SIGTERM
        card, objective = read_card(self.workdir), self.owner.plan.objective
        if card is None:
            return self._tell("failed", state=TrialState.FAIL)
        scores = card["strategies"]
        if not any(objective.metric in values for values in scores.values()):
            valid = ", ".join(next(iter(scores.values())))
            raise InputError(
                f"The scorecards have no {objective.metric}. Choose an --objective of: {valid}."
            )
        found = objective.of(scores)
        self.trial.set_user_attr("scores", scores)
        self.trial.set_user_attr("strategy", found and found[1])
        return self._tell("complete", found[0] if found else objective.worst)

    def _diverge(self) -> str:
        # Not Optuna's FAIL, which its samplers forget: an infinitely bad value, so that they
        # learn where not to look. The grid and the best are the same either way.
        (self.workdir / PRUNED).unlink(missing_ok=True)
        self.trial.set_user_attr("diverged", True)
        return self._tell("diverged", self.owner.plan.objective.worst)

    def _tell(self, name: str, value: float | None = None, **how: Any) -> str:
        if name != "complete" and self._watch.scores:
            self.trial.set_user_attr("scores", self._watch.scores)
        self.owner.study.tell(self.trial, value, skip_if_finished=True, **how)
        return name

    def _add_seconds(self) -> None:
        if self._since is not None:
            self._seconds += time.monotonic() - self._since
            self._since = None
            self.trial.set_user_attr("seconds", round(self._seconds, 1))
