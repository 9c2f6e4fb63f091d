"""From many particles to a few exact atoms: merging, weights by linear programming, Newton.

The particle dynamics find the right neighbourhood; what is left is a finite problem:

    merge      atoms that are close become one, negligible ones go
    reweigh    the exact equilibrium of the finite game of the atoms [linear programme]
    equalise   Newton on the conditions of an equilibrium with this support [D]:
                   F(x_i, mu) = v,  grad_x F(x_i, mu) = 0,  sum_i a_i = 1
                   F(nu, y_j) = v,  grad_y F(nu, y_j) = 0,  sum_j b_j = 1

None knows whether its answer is a global equilibrium: `certificates.certify` judges it.
"""

from __future__ import annotations

import numpy as np
import scipy.optimize
from scipy.linalg import block_diag

from tf_mixed_nash.games.boxes import Box
from tf_mixed_nash.games.continuous import ContinuousGame
from tf_mixed_nash.types import Measure

__all__ = ["equalise", "merge", "reweigh"]


def merge(own: Box, measure: Measure, radius: float, threshold: float) -> Measure:
    """Atoms within `radius` widths of a heavier one join it, at their common mean.

    Args:
      own: the set of the atoms.
      measure: atoms [m, d], weights [m] >= 0.
      radius: in widths of the box, per coordinate.
      threshold: merged atoms of a lower weight are dropped, unless all are.

    Returns:
      A measure of total weight 1.
    """
    atoms, weights = np.asarray(measure.atoms), np.asarray(measure.weights)
    left = np.argsort(-weights, kind="stable")
    left = left[weights[left] > 0]
    merged, masses = [], []
    while len(left):
        heaviest = atoms[left[0]]
        offsets = own.difference(atoms[left], heaviest)
        near = (np.abs(offsets) <= radius * own.width).all(axis=1)
        mass = weights[left[near]].sum()
        # A lone atom stays where it is, to the last bit.
        mean = weights[left[near]] @ offsets[near] / mass if near.sum() > 1 else 0.0
        merged.append(own.clip(heaviest + mean))
        masses.append(mass)
        left = left[~near]
    a = np.array(masses) / np.sum(masses)
    kept = a >= min(threshold, a.max())
    return Measure(np.array(merged)[kept], a[kept] / a[kept].sum())


def reweigh(game: ContinuousGame, x: np.ndarray, y: np.ndarray) -> tuple[Measure, Measure]:
    """The equilibrium of the finite game F(x_i, y_j), by one linear programme and its dual.

        min_{a, v} v   subject to   sum_i a_i F(x_i, y_j) <= v for all j,  a in the simplex

    Args:
      game: with payoff F.
      x: [m, d].
      y: [n, e].

    Returns:
      (nu on the x_i, mu on the y_j); b are the multipliers. Vertices of the solution set,
      so that they are sparse.
    """
    A = game.matrix(x, y).numpy().astype(np.float64)
    m, n = A.shape
    result = scipy.optimize.linprog(
        c=np.append(np.zeros(m), 1.0),
        A_ub=np.hstack([A.T, -np.ones((n, 1))]),
        b_ub=np.zeros(n),
        A_eq=np.append(np.ones(m), 0.0)[None],
        b_eq=[1.0],
        bounds=[(0.0, None)] * m + [(None, None)],
        method="highs",
    )
    a = np.maximum(result.x[:m], 0.0)
    b = np.maximum(-result.ineqlin.marginals, 0.0)
    return Measure(x, a / a.sum()), Measure(y, b / b.sum())


def equalise(
    game: ContinuousGame, nu: Measure, mu: Measure, num_steps: int = 30
) -> tuple[Measure, Measure]:
    """Newton's method for positions, weights and value, the supports being as many atoms.

    Coordinates at a bound, where the gradient points outwards, are held there. Steps are
    halved until the residual falls; degenerate systems (equilibria that are not isolated)
    take the shortest step.

    Args:
      game: twice differentiable for the last digits; with less it may stop early.
      nu: atoms [m, d], weights [m].
      mu: atoms [n, e], weights [n].
      num_steps: at most.

    Returns:
      (nu, mu) with as many atoms. Weights that would be negative are 0.
    """
    sets = (game.x_set, game.y_set)
    z = [np.asarray(p.atoms, np.float64) for p in (nu, mu)]
    a = [np.asarray(p.weights, np.float64) for p in (nu, mu)]
    v = np.full(2, float(game.value(nu, mu)))
    residual, jacobian, free = _conditions(game, z, a, v)
    for _ in range(num_steps):
        size = np.linalg.norm(residual)
        step = np.linalg.lstsq(jacobian, -residual, rcond=1e-11)[0]
        moves = _split(step, z, free)
        longest = max(np.abs(move).max() for move in moves[0])
        fraction, accepted = min(1.0, 0.1 / max(longest, 1e-300)), False
        for _ in range(8):
            new_z = [sets[p].clip(z[p] + fraction * moves[0][p] * sets[p].width) for p in range(2)]
            new_a = [a[p] + fraction * moves[1][p] for p in range(2)]
            new_v = v + fraction * moves[2]
            conditions = _conditions(game, new_z, new_a, new_v)
            if np.linalg.norm(conditions[0]) < size:
                z, a, v, accepted = new_z, new_a, new_v, True
                residual, jacobian, free = conditions
                break
            fraction /= 2
        if not accepted:
            break
    a = [np.maximum(weights, 0.0) for weights in a]
    if not all(weights.sum() > 0 for weights in a):
        return nu, mu
    left, right = (Measure(z[p], a[p] / a[p].sum()) for p in range(2))
    return left, right


def _conditions(game: ContinuousGame, z, a, v):
    """The residual of the conditions, its Jacobian in the free unknowns, and which are free.

    Unknowns: the free coordinates of x and y, then a, b, then the two players' values (equal
    at a solution). Positions are in units of the widths, which balances the system.
    """
    (x, y), (m, d), (n, e) = z, z[0].shape, z[1].shape
    widths = np.concatenate([game.x_set.width, game.y_set.width])
    F, gradient, hessian = (
        part.numpy() for part in game.derivatives(np.repeat(x, n, axis=0), np.tile(y, (m, 1)))
    )
    F = F.reshape(m, n)
    gradient = gradient.reshape(m, n, d + e) * widths
    hessian = hessian.reshape(m, n, d + e, d + e) * widths[:, None] * widths
    Fx, Fy = gradient[:, :, :d], gradient[:, :, d:]
    Fxx, Fxy, Fyy = hessian[:, :, :d, :d], hessian[:, :, :d, d:], hessian[:, :, d:, d:]
    a, b = a
    gx, gy = np.einsum("j,ijd->id", b, Fx), np.einsum("i,ije->je", a, Fy)

    value_x, slope_x, sum_a, value_y, slope_y, sum_b = _blocks(m, m * d, 1, n, n * e, 1)
    at_x, at_y, at_a, at_b, at_v0, at_v1 = _blocks(m * d, n * e, m, n, 1, 1)
    jacobian = np.zeros((m * d + n * e + m + n + 2,) * 2)
    # F(x_i, mu) - v_0, then gx_i, then sum a - 1.
    jacobian[value_x, at_x] = block_diag(*gx[:, None])
    jacobian[value_x, at_y] = (b[:, None] * Fy).reshape(m, n * e)
    jacobian[value_x, at_b] = F
    jacobian[value_x, at_v0] = -1
    jacobian[slope_x, at_x] = block_diag(*np.einsum("j,ijde->ide", b, Fxx))
    jacobian[slope_x, at_y] = np.einsum("j,ijde->idje", b, Fxy).reshape(m * d, n * e)
    jacobian[slope_x, at_b] = Fx.transpose(0, 2, 1).reshape(m * d, n)
    jacobian[sum_a, at_a] = 1
    # F(nu, y_j) - v_1, then gy_j, then sum b - 1.
    jacobian[value_y, at_x] = (a[:, None, None] * Fx).transpose(1, 0, 2).reshape(n, m * d)
    jacobian[value_y, at_y] = block_diag(*gy[:, None])
    jacobian[value_y, at_a] = F.T
    jacobian[value_y, at_v1] = -1
    jacobian[slope_y, at_x] = np.einsum("i,ijde->jeid", a, Fxy).reshape(n * e, m * d)
    jacobian[slope_y, at_y] = block_diag(*np.einsum("i,ijef->jef", a, Fyy))
    jacobian[slope_y, at_a] = Fy.transpose(1, 2, 0).reshape(n * e, m)
    jacobian[sum_b, at_b] = 1
    residual = np.concatenate(
        [F @ b - v[0], gx.ravel(), [a.sum() - 1], F.T @ a - v[1], gy.ravel(), [b.sum() - 1]]
    )
    free = game.x_set.free(x, gx, 1e-9), game.y_set.free(y, -gy, 1e-9)
    fx, fy = free[0].ravel(), free[1].ravel()
    yes = np.ones
    kept_rows = np.concatenate([yes(m), fx, [1], yes(n), fy, [1]]).astype(bool)
    kept_columns = np.concatenate([fx, fy, yes(m + n + 2)]).astype(bool)
    return residual[kept_rows], jacobian[np.ix_(kept_rows, kept_columns)], free


def _blocks(*sizes: int) -> list[slice]:
    """Consecutive slices of these sizes."""
    ends = np.cumsum(sizes).tolist()
    return [slice(end - size, end) for end, size in zip(ends, sizes, strict=True)]


def _split(step: np.ndarray, z, free):
    """(moves of x and y in widths, of a and b, of the values) of a Newton step."""
    moves, position = [], 0
    for points, mask in zip(z, free, strict=True):
        move = np.zeros(points.shape)
        move[mask] = step[position : position + mask.sum()]
        position += mask.sum()
        moves.append(move)
    m, n = len(z[0]), len(z[1])
    a, b, v = np.split(step[position:], [m, m + n])
    return moves, [a, b], v
