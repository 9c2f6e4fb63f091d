"""Quick measures of a sample beside real data, of the kind that shows an ill training.

All are of a few hundred rows on the host and cost milliseconds. Images are looked at as averages
over at most 8 x 8 fields, so that blur and noise weigh little. None of them is a score: they are
rough, and compare a run with itself.

    diversity    the mean distance between two samples, over that between two real rows
    kinds        how many kinds of real rows the samples are of: modes, or 10 groups (k-means)
    duplicates   the part of the samples that have a twin
    distance     energy distance to the real rows (Szekely & Rizzo 2013), over their mean distance
    memorised    the part that lies three times as near to one training row as to any other
                 (Yoon et al. 2023), where the training rows are known
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

__all__ = ["FIELDS", "KINDS", "Reference", "coarse", "measures", "separation"]

FIELDS, KINDS = 8, 10
# Twins: as near as so small a part of the mean distance of real rows.
_TWIN = 1e-5
# A kind is reached by a tenth of the share which it has in the data; those of less than a quarter
# of the mean share are not looked for, since chance decides about them.
_SHARE, _LEAST = 0.1, 0.25
_RATIO = 1.0 / 3.0
_ROUNDS = 20  # of k-means


class Reference(NamedTuple):
    """Real rows, prepared once.

    Attributes:
      rows: [n, d] float64, as `coarse` gives them.
      mean_distance: between two of them.
      centres: [k, d] of the kinds.
      shares: [k], of the rows.
      training: [m, d] different training rows, or [0, d] where they are not known.
      by_chance: the part of the training rows that lie as near to another one as a memorised sample
        would.
    """

    rows: np.ndarray
    mean_distance: float
    centres: np.ndarray
    shares: np.ndarray
    training: np.ndarray
    by_chance: float

    @classmethod
    def of(
        cls,
        real: np.ndarray,
        centres: np.ndarray | None = None,
        training: np.ndarray | None = None,
    ) -> Reference:
        """Of real rows.

        Args:
          real: [n, ...], n >= 2.
          centres: [k, d] of the kinds, where they are known: modes.
          training: [m, ...] rows that a sample may be a copy of; None: not known.
        """
        x = coarse(real)
        mean = _mean_distance(_distances(x, x))
        centres = _kinds(x) if centres is None else np.asarray(centres, np.float64)
        known = np.zeros((0, x.shape[1]))
        if training is not None and len(training) >= 3:
            known = np.unique(coarse(training), axis=0)
        if len(known) == 1:  # none is nearer than another
            known = known[:0]
        shares = np.bincount(_distances(x, centres).argmin(1), minlength=len(centres)) / len(x)
        chance = 0.0
        if len(known) >= 3:
            among = _distances(known, known)
            np.fill_diagonal(among, np.inf)
            chance = _copies(among)
        return cls(x, mean, centres, shares, known, chance)

    @property
    def looked_for(self) -> np.ndarray:
        """Which kinds are, bool [k]."""
        return self.shares >= _LEAST / len(self.shares)


def coarse(rows: np.ndarray) -> np.ndarray:
    """Rows [n, ...] as float64 [n, d]; images [n, h, w, c] as means over at most 8 x 8 fields.

    Example:
      >>> coarse(np.ones([2, 28, 28, 1])).shape, coarse(np.ones([2, 3])).shape
      ((2, 64), (2, 3))
    """
    x = np.asarray(rows, np.float64)
    if x.ndim == 4:
        for axis in (1, 2):
            size = x.shape[axis]
            if size > FIELDS:
                edges = np.arange(FIELDS) * size // FIELDS
                lengths = np.diff([*edges, size])
                shape = [1, 1, 1, 1]
                shape[axis] = FIELDS
                x = np.add.reduceat(x, edges, axis=axis) / lengths.reshape(shape)
    return x.reshape(len(x), -1)


def measures(samples: np.ndarray, reference: Reference) -> dict[str, float]:
    """See the module.

    Args:
      samples: [n, ...], n >= 2, as the real rows.
      reference: of them.

    Returns:
      diversity, kinds, num_kinds, duplicates, distance and, where training rows are known,
      memorised and by_chance; {} if the samples are not all finite.
    """
    x = coarse(samples)
    if not np.isfinite(x).all():
        return {}
    among, scale = _distances(x, x), max(reference.mean_distance, 1e-300)
    mean = _mean_distance(among)
    np.fill_diagonal(among, np.inf)
    across = _distances(x, reference.rows)
    nearest = _distances(x, reference.centres).argmin(1)
    shares = np.bincount(nearest, minlength=len(reference.centres)) / len(x)
    wanted = reference.looked_for
    found = {
        "diversity": mean / scale,
        "kinds": float((shares[wanted] >= _SHARE * reference.shares[wanted]).sum()),
        "num_kinds": float(wanted.sum()),
        "duplicates": float((among.min(1) <= _TWIN * scale).mean()),
        "distance": (2.0 * across.mean() - mean - reference.mean_distance) / scale,
    }
    if len(reference.training):
        found["memorised"] = _copies(_distances(x, reference.training))
        found["by_chance"] = reference.by_chance
    return found


def separation(real: np.ndarray, fake: np.ndarray) -> float:
    """P(a real row's logit is above a generated one's), half of ties: 1/2 where none is told apart.

    Args:
      real: [n].
      fake: [m].

    Example:
      >>> separation(np.array([1.0, 2.0]), np.array([0.0, 1.0]))
      0.875
    """
    order = np.sort(fake)
    below, upto = (np.searchsorted(order, real, side).mean() for side in ("left", "right"))
    return float((below + upto) / 2.0 / len(order))


def _distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Euclidean ones, [n, m]: by products of matrices, whose rounding is far below a twin's."""
    centre = y.mean(axis=0)
    x, y = x - centre, y - centre
    squares = (x**2).sum(1)[:, None] + (y**2).sum(1) - 2.0 * (x @ y.T)
    return np.sqrt(np.maximum(squares, 0.0))


def _mean_distance(among: np.ndarray) -> float:
    """Of two different rows."""
    n = len(among)
    return float((among.sum() - np.trace(among)) / (n * (n - 1)))


def _copies(distances: np.ndarray) -> float:
    """The part of the rows that lie three times as near to one column as to the next."""
    first, second = np.partition(distances, 1, axis=1)[:, :2].T
    return float((first < _RATIO * second).mean())


def _kinds(x: np.ndarray) -> np.ndarray:
    """Centres of k-means, [k, d]; each begins at the row that is farthest from those before."""
    centres = [x[0]]
    for _ in range(min(KINDS, len(x)) - 1):
        centres.append(x[_distances(x, np.stack(centres)).min(1).argmax()])
    found = np.stack(centres)
    for _ in range(_ROUNDS):
        nearest = _distances(x, found).argmin(1)
        found = np.stack(
            [x[nearest == k].mean(0) if (nearest == k).any() else c for k, c in enumerate(found)]
        )
    return found
