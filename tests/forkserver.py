"""Runs `python -m MODULE` without starting Python and TensorFlow anew: a process that has imported
what the commands import, and computed nothing, forks a child for each command.

A child differs from a fresh process by its imports alone: TensorFlow's runtime starts in it, as do
its threads; flags, argv, environment, folder, output, exit code and signals are its own. A child
must not inherit threads or a GPU, so the server says after its imports whether it has any; if so,
and where a command's variables change what an import does, the command starts in earnest.
What is about the start itself (its time, what it imports, `-X`, `-c`) starts in earnest too:
`tests.trainers.conftest.process`.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

__all__ = ["ForkServer"]

_ROOT = Path(__file__).parents[1]
# What the commands import, beside TensorFlow; not this project, which is quick, and under test.
_IMPORTS = (
    "absl.flags",
    "ml_collections.config_flags",
    "tensorflow_probability",
    "keras.layers",
    "matplotlib.pyplot",
    "scipy.stats",
    "scipy.optimize",
    "scipy.linalg",
    "PIL.Image",
    "optuna",
    "tensorboard.summary.writer.event_file_writer",
)
# Read while something is imported, or by the dynamic linker.
_READ_EARLY = ("TF_", "KERAS_", "PYTHON", "CUDA_", "OMP_", "OPENBLAS_", "MKL_", "LD_", "MPL")


class ForkServer:
    """Commands of one test process. The server starts with the first."""

    def __init__(self):
        self._lock = threading.Lock()
        self._server: subprocess.Popen | None = None
        self._works = True
        self._early: dict[str, str] = {}

    def run(
        self,
        module: str,
        *arguments: str,
        cwd: Path = _ROOT,
        environment: Mapping[str, str],
        timeout: float,
    ) -> subprocess.CompletedProcess | None:
        """As `subprocess.run` of `python -m module arguments`; None where that must be done.

        Raises:
          subprocess.TimeoutExpired: after `timeout` seconds; the command is killed.
        """
        with self._lock:
            if not self._started(environment):
                return None
            return self._run(module, arguments, cwd, environment, timeout)

    def close(self) -> None:
        """Ends the server."""
        if self._server:
            self._server.communicate()

    def _started(self, environment: Mapping[str, str]) -> bool:
        early = {k: v for k, v in environment.items() if k.startswith(_READ_EARLY)}
        if self._works and self._server is None:
            self._early = early
            self._server = subprocess.Popen(
                [sys.executable, "-m", "tests.forkserver"],
                cwd=_ROOT,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            self._works = self._answer() == "ready"
        return self._works and early == self._early

    def _answer(self) -> str:
        assert self._server
        assert self._server.stdout
        if not (line := self._server.stdout.readline()):
            raise RuntimeError(f"the fork server ended with {self._server.wait()}")
        return line.strip()

    def _run(self, module, arguments, cwd, environment, timeout):
        assert self._server
        assert self._server.stdin
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            request = {
                "module": module,
                "arguments": [os.fspath(a) for a in arguments],
                "cwd": os.fspath(cwd),
                "environment": dict(environment),
                # Opened by the child: the server is not this process's child by fork.
                "files": [f"/proc/{os.getpid()}/fd/{file.fileno()}" for file in (out, err)],
            }
            self._server.stdin.write(json.dumps(request) + "\n")
            self._server.stdin.flush()
            pid, killed = int(self._answer()), threading.Event()

            def kill():
                killed.set()
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

            timer = threading.Timer(timeout, kill)
            timer.start()
            try:
                code = int(self._answer())
            finally:
                timer.cancel()
            texts = []
            for file in (out, err):
                file.seek(0)
                with io.TextIOWrapper(file) as text:  # as subprocess's text=True reads it
                    texts.append(text.read())
        command = [sys.executable, "-m", module, *arguments]
        if killed.is_set():
            raise subprocess.TimeoutExpired(command, timeout, *texts)
        return subprocess.CompletedProcess(command, code, *texts)


# The server.


def _imported() -> str:
    """Imports; returns "ready", or why no child may be forked."""
    from trainers.system.quiet import import_tensorflow

    ours = {name for name in sys.modules if name.split(".")[0] in ("trainers", "tf_mixed_nash")}
    tensorflow = import_tensorflow()
    import matplotlib as mpl

    mpl.use("Agg")
    for name in _IMPORTS:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    for name in ours:
        del sys.modules[name]
    if tensorflow.config.list_physical_devices("GPU"):
        return "a GPU is in use"
    if not (pid := os.fork()):
        os._exit(0)
    os.waitpid(pid, 0)
    # NumPy's and SciPy's threads (OpenBLAS) end before a fork, and come again when needed.
    threads = len(os.listdir("/proc/self/task"))
    return "ready" if threads == 1 else f"{threads} threads are running"


def _serve(requests: Iterator[str], answers) -> dict:
    """Returns in a child, with what it must do; the server ends here."""
    for line in requests:
        request = json.loads(line)
        gc.freeze()
        if not (pid := os.fork()):
            return request
        print(pid, file=answers, flush=True)
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), file=answers, flush=True)
    sys.exit()


def _become(request: dict) -> None:
    """Makes this child what `python -m module arguments` would be; its streams are empty."""
    for number, name in enumerate(("/dev/null", *request["files"])):
        descriptor = os.open(name, os.O_RDWR | os.O_APPEND if number else os.O_RDONLY)
        os.dup2(descriptor, number)
        os.close(descriptor)
    names = ("TF_CPP_MIN_LOG_LEVEL", "TF_MIXED_NASH_QUIET")
    mine = {name: os.environ[name] for name in names if name in os.environ}
    os.environ.clear()
    # As `import_tensorflow` leaves it.
    os.environ.update({**request["environment"], **mine})
    os.chdir(request["cwd"])
    for name in [name for name in sys.modules if name.split(".")[0] == "tests"]:
        del sys.modules[name]  # the folder may have its own
    sys.path[0] = os.getcwd()
    sys.argv = ["-m", *request["arguments"]]
    signal.signal(signal.SIGINT, signal.default_int_handler)


if __name__ == "__main__":
    import runpy

    signal.signal(signal.SIGINT, signal.SIG_DFL)
    # Of its own: what a child or an import prints must not reach the one who asks.
    _answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    print(_said := _imported(), file=_answers, flush=True)
    if _said != "ready":
        sys.exit()
    _request = _serve(iter(sys.stdin.readline, ""), _answers)
    _answers.close()
    _become(_request)
    runpy.run_module(_request["module"], run_name="__main__", alter_sys=True)
