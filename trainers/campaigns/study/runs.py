"""The study at work: runs side by side, each a process of trainers.run, until none is missing.

A run that is stopped is resumed by its workdir; a run whose record is in RESULTS is not begun. What
the records say decides what comes next, so that any number of sessions make one study.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tf_mixed_nash.errors import InputError
from trainers.campaigns.study.protocol import (
    PROTOCOLS,
    Protocol,
    Records,
    Run,
    missing,
    objective,
    ready,
)
from trainers.campaigns.study.records import DIVERGED, DONE, add, harvest, load
from trainers.system import cli, lock
from trainers.system.files import make_writable
from trainers.system.stopping import StopRequest

__all__ = ["FAILED", "Options", "command", "estimate", "run_study"]

FAILED = 1
ROOT = Path(__file__).resolve().parents[3]
_POLL_SECONDS = 0.2
# A trainer that was asked to stop finishes its compiled call and writes a checkpoint.
_PATIENCE = 120.0
# So many runs in a row that end as no run should, and the session ends.
_MAX_FAILED = 3
# The last words of a run whose parameters are finite and whose samples are not: it diverged, too.
_NOT_FINITE = "samples are not all finite"
_CHECKPOINT_EVERY = 3_000
_LOG_EVERY = 100
# Of a workdir, what is large and not needed once the record is written.
_LARGE = ("checkpoints", "export", "tensorboard")

# Milliseconds a mini-batch of a run with one thread beside another (2 cores of an AMD EPYC with
# avx512_bf16, 400 and 200 mini-batches of the 25 Gaussians: 18 Adam, 26 Mirror-GAN at 64; 38
# Mirror-GAN at 256), and seconds of a run beside its mini-batches, until RESULTS knows better.
_MILLISECONDS = {(64, "float32"): 22.0, (256, "mixed_bfloat16"): 38.0}
_OTHER_SECONDS = 20.0


@dataclasses.dataclass(frozen=True)
class Options:
    """What a session does.

    Attributes:
      figure: a key of study_protocol.FIGURES.
      protocol: how much.
      runs: the folder of the workdirs.
      results: the folder of the records.
      jobs: runs side by side.
      threads: of each run.
      budget: minutes after which the session stops; None for no limit.
      keep_workdirs: keeps checkpoints and SavedModels of finished runs.
      datasets: whose runs this session does; () for all.
      stages: whose runs this session does; () for all.
      compile: how the steps are compiled; see configs/common.py.
    """

    figure: str
    protocol: Protocol
    runs: Path
    results: Path
    jobs: int = 2
    threads: int = 1
    budget: float | None = None
    keep_workdirs: bool = False
    datasets: tuple[str, ...] = ()
    stages: tuple[str, ...] = ()
    compile: str = "parts"

    def of_this_session(self, runs: Sequence[Run]) -> list[Run]:
        """Those of the runs that this session does; others may be another machine's."""
        return [
            r
            for r in runs
            if (not self.datasets or r.dataset in self.datasets)
            and (not self.stages or r.stage in self.stages)
        ]


def command(run: Run, workdir: Path | str, compile: str = "parts") -> list[str]:
    """The command of a run, to be given in the project's folder."""
    p = PROTOCOLS[run.protocol]
    batches = p.length(run.stage)
    every = batches if run.stage == "sweep" else max(1, batches // p.scores)
    variant = ":tiny" if p.name == "tiny" else ""
    watch = {
        "log_every": min(_LOG_EVERY, every),
        "score_every": every,
        "picture_every": batches,
        "checkpoint_every": min(_CHECKPOINT_EVERY, batches),
        "keep_last": 1,
        **({} if compile == "parts" else {"compile": compile}),
    }
    flags = [f"--config.{k}={v}" for k, v in {**run.settings, **watch}.items()]
    config = f"--config=configs/{run.dataset}_mp.py{variant}"
    return ["python", "-m", "trainers.run", config, *flags, f"--workdir={workdir}"]


class _Job:
    """A run that is running."""

    def __init__(self, run: Run, options: Options):
        self.run = run
        self.name = f"{options.protocol.name}/{run.path}"
        self.workdir = options.runs.resolve() / self.name
        self.log = self.workdir.with_name(self.workdir.name + ".log")
        self.fresh = not (self.workdir / "config.json").is_file()
        self.began = time.monotonic()
        self.workdir.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, *command(run, self.workdir, options.compile)[1:]],
                cwd=ROOT,
                env=_environment(options.threads),
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C reaches the study, which asks its runs to stop
            )

    def stop(self) -> None:
        """Asks it to stop."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)

    def wait(self) -> None:
        """Waits for it to stop, not for ever."""
        try:
            self.process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def last_words(self) -> str:
        """The last line that it wrote."""
        lines = self.log.read_text(errors="replace").splitlines()
        return next((x.strip() for x in reversed(lines) if x.strip()), "it said nothing")


def _environment(threads: int) -> dict[str, str]:
    names = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")
    return {**os.environ, **dict.fromkeys(names, str(threads))}


def run_study(options: Options) -> int:
    """Runs what is missing.

    Returns:
      cli.DONE if nothing is missing or the budget is spent; cli.STOPPED or cli.INTERRUPTED after
      a signal; FAILED if runs ended as none should. A diverged run is a result.

    Raises:
      InputError: if a folder cannot be used, or a run refuses its command.
    """
    make_writable(options.runs, "--runs")
    make_writable(options.results, "--results")
    with lock.hold(options.runs), StopRequest() as stop:
        return _Session(options, stop).run()


class _Session:
    def __init__(self, options: Options, stop: StopRequest):
        self.options, self.stop = options, stop
        self.records: dict[str, Any] = load(options.results)
        self.jobs: list[_Job] = []
        self.failed: set[str] = set()
        self._in_a_row = 0
        self._waiting: list[Run] | None = None
        minutes = options.budget
        self.deadline = None if minutes is None else time.monotonic() + 60.0 * minutes

    def run(self) -> int:
        """Until nothing is missing, or an end is asked for."""
        try:
            while not self._over():
                self._fill()
                if not self.jobs:
                    break
                time.sleep(_POLL_SECONDS)
                self._reap()
        finally:
            self._end()
        if self.stop.code:
            return self.stop.code
        return FAILED if self.failed else cli.DONE

    def _over(self) -> bool:
        late = self.deadline is not None and time.monotonic() >= self.deadline
        return bool(self.stop.code) or late or self._in_a_row >= _MAX_FAILED

    def _fill(self) -> None:
        """Begins the next runs."""
        if len(self.jobs) >= self.options.jobs:
            return
        o = self.options
        if self._waiting is None:  # what is ready changes with the records alone
            self._waiting = o.of_this_session(ready(o.protocol, o.figure, self.records))
        busy = {job.run.key for job in self.jobs} | self.failed
        waiting = [r for r in self._waiting if r.key not in busy]
        for run in waiting[: o.jobs - len(self.jobs)]:
            self.jobs.append(_Job(run, o))

    def _reap(self) -> None:
        """Takes in the runs that ended."""
        for job in [j for j in self.jobs if j.process.poll() is not None]:
            self.jobs.remove(job)
            self._take(job)

    def _take(self, job: _Job) -> None:
        code = job.process.returncode
        if code in (cli.DONE, cli.DIVERGED):
            self._harvest(job, DONE if code == cli.DONE else DIVERGED)
        elif code == cli.BAD_INPUT:
            raise InputError(f"{job.run.title} was refused: {job.last_words()} (log: {job.log})")
        elif code == FAILED and _NOT_FINITE in job.last_words():
            self._harvest(job, DIVERGED)
        elif code != cli.STOPPED:
            self.failed.add(job.run.key)
            self._in_a_row += 1
            print(
                f"warning: {job.run.title} ended with code {code}: {job.last_words()} "
                f"(log: {job.log}). It is tried again in the next session.",
                file=sys.stderr,
                flush=True,
            )

    def _harvest(self, job: _Job, status: str) -> None:
        o, run = self.options, job.run
        wall = time.monotonic() - job.began if job.fresh else None
        facts = {"status": status, "jobs": o.jobs, "threads": o.threads, "wall_seconds": wall}
        facts["command"] = command(run, f"{o.runs.as_posix()}/{job.name}", o.compile)
        record = harvest(run, job.workdir, facts)
        add(o.results, run, record, job.workdir)
        self.records[run.key] = record
        self._waiting, self._in_a_row = None, 0
        if not o.keep_workdirs:
            for name in _LARGE:
                shutil.rmtree(job.workdir / name, ignore_errors=True)
        left = len(o.of_this_session(missing(o.protocol, o.figure, self.records)))
        quality = "diverged" if status == DIVERGED else f"W2 {objective(record):.4f}"
        print(f"{run.title}: {quality}; {left} runs to go", flush=True)

    def _end(self) -> None:
        """Asks the running ones to stop, and takes in those that finished meanwhile."""
        for job in self.jobs:
            job.stop()
        for job in self.jobs:
            job.wait()
        for job in self.jobs:
            if job.process.returncode in (cli.DONE, cli.DIVERGED):
                # The error that ends the session is the one to see.
                with contextlib.suppress(InputError):
                    self._take(job)
        self.jobs = []


class Estimate(NamedTuple):
    """What a study costs yet.

    Attributes:
      runs: that are missing.
      hours: of the machine, with its runs side by side.
      by_stage: (data set, stage) -> (runs, hours).
      basis: what the costs were measured on.
    """

    runs: int
    hours: float
    by_stage: Mapping[tuple[str, str], tuple[int, float]]
    basis: str


def estimate(options: Options, records: Records) -> Estimate:
    """What the missing runs will take, from the costs of those that are there."""
    known = [
        r
        for r in records.values()
        if r["seconds"] and (r["jobs"], r["threads"]) == (options.jobs, options.threads)
    ]
    other = [r["wall_seconds"] - r["seconds"] for r in known if r["wall_seconds"]]
    overhead = statistics.median(other) if other else _OTHER_SECONDS
    by_stage: dict[tuple[str, str], tuple[int, float]] = {}
    for run in options.of_this_session(missing(options.protocol, options.figure, records)):
        seconds = _seconds(run, known) + overhead
        count, hours = by_stage.get((run.dataset, run.stage), (0, 0.0))
        hours += seconds / 3600 / options.jobs
        by_stage[run.dataset, run.stage] = (count + 1, hours)
    return Estimate(
        sum(n for n, _ in by_stage.values()),
        sum(h for _, h in by_stage.values()),
        by_stage,
        f"{len(known)} finished runs in RESULTS" if known else "a measurement of a few minutes",
    )


def _seconds(run: Run, known: Sequence[Mapping[str, Any]]) -> float:
    """What the mini-batches of a run take."""
    s = run.settings
    kind = (s["batch_size"], s["precision"])
    alike = [r for r in known if (r["batch_size"], r["settings"]["precision"]) == kind]
    same = [r for r in alike if r["algorithm"] == run.algorithm] or alike
    if same:
        cost = statistics.median(1e3 * r["seconds"] / r["num_batches"] for r in same)
    else:
        cost = _MILLISECONDS.get(kind, _MILLISECONDS[64, "float32"])
    return s["num_batches"] * cost / 1e3
