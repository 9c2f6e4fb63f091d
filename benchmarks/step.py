"""Milliseconds per mini-batch, of our algorithms and of other frameworks, alternating.

    python -m benchmarks.step [--model=mlp|dcgan32|dcgan64] [--algorithms=rmsprop,mirror_gan,...]
        [--peers=pytorch,pytorch_compiled,jax,keras|none] [--batch_sizes=64,256]
        [--precisions=float32,bfloat16] [--rounds=9] [--output=step.json]
    python -m benchmarks.step --check       the peers' updates against ours, from the same draws

The work is one mini-batch of both players (benchmarks/peers/common.py): MLP 3 x 512 on the 8
Gaussians, WGAN with gradient penalty 0.1; or DCGAN on random images, no penalty. Ours is the
trainer's own loop (data, EMA, snapshots and logs included); peers train without these. Every
round times everyone once, in turn, each in a process that computes nothing meanwhile; a ratio
is the median over rounds of the ratio to the first algorithm within the round, which a noisy
machine cannot shift. GFLOP/s counts the matrix arithmetic that the gradients need
(benchmarks/flops.py); the last column is its ratio to a matrix product of side 2,048 in float32 in
the same round.
"""

from __future__ import annotations

import dataclasses
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import flags

from benchmarks import contest, rounds
from benchmarks.given import integers
from benchmarks.peers import common
from benchmarks.peers.client import PEERS, Peer, PeerError, unavailable
from benchmarks.peers.common import Work
from tf_mixed_nash.errors import InputError
from trainers.system import cli, threads
from trainers.system.quiet import import_tensorflow

__all__ = ["MODELS", "measure", "table"]

MODELS = {
    "mlp": Work(),
    "dcgan32": Work(
        model="dcgan", size=32, channels=1, width=32, latent_dim=100, penalty=0.0, batch_size=64
    ),
    "dcgan64": Work(
        model="dcgan", size=64, channels=3, width=64, latent_dim=100, penalty=0.0, batch_size=64
    ),
}


def measure(
    work: Work,
    algorithms: Sequence[str],
    peers: Mapping[str, Peer],
    num_rounds: int,
    folder: Path,
    overrides: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """Times our algorithms, our gradients alone, the peers and a matrix product: a row for each.

    Args:
      work: whose algorithm is replaced.
      algorithms: of the registry; ratios are to the first.
      peers: by name. Of the algorithms they run those that they have.
      num_rounds: how often everyone is timed.
      folder: for random images.
      overrides: KEY=VALUE, of our config.
    """
    contestants: dict[tuple[str, str], Any] = {}
    failed = []
    for name in algorithms:
        mine = dataclasses.replace(work, algorithm=name)
        contestants[("ours", name)] = contest.ours(mine, folder, overrides)
    contestants[("ours", "gradients")] = contest.gradients(work, folder)
    for who, process in peers.items():
        for name in (a for a in algorithms if a in common.ALGORITHMS):
            try:
                theirs = contest.peer(process, dataclasses.replace(work, algorithm=name))
                theirs.seconds(2)
                contestants[(who, name)] = theirs
            except PeerError as error:
                failed.append({"framework": who, "algorithm": name, "failed": str(error)})
    contestants[("ours", contest.PEAK)] = contest.matrix_product()
    results = rounds.alternate(contestants, num_rounds)
    of_peak = contestants[("ours", contest.PEAK)].flops
    peak = [1e-6 * of_peak / ms for ms in results[("ours", contest.PEAK)].ms]
    rows = []
    for (who, name), result in results.items():
        rate = [1e-6 * contestants[(who, name)].flops / ms for ms in result.ms]
        rows.append(
            {
                "framework": who,
                "algorithm": name,
                "ms": rounds.summary(result.ms),
                "ratio": rounds.summary(result.ratio),
                "gflops": statistics.median(rate),
                "of_peak": statistics.median(a / b for a, b in zip(rate, peak, strict=True)),
            }
        )
    return [{**_facts(work), **row} for row in [*rows, *failed]]


def _facts(work: Work) -> dict[str, Any]:
    model = work.model if work.model == "mlp" else f"dcgan{work.size}"
    return {"model": model, "precision": work.precision, "batch_size": work.batch_size}


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as text."""
    lines = [
        f"{'framework':<18}{'algorithm':<20}{'ms':>9}{'(quartiles)':>18}"
        f"{'ratio':>8}{'(quartiles)':>15}{'GFLOP/s':>9}{'of peak':>8}"
    ]
    for row in rows:
        start = f"{row['framework']:<18}{row['algorithm']:<20}"
        if "failed" in row:
            lines.append(f"{start}failed: {row['failed'].splitlines()[0][:80]}")
            continue
        ms, ratio = row["ms"], row["ratio"]
        quartiles = f"({ms['quartile_1']:.2f}-{ms['quartile_3']:.2f})"
        spread = f"({ratio['quartile_1']:.2f}-{ratio['quartile_3']:.2f})"
        lines.append(
            f"{start}{ms['median']:>9.2f}{quartiles:>18}{ratio['median']:>8.3f}{spread:>15}"
            f"{row['gflops']:>9.0f}{row['of_peak']:>8.2f}"
        )
    return "\n".join(lines)


def _works(f) -> list[Work]:
    work = MODELS[f.model]
    sizes = integers("batch_sizes", f.batch_sizes) or ([64, 256] if f.model == "mlp" else [64])
    return [
        dataclasses.replace(work, precision=precision, batch_size=size)
        for precision in f.precisions
        for size in sizes
    ]


def _check(f, names: Sequence[str]) -> int:
    """Prints every peer's difference; 1 if one is too far."""
    from benchmarks.peers.ours import comparable, difference

    worst = cli.DONE
    small = {"batch_size": 32, "width": 64} if f.model == "mlp" else {"batch_size": 8, "width": 8}
    with contest.peers(names) as processes:
        for who, process in processes.items():
            for precision in f.precisions:
                for name in common.ALGORITHMS:
                    work = dataclasses.replace(
                        MODELS[f.model], precision=precision, algorithm=name, **small
                    )
                    work, tolerance = comparable(who, work)
                    try:
                        far = max(difference(process, work).values())
                        good = far < tolerance
                        text = f"{far:.1e}  {'the same' if good else 'NOT the same'}"
                    except PeerError as error:
                        good, text = False, f"failed: {str(error).splitlines()[0][:100]}"
                    print(f"{who:<18}{name:<12}{precision:<10}{text}", flush=True)
                    worst = worst if good else 1
    return worst


def _chosen_peers(f) -> list[str]:
    if f.peers == ["none"]:
        return []
    names = list(PEERS) if f.peers == ["all"] else f.peers
    for name in names:
        if name not in PEERS:
            raise InputError(f"--peers={name}: choose of {', '.join(PEERS)}, all, none.")
        if reason := unavailable(name):
            print(f"without {name}: {reason}")
    return [name for name in names if unavailable(name) is None]


def main() -> int:
    """The command."""
    # TensorFlow takes the loops of several algorithms for one function that it traces anew.
    threads.for_training()
    import_tensorflow().get_logger().setLevel("ERROR")
    from tf_mixed_nash import ALGORITHMS
    from trainers.system import provenance
    from trainers.system.files import write_json

    f = flags.FLAGS
    names = _chosen_peers(f)
    if f.check:
        return _check(f, names)
    algorithms = list(ALGORITHMS) if f.algorithms == ["all"] else f.algorithms
    hardware = provenance.describe({"seed": 0})
    print(
        f"{hardware['hardware']['processor']}, {hardware['hardware']['cores']} cores, "
        f"TensorFlow {hardware['versions']['tensorflow']}"
    )
    report: dict[str, Any] = {"provenance": hardware, "results": []}
    with tempfile.TemporaryDirectory() as folder:
        for work in _works(f):
            with contest.peers(names) as processes:
                rows = measure(work, algorithms, processes, f.rounds, Path(folder), f.set)
            facts = _facts(work)
            print(
                f"\n{facts['model']}, {work.precision}, batch {work.batch_size}, {f.rounds} rounds"
            )
            print(table(rows), flush=True)
            report["results"] += rows
    if f.output:
        write_json(Path(f.output), report)
    return cli.DONE


if __name__ == "__main__":
    flags.DEFINE_enum("model", "mlp", list(MODELS), "What is trained.")
    flags.DEFINE_list(
        "algorithms",
        ["rmsprop", "mirror_gan", "mirror_prox_gan", "adam", "extra_adam"],
        "Ours, by name, or 'all'; ratios are to the first.",
    )
    flags.DEFINE_list("peers", ["all"], f"Of {', '.join(PEERS)}; or all, or none.")
    flags.DEFINE_bool("check", False, "Compare the peers' updates with ours, and time nothing.")
    flags.DEFINE_multi_string("set", [], "KEY=VALUE: a config key of ours.")
    flags.DEFINE_list("batch_sizes", [], "By default 64,256 (MLP) or 64.")
    flags.DEFINE_list("precisions", ["float32", "bfloat16"], "Of the matrix products.")
    flags.DEFINE_integer("rounds", 9, "Timings of each.", lower_bound=2)
    flags.DEFINE_string("output", None, "Also write a JSON file.")
    cli.main(main, sys.argv)
