"""What a mini-batch is made of in the compiled program: fusions, products, copies, counted.

    python -m benchmarks.kernels [--models=mlp,dcgan32,dcgan64] [--algorithms=all|rmsprop,...]
        [--batch_sizes=64,256] [--precisions=float32] [--width=512] [--peers=jax|none]
        [--stage=optimized_hlo|hlo] [--set=KEY=VALUE,... ...] [--text=FOLDER] [--output=FILE]
        [--device=here|h100]

The program is that of `compile=whole`: XLA's text of a call of many outer steps, of which the
loop's body is counted (benchmarks/hlo.py) and divided by the mini-batches of an outer step. On a
GPU a step of small networks takes as long as launching its kernels, and a copy or a
float64 more in every step is seen here, where there is none. XLA makes other programs for
other devices, so that counts compare programs of one machine and do not explain times.

--device=h100 compiles for an NVIDIA H100, which need not be here (`make gpu-compiler`; MLPs only),
ours with the flags that a run of fewer than 500,000 mini-batches has there. `chain` is then the
number of kernels that must wait for each other, the least that a step takes.

`trips` is how often the loop turns, if XLA knows it: else it asks the host after every turn.
--text keeps the programs. Each --set is a row of its own, of ours with these keys of the config;
an empty one is the config as it is.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags

from benchmarks import hlo
from benchmarks.given import integers
from benchmarks.peers import common
from benchmarks.peers.client import python_of, unavailable
from benchmarks.peers.common import Work
from benchmarks.peers.ours import make_loop
from benchmarks.step import MODELS
from tf_mixed_nash.errors import InputError
from trainers.system import cli
from trainers.system.quiet import import_tensorflow

__all__ = ["COLUMNS", "count", "of_ours", "table"]

COLUMNS = (
    *("kernels", "fusions", "dots", "convolutions", "custom_calls", "generators", "copies"),
    *("whiles", "f64"),
)
_ROOT = Path(__file__).parents[1]
_STAGES = ("optimized_hlo", "hlo")


def of_ours(
    work: Work, folder: Path, stage: str = "optimized_hlo", overrides: Sequence[str] = ()
) -> tuple[str, int]:
    """Our program for this work: (its text, the mini-batches of a turn of its loop).

    Args:
      work: its algorithm may be any of the registry.
      folder: for random images.
      stage: "optimized_hlo", or "hlo" before XLA's passes.
      overrides: KEY=VALUE of the config.
    """
    loop = make_loop(work, folder, ("compile=whole", "mixture.num_components=1", *overrides))
    try:
        return loop.program_text(stage), int(loop.run.scheme.num_batches(0))
    finally:
        loop.close()


def for_h100(program: bytes | Work) -> str:
    """XLA's text for an H100 of a serialised program of ours, or of the JAX peer's scan of a work.

    Raises:
      InputError: if the compiler is not installed, or fails.
    """
    python = _ROOT / ".venv-gpu/bin/python"
    if not python.exists():
        raise InputError("--device=h100 needs XLA's compiler for GPUs. Run: make gpu-compiler")
    given = [] if isinstance(program, bytes) else [json.dumps(dataclasses.asdict(program))]
    done = subprocess.run(
        [str(python), "-m", "benchmarks.peers.gpu_compiler", *given],
        input=program if isinstance(program, bytes) else None,
        capture_output=True,
        check=False,
        cwd=_ROOT,
    )
    if done.returncode:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1]
        raise InputError(f"XLA did not compile the program for an H100: {last}")
    return done.stdout.decode()


def of_jax(work: Work) -> str:
    """The text of the JAX peer's scan.

    Raises:
      InputError: if it could not be compiled.
    """
    done = subprocess.run(
        [python_of("jax"), "-m", "benchmarks.peers.jax_peer", json.dumps(dataclasses.asdict(work))],
        capture_output=True,
        text=True,
        check=False,
        cwd=_ROOT,
    )
    if done.returncode:
        raise InputError(f"JAX did not compile the step: {done.stderr.strip().splitlines()[-1]}")
    return done.stdout


def count(text: str, per_step: int = 1) -> dict[str, float | None]:
    """The work of the program's loop per mini-batch, by COLUMNS; its `chain`; `trips`, or None.

    Args:
      text: of the program.
      per_step: mini-batches of a turn of the loop.
    """
    program = hlo.parse(text)
    loop = hlo.main_loop(program)
    found = hlo.counts(program, loop.body)
    per_batch = {name: found[name] / per_step for name in COLUMNS}
    return {**per_batch, "chain": hlo.chain(program, loop.body) / per_step, "trips": loop.trips}


def _row(who: str, work: Work, given: str, text: str, per_step: int) -> dict[str, Any]:
    model = work.model if work.model == "mlp" else f"dcgan{work.size}"
    return {
        "framework": who,
        "set": given,
        "algorithm": work.algorithm,
        "model": model,
        "batch_size": work.batch_size,
        "precision": work.precision,
        "width": work.width,
        **count(text, per_step),
    }


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as text."""
    head = f"{'':<10}{'algorithm':<20}" + "".join(
        f"{c[:11]:>12}" for c in (*COLUMNS, "chain", "trips")
    )
    lines = [head]
    for row in rows:
        numbers = "".join(f"{row[c]:>12g}" for c in (*COLUMNS, "chain"))
        trips = "unknown" if row["trips"] is None else str(row["trips"])
        given = f"  {row['set']}" if row["set"] else ""
        lines.append(f"{row['framework']:<10}{row['algorithm']:<20}{numbers}{trips:>12}{given}")
    return "\n".join(lines)


def _works(f) -> list[Work]:
    works = []
    for model in _chosen("models", f.models, list(MODELS)):
        work = MODELS[model]
        sizes = integers("batch_sizes", f.batch_sizes) or ([64, 256] if model == "mlp" else [64])
        for precision in _chosen("precisions", f.precisions, ["float32", "bfloat16"]):
            for size in sizes:
                works.append(
                    dataclasses.replace(
                        work,
                        precision=precision,
                        batch_size=size,
                        width=f.width or work.width,
                    )
                )
    return works


def _chosen(flag: str, given: Sequence[str], valid: Sequence[str]) -> list[str]:
    if given == ["all"]:
        return list(valid)
    for name in given:
        if name not in valid:
            raise InputError(f"--{flag}={name}: choose of {', '.join(valid)}, or all.")
    return list(given)


def main() -> int:
    """The command."""
    f = flags.FLAGS
    tf: Any = import_tensorflow()
    from tf_mixed_nash import ALGORITHMS
    from trainers.system import provenance
    from trainers.system.files import write_json

    tf.get_logger().setLevel("ERROR")
    if f.device == "h100" and f.stage != "optimized_hlo":
        raise InputError(f"--stage={f.stage} is of no device. Leave out --device=h100.")
    algorithms = _chosen("algorithms", f.algorithms, list(ALGORITHMS))
    works = _works(f)
    with_jax, there = f.peers == "jax" and f.stage == "optimized_hlo", f.device == "h100"
    if with_jax and not there and (reason := unavailable("jax")):
        print(f"without jax: {reason}")
        with_jax = False
    about = provenance.describe({"seed": 0})
    print(", ".join([about["hardware"]["processor"], *about["hardware"]["gpus"]]))
    report: dict[str, Any] = {"provenance": about, "results": []}
    with tempfile.TemporaryDirectory() as folder:
        for work in works:
            rows = []
            for name in algorithms:
                mine = dataclasses.replace(work, algorithm=name)
                for given in f.set or [""]:
                    stage = "hlo_serialized" if there else f.stage
                    text, per_step = of_ours(
                        mine, Path(folder), stage, [*filter(None, given.split(","))]
                    )
                    text = for_h100(text) if there else text  # pyright: ignore
                    rows.append(_kept(f, "ours", mine, given, text, per_step))
                if with_jax and work.model == "mlp" and name in common.ALGORITHMS:
                    theirs = (for_h100 if there else of_jax)(mine)
                    rows.append(_kept(f, "jax", mine, "", theirs, 1))
            facts = rows[0]
            print(
                f"\n{facts['model']}, {work.precision}, batch {work.batch_size}, width "
                f"{work.width}: per mini-batch"
            )
            print(table(rows), flush=True)
            report["results"] += rows
    if f.output:
        write_json(Path(f.output), report)
    return cli.DONE


def _kept(f, who: str, work: Work, given: str, text: str, per_step: int) -> dict[str, Any]:
    row = _row(who, work, given, text, per_step)
    if f.text:
        name = f"{who}-{row['model']}-{work.algorithm}-{work.batch_size}-{work.precision}"
        name = f"{name}{'-' * bool(given)}{given.replace('/', '_')}.txt"
        folder = Path(f.text)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return row


if __name__ == "__main__":
    flags.DEFINE_list("models", ["mlp"], f"Of {', '.join(MODELS)}, or all.")
    flags.DEFINE_list("algorithms", ["all"], "Of the registry, or all.")
    flags.DEFINE_list("batch_sizes", [], "By default 64,256 (MLP) or 64.")
    flags.DEFINE_list("precisions", ["float32"], "Of float32, bfloat16.")
    flags.DEFINE_integer("width", 0, "Of the networks; 0: that of the model.", lower_bound=0)
    flags.DEFINE_enum("peers", "none", ["jax", "none"], "Who else is counted.")
    flags.DEFINE_enum("stage", "optimized_hlo", _STAGES, "Of XLA.")
    flags.DEFINE_enum("device", "here", ["here", "h100"], "For which XLA compiles.")
    flags.DEFINE_multi_string("set", [], "KEY=VALUE,... of the config: a row. Several times.")
    flags.DEFINE_string("text", None, "Also write the programs into this folder.")
    flags.DEFINE_string("output", None, "Also write a JSON file.")
    cli.main(main, sys.argv)
