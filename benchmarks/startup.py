"""Seconds from the command to the first step, and the peak memory of a whole 2-D run.

    python -m benchmarks.startup [--rounds=3] [--num_batches=400] [--output=startup.json]

A run's first metrics are written after its first outer step: that is when the clock stops.
Peak memory is the maximum resident set of the process over a whole run with the standard
config but for its length: training, 30 snapshots, checkpoints, scorecard, export.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from absl import flags

from benchmarks import rounds
from trainers.system import cli

__all__ = ["first_step", "peak_memory"]

_ROOT = Path(__file__).parents[1]
_CONFIG = "configs/gaussians8_mp.py"
_TIMEOUT = 300.0  # seconds


def _command(workdir: Path, variant: str, *options: str) -> list[str]:
    config = f"--config={_CONFIG}{variant}"
    return [sys.executable, "-m", "trainers.run", config, f"--workdir={workdir}", *options]


def first_step(variant: str) -> float:
    """Seconds from the start of the command to the first line of metrics.

    Args:
      variant: ":tiny", or "" for the standard experiment.

    Raises:
      RuntimeError: if the run ends without one, or takes five minutes.
    """
    with tempfile.TemporaryDirectory() as name:
        workdir = Path(name, "run")
        started = time.perf_counter()
        process = subprocess.Popen(
            _command(workdir, variant, "--config.log_every=2"),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=_ROOT,
        )
        try:
            while not _has_content(workdir / "metrics.jsonl"):
                if process.poll() is not None or time.perf_counter() - started > _TIMEOUT:
                    raise RuntimeError(f"no first step: exit code {process.returncode}")
                time.sleep(0.01)
            return time.perf_counter() - started
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
            process.wait()


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
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise RuntimeError(f"the run ended with code {process.returncode}")
        return 1024.0 * usage.ru_maxrss


def main() -> int:
    """The command."""
    from trainers.system import provenance
    from trainers.system.files import write_json

    f = flags.FLAGS
    report: dict[str, Any] = {"provenance": provenance.describe({"seed": 0}), "results": []}
    seconds: dict[str, list[float]] = {":tiny": [], ":pure": []}
    for _ in range(f.rounds):
        for variant, values in seconds.items():
            values.append(first_step(variant))
    for variant, values in seconds.items():
        s = rounds.summary(values)
        print(
            f"{_CONFIG}{variant}: first step after {s['median']:.2f} s "
            f"({s['quartile_1']:.2f}-{s['quartile_3']:.2f})"
        )
        report["results"].append({"config": _CONFIG + variant, "seconds_to_first_step": s})
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
