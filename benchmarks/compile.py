"""The two ways of compiling the steps: XLA for parts of a graph, and one XLA program.

    python -m benchmarks.compile [--batch_sizes=64,256,1024] [--precisions=float32,bfloat16]
        [--algorithms=alt_mirror_gan] [--widths=512] [--configs=gaussians8_mp,...] [--beside=0]
        [--set=KEY=VALUE ...] [--rounds=5] [--determinism] [--output=compile.json]

The standard 2-D experiment (3 layers of --widths units, gradient penalty) by the trainer's own
loop, on the GPU if there is one; or shipped configs as `trainers.run` trains them. The ways
alternate, and ratios are to `parts`; `first` is the seconds of CPU until the first two mini-batches
are made. --beside lets so many processes compute at the same time. --determinism times each way
also with operations that need not be deterministic ("free"), which is what bit-for-bit resuming
costs on a GPU. docs/speed.md and docs/gpu.md have the results.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

from absl import flags

import configs
from benchmarks import contest, rounds
from benchmarks.given import integers
from benchmarks.peers.common import Work
from benchmarks.rounds import Contestant
from tf_mixed_nash import compile as compiling
from tf_mixed_nash.compile import WAYS
from tf_mixed_nash.errors import InputError
from trainers.system import cli, threads
from trainers.system.quiet import import_tensorflow

_PRECISIONS = ("float32", "bfloat16")


def measure(
    make: Callable[[str], Contestant], num_rounds: int, determinism: bool = False
) -> list[dict[str, Any]]:
    """Times the ways in turn: a row for each.

    Args:
      make: who trains, by the way.
      num_rounds: timings of each way.
      determinism: each way also without deterministic operations.
    """
    first = {}

    def begun(label: str, contestant: Callable[[], Contestant]) -> Contestant:
        before = time.process_time()
        one = contestant()
        one.seconds(2)
        first[label] = time.process_time() - before
        return one

    ways = {way: begun(way, lambda w=way: make(w)) for way in WAYS}
    if determinism:
        free = {f"{way}, free": way for way in WAYS}
        ways |= {label: begun(label, lambda w=w: _free(make(w))) for label, w in free.items()}
    results = rounds.alternate(ways, num_rounds)
    return [
        {
            "compile": way,
            "ms": rounds.summary(r.ms),
            "ratio": rounds.summary(r.ratio),
            "first": first[way],
        }
        for way, r in results.items()
    ]


def _free(contestant: Contestant) -> Contestant:
    """The same with operations as they are outside of the trainer."""

    def seconds(steps: int) -> float:
        with mock.patch.object(compiling, "deterministic", contextlib.nullcontext):
            return contestant.seconds(steps)

    return Contestant(seconds, contestant.flops)


@contextlib.contextmanager
def _busy(number: int) -> Iterator[None]:
    """So many processes that compute without end."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(number)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def _cases(f: Any, folder: Path) -> Iterator[tuple[dict[str, Any], Callable[[str], Contestant]]]:
    """What is timed: (its columns, who trains it by the way)."""
    given = tuple(f.set)
    for config in f.configs:
        yield (
            {"config": config},
            lambda way, c=config: contest.configured(c, (*given, f"compile={way}")),
        )
    if f.configs:
        return
    for algorithm in f.algorithms:
        for precision in f.precisions:
            for width in integers("widths", f.widths):
                for size in integers("batch_sizes", f.batch_sizes):
                    work = Work(algorithm, precision, size, width=width)
                    about = {
                        "algorithm": algorithm,
                        "batch_size": size,
                        "precision": precision,
                        "width": width,
                    }
                    yield (
                        about,
                        lambda way, w=work: contest.ours(w, folder, (*given, f"compile={way}")),
                    )


def main() -> int:
    """The command."""
    f = flags.FLAGS
    threads.for_training()
    tf: Any = import_tensorflow()
    from tf_mixed_nash import ALGORITHMS
    from trainers.system import provenance
    from trainers.system.files import write_json

    named = ("precisions", _PRECISIONS), ("algorithms", ALGORITHMS), ("configs", configs.names())
    for flag, valid in named:
        for name in getattr(f, flag):
            if name not in valid:
                raise InputError(f"--{flag}={name}: choose of {', '.join(valid)}.")
    tf.get_logger().setLevel("ERROR")
    about = provenance.describe({"seed": 0})
    report: dict[str, Any] = {"provenance": about, "beside": f.beside, "results": []}
    print(", ".join([about["hardware"]["processor"], *about["hardware"]["gpus"]]))
    print(
        f"{'what':<44}{'way':<13}{'ms':>9} {'(quartiles)':<17}{'ratio':>6} {'(quartiles)':<13}first"
    )
    with tempfile.TemporaryDirectory() as folder, _busy(f.beside):
        for columns, make in _cases(f, Path(folder)):
            for r in measure(make, f.rounds, f.determinism):
                print(_line(columns, r), flush=True)
                report["results"].append({**columns, **r})
    if f.output:
        write_json(Path(f.output), report)
    return cli.DONE


def _line(columns: Mapping[str, Any], row: Mapping[str, Any]) -> str:
    ms, ratio = row["ms"], row["ratio"]
    what = ", ".join(map(str, columns.values()))
    return (
        f"{what:<44}{row['compile']:<13}{ms['median']:>9.3f} "
        f"{'({quartile_1:.3f}-{quartile_3:.3f})'.format(**ms):<17}{ratio['median']:>6.2f} "
        f"{'({quartile_1:.2f}-{quartile_3:.2f})'.format(**ratio):<13}{row['first']:5.1f}"
    )


if __name__ == "__main__":
    flags.DEFINE_list("batch_sizes", ["64", "256", "1024"], "Samples a mini-batch.")
    flags.DEFINE_list("precisions", ["float32"], f"Of {', '.join(_PRECISIONS)}.")
    flags.DEFINE_list("algorithms", ["alt_mirror_gan"], "Of the registry.")
    flags.DEFINE_list("widths", ["512"], "Units of each of the three layers.")
    flags.DEFINE_list("configs", [], "Shipped configs, such as gaussians8_mp, in their place.")
    flags.DEFINE_integer("beside", 0, "Processes that compute meanwhile.", lower_bound=0)
    flags.DEFINE_multi_string("set", [], "KEY=VALUE of the config, for all.")
    flags.DEFINE_integer("rounds", 5, "Timings of each way.", lower_bound=2)
    flags.DEFINE_bool("determinism", False, "Also without deterministic operations.")
    flags.DEFINE_string("output", None, "Also write a JSON file.")
    cli.main(main, sys.argv)
