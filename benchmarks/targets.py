"""Every speed target of issue 7, with what this machine gives, and whether it is met.

    python -m benchmarks.targets [--parts=mlp,small,dcgan,startup,memory] [--rounds=9]
        [--output=targets.json]

Ratios are medians over alternating rounds of the ratio within the round; (q1-q3) are their
quartiles. A part is what is timed together; `dcgan` takes some minutes. Exit code 0 even where
targets are missed: it is a measurement.
"""

from __future__ import annotations

import dataclasses
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from absl import flags

from benchmarks import contest, rounds, startup
from benchmarks.peers.client import PEERS, PeerError, available
from benchmarks.peers.common import Work
from benchmarks.step import MODELS
from tf_mixed_nash.errors import InputError
from trainers.system import cli, threads
from trainers.system.quiet import import_tensorflow

__all__ = ["Target", "judge"]


class Target(NamedTuple):
    """A measured value and its limit.

    Attributes:
      text: what is measured.
      values: one a round.
      limit: of the median.
      at_least: whether the limit is a lower one.
    """

    text: str
    values: Sequence[float]
    limit: float
    at_least: bool = False


def judge(target: Target) -> dict[str, Any]:
    """The target, its summary and whether the median meets the limit."""
    s = rounds.summary(target.values)
    met = s["median"] >= target.limit if target.at_least else s["median"] <= target.limit
    return {"target": target.text, "limit": target.limit, **s, "met": met}


def _ratio(above: rounds.Result, below: rounds.Result) -> list[float]:
    return [a / b for a, b in zip(above.ms, below.ms, strict=True)]


def _with_peers(contestants: dict, work: Work, processes) -> None:
    for who, process in processes.items():
        try:
            theirs = contest.peer(process, work)
            theirs.seconds(2)
            contestants[f"{who} {work.precision}"] = theirs
        except PeerError as error:
            print(f"{who}, {work.precision}: {str(error).splitlines()[0][:120]}", flush=True)


def _mlp(num_rounds: int, folder: Path) -> list[Target]:
    """All that is timed at batch 256."""
    work = MODELS["mlp"]
    contestants = {
        name: contest.ours(dataclasses.replace(work, algorithm=name), folder)
        for name in ("rmsprop", "mirror_gan", "mirror_prox_gan")
    }
    half = dataclasses.replace(work, precision="bfloat16")
    contestants["bfloat16"] = contest.ours(half, folder)
    contestants["gradients"] = contest.gradients(work, folder)
    contestants["peak"] = contest.matrix_product()
    with contest.peers([n for n in available() if n != "keras"]) as processes:
        _with_peers(contestants, work, processes)
        r = rounds.alternate(contestants, num_rounds)
    flops = {name: one.flops for name, one in contestants.items()}
    rate = [flops["gradients"] / flops["peak"] / x for x in _ratio(r["gradients"], r["peak"])]
    targets = [
        Target("Mirror-GAN / RMSProp, batch 256", _ratio(r["mirror_gan"], r["rmsprop"]), 1.12),
        Target(
            "Mirror-Prox-GAN / RMSProp, batch 256",
            _ratio(r["mirror_prox_gan"], r["rmsprop"]),
            1.15,
        ),
        Target("our float32 / our bfloat16", _ratio(r["mirror_gan"], r["bfloat16"]), 1.4, True),
        Target("gradient arithmetic / matrix peak", rate, 0.75, True),
    ]
    for name in r:
        if name.endswith(" float32"):
            text = f"{name.removesuffix(' float32')} / ours, Mirror-GAN, batch 256"
            targets.append(Target(text, _ratio(r[name], r["mirror_gan"]), 1.25, True))
    return targets


def _small(num_rounds: int, folder: Path) -> list[Target]:
    work = dataclasses.replace(MODELS["mlp"], batch_size=64)
    names = ("rmsprop", "mirror_gan")
    r = rounds.alternate(
        {n: contest.ours(dataclasses.replace(work, algorithm=n), folder) for n in names},
        num_rounds,
    )
    return [Target("Mirror-GAN / RMSProp, batch 64", _ratio(r["mirror_gan"], r["rmsprop"]), 1.4)]


def _dcgan(num_rounds: int, folder: Path) -> list[Target]:
    """Ours against PyTorch's best of eager and compiled, in each precision."""
    targets = []
    names = [n for n in available() if PEERS[n].package == "torch"]
    for precision in ("float32", "bfloat16"):
        work = dataclasses.replace(MODELS["dcgan64"], precision=precision)
        contestants = {"ours": contest.ours(work, folder, ("mixture.num_components=1",))}
        with contest.peers(names) as processes:
            _with_peers(contestants, work, processes)
            r = rounds.alternate(contestants, min(num_rounds, 5))
        theirs = [r[name] for name in r if name != "ours"]
        if not theirs:
            continue
        best = min(theirs, key=lambda result: rounds.summary(result.ms)["median"])
        text = f"ours / PyTorch's best, DCGAN 64 px, {precision}"
        targets.append(Target(text, _ratio(r["ours"], best), 1.0))
    return targets


def _startup(num_rounds: int, folder: Path) -> list[Target]:
    seconds = [startup.first_step(":tiny")[0] for _ in range(3)]
    return [Target("seconds to the first step at :tiny", seconds, 10.0)]


def _memory(num_rounds: int, folder: Path) -> list[Target]:
    return [Target("GB of memory at most, 2-D run", [startup.peak_memory(400) / 1e9], 1.2)]


PARTS: dict[str, Callable[[int, Path], list[Target]]] = {
    "mlp": _mlp,
    "small": _small,
    "dcgan": _dcgan,
    "startup": _startup,
    "memory": _memory,
}


def main() -> int:
    """The command."""
    f = flags.FLAGS
    for part in f.parts:
        if part not in PARTS:
            raise InputError(f"--parts={part}: choose of {', '.join(PARTS)}.")
    threads.for_training()
    import_tensorflow().get_logger().setLevel("ERROR")
    from trainers.system import provenance
    from trainers.system.files import write_json

    report: dict[str, Any] = {"provenance": provenance.describe({"seed": 0}), "results": []}
    print(f"{'target':<50}{'measured':>10}{'(quartiles)':>16}{'limit':>10}")
    with tempfile.TemporaryDirectory() as folder:
        for part in f.parts:
            for target in PARTS[part](f.rounds, Path(folder)):
                row = judge(target)
                quartiles = f"({row['quartile_1']:.2f}-{row['quartile_3']:.2f})"
                limit = f"{'>=' if target.at_least else '<='} {target.limit:g}"
                print(
                    f"{target.text:<50}{row['median']:>10.3f}{quartiles:>16}{limit:>10}  "
                    f"{'met' if row['met'] else 'MISSED'}",
                    flush=True,
                )
                report["results"].append(row)
    if f.output:
        write_json(Path(f.output), report)
    return cli.DONE


if __name__ == "__main__":
    flags.DEFINE_list("parts", list(PARTS), f"Of {', '.join(PARTS)}.")
    flags.DEFINE_integer("rounds", 9, "Timings of each.", lower_bound=2)
    flags.DEFINE_string("output", None, "Also write a JSON file.")
    cli.main(main, sys.argv)
