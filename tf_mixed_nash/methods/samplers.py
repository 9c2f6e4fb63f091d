"""Samplers: how one stochastic gradient moves one player.

Each is a pair of pure functions, `init(z) -> state` and `update(g, state, t, xi) ->
(displacement, state)`; the new point is z + displacement. Letters, as in the paper:

    z  the player's parameters, [d]        g   descent direction, a stochastic grad h, [d]
    gamma  step size gamma_t               eps temperature epsilon_t
    xi standard normal noise, [d]          t   outer step, 0, 1, 2, ...
    V  running mean of g^2, [d]            P   diagonal preconditioner, [d]

`langevin` holds four of them: SGD (eps = 0, P = 1), RMSProp (eps = 0, P = rms), SGLD
(paper eq. 8) and preconditioned SGLD (paper, remark in 4.1; Li et al. 2016).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from tf_mixed_nash.compile import in_whole
from tf_mixed_nash.methods.schedules import Schedule, computed_in

__all__ = ["Preconditioner", "Sampler", "adam", "identity", "langevin", "optimistic", "rms"]


class Sampler(NamedTuple):
    """A sampler.

    Attributes:
      init: z [d] -> state, a nest of tensors.
      update: (g [d], state, t int, xi [d] or None) -> (displacement [d], state).
      noisy: whether `update` reads xi.
    """

    init: Callable[[tf.Tensor], Any]
    update: Callable[[tf.Tensor, Any, Any, Any], tuple[tf.Tensor, Any]]
    noisy: bool


class Preconditioner(NamedTuple):
    """A diagonal preconditioner: `init(z) -> V` and `update(g, V) -> (P, V)`."""

    init: Callable[[tf.Tensor], Any]
    update: Callable[[tf.Tensor, Any], tuple[Any, Any]]


def _cast(value, dtype: tf.DType) -> tf.Tensor:
    """A number or tensor in dtype (tf.cast alone rounds Python floats to float32 first)."""
    return tf.cast(value, dtype) if tf.is_tensor(value) else tf.constant(value, dtype)


def _at(schedule: Schedule, t, dtype: tf.DType) -> tf.Tensor:
    """schedule(t) in dtype."""
    if hasattr(schedule, "value"):
        return _cast(schedule.value, dtype)
    if not in_whole():
        return _cast(schedule(t), dtype)
    # float64 would be computed for every entry of the vector, on a GPU slowly.
    with computed_in(dtype):
        return _cast(schedule(t), dtype)


def _complement(decay: float | tf.Tensor, count: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """1 - decay^count in dtype."""
    if tf.is_tensor(decay):  # of a schedule
        return -tf.math.expm1(tf.cast(count, dtype) * tf.math.log(decay))
    if in_whole():  # as of `_at`
        rate = math.log(decay) if decay else -math.inf
        return -tf.math.expm1(tf.cast(count, dtype) * tf.constant(rate, dtype))
    n = tf.cast(count, tf.float64)
    return tf.cast(1.0 - tf.constant(decay, tf.float64) ** n, dtype)


def identity() -> Preconditioner:
    """P = 1."""
    return Preconditioner(init=lambda z: (), update=lambda g, V: (1.0, V))


def rms(decay: float = 0.99, stability: float = 1e-8, initial: float = 0.0) -> Preconditioner:
    """RMSProp's:  V <- a V + (1-a) g^2,  P = 1 / (sqrt(V) + lambda).

    Args:
      decay: a, in [0, 1).
      stability: lambda >= 0.
      initial: V_0; TFP's sampler starts at 1, ours and RMSProp at 0.

    The divergence of P (the Gamma term of Li et al. 2016) is dropped, as in practice: it
    is of order (1 - a).
    """

    def update(g, V):
        V = decay * V + (1.0 - decay) * g**2
        return 1.0 / (tf.sqrt(V) + stability), V

    return Preconditioner(
        init=lambda z: tf.fill(tf.shape(z), _cast(initial, z.dtype)), update=update
    )


def langevin(step_size: Schedule, temperature: Schedule, preconditioner: Preconditioner) -> Sampler:
    """Preconditioned stochastic gradient Langevin dynamics (paper eq. 8 and remark in 4.1).

        z <- z - gamma_t P g + sqrt(2 gamma_t eps_t P) xi

    Its stationary law on a loss h is proportional to exp(-h / eps), approximately for a
    finite gamma.

    Args:
      step_size: t -> gamma_t >= 0.
      temperature: t -> eps_t >= 0. A schedule that is constantly 0 makes the sampler
        deterministic: SGD, or RMSProp.
      preconditioner: `identity()` or `rms(...)`.
    """
    noisy = getattr(temperature, "value", None) != 0

    def update(g, V, t, xi):
        gamma, eps = _at(step_size, t, g.dtype), _at(temperature, t, g.dtype)
        P, V = preconditioner.update(g, V)
        displacement = -gamma * P * g
        if noisy:
            displacement += tf.sqrt(2.0 * gamma * eps * P) * xi
        return displacement, V

    return Sampler(init=preconditioner.init, update=update, noisy=noisy)


class AdamState(NamedTuple):
    """Adam's moments and its own step count (it may be advanced twice per outer step)."""

    first_moment: tf.Tensor
    second_moment: tf.Tensor
    count: tf.Tensor


def adam(
    step_size: Schedule,
    decay_1: float = 0.9,
    decay_2: float | Schedule = 0.999,
    stability: float = 1e-8,
    stability_before_correction: bool = False,
) -> Sampler:
    """Adam, bias-corrected (Kingma & Ba 2015, algorithm 1).

    Args:
      step_size: t -> gamma_t.
      decay_1: decay of the first moment m, in [0, 1).
      decay_2: decay of the second moment v, in [0, 1), or a schedule t -> it; v-hat is then
        corrected as if the decay had always been what it is now.
      stability: added to the root of the second moment.
      stability_before_correction: add it to sqrt(v) before the bias correction, as the
        public reference of Gidel et al. 2019 does, instead of to sqrt(v-hat).
    """

    def init(z):
        return AdamState(tf.zeros_like(z), tf.zeros_like(z), tf.zeros([], tf.int64))

    def update(g, state, t, xi):
        count = state.count + 1
        first = decay_1 * state.first_moment + (1.0 - decay_1) * g
        a = _at(decay_2, t, g.dtype) if callable(decay_2) else decay_2
        second = a * state.second_moment + (1.0 - a) * g**2
        correction_1 = _complement(decay_1, count, g.dtype)
        correction_2 = _complement(a, count, g.dtype)
        if stability_before_correction:
            root = (tf.sqrt(second) + stability) / tf.sqrt(correction_2)
        else:
            root = tf.sqrt(second / correction_2) + stability
        gamma = _at(step_size, t, g.dtype)
        return -gamma * (first / correction_1) / root, AdamState(first, second, count)

    return Sampler(init, update, noisy=False)


class OptimisticState(NamedTuple):
    """The wrapped sampler's state and its last displacement (0 before the first step)."""

    inner: Any
    previous: tf.Tensor


def optimistic(sampler: Sampler) -> Sampler:
    """The optimistic form of a sampler (Daskalakis et al. 2018):  z <- z + 2 D_t - D_{t-1}.

    D_t is the wrapped sampler's displacement at t, bias-corrected at its own step. There
    is no second term at the first step, where the reference moves by 2 D_1.
    """

    def init(z):
        return OptimisticState(sampler.init(z), tf.zeros_like(z))

    def update(g, state, t, xi):
        displacement, inner = sampler.update(g, state.inner, t, xi)
        # `previous` is 0 at the first step, so that no case is needed here.
        move = 2.0 * displacement - state.previous
        return move, OptimisticState(inner, displacement)

    return Sampler(init, update, sampler.noisy)
