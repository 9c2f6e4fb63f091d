"""Milliseconds to sample a mixture: one component after the other, or all by one leading axis.

    python -m benchmarks.components [--num_components=30] [--units=512] [--rows=1,16,256,1024,10000]
        [--rounds=9] [--clock=wall|cpu]

"in turn" is `MixedStrategy.generate`, which sorts the rows by their components and calls the
network once for each. "at once" is one product per layer for all components, whose blocks of rows
are filled up to the longest. "own row" is a product per row with the gathered parameters of its
component. Rows per component follow uniform weights, as served mixtures have them. Everyone is
timed once a round, in turn; a ratio is the median over rounds of the ratio to "in turn". All three
give the same samples to rounding, which is checked first.
"""

from __future__ import annotations

import sys
import time
from typing import Any

from absl import flags

from benchmarks import rounds
from benchmarks.given import integers
from benchmarks.rounds import Contestant
from trainers.system import cli
from trainers.system.quiet import import_tensorflow

_CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
_MOST_OWN = 256  # rows whose own parameters are still gathered: 1 MB each at 3 x 512


def ways(num_components: int, units: int) -> dict[str, Any]:
    """(components int64 [n], latents [n, 2]) -> samples [n, 2], of each way; one mixture."""
    import tensorflow as tf

    from tf_mixed_nash.models import mlp
    from tf_mixed_nash.strategies.mixed import MixedStrategy
    from tf_mixed_nash.types import Measure

    network = mlp(2, 2, (units,) * 3)
    first, M = network.initial(), num_components
    atoms = tf.Variable(tf.stack([first * (1.0 + 0.01 * j) for j in range(M)]))
    strategy = MixedStrategy(Measure(atoms, tf.fill([M], 1.0 / M)), network, latent_dim=2)

    def at_once(components, latents):
        order = tf.argsort(components, stable=True)
        place = tf.argsort(order, stable=True)
        counts = tf.math.bincount(tf.cast(components, tf.int32), minlength=M, maxlength=M)
        begins = tf.cumsum(counts, exclusive=True)
        own = tf.cast(components, tf.int32)
        within = tf.cast(place, tf.int32) - tf.gather(begins, own)
        index = tf.stack([own, within], axis=1)
        blocks = tf.scatter_nd(index, latents, [M, tf.reduce_max(counts), latents.shape[1]])
        return tf.gather_nd(network.many(atoms, blocks), index)

    def own_row(components, latents):
        x = latents[:, None]
        leaves = [tf.gather(leaf, components) for leaf in network.unflatten(atoms)]
        for weights, biases in zip(leaves[::2], leaves[1::2], strict=True):
            x = tf.matmul(x, weights) + biases[:, None]
            x = tf.nn.relu(x) if weights is not leaves[-2] else x
        return x[:, 0]

    specs = [tf.TensorSpec([None], tf.int64), tf.TensorSpec([None, 2], tf.float32)]
    return {
        "in turn": tf.function(strategy.generate, specs, autograph=False),
        "at once": tf.function(at_once, specs, autograph=False),
        "own row": tf.function(own_row, specs, autograph=False),
    }


def measure(f: Any, functions: dict[str, Any], num: int) -> list[dict[str, Any]]:
    """A row of the table for each way, at `num` rows."""
    import numpy as np
    import tensorflow as tf

    draw = np.random.default_rng(0)
    components = tf.constant(draw.integers(f.num_components, size=num))
    latents = tf.constant(draw.normal(size=(num, 2)), tf.float32)
    chosen = {k: v for k, v in functions.items() if k != "own row" or num <= _MOST_OWN}
    expected = functions["in turn"](components, latents).numpy()
    for name, function in chosen.items():
        given = function(components, latents).numpy()
        assert np.allclose(given, expected, rtol=1e-4, atol=1e-5), name

    def contestant(function):
        def seconds(count: int) -> float:
            started = _CLOCKS[f.clock]()
            for _ in range(count):
                function(components, latents).numpy()
            return _CLOCKS[f.clock]() - started

        return Contestant(seconds)

    results = rounds.alternate({k: contestant(v) for k, v in chosen.items()}, f.rounds)
    return [
        {
            "rows": num,
            "way": name,
            "ms": rounds.summary(result.ms),
            "ratio": rounds.summary(result.ratio),
        }
        for name, result in results.items()
    ]


def main() -> int:
    """The command."""
    import_tensorflow().get_logger().setLevel("ERROR")
    from trainers.system import provenance

    f = flags.FLAGS
    sizes = integers("rows", f.rows)
    hardware = provenance.describe({"seed": 0})["hardware"]
    print(f"{hardware['processor']}, {hardware['cores']} cores; {f.num_components} x {f.units}")
    functions = ways(f.num_components, f.units)
    for num in sizes:
        for row in measure(f, functions, num):
            ms, ratio = row["ms"], row["ratio"]
            print(
                f"{row['rows']:>7} rows  {row['way']:<8}{ms['median']:>9.3f} ms"
                f"{ratio['median']:>8.2f} ({ratio['quartile_1']:.2f}-{ratio['quartile_3']:.2f})",
                flush=True,
            )
    return cli.DONE


if __name__ == "__main__":
    flags.DEFINE_integer("num_components", 30, "Of the mixture.", lower_bound=2)
    flags.DEFINE_integer("units", 512, "Of each of three hidden layers.", lower_bound=1)
    flags.DEFINE_list("rows", ["1", "16", "256", "1024", "10000"], "Of a call.")
    flags.DEFINE_integer("rounds", 9, "Timings of each.", lower_bound=2)
    flags.DEFINE_enum("clock", "wall", list(_CLOCKS), "What is timed.")
    cli.main(main, sys.argv)
