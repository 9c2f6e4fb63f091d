"""The study at work: runs side by side, each a process of trainers.run, until none is missing.

A run that is stopped is resumed by its workdir; a run whose record is in RESULTS is not begun. What
the records say decides what comes next, so that any number of sessions make one study.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import configs
from trainers.campaigns import groups, jobs
from trainers.campaigns.jobs import FAILED, Campaign, Ended, Job
from trainers.campaigns.study.candidates import OWN
from trainers.campaigns.study.protocol import (
    LATER,
    PROTOCOLS,
    Planned,
    Protocol,
    Records,
    missing,
    objective,
    ready,
)
from trainers.campaigns.study.records import DIVERGED, DONE, add, harvest, load
from trainers.campaigns.study.tables import METRICS
from trainers.system import cli, lock
from trainers.system.files import make_writable

__all__ = ["FAILED", "Options", "Study", "command", "estimate", "job", "run_study"]

_CHECKPOINT_EVERY = 3_000
_LOG_EVERY = 100
# Of a workdir, what is large and not needed once the record is written.
_LARGE = ("checkpoints", "export", "tensorboard")

# Milliseconds a mini-batch of a run with one thread beside another (2 cores of an AMD EPYC with
# avx512_bf16, 400 and 200 mini-batches of the 25 Gaussians: 18 Adam, 26 Mirror-GAN at 64; 38
# Mirror-GAN at 256), and seconds of a run beside its mini-batches, until RESULTS knows better.
# With 3 x 64 units: 0.6 of ten runs in one program and `whole`.
_MILLISECONDS = {
    (64, "float32", (512,) * 3): 22.0,
    (256, "mixed_bfloat16", (512,) * 3): 38.0,
    (64, "float32", (64,) * 3): 0.6,
    (256, "float32", (64,) * 3): 2.4,
}
_OTHER_SECONDS = 20.0


@dataclasses.dataclass(frozen=True)
class Options:
    """What a session does.

    Attributes:
      figure: a key of protocol.FIGURES.
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
      together: runs of one program at most, see `groups.most`.
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
    compile: str = "auto"
    together: int = 1

    def of_this_session(self, runs: Sequence[Planned]) -> list[Planned]:
        """Those of the runs that this session does; others may be another machine's."""
        return [
            r
            for r in runs
            if (not self.datasets or r.dataset in self.datasets)
            and (not self.stages or r.stage in self.stages)
        ]


def job(run: Planned, workdir: Path, compile: str = "auto") -> Job:
    """The job of a run whose step size is known."""
    p = PROTOCOLS[run.protocol]
    batches, trial = p.length(run.stage), run.stage in ("sweep", "again")
    every = batches if trial else max(1, batches // p.scores)
    watch = {
        "log_every": min(_LOG_EVERY, every),
        "score_every": every,
        "picture_every": batches,
        "checkpoint_every": min(_CHECKPOINT_EVERY, batches),
        "keep_last": 1,
        # A record is what is kept of it. (The protocols of before the search published theirs.)
        **({"export": False} if p.trials else {}),
        **({} if compile == "auto" else {"compile": compile}),
    }
    items = [f"{k}={v}" for k, v in {**LATER, **run.settings, **watch}.items()]
    variant = "tiny" if p.name == "tiny" else ""
    return Job(run.title, configs.address(run.dataset, variant), items, workdir)


def command(run: Planned, workdir: Path, compile: str = "auto") -> list[str]:
    """The command of a run, to be given in the project's folder."""
    found = job(run, workdir, compile)
    config, trainer = f"configs/{Path(found.config).name}", ("python", "-m", "trainers.run")
    return found._replace(config=config, trainer=trainer).command()


def _program(run: Planned) -> str:
    """What runs of one population share: `groups.kind_of` of their jobs, without TensorFlow."""
    shared = {k: v for k, v in run.settings.items() if k not in ("seed", *OWN)}
    return json.dumps([run.dataset, run.stage, shared], sort_keys=True)


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
    with lock.hold(options.runs):
        study = Study(options)
        starter = groups.Together(groups.most(options.together), options.threads)
        code = jobs.run(study, options.jobs, options.threads, options.budget, starter=starter)
        return code or (FAILED if study.failed else cli.DONE)


class Study(Campaign):
    """The study, whose memory is the records.

    Attributes:
      failed: keys of runs that ended as none should; the next session tries them again.
    """

    def __init__(self, options: Options):
        self._options = options
        self._records: dict[str, Any] = load(options.results)
        self._running: dict[Path, Planned] = {}
        self._ready: list[Planned] | None = None
        self.failed: set[str] = set()

    def next(self, running: int) -> Job | None:
        """The first of the runs that are missing, and whose step size is known."""
        o = self._options
        if self._ready is None:  # what is ready changes with the records alone
            found = o.of_this_session(ready(o.protocol, o.figure, self._records))
            together = groups.most(o.together) > 1
            self._ready = groups.side_by_side(found, _program) if together else found
        busy = {run.key for run in self._running.values()} | self.failed
        run = next((r for r in self._ready if r.key not in busy), None)
        if run is None:
            return None
        workdir = o.runs.resolve() / o.protocol.name / run.path
        self._running[workdir] = run
        return job(run, workdir, o.compile)

    def take(self, job: Job, ended: Ended) -> str:
        """Writes the record of a run that is done or diverged."""
        run, o = self._running.pop(job.workdir), self._options
        if ended.how == "failed":
            self.failed.add(run.key)
        if ended.how not in (DONE, DIVERGED):
            return ""
        facts = {
            "status": ended.how,
            "jobs": o.jobs,
            "threads": o.threads,
            "wall_seconds": ended.seconds or None,
            "command": command(run, o.runs / o.protocol.name / run.path, o.compile),
        }
        record = harvest(run, job.workdir, facts)
        add(o.results, run, record, job.workdir)
        self._records[run.key] = record
        self._ready = None
        if not o.keep_workdirs:
            for name in _LARGE:
                shutil.rmtree(job.workdir / name, ignore_errors=True)
        left = len(o.of_this_session(missing(o.protocol, o.figure, self._records)))
        title = METRICS[o.protocol.objective].title
        quality = "diverged" if ended.how == DIVERGED else f"{title} {objective(record):.4f}"
        return f"{run.title}: {quality}; {left} runs to go"


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


def _kind(settings: Mapping[str, Any]) -> tuple[int, str, tuple[int, ...]]:
    """What the cost of a mini-batch depends on most."""
    units = tuple(settings["model.hidden_units"])
    return settings["batch_size"], settings["precision"], units


def _seconds(run: Planned, known: Sequence[Mapping[str, Any]]) -> float:
    """What the mini-batches of a run take."""
    s = run.settings
    kind = _kind(s)
    alike = [r for r in known if _kind(r["settings"]) == kind]
    same = [r for r in alike if r["algorithm"] == run.algorithm] or alike
    if same:
        cost = statistics.median(1e3 * r["seconds"] / r["num_batches"] for r in same)
    else:
        cost = _MILLISECONDS.get(kind, _MILLISECONDS[64, "float32", (512,) * 3])
    return s["num_batches"] * cost / 1e3
