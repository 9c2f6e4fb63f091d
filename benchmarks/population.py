"""What S runs of a population cost beside one run: CPU seconds, and kernels of the program.

    python -m benchmarks.population [--runs=16] [--algorithms=mirror_gan] [--batch_sizes=64]
        [--width=512] [--ways=parts,whole] [--steps=4] [--rounds=3] [--count] [--output=FILE.json]

The standard 2-D experiment (3 layers of --width units, gradient penalty), by the trainer's own
loop: --steps mini-batches of one run, and of a population of --runs seeds, in turn. `ratio` is what
the population took over what one run took: --runs means no gain and no loss. On CPUs it is seconds
of CPU, which other work on the machine does not touch much; on a GPU seconds of the clock. --count
also counts the kernels of a mini-batch in the XLA programs of `whole` (benchmarks/kernels.py):
where a step waits for their launches, as on a GPU, their ratio is the time's. docs/many.md has
results.
"""

from __future__ import annotations

import contextlib
import dataclasses
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from benchmarks import kernels
from benchmarks.given import integers
from benchmarks.peers.common import Work
from benchmarks.peers.ours import make_loop
from tf_mixed_nash.compile import WAYS
from tf_mixed_nash.errors import InputError
from trainers.system import cli
from trainers.system.quiet import import_tensorflow

__all__ = ["count", "make_population", "measure"]


def make_population(work: Work, folder: Path, runs: int, overrides: tuple[str, ...] = ()) -> Any:
    """The `training.population.Population` of this work with seeds 0, 1, ..., runs - 1."""
    from tf_mixed_nash.training.population import Population
    from trainers.experiment import population

    loops = [make_loop(work, folder, (*overrides, f"seed={seed}")) for seed in range(runs)]
    population.check([loop.run for loop in loops])
    return Population(loops, population.template([loop.run for loop in loops]))


@contextlib.contextmanager
def _both(work: Work, way: str, runs: int) -> Iterator[tuple[Any, Any]]:
    """One run, and a population of it; afterwards they are closed."""
    overrides = (f"compile={way}", "mixture.num_components=1")
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as exits:
        one = make_loop(work, Path(name), overrides)
        exits.callback(one.close)
        many = make_population(work, Path(name), runs, overrides)
        for loop in many.loops:
            exits.callback(loop.close)
        yield one, many


def measure(
    work: Work, way: str, runs: int, steps: int, num_rounds: int, clock: Callable[[], float]
) -> dict[str, Any]:
    """Times one run and a population of this work in turn.

    Args:
      work: of each run.
      way: parts or whole.
      runs: S.
      steps: mini-batches of a timing.
      num_rounds: timings of each.
      clock: seconds.

    Returns:
      Milliseconds a mini-batch of `one` run and of `all` runs, and the `ratio`, each the median.
    """
    with _both(work, way, runs) as (one, many):
        loops = {"one": one, "all": many}
        times: dict[str, list[float]] = {who: [] for who in loops}
        for number in range(num_rounds + 1):
            for who, loop in loops.items():
                began = clock()
                loop.advance(loop.step + steps)
                if number:  # the first compiles
                    times[who].append(1e3 * (clock() - began) / steps)
    ratio = np.median(np.divide(times["all"], times["one"]))
    facts = {"way": way, "runs": runs, "steps": steps, "ratio": float(ratio)}
    return {**facts, **{who: float(np.median(ms)) for who, ms in times.items()}}


def count(work: Work, runs: int) -> dict[str, Any]:
    """Kernels of a mini-batch in the XLA program of one run and of a population."""
    with _both(work, "whole", runs) as both:
        per_step = int(both[0].run.scheme.num_batches(0))
        found = [kernels.count(x.program_text(), per_step) for x in both]
    of_one, of_all = (facts["kernels"] or 0.0 for facts in found)
    return {"runs": runs, "one": of_one, "all": of_all, "ratio": of_all / of_one}


def _rows(
    f: Any, work: Work, clock: Callable[[], float]
) -> Iterator[tuple[str, str, dict[str, Any], int]]:
    """(list of the report, what is said before it, row, digits) of all that is asked for."""
    for way in f.ways:
        yield "results", way, measure(work, way, f.runs, f.steps, f.rounds, clock), 2
    if f.count:
        yield "kernels", "kernels", count(work, f.runs), 1


def main() -> int:
    """The command."""
    f = flags.FLAGS
    tf: Any = import_tensorflow()
    from tf_mixed_nash import ALGORITHMS
    from trainers.system import provenance
    from trainers.system.files import write_json

    for flag, valid in (("ways", WAYS), ("algorithms", ALGORITHMS)):
        for name in getattr(f, flag):
            if name not in valid:
                raise InputError(f"--{flag}={name}: choose of {', '.join(valid)}.")
    sizes = integers("batch_sizes", f.batch_sizes)
    tf.get_logger().setLevel("ERROR")
    clock = time.perf_counter if tf.config.list_physical_devices("GPU") else time.process_time
    about = provenance.describe({"seed": 0})
    report: dict[str, Any] = {"provenance": about, "results": [], "kernels": []}
    print(", ".join([about["hardware"]["processor"], *about["hardware"]["gpus"]]))
    what = "seconds of the clock" if clock is time.perf_counter else "seconds of CPU"
    print(f"{f.runs} runs beside one, width {f.width}, {what}")
    print(f"{'algorithm':<16}{'batch':>6} {'way':<8}{'one, ms':>9}{'all, ms':>9}{'ratio':>7}")
    for algorithm in f.algorithms:
        for size in sizes:
            work = dataclasses.replace(Work(algorithm, "float32", size), width=f.width)
            facts = {"algorithm": algorithm, "batch_size": size, "width": f.width}
            for where, what, row, digits in _rows(f, work, clock):
                numbers = f"{row['one']:>9.{digits}f}{row['all']:>9.{digits}f}"
                text = f"{algorithm:<16}{size:>6} {what:<8}{numbers}{row['ratio']:>7.2f}"
                print(text, flush=True)
                report[where].append({**facts, **row})
    if f.output:
        write_json(Path(f.output), report)
    return cli.DONE


if __name__ == "__main__":
    flags.DEFINE_integer("runs", 16, "S, of the population.", lower_bound=2)
    flags.DEFINE_list("algorithms", ["mirror_gan"], "Of the registry.")
    flags.DEFINE_list("batch_sizes", ["64"], "Samples a mini-batch.")
    flags.DEFINE_integer("width", 512, "Of the three hidden layers.", lower_bound=1)
    flags.DEFINE_list("ways", list(WAYS), "parts, whole.")
    flags.DEFINE_integer("steps", 4, "Mini-batches of a timing.", lower_bound=1)
    flags.DEFINE_integer("rounds", 3, "Timings of each.", lower_bound=1)
    flags.DEFINE_bool("count", False, "Also count kernels.")
    flags.DEFINE_string("output", None, "Also write a JSON file.")
    cli.main(main, sys.argv)
