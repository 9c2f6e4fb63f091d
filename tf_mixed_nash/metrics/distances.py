"""Distances between two sets of feature vectors: FID, KID, precision, recall, density, coverage.

    FID   Frechet distance of the two normal laws (Heusel et al. 2017)
    KID   unbiased squared MMD of the kernel (<x, y>/d + 1)^3 (Binkowski et al. 2018)
    precision, recall     by k-nearest-neighbour balls (Kynkaanniemi et al. 2019)
    density, coverage     the same balls, robust to outliers (Naeem et al. 2020)

All in float64 on the host. What the features are is not said here; figures of different
feature networks or sample sizes cannot be compared.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.spatial.distance import cdist

__all__ = ["Moments", "frechet_distance", "kernel_distance", "moments", "prdc"]


class Moments(NamedTuple):
    """Mean [d] and covariance [d, d] (with n - 1) of a set of features."""

    mean: np.ndarray
    covariance: np.ndarray


def moments(features: np.ndarray) -> Moments:
    """The moments of features [n, d], n >= 2.

    Raises:
      ValueError: for fewer than two rows, or numbers that are not finite.
    """
    x = _checked(features, minimum=2)
    return Moments(x.mean(axis=0), np.atleast_2d(np.cov(x, rowvar=False)))


def frechet_distance(real: Moments, fake: Moments) -> float:
    """FID:  |m - m'|^2 + tr(C + C' - 2 (C C')^(1/2)),  at least 0.

    The trace of the root is the sum of the roots of the eigenvalues of C^(1/2) C' C^(1/2), which
    is symmetric: no complex numbers arise, and singular covariances are no special case.
    """
    root = _symmetric_root(real.covariance)
    eigenvalues = np.linalg.eigvalsh(root @ fake.covariance @ root)
    cross = np.sqrt(np.maximum(eigenvalues, 0.0)).sum()
    shift = ((real.mean - fake.mean) ** 2).sum()
    spread = np.trace(real.covariance) + np.trace(fake.covariance) - 2.0 * cross
    return float(max(shift + spread, 0.0))


def kernel_distance(
    real: np.ndarray,
    fake: np.ndarray,
    num_subsets: int = 100,
    subset_size: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """KID: the mean and standard deviation of unbiased MMD^2 over random subsets.

    Args:
      real: [n, d].
      fake: [m, d].
      num_subsets: how many pairs of subsets.
      subset_size: of each; less where there are fewer rows.
      seed: of the subsets.

    Returns:
      (mean, standard deviation over subsets). The mean may be slightly negative.
    """
    x, y = _checked(real, minimum=2), _checked(fake, minimum=2)
    size = min(subset_size, len(x), len(y))
    random = np.random.default_rng(seed)
    values = [
        _unbiased_mmd2(
            x[random.choice(len(x), size, replace=False)],
            y[random.choice(len(y), size, replace=False)],
        )
        for _ in range(num_subsets)
    ]
    return float(np.mean(values)), float(np.std(values))


def prdc(real: np.ndarray, fake: np.ndarray, nearest_k: int = 5) -> dict[str, float]:
    """Precision, recall, density and coverage.

    r(x) is the distance from x to its k-th nearest neighbour in its own set. precision: the
    fakes within r of some real; recall: the reals within r of some fake; density: how many
    reals have a fake within r, over k, mean over fakes; coverage: the reals with a fake
    within their own r.

    Args:
      real: [n, d], n > k.
      fake: [m, d], m > k.
      nearest_k: k >= 1.
    """
    x, y = _checked(real, nearest_k + 1), _checked(fake, nearest_k + 1)
    real_radius, fake_radius = _radii(x, nearest_k), _radii(y, nearest_k)
    inside = np.zeros(len(y), np.int64)  # of how many reals' balls
    recalled = np.zeros(len(x), bool)
    covered = np.zeros(len(x), bool)
    for rows in _blocks(len(x)):
        distance = cdist(x[rows], y)
        within = distance < real_radius[rows, None]
        inside += within.sum(axis=0)
        covered[rows] = distance.min(axis=1) < real_radius[rows]
        recalled[rows] = (distance < fake_radius[None]).any(axis=1)
    return {
        "precision": float((inside > 0).mean()),
        "recall": float(recalled.mean()),
        "density": float(inside.mean() / nearest_k),
        "coverage": float(covered.mean()),
    }


def _checked(features: np.ndarray, minimum: int) -> np.ndarray:
    x = np.asarray(features, np.float64)
    if x.ndim != 2 or len(x) < minimum:
        raise ValueError(f"Expected features [n, d] with n >= {minimum}, got shape {x.shape}.")
    if not np.isfinite(x).all():
        raise ValueError("The features are not all finite; no distance of them means anything.")
    return x


def _symmetric_root(c: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(c)
    return (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T


def _unbiased_mmd2(x: np.ndarray, y: np.ndarray) -> float:
    def kernel(a, b):
        return (a @ b.T / a.shape[1] + 1.0) ** 3

    n = len(x)
    own = sum((k.sum() - np.trace(k)) / (n * (n - 1)) for k in (kernel(x, x), kernel(y, y)))
    return float(own - 2.0 * kernel(x, y).mean())


def _radii(x: np.ndarray, k: int) -> np.ndarray:
    """The distance of every row to its k-th nearest other row: [n]."""
    radii = np.empty(len(x))
    for rows in _blocks(len(x)):
        # The row itself, at distance 0, is among its k + 1 nearest.
        radii[rows] = np.partition(cdist(x[rows], x), k, axis=1)[:, k]
    return radii


def _blocks(num: int, size: int = 1000):
    return (np.arange(start, min(start + size, num)) for start in range(0, num, size))
