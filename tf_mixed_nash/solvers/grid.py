"""Infinite-dimensional Mirror Descent and Mirror-Prox on a grid (paper Algorithms 1 and 2).

    min over nu, max over mu of  F(nu, mu) = sum_ij p_i q_j F(x_i, y_j)

Compact sets are cut into cells; x_i, y_j are the cells' midpoints, p and q their masses, and
p_i / vol_i is the density d nu / dx of the algorithms. This is a finite bi-affine game, and
the prox step of the entropy relative to Lebesgue's measure,  density * exp(-eta h) / Z
(paper Algorithm 1), is the entropic step on the masses (paper eq. 2): volumes enter at the
start only, which is the uniform density, masses proportional to volumes. [D]
"""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tf_mixed_nash.errors import InputError
from tf_mixed_nash.games.boxes import Box
from tf_mixed_nash.games.continuous import GridGame
from tf_mixed_nash.games.matrix import MatrixGame
from tf_mixed_nash.solvers import matrix
from tf_mixed_nash.solvers.solution import Solution
from tf_mixed_nash.types import Measure, Pair

__all__ = ["Cells", "cut", "matrix_game", "off_grid_gap", "solve", "split"]

_BATCH = 1 << 20  # payoffs evaluated at once


class Cells(NamedTuple):
    """Boxes that tile a set.

    Attributes:
      centres: float64 [m, d].
      widths: float64 [m, d].
    """

    centres: np.ndarray
    widths: np.ndarray

    @property
    def volumes(self) -> np.ndarray:
        """float64 [m]."""
        return np.prod(self.widths, axis=1)


def cut(box: Box, num_points: int) -> Cells:
    """num_points cells per coordinate, of one size: num_points^d cells, the last axis fastest."""
    width = box.width / num_points
    axes = [
        low + w * (np.arange(num_points) + 0.5) for low, w in zip(box.lower, width, strict=True)
    ]
    centres = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, box.dim)
    return Cells(centres, np.tile(width, (len(centres), 1)))


def split(cells: Cells, chosen: np.ndarray) -> tuple[Cells, np.ndarray]:
    """Cuts the chosen cells in two along every coordinate.

    Args:
      cells: m cells.
      chosen: bool [m].

    Returns:
      (the new cells: the kept ones and then the children, parents: int [m'], the index of the
      cell that a new one lies in).
    """
    kept, parents = np.flatnonzero(~chosen), np.flatnonzero(chosen)
    children = _inside(Cells(*(part[parents] for part in cells)), (-0.25, 0.25))
    parents = np.repeat(parents, children.shape[1])
    return Cells(
        np.concatenate([cells.centres[kept], children.reshape(-1, children.shape[2])]),
        np.concatenate([cells.widths[kept], cells.widths[parents] / 2]),
    ), np.concatenate([kept, parents])


def _inside(cells: Cells, fractions) -> np.ndarray:
    """The points at these fractions of the widths from the centres, each way: [m, k, d]."""
    offsets = np.array(list(itertools.product(fractions, repeat=cells.centres.shape[1])))
    return cells.centres[:, None] + offsets * cells.widths[:, None]


def _rows(game: GridGame, x: np.ndarray, y: np.ndarray):
    """(some of the i, F(x_i, y_j) [those, n]), in batches."""
    y_tensor, num = tf.constant(y, game.dtype), max(1, _BATCH // max(1, len(y)))
    for i in range(0, len(x), num):
        rows = slice(i, i + num)
        yield rows, np.asarray(game.matrix(tf.constant(x[rows], game.dtype), y_tensor))


def matrix_game(
    game: GridGame, x: Cells, y: Cells, max_bytes: int = 4 << 30, dtype: tf.DType | None = None
) -> MatrixGame:
    """The finite game on the midpoints.

    Args:
      game: see `GridGame`.
      x: cells of X.
      y: cells of Y.
      max_bytes: of the payoffs.
      dtype: of the payoffs; None: the game's.

    Raises:
      InputError: if the payoffs would take more than max_bytes, or are not finite.
    """
    dtype = tf.as_dtype(dtype or game.dtype)
    m, n = len(x.centres), len(y.centres)
    if m * n * dtype.size > max_bytes:
        raise InputError(
            f"The payoffs of {game.name} on {m} x {n} cells would take "
            f"{m * n * dtype.size / 2**30:.2f} GiB, more than max_bytes = "
            f"{max_bytes / 2**30:.2f} GiB. Choose fewer num_points (cells grow with the power of "
            "the dimension), dtype float32, fewer refinements, or a larger max_bytes."
        )
    A = np.empty((n, m), dtype.as_numpy_dtype)  # A[j, i] = -F(x_i, y_j)
    for rows, F in _rows(game, x.centres, y.centres):
        if not np.isfinite(F).all():
            bad = np.argwhere(~np.isfinite(F))[0]
            raise InputError(
                f"The payoff of {game.name} is not finite at x={x.centres[rows][bad[0]].tolist()}, "
                f"y={y.centres[bad[1]].tolist()}. Bound it, or shrink the sets."
            )
        A[:, rows] = -F.T
    return MatrixGame(A, dtype=dtype, name=game.name)


def off_grid_gap(
    game: GridGame, x: Cells, y: Cells, p: np.ndarray, q: np.ndarray, finer: int = 4
) -> float:
    """max_y F(nu, y) - min_x F(x, mu) over grids `finer` times as fine, cells' edges included.

    Args:
      game: see `GridGame`.
      x: cells of X.
      y: cells of Y.
      p: masses [m] of x's midpoints.
      q: masses [n] of y's midpoints.
      finer: each cell's edge is cut into this many, at least 1.
    """
    # A cell without mass adds nothing.
    nu, mu = (c.centres[w > 0] for c, w in ((x, p), (y, q)))
    p, q = p[p > 0], q[q > 0]
    low = min(float(np.min(F @ q)) for _, F in _rows(game, _fine(x, finer), mu))
    # By batches of y: as many rows of nu as it has, few columns.
    fine, columns, high = _fine(y, finer), max(1, _BATCH // len(nu)), -np.inf
    for j in range(0, len(fine), columns):
        payoff = sum(p[None, rows] @ F for rows, F in _rows(game, nu, fine[j : j + columns]))
        high = max(high, float(np.max(payoff)))
    return high - low


def _fine(cells: Cells, finer: int) -> np.ndarray:
    """finer + 1 points per coordinate of every cell, its midpoint, edges and corners among them."""
    fractions = np.union1d(np.linspace(-0.5, 0.5, finer + 1), [0.0])
    return _inside(cells, fractions).reshape(-1, cells.centres.shape[1])


def solve(
    game: GridGame,
    num_points: int | Pair[int] = 100,
    method: str = "mirror_prox",
    num_steps: int = 5_000,
    refinements: int = 0,
    finer: int = 4,
    mass: float = 0.99,
    restart: float = 0.1,
    max_bytes: int = 4 << 30,
    dtype: tf.DType | None = None,
    tolerance: float | None = None,
    **options: Any,
) -> Solution:
    """Algorithm 1 (method="mirror_descent") or 2 ("mirror_prox") on a grid of both sets.

    Each refinement splits the cells that hold most of the mass, and those that answer the
    opponent's average within the gap; it starts anew from the averages, with a part of the
    uniform density mixed in so that no cell is out of reach.

    Args:
      game: a `ContinuousGame`, an `ArrayGame` or alike.
      num_points: cells per coordinate, one number or Pair(theta, w); at least 1.
      method: a key of `theory.METHODS`.
      num_steps: of each level.
      refinements: how many times cells are split, at least 0.
      finer: how much finer the certificate's grid is, at least 1.
      mass: in (0, 1]: cells holding this share of the mass, largest density first, are split.
      restart: in (0, 1]: share of the uniform density in a refinement's start.
      max_bytes: of the payoff matrix.
      dtype: of the payoff matrix; None: the game's.
      tolerance: a level stops when its gap on the grid is at most this.
      **options: of `matrix.solve`.

    Returns:
      Solution: atoms are the midpoints. gap: of the certificate, off the grid. history:
      "step", "gap" (on the grid), "last_gap", "value" and "level". details: "grid_gap" (on
      the last grid), "densities", "volumes" and "widths" (Pairs), and the last level's of
      `matrix.solve`.

    Raises:
      InputError: for settings out of range, payoffs that are not finite or too many of them.
    """
    points = num_points if isinstance(num_points, tuple) else (num_points, num_points)
    for what, number, least in (
        ("num_points", points[0], 1),
        ("num_points", points[1], 1),
        ("refinements", refinements, 0),
        ("finer", finer, 1),
    ):
        if int(number) != number or number < least:
            raise InputError(f"{what} must be a whole number, at least {least}, got {number!r}.")
    for what, share in (("mass", mass), ("restart", restart)):
        if not 0 < share <= 1:
            raise InputError(f"{what} must be in (0, 1], got {share!r}.")
    sizes = [n**s.dim for n, s in zip(points, (game.x_set, game.y_set), strict=True)]
    if sizes[0] * sizes[1] * tf.as_dtype(dtype or game.dtype).size > max_bytes:
        # Before any of it is allocated, the cells included.
        raise InputError(
            f"{points[0]} and {points[1]} points per coordinate make {sizes[0]} x {sizes[1]} "
            f"payoffs, more than max_bytes = {max_bytes / 2**30:.2f} GiB. Choose fewer "
            "num_points, dtype float32 or a larger max_bytes."
        )
    x, y = cut(game.x_set, points[0]), cut(game.y_set, points[1])
    start, histories, done = Pair(_shares(x), _shares(y)), [], 0
    for level in range(refinements + 1):
        finite = matrix_game(game, x, y, max_bytes, dtype)
        s = matrix.solve(finite, method, num_steps, start=start, tolerance=tolerance, **options)
        p, q = s.nu.weights, s.mu.weights
        history = {**s.history, "step": s.history["step"] + done}
        history["level"] = np.full(len(history["step"]), level)
        done = int(history["step"][-1])
        histories.append(history)
        if level < refinements:
            descent = -finite.derivative("w", tf.constant(p, finite.dtype)).numpy()
            ascent = finite.derivative("theta", tf.constant(q, finite.dtype)).numpy()
            x, from_x = split(x, _interesting(x, p, ascent, mass, s.gap))
            y, from_y = split(y, _interesting(y, q, descent, mass, s.gap))
            start = Pair(_spread(x, p, from_x, restart), _spread(y, q, from_y, restart))
    gap = max(off_grid_gap(game, x, y, p, q, finer), s.gap)
    return Solution(
        nu=Measure(x.centres, p),
        mu=Measure(y.centres, q),
        value=s.value,
        gap=gap,
        certificate=(
            f"best responses by exhaustion of grids {finer} times finer, cells' edges included; "
            "the payoff between their points is not looked at"
        ),
        method=method,
        history={k: np.concatenate([h[k] for h in histories]) for k in histories[0]},
        details={
            **s.details,
            "grid_gap": s.gap,
            "densities": Pair(p / x.volumes, q / y.volumes),
            "volumes": Pair(x.volumes, y.volumes),
            "widths": Pair(x.widths, y.widths),
        },
    )


def _shares(cells: Cells) -> np.ndarray:
    return cells.volumes / cells.volumes.sum()


def _spread(cells: Cells, masses: np.ndarray, parents: np.ndarray, restart: float) -> np.ndarray:
    """The old density on the new cells, with a share of the uniform one."""
    old_volumes = np.bincount(parents, cells.volumes, minlength=len(masses))
    inherited = (masses / old_volumes)[parents] * cells.volumes
    return (1 - restart) * inherited + restart * _shares(cells)


def _interesting(cells: Cells, masses, losses, mass: float, gap: float) -> np.ndarray:
    """bool [m]: the densest cells that hold `mass` of the mass, and answers within `gap`."""
    order = np.argsort(-masses / cells.volumes, kind="stable")
    before = np.cumsum(masses[order]) - masses[order]
    chosen = np.zeros(len(masses), bool)
    chosen[order[before < mass]] = True
    return chosen | (losses <= losses.min() + gap)
