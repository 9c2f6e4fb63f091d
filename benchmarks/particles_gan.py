"""Milliseconds per mini-batch of n' generators against a critic, beside one generator; alternating.

    python -m benchmarks.particles_gan [--num_particles=4] [--units=256] [--single_units=512]
        [--algorithms=rmsprop,mirror_prox_gan] [--batch_sizes=64,256] [--rounds=9]
        [--clock=wall|cpu] [--output=particles_gan.json]

The steps are the library's own (data, latents, noise, penalty; no EMA, no snapshots), the 8
Gaussians, WGAN with gradient penalty 0.1, a critic of 3 x 512. Everyone is timed once a round, in
turn; a ratio is the median over rounds of the ratio to the single generator within the round.
--clock=cpu counts the seconds of all cores, for a machine that others use. "split", "full" and
"thin" are how the mixture is sampled (`games.gan.ParticleDraws`); "one by one" is "split" with
every network called by itself.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from absl import flags

from benchmarks import rounds
from benchmarks.given import integers
from benchmarks.rounds import Contestant
from trainers.system import cli
from trainers.system.quiet import import_tensorflow

_CRITIC_UNITS = 512


def _game(units: int, draws: Any, batched: bool = True):
    from tf_mixed_nash.games.gan import GanGame, Regularizers
    from tf_mixed_nash.models import mlp

    generator = mlp(2, 2, (units,) * 3)
    critic = mlp(2, 1, (_CRITIC_UNITS,) * 3, penalized=True)
    generator.batched = critic.batched = batched
    penalty = Regularizers(gradient_penalty=0.1)
    return GanGame(generator, critic, 2, regularizers=penalty, draws=draws)


_CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def _contestant(game, algorithm: str, num: int, batch_size: int, clock: str) -> Contestant:
    """Steps of `num` generators against one critic, in one compiled loop."""
    import tensorflow as tf

    from tf_mixed_nash import rng
    from tf_mixed_nash.algorithms import Hyperparameters, build
    from tf_mixed_nash.methods.oracle import Oracle
    from tf_mixed_nash.methods.schedules import constant
    from tf_mixed_nash.types import Pair
    from trainers.tasks.data.synthetic import DATASETS

    data, key = DATASETS["gaussians8"](), rng.stream(0, "data")
    oracle = Oracle(game, lambda m: data.sample(rng.fold_in(key, m), batch_size, tf.float32))
    one = Hyperparameters(step_size=constant(1e-4), temperature=constant(1e-8), stability=1e-3)
    several = Hyperparameters(
        step_size=constant(1e-4), temperature=constant(1e-8), stability=1e-3, num_particles=num
    )
    scheme = build(algorithm, Pair(several, one))
    theta = game.generator.initial()
    if num > 1:
        theta = tf.stack([theta * (1.0 + 0.01 * j) for j in range(num)])
    state = tf.nest.map_structure(tf.Variable, scheme.init(theta, game.discriminator.initial()))

    @tf.function(autograph=False)
    def steps(count):
        def body(t, s):
            s, _ = scheme.step(oracle, s, t, t * scheme.num_batches(0))
            return t + 1, s

        start = tf.nest.map_structure(tf.convert_to_tensor, state)
        _, end = tf.while_loop(
            lambda t, _: t < count, body, (tf.zeros([], tf.int64), start), parallel_iterations=1
        )
        tf.nest.map_structure(lambda variable, x: variable.assign(x), state, end)
        return tf.reduce_sum(tf.nest.flatten(end)[0])

    def seconds(num_steps: int) -> float:
        outer = max(1, num_steps // scheme.num_batches(0))
        started = _CLOCKS[clock]()
        steps(tf.constant(outer, tf.int64)).numpy()
        return (_CLOCKS[clock]() - started) * num_steps / (outer * scheme.num_batches(0))

    return Contestant(seconds)


def measure(f: Any, algorithm: str, batch_size: int) -> list[dict[str, Any]]:
    """A row for each way."""
    from tf_mixed_nash.games.gan import ParticleDraws

    split, full, thin = (ParticleDraws(batch) for batch in ("split", "full", "thin"))
    num = f.num_particles
    games: dict[str, tuple[Callable[[], Any], int]] = {
        f"1 x {f.single_units}": (lambda: _game(f.single_units, split), 1),
        f"{num} x {f.units}, split": (lambda: _game(f.units, split), num),
        f"{num} x {f.units}, full": (lambda: _game(f.units, full), num),
        f"{num} x {f.units}, thin": (lambda: _game(f.units, thin), num),
        f"{num} x {f.units}, one by one": (lambda: _game(f.units, split, batched=False), num),
    }
    contestants = {
        name: _contestant(make(), algorithm, n, batch_size, f.clock)
        for name, (make, n) in games.items()
    }
    return [
        {
            "algorithm": algorithm,
            "batch_size": batch_size,
            "way": name,
            "ms": rounds.summary(result.ms),
            "ratio": rounds.summary(result.ratio),
        }
        for name, result in rounds.alternate(contestants, f.rounds).items()
    ]


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as text."""
    lines = []
    for row in rows:
        ms, ratio = row["ms"], row["ratio"]
        lines.append(
            f"{row['algorithm']:<18}{row['batch_size']:>5}  {row['way']:<24}{ms['median']:>8.2f} ms"
            f"{ratio['median']:>8.3f} ({ratio['quartile_1']:.2f}-{ratio['quartile_3']:.2f})"
        )
    return "\n".join(lines)


def main() -> int:
    """The command."""
    import_tensorflow().get_logger().setLevel("ERROR")
    from trainers.system import provenance
    from trainers.system.files import write_json

    f = flags.FLAGS
    hardware = provenance.describe({"seed": 0})
    print(
        f"{hardware['hardware']['processor']}, {hardware['hardware']['cores']} cores, "
        f"TensorFlow {hardware['versions']['tensorflow']}"
    )
    report: dict[str, Any] = {"provenance": hardware, "results": []}
    for algorithm in f.algorithms:
        for batch_size in integers("batch_sizes", f.batch_sizes):
            rows = measure(f, algorithm, batch_size)
            print(table(rows), flush=True)
            report["results"] += rows
    if f.output:
        write_json(Path(f.output), report)
    return cli.DONE


if __name__ == "__main__":
    flags.DEFINE_integer("num_particles", 4, "Generators.", lower_bound=2)
    flags.DEFINE_integer("units", 256, "Of each of three hidden layers of these.")
    flags.DEFINE_integer("single_units", 512, "Of the single generator's.")
    flags.DEFINE_list("algorithms", ["rmsprop", "mirror_prox_gan"], "By name.")
    flags.DEFINE_list("batch_sizes", ["64", "256"], "Multiples of num_particles.")
    flags.DEFINE_integer("rounds", 9, "Timings of each.", lower_bound=2)
    flags.DEFINE_enum("clock", "wall", list(_CLOCKS), "What is timed.")
    flags.DEFINE_string("output", None, "Write a report here (JSON).")
    cli.main(main, sys.argv)
