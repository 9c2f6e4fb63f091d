"""A trainer in a process of its own: on a leash, stopped by a SIGTERM, its last words kept."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tf_mixed_nash import shadows

__all__ = ["MANY", "TRAINER", "Process"]

TRAINER = (sys.executable, "-m", "trainers.run")
MANY = (sys.executable, "-m", "trainers.many")
# A trainer that has not ended so long after a SIGTERM is killed; its checkpoints are whole anyway.
_PATIENCE = 120.0
# Runs argv[2:], to which the kernel sends SIGTERM when process argv[1], which started it, dies.
_LEASH = (
    "import ctypes, os, signal, sys; ctypes.CDLL(None).prctl(1, signal.SIGTERM); "
    "os.getppid() == int(sys.argv[1]) or sys.exit(143); os.execvp(sys.argv[2], sys.argv[2:])"
)


class Process:
    """A trainer that runs. When this process dies, however it dies, the kernel asks it to stop.

    Args:
      command: with its arguments.
      log: a file that its output is added to.
      threads: that TensorFlow may use, 0: as many as it likes.
      show: copies its output to stderr, whenever it is polled.
    """

    def __init__(self, command: Sequence[str], log: Path, threads: int = 0, show: bool = False):
        self._log, self._show = log, show
        self._stopped_at: float | None = None
        # Ours must be ours in whatever folder; another command is its giver's.
        ours = shadows.environment() if tuple(command[:3]) in (TRAINER, MANY) else {}
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            self._begin = self._shown = output.tell()
            self._process = subprocess.Popen(
                [sys.executable, "-c", _LEASH, str(os.getpid()), *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **_threads(threads), **ours},
                start_new_session=True,  # Ctrl-C is for who started it, and asks it to stop
            )

    def poll(self) -> int | None:
        """The exit code (-N: ended by signal N), or None while it runs."""
        if self._stopped_at and time.monotonic() - self._stopped_at > _PATIENCE:
            self._process.kill()
        code = self._process.poll()
        if self._show:
            new = self._output(self._shown)
            self._shown += len(new)
            with contextlib.suppress(OSError):
                os.write(2, new)
        return code

    def stop(self) -> None:
        """Asks it to write a checkpoint and end."""
        if self._stopped_at is None:
            self._stopped_at = time.monotonic()
            self._process.send_signal(signal.SIGTERM)

    def said(self) -> str:
        """Its last error message; the last line of what it printed if there is none."""
        text = self._output(self._begin).decode(errors="replace")
        lines = [line.strip() for line in text.replace("\r", "\n").splitlines() if line.strip()]
        errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
        return (errors or lines or ["nothing"])[-1]

    def _output(self, begin: int) -> bytes:
        with self._log.open("rb") as file:
            file.seek(begin)
            return file.read()


def _threads(number: int) -> dict[str, str]:
    names = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")
    return dict.fromkeys(names, str(number)) if number else {}
