"""The particle solver on random games whose equilibria nobody knows: is the gap believable?

    python -m benchmarks.random_games [--seeds=3] [--output=docs/random_games.md]

Trigonometric payoffs with eight waves in one and two dimensions, and convex-concave quadratic
ones in five and ten, all on [-1, 1]^d. Beside our gap stands one found without our
code: SciPy's L-BFGS-B on the NumPy payoff from 200 random points a side.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.optimize
from absl import flags

from trainers.system import cli
from trainers.system.quiet import import_tensorflow

_COLUMNS = ("game", "seed", "atoms", "value", "our gap", "SciPy's gap", "s")
_NOTES = """\
# The particle solver on random games

`python -m benchmarks.random_games --seeds={seeds} --output=docs/random_games.md`, {hardware}.
Default settings of `particles.solve`. *SciPy's gap*: L-BFGS-B from 200 random points a side on the
payoff in NumPy, without any of our code; where it is larger than our gap, a
lower bound by multistart, that missed a basin. *s*: seconds, tracing included.

"""


class RandomGame(NamedTuple):
    """A payoff on [-1, 1]^d, written once for NumPy and for TensorFlow (`xp`).

    Attributes:
      name: for the table.
      dim: d, of both players.
      payoff: (x [d], y [d], xp) -> number.
    """

    name: str
    dim: int
    payoff: Callable[[Any, Any, Any], Any]


def trigonometric(dim: int, seed: int, num_waves: int = 8) -> RandomGame:
    """sum_k c_k cos(pi <a_k, x> + pi <b_k, y> + phi_k), whole numbers a, b in -2..2."""
    random = np.random.default_rng(seed)
    a, b = (np.pi * random.integers(-2, 3, (num_waves, dim)).astype(float) for _ in range(2))
    c = random.normal(size=num_waves) / np.sqrt(num_waves)
    phi = random.uniform(0.0, 2.0 * np.pi, num_waves)

    def payoff(x, y, xp):
        wave = xp.tensordot(a, x, 1) + xp.tensordot(b, y, 1) + phi
        return xp.tensordot(c, xp.cos(wave), 1)

    return RandomGame(f"trigonometric, d = {dim}", dim, payoff)


def quadratic(dim: int, seed: int) -> RandomGame:
    """|x|^2 / 2 - |y|^2 / 2 + <x, A y> + <b, x> + <c, y>, normal A, b and c."""
    random = np.random.default_rng(seed)
    A = random.normal(size=(dim, dim))
    b, c = 0.3 * random.normal(size=(2, dim))

    def payoff(x, y, xp):
        own = 0.5 * (xp.tensordot(x, x, 1) - xp.tensordot(y, y, 1))
        linear = xp.tensordot(b, x, 1) + xp.tensordot(c, y, 1)
        return own + xp.tensordot(x, xp.tensordot(A, y, 1), 1) + linear

    return RandomGame(f"quadratic, d = {dim}", dim, payoff)


def scipys_gap(game: RandomGame, nu, mu, seed: int, num_starts: int = 200) -> float:
    """max_y F(nu, y) - min_x F(x, mu) by L-BFGS-B from random points and the atoms."""
    random = np.random.default_rng(seed)

    def lowest(loss, atoms):
        starts = [*random.uniform(-1.0, 1.0, (num_starts, game.dim)), *atoms]
        bounds = [(-1.0, 1.0)] * game.dim
        return min(
            float(scipy.optimize.minimize(loss, z, method="L-BFGS-B", bounds=bounds).fun)
            for z in starts
        )

    def mean(payoffs, weights):
        return float(np.dot(payoffs, weights))

    least = lowest(lambda x: mean([game.payoff(x, y, np) for y in mu.atoms], mu.weights), nu.atoms)
    most = -lowest(lambda y: -mean([game.payoff(x, y, np) for x in nu.atoms], nu.weights), mu.atoms)
    return most - least


def main() -> int:
    """The command."""
    tf = import_tensorflow()
    tf.get_logger().setLevel("ERROR")
    from tf_mixed_nash import Box, ContinuousGame
    from tf_mixed_nash.solvers import particles
    from trainers.system import provenance

    f = flags.FLAGS
    hardware = provenance.describe({"seed": 0})["hardware"]
    where = f"{hardware['processor']}, {hardware['cores']} cores"
    notes = _NOTES.format(seeds=f.seeds, hardware=where)
    lines = ["| " + " | ".join(_COLUMNS) + " |", "|---" * len(_COLUMNS) + "|"]
    print("\n".join(lines))
    makers = (
        lambda seed: trigonometric(1, seed),
        lambda seed: trigonometric(2, seed),
        lambda seed: quadratic(5, seed),
        lambda seed: quadratic(10, seed),
    )
    for make in makers:
        for seed in range(f.seeds):
            random_game = make(seed)
            box = Box([-1.0] * random_game.dim, [1.0] * random_game.dim)
            payoff = random_game.payoff
            game = ContinuousGame(lambda x, y, F=payoff: F(x, y, tf), box, box)
            s = particles.solve(game, seed=seed)
            row = (
                random_game.name,
                str(seed),
                f"{len(s.nu.weights)}+{len(s.mu.weights)}",
                f"{s.value:.4f}",
                f"{s.gap:.1e}",
                f"{scipys_gap(random_game, s.nu, s.mu, seed):.1e}",
                f"{s.details['seconds']:.1f}",
            )
            lines.append("| " + " | ".join(row) + " |")
            print(lines[-1], flush=True)
            if f.output:  # after every row: a run that is stopped leaves what it has
                Path(f.output).write_text(notes + "\n".join(lines) + "\n")
    return cli.DONE


if __name__ == "__main__":
    flags.DEFINE_integer("seeds", 3, "Seeds of each game.", lower_bound=1)
    flags.DEFINE_string("output", None, "Also write a Markdown file.")
    cli.main(main, sys.argv)
