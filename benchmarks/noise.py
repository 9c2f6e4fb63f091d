"""Milliseconds for a million standard normals, in every way and framework.

    python -m benchmarks.noise [--num=1048576] [--rounds=11] [--output=noise.json]

Every round asks everyone once, in turn. Ours are `rng.normal`, the weight noise of the Langevin
samplers, and the transform it had before (the inverse error function) on the same words.
"""

from __future__ import annotations

import functools
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from absl import flags

from benchmarks import contest, rounds
from benchmarks.peers.client import PEERS, available
from trainers.system import cli
from trainers.system.quiet import import_tensorflow


def _ours(num: int) -> dict[str, Any]:
    import tensorflow as tf

    from tf_mixed_nash import rng
    from tf_mixed_nash.compile import fused

    key = tf.constant([1, 2], tf.int32)

    def by_inverse(key):
        counter = tf.bitcast(tf.range(num // 2, dtype=tf.int32), tf.uint32)
        words = rng.threefry(tf.bitcast(key, tf.uint32), counter, tf.zeros_like(counter))
        return tf.concat([rng.normal_from_bits(word) for word in words], axis=0)

    inverse = fused(by_inverse)
    draw = tf.function(functools.partial(rng.normal, shape=num), autograph=False)
    return {
        "rng.normal (Threefry-13, Box-Muller)": lambda: draw(key)[0].numpy(),
        "Threefry-13, inverse error function": lambda: inverse(key)[0].numpy(),
    }


def _seconds(draw) -> float:
    started = time.perf_counter()
    for _ in range(10):
        draw()
    return (time.perf_counter() - started) / 10


def main() -> int:
    """The command."""
    import_tensorflow()
    from trainers.system import provenance
    from trainers.system.files import write_json

    f = flags.FLAGS
    names = [name for name in available() if not PEERS[name].compiled]
    ours = _ours(f.num)
    for draw in ours.values():
        draw()
    times: dict[tuple[str, str], list[float]] = {}
    with contest.peers(names) as processes:
        for _ in range(f.rounds):
            for way, draw in ours.items():
                times.setdefault(("ours", way), []).append(_seconds(draw))
            for who, process in processes.items():
                for way, seconds in process.ask(do="noise", num=f.num, rounds=1)["ways"].items():
                    times.setdefault((who, way), []).append(seconds[0])
    rows = []
    print(f"{f.num} standard normals, {f.rounds} rounds\n{'':<54}{'ms':>8}{'(quartiles)':>18}")
    for (who, way), seconds in sorted(times.items(), key=lambda item: statistics.median(item[1])):
        ms = rounds.summary([1e3 * s for s in seconds])
        quartiles = f"({ms['quartile_1']:.2f}-{ms['quartile_3']:.2f})"
        print(f"{who:<10}{way:<44}{ms['median']:>8.2f}{quartiles:>18}")
        rows.append({"framework": who, "way": way, "ms": ms})
    if f.output:
        report = {"provenance": provenance.describe({"seed": 0}), "num": f.num, "results": rows}
        write_json(Path(f.output), report)
    return cli.DONE


if __name__ == "__main__":
    flags.DEFINE_integer("num", 1 << 20, "How many; even.", lower_bound=2)
    flags.DEFINE_integer("rounds", 11, "Of ten draws each.", lower_bound=2)
    flags.DEFINE_string("output", None, "Also write a JSON file.")
    cli.main(main, sys.argv)
