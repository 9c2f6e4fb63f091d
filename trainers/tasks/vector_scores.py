"""Scorecards of rows of any shape, against held-out real rows.

Every column is measured in units of the real rows' standard deviation, so that no unit of a table
weighs more than another: energy distance (Szekely & Rizzo 2013), precision, recall, density and
coverage by nearest neighbours (`metrics.distances.prdc`), and of each column Kolmogorov-Smirnov's
statistic, the greatest difference of the two distribution functions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.spatial.distance import cdist

from tf_mixed_nash.metrics.distances import prdc
from trainers.tasks.tables import Column

__all__ = ["COLUMNS", "columns_of", "energy_distance", "kolmogorov_smirnov", "scorecard"]

COLUMNS = {
    "energy_distance": Column("energy distance", 4, "energy"),
    "precision": Column("precision", 3),
    "recall": Column("recall", 3),
    "density": Column("density", 3),
    "coverage": Column("coverage", 3),
    "ks_max": Column("KS, worst column", 3, "KS max"),
    "ks_mean": Column("KS, mean", 3, "KS mean"),
}
_BLOCK = 1_000


def columns_of(rows: np.ndarray) -> np.ndarray:
    """Rows [n, ...] as float64 [n, d]."""
    return np.asarray(rows, np.float64).reshape(len(rows), -1)


def energy_distance(x: np.ndarray, y: np.ndarray) -> float:
    """2 E|X - Y| - E|X - X'| - E|Y - Y'|, unbiased in each term, so that it may be below 0.

    Args:
      x: [n, d], n >= 2.
      y: [m, d], m >= 2.
    """
    n, m = len(x), len(y)
    cross = _sum_of_distances(x, y) / (n * m)
    return (
        2.0 * cross
        - _sum_of_distances(x, x) / (n * (n - 1))
        - (_sum_of_distances(y, y) / (m * (m - 1)))
    )


def _sum_of_distances(x: np.ndarray, y: np.ndarray) -> float:
    parts = (x[start : start + _BLOCK] for start in range(0, len(x), _BLOCK))
    return float(sum(cdist(part, y).sum() for part in parts))


def kolmogorov_smirnov(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Of each column of x [n, d] and y [m, d]: [d], in [0, 1]."""
    found = np.empty(x.shape[1])
    for j, (a, b) in enumerate(zip(np.sort(x, axis=0).T, np.sort(y, axis=0).T, strict=True)):
        points = np.concatenate([a, b])
        below = (np.searchsorted(s, points, side="right") / len(s) for s in (a, b))
        found[j] = np.abs(np.subtract(*below)).max()
    return found


def scorecard(
    samples: np.ndarray, real: np.ndarray, nearest_k: int, listed: int = 64
) -> dict[str, Any]:
    """The scores of samples against held-out real rows.

    Args:
      samples: [n, ...], n > k.
      real: [m, ...], m > k.
      nearest_k: k of precision, recall, density and coverage.
      listed: the statistics of single columns are listed (`ks`) for at most so many.

    Raises:
      ValueError: if the samples are not all finite.
    """
    x, y = columns_of(samples), columns_of(real)
    if not np.isfinite(x).all():
        raise ValueError("The samples are not all finite; no score of them means anything.")
    mean, spread = y.mean(axis=0), y.std(axis=0)
    spread = np.where(spread > 0, spread, 1.0)
    x, y = (x - mean) / spread, (y - mean) / spread
    ks = kolmogorov_smirnov(x, y)
    scores: Mapping[str, Any] = {
        "energy_distance": energy_distance(x, y),
        **prdc(y, x, nearest_k),
        "ks_max": float(ks.max()),
        "ks_mean": float(ks.mean()),
        "num_samples": len(x),
        "num_real": len(y),
    }
    return {**scores, **({"ks": ks.tolist()} if len(ks) <= listed else {})}
