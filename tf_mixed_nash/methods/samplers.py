"""Samplers: how one stochastic gradient moves one player.

Each is a pair of pure functions, `init(z) -> state` and `update(g, state, t, xi) ->
(displacement, state)`; the new point is z + displacement. Letters, as in the paper:

    z  the player's parameters, [d]        g   descent direction, a stochastic grad h, [d]
    gamma  step size gamma_t               eps temperature epsilon_t
    xi standard normal noise, [d]          t   outer step, 0, 1, 2, ...
    V  running mean of g^2, [d]            P   diagonal preconditioner, [d]

A sampler may pull its point towards 0: `pull` is c_t z, a direction to be descended beside g that
no running mean of gradients sees (a unit without gradients would else be pulled at full speed). Of
Langevin dynamics it is the prior of the law, c_t = eps_t / s^2; of the others weight decay.

`langevin` holds four of them: SGD (eps = 0, P = 1), RMSProp (eps = 0, P = rms), SGLD
(paper eq. 8) and preconditioned SGLD (paper, remark in 4.1; Li et al. 2016).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from tf_mixed_nash.compile import in_whole
from tf_mixed_nash.methods.schedules import Schedule, computed_in, constant

__all__ = [
    "Preconditioner",
    "Sampler",
    "adam",
    "identity",
    "langevin",
    "moved_by",
    "optimistic",
    "rms",
]


class Sampler(NamedTuple):
    """A sampler.

    Attributes:
      init: z [d] -> state, a nest of tensors.
      update: (g [d], state, t int, xi [d] or None, pull [d] or None = None) -> (displacement [d],
        state).
      noisy: whether `update` reads xi.
      pull: (z [d], t) -> c_t z; None: there is none.
    """

    init: Callable[[tf.Tensor], Any]
    update: Callable[..., tuple[tf.Tensor, Any]]
    noisy: bool
    pull: Callable[[tf.Tensor, Any], tf.Tensor] | None = None


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


def moved_by(sampler: Sampler, z, g, state, t, xi, num_terms: Any = None) -> tuple[Any, Any]:
    """(the displacement of z, the sampler's state): `update`, with the pull at z if there is one.

    Args:
      sampler: the sampler.
      z: [d], where the step begins.
      g, state, t, xi: see `Sampler`.
      num_terms: of a loss that is a mean of so many terms, whose sum the law has: the pull of the
        law is divided by it. None: 1.
    """
    if sampler.pull is None:
        return sampler.update(g, state, t, xi)
    pull = sampler.pull(z, t)
    return sampler.update(g, state, t, xi, pull if num_terms is None else pull / num_terms)


def _towards_0(rate: Schedule) -> Callable[[tf.Tensor, Any], tf.Tensor] | None:
    """(z, t) -> rate(t) z; None of a rate that is constantly 0."""
    if getattr(rate, "value", None) == 0:
        return None
    return lambda z, t: _at(rate, t, z.dtype) * z


def identity() -> Preconditioner:
    """P = 1."""
    return Preconditioner(init=lambda z: (), update=lambda g, V: (1.0, V))


class RmsState(NamedTuple):
    """V, and how often it was updated, of a preconditioner that is corrected for its start."""

    V: tf.Tensor
    count: tf.Tensor


def rms(
    decay: float = 0.99,
    stability: float = 1e-8,
    initial: float = 0.0,
    correction: bool = False,
) -> Preconditioner:
    """RMSProp's:  V <- a V + (1-a) g^2,  P = 1 / (sqrt(V) + lambda).

    Args:
      decay: a, in [0, 1).
      stability: lambda >= 0.
      initial: V_0; TFP's sampler starts at 1, ours and RMSProp at 0.
      correction: V / (1 - a^n) after n updates takes the place of V in P, as in Adam. Without it
        the first step is gamma / sqrt(1 - a) in every coordinate, ten times gamma of a = 0.99.

    Raises:
      ValueError: for a correction of an initial V that is not 0.

    The divergence of P (the Gamma term of Li et al. 2016) is dropped, as in practice: it
    is of order (1 - a).
    """

    if correction and initial:
        raise ValueError(f"Only V_0 = 0 is corrected for, got initial={initial}.")

    def start(z):
        return tf.fill(tf.shape(z), _cast(initial, z.dtype))

    def update(g, V):
        V = decay * V + (1.0 - decay) * g**2
        return 1.0 / (tf.sqrt(V) + stability), V

    def corrected(g, state):
        _, V = update(g, state.V)
        count = state.count + 1
        P = 1.0 / (tf.sqrt(V / _complement(decay, count, g.dtype)) + stability)
        return P, RmsState(V, count)

    if correction:
        return Preconditioner(lambda z: RmsState(start(z), tf.zeros([], tf.int64)), corrected)
    return Preconditioner(init=start, update=update)


def langevin(
    step_size: Schedule,
    temperature: Schedule,
    preconditioner: Preconditioner,
    prior_std: float = 0.0,
    weight_decay: float = 0.0,
) -> Sampler:
    """Preconditioned stochastic gradient Langevin dynamics (paper eq. 8 and remark in 4.1).

        z <- z - gamma_t P (g + c_t z) + sqrt(2 gamma_t eps_t P) xi

    Its stationary law on a loss h is proportional to exp(-h / eps), approximately for a
    finite gamma; with a prior_std s to N(z; 0, s^2 I) exp(-h / eps): c_t = eps_t / s^2, the paper's
    entropic mirror descent from mu_1 = N(0, s^2 I). Without one mu_1 is flat, which is no law: a
    coordinate without a gradient is a random walk.

    Args:
      step_size: t -> gamma_t >= 0.
      temperature: t -> eps_t >= 0. A schedule that is constantly 0 makes the sampler
        deterministic: SGD, or RMSProp.
      preconditioner: `identity()` or `rms(...)`.
      prior_std: s > 0; 0: a flat prior.
      weight_decay: c >= 0, added to c_t; of samplers without a temperature, which have no law.
    """
    noisy = getattr(temperature, "value", None) != 0

    def update(g, V, t, xi, pull=None):
        gamma, eps = _at(step_size, t, g.dtype), _at(temperature, t, g.dtype)
        P, V = preconditioner.update(g, V)
        displacement = -gamma * P * (g if pull is None else g + pull)
        if noisy:
            displacement += tf.sqrt(2.0 * gamma * eps * P) * xi
        return displacement, V

    rate = constant(weight_decay)
    if noisy and prior_std:
        rate = lambda t: weight_decay + temperature(t) / prior_std**2  # noqa: E731
    return Sampler(preconditioner.init, update, noisy, _towards_0(rate))


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
    weight_decay: float = 0.0,
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
      weight_decay: c >= 0, z <- z - gamma_t c z beside Adam's step (AdamW, Loshchilov & Hutter
        2019): not divided by the root.
    """

    def init(z):
        return AdamState(tf.zeros_like(z), tf.zeros_like(z), tf.zeros([], tf.int64))

    def update(g, state, t, xi, pull=None):
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
        displacement = -gamma * (first / correction_1) / root
        if pull is not None:
            displacement -= gamma * pull
        return displacement, AdamState(first, second, count)

    return Sampler(init, update, noisy=False, pull=_towards_0(constant(weight_decay)))


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

    def update(g, state, t, xi, pull=None):
        displacement, inner = sampler.update(g, state.inner, t, xi, pull)
        # `previous` is 0 at the first step, so that no case is needed here.
        move = 2.0 * displacement - state.previous
        return move, OptimisticState(inner, displacement)

    return Sampler(init, update, sampler.noisy, sampler.pull)
