"""Many runs toward one answer: the driver under `compare`, `sweep` and `reproduce`.

A workdir is a run on the disk; a `Job` is one that should be there; a `Campaign` says which comes
next, and remembers. The driver starts a trainer for each job, a process of its own, and knows the
campaign by three questions alone; it has no memory that outlasts it:

    a trainer that others stop or kill is started again from its checkpoint
    a signal stops the trainers after a checkpoint, and so does the end of the minutes
    if the driver is killed the kernel stops them (processes.py), and the next one waits for them
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tf_mixed_nash.errors import InputError
from trainers.system import cli
from trainers.system.processes import TRAINER, Process
from trainers.system.stopping import StopRequest
from trainers.workdir.folder import Watch, free, read_card

__all__ = [
    "FAILED",
    "STARTS",
    "Alone",
    "Campaign",
    "Ended",
    "Job",
    "Scores",
    "Starter",
    "is_divergence",
    "run",
    "warn",
    "was_stopped",
]

FAILED = 1
_POLL_SECONDS = 0.2
# A trainer that others stop is started so often.
STARTS = 4
# After so many jobs in a row that ended as none should, the campaign ends.
_FAILURES = 3
# The last words of a run whose parameters are finite and whose samples are not: it diverged, too.
_NOT_FINITE = "samples are not all finite"

# (mini-batch, answer -> metric -> value) each.
Scores = Sequence[tuple[int, Mapping[str, Mapping[str, float]]]]


class Job(NamedTuple):
    """A run that should be there.

    Attributes:
      name: for messages.
      config: FILE.py[:VARIANT].
      settings: KEY=VALUE each.
      workdir: of the run.
      trainer: the command of trainers.run.
      log_file: what the trainer prints is added to it; None: WORKDIR.log.
    """

    name: str
    config: str
    settings: Sequence[str]
    workdir: Path
    trainer: Sequence[str] = TRAINER
    log_file: Path | None = None

    def command(self) -> list[str]:
        """What makes the run."""
        flags = (f"--config.{item}" for item in self.settings)
        return [*self.trainer, f"--config={self.config}", *flags, f"--workdir={self.workdir}"]

    @property
    def log(self) -> Path:
        """The log file."""
        return self.log_file or self.workdir.with_name(self.workdir.name + ".log")


class Ended(NamedTuple):
    """How a job ended.

    Attributes:
      how: done, diverged, given up (as `Campaign.see` had it), failed, or stopped: the session
        ends, and the run is for the next one.
      seconds: that its trainer ran, in all its starts of this session.
      said: its last error message, or the last line of its log; "" where it was not started.
    """

    how: str
    seconds: float
    said: str


class Campaign:
    """Which runs there should be, and what becomes of them."""

    def next(self, running: int) -> Job | None:
        """The next job, beside so many; None if there is none, or none before one of them ends."""
        raise NotImplementedError

    def see(self, job: Job, scores: Scores) -> bool:
        """Whether the job is to go on. Asked before its start, and when its scores change."""
        return True

    def take(self, job: Job, ended: Ended) -> str:
        """Remembers how a job ended; returns a line to print, or ""."""
        raise NotImplementedError


def run(
    campaign: Campaign,
    side_by_side: int = 1,
    threads: int = 0,
    minutes: float | None = None,
    show: bool = False,
    starter: Starter | None = None,
) -> int:
    """Runs the campaign's jobs until it has no more.

    Args:
      campaign: says which.
      side_by_side: how many at once.
      threads: of each trainer; 0: TensorFlow's choice.
      minutes: after which the trainers are stopped; None: no limit.
      show: copies what the trainers print to stderr.
      starter: of the jobs, with these threads and `show`; None: each by itself.

    Returns:
      cli.DONE, also if the minutes are over; cli.STOPPED or cli.INTERRUPTED after a signal;
      FAILED after three jobs in a row that failed.

    Raises:
      InputError: if a trainer ended with it (exit code 2), or the campaign raises it.
    """
    active: list[Any] = []
    starter = starter or Starter(threads, show)
    deadline = float("inf") if minutes is None else time.monotonic() + 60.0 * minutes
    in_a_row = 0
    with StopRequest() as stop:
        try:
            while not stop.code and time.monotonic() < deadline and in_a_row < _FAILURES:
                while len(active) < side_by_side and (more := starter.start(campaign, len(active))):
                    active.append(more)
                if not active:
                    break
                for each in list(active):
                    if ends := each.advance(campaign):
                        active.remove(each)
                    for job, ended in ends:
                        in_a_row = in_a_row + 1 if ended.how == "failed" else 0
                        _take(campaign, job, ended)
                time.sleep(_POLL_SECONDS)
        finally:
            _stop(active, starter.left, campaign)
    return stop.code or (FAILED if in_a_row >= _FAILURES else cli.DONE)


def _take(campaign: Campaign, job: Job, ended: Ended) -> None:
    if line := campaign.take(job, ended):
        print(line, flush=True)
    if ended.how == "failed":
        warn(f"{job.name} failed: {ended.said} (log: {job.log})")


def is_divergence(said: str) -> bool:
    """Whether a run that failed with these last words diverged."""
    return _NOT_FINITE in said


def was_stopped(code: int) -> bool:
    """Whether a trainer with this exit code was stopped by others, and may be started again."""
    return code < 0 or code in (cli.STOPPED, cli.INTERRUPTED)


def _stop(active: Sequence[Any], left: Sequence[Job], campaign: Campaign) -> None:
    """Stops all that run, and waits for their checkpoints; one may have finished meanwhile."""
    for each in active:
        each.stop()
    for each in active:
        # The error that ends the session is the one to see.
        with contextlib.suppress(InputError):
            for job, ended in each.wait():
                _take(campaign, job, ended)
    for job in left:
        _take(campaign, job, Ended("stopped", 0.0, ""))


def warn(text: str) -> None:
    """Prints a warning."""
    print(f"warning: {text}", file=sys.stderr, flush=True)


class Starter:
    """Starts a campaign's jobs, each by itself.

    Args:
      threads: of each trainer; 0: TensorFlow's choice.
      show: copies what the trainers print to stderr.

    Attributes:
      left: jobs that the campaign has given and that were not started.
    """

    left: Sequence[Job] = ()

    def __init__(self, threads: int = 0, show: bool = False):
        self.threads, self.show = threads, show

    def start(self, campaign: Campaign, running: int) -> Any:
        """What runs the campaign's next job, beside so many; None if it has none now."""
        job = campaign.next(running)
        return None if job is None else Alone(job, self.threads, self.show)


class Alone:
    """A job at work: from the wait for its workdir to its end."""

    def __init__(self, job: Job, threads: int, show: bool):
        self.job = job
        self._threads, self._show = threads, show
        self._process: Process | None = None
        self._watch = Watch(job.workdir)
        self._starts, self._since, self._seconds = 0, 0.0, 0.0
        self._waits = self._given_up = False

    def advance(self, campaign: Campaign) -> list[tuple[Job, Ended]]:
        """Goes on; the job and how it ended, once it has."""
        ended = self._advance(campaign)
        return [(self.job, ended)] if ended else []

    def _advance(self, campaign: Campaign) -> Ended | None:
        if self._process is None:
            return self._begin(campaign)
        code = self._process.poll()
        scores = list(self._watch.new())
        if scores and not campaign.see(self.job, scores) and not self._given_up:
            self._given_up = True
            self._process.stop()
        return None if code is None else self._end(code)

    def stop(self) -> None:
        """Asks the trainer to stop."""
        if self._process:
            self._process.stop()

    def wait(self) -> list[tuple[Job, Ended]]:
        """Waits for the end of the trainer, which was asked to stop; as `advance`."""
        return [(self.job, self._wait())]

    def _wait(self) -> Ended:
        if self._process is None:
            return self._ended("stopped")
        while (code := self._process.poll()) is None:
            time.sleep(_POLL_SECONDS / 4)
        ended = self._end(code, stopping=True)
        return ended if ended and ended.how != "failed" else self._ended("stopped")

    def _begin(self, campaign: Campaign) -> Ended | None:
        if not free(self.job.workdir):
            if not self._waits:
                warn(f"another trainer works in {self.job.workdir}; waiting for its end.")
            self._waits = True
            return None
        if read_card(self.job.workdir) is not None:
            return self._ended("done")
        if not campaign.see(self.job, list(self._watch.new())):
            return self._ended("given up")
        self._starts, self._since = self._starts + 1, time.monotonic()
        self._process = Process(self.job.command(), self.job.log, self._threads, self._show)
        return None

    def _end(self, code: int, stopping: bool = False) -> Ended | None:
        """What an exit code means; None if the trainer is to be started again."""
        process, self._process = self._process, None
        assert process is not None
        self._seconds += time.monotonic() - self._since
        said = process.said()
        if code == cli.BAD_INPUT:
            name = self.job.name
            raise InputError(f"{name[:1].upper()}{name[1:]} could not be run: {said}")
        if code == cli.DIVERGED or (code == FAILED and is_divergence(said)):
            return self._ended("diverged", said)
        if code == cli.DONE and read_card(self.job.workdir) is not None:
            return self._ended("done", said)
        if was_stopped(code):
            if self._given_up:
                return self._ended("given up", said)
            if self._starts < STARTS or stopping:
                return None
        return self._ended("failed", f"exit code {code}, {said}")

    def _ended(self, how: str, said: str = "") -> Ended:
        return Ended(how, self._seconds, said)
