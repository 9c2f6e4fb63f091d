"""The named algorithms in NumPy, from the pseudo-code, one function per outer step.

A problem has, with m the index of a mini-batch and opponent = [(weight, atom), ...],

    field(player, z, opponent, m) -> g    to be descended
    noise(player, m) -> xi
    project(player, z) -> z

A step takes (problem, h, s, t, m): h[player] are the hyperparameters, s[player] is a dict with
the player's point "z" and the sampler's "state", m is the step's first mini-batch.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

from tests.oracles import sampled, samplers

OPPONENT = {"theta": "w", "w": "theta"}


# One player's moves.


def gradient_move(problem, sampler, player, start, at, opponent, state, t, m):
    """start + displacement, with the field taken at `at`."""
    g = problem.field(player, at, opponent, m)
    displacement, state = sampler.move(g, state, t, problem.noise(player, m), start)
    return problem.project(player, start + displacement), state


def inner(problem, h, player, anchor, opponent, state, t, m):
    """INNER: K_t Langevin steps from the anchor against a frozen opponent, damped twice."""
    sampler = samplers.langevin(h[player])
    beta = h[player].beta
    z = z_bar = anchor
    for k in range(h[player].K(t)):
        z, state = gradient_move(problem, sampler, player, z, z, opponent, state, t, m + k)
        z_bar = (1 - beta) * z_bar + beta * z
    return (1 - beta) * anchor + beta * z_bar, state


def pure(z):
    return [(1.0, z)]


def longest_inner(h, t):
    return max(h["theta"].K(t), h["w"].K(t))


# Gradient methods.


def by_turns(make, problem, h, s, t, m):
    """w one sampler step against theta; then theta one against the new w."""
    new = {}
    for p in ("w", "theta"):
        z, rival = s[p]["z"], (new if p == "theta" else s)[OPPONENT[p]]["z"]
        z, state = gradient_move(problem, make(h[p]), p, z, z, pure(rival), s[p]["state"], t, m)
        new[p] = {"z": z, "state": state}
    return new


def simultaneous(make, problem, h, s, t, m, alternated=False):
    """Both players one sampler step from (w, theta), against (w, theta)."""
    if alternated:
        return by_turns(make, problem, h, s, t, m)
    new = {}
    for p, q in OPPONENT.items():
        z = s[p]["z"]
        z, state = gradient_move(problem, make(h[p]), p, z, z, pure(s[q]["z"]), s[p]["state"], t, m)
        new[p] = {"z": z, "state": state}
    return new


def extra_adam(problem, h, s, t, m):
    """lookahead = z - Adam(F(z));  z <- z - Adam(F(lookahead)), both players together."""
    ahead = simultaneous(samplers.gidel_adam, problem, h, s, t, m)
    new = {}
    for p, q in OPPONENT.items():
        z, state = gradient_move(
            problem,
            samplers.gidel_adam(h[p]),
            p,
            s[p]["z"],
            ahead[p]["z"],
            pure(ahead[q]["z"]),
            ahead[p]["state"],
            t,
            m + 1,
        )
        new[p] = {"z": z, "state": state}
    return new


def alt_extra_adam(problem, h, s, t, m):
    """The discriminator's whole extrapolate-and-update, then the generator's against it."""
    new = dict(s)
    for p in ("w", "theta"):
        against, adam = pure(new[OPPONENT[p]]["z"]), samplers.gidel_adam(h[p])
        z, state = s[p]["z"], s[p]["state"]
        ahead, state = gradient_move(problem, adam, p, z, z, against, state, t, m)
        z, state = gradient_move(problem, adam, p, z, ahead, against, state, t, m + 1)
        new[p] = {"z": z, "state": state}
    return new


def past_extra_adam(problem, h, s, t, m):
    """The lookahead uses the stored gradient; in the first outer step there is none."""
    ahead, states = {}, {}
    for p in OPPONENT:
        ahead[p], states[p] = s[p]["z"], s[p]["state"]
        if t > 0:
            g = s[p]["gradient"]
            displacement, states[p] = samplers.gidel_adam(h[p]).move(
                g, states[p], t, None, s[p]["z"]
            )
            ahead[p] = problem.project(p, ahead[p] + displacement)
    new = {}
    for p, q in OPPONENT.items():
        g = problem.field(p, ahead[p], pure(ahead[q]), m)
        displacement, state = samplers.gidel_adam(h[p]).move(g, states[p], t, None, s[p]["z"])
        z = problem.project(p, s[p]["z"] + displacement)
        new[p] = {"z": z, "state": state, "gradient": g}
    return new


# Mirror methods.


def mirror_gan(problem, h, s, t, m):
    """(w, theta) <- INNER(w, theta; w, theta)."""
    new = {}
    for p, q in OPPONENT.items():
        z, state = inner(problem, h, p, s[p]["z"], pure(s[q]["z"]), s[p]["state"], t, m)
        new[p] = {"z": z, "state": state}
    return new


def alt_mirror_gan(problem, h, s, t, m):
    """As mirror_gan, but theta's INNER plays against the new w."""
    w, w_state = inner(problem, h, "w", s["w"]["z"], pure(s["theta"]["z"]), s["w"]["state"], t, m)
    theta, theta_state = inner(
        problem, h, "theta", s["theta"]["z"], pure(w), s["theta"]["state"], t, m
    )
    return {"theta": {"z": theta, "state": theta_state}, "w": {"z": w, "state": w_state}}


def mirror_prox_gan(problem, h, s, t, m, alternated=False):
    """z_t = INNER(tilde; tilde);  tilde <- INNER(tilde; z_t). Both restart at the anchor.

    Alternated: theta_t = INNER(tilde; w_t), and the second line as it is.
    """
    anchor = {p: s[p]["tilde"] for p in OPPONENT}
    state = {p: s[p]["state"] for p in OPPONENT}

    def phase(opponents, m, alternated):
        points = {}
        for p in ("w", "theta"):
            rival = points["w"] if alternated and p == "theta" else opponents[OPPONENT[p]]
            points[p], state[p] = inner(problem, h, p, anchor[p], pure(rival), state[p], t, m)
        return points

    middle = phase(anchor, m, alternated)
    end = phase(middle, m + longest_inner(h, t), False)
    return {p: {"z": middle[p], "tilde": end[p], "state": state[p]} for p in OPPONENT}


def chambolle_pock(problem, h, s, t, m, kappa=1.0, extrapolate="measure"):
    """w <- MD(w; theta_hat);  theta <- MD(theta; w);  theta_hat = theta + kappa (theta - old)."""
    theta, old = s["theta"]["z"], s["theta"]["old"]
    if extrapolate == "measure":
        theta_hat = [(1 + kappa, theta), (-kappa, old)]
    else:
        theta_hat = pure(theta + kappa * (theta - old))
    w, w_state = inner(problem, h, "w", s["w"]["z"], theta_hat, s["w"]["state"], t, m)
    new, theta_state = inner(problem, h, "theta", theta, pure(w), s["theta"]["state"], t, m)
    return {
        "theta": {"z": new, "old": theta, "state": theta_state},
        "w": {"z": w, "state": w_state},
    }


class Oracle(NamedTuple):
    """step, the sampler whose state it carries, and (h, t) -> its number of mini-batches."""

    step: object
    sampler: object
    num_batches: object


def _gradient(sampler):
    return Oracle(functools.partial(simultaneous, sampler), sampler, lambda h, t: 1)


def _optimistic_adam(h):
    return samplers.optimistic(samplers.gidel_adam(h))


ALGORITHMS = {
    "sgd": _gradient(samplers.sgd),
    "rmsprop": _gradient(samplers.rmsprop),
    "adam": _gradient(samplers.kingma_adam),
    "optimistic_adam": _gradient(_optimistic_adam),
    "extra_adam": Oracle(extra_adam, samplers.gidel_adam, lambda h, t: 2),
    "alt_extra_adam": Oracle(alt_extra_adam, samplers.gidel_adam, lambda h, t: 2),
    "past_extra_adam": Oracle(past_extra_adam, samplers.gidel_adam, lambda h, t: 1),
    "mirror_gan": Oracle(mirror_gan, samplers.langevin, longest_inner),
    "mirror_prox_gan": Oracle(
        mirror_prox_gan, samplers.langevin, lambda h, t: 2 * longest_inner(h, t)
    ),
    "alt_mirror_gan": Oracle(alt_mirror_gan, samplers.langevin, longest_inner),
    "alt_mirror_prox_gan": Oracle(
        functools.partial(mirror_prox_gan, alternated=True),
        samplers.langevin,
        lambda h, t: 2 * longest_inner(h, t),
    ),
    "chambolle_pock": Oracle(chambolle_pock, samplers.langevin, longest_inner),
    "sample_md": Oracle(sampled.sample_md, samplers.langevin, longest_inner),
    "sample_mp": Oracle(sampled.sample_mp, samplers.langevin, lambda h, t: 2 * longest_inner(h, t)),
}


def trajectory(name, problem, h, start, num_steps, discriminator_steps=1, **options):
    """The algorithm's output after each outer step: [{"theta": [d], "w": [e]}, ...].

    In all but the last of the `discriminator_steps` only the discriminator's half moves.
    """
    algorithm = ALGORITHMS[name]
    s = {
        p: {
            "z": start[p],
            "tilde": start[p],
            "old": start[p],
            "state": algorithm.sampler(h[p]).start(start[p]),
        }
        for p in OPPONENT
    }
    m, outputs = 0, []
    for t in range(num_steps):
        for i in range(discriminator_steps):
            new = algorithm.step(problem, h, s, t, m, **options)
            s = new if i == discriminator_steps - 1 else {"theta": s["theta"], "w": new["w"]}
            m += algorithm.num_batches(h, t)
        outputs.append({p: s[p]["z"] for p in OPPONENT})
    return outputs
