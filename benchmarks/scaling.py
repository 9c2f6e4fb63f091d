"""How a mini-batch of Mirror-GAN grows with batch, width, K, mixture size and replicas.

    python -m benchmarks.scaling [--axes=batch,width,inner_steps,mixture,replicas] [--rounds=7]
        [--output=scaling.json]
    python -m benchmarks.scaling --axes=particles,particles_25    # n' at as many parameters

Along each axis everything else is the standard 2-D experiment (batch 64, 3 x 512, K = 1, M = 30,
one replica), in float32; the values alternate within a round, and ratios are to the first.
Replicas are logical CPUs of MirroredStrategy on the same cores: they show the overhead, not a
gain, and are timed in a process of their own, which must split the CPU before it computes.

The axes of particles are the runs of docs/results/particles.md: what `make run` trains (8
Gaussians) and `configs/gaussians25_mp.py`, with n' generators that have as many parameters
together as theirs.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from absl import flags

from benchmarks import contest, rounds
from benchmarks.particles_study import STAGES
from benchmarks.peers.common import Work
from benchmarks.rounds import Contestant
from tf_mixed_nash.errors import InputError
from trainers.system import cli, threads
from trainers.system.quiet import import_tensorflow

_BASE = Work(batch_size=64)
_MIXTURE = ("mixture.window=(0.0,1.0)",)
# Axis -> label -> (work, overrides).
AXES: dict[str, dict[str, tuple[Work, tuple[str, ...]]]] = {
    "batch": {str(n): (dataclasses.replace(_BASE, batch_size=n), ()) for n in (16, 64, 256, 1024)},
    "width": {str(n): (dataclasses.replace(_BASE, width=n), ()) for n in (128, 512, 1024)},
    "inner_steps": {str(k): (_BASE, (f"num_inner_steps={k}",)) for k in (1, 2, 5, 20)},
    "mixture": {
        str(m): (_BASE, (f"mixture.num_components={m}", *_MIXTURE)) for m in (1, 10, 30, 100)
    },
    "replicas": {"1": (_BASE, ()), "2": (_BASE, ("strategy=mirrored",))},
}
# Axis -> a stage of particles_study, whose settings differ in n' alone, and its data.
PARTICLES = {"particles": ("widths", 8), "particles_25": ("widths_25", 25)}


def _of_particles(axis: str) -> Iterator[tuple[str, Contestant]]:
    stage, modes = PARTICLES[axis]
    for setting in STAGES[stage]:
        num = setting.name.removeprefix(f"{stage}_")
        if num.isdecimal():
            # Neither is of a mini-batch: how many there are, and where the snapshots begin.
            items = [
                x for x in setting.items if not x.startswith(("num_batches=", "mixture.window="))
            ]
            yield num, contest.configured(f"gaussians{modes}_mp", items)


def _contestants(axis: str, folder: Path) -> dict[str, Contestant]:
    if axis in PARTICLES:
        return dict(_of_particles(axis))
    return {
        label: contest.ours(work, folder, overrides)
        for label, (work, overrides) in AXES[axis].items()
    }


def measure(axis: str, num_rounds: int) -> list[dict[str, Any]]:
    """Times the values of an axis in this process: a row for each."""
    with tempfile.TemporaryDirectory() as folder:
        results = rounds.alternate(_contestants(axis, Path(folder)), num_rounds)
    return [
        {
            "axis": axis,
            "value": int(label),
            "ms": rounds.summary(r.ms),
            "ratio": rounds.summary(r.ratio),
        }
        for label, r in results.items()
    ]


def _in_child(axis: str, num_rounds: int) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name, "rows.json")
        command = [sys.executable, "-m", "benchmarks.scaling", f"--axes={axis}", "--child"]
        subprocess.run(
            [*command, f"--rounds={num_rounds}", f"--output={path}"],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        return json.loads(path.read_text())["results"]


def _split_cpu(tf) -> None:
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)


def main() -> int:
    """The command."""
    f = flags.FLAGS
    for axis in f.axes:
        if axis not in (*AXES, *PARTICLES):
            raise InputError(f"--axes={axis}: choose of {', '.join((*AXES, *PARTICLES))}.")
    threads.for_training()
    tf: Any = import_tensorflow()
    tf.get_logger().setLevel("ERROR")
    if f.child:
        _split_cpu(tf)
    from trainers.system import provenance
    from trainers.system.files import write_json

    report: dict[str, Any] = {"provenance": provenance.describe({"seed": 0}), "results": []}
    for axis in f.axes:
        alone = axis == "replicas" and not f.child
        rows = _in_child(axis, f.rounds) if alone else measure(axis, f.rounds)
        print(f"\n{axis:<14}{'ms/mini-batch':>14}{'(quartiles)':>18}{'ratio':>8}")
        for row in rows:
            ms = row["ms"]
            quartiles = f"({ms['quartile_1']:.2f}-{ms['quartile_3']:.2f})"
            ratio = row["ratio"]["median"]
            print(
                f"{row['value']:<14}{ms['median']:>14.2f}{quartiles:>18}{ratio:>8.2f}", flush=True
            )
        report["results"] += rows
    if f.output:
        write_json(Path(f.output), report)
    return cli.DONE


if __name__ == "__main__":
    flags.DEFINE_list("axes", list(AXES), f"Of {', '.join((*AXES, *PARTICLES))}.")
    flags.DEFINE_integer("rounds", 7, "Timings of each value.", lower_bound=2)
    flags.DEFINE_bool("child", False, "Split the CPU into two logical devices first.")
    flags.DEFINE_string("output", None, "Also write a JSON file.")
    cli.main(main, sys.argv)
