"""Seconds from the command to the first step, and the peak memory of a whole 2-D run.

    python -m benchmarks.startup [--rounds=3] [--num_batches=400] [--output=startup.json]

A run's first metrics are written after its first outer step: that is when the clock stops. Runs of
`compile=whole` start twice, with an empty folder for compiled programs and with what the first
start left there (trainers/system/xla_cache.py). Beside the seconds are those of the CPU, which
other work on the machine does not lengthen.
Peak memory is the maximum resident set of the process over a whole run with the standard
config but for its length: training, 30 snapshots, checkpoints, scorecard, export.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from absl import flags

from benchmarks import rounds
from trainers.system import cli, xla_cache

__all__ = ["first_step", "peak_memory"]

_ROOT = Path(__file__).parents[1]
_CONFIG = "configs/gaussians8_mp.py"
_TIMEOUT = 300.0  # seconds


def _command(workdir: Path, variant: str, *options: str) -> list[str]:
    config = f"--config={_CONFIG}{variant}"
    return [sys.executable, "-m", "trainers.run", config, f"--workdir={workdir}", *options]


def first_step(variant: str, *options: str, cache: Path | None = None) -> tuple[float, float]:
    """From the start of the command to the first line of metrics: (seconds, seconds of the CPU).

    Args:
      variant: ":tiny", or "" for the standard experiment.
      *options: of the command.
      cache: a folder for compiled programs; None: the user's.

    Raises:
      RuntimeError: if the run ends without one, or takes five minutes.
    """
    with tempfile.TemporaryDirectory() as name:
        workdir = Path(name, "run")
        started = time.perf_counter()
        process = subprocess.Popen(
            _command(workdir, variant, "--config.log_every=2", *options),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=_ROOT,
            env={**os.environ, **({xla_cache.VARIABLE: str(cache)} if cache else {})},
        )
        try:
            while not _has_content(workdir / "metrics.jsonl"):
                if process.poll() is not None or time.perf_counter() - started > _TIMEOUT:
                    raise RuntimeError(f"no first step: exit code {process.returncode}")
                time.sleep(0.01)
            return time.perf_counter() - started, _cpu_seconds(process.pid)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
            process.wait()


def _cpu_seconds(pid: int) -> float:
    """Of a process that runs."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _has_content(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0


def peak_memory(num_batches: int) -> float:
    """Bytes: the maximum resident set of a whole standard run of that length.

    Raises:
      RuntimeError: if the run fails.
    """
    with tempfile.TemporaryDirectory() as name:
        options = [f"--config.num_batches={num_batches}", "--config.log_every=100"]
        process = subprocess.Popen(
            _command(Path(name, "run"), ":pure", *options),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=_ROOT,
        )
        # Not `wait4`: what it says is never less than what this process itself had when it started
        # the other.
        most = 0
        while process.poll() is None:
            with contextlib.suppress(OSError):
                status = Path(f"/proc/{process.pid}/status").read_text()
                if found := re.search(r"VmHWM:\s+(\d+) kB", status):
                    most = int(found[1])
            time.sleep(0.05)
        if process.returncode:
            raise RuntimeError(f"the run ended with code {process.returncode}")
        return 1024.0 * most


def main() -> int:
    """The command."""
    from trainers.system import provenance
    from trainers.system.files import write_json

    f = flags.FLAGS
    report: dict[str, Any] = {"provenance": provenance.describe({"seed": 0}), "results": []}
    whole = "--config.compile=whole"
    starts = {":tiny": (":tiny",), ":pure": (":pure",)}
    starts |= {f":pure {whole}, {start}": (":pure", whole) for start in ("first", "second")}
    measured: dict[str, list[tuple[float, float]]] = {name: [] for name in starts}
    for _ in range(f.rounds):
        with tempfile.TemporaryDirectory() as folder:
            for name, (variant, *options) in starts.items():
                cache = Path(folder) if options else None
                measured[name].append(first_step(variant, *options, cache=cache))
    for name, values in measured.items():
        s, cpu = (rounds.summary(list(x)) for x in zip(*values, strict=True))
        print(
            f"{_CONFIG}{name}: first step after {s['median']:.2f} s "
            f"({s['quartile_1']:.2f}-{s['quartile_3']:.2f}), {cpu['median']:.2f} s of the CPU"
        )
        report["results"].append(
            {"config": _CONFIG + name, "seconds_to_first_step": s, "cpu_seconds": cpu}
        )
    memory = peak_memory(f.num_batches)
    print(f"{_CONFIG}:pure, {f.num_batches} mini-batches: peak memory {memory / 1e9:.3f} GB")
    report["results"].append({"config": f"{_CONFIG}:pure", "peak_memory_bytes": memory})
    if f.output:
        write_json(Path(f.output), report)
    return cli.DONE


if __name__ == "__main__":
    flags.DEFINE_integer("rounds", 3, "Starts of each.", lower_bound=2)
    flags.DEFINE_integer("num_batches", 400, "Of the run whose memory is measured.")
    flags.DEFINE_string("output", None, "Also write a JSON file.")
    cli.main(main, sys.argv)
