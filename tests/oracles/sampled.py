"""The sample-based algorithms 4 and 5 in NumPy, on sums over lists of past strategies.

A strategy is a list of n' points. A past is (rows, mass, extra): `rows` are all remembered
samples, which stand for `mass` strategies together, and `extra` is one more strategy or None.
Beside what `tests.oracles.algorithms` says, a problem has

    noises(player, m, n) -> [n, d]                      the chains' xi
    draws.index(player, m, counter, num, end) -> [num]  uniform in 0 ... end - 1
    draws.coin(player, m, num) -> [num]                 uniform in [0, 1)
    draws.slot(player, m, count) -> uniform in 0 ... count
    draws.row(player, m, n) -> uniform in 0 ... n - 1
"""

from __future__ import annotations

import numpy as np

from tests.oracles.samplers import root_mean_square

OPPONENT = {"theta": "w", "w": "theta"}


def gradient_of_the_sum(problem, h, player, z, past, m):
    """grad of sum_s h_s at z: every sample of every strategy, or b of them times N / b."""
    rows, mass, extra = past
    num_terms = mass + (extra is not None)
    if h.b == 0:
        opponent = [(mass / len(rows), row) for row in rows]
        opponent += [(1 / len(extra), row) for row in extra or []]
    else:
        which = problem.draws.index(player, m, 0, h.b, max(len(rows), 1))
        atoms = [rows[i] if rows else None for i in which]
        if extra is not None:
            others = problem.draws.index(player, m, 2, h.b, len(extra))
            coins = problem.draws.coin(player, m, h.b)
            atoms = [
                atom if coin < mass / num_terms else extra[i]
                for atom, coin, i in zip(atoms, coins, others, strict=True)
            ]
        opponent = [(num_terms / h.b, atom) for atom in atoms]
    return problem.field(player, z, opponent, m), num_terms


def chains_on_the_sum(problem, h, player, points, states, past, t, m):
    """K_t steps of SGLD with the step size gamma / (eta N) on eta sum_s h_s, temperature eps.

    The prior N(0, s^2 I) of the law is in it once, beside the sum: eps z / s^2.

    pSGLD's V is that of the mean loss, whose step size is gamma.
    """
    points, states = list(points), list(states)
    gamma, eps = h.gamma(t), h.eps(t)
    for k in range(h.K(t)):
        xi = problem.noises(player, m + k, len(points))
        for j, z in enumerate(points):
            G, N = gradient_of_the_sum(problem, h, player, z, past, m + k)
            if h.preconditioned:
                P, states[j] = root_mean_square(h, G / N, states[j])
                drift = G / N + eps / (h.eta * N) * z / h.s**2
                move = -gamma * P * drift + np.sqrt(2 * gamma * P * eps / (h.eta * N)) * xi[j]
            else:
                step = gamma / (h.eta * N)
                move = -step * (h.eta * G + eps * z / h.s**2) + np.sqrt(2 * step * eps) * xi[j]
            points[j] = problem.project(player, z + move)
    return points, states


class Memory:
    """What is kept of the strategies of one player; never written in place."""

    def __init__(self, kind, capacity, kept=(), count=0):
        self.kind, self.capacity, self.kept, self.count = kind, capacity, tuple(kept), count

    def add(self, strategy, draw_slot):
        kept = list(self.kept)
        slot = self.count % self.capacity if self.kind == "window" else self.count
        if self.kind != "window" and self.count >= self.capacity:
            slot = draw_slot()
        if slot < self.capacity:
            kept[slot : slot + 1] = [strategy]
        return Memory(self.kind, self.capacity, kept, self.count + 1)

    def past(self, extra=None):
        mass = len(self.kept) if self.kind == "window" else self.count
        return [row for strategy in self.kept for row in strategy], mass, extra


def start(h, mine):
    """(points, sampler states, empty memory) of a player before its first step."""
    z = mine["z"]
    points = [z] * h.n if z.ndim == 1 else list(z)
    return points, [np.zeros_like(x) for x in points], Memory(h.memory, h.H)


def sample_md(problem, h, s, t, m):
    """z_{t+1} ~ exp(-eta sum_{s<=t} h_s / eps), from the samples z_t."""
    s = {p: dict(s[p]) for p in OPPONENT}
    for p in OPPONENT:
        if "points" not in s[p]:
            points, states, memory = start(h[p], s[p])
            s[p].update(points=points, states=states, memory=memory.add(points, None))
    new = {}
    for p, q in OPPONENT.items():
        past = s[q]["memory"].past()
        points, states = chains_on_the_sum(
            problem, h[p], p, s[p]["points"], s[p]["states"], past, t, m
        )
        memory = s[p]["memory"]
        memory = memory.add(
            points, lambda p=p, memory=memory: problem.draws.slot(p, m, memory.count)
        )
        z = points[problem.draws.row(p, m, len(points))]
        new[p] = {"z": z, "points": points, "states": states, "memory": memory}
    return new


def sample_mp(problem, h, s, t, m):
    """z_t ~ exp(-eta (sum_{s<t} h_s + h_tilde_t) / eps), then tilde ~ exp(-eta sum_{s<=t} ...)."""
    s = {p: dict(s[p]) for p in OPPONENT}
    for p in OPPONENT:
        if "points" not in s[p]:
            points, states, memory = start(h[p], s[p])
            s[p].update(points=points, states=states, memory=memory)
            s[p].update(tildes=points, tilde_states=states)
    new = {}
    for p, q in OPPONENT.items():
        past = s[q]["memory"].past(extra=s[q]["tildes"])
        points, states = chains_on_the_sum(
            problem, h[p], p, s[p]["points"], s[p]["states"], past, t, m
        )
        memory = s[p]["memory"]
        memory = memory.add(
            points, lambda p=p, memory=memory: problem.draws.slot(p, m, memory.count)
        )
        z = points[problem.draws.row(p, m, len(points))]
        new[p] = {"z": z, "points": points, "states": states, "memory": memory}
    m += max(h["theta"].K(t), h["w"].K(t))
    for p, q in OPPONENT.items():
        past = new[q]["memory"].past()
        new[p]["tildes"], new[p]["tilde_states"] = chains_on_the_sum(
            problem, h[p], p, s[p]["tildes"], s[p]["tilde_states"], past, t, m
        )
    return new
