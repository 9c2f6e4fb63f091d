"""Particle updates in NumPy, from the papers' formulas.

A problem has V(player, points [m, d], atoms [n, e], weights [n]) -> (cost [m], gradient [m, d]),
to be descended, noise(player, m, shape) and project(player, points). A state is
{player: (log weights, atoms)}.
"""

from __future__ import annotations

import numpy as np

OPPONENT = {"theta": "w", "w": "theta"}


def conic_step(problem, player, anchor, at, opponent, eta, gamma, eps, m):
    """a_i ~ a_i exp(-eta V(x_i)), x_i <- x_i - gamma grad V(x_i) + sqrt(2 gamma eps) xi_i."""
    log_b, y = opponent
    V, grad = problem.V(player, at[1], y, np.exp(log_b))
    a = np.exp(anchor[0]) * np.exp(-eta * V)
    x = anchor[1] - gamma * grad
    if eps:
        x = x + np.sqrt(2 * gamma * eps) * problem.noise(player, m, x.shape)
    return np.log(a / a.sum()), problem.project(player, x)


def descent_ascent(problem, s, eta, gamma, eps, m, alternated=False):
    """Wasserstein-Fisher-Rao Langevin descent-ascent, one step."""
    w = conic_step(problem, "w", s["w"], s["w"], s["theta"], eta, gamma, eps, m)
    theta = conic_step(
        problem, "theta", s["theta"], s["theta"], w if alternated else s["w"], eta, gamma, eps, m
    )
    return {"theta": theta, "w": w}


def mirror_prox(problem, s, eta, gamma, m):
    """Conic-particle mirror-prox: (the intermediate, the new anchor)."""
    middle = {
        p: conic_step(problem, p, s[p], s[p], s[q], eta, gamma, 0.0, m) for p, q in OPPONENT.items()
    }
    return middle, {
        p: conic_step(problem, p, s[p], middle[p], middle[q], eta, gamma, 0.0, m + 1)
        for p, q in OPPONENT.items()
    }
