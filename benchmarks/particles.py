"""Particle solvers on continuous games whose mixed equilibria are known in closed form.

    python -m benchmarks.particles [--games=pursuit,...] [--methods=conic_mirror_prox,...]
        [--seeds=3] [--output=docs/particles.md]

Default settings everywhere. The games, with proofs, are in tests/oracles/continuous_games.py.
"""

from __future__ import annotations

import sys
from pathlib import Path

from absl import flags

from trainers.system import cli
from trainers.system.quiet import import_tensorflow

_COLUMNS = ("game", "method", "seed", "atoms", "distance", "weight error", "gap", "grid gap", "s")

_NOTES = """\
# Particle solvers on games with known mixed equilibria

`python -m benchmarks.particles --methods={methods} --seeds={seeds} --output=docs/particles.md`,
{hardware}.

Default settings, no tuning per game. *distance*: the largest between an atom and the nearest
atom of the equilibrium, either way; *weight error*: of the mass nearest to each of its atoms
(-: the equilibrium is not unique). *gap*: a lower bound, by multistart. *grid gap*: of the same
measures by NumPy on a fine grid, which knows nothing of our code (41 points per coordinate in
the plane, 2,001 on a line). *s*: seconds on a machine shared with other work, tracing
included. `conic_mirror_prox` is refined (insertion, polish); the others are as published:
last iterates after 2,000 steps, `wfr` and `langevin` at a constant temperature of 1/1,000 of
the payoff's range, whose equilibria are smeared out.

"""


def rows(games, methods, seeds: int):
    """One row per game, method and seed; strings in the order of _COLUMNS."""
    import tensorflow as tf

    from tests.oracles.continuous_games import GAMES
    from tf_mixed_nash import Box, ContinuousGame
    from tf_mixed_nash.solvers.particles import solve

    for name in games:
        g = GAMES[name]
        x_set, y_set = (Box(g.lower[p], g.upper[p], g.periodic) for p in range(2))
        game = ContinuousGame(lambda x, y, g=g: g.payoff(x, y, tf), x_set, y_set, tf.float64, name)
        for method in methods:
            for seed in range(seeds):
                solution = solve(game, method, seed=seed)
                measures = (*solution.nu, *solution.mu)
                errors = g.errors(*measures)
                grid_gap = g.gap(*measures, num=41 if x_set.dim == 2 else 2001)
                yield (
                    name,
                    method,
                    str(seed),
                    f"{len(solution.nu.weights)}+{len(solution.mu.weights)}",
                    *(f"{e:.1e}" if g.unique else "-" for e in errors),
                    f"{solution.gap:.1e}",
                    f"{grid_gap:.1e}",
                    f"{solution.details['seconds']:.1f}",
                )


def main() -> int:
    """The command."""
    import_tensorflow().get_logger().setLevel("ERROR")
    from tests.oracles.continuous_games import GAMES
    from trainers.system import provenance

    f = flags.FLAGS
    hardware = provenance.describe({"seed": 0})["hardware"]
    lines = ["| " + " | ".join(_COLUMNS) + " |", "|---" * len(_COLUMNS) + "|"]
    print("\n".join(lines))
    where = f"{hardware['processor']}, {hardware['cores']} cores"
    notes = _NOTES.format(seeds=f.seeds, methods=f.methods, hardware=where)
    games = f.games.split(",") if f.games else list(GAMES)
    for row in rows(games, f.methods.split(","), f.seeds):
        lines.append("| " + " | ".join(row) + " |")
        print(lines[-1], flush=True)
        if f.output:  # after every row: a run that is stopped leaves what it has
            Path(f.output).write_text(notes + "\n".join(lines) + "\n")
    return cli.DONE


if __name__ == "__main__":
    flags.DEFINE_string("games", "", "Names separated by commas; empty: all.")
    flags.DEFINE_string("methods", "conic_mirror_prox,gda", "Names, by commas.")
    flags.DEFINE_integer("seeds", 3, "Seeds of each.", lower_bound=1)
    flags.DEFINE_string("output", None, "Also write a Markdown file.")
    cli.main(main, sys.argv)
