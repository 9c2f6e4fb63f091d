"""Kernel means of normal laws in closed form: MMD without a sample, and the least that atoms reach.

The kernel is k(x, y) = sum_h exp(-|x - y|^2 / 2 h^2) on R^d. For X ~ N(m, S) and Y ~ N(m', S'), as
the convolution of three normal densities,

    E exp(-|X - Y|^2 / 2 h^2) = h^d det(C)^(-1/2) exp(-(m - m')^T C^-1 (m - m') / 2),
    C = h^2 I + S + S'

so that of mixtures of normal laws the maximum mean discrepancy (Gretton et al. 2012), the largest
E f(Y) - E f(X) over the unit ball of the kernel's RKHS, is a number and no estimate. All is
float64.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.optimize

__all__ = [
    "Fitted",
    "Normals",
    "fitted",
    "kernel_mean",
    "least_found",
    "mmd",
    "on_a_grid",
    "squared_mmd",
]


class Normals(NamedTuple):
    """A mixture of normal laws in R^d.

    Attributes:
      weights: [m], of sum 1.
      means: [m, d].
      covariances: [m, d, d], positive semidefinite: a point is a normal law, too.
    """

    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray


class Fitted(NamedTuple):
    """What the best weights of given atoms reach, between two bounds.

    Attributes:
      weights: [m], at least 0, of sum 1.
      mmd: that these reach: the least is not above it.
      bound: the least is not below it; at least 0.
    """

    weights: np.ndarray
    mmd: float
    bound: float


def kernel_mean(one: Normals, two: Normals, widths: Sequence[float]) -> np.ndarray:
    """E k(X, Y) of every pair of components: [m, m'].

    Args:
      one: of X; its weights are not read.
      two: of Y, of the same dimension.
      widths: the h, above 0.
    """
    difference = one.means[:, None] - two.means[None]  # [m, m', d]
    d = difference.shape[-1]
    both = one.covariances[:, None] + two.covariances[None]
    total = np.zeros(difference.shape[:2])
    for h in widths:
        C = both + h * h * np.eye(d)
        if d == 2:  # by hand: a million small systems
            (a, b), (_, c) = (C[..., 0, 0], C[..., 0, 1]), (C[..., 1, 0], C[..., 1, 1])
            u, v = difference[..., 0], difference[..., 1]
            det = a * c - b * b
            square = (c * u * u - 2.0 * b * u * v + a * v * v) / det
        else:
            det = np.linalg.det(C)
            solved = np.linalg.solve(C, difference[..., None])[..., 0]
            square = (difference * solved).sum(-1)
        total += h**d / np.sqrt(det) * np.exp(-0.5 * square)
    return total


def squared_mmd(model: Normals, law: Normals, widths: Sequence[float]) -> float:
    """MMD^2 of two mixtures, which rounding may leave a little below 0."""
    own = model.weights @ kernel_mean(model, model, widths) @ model.weights
    cross = model.weights @ kernel_mean(model, law, widths) @ law.weights
    return float(own - 2.0 * cross + law.weights @ kernel_mean(law, law, widths) @ law.weights)


def mmd(model: Normals, law: Normals, widths: Sequence[float]) -> float:
    """max of E_law f - E_model f over the f of norm at most 1 in the RKHS of k."""
    return math.sqrt(max(squared_mmd(model, law, widths), 0.0))


def fitted(
    atoms: Normals,
    law: Normals,
    widths: Sequence[float],
    tolerance: float = 1e-9,
    steps: int = 20_000,
) -> Fitted:
    """The convex programme  min over weights a of MMD(sum_j a_j atom_j, law)^2.

    By pairwise Frank-Wolfe steps with exact line search (Lacoste-Julien & Jaggi 2015). The function
    is convex, so that its value minus max over j of <grad, a - e_j> bounds the least from below.

    Args:
      atoms: whose weights are where it starts.
      law: to be reached.
      widths: of the kernel.
      tolerance: it ends where the two bounds of MMD^2 are so near.
      steps: or after so many.
    """
    K = kernel_mean(atoms, atoms, widths)
    c = kernel_mean(atoms, law, widths) @ law.weights
    constant = float(law.weights @ kernel_mean(law, law, widths) @ law.weights)
    a = np.array(atoms.weights, np.float64)
    Ka, bound = K @ a, -math.inf
    for _ in range(steps):
        half = Ka - c  # half of the gradient
        best, worst = int(np.argmin(half)), int(np.argmax(np.where(a > 0, half, -np.inf)))
        value = a @ (Ka - 2.0 * c) + constant
        bound = max(bound, value - 2.0 * (a @ half - half[best]))
        if value - bound <= tolerance:
            break
        curvature = K[best, best] - 2.0 * K[best, worst] + K[worst, worst]
        slope = half[worst] - half[best]
        move = min(a[worst], slope / curvature) if curvature > 0 else a[worst]
        a[best] += move
        a[worst] = a[worst] - move if move < a[worst] else 0.0
        Ka += move * (K[:, best] - K[:, worst])
    a = np.maximum(a, 0.0) / np.maximum(a, 0.0).sum()
    value = float(a @ K @ a - 2.0 * a @ c) + constant
    return Fitted(a, math.sqrt(max(value, 0.0)), math.sqrt(max(bound, 0.0)))


def on_a_grid(places: np.ndarray, deviations: Sequence[float]) -> Normals:
    """Every normal law N(b, diag(s_1^2, ..., s_d^2)) of a grid, of equal weights.

    Args:
      places: [p, d], the b.
      deviations: the s that each axis takes.
    """
    d = places.shape[1]
    axes = np.stack(np.meshgrid(*[np.asarray(deviations, np.float64)] * d, indexing="ij"), -1)
    squares = axes.reshape(-1, d) ** 2
    means = np.repeat(places, len(squares), axis=0)
    covariances = np.tile(squares, (len(places), 1))[:, :, None] * np.eye(d)
    return Normals(np.full(len(means), 1.0 / len(means)), means, covariances)


def least_found(
    num: int,
    law: Normals,
    widths: Sequence[float],
    learnt: bool,
    starts: int,
    spread: Sequence[float],
) -> list[float]:
    """The least MMD that `num` normal laws of the plane reach, as descents from random starts find.

    L-BFGS on the exact MMD^2 over means, factors of the covariances and, if learnt, weights. Not a
    bound: another start may find less.

    Args:
      num: of the atoms.
      law: to be reached.
      widths: of the kernel.
      learnt: the weights are free; else they are equal.
      starts: how many descents, from seeds 0, 1, ...
      spread: [6], standard deviations of an atom's mean [2] and factor A [4] at the start.

    Returns:
      The MMD at the end of each.
    """
    constant = law.weights @ kernel_mean(law, law, widths) @ law.weights

    def loss(x):
        theta, logits = x[: 6 * num].reshape(num, 6), x[6 * num :]
        a = np.exp(logits - logits.max())
        a /= a.sum()
        A = theta[:, 2:].reshape(num, 2, 2)
        model = Normals(a, theta[:, :2], A @ A.transpose(0, 2, 1))
        value, of_a, of_means, of_covariances = 0.0, *_zeros(num)
        for other, factor, slope in ((model, 1.0, 2.0), (law, -2.0, -2.0)):
            parts = _sums_and_slopes(model, other, widths)
            value += factor * (a @ parts[0])
            of_a, of_means, of_covariances = (
                total + slope * part
                for total, part in zip((of_a, of_means, of_covariances), parts, strict=True)
            )
        of_factors = 2.0 * a[:, None, None] * (of_covariances @ A)
        of_theta = np.concatenate([a[:, None] * of_means, of_factors.reshape(num, 4)], axis=1)
        of_logits = a * (of_a - a @ of_a) if learnt else np.zeros(num)
        return value, np.concatenate([of_theta.ravel(), of_logits])

    found = []
    for seed in range(starts):
        theta = np.random.default_rng(seed).normal(size=(num, 6)) * np.asarray(spread)
        start = np.concatenate([theta.ravel(), np.zeros(num)])
        done = scipy.optimize.minimize(
            loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 1_500, "maxfun": 2_000}
        )
        found.append(math.sqrt(max(float(done.fun + constant), 0.0)))
    return found


def _zeros(num: int):
    return np.zeros(num), np.zeros((num, 2)), np.zeros((num, 2, 2))


def _sums_and_slopes(model: Normals, other: Normals, widths: Sequence[float]):
    """E k(X_j, Y) [m] of Y of the whole of `other`, its gradients in m_j [m, 2], S_j [m, 2, 2]."""
    difference = model.means[:, None] - other.means[None]
    sums, of_means, of_covariances = _zeros(len(model.means))
    for h in widths:
        C = model.covariances[:, None] + other.covariances[None] + h * h * np.eye(2)
        inverse = np.linalg.inv(C)
        solved = (inverse @ difference[..., None])[..., 0]
        square = (difference * solved).sum(-1)
        k = other.weights * h * h * np.sqrt(np.linalg.det(inverse)) * np.exp(-0.5 * square)
        sums += k.sum(1)
        of_means -= (k[..., None] * solved).sum(1)
        outer = solved[..., :, None] * solved[..., None, :]
        of_covariances += (k[..., None, None] * 0.5 * (outer - inverse)).sum(1)
    return sums, of_means, of_covariances
