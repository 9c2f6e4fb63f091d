"""What `MixedNashGAN.fit` costs beside `trainers.run`: milliseconds a mini-batch of the same work.

    python -m benchmarks.fit [--rounds=7] [--num_batches=3000] [--batch_size=64]
        [--algorithm=mirror_prox_gan] [--output=fit.json]

Three ways to train the same networks on the same data, 8 Gaussians and three layers of 512 units:
`trainers.run`, `fit` with a workdir, and `fit` without one. A round trains each once, in turn and
each time another first; all that lies between the first record and the last counts (records,
callbacks, the progress bar), tracing and publishing do not. Seconds are wall time and the process's
CPU time; the ratios are those within a round. The target is 1.03.
"""

from __future__ import annotations

import contextlib
import io
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from absl import flags

from benchmarks.rounds import summary
from trainers.system import cli
from trainers.system.quiet import import_tensorflow

__all__ = ["LIMIT", "Cost", "cost_of", "rotated"]

LIMIT = 1.03
RUN, FOLDER, MEMORY = "trainers.run", "fit(workdir=)", "fit()"
_EVERY = 100  # mini-batches of a record


class Cost(NamedTuple):
    """Milliseconds a mini-batch."""

    wall: float
    cpu: float


def cost_of(marks: list[tuple[int, float, float]], first: int) -> Cost:
    """The cost of all mini-batches after `first`.

    Args:
      marks: (mini-batch, wall seconds, CPU seconds) in the order of time.
      first: where the clock starts: at the first mark there or later.

    Raises:
      ValueError: if fewer than two marks lie there.
    """
    counted = [mark for mark in marks if mark[0] >= first]
    if len(counted) < 2 or counted[-1][0] == counted[0][0]:
        raise ValueError(f"Nothing was trained after mini-batch {first}.")
    (m, wall, cpu), (n, wall_end, cpu_end) = counted[0], counted[-1]
    return Cost(1e3 * (wall_end - wall) / (n - m), 1e3 * (cpu_end - cpu) / (n - m))


def rotated(names: list[str], by: int) -> list[str]:
    """The names in turn, beginning with number `by`."""
    by %= len(names)
    return names[by:] + names[:by]


@contextlib.contextmanager
def _marked() -> Iterator[list[tuple[int, float, float]]]:
    """Inside, every record of a loop's leaves a mark: its logs are read once for each."""
    from tf_mixed_nash.training.loop import Loop

    marks: list[tuple[int, float, float]] = []
    logs = Loop.logs

    def marking(loop):
        marks.append((loop.step, time.perf_counter(), time.process_time()))
        return logs(loop)

    Loop.logs = marking
    try:
        yield marks
    finally:
        Loop.logs = logs


def _ways(folder: Path) -> dict[str, Callable[[int], None]]:
    """name -> trains once, for round number i."""
    import tensorflow as tf

    from configs import common
    from tf_mixed_nash import MixedNashGAN, rng
    from trainers.experiment import settings
    from trainers.experiment.build import task_of
    from trainers.session.train import train
    from trainers.tasks.data import synthetic

    f = flags.FLAGS
    config = common.planar("gaussians8", f.algorithm, "pure")
    far = 10**9
    settings.override(
        config,
        [
            *(f"num_batches={f.num_batches + 1}", f"batch_size={f.batch_size}"),
            *(f"log_every={_EVERY}", f"picture_every={far}", f"checkpoint_every={far}"),
        ],
    )
    resolved = settings.resolve(config)
    networks = task_of(resolved).networks()
    data, key = synthetic.make("gaussians8"), rng.stream(0, "data")

    @tf.function
    def batch(m, size):
        return data.sample(rng.fold_in(key, m), size, tf.float32)

    def run(i: int) -> None:
        # Without its end, which is publishing.
        train(resolved, folder / f"run{i}", until=f.num_batches)

    game = resolved["game"]

    def fit(workdir: Path | None) -> None:
        import keras

        class Stop(keras.callbacks.Callback):
            def on_epoch_end(self, epoch, logs=None):
                model: Any = self.model
                model.stop_training = (logs or {})["step"] >= f.num_batches

        gan = MixedNashGAN(
            networks.theta.model,
            networks.w.model,
            algorithm=f.algorithm,
            objective=game["objective"],
            gradient_penalty=game["gradient_penalty"],
        )
        gan.compile()  # the algorithm's defaults, as the config has them
        gan.fit(
            batch,
            batch_size=f.batch_size,
            num_batches=f.num_batches + 1,
            steps_per_epoch=_EVERY,
            workdir=workdir,
            picture_every=far,
            checkpoint_every=far,
            callbacks=[Stop()],
        )

    return {
        RUN: run,
        FOLDER: lambda i: fit(folder / f"fit{i}"),
        MEMORY: lambda i: fit(None),
    }


def measure() -> dict[str, list[Cost]]:
    """The costs of every round, by name."""
    f = flags.FLAGS
    costs: dict[str, list[Cost]] = {}
    with tempfile.TemporaryDirectory() as name:
        ways = _ways(Path(name))
        for i in range(f.rounds):
            for way in rotated(list(ways), i):
                said = io.StringIO()
                with (
                    _marked() as marks,
                    contextlib.redirect_stdout(said),
                    contextlib.redirect_stderr(said),
                ):
                    ways[way](i)
                costs.setdefault(way, []).append(cost_of(marks, _EVERY))
    return {way: costs[way] for way in (RUN, FOLDER, MEMORY)}


def main() -> int:
    """The command."""
    f = flags.FLAGS
    import_tensorflow().get_logger().setLevel("ERROR")
    from trainers.system import provenance
    from trainers.system.files import write_json

    costs = measure()
    results = []
    print(f"{'':<16}{'ms wall':>9}{'ms CPU':>9}{'wall ratio':>12}{'(quartiles)':>16}{'CPU':>8}")
    for way, mine in costs.items():
        ratios = {
            key: [getattr(a, key) / getattr(b, key) for a, b in zip(mine, costs[RUN], strict=True)]
            for key in Cost._fields
        }
        row = {
            "way": way,
            "wall_ms": summary([c.wall for c in mine]),
            "cpu_ms": summary([c.cpu for c in mine]),
            "wall_ratio": summary(ratios["wall"]),
            "cpu_ratio": summary(ratios["cpu"]),
        }
        wall = row["wall_ratio"]
        row["met"] = wall["median"] <= LIMIT
        quartiles = f"({wall['quartile_1']:.3f}-{wall['quartile_3']:.3f})"
        print(
            f"{way:<16}{row['wall_ms']['median']:>9.3f}{row['cpu_ms']['median']:>9.3f}"
            f"{wall['median']:>12.3f}{quartiles:>16}{row['cpu_ratio']['median']:>8.3f}  "
            f"{'met' if row['met'] else 'MISSED'} (<= {LIMIT})",
            flush=True,
        )
        results.append(row)
    if f.output:
        report = {"provenance": provenance.describe({"seed": 0}), "results": results}
        write_json(Path(f.output), report)
    return cli.DONE


if __name__ == "__main__":
    flags.DEFINE_integer("rounds", 7, "Timings of each.", lower_bound=2)
    flags.DEFINE_integer("num_batches", 3_000, "Of each timing, at least 300.", lower_bound=300)
    flags.DEFINE_integer("batch_size", 64, "B.", lower_bound=1)
    flags.DEFINE_string("algorithm", "mirror_prox_gan", "Of the registry.")
    flags.DEFINE_string("output", None, "Also write a JSON file.")
    cli.main(main, sys.argv)
