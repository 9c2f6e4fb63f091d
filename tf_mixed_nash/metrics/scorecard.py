"""The scorecard of a generator in the plane, against a distribution with known modes.

All figures are for one set of samples; they mean something only beside the same figures
for fresh real samples (`real_data_ceiling` in scorecard.json). Which of them sees what is
measured by `python -m benchmarks.judge` (docs/results/judge.md).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import scipy.optimize
import scipy.spatial

from tf_mixed_nash.errors import extra
from tf_mixed_nash.metrics import law
from tf_mixed_nash.metrics.law import mode_kl

__all__ = [
    "KEYS",
    "by_atom",
    "mode_kl",
    "rarest_mode_mass",
    "scorecard",
    "scorecard_intervals",
    "scores_by_atom",
    "specialisation",
    "wasserstein2",
]

# Squares of distances are numbers.
_FARTHEST = 1e150

KEYS = (
    "num_samples",
    "num_modes",
    "modes_captured",
    "high_quality_3sigma",
    "high_quality_4sigma",
    "reverse_kl",
    "std_ratio",
    "mean_bias_sigma",
    "wasserstein2",
    "energy_distance",
    "mode_kl",
    "principal_std_log",
    "radius_ks",
    "bridge_mass",
    "rarest_mode_mass",
    "shape_distance",
    "law_distance",
)


def scorecard(
    samples: np.ndarray,
    real: np.ndarray,
    data,
    capture_samples: int = 2500,
    wasserstein_samples: int = 2000,
    energy_samples: int = 2500,
) -> dict[str, float]:
    """The scorecard of `samples`.

    Args:
      samples: [n, 2], generated.
      real: [n', 2], n' >= wasserstein_samples, fresh real samples, for wasserstein2 only.
      data: has num_modes, sigma, nearest_mode and law (`trainers.tasks.data.synthetic.PlanarData`);
        and `masses` [m] of its modes, of sum 1, where they are not equal.
      capture_samples: how many of the samples decide which modes are captured.
      wasserstein_samples: of each side.
      energy_samples: of the samples, for energy_distance: it takes the distance of every pair. They
        are taken evenly from the first to the last, the others' are the first.

    Returns:
      num_samples, num_modes;
      high_quality_{3,4}sigma: the fraction within k sigma of the nearest mode;
      modes_captured: modes with at least one 3-sigma sample among `capture_samples`;
      reverse_kl: KL(histogram of the nearest modes || the modes' masses), in nats;
      std_ratio: mean over the captured modes of the per-coordinate standard deviation of
        the samples nearest to the mode and within 4 sigma, over sigma, corrected for the
        truncation and the sample size, so that real data score 1; NaN if no mode has two;
      mean_bias_sigma: mean over the captured modes of |mean of those samples - mode| / sigma;
      wasserstein2: the 2-Wasserstein distance to real data, exact. It measures the noise of the
        modes' counts, and hardly the shape of modes: nothing is chosen by it any more;
      energy_distance: of Szekely & Rizzo, to the law itself; may be below 0 (`law`);
      mode_kl: KL(the modes' masses || histogram of the nearest modes), which counts what the
        samples lack, with half a sample more in each mode;
      principal_std_log, radius_ks: how the samples lie in the modes, direction by direction, and
        by their distance (`law.Fit`); 0.03 to 0.05 for real data, who have a spread, too;
      bridge_mass: the fraction of the samples beyond 5 sigma of every mode;
      rarest_mode_mass: the fraction of the samples within 3 sigma of the lightest mode, 0.989 of
        its mass in real data; of several lightest ones that with the fewest samples;
      shape_distance, law_distance: see `law`: the sum of mass and shape is what sweeps and studies
        minimise.

    Raises:
      ValueError: for samples that are not finite, fewer than two, of another shape, or so far away
        that the squares of their distances are no numbers.
    """
    samples = np.asarray(samples, np.float64)
    if samples.ndim != 2 or samples.shape[1] != 2 or len(samples) < 2:
        raise ValueError(
            f"A scorecard is of samples [n, 2] with n of at least 2, got shape {samples.shape}."
        )
    if not np.isfinite(samples).all():
        raise ValueError("The samples are not all finite; there is no scorecard of them.")
    if (largest := float(np.abs(samples).max())) > _FARTHEST:
        raise ValueError(f"The samples are as far away as {largest:.3g}; there is no scorecard.")
    fitted, index, offset = law.fit_of(samples, data)
    distance = np.linalg.norm(offset, axis=1) / data.sigma
    captured = np.unique(index[:capture_samples][distance[:capture_samples] <= 3.0])
    ratios, biases = [], []
    for mode in captured:
        near = offset[(index == mode) & (distance <= 4.0)]
        biases.append(np.linalg.norm(near.mean(axis=0)) / data.sigma)
        if len(near) >= 2:
            ratios.append(near.std(axis=0, ddof=1).mean() / data.sigma / _c4(len(near)))
    counts = np.bincount(index, minlength=data.num_modes)
    histogram, masses = counts / len(samples), law.weights_of(data)
    near = np.bincount(index[distance <= 3.0], minlength=data.num_modes)
    return {
        "num_samples": len(samples),
        "num_modes": data.num_modes,
        "modes_captured": len(captured),
        "high_quality_3sigma": float((distance <= 3.0).mean()),
        "high_quality_4sigma": float((distance <= 4.0).mean()),
        "reverse_kl": _entropy_gap(histogram)
        if getattr(data, "masses", None) is None
        else _kl(histogram, masses),
        "std_ratio": float(np.mean(ratios)) / _truncated_std(4.0, offset.shape[1])
        if ratios
        else math.nan,
        "mean_bias_sigma": float(np.mean(biases)) if biases else math.nan,
        "wasserstein2": wasserstein2(samples[:wasserstein_samples], real[:wasserstein_samples]),
        "energy_distance": law.energy_distance(law.spread(samples, energy_samples), data.law),
        "mode_kl": mode_kl(counts, masses),
        "principal_std_log": fitted.principal_std_log,
        "radius_ks": fitted.radius_ks,
        "bridge_mass": fitted.bridge_mass,
        "rarest_mode_mass": rarest_mode_mass(near, len(samples), masses),
        "shape_distance": fitted.shape_distance,
        "law_distance": fitted.law_distance,
    }


def rarest_mode_mass(near: np.ndarray, num_samples: int, masses: np.ndarray) -> float:
    """The fraction of the samples that is near the lightest mode; of several, the least.

    Args:
      near: int [m], samples near each mode.
      num_samples: of all.
      masses: [m] of the modes in the law.
    """
    return float(near[masses <= masses.min() * (1 + 1e-9)].min() / num_samples)


def scorecard_intervals(
    samples: np.ndarray, real: np.ndarray, data, replicates: int = 100, **options
) -> dict[str, tuple[float, float]]:
    """95 % intervals of the numbers of a scorecard, but for num_samples and num_modes.

    Args:
      samples: as of `scorecard`.
      real: as of `scorecard`.
      data: as of `scorecard`.
      replicates: how many halves of the samples are scored (`law.intervals`).
      **options: of `scorecard`, its numbers of samples.

    Returns:
      key -> (low, high). They are of this set of samples from this generator; another seed of the
      training is another matter.
    """
    samples = np.asarray(samples, np.float64)
    fewer = {key: max(2, options.pop(key, most) // 2) for key, most in _SIZES.items()}

    def score(rows):
        card = scorecard(samples[rows], real, data, **options, **fewer)
        return {key: card[key] for key in KEYS[2:]}

    found = law.intervals(score, len(samples), replicates=replicates)
    # Only what is unbiased may be below 0.
    return {
        key: (low if key in _UNBIASED else max(low, 0.0), high)
        for key, (low, high) in found.items()
    }


_UNBIASED = ("energy_distance", "shape_distance", "law_distance")


# What is taken of the samples, by default; halves of them have half of it.
_SIZES = {"capture_samples": 2500, "wasserstein_samples": 2000, "energy_samples": 2500}


def scores_by_mode(samples: np.ndarray, data) -> dict[str, list[float]]:
    """The samples of each mode: "mass", "narrowest", "widest", "radius_ks", a number for each mode.

    Args:
      samples: [n, 2], finite.
      data: see `scorecard`.

    Returns:
      Of `law.by_mode`: the least and the largest principal standard deviation in units of the
      mode's own; NaN of a mode with fewer than 10 samples.
    """
    index, offset = data.nearest_mode(np.asarray(samples, np.float64))
    each = law.by_mode(index, offset / data.sigma, data.num_modes)
    columns = {"mass": each.mass, "narrowest": each.stds[:, 0], "widest": each.stds[:, -1]}
    return {k: v.tolist() for k, v in {**columns, "radius_ks": each.radius_ks}.items()}


def scores_by_atom(samples: np.ndarray, atom: np.ndarray, weights: np.ndarray, data) -> dict:
    """Which modes each atom of a measure covers: `by_atom` of the samples within 3 sigma of a mode.

    Args:
      samples: [n, 2], finite.
      atom: int [n], who drew each.
      weights: [n'], of the atoms.
      data: see `scorecard`.

    Returns:
      As `by_atom`, the counts as "modes"; each atom also has its own high_quality_3sigma.
    """
    mode, offset = data.nearest_mode(np.asarray(samples, np.float64))
    near = np.linalg.norm(offset, axis=1) <= 3.0 * data.sigma
    found = by_atom(np.where(near, mode, -1), atom, weights, data.num_modes, "modes")
    for own in found["atoms"]:
        num = own["num_samples"]
        own["high_quality_3sigma"] = sum(own["modes"]) / num if num else math.nan
    return found


def by_atom(
    kind: np.ndarray, atom: np.ndarray, weights: np.ndarray, num_kinds: int, word: str
) -> dict[str, Any]:
    """What the samples of each atom of a measure are.

    Args:
      kind: int [n], the mode or class of each sample; -1: none.
      atom: int [n], who drew it.
      weights: [n'], of the atoms.
      num_kinds: k.
      word: the key of the counts.

    Returns:
      atoms: for each its weight, num_samples, and how many of them are of each kind, under `word`;
      specialisation: see there.
    """
    counts = np.zeros([len(weights), num_kinds], np.int64)
    np.add.at(counts, (atom[kind >= 0], kind[kind >= 0]), 1)
    drawn = np.bincount(atom, minlength=len(weights))
    atoms = [
        {"weight": float(a), "num_samples": int(n), word: row.tolist()}
        for a, n, row in zip(weights, drawn, counts, strict=True)
    ]
    return {"atoms": atoms, "specialisation": specialisation(counts)}


def specialisation(counts: np.ndarray) -> float:
    """How far n' atoms divide k modes among themselves: from 0 to 1.

    The mutual information of atom and mode, both of a sample, in bits, over the most that it can
    be, log2 min(n', k). 0: every atom covers the modes alike; 1: of n' <= k atoms, each has as much
    mass as the others and modes of its own. Few samples make it a little larger.

    Args:
      counts: [n', k], samples of each atom in each mode.

    Returns:
      NaN without samples, or of one atom or mode.
    """
    if not counts.sum() or min(counts.shape) < 2:
        return math.nan
    p = counts / counts.sum()
    independent = p.sum(axis=1, keepdims=True) * p.sum(axis=0, keepdims=True)
    some = p > 0
    bits = float((p[some] * np.log2(p[some] / independent[some])).sum())
    return bits / math.log2(min(counts.shape))


def wasserstein2(x: np.ndarray, y: np.ndarray) -> float:
    """The 2-Wasserstein distance between two samples [n, c] and [m, c], exact.

    Of equal sizes it is the best assignment (SciPy), else a linear programme (POT), which
    takes five times the memory.

    Raises:
      InputError: of unequal sizes, without the extra `metrics`.
    """
    if len(x) == len(y):
        squared = scipy.spatial.distance.cdist(x, y, "sqeuclidean")
        return math.sqrt(float(squared[scipy.optimize.linear_sum_assignment(squared)].mean()))
    with extra("metrics", "wasserstein2 of samples of unequal sizes"):
        import ot

    uniform = lambda z: np.full(len(z), 1.0 / len(z))  # noqa: E731
    squared: Any = ot.emd2(uniform(x), uniform(y), ot.dist(x, y), numItermax=10_000_000)
    return math.sqrt(max(float(squared), 0.0))


def _entropy_gap(p: np.ndarray) -> float:
    """KL(p || uniform)."""
    positive = p[p > 0]
    return float((positive * np.log(positive * len(p))).sum())


def _kl(p: np.ndarray, q: np.ndarray) -> float:
    """KL(p || q)."""
    positive = p > 0
    return float((p[positive] * np.log(p[positive] / q[positive])).sum())


def _c4(n: int) -> float:
    """E[sample standard deviation of n normals] / sigma."""
    log = math.lgamma(n / 2) - math.lgamma((n - 1) / 2)
    return math.sqrt(2 / (n - 1)) * math.exp(log)


def _truncated_std(radius: float, dim: int) -> float:
    """Per-coordinate standard deviation of N(0, I_dim) inside a ball, for dim 1 and 2."""
    r2 = radius**2
    if dim == 1:
        density = math.exp(-r2 / 2) / math.sqrt(2 * math.pi)
        return math.sqrt(1 - 2 * radius * density / math.erf(radius / math.sqrt(2)))
    outside = math.exp(-r2 / 2)
    return math.sqrt(1 - (r2 / 2) * outside / (1 - outside))
