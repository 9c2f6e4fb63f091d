"""Prox steps: exact or approximate mirror-descent steps  z <- MD(anchor; opponent).

`one_step` moves the anchor by one sampler step. `langevin_mean` is the paper's INNER loop
(Algorithm 3): it samples from the mirror-descent iterate by Langevin dynamics and
summarises the samples by an exponentially damped mean. `entropic` is the exact step on a
simplex, for games whose strategies can be listed.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from tf_mixed_nash.compile import fused
from tf_mixed_nash.oracle import Oracle
from tf_mixed_nash.samplers import Sampler
from tf_mixed_nash.schedules import Schedule
from tf_mixed_nash.types import Measure, Player

__all__ = ["Move", "Prox", "entropic", "langevin_mean", "one_step"]


class Move(NamedTuple):
    """The result of a prox step.

    Attributes:
      z: [d], the new point.
      state: the sampler's new state.
      logs: scalars of the last field: "loss", "penalty", "field_norm", and "finite", which
        is false if any point of the step was not finite.
    """

    z: tf.Tensor
    state: Any
    logs: dict[str, tf.Tensor]


class Prox(NamedTuple):
    """A prox step of one player.

    Attributes:
      init: z [d] -> the sampler's state, which persists over the outer steps.
      num_batches: t -> how many mini-batches the step uses, K_t.
      step: (oracle, player, anchor [d], at [d], opponent, state, t, m) -> Move. The step
        starts at `anchor`; `at` is where a one-step prox evaluates the player's field (its
        own half of an extrapolated point); m is the index of the first mini-batch.
    """

    init: Callable[[tf.Tensor], Any]
    num_batches: Callable[[Any], Any]
    step: Callable[..., Move]


def _finite(z):
    return tf.reduce_all(tf.math.is_finite(z))


def _norm(g):
    return tf.norm(g)


def one_step(sampler: Sampler) -> Prox:
    """anchor + displacement(field at `at`): gradient methods as mirror descent."""

    @functools.cache  # one compiled function per player, shared by the prox steps of a scheme
    def compiled(oracle: Oracle, player: Player):
        def advance(anchor, g, state, t, xi):
            displacement, state = sampler.update(g, state, t, xi)
            z = oracle.project(player, anchor + displacement)
            return z, state, _norm(g), _finite(z)

        return fused(advance)

    def step(oracle: Oracle, player: Player, anchor, at, opponent: Measure, state, t, m) -> Move:
        advance = compiled(oracle, player)
        g, logs = oracle.field(player, at, opponent, m)
        xi = oracle.noise(player, anchor, m) if sampler.noisy else None
        z, state, norm, finite = advance(anchor, g, state, t, xi)
        return Move(z, state, {**logs, "field_norm": norm, "finite": finite})

    return Prox(init=sampler.init, num_batches=lambda t: 1, step=step)


def entropic(step_size: Schedule) -> Prox:
    """The exact mirror-descent step of the entropy on a simplex (paper eq. 2), in log space.

        MD_eta(z, b)_i  is proportional to  z_i exp(-eta b_i);
        log-weights:  log_softmax(anchor - eta_t g)

    A point is its log-weights [d], of which any shift is the same mixture; a weight that
    would underflow keeps its logarithm.

    Args:
      step_size: t -> eta_t >= 0.
    """

    def step(oracle: Oracle, player: Player, anchor, at, opponent: Measure, state, t, m) -> Move:
        g, logs = oracle.field(player, at, opponent, m)
        # Not cast alone: a Python number would pass through float32.
        eta = tf.cast(tf.convert_to_tensor(step_size(t), dtype_hint=tf.float64), anchor.dtype)
        z = tf.nn.log_softmax(anchor - eta * g)
        return Move(z, state, {**logs, "field_norm": _norm(g), "finite": _finite(z)})

    return Prox(init=lambda z: (), num_batches=lambda t: 1, step=step)


def langevin_mean(sampler: Sampler, num_inner_steps: Schedule, damping: float) -> Prox:
    """The paper's INNER loop (Algorithm 3), for one player against a frozen opponent.

        z_bar = z = anchor
        for k = 1..K_t:
            z     <- z + sampler step on the field at z          (eq. 8)
            z_bar <- (1 - beta) z_bar + beta z
        return (1 - beta) anchor + beta z_bar

    Args:
      sampler: a Langevin sampler.
      num_inner_steps: t -> K_t >= 1.
      damping: beta in (0, 1].

    Raises:
      ValueError: for a damping outside (0, 1].
    """
    if not 0.0 < damping <= 1.0:
        raise ValueError(f"damping (beta) must be in (0, 1], got {damping}.")
    beta = damping

    @functools.cache  # one set of compiled functions per player, shared by all prox steps
    def compiled(oracle: Oracle, player: Player):
        def advance(z, z_bar, g, state, t, xi):
            displacement, state = sampler.update(g, state, t, xi)
            z = oracle.project(player, z + displacement)
            z_bar = (1.0 - beta) * z_bar + beta * z
            return z, z_bar, state, _norm(g), _finite(z)

        def summarise(anchor, z_bar):
            return (1.0 - beta) * anchor + beta * z_bar

        def only_step(anchor, g, state, t, xi):  # K_t = 1, as one pass over memory
            _, z_bar, state, norm, finite = advance(anchor, anchor, g, state, t, xi)
            return summarise(anchor, z_bar), state, norm, finite

        return fused(advance), fused(summarise), fused(only_step)

    def step(oracle: Oracle, player: Player, anchor, at, opponent: Measure, state, t, m) -> Move:
        advance, summarise, only_step = compiled(oracle, player)

        def field_and_noise(z, m):
            g, logs = oracle.field(player, z, opponent, m)
            return g, logs, oracle.noise(player, z, m) if sampler.noisy else None

        K = num_inner_steps(t)
        if isinstance(K, int) and K == 1:
            g, logs, xi = field_and_noise(anchor, m)
            z, state, norm, finite = only_step(anchor, g, state, t, xi)
            return Move(z, state, {**logs, "field_norm": norm, "finite": finite})

        def body(k, z, z_bar, state, logs):
            g, new_logs, xi = field_and_noise(z, m + k)
            z, z_bar, state, norm, finite = advance(z, z_bar, g, state, t, xi)
            finite &= logs["finite"]
            return k + 1, z, z_bar, state, {**new_logs, "field_norm": norm, "finite": finite}

        zero = tf.zeros([], anchor.dtype)
        logs = {"loss": zero, "penalty": zero, "field_norm": zero, "finite": tf.constant(True)}
        K = tf.cast(K, tf.int64)
        _, _, z_bar, state, logs = tf.while_loop(
            lambda k, *_: k < K, body, (tf.zeros([], tf.int64), anchor, anchor, state, logs)
        )
        return Move(summarise(anchor, z_bar), state, logs)

    return Prox(init=sampler.init, num_batches=num_inner_steps, step=step)
