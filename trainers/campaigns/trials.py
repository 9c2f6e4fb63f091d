"""One trial of a sweep: a run of trainers.run in a process of its own, watched and stopped.

    OUTPUT/trials/NNNN/          the workdir; pruned.json in it says that it was given up
    OUTPUT/logs/NNNN.log         what the trainer printed, in all its sessions
    OUTPUT/locks/NNNN/.lock      held by the sweep that runs it

The trainer is stopped by SIGTERM, on which it writes a checkpoint; the kernel sends it one when
the sweep dies in whatever way.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tf_mixed_nash.errors import InputError
from trainers.campaigns.search.space import scores_of_record
from trainers.system import lock
from trainers.system.files import write_json

__all__ = ["CARD", "PRUNED", "TRAINER", "Process", "Watch", "free", "mark_pruned", "read_card"]

TRAINER = (sys.executable, "-m", "trainers.run")
CARD, PRUNED, _METRICS = "scorecard.json", "pruned.json", "metrics.jsonl"
# A trainer that has not ended so long after a SIGTERM is killed; its checkpoints are whole anyway.
_PATIENCE = 120.0
# Runs argv[2:], to which the kernel sends SIGTERM when process argv[1], which started it, dies.
_LEASH = (
    "import ctypes, os, signal, sys; ctypes.CDLL(None).prctl(1, signal.SIGTERM); "
    "os.getppid() == int(sys.argv[1]) or sys.exit(143); os.execvp(sys.argv[2], sys.argv[2:])"
)


class Process:
    """A trainer that runs.

    Args:
      command: with its arguments.
      log: a file that its output is added to.
      threads: that TensorFlow may use, 0: as many as it likes.
    """

    def __init__(self, command: Sequence[str], log: Path, threads: int):
        self._log = log
        self._stopped_at: float | None = None
        with log.open("ab") as output:
            self._begin = output.tell()
            self._process = subprocess.Popen(
                [sys.executable, "-c", _LEASH, str(os.getpid()), *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **_threads(threads)},
                start_new_session=True,  # Ctrl-C is for the sweep, which stops its trials
            )

    def poll(self) -> int | None:
        """The exit code (-N: ended by signal N), or None while it runs."""
        if self._stopped_at and time.monotonic() - self._stopped_at > _PATIENCE:
            self._process.kill()
        return self._process.poll()

    def stop(self) -> None:
        """Asks it to write a checkpoint and end."""
        if self._stopped_at is None:
            self._stopped_at = time.monotonic()
            self._process.send_signal(signal.SIGTERM)

    def said(self) -> str:
        """Its last error message; the last line of what it printed if there is none."""
        text = self._log.read_bytes()[self._begin :].decode(errors="replace")
        lines = [line.strip() for line in text.replace("\r", "\n").splitlines() if line.strip()]
        errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
        return (errors or lines or ["nothing"])[-1]


def _threads(number: int) -> dict[str, str]:
    names = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")
    return dict.fromkeys(names, str(number)) if number else {}


class Watch:
    """Reads the scores in a workdir's metrics.jsonl as they come."""

    def __init__(self, workdir: Path):
        self._path = workdir / _METRICS
        self._seen: tuple[int, int] | None = None
        self.scores: dict[str, dict[str, float]] = {}

    def new(self) -> Iterator[tuple[int, dict[str, dict[str, float]]]]:
        """(mini-batch, strategy -> metric -> value) of every scored record, if the file changed.

        A resumed run cuts the file and writes the lines again, the same ones.
        """
        try:
            facts = self._path.stat()
            if self._seen == (facts.st_size, facts.st_mtime_ns):
                return
            lines = self._path.read_text().splitlines(keepends=True)
        except FileNotFoundError:
            return
        self._seen = facts.st_size, facts.st_mtime_ns
        for line in lines:
            record = json.loads(line) if line.endswith("\n") else {}
            if scores := scores_of_record(record):
                self.scores = scores
                yield record["step"], scores


def free(workdir: Path) -> bool:
    """Whether no trainer works there: one of a sweep that died may still write its checkpoint."""
    if not workdir.is_dir():
        return True
    with contextlib.suppress(InputError), lock.hold(workdir):
        return True
    return False


def mark_pruned(workdir: Path, step: int, value: float) -> None:
    """Writes in the workdir that the sweep gave it up."""
    write_json(workdir / PRUNED, {"step": step, "value": value})


def read_card(workdir: Path) -> dict[str, Any] | None:
    """The scorecard of a finished run; None of another."""
    with contextlib.suppress(FileNotFoundError):
        return json.loads((workdir / CARD).read_text())
    return None


def scores_of_card(card: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """strategy -> metric -> value."""
    return {name: dict(scores) for name, scores in card["strategies"].items()}
