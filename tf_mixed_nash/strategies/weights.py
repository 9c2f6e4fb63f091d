"""Weights of a mixture of generators, chosen against discriminators: a finite bi-affine game.

Kept generators theta_1..theta_m and discriminators w_1..w_n of one run, and held-out data, give

    F_ij = F(theta_j, w_i) = -E loss_D(f_{w_i}(real), f_{w_i}(G_{theta_j}(latent)))

for WGAN a_i - A_ij with a_i = E_real f_{w_i} and A_ij = E_{theta_j} f_{w_i} (paper eq. 3, 5).
The mixture's weights are the minimiser's mixed strategy in  min_p max_q <q, F p>  (paper
section 2.1), restricted to what the run kept: the mixture that the worst critic of the run
tells least from real data.

WGAN critics have no common scale, and the largest would decide alone. With `normalize` row i is
divided by the standard deviation of f_{w_i} on real data; with `both_signs` the rows -F_i join,
since -f is as good a critic as f. With both, max_i (F p)_i = max_i |E_real f_i - E_p f_i| / s_i,
an integral probability metric over the run's critics, in standard deviations of a critic.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.special
import tensorflow as tf

from tf_mixed_nash.errors import InputError
from tf_mixed_nash.games.matrix import MatrixGame
from tf_mixed_nash.games.objectives import Objective, wgan
from tf_mixed_nash.models.network import Network
from tf_mixed_nash.solvers.matrix import solve
from tf_mixed_nash.solvers.solution import Solution
from tf_mixed_nash.types import Measure

__all__ = [
    "PayoffTable",
    "Pruned",
    "critic_game",
    "fewest",
    "payoff_table",
    "prune",
    "samples_of",
    "weigh",
    "weigh_some",
    "worst",
]


class PayoffTable(NamedTuple):
    """What n discriminators say of m sets of samples.

    Attributes:
      payoff: F_ij, float64 [n, m].
      scale: standard deviation of f_{w_i} on real data, float64 [n].
      linear: whether F is linear in f (WGAN), so that rows may be scaled and negated.
    """

    payoff: np.ndarray
    scale: np.ndarray
    linear: bool


def samples_of(generator: Network, thetas: tf.Tensor, latents: tf.Tensor) -> tf.Tensor:
    """The samples of every component: [m, N, ...] from thetas [m, d] and latents [m, N, D].

    Every component has latents of its own: the sampling errors of a mixture then average out.
    """

    @tf.function(autograph=False)
    def draw(thetas, latents):
        dtype = thetas.dtype
        return tf.map_fn(lambda x: generator(*x), (thetas, latents), fn_output_signature=dtype)

    return draw(tf.convert_to_tensor(thetas), latents)


def payoff_table(
    discriminator: Network, objective: Objective, ws: tf.Tensor, real: tf.Tensor, samples: tf.Tensor
) -> PayoffTable:
    """The payoffs of every discriminator against every set of samples; n (N_r + m N) calls of f.

    Args:
      discriminator: the network.
      objective: F is minus its discriminator's loss, for every objective; regularisers do not
        enter.
      ws: [n, e].
      real: held-out data [N_r, ...].
      samples: [m, N, ...].

    Raises:
      InputError: if a payoff is not finite.
    """

    @tf.function(autograph=False)
    def measure(ws, real, samples):
        def row(w):
            f_real = discriminator(w, real)
            deviation = tf.math.reduce_std(tf.cast(f_real, tf.float64))

            def entry(x):
                # float64 before the mean: 1e5 float32 logits would round the payoff.
                logits = (tf.cast(f, tf.float64) for f in (f_real, discriminator(w, x)))
                return -objective(*logits).discriminator

            return tf.map_fn(entry, samples, fn_output_signature=tf.float64), deviation

        return tf.map_fn(row, ws, fn_output_signature=(tf.float64, tf.float64))

    payoff, scale = (x.numpy() for x in measure(tf.convert_to_tensor(ws), real, samples))
    if not np.isfinite(payoff).all():
        i, j = np.argwhere(~np.isfinite(payoff))[0]
        raise InputError(
            f"The payoff of discriminator {i} against component {j} is not finite: a snapshot of "
            "a diverged run. Take a run, or a window of it, in which both players stayed finite."
        )
    return PayoffTable(payoff, scale, objective is wgan)


def critic_game(
    table: PayoffTable, normalize: bool | None = None, both_signs: bool | None = None
) -> np.ndarray:
    """The matrix of the game over components: float64 [n or 2n, m].

    Args:
      table: see `payoff_table`.
      normalize: divide row i by scale_i (rows of scale 0, constant critics, become 0).
      both_signs: append the negated rows.
      None means true for WGAN and false otherwise: other losses have a scale and a sign.

    Raises:
      InputError: if either is asked for where F is not linear in f.
    """
    normalize = table.linear if normalize is None else normalize
    both_signs = table.linear if both_signs is None else both_signs
    if (normalize or both_signs) and not table.linear:
        raise InputError(
            "normalize and both_signs need a payoff that is linear in the discriminator "
            "(game.objective=wgan). Leave them out for other objectives."
        )
    F = table.payoff
    if normalize:
        s = table.scale[:, None]
        F = np.divide(F, s, out=np.zeros_like(F), where=s > 0)
    return np.concatenate([F, -F]) if both_signs else F


def worst(F: np.ndarray, p: np.ndarray) -> float:
    """max_i (F p)_i: what the best critic makes of the mixture with weights p [m]."""
    return float((F @ p).max())


def weigh(F: np.ndarray, tolerance: float = 1e-4, num_steps: int = 20_000) -> Solution:
    """Solves min_p max_q <q, F p> by entropic Mirror-Prox (paper section 2.1).

    Args:
      F: [n, m]; critics are rows, components columns.
      tolerance: stops at this duality gap, in units of F.
      num_steps: at most so many.

    Returns:
      The Solution, of the averages or of the last iterate, whichever has the smaller gap:
      nu.weights [m] are the mixture's, mu.weights [n] the critics'. `gap` is exact (a finite
      game) for this F, whose entries are estimates.
    """
    solution = solve(MatrixGame(-F), method="mirror_prox", num_steps=num_steps, tolerance=tolerance)
    if solution.history["last_gap"][-1] >= solution.gap:
        return solution
    p, q = (scipy.special.softmax(z) for z in solution.details["last"])
    return solution._replace(
        nu=Measure(solution.nu.atoms, p),
        mu=Measure(solution.mu.atoms, q),
        value=float(q @ F @ p),
        gap=max(float((F @ p).max() - (q @ F).min()), 0.0),
    )


def weigh_some(
    F: np.ndarray, components: Sequence[int], tolerance: float = 1e-4, num_steps: int = 5_000
) -> np.ndarray:
    """The weights of some of the components, of sum 1, in their order: float64 [k].

    Args:
      F: [n, m], of all components.
      components: k >= 1 distinct columns.
      tolerance: see `weigh`.
      num_steps: see `weigh`.
    """
    if len(components) == 1:
        return np.ones(1)
    # The columns are repeated up to m, and the copies' weights added: the same game, and one
    # compiled solver for all k.
    k, m = len(components), F.shape[1]
    copies = np.arange(m) % k
    solution = weigh(F[:, np.asarray(components)[copies]], tolerance, num_steps)
    p = np.bincount(copies, weights=solution.nu.weights, minlength=k)
    return p / p.sum()


class Pruned(NamedTuple):
    """A mixture of some of the components.

    Attributes:
      components: their indices, increasing.
      weights: float64, of sum 1, one for each of `components`.
      worst: max_i (F p)_i.
      gap: worst - floor, the duality gap against the full game's critics' strategy q:
        floor = min_j (F^T q)_j, below which no mixture of all components can be.
    """

    components: tuple[int, ...]
    weights: np.ndarray
    worst: float
    gap: float


def prune(
    F: np.ndarray,
    full: Solution | None = None,
    candidates: int | None = 2,
    tolerance: float = 1e-4,
    num_steps: int = 5_000,
) -> list[Pruned]:
    """Backward elimination: one component fewer at a time, weights solved again.

    Args:
      F: [n, m].
      full: the solution of all components (`weigh`); found here if None.
      candidates: how many of the lightest components are tried at each stage; the removal
        after which the worst critic makes least of the mixture stays. None: all (m^2 / 2
        solves in all).
      tolerance: of the solves.
      num_steps: of the solves.

    Returns:
      The mixtures of m, m - 1, ..., 1 components. Greedy: not always the best subset.

    Raises:
      InputError: for candidates < 1.
    """
    if candidates is not None and candidates < 1:
        raise InputError(f"candidates must be at least 1, or None for all, got {candidates}.")
    full = full or weigh(F, tolerance)
    floor = float((np.asarray(full.mu.weights) @ F).min())

    def mixture(components: Sequence[int], weights: np.ndarray) -> Pruned:
        value = worst(F[:, components], weights)
        return Pruned(tuple(components), weights, value, value - floor)

    def solved(components: Sequence[int]) -> Pruned:
        return mixture(components, weigh_some(F, components, tolerance, num_steps))

    path = [mixture(range(F.shape[1]), np.asarray(full.nu.weights))]
    while len(path[-1].components) > 1:
        last = path[-1]
        tried = np.argsort(last.weights, kind="stable")[:candidates]
        options = [solved([c for k, c in enumerate(last.components) if k != out]) for out in tried]
        path.append(min(options, key=lambda option: option.worst))
    return path


def fewest(path: Sequence[Pruned], tolerance: float) -> Pruned:
    """The mixture of fewest components whose `worst` is within `tolerance` of the path's best.

    Raises:
      InputError: for a tolerance < 0 or not finite.
    """
    if not 0 <= tolerance < np.inf:
        raise InputError(f"tolerance must be at least 0 and finite, got {tolerance}.")
    bound = min(option.worst for option in path) + tolerance
    return min(
        (option for option in path if option.worst <= bound), key=lambda o: len(o.components)
    )
