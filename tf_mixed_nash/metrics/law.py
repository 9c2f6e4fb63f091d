"""How far samples in the plane are from a known law: mass and shape seen apart, and exactly.

The law is a mixture of Gaussians N(mode_k, sigma^2 I) with masses w_k. A sample belongs to the
nearest mode, and is *in* it within 5 sigma; what is in no mode lies on a bridge. Then

    mass    KL(w || model) over the modes and one cell more for the bridges, in nats
    shape   sum_k w_k D_k, with D_k the energy distance (Szekely & Rizzo 2013) of the offsets of
            the samples in mode k, in sigmas, from N(0, I)
    law_distance = mass + shape

Each term is at least 0 but for sampling noise, and 0 of the law alone: the energy distance of two
laws is 0 only if they are equal, so that no shape inside a mode escapes it. Expectations over the
law have a closed form and no noise of a second sample is in them; those over the samples are
unbiased. Everything is float64 on the host.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import scipy.spatial.distance
import scipy.special

__all__ = [
    "FEWEST_REPLICATES",
    "IN_MODE",
    "ByMode",
    "Fit",
    "Law",
    "by_mode",
    "distance_from_law",
    "energy_distance",
    "energy_distance_from_normal",
    "fit",
    "fit_of",
    "intervals",
    "mode_kl",
    "principal_stds",
    "spread",
    "weights_of",
]

# Within so many sigmas a sample is in a mode: of real data in the plane all but 4 in a million.
IN_MODE = 5.0
# Fewer samples have no covariance that says anything.
_FEWEST = 10
# Of a mode that is a point, in sigmas: what is printed stays finite.
_NARROWEST = 1e-3
_BLOCK = 1_000
# Of fewer halves the ends of an interval are those of two or three of them.
FEWEST_REPLICATES = 20
# Of a mode, whose pairs are listed at once: 25 MB.
_MOST = 2_500
_NONE = (math.nan, math.nan)


class Law(NamedTuple):
    """A mixture of isotropic Gaussians in R^2.

    Attributes:
      means: float64 [k, 2].
      weights: float64 [k], above 0, of sum 1.
      sigma: the standard deviation of each coordinate, above 0.
    """

    means: np.ndarray
    weights: np.ndarray
    sigma: float


class Fit(NamedTuple):
    """What `fit` says.

    Attributes:
      principal_std_log: mean |log(s / sigma)| over the principal standard deviations s of the
        samples in each mode; NaN if no mode has 10 samples.
      radius_ks: mean over those modes of the Kolmogorov-Smirnov distance of |offset| / sigma from
        its law, a chi of as many degrees of freedom as there are coordinates; NaN as above.
      bridge_mass: the fraction of the samples that are in no mode.
      shape_distance: see the module.
      law_distance: see the module.
    """

    principal_std_log: float
    radius_ks: float
    bridge_mass: float
    shape_distance: float
    law_distance: float


class ByMode(NamedTuple):
    """What `by_mode` says; NaN of a mode with fewer than 10 samples.

    Attributes:
      mass: [k], the fraction of all samples that is in each mode; what is missing to 1 is on
        bridges.
      stds: [k, c], the principal standard deviations of the samples in it, in sigmas, ascending.
      radius_ks: [k], see `Fit`.
    """

    mass: np.ndarray
    stds: np.ndarray
    radius_ks: np.ndarray


def energy_distance(samples: np.ndarray, law: Law) -> float:
    """2 E|X - Y| - E|X - X'| - E|Y - Y'| of the samples X and the law of Y.

    Unbiased, so that it may be below 0. It weighs by distance: mass at the wrong mode shows at
    once, the shape of modes that are small beside their distances hardly (`fit` sees that).

    Args:
      samples: [n, 2], n >= 2, finite.
      law: of Y. A curve with noise is a fine mixture of Gaussians along it.
    """
    x = np.asarray(samples, np.float64)
    n = len(x)
    between = scipy.spatial.distance.cdist(law.means, law.means)
    own = law.weights @ _mean_distance(between, math.sqrt(2.0) * law.sigma) @ law.weights
    cross = inside = 0.0
    for start in range(0, n, _BLOCK):
        part = x[start : start + _BLOCK]
        to_means = scipy.spatial.distance.cdist(part, law.means)
        cross += float((_mean_distance(to_means, law.sigma) @ law.weights).sum())
        inside += float(scipy.spatial.distance.cdist(part, x).sum())
    return 2.0 * cross / n - inside / (n * (n - 1)) - float(own)


def spread(rows: np.ndarray, most: int) -> np.ndarray:
    """At most so many of the rows, evenly from the first to the last: none of a part alone."""
    n = len(rows)
    return rows if n <= most else rows[np.linspace(0, n - 1, most).round().astype(int)]


def energy_distance_from_normal(u: np.ndarray) -> float:
    """The energy distance of samples u [n, c] from N(0, I) in R^c, c = 1 or 2; unbiased.

    Of more than 2,500 samples so many are taken, evenly from the first to the last.

    Of fewer than two samples, and of samples that are one point, it is the distance of a point at
    the mean: 0.734 for c = 2, 0.467 for c = 1, above which only lies what is off the mode.
    """
    u = spread(u, _MOST)
    n, c = u.shape
    if n < 2:
        return _of_a_point(c)
    return 2.0 * float(_from_normal(u).mean()) - _pairs(u) / (n * (n - 1)) - _twice_normal(c)


def mode_kl(counts: np.ndarray, weights: np.ndarray) -> float:
    """KL(weights || counts) over the modes, in nats: it counts what the samples lack.

    Each mode has half a sample more (Krichevsky & Trofimov 1981), so that a missing one costs
    w log(2 w (n + k / 2)) and not infinity.

    Args:
      counts: [k] samples of each mode.
      weights: [k], at least 0, of sum 1; a cell of weight 0 only takes samples from the others.
    """
    smoothed = (counts + 0.5) / (counts.sum() + 0.5 * len(counts))
    some = weights > 0
    return float((weights[some] * np.log(weights[some] / smoothed[some])).sum())


def principal_stds(offset: np.ndarray) -> np.ndarray:
    """The principal standard deviations of offsets [n, c], n >= 2: [c], ascending."""
    values = np.linalg.eigvalsh(np.atleast_2d(np.cov(offset, rowvar=False)))
    return np.sqrt(np.maximum(values, 0.0))


def fit(
    index: np.ndarray, u: np.ndarray, weights: np.ndarray, along: np.ndarray | None = None
) -> Fit:
    """How the samples of each mode lie in it.

    Args:
      index: int [n], the nearest mode of each sample.
      u: [n, c], the offset from it in sigmas, c = 1 or 2.
      weights: [k] of the modes in the law, of sum 1.
      along: [n] in [0, 1], where a mode is an arc: the place on it, uniform in the law. Its energy
        distance from that, in standard deviations of the uniform law, is added to the shape.
    """
    num_modes, c = len(weights), u.shape[1]
    radius = np.linalg.norm(u, axis=1)
    inside = radius <= IN_MODE
    counts = np.bincount(index[inside], minlength=num_modes)
    each = by_mode(index, u, num_modes)
    known = ~np.isnan(each.radius_ks)
    logs = np.abs(np.log(np.maximum(each.stds[known], _NARROWEST))).mean(axis=1)
    shapes = np.full(num_modes, _of_a_point(c) + (0.0 if along is None else _MIDDLE))
    for mode in np.flatnonzero(counts >= 2):
        mine = inside & (index == mode)
        shapes[mode] = energy_distance_from_normal(u[mine])
        if along is not None:
            shapes[mode] += _energy_distance_from_uniform(along[mine])
    shape = float(weights @ shapes)
    cells, law = np.append(counts, len(u) - counts.sum()), np.append(weights, 0.0)
    return Fit(
        float(np.mean(logs)) if known.any() else math.nan,
        float(np.mean(each.radius_ks[known])) if known.any() else math.nan,
        float(1.0 - inside.mean()),
        shape,
        mode_kl(cells, law) + shape,
    )


def by_mode(index: np.ndarray, u: np.ndarray, num_modes: int) -> ByMode:
    """The samples of each mode; args as of `fit`."""
    radius = np.linalg.norm(u, axis=1)
    inside = radius <= IN_MODE
    counts = np.bincount(index[inside], minlength=num_modes)
    stds, ks = np.full((num_modes, u.shape[1]), math.nan), np.full(num_modes, math.nan)
    for mode in np.flatnonzero(counts >= _FEWEST):
        mine = inside & (index == mode)
        stds[mode] = principal_stds(u[mine])
        ks[mode] = _radius_ks(radius[mine], u.shape[1])
    return ByMode(counts / len(u), stds, ks)


def distance_from_law(samples: np.ndarray, data) -> float:
    """`law_distance` of samples [n, 2] alone: what sweeps and studies minimise."""
    return fit_of(np.asarray(samples, np.float64), data)[0].law_distance


def fit_of(x: np.ndarray, data) -> tuple[Fit, np.ndarray, np.ndarray]:
    """(`fit` of samples x [n, 2], the nearest mode of each [n], the offset from it [n, c])."""
    index, offset = data.nearest_mode(x)
    along = data.along(x) if hasattr(data, "along") else None
    return fit(index, offset / data.sigma, weights_of(data), along), index, offset


def weights_of(data) -> np.ndarray:
    """The masses of the modes of a `PlanarData`, [k] of sum 1: `masses`, or equal ones."""
    masses = getattr(data, "masses", None)
    return np.full(data.num_modes, 1.0 / data.num_modes) if masses is None else np.asarray(masses)


def intervals(
    score: Callable[[np.ndarray], Mapping[str, float]],
    num_samples: int,
    level: float = 0.95,
    replicates: int = 100,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """Bootstrap intervals of numbers of one set of samples.

    Halves of the samples are drawn without replacement (Politis & Romano 1994): the mean of h of
    them has the variance (1/h - 1/n) s^2, which for h = n / 2 is the mean of n's own, s^2 / n. With
    replacement samples would be there twice, which distances of pairs and Kolmogorov-Smirnov's take
    for atoms. The interval is centred at the number of all samples: a number that is at least 0 is
    larger of a half.

    Args:
      score: rows (int [h], indices of the samples) -> numbers by name; NaN where there is none.
      num_samples: n >= 4.
      level: in (0, 1).
      replicates: halves that are drawn, at least 20.
      seed: of them.

    Returns:
      name -> (low, high); of a number that some half does not have (NaN, NaN). A mass of a few
      samples in ten thousand has too short ones: they cover in 0.8 of the cases, not in 0.95.

    Raises:
      ValueError: for fewer samples or halves.
    """
    if num_samples < 4 or replicates < FEWEST_REPLICATES:
        raise ValueError(
            f"Intervals take at least 4 samples and {FEWEST_REPLICATES} replicates, got "
            f"{num_samples} and {replicates}."
        )
    random = np.random.default_rng(seed)
    half = num_samples // 2
    drawn = [score(random.permutation(num_samples)[:half]) for _ in range(replicates)]
    whole = score(np.arange(num_samples))
    found = {}
    for name, value in whole.items():
        values = np.array([each[name] for each in drawn], np.float64)
        spread = np.quantile(values - values.mean(), [(1 - level) / 2, (1 + level) / 2])
        # Of a skewed number the mean may lie outside; its own value never does.
        ends = (min(value + spread[0], value), max(value + spread[1], value))
        found[name] = (float(ends[0]), float(ends[1])) if np.isfinite(spread).all() else _NONE
    return found


# Expectations of normal laws.


def _mean_distance(r: np.ndarray, sigma: float) -> np.ndarray:
    """E|x - Y| of Y ~ N(m, sigma^2 I) in the plane, with r = |x - m|: the mean of a Rice law."""
    q = r * r / (2.0 * sigma * sigma)
    bessel = (1.0 + q) * scipy.special.i0e(q / 2.0) + q * scipy.special.i1e(q / 2.0)
    return sigma * math.sqrt(math.pi / 2.0) * bessel


def _from_normal(u: np.ndarray) -> np.ndarray:
    """E|x - Z| of Z ~ N(0, I), for each row x of u."""
    if u.shape[1] == 2:
        return _mean_distance(np.linalg.norm(u, axis=1), 1.0)
    x = np.abs(u[:, 0])
    density = np.exp(-0.5 * x * x) / math.sqrt(2.0 * math.pi)
    return 2.0 * density + x * scipy.special.erf(x / math.sqrt(2.0))


def _twice_normal(c: int) -> float:
    """E|Z - Z'|."""
    return math.sqrt(math.pi) if c == 2 else 2.0 / math.sqrt(math.pi)


def _of_a_point(c: int) -> float:
    return 2.0 * float(_from_normal(np.zeros([1, c]))[0]) - _twice_normal(c)


# The energy distance of the middle of [0, 1] from the uniform law, as below.
_MIDDLE = math.sqrt(12.0) / 6.0


def _energy_distance_from_uniform(v: np.ndarray) -> float:
    """Of v [n] in [0, 1], n >= 2, times sqrt(12): E|x - U| = x^2 - x + 1/2 and E|U - U'| = 1/3."""
    n = len(v)
    cross = float((v * v - v + 0.5).mean())
    return math.sqrt(12.0) * (2.0 * cross - _pairs(v[:, None]) / (n * (n - 1)) - 1.0 / 3.0)


def _pairs(u: np.ndarray) -> float:
    """The sum of the distances of all ordered pairs."""
    if u.shape[1] == 1:  # by sorting: x_(i) is larger than i others
        n = len(u)
        return 2.0 * float((2.0 * np.arange(n) - n + 1) @ np.sort(u[:, 0]))
    return 2.0 * float(scipy.spatial.distance.pdist(u).sum())


def _radius_ks(radius: np.ndarray, c: int) -> float:
    r, n = np.sort(radius), len(radius)
    # The law of a normal's radius inside of IN_MODE.
    below = scipy.special.gammainc(c / 2, r**2 / 2) / scipy.special.gammainc(c / 2, IN_MODE**2 / 2)
    steps = np.arange(n + 1) / n
    return float(max((steps[1:] - below).max(), (below - steps[:-1]).max()))
