"""What every solver returns: a pair of measures, their value, and their gap."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from tf_mixed_nash.types import Measure

__all__ = ["Solution"]


class Solution(NamedTuple):
    """An approximate mixed Nash equilibrium.

    Attributes:
      nu: the minimiser's measure: atoms float64 [m, d], weights float64 [m] of sum 1.
      mu: the maximiser's: atoms [n, e], weights [n]. Atoms of a finite game are the indices
        of pure strategies, [m, 1].
      value: F(nu, mu).
      gap: max_y F(nu, y) - min_x F(x, mu) >= 0, the duality (Nikaido-Isoda) gap: (nu, mu) is
        a gap-NE.
      certificate: how the two best responses of the gap were found, in words; "exact" for
        finite games.
      method: the name of the algorithm.
      history: arrays of one length: "step" (algorithm steps so far) and "gap" at least.
      details: anything else worth a report (step sizes, densities, seconds); plain values
        or arrays.

    Example:
      >>> solution = solve(MatrixGame([[1.0, 0.0], [0.0, 1.0]]))
      >>> solution.certificate, solution.nu.weights.shape
      ('exact', (2,))
    """

    nu: Measure
    mu: Measure
    value: float
    gap: float
    certificate: str
    method: str
    history: Mapping[str, np.ndarray]
    details: Mapping[str, Any]
