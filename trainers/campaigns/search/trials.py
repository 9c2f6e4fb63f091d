"""A sweep's trials: Optuna's study is their memory, `jobs.run` runs them.

    OUTPUT/trials/NNNN/          the workdir; pruned.json in it says that it was given up
    OUTPUT/logs/NNNN.log         what the trainer printed, in all its sessions
    OUTPUT/locks/NNNN/.lock      held by the sweep that runs it

Optuna's storage is the truth. A trial belongs to the place where it began, a folder that has an
identity of its own (sweep.json); there, whoever holds its lock runs it, and a trial that is said
to run while nobody holds its lock is taken up where its checkpoint is.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.engine import URL, make_url

from tf_mixed_nash.errors import InputError
from trainers.campaigns import groups, jobs
from trainers.campaigns.jobs import Campaign, Ended, Job, Scores
from trainers.campaigns.search import report
from trainers.campaigns.search.plan import Plan
from trainers.campaigns.search.spec import Spec, Trial
from trainers.system import lock
from trainers.system.files import make_writable, write_json
from trainers.system.stopping import Stopped
from trainers.workdir.folder import read_card

__all__ = ["PRUNED", "Sweep"]

PRUNED = "pruned.json"
# While trials run, the storage is asked for more so often.
_LOOK_SECONDS = 2.0
_RACES = 3


class Sweep(Campaign):
    """A sweep. See `trainers.sweep.run`.

    Args:
      spec: the sweep.
      trainer: the command of trainers.run.
    """

    def __init__(self, spec: Spec, trainer: Sequence[str]):
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.plan = Plan(spec)
        self.trainer = trainer
        self.output = Path(spec.output)
        self._mine: dict[str, _Trial] = {}
        self._looked = 0.0
        self._last_failed = ""
        self._databases: list[optuna.storages.RDBStorage] = []
        make_writable(self.output, "--output")
        for name in ("trials", "logs", "locks"):
            (self.output / name).mkdir(exist_ok=True)
        with contextlib.ExitStack() as failed, self._alone():
            failed.callback(self.close)
            self.place = self._known() or uuid.uuid4().hex
            failed.callback(self._leave_nothing)
            self.storage, self.study = self._open()
            self._sign()
            self._study_id = self.storage.get_study_id_from_name(self.plan.study_name)
            failed.pop_all()

    @property
    def _signature(self) -> Path:
        return self.output / "sweep.json"

    def _known(self) -> str:
        """The name of this folder among those that work on the study; "" of a new one."""
        name = self.plan.study_name
        if not self._signature.is_file():
            return ""
        try:
            known = json.loads(self._signature.read_text())
            study, place, definition = (known[k] for k in ("study", "place", "definition"))
        except (ValueError, KeyError, TypeError):
            raise InputError(
                f"{self._signature} cannot be read. Put it back, or give another --output."
            ) from None
        _check_same(self.plan.definition, definition, f"{self.output} holds")
        if study != name:
            raise InputError(
                f"{self.output} holds the study {study!r}, not {name!r}. Give another "
                "folder with --output."
            )
        return place

    def _sign(self) -> None:
        """Once the storage is open: what could not begin leaves no sweep that others must be."""
        if not self._signature.is_file():
            facts = {"study": self.plan.study_name, "place": self.place}
            write_json(self._signature, {**facts, "definition": self.plan.definition})

    def _leave_nothing(self) -> None:
        """Of a folder that never was a sweep's: what is empty. The rest may be somebody's."""
        if not self._signature.is_file():
            (self.output / "locks" / "sweep").unlink(missing_ok=True)
            for name in ("trials", "logs", "locks"):
                with contextlib.suppress(OSError):
                    (self.output / name).rmdir()

    def _open(self) -> tuple[optuna.storages.BaseStorage, optuna.Study]:
        """The storage, and the study in it, made if it is not there."""
        spec, definition = self.plan.spec, json.dumps(self.plan.definition, sort_keys=True)
        url = spec.storage or _sqlite(self.output.resolve() / "sweep.db")
        wait = {"connect_args": {"timeout": 60}} if url.startswith("sqlite") else {}

        def create() -> tuple[optuna.storages.BaseStorage, optuna.Study]:
            database = "://" in url and not url.startswith(("redis", "journal"))
            where: Any = url
            if database:
                where = optuna.storages.RDBStorage(url, engine_kwargs=wait)
                self._databases.append(where)
            storage = optuna.storages.get_storage(where)
            return storage, optuna.create_study(
                storage=storage,
                study_name=self.plan.study_name,
                direction=self.plan.objective.direction,
                load_if_exists=True,
                sampler=optuna.samplers.RandomSampler(),
                pruner=self.plan.pruner(),
            )

        try:
            storage, study = _after_a_race(create)
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
        return storage, study

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Waits until no other process of this folder is inside."""
        with (self.output / "locks" / "sweep").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def close(self) -> None:
        """Closes the connections to a database, which nobody else does; the sweep is over."""
        for database in self._databases:
            database.remove_session()
            database.engine.dispose()

    def run(self) -> list[Trial]:
        """Runs what is missing; returns all trials."""
        spec = self.plan.spec
        for note in self.plan.notes:
            print(f"warning: {note}.", file=sys.stderr)
        try:
            starter = groups.Together(self.plan.together, spec.threads)
            code = jobs.run(self, spec.jobs, spec.threads, starter=starter)
        finally:
            for trial in self._mine.values():
                trial.close()
        trials = self._report()
        if code == jobs.FAILED:
            raise InputError(f"3 trials in a row failed, the last with: {self._last_failed}")
        if code:
            raise Stopped(code)
        print(report.table(trials, self.plan.objective))
        return trials

    # The campaign.

    def next(self, running: int) -> Job | None:
        """A trial that lost its process, or else a new one, if there may be one more."""
        if running and time.monotonic() - self._looked < _LOOK_SECONDS:
            return None
        with self._alone():
            trial = self._next()
        if trial is None:  # until there is none, there may be more at once
            self._looked = time.monotonic()
            return None
        self._mine[trial.job.name] = trial
        return trial.job

    def see(self, job: Job, scores: Scores) -> bool:
        """Reports new scores; False if the pruner gives the trial up."""
        trial = self._mine[job.name]
        for step, values in scores:
            trial.report(step, values)
        return not trial.pruned

    def take(self, job: Job, ended: Ended) -> str:
        """Tells the study, and writes and says what became of the trial."""
        mine = self._mine.pop(job.name)
        # Who asks for the running trials meanwhile would find it running, and its lock free.
        with self._alone(), contextlib.closing(mine):
            mine.end(ended)
        if ended.how == "stopped":
            return ""
        self._last_failed = f"{ended.said} See {job.log}."
        trials = self._report()
        trial = next(t for t in trials if t.number == mine.trial.number)
        return report.progress(trial, trials, self.plan)

    def _next(self) -> _Trial | None:
        trials = self.study.get_trials(deepcopy=False)
        for frozen in trials:
            if frozen.state == TrialState.RUNNING and self._is_ours(frozen):
                with contextlib.suppress(InputError):  # another process has it
                    return _Trial(self, self._running(frozen.number), frozen.intermediate_values)
        if len(trials) >= self.plan.limit:
            return None
        trial = self._new()
        if self.plan.points and trial.number >= len(self.plan.points):  # another machine was faster
            self.study.tell(trial, state=TrialState.FAIL)
            return None
        return _Trial(self, trial, ())

    def _new(self) -> optuna.Trial:
        """A trial that belongs to this place from its first moment, as `Study.ask`'s do not."""
        born = optuna.trial.create_trial(state=TrialState.RUNNING, user_attrs={"place": self.place})
        return optuna.Trial(self.study, self.storage.create_new_trial(self._study_id, born))

    def _running(self, number: int) -> optuna.Trial:
        """The trial that a session began which is no more."""
        found = self.storage.get_trial_id_from_study_id_trial_number(self._study_id, number)
        return optuna.Trial(self.study, found)

    def _is_ours(self, frozen: FrozenTrial) -> bool:
        mine = (trial.trial.number for trial in self._mine.values())
        return frozen.user_attrs.get("place") == self.place and frozen.number not in mine

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
            answer=facts.get("strategy"),
            seconds=facts.get("seconds", 0.0),
            scores=facts.get("scores"),
        )

    def workdir(self, number: int) -> Path:
        """Of a trial of this folder."""
        return self.output / "trials" / f"{number:04d}"


def _after_a_race(create: Callable[[], Any]) -> Any:
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


class _Trial:
    """A trial that this process runs; it holds its lock.

    Args:
      sweep: its sweep.
      trial: its own.
      reported: the indices of the scores that the study knows.

    Raises:
      InputError: if another process holds it.
    """

    def __init__(self, sweep: Sweep, trial: optuna.Trial, reported: Iterable[int]):
        self.trial, self._sweep = trial, sweep
        name, workdir = f"{trial.number:04d}", sweep.workdir(trial.number)
        folder = sweep.output / "locks" / name
        folder.mkdir(exist_ok=True)
        self._held = contextlib.ExitStack()
        self._held.enter_context(lock.hold(folder))
        self.pruned = (workdir / PRUNED).is_file()
        self._reported, self._scores = set(reported), {}
        trial.set_user_attr("workdir", str(workdir.resolve()))
        plan = sweep.plan
        sweep.study.sampler = plan.sampler(trial.number)
        params = {s.key: s.suggest(trial) for s in plan.searches}
        job = plan.job(f"trial {trial.number}", params, workdir, sweep.trainer)
        self.job = job._replace(log_file=sweep.output / "logs" / f"{name}.log")

    def close(self) -> None:
        """Lets the trial go: ended, or for the next session."""
        self._held.close()

    def report(self, step: int, scores: Any) -> None:
        """Reports the scores of a mini-batch, and asks the pruner, if they are new."""
        plan = self._sweep.plan
        self._scores = scores
        if not plan.score_every:
            return
        found, index = plan.objective.of(scores), step // plan.score_every
        if found is None or index in self._reported:
            return
        self._reported.add(index)
        self.trial.report(found[0], index)
        if not self.pruned and self.trial.should_prune():
            self.pruned = True
            mark = {"step": step, "value": found[0]}
            write_json(self.job.workdir / PRUNED, mark)  # for a session that takes it up

    def end(self, ended: Ended) -> None:
        """Tells the study how the trial ended."""
        seconds = self.trial.user_attrs.get("seconds", 0.0) + ended.seconds
        self.trial.set_user_attr("seconds", round(seconds, 1))
        if ended.how == "stopped":
            return
        if ended.how == "done":
            self._complete()
            return
        if self._scores:
            self.trial.set_user_attr("scores", self._scores)
        if ended.how == "diverged":
            # Not Optuna's FAIL, which its samplers forget: an infinitely bad value, so that they
            # learn where not to look. The grid and the best are the same either way.
            (self.job.workdir / PRUNED).unlink(missing_ok=True)
            self.trial.set_user_attr("diverged", True)
            self._tell(self._sweep.plan.objective.worst)
        else:
            states = {"given up": TrialState.PRUNED, "failed": TrialState.FAIL}
            self._tell(None, state=states[ended.how])

    def _complete(self) -> None:
        (self.job.workdir / PRUNED).unlink(missing_ok=True)  # it was faster than its SIGTERM
        card, objective = read_card(self.job.workdir), self._sweep.plan.objective
        assert card is not None
        scores = card["strategies"]
        if not any(objective.metric in values for values in scores.values()):
            valid = ", ".join(next(iter(scores.values())))
            raise InputError(
                f"The scorecards have no {objective.metric}. Choose an --objective of: {valid}."
            )
        found = objective.of(scores)
        self.trial.set_user_attr("scores", scores)
        self.trial.set_user_attr("strategy", found and found[1])
        self._tell(found[0] if found else objective.worst)

    def _tell(self, value: float | None, **how: Any) -> None:
        self._sweep.study.tell(self.trial, value, skip_if_finished=True, **how)


def _sqlite(path: Path) -> str:
    """The URL of a file.

    Raises:
      InputError: if its path cannot be told in a URL.
    """
    text = URL.create("sqlite", database=str(path)).render_as_string(hide_password=False)
    if make_url(text).database != str(path):  # of SQLAlchemy before 2.1
        raise InputError(
            f"{path} cannot be the name of a database of SQLite's. Give an --output without ?, # "
            "and %, or another --storage."
        )
    return text
