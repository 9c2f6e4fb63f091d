"""Who is timed: our loop, our gradients alone, the peers, and a bare matrix product."""

from __future__ import annotations

import contextlib
import importlib
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.flops import step_flops
from benchmarks.peers.client import Peer
from benchmarks.peers.common import Work
from benchmarks.peers.ours import FAR, make_loop
from benchmarks.rounds import Contestant
from trainers.system import threads

__all__ = [
    "PEAK",
    "configured",
    "gradients",
    "matrix_product",
    "of_config",
    "ours",
    "peer",
    "peers",
]

PEAK = "matrix product"
_SIDE = 2048


def ours(work: Work, folder: Path, overrides: Sequence[str] = ()) -> Contestant:
    """The trainer's own loop: data, EMA, snapshots and logs included. A step is a mini-batch."""
    return Contestant(_timed(make_loop(work, folder, tuple(overrides))), step_flops(work))


def configured(config: str, overrides: Sequence[str] = ()) -> Contestant:
    """The same of a module of `configs`, as `trainers.run` reads it, at any length."""
    return Contestant(_timed(of_config(config, overrides)))


def of_config(config: str, overrides: Sequence[str] = ()) -> Any:
    """The loop of a module of `configs`, at any length."""
    from tf_mixed_nash.training.loop import Loop
    from trainers.experiment import settings
    from trainers.experiment.build import build

    given = importlib.import_module(f"configs.{config}").get_config()
    settings.override(given, [*overrides, f"num_batches={FAR}"])
    return Loop(build(settings.resolve(given)))


def _timed(loop: Any) -> Callable[[int], float]:
    def seconds(steps: int) -> float:
        before, started = loop.step, time.perf_counter()
        loop.advance(before + steps)
        elapsed = time.perf_counter() - started
        return elapsed * steps / (loop.step - before)  # whole outer steps may overshoot

    return seconds


def gradients(work: Work, folder: Path) -> Contestant:
    """The fields of both players, and nothing else but the data and the latents."""
    import tensorflow as tf

    from tf_mixed_nash.types import dirac

    loop = make_loop(work, folder, ("mixture.num_components=1",))
    run, feed, point = loop.run, loop._feed, loop.last()

    def many(start, count, block):
        oracle = run.oracle.with_batches(lambda m: feed.batch_at(block, m))

        def body(m, total):
            fields = (
                oracle.field("theta", point.theta, dirac(point.w), m)[0],
                oracle.field("w", point.w, dirac(point.theta), m)[0],
            )
            return m + 1, total + sum(g[0] for g in fields)

        return tf.while_loop(
            lambda m, _: m < start + count, body, (start, tf.zeros([])), parallel_iterations=1
        )[1]

    call = tf.function(many, autograph=False, reduce_retracing=True)

    def seconds(steps: int) -> float:
        block = feed.block(0, steps)
        started = time.perf_counter()
        call(tf.constant(0, tf.int64), tf.constant(steps, tf.int64), block).numpy()
        return time.perf_counter() - started

    return Contestant(seconds, step_flops(work))


def peer(process: Peer, work: Work) -> Contestant:
    """The peer's own loop."""
    trainer = process.build(work)
    return Contestant(lambda steps: process.seconds(trainer, steps), step_flops(work))


@contextlib.contextmanager
def peers(names: Sequence[str]) -> Iterator[dict[str, Peer]]:
    """The peers' processes, by name."""
    with contextlib.ExitStack() as stack:
        yield {name: stack.enter_context(Peer(name)) for name in names}


def matrix_product(dtype: str = "float32") -> Contestant:
    """The largest rate of TensorFlow's matrix products here: square matrices of side 2,048.

    As many side by side as keep all cores busy.
    """
    import tensorflow as tf

    count = threads.side_by_side()

    a, b = (tf.cast(tf.random.stateless_normal([_SIDE] * 2, (i, 0)), dtype) for i in range(2))

    def products(a, b):
        return tf.add_n([tf.matmul(a + float(i), b)[0, 0] for i in range(count)])

    product: Callable[..., Any] = tf.function(products, autograph=False)

    def seconds(steps: int) -> float:
        started = time.perf_counter()
        for _ in range(steps):
            product(a, b).numpy()
        return time.perf_counter() - started

    return Contestant(seconds, 2.0 * count * _SIDE**3)
