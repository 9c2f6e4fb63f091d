"""Finite bi-affine games (paper section 2.1), solved exactly by entropic mirror methods.

The games are `games.matrix`, the step sizes `solvers.theory`; letters as there.
"""

from __future__ import annotations

import functools
import math
import time
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tf_mixed_nash.errors import InputError, unknown
from tf_mixed_nash.games.matrix import BiAffine, MatrixGame
from tf_mixed_nash.methods.oracle import Oracle
from tf_mixed_nash.methods.prox import entropic
from tf_mixed_nash.solvers.solution import Solution
from tf_mixed_nash.solvers.theory import METHODS, noise_variances, theory_step_sizes
from tf_mixed_nash.solvers.units import in_units, unit_of
from tf_mixed_nash.types import Measure, Pair

__all__ = ["record_points", "solve"]


class _Carry(NamedTuple):
    """What a run carries: t steps done, the scheme's state, sums of weighted iterates."""

    t: tf.Tensor
    state: Any
    sums: Pair
    total: tf.Tensor
    finite: tf.Tensor


@functools.lru_cache(maxsize=32)
def _compiled(method: str, anytime: bool, num_sampled: int | None, noise_std: float, seed: int):
    """(begin, advance) of a method; one trace per shape and dtype, whatever the game."""
    average_before = METHODS[method].average_before

    def scheme_of(eta):
        def schedule(player):
            if not anytime:
                return lambda t: eta.of(player)
            return lambda t: eta.of(player) / tf.sqrt(tf.cast(t + 1, tf.float64))

        return METHODS[method].scheme(Pair(entropic(schedule("theta")), entropic(schedule("w"))))

    def begin(eta, z: Pair) -> _Carry:
        sums = Pair(*(tf.zeros_like(x, tf.float64) for x in z))
        zero = tf.zeros([], tf.float64)
        state = scheme_of(eta).init(*z)
        return _Carry(tf.zeros([], tf.int64), state, sums, zero, tf.constant(True))

    # The payoff is an argument: neither a constant of the graph nor part of its identity.
    @tf.function(autograph=False)
    def advance(payoff, offset, eta, carry: _Carry, end) -> _Carry:
        """Steps up to number `end`."""
        oracle = Oracle(BiAffine(payoff, offset, num_sampled, noise_std), seed=seed)
        scheme = scheme_of(eta)

        def body(t, state, sums, total, finite):
            m = t * scheme.num_batches(t)
            new, logs = scheme.step(oracle, state, t, m)
            output = scheme.output(state if average_before else new)
            c = 1.0 / tf.sqrt(tf.cast(t + 1, tf.float64)) if anytime else 1.0
            sums = Pair(
                *(
                    s + c * tf.cast(tf.nn.softmax(z), tf.float64)
                    for s, z in zip(sums, output, strict=True)
                )
            )
            finite &= logs.theta["finite"] & logs.w["finite"]
            return _Carry(t + 1, new, sums, total + c, finite)

        return _Carry(
            *tf.while_loop(lambda t, *_: t < end, body, tuple(carry), parallel_iterations=1)
        )

    def last(eta, carry: _Carry) -> Pair:
        return scheme_of(eta).output(carry.state)

    return begin, advance, last


def record_points(num_steps: int, per_decade: int = 10) -> np.ndarray:
    """Steps 1 ... num_steps in geometric progression: int64, strictly increasing.

    Args:
      num_steps: at least 1; the last point.
      per_decade: how many per factor of ten, at least 1.
    """
    num = max(2, 1 + math.ceil(per_decade * math.log10(max(num_steps, 2))))
    return np.unique(np.rint(np.geomspace(1, num_steps, num)).astype(np.int64))


def solve(
    game: MatrixGame,
    method: str = "mirror_prox",
    num_steps: int = 10_000,
    step_size: float | Pair[float] | None = None,
    anytime: bool = False,
    tolerance: float | None = None,
    start: Pair | None = None,
    records_per_decade: int = 10,
    num_sampled: int | None = None,
    noise_std: float = 0.0,
    seed: int = 0,
) -> Solution:
    """Runs an entropic mirror method in log space and certifies its ergodic averages.

    Args:
      game: the game.
      method: a key of METHODS; all are compositions of `schemes` and `prox.entropic`.
      num_steps: T, at least 1. Compiled code does not depend on it.
      step_size: eta > 0, one or Pair(theta, w); None: see `theory_step_sizes`. Mirror descent's
        default is the constant for the horizon num_steps.
      anytime: eta_t = eta / sqrt(t) and averages weighted by eta_t.
      tolerance: stop at the first record whose gap is at most this.
      start: initial weights, Pair([m], [n]), positive; None: uniform.
      records_per_decade: density of the log-spaced steps at which the gap is computed.
      num_sampled: k: stochastic derivatives from k sampled strategies (see `BiAffine`).
      noise_std: Gaussian noise on the derivatives.
      seed: of the stochastic derivatives.

    Returns:
      Solution of the averages (Mirror-Prox: of the intermediates). Atoms are indices [m, 1].
      history: "step", "gap" and "value" of the averages, "last_gap" of the last iterate.
      details: "step_size" (theta, w), "anytime", "bound" on the gap (its expectation if
      stochastic; None without a theorem), "last" (log-weights of the last iterate), "seconds"
      (with compilation), "converged" (None without a tolerance).

    Raises:
      InputError: for an unknown method, numbers out of range, or a start that does not fit.
      FloatingPointError: for iterates that stopped being finite.
    """
    _check_settings(method, num_steps, tolerance, num_sampled, noise_std, records_per_decade)
    if (unit := _unit(game)) != 1.0:
        solved = solve(
            _divided(game, unit),
            method,
            num_steps,
            None if (given := _eta(step_size)) is None else Pair(*(e * unit for e in given)),
            anytime,
            None if tolerance is None else tolerance / unit,
            start,
            records_per_decade,
            num_sampled,
            noise_std / unit,
            seed,
        )
        return _multiplied(solved, unit)
    began = time.perf_counter()
    p0 = _start(game, start)
    D = Pair(*(float(-np.log(x.min())) for x in p0))
    G = game.half_ranges()
    stochastic = num_sampled is not None or noise_std > 0
    variances = noise_variances(game, G, num_sampled, noise_std) if stochastic else Pair(0.0, 0.0)
    theory = theory_step_sizes(method, num_steps, G, D, variances, anytime, _eta(step_size))
    eta = Pair(*(tf.constant(e, tf.float64) for e in theory.eta))
    begin, advance, last = _compiled(
        method, anytime, num_sampled, float(noise_std), seed if stochastic else 0
    )
    carry = begin(eta, Pair(*(tf.constant(np.log(x), game.dtype) for x in p0)))
    rows, converged, averages, before = [], None if tolerance is None else False, p0, 0
    for step in record_points(num_steps, records_per_decade):
        carry = advance(game.payoff, game.offset, eta, carry, tf.constant(int(step), tf.int64))
        averages = Pair(*(s.numpy() / s.numpy().sum() for s in carry.sums))
        if not bool(carry.finite) or not all(np.isfinite(x).all() for x in averages):
            raise FloatingPointError(
                f"{method} on {game.name} stopped being finite between steps {before} and {step}, "
                f"with step sizes {theory.eta.theta:.3g} and {theory.eta.w:.3g}. Choose a smaller "
                "step_size, or None for theory's."
            )
        iterate = last(eta, carry)
        gap = float(game.gap(*averages))
        last_gap = float(game.gap(*(tf.nn.softmax(z) for z in iterate)))
        rows.append((int(step), gap, float(game.value(*averages)), last_gap))
        before = int(step)
        if tolerance is not None and gap <= tolerance:
            converged = True
            break
    step, gap, value, last_gap = (np.array(column) for column in zip(*rows, strict=True))
    return Solution(
        nu=_measure(averages.theta),
        mu=_measure(averages.w),
        value=float(value[-1]),
        gap=max(float(gap[-1]), 0.0),
        certificate="exact",
        method=method,
        history={"step": step, "gap": gap, "value": value, "last_gap": last_gap},
        details={
            "step_size": tuple(theory.eta),
            "anytime": anytime,
            "bound": theory.bound(before) if theory.bound else None,
            "last": Pair(*(z.numpy() for z in last(eta, carry))),
            "seconds": time.perf_counter() - began,
            "converged": converged,
        },
    )


def _unit(game: MatrixGame) -> float:
    both = (game.payoff, game.offset)
    largest = max(float(max(tf.reduce_max(x), -tf.reduce_min(x))) for x in both)
    return unit_of(largest, game.dtype)


def _divided(game: MatrixGame, unit: float) -> MatrixGame:
    A, a = (tf.cast(tf.cast(x, tf.float64) / unit, game.dtype) for x in (game.payoff, game.offset))
    return MatrixGame(A, a, game.dtype, game.name)


def _multiplied(s: Solution, unit: float) -> Solution:
    bound = s.details["bound"]
    details = {
        **s.details,
        "step_size": tuple(e / unit for e in s.details["step_size"]),
        "bound": None if bound is None else bound * unit,
    }
    return in_units(s, unit)._replace(details=details)


def _measure(weights: np.ndarray) -> Measure:
    return Measure(np.arange(len(weights), dtype=np.float64)[:, None], weights)


def _eta(step_size) -> Pair[float] | None:
    if step_size is None:
        return None
    both = step_size if isinstance(step_size, tuple) else (step_size, step_size)
    if len(both) != 2 or not all(math.isfinite(e) and e > 0 for e in both):
        raise InputError(
            f"step_size must be a positive number, or one per player, got {step_size!r}."
        )
    return Pair(*(float(e) for e in both))


def _start(game: MatrixGame, start: Pair | None) -> Pair:
    """Checked initial weights, float64, normalised."""
    if start is None:
        return Pair(*(np.full(num, 1.0 / num) for num in game.num_strategies))
    weights = [np.asarray(x, np.float64) for x in start]
    for x, num, player in zip(weights, game.num_strategies, ("theta", "w"), strict=True):
        if x.shape != (num,) or not np.isfinite(x).all() or not (x > 0).all():
            raise InputError(
                f"start of {player} must be {num} positive weights (a strategy of weight 0 would "
                f"never be played), got shape {x.shape} with minimum "
                f"{x.min() if x.size else None}."
            )
    return Pair(*(x / x.sum() for x in weights))


def _check_settings(method, num_steps, tolerance, num_sampled, noise_std, per_decade) -> None:
    if method not in METHODS:
        raise unknown("method", method, METHODS)
    for what, number in (("num_steps", num_steps), ("records_per_decade", per_decade)):
        if int(number) != number or number < 1:
            raise InputError(f"{what} must be a whole number, at least 1, got {number!r}.")
    if tolerance is not None and not tolerance >= 0:
        raise InputError(f"tolerance must be at least 0, got {tolerance!r}.")
    if num_sampled is not None and (int(num_sampled) != num_sampled or num_sampled < 1):
        raise InputError(f"num_sampled must be at least 1, or None, got {num_sampled!r}.")
    if not (math.isfinite(noise_std) and noise_std >= 0):
        raise InputError(f"noise_std must be at least 0 and finite, got {noise_std!r}.")
