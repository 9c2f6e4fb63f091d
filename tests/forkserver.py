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

import concurrent.futures
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
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

__all__ = ["ForkServer", "Forked", "early"]

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


def early(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that change what an import does."""
    return {k: v for k, v in environment.items() if k.startswith(_READ_EARLY)}


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

    def start(
        self, module: str, *arguments: str, cwd: Path = _ROOT, environment: Mapping[str, str]
    ) -> Forked | None:
        """As `subprocess.Popen` of `python -m module arguments`, stdout and stderr text pipes.

        None where that must be done.
        """
        with self._lock:
            if not self._started(environment):
                return None
            (out, to_out), (err, to_err) = os.pipe(), os.pipe()
            ended = tempfile.NamedTemporaryFile()  # noqa: SIM115
            try:
                self._ask(module, arguments, cwd, environment, (to_out, to_err), ended.name)
                pid = int(self._answer())
            finally:
                os.close(to_out)
                os.close(to_err)
            return Forked(pid, os.fdopen(out), os.fdopen(err), ended)

    def close(self) -> None:
        """Ends the server."""
        if self._server:
            self._server.communicate()

    def _started(self, environment: Mapping[str, str]) -> bool:
        read = early(environment)
        if self._works and self._server is None:
            self._early = read
            self._server = subprocess.Popen(
                [sys.executable, "-m", "tests.forkserver"],
                cwd=_ROOT,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            self._works = self._answer() == "ready"
        return self._works and read == self._early

    def _answer(self) -> str:
        assert self._server
        assert self._server.stdout
        if not (line := self._server.stdout.readline()):
            raise RuntimeError(f"the fork server ended with {self._server.wait()}")
        return line.strip()

    def _ask(self, module, arguments, cwd, environment, files, ended="") -> None:
        assert self._server
        assert self._server.stdin
        request = {
            "module": module,
            "arguments": [os.fspath(a) for a in arguments],
            "cwd": os.fspath(cwd),
            "environment": dict(environment),
            # Opened there: the server is not this process's child by fork.
            "files": [f"/proc/{os.getpid()}/fd/{number}" for number in files],
            "ended": ended,
        }
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()

    def _run(self, module, arguments, cwd, environment, timeout):
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            self._ask(module, arguments, cwd, environment, (out.fileno(), err.fileno()))
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


class Forked:
    """A command that runs: what tests use of `subprocess.Popen`.

    Attributes:
      pid: its number.
      stdout: text, as it comes; so is stderr.
      returncode: None until `poll`, `wait` or `communicate` saw its end.
    """

    def __init__(self, pid: int, stdout: io.TextIOWrapper, stderr: io.TextIOWrapper, ended):
        self.pid, self.stdout, self.stderr = pid, stdout, stderr
        self.returncode: int | None = None
        self._ended = ended  # a file, of which the server makes the exit code

    def poll(self) -> int | None:
        """The exit code (-N: ended by signal N), or None while it runs."""
        if self.returncode is None and (text := Path(self._ended.name).read_text()).endswith("\n"):
            self.returncode = int(text)
            self._ended.close()
        return self.returncode

    def wait(self, timeout: float = 60.0) -> int:
        """The exit code.

        Raises:
          subprocess.TimeoutExpired: it still runs.
        """
        end = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > end:
                raise subprocess.TimeoutExpired(str(self.pid), timeout)
            time.sleep(0.01)
        return code

    def communicate(self, timeout: float = 60.0) -> tuple[str, str]:
        """(the rest of stdout, of stderr), once it has ended.

        Raises:
          subprocess.TimeoutExpired: it had not, and was killed.
        """
        timer = threading.Timer(timeout, self.kill)
        timer.start()
        try:
            with concurrent.futures.ThreadPoolExecutor(2) as pool:
                out, err = pool.map(lambda file: file.read(), (self.stdout, self.stderr))
        finally:
            late = not timer.is_alive()
            timer.cancel()
        self.stdout.close()
        self.stderr.close()
        self.wait()
        if late:
            raise subprocess.TimeoutExpired(str(self.pid), timeout, out, err)
        return out, err

    def send_signal(self, number: int) -> None:
        """Does nothing where it has ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """Ends it, if it runs."""
        self.send_signal(signal.SIGKILL)


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
    running: dict[int, int] = {}  # process -> the file that its exit code is waited for in

    def reap(*_):
        for pid in list(running):
            with contextlib.suppress(ChildProcessError):  # a signal in here, which did it
                done, status = os.waitpid(pid, os.WNOHANG)
                if done:
                    os.write(file := running.pop(pid), b"%d\n" % os.waitstatus_to_exitcode(status))
                    os.close(file)

    signal.signal(signal.SIGCHLD, reap)
    for line in requests:
        request = json.loads(line)
        # By the server, while the one who asks has them open.
        request["files"] = [os.open(name, os.O_WRONLY | os.O_APPEND) for name in request["files"]]
        ended = os.open(request["ended"], os.O_WRONLY) if request["ended"] else None
        gc.freeze()
        if not (pid := os.fork()):
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for descriptor in running.values():
                os.close(descriptor)
            return request
        for descriptor in request["files"]:
            os.close(descriptor)
        if ended is not None:
            running[pid] = ended
        print(pid, file=answers, flush=True)
        if ended is not None:
            reap()  # it may have ended before it was on the list
            continue
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), file=answers, flush=True)
    sys.exit()


def _become(request: dict) -> None:
    """Makes this child what `python -m module arguments` would be; its streams are empty."""
    for number, descriptor in enumerate((os.open("/dev/null", os.O_RDONLY), *request["files"])):
        os.dup2(descriptor, number)
        os.close(descriptor)
    # The server's know whether what was there could be sought in, and a pipe cannot.
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        old = getattr(sys, name)
        buffering = 0 if number and old.write_through else -1  # 0: PYTHONUNBUFFERED
        file = open(number, "wb" if number else "rb", buffering, closefd=False)  # noqa: SIM115
        new = io.TextIOWrapper(
            file,
            old.encoding,
            old.errors,
            line_buffering=old.line_buffering,
            write_through=old.write_through,
        )
        setattr(sys, name, new)
        setattr(sys, f"__{name}__", new)
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
