"""Mirror-Prox on a matrix game against its matrix-vector products, alternating in one process.

    python -m benchmarks.bilinear [--size=1000] [--steps=1000] [--dtypes=float64,float32]
        [--rounds=15] [--large]

A Mirror-Prox step has four products, A p and A^T q in either phase. The floor is the same
number of bare products in the same kind of compiled loop, in two layouts: A alone, and A
with a copy of its transpose. A ratio is the median over rounds of the ratio within a round,
which a noisy machine cannot shift. --large: ten steps of a 10,000 x 10,000 game in float32.
"""

from __future__ import annotations

import resource
import statistics
import time

import numpy as np
from absl import app, flags

from trainers.system.quiet import import_tensorflow

_SIZE = flags.DEFINE_integer("size", 1000, "strategies of each player", lower_bound=1)
_STEPS = flags.DEFINE_integer("steps", 1000, "Mirror-Prox steps of one timing", lower_bound=1)
_DTYPES = flags.DEFINE_list("dtypes", ["float64", "float32"], "of the payoffs")
_ROUNDS = flags.DEFINE_integer("rounds", 15, "timings of each", lower_bound=1)
_LARGE = flags.DEFINE_bool("large", False, "a 10,000 x 10,000 game instead")


def products(tf, transpose: bool):
    """num -> num pairs of bare products A p, A^T q, in a compiled loop."""

    @tf.function(autograph=False)
    def run(A, other, p, q, num):
        def body(i, p, q):
            # Either product feeds the next pair, so that none is skipped.
            left = tf.linalg.matvec(A, p)
            return i + 1, tf.linalg.matvec(other, q, transpose_a=transpose), left

        return tf.while_loop(
            lambda i, *_: i < num, body, (tf.constant(0), p, q), parallel_iterations=1
        )[1:]

    return run


def compare(dtype: str, size: int, steps: int, rounds: int) -> None:
    """Times Mirror-Prox, A alone, and A with its transpose; prints medians and ratios."""
    import tensorflow as tf

    from tf_mixed_nash import MatrixGame
    from tf_mixed_nash.solvers import matrix

    A = np.random.default_rng(0).uniform(-1, 1, (size, size))
    game = MatrixGame(A, dtype=dtype)
    # Of norm 1, so that repeated products neither overflow nor die out.
    small = game.payoff / np.linalg.norm(A, 2)
    v = tf.ones([size], dtype)
    pairs = tf.constant(2 * steps)
    alone, both, copy = products(tf, True), products(tf, False), tf.transpose(small)
    runs = {
        "Mirror-Prox": lambda: matrix.solve(game, num_steps=steps, records_per_decade=1),
        "products, A alone": lambda: alone(small, small, v, v, pairs)[0].numpy(),
        "products, A and A^T": lambda: both(small, copy, v, v, pairs)[0].numpy(),
    }
    seconds = {name: [] for name in runs}
    for i in range(rounds + 1):
        for name, run in runs.items():
            started = time.perf_counter()
            run()
            if i:  # the first round compiles
                seconds[name].append(time.perf_counter() - started)
    print(f"\n{dtype}, {size} x {size}, {steps} steps, {rounds} rounds")
    for name, values in seconds.items():
        print(f"{name:<22} median {statistics.median(values):.3f} s, best {min(values):.3f} s")
    for name in list(runs)[1:]:
        ratios = [a / b for a, b in zip(seconds["Mirror-Prox"], seconds[name], strict=True)]
        ratio = statistics.median(ratios)
        print(f"Mirror-Prox / {name}: {ratio:.2f} of four a step, {2 * ratio:.2f} of two a step")


def large(size: int = 10_000, steps: int = 10) -> None:
    """One large game for real: seconds per step and peak memory."""
    from tf_mixed_nash import MatrixGame
    from tf_mixed_nash.solvers import matrix

    A = np.random.default_rng(0).random((size, size), np.float32)
    game = MatrixGame(A, dtype="float32")
    del A
    # solve adds compilation and two gaps per record; the difference of two runs is the steps.
    seconds = []
    for num in (1, 1, 1 + steps):
        s = matrix.solve(game, num_steps=num, records_per_decade=1, step_size=1.0)
        seconds.append(s.details["seconds"])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"float32, {size} x {size}: {(seconds[2] - seconds[1]) / steps:.3f} s per step "
        f"(records included), peak memory {peak:.2f} GiB, payoffs {size**2 * 4 / 2**30:.2f} GiB"
    )


def main(argv):
    """The command."""
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected arguments: {argv[1:]}")
    import_tensorflow()
    if _LARGE.value:
        large()
        return
    for dtype in _DTYPES.value:
        compare(dtype, _SIZE.value, _STEPS.value, _ROUNDS.value)


if __name__ == "__main__":
    app.run(main)
