"""The paper's synthetic data (section 5.1), with exact densities where they exist.

Set-up as in Gulrajani et al. 2017: 8 Gaussians on a circle of radius 2, sigma 0.02, all
divided by 1.414; 25 Gaussians on 2 * {-2..2}^2, sigma 0.05, divided by 2.828; Swiss roll with
noise 0.25, two columns, divided by 7.5.

`gaussians25_unbalanced`, which is ours, are the same 25 modes with unequal masses: a geometric
sequence from 0.177 down to 0.00177, a hundredth of it (UNBALANCED). A mini-batch of 256 has a datum
of the rarest mode in every second or third of them, 10,000 samples have 18. Neighbours on the grid
are apart in the order of masses, so that a rare mode has heavy ones beside it.
"""

from __future__ import annotations

import math
from typing import Any, Protocol

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from scipy.spatial import cKDTree

from tf_mixed_nash import rng
from tf_mixed_nash.errors import unknown
from tf_mixed_nash.metrics.law import Law, weights_of

__all__ = ["DATASETS", "UNBALANCED", "GaussianMixture", "PlanarData", "SwissRoll", "make"]

tfd = tfp.distributions


class PlanarData(Protocol):
    """A distribution in the plane.

    Attributes:
      name: in configs.
      num_modes: for the scorecard.
      sigma: the standard deviation of a mode.
      window: (xmin, xmax, ymin, ymax) of its pictures.
      law: the exact law, as the scorecard reads it.
    """

    name: str
    num_modes: int
    sigma: float
    window: tuple[float, float, float, float]

    @property
    def law(self) -> Law:
        """See the class."""
        ...

    def sample(self, key: tf.Tensor, num: int, dtype: tf.DType = tf.float32) -> tf.Tensor:
        """num samples [num, 2]; a function of the key, int32[2]."""
        ...

    def nearest_mode(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The nearest mode of every row of x [n, 2]: (index [n], offset from it [n, c]).

        The offset has c = 2 coordinates for point modes and c = 1 for the roll, where it is
        the signed distance from the curve.
        """
        ...


class GaussianMixture(PlanarData):
    """A mixture of isotropic Gaussians, as a `tfp` distribution.

    Args:
      name: of the data set.
      modes: [m, 2], the means.
      sigma: the standard deviation of each.
      masses: [m], above 0, of any sum; None: equal ones.

    Attributes:
      modes: [m, 2] float64, the means.
      masses: float64 [m] of sum 1; None: equal ones.
      distribution: the exact law, with `log_prob` (float64).
    """

    def __init__(
        self, name: str, modes: np.ndarray, sigma: float, masses: np.ndarray | None = None
    ):
        self.name = name
        self.modes = np.asarray(modes, np.float64)
        self.masses = None if masses is None else np.asarray(masses, np.float64) / np.sum(masses)
        self.num_modes = len(self.modes)
        self.sigma = sigma
        reach = 1.25 * float(np.abs(self.modes).max()) + 3 * sigma
        self.window = (-reach, reach, -reach, reach)

    @property
    def distribution(self) -> Any:
        """The exact law, a `tfp.distributions.Distribution`."""
        logits = np.zeros(self.num_modes) if self.masses is None else np.log(self.masses)
        return tfd.MixtureSameFamily(
            tfd.Categorical(logits=tf.constant(logits, tf.float64)),
            tfd.MultivariateNormalDiag(
                loc=tf.constant(self.modes, tf.float64),
                scale_diag=tf.fill([self.num_modes, 2], tf.constant(self.sigma, tf.float64)),
            ),
        )

    @property
    def law(self):
        """See `PlanarData`."""
        return Law(self.modes, weights_of(self), self.sigma)

    def sample(self, key, num, dtype=tf.float32):
        modes, sigma = tf.constant(self.modes, dtype), tf.constant(self.sigma, dtype)
        if self.masses is None:
            mode = rng.integer(key, num, self.num_modes, at=0)
        else:
            # Comparisons, which `ahead` can make for many mini-batches at once, and no search.
            edges = tf.constant(np.cumsum(self.masses)[:-1], tf.float64)
            u = rng.uniform(key, num, tf.float64, at=0)
            mode = tf.reduce_sum(tf.cast(u[:, None] >= edges, tf.int64), axis=1)
        return tf.gather(modes, mode) + sigma * rng.normal(key, [num, 2], dtype, at=1)

    def nearest_mode(self, x):
        offsets = x[:, None, :] - self.modes[None]
        index = np.argmin((offsets**2).sum(-1), axis=1)
        return index, offsets[np.arange(len(x)), index]


class SwissRoll(PlanarData):
    """(t cos t, t sin t) + noise with t uniform on 1.5 pi [1, 3], all divided by 7.5.

    It has no modes; the scorecard takes 50 arcs of equal probability for them, and the
    signed distance from the curve for the offset. On real data that distance is normal
    but for the curvature.
    """

    name, num_modes = "swissroll", 50
    scale = 7.5
    sigma = 0.25 / scale
    window = (-2.4, 2.4, -2.4, 2.4)

    def __init__(self):
        t = np.linspace(1.5 * math.pi, 4.5 * math.pi, 200 * self.num_modes)
        self._curve = np.stack([np.cos(t), np.sin(t)], 1) * t[:, None] / self.scale

    @property
    def law(self):
        """See `PlanarData`: 500 points at most 1.1 sigma apart, exact to 1e-7."""
        t = 1.5 * math.pi * (1.0 + 2.0 * (np.arange(500) + 0.5) / 500)
        points = np.stack([np.cos(t), np.sin(t)], 1) * t[:, None] / self.scale
        return Law(points, np.full(len(t), 1.0 / len(t)), self.sigma)

    def sample(self, key, num, dtype=tf.float32):
        u = rng.uniform(key, num, dtype, at=0)
        xi = rng.normal(key, [num, 2], dtype, at=1)
        t = 1.5 * math.pi * (1.0 + 2.0 * u)
        curve = t[:, None] * tf.stack([tf.cos(t), tf.sin(t)], axis=1) / self.scale
        return curve + self.sigma * xi

    def along(self, x):
        """Where x [n, 2] lies on its arc: [n] in [0, 1], uniform but for the roll's two ends."""
        _, index = cKDTree(self._curve).query(x)
        points = len(self._curve) // self.num_modes
        return (index % points + 0.5) / points

    def nearest_mode(self, x):
        # A k-d tree: 10^4 samples against 10^4 points of the curve.
        _, index = cKDTree(self._curve).query(x)
        tangent = np.gradient(self._curve, axis=0)[index]
        tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
        away = x - self._curve[index]
        signed = tangent[:, 0] * away[:, 1] - tangent[:, 1] * away[:, 0]
        # Beyond the two ends of the roll the distance is along the tangent, too.
        sign = np.where(signed < 0, -1.0, 1.0)
        distance = sign * np.linalg.norm(away, axis=1)
        return index * self.num_modes // len(self._curve), distance[:, None]


def _gaussians8() -> GaussianMixture:
    angle = 2 * math.pi * np.arange(8) / 8
    modes = 2 * np.stack([np.cos(angle), np.sin(angle)], 1) / 1.414
    return GaussianMixture("gaussians8", modes, 0.02 / 1.414)


def _gaussians25(name: str = "gaussians25", masses: np.ndarray | None = None) -> GaussianMixture:
    grid = 2.0 * np.arange(-2, 3)
    modes = np.stack(np.meshgrid(grid, grid, indexing="ij"), -1).reshape(-1, 2) / 2.828
    return GaussianMixture(name, modes, 0.05 / 2.828, masses)


# The lightest mode's mass over the heaviest one's.
UNBALANCED = 1.0 / 100.0


def _gaussians25_unbalanced() -> GaussianMixture:
    # 7 and 25 have no common divisor, so that every rank occurs once.
    rank = 7 * np.arange(25) % 25
    return _gaussians25("gaussians25_unbalanced", UNBALANCED ** (rank / 24.0))


DATASETS = {
    "gaussians8": _gaussians8,
    "gaussians25": _gaussians25,
    "swissroll": SwissRoll,
    "gaussians25_unbalanced": _gaussians25_unbalanced,
}


def make(name: str) -> PlanarData:
    """The data set called `name`, a key of DATASETS.

    Raises:
      InputError: for an unknown name.
    """
    if name not in DATASETS:
        raise unknown("data set", name, DATASETS)
    return DATASETS[name]()
