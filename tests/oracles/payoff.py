"""A payoff that is non-linear in both players, and its gradients by hand.

F(theta, w) = tanh(theta)' A w + sin(theta)' B cos(w) + 0.05 sum theta^4 - 0.3 sum log cosh w
"""

from __future__ import annotations

import numpy as np

_RNG = np.random.default_rng(20190613)
A = _RNG.normal(size=(3, 4))
B = _RNG.normal(size=(3, 4))
THETA = np.array([0.7, -0.4, 0.2])
W = np.array([-0.3, 0.5, 0.9, -0.6])


def value(theta, w):
    return (
        np.tanh(theta) @ A @ w
        + np.sin(theta) @ B @ np.cos(w)
        + 0.05 * np.sum(theta**4)
        - 0.3 * np.sum(np.log(np.cosh(w)))
    )


def gradient_theta(theta, w):
    return (1 - np.tanh(theta) ** 2) * (A @ w) + np.cos(theta) * (B @ np.cos(w)) + 0.2 * theta**3


def gradient_w(theta, w):
    return A.T @ np.tanh(theta) - np.sin(w) * (B.T @ np.sin(theta)) - 0.3 * np.tanh(w)


def descent(player, z, opponent):
    """sum_j a_j (+-) grad F: theta descends F, w ascends it. `opponent` is [(a_j, z_j), ...]."""
    if player == "theta":
        return sum(a * gradient_theta(z, w) for a, w in opponent)
    return sum(-a * gradient_w(theta, z) for a, theta in opponent)
