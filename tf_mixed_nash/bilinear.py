"""A stand-in for finite bi-affine games until branch `finite` is merged: Mirror-Prox in NumPy.

min_p max_q <q, a> - <q, A p> on two simplices (paper section 2.1).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tf_mixed_nash.solution import Solution
from tf_mixed_nash.types import Measure

__all__ = ["MatrixGame", "solve"]


class MatrixGame(NamedTuple):
    """payoff A [n, m] and offset a [n]."""

    payoff: np.ndarray
    offset: np.ndarray


def _normalised(log):
    e = np.exp(log - log.max())
    return e / e.sum()


def solve(game, method="mirror_prox", num_steps=20_000, tolerance=1e-4) -> Solution:
    """Entropic Mirror-Prox with constant steps; the better of the average and the last iterate."""
    if method != "mirror_prox":
        raise NotImplementedError(method)
    F = np.asarray(game.offset)[:, None] - np.asarray(game.payoff)
    n, m = F.shape
    eta = 1.0 / max(np.abs(F).max(), 1e-12)
    log_p, log_q = np.zeros(m), np.zeros(n)
    sum_p, sum_q = np.zeros(m), np.zeros(n)
    best, history = None, []
    for t in range(1, num_steps + 1):
        p, q = _normalised(log_p), _normalised(log_q)
        p, q = _normalised(log_p - eta * (q @ F)), _normalised(log_q + eta * (F @ p))
        sum_p, sum_q = sum_p + p, sum_q + q
        log_p, log_q = log_p - eta * (q @ F), log_q + eta * (F @ p)
        if t % 100 == 0 or t == num_steps:
            for a, b in ((sum_p / t, sum_q / t), (p, q)):
                gap = (F @ a).max() - (b @ F).min()
                if best is None or gap < best[0]:
                    best = gap, a, b
            history.append((t, best[0]))
            if best[0] <= tolerance:
                break
    assert best is not None
    gap, p, q = best
    steps, gaps = np.array(history).T
    return Solution(
        Measure(np.arange(m, dtype=float)[:, None], p),
        Measure(np.arange(n, dtype=float)[:, None], q),
        float(q @ F @ p),
        float(gap),
        "exact",
        method,
        {"step": steps, "gap": gaps},
        {},
    )
