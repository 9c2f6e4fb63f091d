"""Schemes: which prox steps, from which anchor, against whom. Read beside the paper.

Letters: theta, w the players; theta_tilde, w_tilde the anchors of Mirror-Prox; t the outer
step; m the index of the step's first mini-batch. MD(player, anchor, against) is one prox
step (`tf_mixed_nash.prox`), exact or by Langevin sampling.

A scheme's state is a `Pair` with each player's things on its own side, so that one player
can be frozen by keeping its half.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from tf_mixed_nash.methods.oracle import Oracle
from tf_mixed_nash.methods.prox import Move, Prox
from tf_mixed_nash.methods.samplers import Sampler
from tf_mixed_nash.types import PLAYERS, Measure, Pair, Player, dirac

__all__ = [
    "Scheme",
    "alternated_extragradient",
    "chambolle_pock",
    "discriminator_steps",
    "mirror_descent",
    "mirror_prox",
    "most",
    "past_extragradient",
]


class Scheme(NamedTuple):
    """An algorithm.

    Attributes:
      init: (theta [d], w [e]) -> state, a Pair of nests of tensors.
      step: (oracle, state, t, m) -> (state, logs); logs is a Pair of dicts of scalars.
      output: state -> Pair(theta, w), the iterate that the algorithm returns.
      num_batches: t -> mini-batches used by outer step t.
      anchor: state -> Pair(theta, w), where the prox steps begin that make the next output; None
        where there is no such point, as with several chains.
    """

    init: Callable[[tf.Tensor, tf.Tensor], Pair]
    step: Callable[[Oracle, Pair, Any, Any], tuple[Pair, Pair]]
    output: Callable[[Pair], Pair]
    num_batches: Callable[[Any], Any]
    anchor: Callable[[Pair], Pair] | None = None


class Iterate(NamedTuple):
    """One player of mirror descent: the point and its sampler's state."""

    z: tf.Tensor
    sampler: Any


class ProxIterate(NamedTuple):
    """One player of Mirror-Prox: the anchor z_tilde, the intermediate z, the sampler."""

    tilde: tf.Tensor
    z: tf.Tensor
    sampler: Any


class PastIterate(NamedTuple):
    """One player of extrapolation from the past: the point, its sampler, the last field."""

    z: tf.Tensor
    sampler: Any
    past: tf.Tensor


class TwoIterates(NamedTuple):
    """One player of Chambolle-Pock: the point, the one before, the sampler."""

    z: tf.Tensor
    previous: tf.Tensor
    sampler: Any


def most(a, b):
    """max(a, b) that stays a Python number where both are."""
    if isinstance(a, int) and isinstance(b, int):
        return max(a, b)
    return tf.maximum(tf.cast(a, tf.int64), tf.cast(b, tf.int64))


def mirror_descent(prox: Pair[Prox], alternated: bool = False) -> Scheme:
    """Mirror-GAN (paper Algorithm 3); with a one-step prox, simultaneous gradient descent.

    theta, w <- MD(theta; w), MD(w; theta)                  simultaneous
    w <- MD(w; theta);  theta <- MD(theta; w)               alternated (section 6)
    """

    def init(theta, w):
        return Pair(Iterate(theta, prox.theta.init(theta)), Iterate(w, prox.w.init(w)))

    def step(oracle, s, t, m):
        def MD(player: Player, against) -> Move:
            mine = s.of(player)
            return prox.of(player).step(
                oracle, player, mine.z, mine.z, dirac(against), mine.sampler, t, m
            )

        w = MD("w", against=s.theta.z)
        theta = MD("theta", against=w.z if alternated else s.w.z)
        return (
            Pair(Iterate(theta.z, theta.state), Iterate(w.z, w.state)),
            Pair(theta.logs, w.logs),
        )

    return Scheme(
        init,
        step,
        output=_points,
        num_batches=lambda t: most(prox.theta.num_batches(t), prox.w.num_batches(t)),
        anchor=_points,
    )


def mirror_prox(prox: Pair[Prox], alternated: bool = False) -> Scheme:
    """Mirror-Prox-GAN (from paper Algorithm 2); with a one-step prox, extragradient.

        theta_t, w_t  <- MD(theta_tilde; w_tilde), MD(w_tilde; theta_tilde)
        theta_tilde, w_tilde <- MD(theta_tilde; w_t), MD(w_tilde; theta_t)

    Both prox steps start at the anchor; the intermediates (theta_T, w_T) are the output.
    `alternated`: theta_t, too, plays against the new w, which is w_t. The second phase is as it
    was; to play theta_tilde against the newest w_tilde fails (docs/decisions/0002, item 4).
    """

    def init(theta, w):
        return Pair(
            ProxIterate(theta, theta, prox.theta.init(theta)), ProxIterate(w, w, prox.w.init(w))
        )

    def step(oracle, s, t, m):
        def phase(at: Pair, samplers: Pair, m, alternated) -> Pair[Move]:
            def MD(player: Player, against) -> Move:
                return prox.of(player).step(
                    oracle,
                    player,
                    s.of(player).tilde,
                    at.of(player),
                    dirac(against),
                    samplers.of(player),
                    t,
                    m,
                )

            w = MD("w", against=at.theta)
            theta = MD("theta", against=w.z if alternated else at.w)
            return Pair(theta, w)

        tilde = Pair(s.theta.tilde, s.w.tilde)
        middle = phase(tilde, Pair(s.theta.sampler, s.w.sampler), m, alternated)
        end = phase(
            Pair(middle.theta.z, middle.w.z),
            Pair(middle.theta.state, middle.w.state),
            m + half(t),
            alternated=False,
        )
        return _each(
            lambda p: ProxIterate(tilde=end.of(p).z, z=middle.of(p).z, sampler=end.of(p).state)
        ), _each(lambda p: _both_finite(middle.of(p).logs, end.of(p).logs))

    def half(t):
        return most(prox.theta.num_batches(t), prox.w.num_batches(t))

    return Scheme(
        init,
        step,
        output=_points,
        num_batches=lambda t: 2 * half(t),
        anchor=lambda s: Pair(s.theta.tilde, s.w.tilde),
    )


def alternated_extragradient(prox: Pair[Prox]) -> Scheme:
    """Alternated Extra-Adam (Gidel et al. 2019): one player after the other.

        w_half <- MD(w at w; theta);          w <- MD(w at w_half; theta)
        theta_half <- MD(theta at theta; w);  theta <- MD(theta at theta_half; w)

    with "MD(z at y; .)" the step from z with the field taken at y. The generator plays
    against the new discriminator.
    """

    def init(theta, w):
        return Pair(Iterate(theta, prox.theta.init(theta)), Iterate(w, prox.w.init(w)))

    def step(oracle, s, t, m):
        def extrapolate_and_update(player: Player, against) -> tuple[Move, dict]:
            z, sampler = s.of(player)
            MD = prox.of(player).step
            middle = MD(oracle, player, z, z, dirac(against), sampler, t, m)
            end = MD(oracle, player, z, middle.z, dirac(against), middle.state, t, m + half(t))
            return end, _both_finite(middle.logs, end.logs)

        w, w_logs = extrapolate_and_update("w", against=s.theta.z)
        theta, theta_logs = extrapolate_and_update("theta", against=w.z)
        return (
            Pair(Iterate(theta.z, theta.state), Iterate(w.z, w.state)),
            Pair(theta_logs, w_logs),
        )

    def half(t):
        return most(prox.theta.num_batches(t), prox.w.num_batches(t))

    return Scheme(
        init,
        step,
        output=_points,
        num_batches=lambda t: 2 * half(t),
        anchor=_points,
    )


def past_extragradient(sampler: Pair[Sampler]) -> Scheme:
    """Extrapolation from the past (Gidel et al. 2019; Popov 1980): one field per iteration.

        theta_half, w_half <- theta + D(g_theta), w + D(g_w)     g of the iteration before
        g_theta, g_w       <- fields at (theta_half, w_half)
        theta, w           <- theta + D(g_theta), w + D(g_w)

    D is the sampler's displacement; its state advances at both half-steps. As in the
    reference, the first iteration has no gradient yet: it neither extrapolates nor
    advances the state.
    """

    def init(theta, w):
        return Pair(
            PastIterate(theta, sampler.theta.init(theta), tf.zeros_like(theta)),
            PastIterate(w, sampler.w.init(w), tf.zeros_like(w)),
        )

    def extrapolate(oracle, player: Player, mine: PastIterate, t):
        displacement, state = sampler.of(player).update(mine.past, mine.sampler, t, None)
        started = tf.cast(t, tf.int64) > 0
        half = oracle.project(player, mine.z + displacement)
        return (
            tf.where(started, half, mine.z),
            tf.nest.map_structure(
                lambda new, old: tf.where(started, new, old), state, mine.sampler
            ),
        )

    def step(oracle, s, t, m):
        half = _each(lambda p: extrapolate(oracle, p, s.of(p), t))

        def update(player: Player, opponent: Player):
            z_half, state = half.of(player)
            g, logs = oracle.field(player, z_half, dirac(half.of(opponent)[0]), m)
            displacement, state = sampler.of(player).update(g, state, t, None)
            z = oracle.project(player, s.of(player).z + displacement)
            finite = tf.reduce_all(tf.math.is_finite(z))
            return PastIterate(z, state, g), {**logs, "field_norm": tf.norm(g), "finite": finite}

        theta, theta_logs = update("theta", "w")
        w, w_logs = update("w", "theta")
        return Pair(theta, w), Pair(theta_logs, w_logs)

    return Scheme(init, step, _points, num_batches=lambda t: 1, anchor=_points)


def chambolle_pock(prox: Pair[Prox], kappa: float = 1.0, extrapolate: str = "measure") -> Scheme:
    """Chambolle-Pock 2011, which paper section 6 names, lifted to mixed strategies.

        w     <- MD(w; theta_hat)
        theta <- MD(theta; w)
        theta_hat = theta + kappa (theta - theta_old)

    Args:
      prox: of both players.
      kappa: the extrapolation, 1 in Chambolle and Pock's algorithm 1.
      extrapolate: "measure": theta_hat is the signed measure (1 + kappa) delta(theta) -
        kappa delta(theta_old), which is exact and linear in the lifted, bi-affine game.
        "parameters": theta_hat is the point of the parameter space.

    Raises:
      ValueError: for an unknown way to extrapolate.
    """
    if extrapolate not in ("measure", "parameters"):
        raise ValueError(
            f"Unknown extrapolation {extrapolate!r}. Choose one of: measure, parameters."
        )

    def theta_hat(theta: TwoIterates) -> Measure:
        if extrapolate == "measure":
            return Measure((theta.z, theta.previous), (1.0 + kappa, -kappa))
        return dirac(theta.z + kappa * (theta.z - theta.previous))

    def init(theta, w):
        return Pair(
            TwoIterates(theta, theta, prox.theta.init(theta)), TwoIterates(w, w, prox.w.init(w))
        )

    def step(oracle, s, t, m):
        def MD(player: Player, opponent: Measure) -> Move:
            mine = s.of(player)
            return prox.of(player).step(
                oracle, player, mine.z, mine.z, opponent, mine.sampler, t, m
            )

        w = MD("w", theta_hat(s.theta))
        theta = MD("theta", dirac(w.z))
        return (
            Pair(TwoIterates(theta.z, s.theta.z, theta.state), TwoIterates(w.z, s.w.z, w.state)),
            Pair(theta.logs, w.logs),
        )

    return Scheme(
        init,
        step,
        output=_points,
        num_batches=lambda t: most(prox.theta.num_batches(t), prox.w.num_batches(t)),
        anchor=_points,
    )


def discriminator_steps(scheme: Scheme, num_steps: int) -> Scheme:
    """`num_steps` outer steps of the discriminator for every one of the generator.

    In the first num_steps - 1 the generator's half of the state is kept as it was (the
    graph then drops its gradient); the last is a full step.
    """
    if num_steps < 1:
        raise ValueError(f"discriminator_steps must be at least 1, got {num_steps}.")
    if num_steps == 1:
        return scheme

    def step(oracle, s, t, m):
        finite = tf.constant(True)
        for _ in range(num_steps - 1):
            new, logs = scheme.step(oracle, s, t, m)
            s = Pair(theta=s.theta, w=new.w)
            finite &= logs.w["finite"]
            m += scheme.num_batches(t)
        s, logs = scheme.step(oracle, s, t, m)
        w_logs = {**logs.w, "finite": finite & logs.w["finite"]}
        return s, Pair(logs.theta, w_logs)

    return scheme._replace(step=step, num_batches=lambda t: num_steps * scheme.num_batches(t))


def _points(s: Pair) -> Pair:
    return Pair(s.theta.z, s.w.z)


def _each(make: Callable[[Player], Any]) -> Pair:
    return Pair(*(make(p) for p in PLAYERS))


def _both_finite(first: dict, last: dict) -> dict:
    return {**last, "finite": first["finite"] & last["finite"]}
