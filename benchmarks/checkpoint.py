"""What checkpoints cost, and how long resuming takes, on the standard 2-D run.

    python -m benchmarks.checkpoint [--rounds=7] [--every=500] [--num_batches=1500]

Rounds of training with and without checkpoints alternate in one process, twice: before the
mixture's window, when a checkpoint is small, and with the whole reservoir of M = 30 pairs in
it. The cost of a run weighs the two by the window of the config (0.75 to 1). Then the command
itself is stopped and started again: from its start to its first new step.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from absl import flags

from trainers import cli

_CONFIG = "configs/gaussians8_mp.py"
_CHUNK = 100


def measure(window: tuple[float, float], rounds: int, every: int, num_batches: int) -> dict:
    """Seconds of each round with and without checkpoints, the seconds that training stood still
    for them, and the bytes of one.

    Args:
      window: of the mixture; (0, 1) fills the reservoir at once.
      rounds: of each kind.
      every: mini-batches between two checkpoints.
      num_batches: of a round; a multiple of `every`.
    """
    import runpy

    from trainers import settings
    from trainers.build import build
    from trainers.checkpoint import Checkpoints
    from trainers.loop import Loop

    config = runpy.run_path(_CONFIG)["get_config"]()
    config.num_batches, config.mixture.window = 1_000_000, window
    loop = Loop(build(settings.resolve(config)))
    loop.advance(1_000)
    seconds: dict[bool, list[float]] = {True: [], False: []}
    stalls = []
    with tempfile.TemporaryDirectory() as folder:
        checkpoints = Checkpoints(Path(folder))
        for round_ in range(2 * rounds + 2):
            writes, began, stalled = bool(round_ % 2), time.perf_counter(), 0.0
            for _ in range(num_batches // every):
                for _ in range(every // _CHUNK):
                    loop.advance(loop.step + _CHUNK)
                    loop.logs()
                if writes:
                    before = time.perf_counter()
                    checkpoints.save(loop.step, loop.tensors(), {})
                    stalled += time.perf_counter() - before
            before = time.perf_counter()
            checkpoints.wait()
            stalled += time.perf_counter() - before
            if round_ >= 2:  # the first of each kind warms up
                seconds[writes].append(time.perf_counter() - began)
                if writes:
                    stalls.append(stalled)
        found = checkpoints.read()
        size = found.saved.manifest["bytes"] if found else 0
        checkpoints.close()
    ratios = np.array(seconds[True]) / np.array(seconds[False])
    return {
        "bytes": size,
        "with": seconds[True],
        "without": seconds[False],
        "stalled": stalls,
        "quartiles": np.quantile(ratios, [0.25, 0.5, 0.75]).tolist(),
    }


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
    from tf_mixed_nash.quiet import import_tensorflow

    import_tensorflow()
    from trainers import provenance

    f = flags.FLAGS
    facts = provenance.describe({"seed": 0})
    print(
        f"{facts['hardware']['processor']}, {facts['hardware']['cores']} cores, "
        f"TensorFlow {facts['versions']['tensorflow']}; {_CONFIG}, a checkpoint every {f.every}"
    )
    costs = []
    for name, window in (("before the window", (0.99, 1.0)), ("with the reservoir", (0.0, 1.0))):
        result = measure(window, f.rounds, f.every, f.num_batches)
        low, median, high = result["quartiles"]
        costs.append(median - 1)
        print(
            f"{name:<19} {result['bytes'] / 1e6:6.1f} MB a checkpoint; with / without "
            f"{median:.4f} (quartiles {low:.4f} to {high:.4f}); training stood still "
            f"{1e3 * np.median(result['stalled']) / (f.num_batches // f.every):.0f} ms a "
            f"checkpoint; {1e3 * np.median(result['without']) / f.num_batches:.2f} ms a mini-batch"
        )
        if f.json:
            with open(f.json, "a") as file:
                file.write(json.dumps({"case": name, **result, "provenance": facts}) + "\n")
    print(f"cost of a run       {100 * (0.75 * costs[0] + 0.25 * costs[1]):.2f} % of its wall time")
    if f.resumes:
        seconds = np.sort(measure_resuming(f.resumes))
        print(
            f"resuming            {np.median(seconds):.1f} s from the command to the first step "
            f"(of {len(seconds)}: {seconds[0]:.1f} to {seconds[-1]:.1f})"
        )


if __name__ == "__main__":
    flags.DEFINE_integer("rounds", 7, "Of each kind.", lower_bound=1)
    flags.DEFINE_integer("every", 500, "Mini-batches between checkpoints.", lower_bound=_CHUNK)
    flags.DEFINE_integer("num_batches", 1_500, "Of a round.", lower_bound=_CHUNK)
    flags.DEFINE_integer("resumes", 3, "How often the command is resumed.", lower_bound=0)
    flags.DEFINE_string("json", "", "A file to append the results to.")
    cli.main(_run)
