"""Players that are measures of several networks, in NumPy: one atom after the other.

A problem has, with m the index of a mini-batch,

    gan                          a `tests.oracles.gan.Gan` without r1, which is of all real data
    r1                           its weight
    real(m) -> [n, 2]
    latents(player, m, num) -> [num, n, D], u(player, m) -> [n, 1]
    noise(player, m, num) -> [num, d]
    split                        whether a critic sees n / n' samples of each generator, or n
    thin                         whether a generator's field has n / n' samples, too

A player's state is a dict: "points", "states" (of the sampler, one for each point) and weights "a".
Generator theta_j descends  sum_l b_l loss(theta_j, w_l); critic w_l descends  sum_j a_j loss(w_l,
theta_j). The weights follow a_j <- a_j exp(-eta V_j) / Z, V_j what atom j descends, and are mixed
with equal ones.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tests.oracles import gan, samplers
from tests.oracles.samplers import Hyper

OPPONENT = {"theta": "w", "w": "theta"}


class Weights(NamedTuple):
    """eta (0: as they are) and delta."""

    eta: float = 0.0
    delta: float = 0.0

    def move(self, a, V):
        if self.eta == 0:
            return a
        a = a * np.exp(-self.eta * (V - V.min()))
        a = a / a.sum()
        return (1 - self.delta) * a + self.delta / len(a)


def losses_and_fields(problem, player, points, rival, m):
    """([V of each point], [gradient of each])."""
    real, u = problem.real(m), problem.u(player, m)
    V, g = [], []
    for i, z in enumerate(points):
        if player == "theta":
            latents, mine = problem.latents(player, m, len(points))[i], real
            if problem.thin:
                latents = problem.latents(player, m, 1)[0][i :: len(points)]
                mine = real[i :: len(points)]
            terms = [([(b, w)], mine, latents, u) for b, w in rival]
        else:
            num = len(rival)
            terms = []
            for j, atom in enumerate(rival):
                if problem.split:
                    latents = problem.latents(player, m, 1)[0][j::num]
                    terms.append(([atom], real[j::num], latents, u[j::num]))
                else:
                    latents = problem.latents(player, m, num)[j]
                    terms.append(([atom], real, latents, u))
        V.append(sum(problem.gan.loss(player, z, *term) for term in terms))
        g.append(sum(problem.gan.field(player, z, *term) for term in terms))
        if player == "w":
            value, slope = r1(problem, z, real)
            V[-1], g[-1] = V[-1] + value, g[-1] + slope
    return np.array(V), g


def r1(problem, w, real):
    """(r1 E |grad_x f_w(real)|^2 / 2, its gradient)."""
    f = gan.unpack(w, problem.gan.discriminator)
    v, s, masks = gan.input_gradient(f, real)
    slope = gan.input_gradient_backward(f, s, masks, problem.r1 * v / len(real))
    return problem.r1 * np.mean(np.sum(v**2, axis=1)) / 2, gan.pack(slope, len(w))


def measure(s, player):
    return list(zip(s[player]["a"], s[player]["points"], strict=True))


def one_step(problem, sampler, player, start, at, states, rival, t, m):
    """start_j + displacement_j of the fields at `at`: (points, states, V)."""
    V, g = losses_and_fields(problem, player, at, rival, m)
    xi = problem.noise(player, m, len(start))
    moved = [sampler.move(*each) for each in zip(g, states, [t] * len(g), xi, strict=True)]
    points = [z + displacement for z, (displacement, _) in zip(start, moved, strict=True)]
    return points, [state for _, state in moved], V


def inner(problem, h, player, anchor, states, rival, t, m):
    """INNER of every atom from its own anchor, all against the same measure."""
    beta, z, z_bar, V = h.beta, anchor, anchor, None
    for k in range(h.K(t)):
        z, states, V = one_step(
            problem, samplers.langevin(h), player, z, z, states, rival, t, m + k
        )
        z_bar = [(1 - beta) * old + beta * new for old, new in zip(z_bar, z, strict=True)]
    points = [(1 - beta) * old + beta * new for old, new in zip(anchor, z_bar, strict=True)]
    return points, states, V


def gradient(make):
    def step(problem, h, rule, s, t, m):
        new = {}
        for p, q in OPPONENT.items():
            points, states, V = one_step(
                problem, make(h[p]), p, s[p]["points"], s[p]["points"], s[p]["states"],
                measure(s, q), t, m,
            )  # fmt: skip
            new[p] = {"points": points, "states": states, "a": rule[p].move(s[p]["a"], V)}
        return new

    return step


def mirror_gan(problem, h, rule, s, t, m):
    new = {}
    for p, q in OPPONENT.items():
        points, states, V = inner(
            problem, h[p], p, s[p]["points"], s[p]["states"], measure(s, q), t, m
        )
        new[p] = {"points": points, "states": states, "a": rule[p].move(s[p]["a"], V)}
    return new


def mirror_prox_gan(problem, h, rule, s, t, m):
    """The anchors' atoms and weights move by the fields against the intermediate measures."""
    middle = mirror_gan(problem, h, rule, anchors(s), t, m)
    end = {}
    for p, q in OPPONENT.items():
        start = anchors(s)[p]
        points, states, V = inner(
            problem, h[p], p, start["points"], middle[p]["states"], measure(middle, q),
            t, m + max(h["theta"].K(t), h["w"].K(t)),
        )  # fmt: skip
        anchor = {"points": points, "a": rule[p].move(start["a"], V)}
        end[p] = {**middle[p], "states": states, "anchor": anchor}
    return end


def anchors(s):
    return {p: {**s[p], **s[p].get("anchor", {})} for p in OPPONENT}


ALGORITHMS = {
    "sgd": (gradient(samplers.sgd), samplers.sgd),
    "rmsprop": (gradient(samplers.rmsprop), samplers.rmsprop),
    "adam": (gradient(samplers.kingma_adam), samplers.kingma_adam),
    "mirror_gan": (mirror_gan, samplers.langevin),
    "mirror_prox_gan": (mirror_prox_gan, samplers.langevin),
}


def trajectory(name, problem, h: dict[str, Hyper], rule: dict[str, Weights], start, num_steps):
    """[{player: (points [n', d], weights [n'])}] after every outer step."""
    step, sampler = ALGORITHMS[name]
    s = {
        p: {
            "points": list(start[p]),
            "states": [sampler(h[p]).start(z) for z in start[p]],
            "a": np.full(len(start[p]), 1 / len(start[p])),
        }
        for p in OPPONENT
    }
    m, outputs = 0, []
    for t in range(num_steps):
        s = step(problem, h, rule, s, t, m)
        longest = max(h["theta"].K(t), h["w"].K(t)) if "mirror" in name else 1
        m += 2 * longest if name == "mirror_prox_gan" else longest
        outputs.append({p: (np.stack(s[p]["points"]), s[p]["a"]) for p in OPPONENT})
    return outputs
