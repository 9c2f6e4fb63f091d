"""Finite games as a linear programme, by SciPy's HiGHS.

    min_{p, v} v   such that   F(p, e_j) <= v for all j,   p in the simplex

The dual variables of the inequalities are the maximiser's strategy (von Neumann 1928; Dantzig
1951). Exact up to rounding, whatever the number of steps that mirror methods would take.
"""

from __future__ import annotations

import time

import numpy as np
from scipy.optimize import linprog

from tf_mixed_nash.games.matrix import MatrixGame
from tf_mixed_nash.solvers.solution import Solution
from tf_mixed_nash.types import Measure

__all__ = ["solve", "table_of"]

_FEASIBLE = 1e-10  # HiGHS's tolerances; its own are 1e-7


def table_of(game: MatrixGame) -> tuple[np.ndarray, float]:
    """The payoffs F(e_i, e_j) float64 [m, n] in units of the largest, and that."""
    payoff, offset = (x.numpy().astype(np.float64) for x in (game.payoff, game.offset))
    largest = max(np.abs(payoff).max(), np.abs(offset).max())
    unit = float(largest) if largest > 0 else 1.0
    return (offset[:, None] / unit - payoff / unit).T, unit


def solve(game: MatrixGame) -> Solution:
    """An equilibrium of a finite game, exact up to rounding.

    Args:
      game: the game.

    Returns:
      Solution; atoms are indices [m, 1]. history has one entry, "step" the simplex iterations.
      details: "seconds", "message" (HiGHS's).

    Raises:
      FloatingPointError: if HiGHS finds no solution, which every finite game has.
    """
    began = time.perf_counter()
    F, unit = table_of(game)
    m, n = F.shape
    low, high = F.min(), F.max()
    scaled = (F - low) / (high - low) if high > low else np.zeros_like(F)
    found = linprog(
        np.append(np.zeros(m), 1.0),
        A_ub=np.hstack([scaled.T, -np.ones((n, 1))]),
        b_ub=np.zeros(n),
        A_eq=np.append(np.ones(m), 0.0)[None],
        b_eq=[1.0],
        bounds=[(0.0, None)] * m + [(None, None)],
        method="highs",
        options={
            "primal_feasibility_tolerance": _FEASIBLE,
            "dual_feasibility_tolerance": _FEASIBLE,
        },
    )
    if found.status != 0:
        raise FloatingPointError(f"HiGHS ended without a solution: {found.message}")
    p, q = _weights(found.x[:m]), _weights(-found.ineqlin.marginals)
    # At the strategies that are returned, not the programme's optimum.
    gap = float((p @ F).max() - (F @ q).min()) * unit
    value = float(p @ F @ q) * unit
    step = max(1, int(found.nit))
    return Solution(
        nu=Measure(np.arange(m, dtype=np.float64)[:, None], p),
        mu=Measure(np.arange(n, dtype=np.float64)[:, None], q),
        value=value,
        gap=max(gap, 0.0),
        certificate="exact",
        method="lp",
        history={"step": np.array([step]), "gap": np.array([gap]), "value": np.array([value])},
        details={"seconds": time.perf_counter() - began, "message": str(found.message)},
    )


def _weights(x: np.ndarray) -> np.ndarray:
    x = np.maximum(np.asarray(x, np.float64), 0.0)
    return x / x.sum()
