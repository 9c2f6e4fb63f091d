"""What checkpoints cost, and how long resuming takes, on the standard 2-D run.

    python -m benchmarks.checkpoint [--rounds=3] [--every=500]

The run of configs/gaussians8_mp.py, with and without checkpoints, alternating in one process: its
first three quarters, before the mixture's window, in parts; then its last quarter, in which
the reservoir of M = 30 pairs fills and changes, so many times from the same state. The cost
of the run weighs the two by their lengths. Then the command itself is stopped and started
again: from its start to its first new step.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl import flags

from trainers.system import cli

_CONFIG = "configs/gaussians8_mp.py:pure"
_CHUNK = 100


class _Timed(NamedTuple):
    """Rounds of one part of the run.

    Attributes:
      seconds: whether checkpoints were written -> of each round.
      stalls: seconds that training stood still for one checkpoint, of each round.
      num_batches: of a round.
      bytes: of its last checkpoint.
    """

    seconds: dict[bool, list[float]]
    stalls: list[float]
    num_batches: int
    bytes: int


def measure(rounds: int, every: int) -> dict[str, _Timed]:
    """Times the two parts of the run: name -> rounds, each with and without checkpoints.

    Args:
      rounds: of each kind.
      every: mini-batches between two checkpoints.
    """
    from tf_mixed_nash.training.loop import Loop
    from trainers.experiment import settings
    from trainers.experiment.build import build
    from trainers.workdir.checkpoints import Checkpoints

    config = settings.resolve(cli.load_config(_CONFIG))
    loop = Loop(build(config))
    total = loop.run.num_batches
    window = int(loop.run.window[0] * total)
    with tempfile.TemporaryDirectory() as folder:
        checkpoints = Checkpoints(Path(folder))

        def advance(until: int, writes: bool) -> tuple[float, float]:
            began, stalled, count = time.perf_counter(), 0.0, 0
            while loop.step < until:
                for _ in range(every // _CHUNK):
                    loop.advance(loop.step + _CHUNK)
                    loop.logs()
                if writes:
                    before = time.perf_counter()
                    checkpoints.save(loop.step, loop.tensors(), {})
                    stalled, count = stalled + time.perf_counter() - before, count + 1
            before = time.perf_counter()
            checkpoints.wait()  # of the last one, as at the end of a run
            stalled += time.perf_counter() - before
            return time.perf_counter() - began, stalled / max(count, 1)

        def size() -> int:
            found = checkpoints.read()
            return found.saved.manifest["bytes"] if found else 0

        def timed(length: int, begin: Callable[[], Any]) -> _Timed:
            seconds: dict[bool, list[float]] = {True: [], False: []}
            stalls = []
            for round_ in range(rounds):
                for writes in (bool(round_ % 2), not round_ % 2):
                    begin()
                    took, stall = advance(loop.step + length, writes)
                    seconds[writes].append(took)
                    if writes:
                        stalls.append(stall)
            return _Timed(seconds, stalls, length, size())

        advance(every, writes=True)  # traces, compiles, and writes a first time
        length = (window - loop.step) // (2 * rounds) // every * every
        results = {"before the window": timed(length, lambda: None)}
        advance(window, writes=False)
        checkpoints.save(loop.step, loop.tensors(), {})
        checkpoints.wait()
        found = checkpoints.read()
        assert found
        results["in the window"] = timed(total - window, lambda: loop.assign(found.tensors))
        checkpoints.close()
    return results


def measure_resuming(rounds: int) -> list[float]:
    """Seconds from the start of the command to its first new record after a stop."""
    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        workdir = Path(folder) / "run"
        command = [
            sys.executable, "-m", "trainers.run", f"--config={_CONFIG}", f"--workdir={workdir}",
            "--config.checkpoint_every=500", "--config.picture_every=1000000",
            "--config.log_every=1", "--config.mixture.window=(0.0, 1.0)",
        ]  # fmt: skip
        environment = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
        for round_ in range(rounds + 1):
            path, began = workdir / "metrics.jsonl", time.perf_counter()
            before = path.stat().st_size if path.exists() else 0
            process = subprocess.Popen(
                command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
            )
            while not path.exists() or path.stat().st_size <= before:
                if process.poll() is not None:
                    raise RuntimeError(f"The run ended with {process.returncode}.")
                time.sleep(0.01)
            if round_:
                seconds.append(time.perf_counter() - began)
            time.sleep(0 if round_ else 15)  # the first fills the reservoir
            process.send_signal(signal.SIGTERM)
            process.wait()
    return seconds


def _run() -> None:
    from trainers.system.quiet import import_tensorflow

    import_tensorflow()
    from trainers.system import provenance

    f = flags.FLAGS
    facts = provenance.describe({"seed": 0})
    print(
        f"{facts['hardware']['processor']}, {facts['hardware']['cores']} cores, "
        f"TensorFlow {facts['versions']['tensorflow']}; {_CONFIG}, a checkpoint every {f.every}"
    )
    costs = {}
    for name, timed in measure(f.rounds, f.every).items():
        ratios = np.array(timed.seconds[True]) / np.array(timed.seconds[False])
        low, median, high = np.quantile(ratios, [0.25, 0.5, 0.75])
        costs[name] = median - 1
        print(
            f"{name:<19} {timed.bytes / 1e6:6.1f} MB the last checkpoint; with / without "
            f"{median:.4f} (quartiles {low:.4f} to {high:.4f}); training stood still "
            f"{1e3 * np.median(timed.stalls):.0f} ms a checkpoint; "
            f"{1e3 * np.median(timed.seconds[False]) / timed.num_batches:.2f} ms a mini-batch",
            flush=True,
        )
        if f.json:
            with open(f.json, "a") as file:
                line = {"case": name, **timed._asdict(), "provenance": facts}
                file.write(json.dumps(line) + "\n")
    before, within = costs.values()
    print(f"cost of a run       {100 * (0.75 * before + 0.25 * within):.2f} % of its wall time")
    if f.resumes:
        seconds = np.sort(measure_resuming(f.resumes))
        print(
            f"resuming            {np.median(seconds):.1f} s from the command to the first step "
            f"(of {len(seconds)}: {seconds[0]:.1f} to {seconds[-1]:.1f})"
        )


if __name__ == "__main__":
    flags.DEFINE_integer("rounds", 3, "Of each kind.", lower_bound=1)
    flags.DEFINE_integer("every", 500, "Mini-batches between checkpoints.", lower_bound=_CHUNK)
    flags.DEFINE_integer("resumes", 3, "How often the command is resumed.", lower_bound=0)
    flags.DEFINE_string("json", "", "A file to append the results to.")
    cli.main(_run)
