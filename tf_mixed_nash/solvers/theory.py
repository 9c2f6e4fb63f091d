"""What theory says of entropic mirror methods on finite games: schemes, step sizes, bounds.

Letters: eta the mirror step; D the divergence from the start to the furthest strategy (log m
for a uniform start); G half the range of a player's derivative; L the smaller G, a Lipschitz
constant of the derivatives up to shifts; sigma the noise of a stochastic derivative.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from tf_mixed_nash.games.matrix import MatrixGame
from tf_mixed_nash.methods import schemes
from tf_mixed_nash.methods.schemes import Scheme
from tf_mixed_nash.types import Pair, Player

__all__ = ["METHODS", "Method", "StepSizes", "noise_variances", "theory_step_sizes"]


class Method(NamedTuple):
    """A scheme of exact prox steps.

    Attributes:
      scheme: Pair of prox steps -> Scheme.
      average_before: average the iterates at which a step starts, p_1, ..., p_T with p_1 the
        start, as regret bounds do; otherwise the scheme's outputs.
      descent: whether the theory is mirror descent's.
      proven: whether `theory_step_sizes` knows a bound.
      proven_noisy: and whether one with noise.
    """

    scheme: Callable[[Pair], Scheme]
    average_before: bool = False
    descent: bool = False
    proven: bool = True
    proven_noisy: bool = True


METHODS: dict[str, Method] = {
    "mirror_descent": Method(schemes.mirror_descent, average_before=True, descent=True),
    "mirror_prox": Method(schemes.mirror_prox),
    "chambolle_pock": Method(schemes.chambolle_pock, proven_noisy=False),
    "alternated_mirror_descent": Method(
        functools.partial(schemes.mirror_descent, alternated=True), descent=True, proven=False
    ),
    "alternated_mirror_prox": Method(
        functools.partial(schemes.mirror_prox, alternated=True), proven=False
    ),
}


class StepSizes(NamedTuple):
    """What theory says about a run.

    Attributes:
      eta: the step size of each player; at t = 1 if `anytime`.
      anytime: eta_t = eta / sqrt(t), t = 1, 2, ..., and averages weighted by eta_t; otherwise
        constant, and uniform averages.
      bound: T -> a bound on the gap of the averages after T steps with these step sizes (on its
        expectation for stochastic payoffs); None where no theorem is at hand.
    """

    eta: Pair[float]
    anytime: bool
    bound: Callable[[int], float] | None


def theory_step_sizes(
    method: str,
    num_steps: int,
    half_ranges: Pair[float],
    divergences: Pair[float],
    variances: Pair[float] = Pair(0.0, 0.0),  # noqa: B008 - immutable
    anytime: bool = False,
    eta: Pair[float] | None = None,
) -> StepSizes:
    """Step sizes for which the gap of the averages is bounded, and the bound.

    With D, G, L of the module's docstring and sigma^2 = `variances`, a sum over the players:

    Mirror descent, regret of exponential weights (Bubeck, lecture notes, 2011; Nemirovski et
    al. 2009):  gap <= sum D / (eta T) + eta G^2 / 2;  eta = sqrt(2 D / T) / G.
    With noise:  E gap <= sum 2 D / (eta T) + eta (G^2 + 3/2 sigma^2). [D: |g + xi|^2 <=
    2 G^2 + 2 |xi|^2, and a ghost iterate for max_z sum <xi, z_t - z>.]

    Mirror-Prox (Nemirovski 2004), if eta_theta eta_w L^2 <= 1:  gap <= sum D / (eta T);
    eta_theta / eta_w = sqrt(D_theta / D_w), hence 2 L sqrt(D_theta D_w) / T. Chambolle-Pock
    has the same (2016, theorem 1, Bregman distances). With noise (Juditsky, Nemirovski &
    Tauvel 2011), if eta_theta eta_w L^2 <= 1/3:  E gap <= sum 2 D / (eta T) + 7/2 eta sigma^2.

    `anytime`: eta_t = eta / sqrt(t) without a horizon; T becomes sum_t t^-1/2 and the term in
    eta is multiplied by sum_t 1/t / sum_t t^-1/2. The logarithm is the price.

    Args:
      method: a key of METHODS.
      num_steps: T, the horizon.
      half_ranges: G.
      divergences: D.
      variances: sigma^2, bounds on E |noise|_inf^2 of each player's derivative.
      anytime: see above.
      eta: step sizes to use instead; the bound is for them.
    """
    G, D, sigma2 = half_ranges, divergences, variances
    chosen, noisy = METHODS[method], max(variances) > 0
    L, descent = min(G), chosen.descent
    if descent:
        quadratic = [
            g * g + 1.5 * s if noisy else g * g / 2 for g, s in zip(G, sigma2, strict=True)
        ]
    else:
        quadratic = [3.5 * s for s in sigma2]
    starts = [2 * d if noisy else d for d in D]

    if eta is None:
        horizon = 1.0 if anytime else float(num_steps)
        best = [
            math.sqrt(d / (horizon * c)) if c > 0 else math.inf
            for d, c in zip(starts, quadratic, strict=True)
        ]
        if descent:
            eta = Pair(*(e if math.isfinite(e) else 1.0 for e in best))
        else:
            # A player with one strategy has D = 0; any ratio is then as good.
            ratio = math.sqrt(max(D.theta, math.log(2)) / max(D.w, math.log(2)))
            largest = 1.0 / (L * (math.sqrt(3) if noisy else 1.0)) if L > 0 else 1.0
            eta = Pair(min(largest * ratio, best[0]), min(largest / ratio, best[1]))

    # A hair's breadth for rounding: eta may be the very largest.
    stable = (eta.theta * L) * (eta.w * L) <= (1 / 3 if noisy else 1.0) * (1 + 1e-9)
    proven = chosen.proven and (chosen.proven_noisy or not noisy)
    proven = proven and min(eta) >= 0 and (descent or stable)

    def bound(T: int) -> float:
        # sum_t c_t and sum_t c_t^2, for eta_t = eta c_t.
        t = np.arange(1, T + 1, dtype=np.float64)
        first, second = (np.sum(t**-0.5), np.sum(1.0 / t)) if anytime else (T, T)
        terms = [
            (d / e if d else 0.0) / first + e * c * second / first
            for d, e, c in zip(starts, eta, quadratic, strict=True)
            if e > 0 or d > 0
        ]
        return float(sum(terms))

    usable = proven and all(e > 0 or d == 0 for d, e in zip(D, eta, strict=True))
    return StepSizes(eta, anytime, bound if usable else None)


def noise_variances(game: MatrixGame, G, num_sampled, noise_std) -> Pair[float]:
    """Bounds on E |noise|_inf^2: maxima of sub-Gaussian variables of variance proxy s^2. [D]

    The mean of k draws from a range of 2 G has s^2 = G^2 / k (Hoeffding), Gaussian noise its
    variance; and E max_i xi_i^2 <= 2 s^2 (1 + log(2 d)) over d entries.
    """

    def of(player: Player) -> float:
        proxy = noise_std**2 + (G.of(player) ** 2 / num_sampled if num_sampled else 0.0)
        return 2.0 * proxy * (1.0 + math.log(2 * game.num_strategies.of(player)))

    return Pair(of("theta"), of("w"))
