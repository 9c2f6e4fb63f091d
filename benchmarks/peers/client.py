"""Starts the peers' processes and speaks with them. See `common` for the protocol."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.peers.common import Work

__all__ = ["OURS", "PEERS", "Peer", "PeerError", "available", "python_of", "unavailable"]

_ROOT = Path(__file__).parents[2]
# Where `make peers` puts PyTorch and JAX: beside TensorFlow they would be imported by POT.
_ENVIRONMENT = _ROOT / ".venv-peers/bin/python"


class _Kind(NamedTuple):
    module: str
    package: str
    compiled: bool = False
    graphs: bool = False


PEERS = {
    "pytorch": _Kind("torch_peer", "torch"),
    "pytorch_compiled": _Kind("torch_peer", "torch", compiled=True),
    "pytorch_cuda_graphs": _Kind("torch_peer", "torch", graphs=True),
    "jax": _Kind("jax_peer", "jax"),
    "keras": _Kind("keras_peer", "keras"),
}
# Our own loop as such a process, which benchmarks.turns times like the others.
OURS = {"ours": _Kind("ours_peer", "tensorflow")}


def _kind(name: str) -> _Kind:
    return (PEERS | OURS)[name]


class PeerError(RuntimeError):
    """A peer could not do what it was asked."""


def python_of(name: str) -> str:
    """The Python in which this peer runs."""
    own = _is_here(name) or not _ENVIRONMENT.exists()
    return sys.executable if own else str(_ENVIRONMENT)


def _is_here(name: str) -> bool:
    return _kind(name).package in ("keras", "tensorflow")


def _path(name: str) -> str:
    """The peer's PYTHONPATH: ours belongs to this environment."""
    given = os.environ.get("PYTHONPATH") if _is_here(name) else None
    return os.pathsep.join([str(_ROOT), *([given] if given else [])])


@functools.cache
def unavailable(name: str) -> str | None:
    """Why this peer cannot run here; None if it can."""
    kind = _kind(name)
    code = f"import importlib.util as u, sys; sys.exit(u.find_spec({kind.package!r}) is None)"
    if subprocess.run([python_of(name), "-c", code], check=False).returncode:
        return f"{kind.package} is not installed: make peers"
    if kind.graphs:
        code = "import sys, torch; sys.exit(not torch.cuda.is_available())"
        if subprocess.run([python_of(name), "-c", code], check=False).returncode:
            return "PyTorch has no GPU here"
    return None


def available() -> list[str]:
    """The peers that can run here."""
    return [name for name in PEERS if unavailable(name) is None]


class Peer:
    """A peer's process. Use as a context.

    Args:
      name: a key of PEERS or OURS.
      environment: further variables of the process.
    """

    def __init__(self, name: str, environment: Mapping[str, str] | None = None):
        self._kind = _kind(name)
        self.name = name
        self._process = subprocess.Popen(
            [python_of(name), "-m", f"benchmarks.peers.{self._kind.module}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=_ROOT,
            env={**os.environ, **(environment or {}), "PYTHONPATH": _path(name)},
        )

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it ended
            self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def kill(self) -> None:
        """Ends it at once."""
        self._process.kill()
        self._process.wait()

    def ask(self, **command: Any) -> dict[str, Any]:
        """Sends a command and waits for its answer.

        Raises:
          PeerError: if the peer failed or ended.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(command) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it ended: said below
        line = self._process.stdout.readline()
        if not line:
            raise PeerError(f"{self.name} ended with code {self._process.wait()}")
        answer = json.loads(line)
        if "error" in answer:
            raise PeerError(f"{self.name}: {answer['error']}")
        return answer

    def build(self, work: Work) -> int:
        """Makes a trainer; returns its id."""
        work = dataclasses.replace(work, compiled=self._kind.compiled, graphs=self._kind.graphs)
        return self.ask(do="build", work=dataclasses.asdict(work))["id"]

    def seconds(self, trainer: int, steps: int) -> float:
        """How long the trainer takes for so many steps."""
        return self.ask(do="time", id=trainer, steps=steps)["seconds"]
