"""One door to all solvers: which methods a game has, and its solution by one of them."""

from __future__ import annotations

from typing import Any

from tf_mixed_nash.errors import InputError
from tf_mixed_nash.games.continuous import ArrayGame, GridGame
from tf_mixed_nash.games.matrix import MatrixGame
from tf_mixed_nash.solvers import grid, matrix, particles, theory
from tf_mixed_nash.solvers.solution import Solution

__all__ = ["AnyGame", "methods_of", "solve"]

AnyGame = MatrixGame | GridGame
_GRID = "grid_"


def methods_of(game: AnyGame) -> dict[str, str]:
    """The methods for a game: name -> "matrix", "grid" or "particles"; the default comes first.

    Args:
      game: finite, or on boxes.

    Example:
      >>> next(iter(methods_of(MatrixGame([[1.0]]))))
      'mirror_prox'
    """
    if isinstance(game, MatrixGame):
        first, found = "mirror_prox", dict.fromkeys(theory.METHODS, "matrix")
    else:
        first, found = _GRID + "mirror_prox", {_GRID + name: "grid" for name in theory.METHODS}
        if not isinstance(game, ArrayGame):  # whose payoff is in NumPy, without a gradient
            first = "conic_mirror_prox"
            found = {**dict.fromkeys(particles.METHODS, "particles"), **found}
    return {first: found[first], **found}


def solve(game: Any, method: str | None = None, seed: int = 0, **options: Any) -> Solution:
    """The game solved by one method.

    Args:
      game: finite, or on boxes.
      method: of `methods_of`; None for the first.
      seed: of everything random.
      **options: of `matrix.solve`, `grid.solve` or `particles.solve`, by the method's kind.

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
        raise InputError(
            f"{method} is no method for {game.name}. Choose among: {', '.join(methods)}."
        )
    if methods[method] == "particles":
        return particles.solve(game, method, seed=seed, **options)
    name = method.removeprefix(_GRID)
    # Mirror descent's best constant step depends on the horizon, and its gap then shows no
    # rate on the way; steps like 1 / sqrt(t) show it.
    if theory.METHODS[name].descent and "step_size" not in options:
        options.setdefault("anytime", True)
    if methods[method] == "grid":
        return grid.solve(game, method=name, **options)
    return matrix.solve(game, name, seed=seed, **options)
