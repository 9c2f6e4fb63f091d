"""Finite games by regret matching+, the method of the solved poker games: a baseline.

    R <- max(R + r, 0),   the next strategy is proportional to R

r are the regrets of the pure strategies against the opponent's last move. The players move in
turn, and averages are weighted by t (Tammelin, Burch, Johanson & Bowling 2015). No step size.
"""

from __future__ import annotations

import time

import numpy as np

from tf_mixed_nash.errors import InputError
from tf_mixed_nash.games.matrix import MatrixGame
from tf_mixed_nash.solvers.lp import table_of
from tf_mixed_nash.solvers.matrix import record_points
from tf_mixed_nash.solvers.solution import Solution
from tf_mixed_nash.types import Measure

__all__ = ["solve"]


def solve(game: MatrixGame, num_steps: int = 10_000, tolerance: float | None = None) -> Solution:
    """Regret matching+ from uniform strategies; its averages, certified.

    Args:
      game: the game.
      num_steps: T, at least 1.
      tolerance: stop at the first record whose gap is at most this.

    Returns:
      Solution; atoms are indices [m, 1]. history: "step", "gap" and "value" of the averages.
      details: "seconds", "converged" (None without a tolerance).

    Raises:
      InputError: for numbers out of range.
    """
    if int(num_steps) != num_steps or num_steps < 1:
        raise InputError(f"num_steps must be a whole number, at least 1, got {num_steps!r}.")
    if tolerance is not None and not tolerance >= 0:
        raise InputError(f"tolerance must be at least 0, got {tolerance!r}.")
    began = time.perf_counter()
    F, unit = table_of(game)
    columns = np.ascontiguousarray(F.T)
    m, n = F.shape
    p, q = np.full(m, 1.0 / m), np.full(n, 1.0 / n)
    for_p, for_q, sum_p, sum_q = np.zeros(m), np.zeros(n), np.zeros(m), np.zeros(n)
    rows, converged, t = [], None if tolerance is None else False, 0
    for record in record_points(num_steps):
        while t < record:
            t += 1
            losses = F @ q
            for_p = np.maximum(for_p + (p @ losses - losses), 0.0)
            p = _proportional(for_p)
            gains = columns @ p
            for_q = np.maximum(for_q + (gains - q @ gains), 0.0)
            q = _proportional(for_q)
            sum_p, sum_q = sum_p + t * p, sum_q + t * q
        nu, mu = sum_p / sum_p.sum(), sum_q / sum_q.sum()
        gap = float((columns @ nu).max() - (F @ mu).min()) * unit
        rows.append((t, gap, float(nu @ F @ mu) * unit))
        if tolerance is not None and gap <= tolerance:
            converged = True
            break
    step, gap, value = (np.array(column) for column in zip(*rows, strict=True))
    return Solution(
        nu=Measure(np.arange(m, dtype=np.float64)[:, None], nu),
        mu=Measure(np.arange(n, dtype=np.float64)[:, None], mu),
        value=float(value[-1]),
        gap=max(float(gap[-1]), 0.0),
        certificate="exact",
        method="regret_matching_plus",
        history={"step": step, "gap": gap, "value": value},
        details={"seconds": time.perf_counter() - began, "converged": converged},
    )


def _proportional(regrets: np.ndarray) -> np.ndarray:
    """The strategy of some regrets; without any, uniform."""
    total = regrets.sum()
    return regrets / total if total > 0 else np.full(len(regrets), 1.0 / len(regrets))
