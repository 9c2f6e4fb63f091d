"""Two matrices of payoffs: a game for this package where it is one of zero sum, or equivalent.

Player 1 chooses a row i and gets A_ij, player 2 a column j and gets B_ij; both want much. If

    B = -alpha A + beta,   alpha > 0,

then who wants much of A wants little of B: the equilibria are those of the zero-sum game of the
table B, whose rows minimise and whose columns maximise. Any other is a general-sum game here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tf_mixed_nash.errors import InputError
from tf_mixed_nash.games.matrix import MatrixGame
from tf_mixed_nash.solvers.solution import Solution

__all__ = ["OTHER_TOOLS", "ZeroSumBimatrix", "of_pairs"]

OTHER_TOOLS = (
    "Gambit (gambit-enummixed, gambit-lcp, pygambit.nash) and nashpy (support_enumeration, "
    "lemke_howson) solve those"
)
_TOLERANCE = 1e-9


class ZeroSumBimatrix(MatrixGame):
    """The zero-sum game of two matrices of payoffs.

    Args:
      A: [m, n], of player 1, who chooses the row.
      B: [m, n], of player 2, who chooses the column.
      name: for reports.
      row_labels: of the m rows.
      column_labels: of the n columns.
      players: names of both.

    Attributes:
      A, B: as given, float64.
      note: what the game is, a sentence.

    Raises:
      InputError: for matrices that are not finite or not of one shape; for a general-sum game,
        naming tools that solve it.
    """

    def __init__(
        self,
        A: Any,
        B: Any,
        name: str = "bimatrix game",
        row_labels: Sequence[str] | None = None,
        column_labels: Sequence[str] | None = None,
        players: Sequence[str] = ("player 1", "player 2"),
    ):
        A, B = _checked(A, name), _checked(B, name)
        if A.shape != B.shape:
            raise InputError(
                f"The two matrices of {name} must be of one shape, got {A.shape} and {B.shape}."
            )
        self.A, self.B, self.players = A, B, tuple(players)
        alpha, beta = _affine(A, B, name)
        # As in `from_table`: its rows minimise.
        super().__init__(-B.T, name=name, row_labels=column_labels, column_labels=row_labels)
        first, second = self.players
        change = "" if (alpha, beta) == (1, 0) else " up to an affine change"
        sign = "-" if beta < 0 else "+"
        what = f", B = -{alpha:.6g} A {sign} {abs(beta):.6g}" if change else ""
        self.note = (
            f"{first} chooses rows, {second} columns; the game is of zero sum{change}{what}, and "
            "its value is what the second gets"
        )

    def payoffs(self, solution: Solution) -> dict[str, dict[str, float]]:
        """What each player gets, and could get more by deviating: name -> payoff, regret."""
        p, q = solution.nu.weights, solution.mu.weights
        for_rows, for_columns = self.A @ q, p @ self.B
        found = {}
        for player, each, own in zip(self.players, (for_rows, for_columns), (p, q), strict=True):
            payoff = float(own @ each)
            found[player] = {"payoff": payoff, "regret": max(float(each.max()) - payoff, 0.0)}
        return found


def of_pairs(content: Any, name: str, **more: Any) -> ZeroSumBimatrix:
    """The game of an array of both players' payoffs, [2, m, n] or [m, n, 2].

    Raises:
      InputError: as the class; or if both readings are possible, and games of zero sum.
    """
    pair = np.asarray(content, np.float64)
    readings = [pair] if pair.shape[0] == 2 else []
    readings += [np.moveaxis(pair, 2, 0)] if pair.shape[2] == 2 else []
    if not readings:
        raise InputError(
            f"{name} is an array {list(pair.shape)}: give a table of payoffs [m, n], or those of "
            "two players, [2, m, n] or [m, n, 2]. Games of more players are not solved here: "
            f"{OTHER_TOOLS}."
        )
    games, errors = [], []
    for A, B in readings:
        try:
            games.append(ZeroSumBimatrix(A, B, name, **more))
        except InputError as error:
            errors.append(error)
    if not games:
        raise errors[0]
    if len(readings) > 1 and not (np.array_equal(readings[0], readings[1])):
        raise InputError(
            f"{name} is an array {list(pair.shape)}, which could be two matrices or a matrix of "
            'pairs. Give {"A": [[...]], "B": [[...]]} in a JSON file, or a tuple (A, B) in Python. '
            f"Games that are not of zero sum are not solved here: {OTHER_TOOLS}."
        )
    return games[0]


def _checked(x: Any, name: str) -> np.ndarray:
    try:
        x = np.asarray(x, np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"The payoffs of {name} must be matrices of numbers: {error}.") from None
    if x.ndim != 2 or not x.size:
        raise InputError(f"The payoffs of {name} must be matrices, got shape {x.shape}.")
    if not np.isfinite(x).all():
        i, j = np.argwhere(~np.isfinite(x))[0].tolist()
        raise InputError(
            f"The payoffs of {name} must be finite; entry [{i}, {j}] is {x[i, j]}. Indices count "
            "from 0."
        )
    return x


def _affine(A: np.ndarray, B: np.ndarray, name: str) -> tuple[float, float]:
    """(alpha, beta) with B = -alpha A + beta, as short numbers where rounding allows it."""
    size = max(np.abs(A).max(), np.abs(B).max()) or 1.0
    a, b = A / size, B / size
    near = a - a.mean(), b - b.mean()
    square = float((near[0] ** 2).sum())
    alpha = -float((near[0] * near[1]).sum()) / square if square > 0 else 1.0
    if alpha <= 0 or np.abs(near[1] + alpha * near[0]).max() > _TOLERANCE:
        raise InputError(
            f"{name} is a general-sum game: the second player's payoffs are not -alpha A + beta of "
            f"the first's, alpha > 0, and games of zero sum are solved here. {OTHER_TOOLS}."
        )
    alpha = float(np.round(alpha, 9)) or alpha
    beta = float(np.round((b + alpha * a).mean(), 9)) * size
    return alpha, beta + 0.0
