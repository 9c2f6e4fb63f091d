"""Jobs that one trainer makes as a population (trainers.many), where that is faster."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable, Hashable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from tf_mixed_nash.errors import InputError
from trainers.campaigns.jobs import (
    STARTS,
    Alone,
    Campaign,
    Ended,
    Job,
    Starter,
    is_divergence,
    warn,
    was_stopped,
)
from trainers.system import cli
from trainers.system.files import write_json
from trainers.system.processes import MANY, TRAINER, Process
from trainers.workdir.folder import Watch, free, read_card

__all__ = ["AUTO", "Together", "kind_of", "most", "side_by_side"]

T = TypeVar("T")

# Runs of a population where the flag --together leaves it to us, on a GPU.
AUTO = 16
_POLL_SECONDS = 0.05
_DRIVER = Path("/proc/driver/nvidia")


def most(together: int) -> int:
    """How many runs one program makes at most.

    On a GPU a step of small networks is as long as the launches of its kernels, of which a
    population has as many as one run. On CPUs it is the arithmetic, and a run's share of a
    population costs what it costs alone (docs/many.md).

    Args:
      together: of the flag; 0 leaves it to this rule.
    """
    # A population is of one device.
    return together or (AUTO if _num_gpus() == 1 else 1)


def _num_gpus() -> int:
    """Those that a trainer would see; without TensorFlow, for which a campaign need not wait."""
    there = len(list(_DRIVER.glob("gpus/*")))
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is None:
        return there
    return min(there, len([name for name in chosen.split(",") if name.strip() not in ("", "-1")]))


def kind_of(job: Job) -> str:
    """What the jobs of one population have in common; "" of a job that is to run alone."""
    if tuple(job.trainer) != TRAINER:
        return ""
    # Here, for who starts each job by itself need not wait for TensorFlow.
    from trainers.experiment import population, settings

    config = cli.load_config(job.config)
    settings.override(config, job.settings)
    resolved = settings.resolve(config)
    return population.kind_of(resolved) if population.expected(resolved) else ""


def side_by_side(items: Iterable[T], kind: Callable[[T], Hashable]) -> list[T]:
    """Those of one kind after each other, in the order of the first of each kind.

    `Together` takes what stands together. A plan goes seed by seed, each setting a program.
    """
    kinds: dict[Hashable, list[T]] = {}
    for item in items:
        kinds.setdefault(kind(item), []).append(item)
    return [item for mine in kinds.values() for item in mine]


class Together(Starter):
    """Starts jobs that may be one population together, and the others each by itself.

    Args:
      most: runs of a population.
      threads: of each trainer; 0: TensorFlow's choice.
      show: copies what the trainers print to stderr.
      kind: of a job, see `kind_of`.
      trainer: the command of trainers.many.
    """

    def __init__(
        self,
        most: int,
        threads: int = 0,
        show: bool = False,
        kind: Callable[[Job], str] = kind_of,
        trainer: Sequence[str] = MANY,
    ):
        super().__init__(threads, show)
        self._most, self._kind, self._trainer = most, kind, trainer
        self.left: list[Job] = []

    def start(self, campaign: Campaign, running: int) -> Any:
        """See `Starter.start`."""
        group: list[Job] = []
        kind = ""
        while len(group) < self._most:
            job = self.left.pop() if self.left else campaign.next(running + len(group))
            if job is None:
                break
            # Of two jobs or more: who starts each by itself does not ask.
            kind = kind or (self._kind(group[0]) if group else "")
            if group and (not kind or kind != self._kind(job)):
                self.left.append(job)
                break
            group.append(job)
        if len(group) > 1:
            return _Group(group, self.threads, self.show, self._trainer)
        return Alone(group[0], self.threads, self.show) if group else None


class _Group:
    """Jobs at work in one process: from the wait for their workdirs to their ends.

    The trainer prints to the log of the first, of which the other logs tell.
    """

    def __init__(self, group: Sequence[Job], threads: int, show: bool, trainer: Sequence[str]):
        self._jobs, self._trainer = list(group), trainer
        self._threads, self._show = threads, show
        self._process: Process | None = None
        self._watches = {job.workdir: Watch(job.workdir) for job in group}
        self._folder = tempfile.TemporaryDirectory(prefix="together-")
        self._starts, self._since, self._seconds = 0, 0.0, 0.0
        self._waits = False

    def advance(self, campaign: Campaign) -> list[tuple[Job, Ended]]:
        """Goes on; the jobs and how they ended, once all have."""
        if self._process is None:
            self._begin()
            return []
        code = self._process.poll()
        for job in self._jobs:
            if scores := list(self._watches[job.workdir].new()):
                campaign.see(job, scores)
        return [] if code is None else self._end(code)

    def stop(self) -> None:
        """Asks the trainer to stop."""
        if self._process:
            self._process.stop()

    def wait(self) -> list[tuple[Job, Ended]]:
        """Waits for the end of the trainer, which was asked to stop; as `advance`."""
        if self._process is None:
            self._folder.cleanup()
            return [(job, Ended("stopped", 0.0, "")) for job in self._jobs]
        while (code := self._process.poll()) is None:
            time.sleep(_POLL_SECONDS)
        ended = self._end(code, stopping=True)
        stopped = Ended("stopped", self._seconds / len(self._jobs), "")
        return [(job, stopped if e.how == "failed" else e) for job, e in ended]

    def _begin(self) -> None:
        busy = [job for job in self._jobs if not free(job.workdir)]
        if busy:
            if not self._waits:
                warn(f"another trainer works in {busy[0].workdir}; waiting for its end.")
            self._waits = True
            return
        runs, self._outcomes = (Path(self._folder.name) / n for n in ("runs.json", "ends.json"))
        self._outcomes.unlink(missing_ok=True)
        facts = [
            {"config": j.config, "settings": list(j.settings), "workdir": str(j.workdir)}
            for j in self._jobs
        ]
        write_json(runs, facts)
        log = self._jobs[0].log
        for job in self._jobs[1:]:
            job.log.parent.mkdir(parents=True, exist_ok=True)
            with job.log.open("a") as file:
                file.write(f"Trained with {len(self._jobs) - 1} others; their log is {log}\n")
        command = [*self._trainer, f"--runs={runs}", f"--outcomes={self._outcomes}"]
        self._starts, self._since = self._starts + 1, time.monotonic()
        self._process = Process(command, log, self._threads, self._show)

    def _end(self, code: int, stopping: bool = False) -> list[tuple[Job, Ended]]:
        """What became of each; nothing if the trainer is to be started again."""
        process, self._process = self._process, None
        assert process is not None
        self._seconds += time.monotonic() - self._since
        said = process.said()
        if code == cli.BAD_INPUT:
            self._folder.cleanup()
            name, others = self._jobs[0].name, len(self._jobs) - 1
            raise InputError(
                f"{name[:1].upper()}{name[1:]} and {others} more could not be run: {said}"
            )
        outcomes = self._read(code)
        ends = [
            self._ended(job, outcome, f"exit code {code}, {said}")
            for job, outcome in zip(self._jobs, outcomes, strict=True)
        ]
        if any(e.how == "stopped" for e in ends) and not stopping and self._starts < STARTS:
            return []
        self._folder.cleanup()
        if not stopping:
            ends = [e._replace(how="failed") if e.how == "stopped" else e for e in ends]
        return list(zip(self._jobs, ends, strict=True))

    def _read(self, code: int) -> list[dict[str, str]]:
        """What the trainer wrote of each; nothing after a kill or where it failed as a whole."""
        try:
            return json.loads(self._outcomes.read_text())
        except (OSError, ValueError):
            how = "stopped" if was_stopped(code) else "failed"
            return [{"how": how, "said": ""} for _ in self._jobs]

    def _ended(self, job: Job, outcome: dict[str, str], said: str) -> Ended:
        seconds = self._seconds / len(self._jobs)  # a run's part
        if read_card(job.workdir) is not None:
            return Ended("done", seconds, "")
        how, own = outcome["how"], outcome["said"]
        if how == "failed" and is_divergence(own):
            how = "diverged"
        # A run that says it is done and has no scorecard failed.
        return Ended("failed" if how == "done" else how, seconds, own or said)
