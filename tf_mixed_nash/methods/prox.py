"""Prox steps: exact or approximate mirror-descent steps  z <- MD(anchor; opponent).

`one_step` moves the anchor by one sampler step. `langevin_mean` is the paper's INNER loop
(Algorithm 3): it samples from the mirror-descent iterate by Langevin dynamics and
summarises the samples by an exponentially damped mean. `langevin_atoms` keeps the samples.
`entropic` is the exact step on a simplex, for games whose strategies can be listed; `conic`
moves the atoms and the weights of a mixed strategy.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from tf_mixed_nash.compile import fused, in_whole
from tf_mixed_nash.errors import InputError
from tf_mixed_nash.methods.oracle import Oracle
from tf_mixed_nash.methods.samplers import Sampler, moved_by
from tf_mixed_nash.methods.schedules import Schedule
from tf_mixed_nash.types import Measure, Particles, Player

__all__ = [
    "Move",
    "Prox",
    "conic",
    "entropic",
    "langevin_atoms",
    "langevin_mean",
    "one_step",
]


class Move(NamedTuple):
    """The result of a prox step.

    Attributes:
      z: [d], the new point; of `conic` and `measures.each_atom`, Particles.
      state: the sampler's new state.
      logs: of the last field: "loss", "penalty", "field_norm", scalars or [n'] of a block; and
        the scalar "finite", which is false if any point of the step was not finite.
    """

    z: Any
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

    `one_step` and `langevin_mean` take blocks [n', d] as they take points: samplers are
    element-wise, fields and noise have a row for each atom (`measures.each_atom`).
    """

    init: Callable[[tf.Tensor], Any]
    num_batches: Callable[[Any], Any]
    step: Callable[..., Move]


# Both are single passes of a graph's own kernels. Inside a fused update XLA would compute the
# update a second time for them, in scalar code: as long as the update itself takes.
def _finite(z):
    # A sum is finite only if its terms are. One that overflows is of a point that is lost, too.
    return tf.math.is_finite(tf.reduce_sum(z))


def _norm(g, axis=None):
    if in_whole():  # XLA has no EuclideanNorm
        return tf.sqrt(tf.reduce_sum(tf.square(g), axis))
    return tf.math.reduce_euclidean_norm(g, axis)


def one_step(sampler: Sampler) -> Prox:
    """anchor + displacement(field at `at`): gradient methods as mirror descent."""

    @functools.cache  # one compiled function per player, shared by the prox steps of a scheme
    def compiled(oracle: Oracle, player: Player):
        def advance(anchor, g, state, t, xi):
            displacement, state = moved_by(sampler, anchor, g, state, t, xi)
            return oracle.project(player, anchor + displacement), state

        return fused(advance)

    def step(oracle: Oracle, player: Player, anchor, at, opponent: Measure, state, t, m) -> Move:
        advance = compiled(oracle, player)
        g, logs = oracle.field(player, at, opponent, m)
        xi = oracle.noise(player, anchor, m) if sampler.noisy else None
        z, state = advance(anchor, g, state, t, xi)
        return Move(z, state, {**logs, "field_norm": _norm(g, -1), "finite": _finite(z)})

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
            displacement, state = moved_by(sampler, z, g, state, t, xi)
            z = oracle.project(player, z + displacement)
            z_bar = (1.0 - beta) * z_bar + beta * z
            return z, z_bar, state

        def summarise(anchor, z_bar):
            return (1.0 - beta) * anchor + beta * z_bar

        def only_step(anchor, g, state, t, xi):  # K_t = 1, as one pass over memory
            _, z_bar, state = advance(anchor, anchor, g, state, t, xi)
            return summarise(anchor, z_bar), state

        return fused(advance), fused(summarise), fused(only_step)

    def step(oracle: Oracle, player: Player, anchor, at, opponent: Measure, state, t, m) -> Move:
        advance, summarise, only_step = compiled(oracle, player)

        def field_and_noise(z, m):
            g, logs = oracle.field(player, z, opponent, m)
            return g, logs, oracle.noise(player, z, m) if sampler.noisy else None

        K = num_inner_steps(t)
        if isinstance(K, int) and K == 1:
            g, logs, xi = field_and_noise(anchor, m)
            z, state = only_step(anchor, g, state, t, xi)
            return Move(z, state, {**logs, "field_norm": _norm(g, -1), "finite": _finite(z)})

        def body(k, z, z_bar, state, logs):
            g, new_logs, xi = field_and_noise(z, m + k)
            z, z_bar, state = advance(z, z_bar, g, state, t, xi)
            finite = logs["finite"] & _finite(z)
            new_logs = {**new_logs, "field_norm": _norm(g, -1), "finite": finite}
            return k + 1, z, z_bar, state, new_logs

        zero = tf.zeros(anchor.shape[:-1], anchor.dtype)
        logs = {"loss": zero, "penalty": zero, "field_norm": zero, "finite": tf.constant(True)}
        logs |= dict.fromkeys(oracle.logged(player), zero)
        K = tf.cast(K, tf.int64)
        _, _, z_bar, state, logs = tf.while_loop(
            lambda k, *_: k < K, body, (tf.zeros([], tf.int64), anchor, anchor, state, logs)
        )
        return Move(summarise(anchor, z_bar), state, logs)

    return Prox(init=sampler.init, num_batches=num_inner_steps, step=step)


def langevin_atoms(
    sampler: Sampler, num_inner_steps: Schedule, play: Callable, mirror_step: float = 1.0
) -> Prox:
    """Samples of a mirror-descent iterate, unrolled (paper section 4.1): n' Langevin chains.

        z^(j) = anchor^(j)
        for k = 1..K_t:   z^(j) <- z^(j) + sampler step                         (eq. 8)

    The law sampled is  exp(-eta sum_s h_s / eps)  with h_s the loss against strategy s of the
    opponent's past, N of them. Its step of SGLD with the step size gamma / (eta N), for which it
    does not matter how long the past is, is

        z <- z - gamma (1/N) sum_s grad h_s(z) + sqrt(2 gamma eps / (eta N)) xi      [D]

    the sampler's on the *mean* loss at the temperature eps / (eta N): the paper's at eps = 1,
    where only the ratio of eps and eta counts. A preconditioner then sees fields of one size.

    `Prox.step` takes anchor [n', d] and a past (`histories.Past`) for the opponent,
    and returns z [n', d]; the logs are means over the chains. The chains share the mini-batch and
    have their own noise.

    Args:
      sampler: a Langevin sampler; eps is its temperature.
      num_inner_steps: t -> K_t >= 1.
      play: (oracle, player, z [d], past, m) -> (g [d], logs), of `tf_mixed_nash.methods.histories`.
      mirror_step: eta > 0; the paper's is 1.

    Raises:
      InputError: for an eta that is not above 0.
    """
    if not mirror_step > 0.0:
        raise InputError(f"mirror_step (eta) must be above 0, got {mirror_step}.")

    @functools.cache
    def compiled(oracle: Oracle, player: Player):
        def advance(z, g, state, t, xi, num_terms):
            # The displacement is linear in sqrt(eps) xi: less noise is a lower temperature.
            if xi is not None:
                xi = xi / tf.sqrt(mirror_step * num_terms)
            # The law has the sum of the past's losses, eta each, and its prior once.
            terms = mirror_step * num_terms
            displacement, state = moved_by(sampler, z, g, state, t, xi, terms)
            z = tf.stack([oracle.project(player, x) for x in tf.unstack(z + displacement)])
            return z, state

        return fused(advance)

    def step(oracle: Oracle, player: Player, anchor, at, opponent, state, t, m) -> Move:
        advance = compiled(oracle, player)
        num_chains, dim = anchor.shape

        def body(k, z, state, logs):
            fields = [
                play(oracle.of_chain(player, j), player, x, opponent, m + k)
                for j, x in enumerate(tf.unstack(z))
            ]
            g, new_logs = tf.nest.map_structure(lambda *each: tf.stack(each), *fields)
            xi = None
            if sampler.noisy:
                flat = oracle.noise(player, tf.reshape(z, [num_chains * dim]), m + k)
                xi = tf.reshape(flat, [num_chains, dim])
            z, state = advance(z, g, state, t, xi, opponent.num_terms)
            finite = logs["finite"] & _finite(z)
            norm = tf.reduce_mean(_norm(g, 1))
            new_logs = {key: tf.reduce_mean(value) for key, value in new_logs.items()}
            return k + 1, z, state, {**new_logs, "field_norm": norm, "finite": finite}

        zero = tf.zeros([], anchor.dtype)
        logs = {"loss": zero, "penalty": zero, "field_norm": zero, "finite": tf.constant(True)}
        K = tf.cast(num_inner_steps(t), tf.int64)
        _, z, state, logs = tf.while_loop(
            lambda k, *_: k < K, body, (tf.zeros([], tf.int64), anchor, state, logs)
        )
        return Move(z, state, logs)

    return Prox(init=sampler.init, num_batches=num_inner_steps, step=step)


def conic(weight_step: Schedule, position_step: Schedule, temperature: Schedule) -> Prox:
    """One step of a player's particles: atoms by Langevin, weights by entropic mirror descent.

        log a_i <- log a_i - eta V(z_i) - log sum_j exp(log a_j - eta V(z_j))
        z_i     <- project(z_i - gamma grad V(z_i) + sqrt(2 gamma eps) xi_i)

    V is the player's first variation at the particles `at`, as a cost. [C] Domingo-Enrich et
    al. 2020 (Wasserstein-Fisher-Rao Langevin descent-ascent: under `schemes.mirror_descent`)
    and Wang & Chizat 2022 (conic particles, eps = 0: under `schemes.mirror_prox`, where
    particle i of the anchor moves by V at particle i of the intermediate measure). eta = 0 is
    Langevin descent-ascent; with eps = 0 and one atom, too, gradient descent-ascent; gamma =
    eps = 0 the entropic step on a finite game.

    Args:
      weight_step: t -> eta_t >= 0.
      position_step: t -> gamma_t >= 0.
      temperature: t -> eps_t >= 0; a schedule that is constantly 0 draws no noise.

    Points are `Particles` of m atoms in R^d, the field is `Particles` of (V [m], grad V
    [m, d]), and the step has no state. Absent atoms (log weight -inf) stay absent.
    """
    noisy = getattr(temperature, "value", None) != 0

    def step(oracle: Oracle, player: Player, anchor, at, opponent: Measure, state, t, m) -> Move:
        def number(schedule: Schedule):
            value = schedule(t)
            dtype = anchor.atoms.dtype  # tf.cast alone rounds Python floats to float32 first
            return tf.cast(value, dtype) if tf.is_tensor(value) else tf.constant(value, dtype)

        g, logs = oracle.field(player, at, opponent, m)
        V, grad_V = g.log_weights, g.atoms
        eta, gamma, eps = number(weight_step), number(position_step), number(temperature)
        z = anchor.atoms - gamma * grad_V
        if noisy:
            z += tf.sqrt(2.0 * gamma * eps) * oracle.noise(player, z, m)
        z = oracle.project(player, z)
        log_a = tf.nn.log_softmax(anchor.log_weights - eta * V)
        # Not of log_a: -inf is an absent atom, and a V that is not finite makes it so.
        finite = _finite(z) & _finite(V)
        logs = {**logs, "field_norm": _norm(grad_V), "finite": finite}
        return Move(Particles(log_a, z), state, logs)

    return Prox(init=lambda z: (), num_batches=lambda t: 1, step=step)
