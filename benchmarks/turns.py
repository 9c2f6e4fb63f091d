"""Milliseconds per mini-batch of processes that compile side by side and are timed in turn.

    python -m benchmarks.turns [--contestants=WHO ...] [--model=mlp|dcgan32|dcgan64]
        [--algorithms=mirror_gan] [--batch_sizes=64] [--precisions=float32] [--rounds=7]
        [--steps=N] [--seconds=90] [--output=FILE.json]

For a machine that is lent for minutes: everyone of a table is a process of its own, all compile
at the same time, and then each is timed for itself while the others wait, once a round. Ratios are
to the first within the round. `benchmarks.step` times the same work with its programs compiled one
after the other.

A contestant is a peer (benchmarks/peers/client.py) or `ours`, which may have options behind commas:
`ours,KEY=VALUE` of the config, `ours,population=16`, `ours,deterministic=false`, `ours,choose=true`
(kernels timed in a first compilation, deterministic in the second), `ours,call=100`, outer steps of
a call whose length XLA knows, `threads=2`, of an operation on CPUs, `config=gaussians8_mp`, a
shipped one instead of the work. `xla=FLAG`, a flag of XLA such as
--xla_gpu_enable_triton_gemm=true, is an option of JAX, too. Who is not ready after --seconds, or
fails, is left out and named.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import json
import os
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags

from benchmarks import rounds
from benchmarks.given import integers
from benchmarks.peers.client import OURS, PEERS, Peer, PeerError, unavailable
from benchmarks.peers.common import Work
from benchmarks.peers.ours_peer import OPTIONS
from benchmarks.step import MODELS
from tf_mixed_nash.errors import InputError
from trainers.system import cli, threads
from trainers.system.quiet import import_tensorflow

__all__ = ["Contestant", "parse", "table", "times"]

_OURS = "ours"
_XLA = "XLA_FLAGS"
# Of a call of ours (tf_mixed_nash/training/whole.py), so that no second program is compiled.
_CALL = 100


@dataclasses.dataclass(frozen=True)
class Contestant:
    """Who is timed.

    Attributes:
      label: in the table.
      peer: a key of PEERS or OURS.
      environment: variables of its process.
      work: what it trains.
    """

    label: str
    peer: str
    environment: dict[str, str]
    work: Work


def parse(text: str, work: Work) -> Contestant:
    """A contestant as the command line has it.

    Raises:
      InputError: for an unknown peer, or options of one.
    """
    name, *options = text.split(",")
    if name not in (known := OURS | PEERS):
        raise InputError(f"{name} is nobody to be timed: choose of {', '.join(known)}.")
    if name != _OURS and (others := [o for o in options if not o.startswith("xla=")]):
        raise InputError(f"{text}: options are of {_OURS}, but for xla=FLAG: {others[0]}")
    given: dict[str, Any] = {"set": []}
    environment: dict[str, str] = {}
    for option in options:
        key, _, value = option.partition("=")
        if key in ("population", "call"):
            (given[key],) = integers(key, [value]) or [1]
        elif key in ("deterministic", "choose"):
            given[key] = value != "false"
        elif key == "threads":
            environment[threads.VARIABLE] = str(*integers(key, [value]))
        elif key == "config":
            given[key] = value
        elif key == "xla":
            before = environment.get(_XLA, os.environ.get(_XLA, ""))
            environment[_XLA] = f"{before} {value}".strip()
        else:
            given["set"].append(option)
    if name == _OURS:
        environment[OPTIONS] = json.dumps(given)
    if "config" in given:
        return Contestant(text, name, environment, work)
    facts = f"{work.algorithm} {work.batch_size} {work.precision}"
    return Contestant(f"{text} {facts}", name, environment, work)


def times(
    contestants: Sequence[Contestant], num_rounds: int, steps: int, limit: float
) -> tuple[dict[str, list[float]], dict[str, float], dict[str, str]]:
    """Compiles side by side, then times in turn.

    Args:
      contestants: with labels of their own.
      num_rounds: timings of each.
      steps: mini-batches of a timing.
      limit: seconds for all to be ready.

    Returns:
      By label: milliseconds of each round; seconds until the first steps were done; and of those
      left out, why.
    """
    began, failed = time.perf_counter(), {}
    started = {c.label: (Peer(c.peer, c.environment), c) for c in contestants}

    def ready(label: str) -> tuple[int, float]:
        process, one = started[label]
        trainer = process.build(one.work)
        process.seconds(trainer, steps)
        return trainer, time.perf_counter() - began

    pool = concurrent.futures.ThreadPoolExecutor(len(started))
    waiting = {label: pool.submit(ready, label) for label in started}
    concurrent.futures.wait(waiting.values(), limit)
    trainers, first = {}, {}
    for label, future in waiting.items():
        process, _ = started[label]
        try:
            trainers[label], first[label] = future.result(0)
        except TimeoutError:
            failed[label] = f"not ready after {limit:.0f} s"
            process.kill()
        except PeerError as error:
            failed[label] = str(error).splitlines()[0][:200]
    ms: dict[str, list[float]] = {label: [] for label in trainers}
    for number in range(num_rounds + 1):
        for label, trainer in trainers.items():
            taken = 1e3 * started[label][0].seconds(trainer, steps) / steps
            if number:  # the first warms up
                ms[label].append(taken)
    for process, _ in started.values():
        process.kill()
    pool.shutdown()
    return ms, first, failed


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as text."""
    lines = [f"{'':<72}{'ms':>9}{'(quartiles)':>18}{'ratio':>8}{'first steps, s':>16}"]
    for row in rows:
        if "failed" in row:
            lines.append(f"{row['label']:<72} left out: {row['failed']}")
            continue
        ms = row["ms"]
        quartiles = f"({ms['quartile_1']:.3f}-{ms['quartile_3']:.3f})"
        lines.append(
            f"{row['label']:<72}{ms['median']:>9.3f}{quartiles:>18}{row['ratio']:>8.3f}"
            f"{row['first_steps']:>16.1f}"
        )
    return "\n".join(lines)


def main() -> int:
    """The command."""
    from trainers.system import provenance
    from trainers.system.files import write_json

    f = flags.FLAGS
    names = f.contestants or [_OURS, "jax", "pytorch_cuda_graphs"]
    contestants, rows = [], []
    for precision in f.precisions:
        for size in integers("batch_sizes", f.batch_sizes):
            for algorithm in f.algorithms:
                work = dataclasses.replace(
                    MODELS[f.model], precision=precision, batch_size=size, algorithm=algorithm
                )
                contestants += [parse(name, work) for name in names]
    for one in list(contestants):
        if reason := unavailable(one.peer):
            rows.append({"label": one.label, "failed": reason})
            contestants.remove(one)
    steps = f.steps or (_CALL if f.model == "mlp" else _CALL // 4)
    ms, first, failed = times(contestants, f.rounds, steps, f.seconds)
    base = next(iter(ms.values()), [])
    for one in contestants:
        facts = {"label": one.label, "model": f.model, "steps": steps}
        facts |= {k: getattr(one.work, k) for k in ("algorithm", "batch_size", "precision")}
        if one.label in failed:
            rows.append({**facts, "failed": failed[one.label]})
            continue
        mine = ms[one.label]
        ratio = statistics.median(a / b for a, b in zip(mine, base, strict=True))
        rows.append(
            {
                **facts,
                "ms": rounds.summary(mine),
                "ratio": ratio,
                "first_steps": first[one.label],
            }
        )
    import_tensorflow()  # not before: it takes memory of a GPU
    about = provenance.describe({"seed": 0})
    print(", ".join([about["hardware"]["processor"], *about["hardware"]["gpus"]]))
    print(table(rows), flush=True)
    if f.output:
        write_json(Path(f.output), {"provenance": about, "results": rows})
    return cli.DONE


if __name__ == "__main__":
    flags.DEFINE_multi_string("contestants", [], "Who: see the head of this file. Several times.")
    flags.DEFINE_enum("model", "mlp", list(MODELS), "What is trained.")
    flags.DEFINE_list("algorithms", ["mirror_gan"], "Of the registry.")
    flags.DEFINE_list("batch_sizes", ["64"], "Samples a mini-batch.")
    flags.DEFINE_list("precisions", ["float32"], "Of float32, bfloat16.")
    flags.DEFINE_integer("rounds", 7, "Timings of each.", lower_bound=2)
    flags.DEFINE_integer("steps", 0, "Mini-batches of a timing; 0: 100, of images 25.")
    flags.DEFINE_float("seconds", 120, "How long all may take to be ready.", lower_bound=1)
    flags.DEFINE_string("output", None, "Also write a JSON file.")
    cli.main(main, sys.argv)
