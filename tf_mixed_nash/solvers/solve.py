"""One door to all solvers: which methods a game has, and its solution by one of them."""

from __future__ import annotations

from typing import Any

from tf_mixed_nash.errors import InputError
from tf_mixed_nash.games.continuous import ArrayGame, ContinuousGame, GridGame
from tf_mixed_nash.games.matrix import MatrixGame
from tf_mixed_nash.solvers import grid, lp, matrix, particles, regret, theory
from tf_mixed_nash.solvers.solution import Solution
from tf_mixed_nash.solvers.units import in_units, unit_of

__all__ = ["AnyGame", "methods_of", "solve"]

AnyGame = MatrixGame | GridGame
_GRID = "grid_"


def methods_of(game: AnyGame) -> dict[str, str]:
    """The methods for a game and the kinds of their solvers; the default comes first.

    Args:
      game: finite, or on boxes.

    Returns:
      name -> "matrix", "lp", "regret", "grid" or "particles".

    Example:
      >>> next(iter(methods_of(MatrixGame([[1.0]]))))
      'mirror_prox'
    """
    if isinstance(game, MatrixGame):
        first, found = "mirror_prox", dict.fromkeys(theory.METHODS, "matrix")
        found |= {"regret_matching_plus": "regret", "lp": "lp"}
    else:
        first, found = _GRID + "mirror_prox", {_GRID + name: "grid" for name in theory.METHODS}
        # Without a gradient there are no particles.
        if not isinstance(game, ArrayGame) and not game.not_differentiable:
            first = "conic_mirror_prox"
            found = {**dict.fromkeys(particles.METHODS, "particles"), **found}
    return {first: found[first], **found}


def solve(game: Any, method: str | None = None, seed: int = 0, **options: Any) -> Solution:
    """The game solved by one method.

    Args:
      game: finite, or on boxes.
      method: of `methods_of`; None for the first.
      seed: of everything random.
      **options: of `matrix.solve`, `lp.solve`, `regret.solve`, `grid.solve` or
        `particles.solve`, by the method's kind.

    Raises:
      InputError: if the method is none for the game, and what the solver refuses.
      FloatingPointError: if it diverges.

    Example:
      >>> game = MatrixGame.from_table([[0, -1, 1], [1, 0, -1], [-1, 1, 0]])
      >>> bool(solve(game).gap < 1e-3)
      True
    """
    methods = methods_of(game)
    method = method or next(iter(methods))
    if method not in methods:
        why = getattr(game, "not_differentiable", "")
        raise InputError(
            f"{method} is no method for {game.name}{f' ({why})' if why else ''}. Choose among: "
            f"{', '.join(methods)}."
        )
    kind = methods[method]
    if kind == "particles":
        return _by_particles(game, method, seed, options)
    if kind == "lp":
        return lp.solve(game, **options)
    if kind == "regret":
        return regret.solve(game, **options)
    name = method.removeprefix(_GRID)
    # Mirror descent's best constant step depends on the horizon, and its gap then shows no
    # rate on the way; steps like 1 / sqrt(t) show it.
    if theory.METHODS[name].descent and "step_size" not in options:
        options.setdefault("anytime", True)
    if kind == "grid":
        if isinstance(game, ContinuousGame) and game.pointwise:
            options.setdefault("num_points", game.few_points)
        return grid.solve(game, method=name, **options)
    return matrix.solve(game, name, seed=seed, **options)


def _by_particles(game: ContinuousGame, method: str, seed: int, options: dict) -> Solution:
    unit = unit_of(game.largest, game.dtype)
    if unit == 1:
        return particles.solve(game, method, seed=seed, **options)

    def payoff(x, y):
        return game.payoff(x, y) / unit

    scaled = ContinuousGame(payoff, game.x_set, game.y_set, game.dtype, game.name)
    powers = {"weight_step": 1, "position_step": 1, "temperature": -1, "tolerance": -1}
    options = {
        key: value * unit ** powers[key] if key in powers and value is not None else value
        for key, value in options.items()
    }
    return in_units(particles.solve(scaled, method, seed=seed, **options), unit)
