"""The two ways of compiling the steps: XLA for parts of a graph, and one XLA program.

    python -m benchmarks.compile [--batch_sizes=64,256,1024] [--precisions=float32,bfloat16]
        [--algorithms=alt_mirror_gan] [--rounds=5] [--determinism] [--output=compile.json]

The standard 2-D experiment (3 x 512, gradient penalty) by the trainer's own loop, on the GPU if
there is one; the ways alternate, and ratios are to `parts`. docs/gpu.md has the results.
--determinism times each way also with operations that need not be deterministic ("free"), which is
what bit-for-bit resuming costs on a GPU.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

from absl import flags

from benchmarks import contest, rounds
from benchmarks.peers.common import Work
from benchmarks.rounds import Contestant
from tf_mixed_nash import compile as compiling
from tf_mixed_nash.compile import WAYS
from tf_mixed_nash.errors import InputError
from trainers.system import cli
from trainers.system.quiet import import_tensorflow

_PRECISIONS = ("float32", "bfloat16")


def measure(work: Work, num_rounds: int, determinism: bool = False) -> list[dict[str, Any]]:
    """Times the ways in turn: a row for each.

    Args:
      work: what is trained.
      num_rounds: timings of each way.
      determinism: each way also without deterministic operations.
    """
    with tempfile.TemporaryDirectory() as folder:

        def ours(way: str) -> Contestant:
            return contest.ours(work, Path(folder), (f"compile={way}",))

        ways = {way: ours(way) for way in WAYS}
        if determinism:
            ways |= {f"{way}, free": _free(ours(way)) for way in WAYS}
        results = rounds.alternate(ways, num_rounds)
    return [
        {
            "algorithm": work.algorithm,
            "batch_size": work.batch_size,
            "precision": work.precision,
            "compile": way,
            "ms": rounds.summary(r.ms),
            "ratio": rounds.summary(r.ratio),
        }
        for way, r in results.items()
    ]


def _free(contestant: Contestant) -> Contestant:
    """The same with operations as they are outside of the trainer."""

    def seconds(steps: int) -> float:
        with mock.patch.object(compiling, "deterministic", contextlib.nullcontext):
            return contestant.seconds(steps)

    return Contestant(seconds, contestant.flops)


def main() -> int:
    """The command."""
    f = flags.FLAGS
    tf: Any = import_tensorflow()
    from tf_mixed_nash import ALGORITHMS
    from trainers.system import provenance
    from trainers.system.files import write_json

    sizes = [_size(n) for n in f.batch_sizes]
    for flag, valid in (("precisions", _PRECISIONS), ("algorithms", ALGORITHMS)):
        for name in getattr(f, flag):
            if name not in valid:
                raise InputError(f"--{flag}={name}: choose of {', '.join(valid)}.")
    tf.get_logger().setLevel("ERROR")
    about = provenance.describe({"seed": 0})
    report: dict[str, Any] = {"provenance": about, "results": []}
    print(", ".join([about["hardware"]["processor"], *about["hardware"]["gpus"]]))
    print(f"{'algorithm':<16}{'batch':>6} {'precision':<10}{'way':<13}{'ms':>8}{'ratio':>7}")
    for algorithm in f.algorithms:
        for precision in f.precisions:
            for size in sizes:
                rows = measure(Work(algorithm, precision, size), f.rounds, f.determinism)
                for r in rows:
                    print(
                        f"{algorithm:<16}{size:>6} {precision:<10}{r['compile']:<13}"
                        f"{r['ms']['median']:>8.3f}{r['ratio']['median']:>7.2f}",
                        flush=True,
                    )
                report["results"] += rows
    if f.output:
        write_json(Path(f.output), report)
    return cli.DONE


def _size(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise InputError(f"--batch_sizes={text}: give whole numbers above 0, such as 64,256.")
    return int(text)


if __name__ == "__main__":
    flags.DEFINE_list("batch_sizes", ["64", "256", "1024"], "Samples a mini-batch.")
    flags.DEFINE_list("precisions", ["float32"], f"Of {', '.join(_PRECISIONS)}.")
    flags.DEFINE_list("algorithms", ["alt_mirror_gan"], "Of the registry.")
    flags.DEFINE_integer("rounds", 5, "Timings of each way.", lower_bound=2)
    flags.DEFINE_bool("determinism", False, "Also without deterministic operations.")
    flags.DEFINE_string("output", None, "Also write a JSON file.")
    cli.main(main, sys.argv)
