"""Schemes: which prox steps, from which anchor, against whom. Read beside the paper.

Letters: theta, w the players; theta_tilde, w_tilde the anchors of Mirror-Prox; t the outer
step; m the index of the step's first mini-batch. MD(player, anchor, against) is one prox
step (`tf_mixed_nash.methods.prox`), exact or by Langevin sampling.

A scheme's state is a `Pair` with each player's things on its own side, so that one player
can be frozen by keeping its half.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from tf_mixed_nash import rng
from tf_mixed_nash.errors import InputError, unknown
from tf_mixed_nash.methods import measures
from tf_mixed_nash.methods.measures import Rebirth, Weigh
from tf_mixed_nash.methods.oracle import Oracle
from tf_mixed_nash.methods.prox import Move, Prox
from tf_mixed_nash.methods.samplers import Sampler, moved_by
from tf_mixed_nash.types import (
    PLAYERS,
    Measure,
    Pair,
    Particles,
    Player,
    atoms_of,
    dirac,
    particles,
    weights_of,
)

__all__ = [
    "Scheme",
    "alternated_extragradient",
    "chambolle_pock",
    "discriminator_steps",
    "mirror_descent",
    "mirror_prox",
    "most",
    "of_measures",
    "past_extragradient",
    "reborn",
]


class Scheme(NamedTuple):
    """An algorithm.

    A player is a point [d], or where it has n' > 1 particles a measure: `init` then takes its
    atoms [n', d] and `output` gives them, row j of which is the same atom at every step, and
    `weights` has their weights. Both belong together: the answer of an outer step is the whole
    measure. Averages over steps (an EMA) are of each row by itself; logs are weighted means.

    Attributes:
      init: (theta [d] or [n', d], w likewise) -> state, a Pair of nests of tensors.
      step: (oracle, state, t, m) -> (state, logs); logs is a Pair of dicts of scalars. Where
        atoms are reborn (`reborn`) they have "parents" too, int32 [n'].
      output: state -> Pair(theta, w), the iterate that the algorithm returns.
      num_batches: t -> mini-batches used by outer step t.
      anchor: state -> Pair(theta, w), where the prox steps begin that make the next output; None
        where there is no such point, as with several chains.
      weights: state -> Pair of the weights [n'] of `output`, of sum 1; None of a point.
      points: state -> Pair of where the next step's fields begin, if that is not `output`: all
        chains [n', d] of a player that puts out one of them.
    """

    init: Callable[[tf.Tensor, tf.Tensor], Pair]
    step: Callable[[Oracle, Pair, Any, Any], tuple[Pair, Pair]]
    output: Callable[[Pair], Pair]
    num_batches: Callable[[Any], Any]
    anchor: Callable[[Pair], Pair] | None = None
    weights: Callable[[Pair], Pair] = lambda state: Pair(None, None)
    points: Callable[[Pair], Pair] | None = None


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

    z: Any
    sampler: Any
    past: Any


class TwoIterates(NamedTuple):
    """One player of Chambolle-Pock: the point, the one before, the sampler."""

    z: Any
    previous: Any
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
        if not alternated:
            oracle = _together(oracle, prox, Pair(s.theta.z, s.w.z), t, m)

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
            asked = oracle if alternated else _together(oracle, prox, at, t, m)

            def MD(player: Player, against) -> Move:
                return prox.of(player).step(
                    asked,
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


def past_extragradient(
    sampler: Pair[Sampler],
    weigh: Pair[Weigh] = Pair(measures.constant, measures.constant),  # noqa: B008 - immutable
) -> Scheme:
    """Extrapolation from the past (Gidel et al. 2019; Popov 1980): one field per iteration.

        theta_half, w_half <- theta + D(g_theta), w + D(g_w)     g of the iteration before
        g_theta, g_w       <- fields at (theta_half, w_half)
        theta, w           <- theta + D(g_theta), w + D(g_w)

    D is the sampler's displacement; its state advances at both half-steps. As in the
    reference, the first iteration has no gradient yet: it neither extrapolates nor
    advances the state. Of particles, every atom does this, and the weights of a half-step and
    of a step are moved by the first variations that belong to g.
    """

    def init(theta, w):
        def start(player: Player, z):
            past = tf.nest.map_structure(tf.zeros_like, z)
            return PastIterate(z, sampler.of(player).init(atoms_of(z)), past)

        return Pair(start("theta", theta), start("w", w))

    def moved(oracle, player: Player, z, field, state, t):
        if isinstance(z, Particles):
            atoms, state = moved(oracle, player, z.atoms, field.atoms, state, t)
            return Particles(weigh.of(player)(z.log_weights, field.log_weights, t), atoms), state
        displacement, state = moved_by(sampler.of(player), z, field, state, t, None)
        return oracle.project(player, z + displacement), state

    def extrapolate(oracle, player: Player, mine: PastIterate, t):
        started = tf.cast(t, tf.int64) > 0
        ahead = moved(oracle, player, mine.z, mine.past, mine.sampler, t)
        return tf.nest.map_structure(
            lambda new, old: tf.where(started, new, old), ahead, (mine.z, mine.sampler)
        )

    def step(oracle, s, t, m):
        half = _each(lambda p: extrapolate(oracle, p, s.of(p), t))
        oracle = oracle.together(Pair(half.theta[0], half.w[0]), m)

        def update(player: Player, opponent: Player):
            z_half, state = half.of(player)
            against = dirac(half.of(opponent)[0])
            g, logs = oracle.field(player, atoms_of(z_half), against, m)
            logs = {**logs, "field_norm": tf.norm(g, axis=-1)}
            if isinstance(z_half, Particles):
                g = Particles(measures.first_variation(logs), g)
                logs = measures.mean_logs(z_half, logs)
            z, state = moved(oracle, player, s.of(player).z, g, state, t)
            finite = tf.reduce_all(tf.math.is_finite(atoms_of(z)))
            if isinstance(z, Particles):
                finite &= measures.finite(z.log_weights, g.log_weights)
            return PastIterate(z, state, g), {**logs, "finite": finite}

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
        "parameters": theta_hat is the point of the parameter space; of particles, atom by
        atom, with the log-weights as further coordinates.

    Raises:
      ValueError: for an unknown way to extrapolate.
    """
    if extrapolate not in ("measure", "parameters"):
        raise unknown("extrapolation", extrapolate, ("measure", "parameters"))

    def theta_hat(theta: TwoIterates) -> Measure:
        if extrapolate == "measure":
            return Measure((theta.z, theta.previous), (1.0 + kappa, -kappa))
        return dirac(_extrapolated(theta.z, theta.previous, kappa))

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
            new, logs = scheme.step(oracle.alone(), s, t, m)
            s = Pair(theta=s.theta, w=new.w)
            finite &= logs.w["finite"]
            m += scheme.num_batches(t)
        s, logs = scheme.step(oracle, s, t, m)
        w_logs = {**logs.w, "finite": finite & logs.w["finite"]}
        return s, Pair(logs.theta, w_logs)

    return scheme._replace(step=step, num_batches=lambda t: num_steps * scheme.num_batches(t))


def _together(oracle: Oracle, prox: Pair[Prox], points: Pair, t, m) -> Oracle:
    """The oracle of prox steps of one field each, which begin at `points`.

    Of more, the later ones are elsewhere, in a loop of each player's own.
    """
    one = all(isinstance(K := p.num_batches(t), int) and K == 1 for p in prox)
    return oracle.together(points, m) if one else oracle


def _points(s: Pair) -> Pair:
    return Pair(s.theta.z, s.w.z)


def of_measures(scheme: Scheme, num_particles: Pair[int]) -> Scheme:
    """The scheme with atoms at its ends where a player has n' > 1, as `Scheme` says.

    Args:
      scheme: of prox steps by `measures.each_atom` for those players; inside, their points are
        `Particles`. `init` also takes these, where the weights are not equal.
      num_particles: n' of each player.
    """

    def init(theta, w):
        def start(player: Player, z) -> Any:
            num = num_particles.of(player)
            shape = tuple(atoms_of(z).shape)
            if shape[:-1] != ((num,) if num > 1 else ()):
                raise InputError(
                    f"{player} starts at {num} particles, one row each; got shape {shape}."
                    if num > 1
                    else f"{player} starts at one point [d], got shape {shape}."
                )
            return z if num == 1 or isinstance(z, Particles) else particles(z)

        return scheme.init(start("theta", theta), start("w", w))

    def each(points: Pair, of: Callable[[Any], Any]) -> Pair:
        return Pair(*(of(z) for z in points))

    anchor = scheme.anchor
    return scheme._replace(
        init=init,
        output=lambda s: each(scheme.output(s), atoms_of),
        anchor=None if anchor is None else lambda s: each(anchor(s), atoms_of),
        weights=lambda s: each(scheme.output(s), weights_of),
    )


# What of an outer step's history key the rebirth draws (`histories` and `sampled` have 0-4).
_REBORN = 5


def reborn(scheme: Scheme, rebirth: Pair[Rebirth | None]) -> Scheme:
    """After every outer step, atoms of light weight become copies of the heaviest.

    All of a player's state goes with them: anchors, preconditioners, moments, stored fields.

    Args:
      scheme: whose output of such a player is `Particles`.
      rebirth: of each player; None: none.
    """

    def step(oracle, s, t, m):
        new, logs = scheme.step(oracle, s, t, m)

        def half(player: Player):
            rule, mine, log = rebirth.of(player), new.of(player), logs.of(player)
            if rule is None:
                return mine, log
            z = scheme.output(new).of(player)
            parents = measures.parents(z.log_weights, rule.below)
            key = rng.fold_in(oracle.history_key(player, m), _REBORN)
            # The copies cost as much as a step; most steps need none.
            mine = tf.cond(
                tf.reduce_any(parents != tf.range(z.log_weights.shape[0])),
                lambda: measures.replaced(mine, parents, rule.noise, key),
                lambda: mine,
            )
            return mine, {**log, "parents": parents}

        (theta, theta_logs), (w, w_logs) = half("theta"), half("w")
        return Pair(theta, w), Pair(theta_logs, w_logs)

    return scheme._replace(step=step)


def _extrapolated(z: Any, previous: Any, kappa: float) -> Any:
    """z + kappa (z - previous); of log-weights, whose sum of exponentials is 1 again."""
    if isinstance(z, Particles):
        log_a, atoms = (_extrapolated(*pair, kappa) for pair in zip(z, previous, strict=True))
        return Particles(tf.nn.log_softmax(log_a), atoms)
    return z + kappa * (z - previous)


def _each(make: Callable[[Player], Any]) -> Pair:
    return Pair(*(make(p) for p in PLAYERS))


def _both_finite(first: dict, last: dict) -> dict:
    return {**last, "finite": first["finite"] & last["finite"]}
