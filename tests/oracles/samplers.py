"""One step of every sampler on a loss h; g is a stochastic gradient of h (float64 arrays).

A sampler is (start, move): `start(z) -> state` and `move(g, state, t, xi, z=0.0) -> (displacement,
state)`, where z is the point that moves: it is pulled towards 0. States are never written in place,
so that an old one can be kept.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class Hyper(NamedTuple):
    """One player's hyperparameters; gamma, eps and K are functions of the outer step t."""

    gamma: Callable[[int], float]
    eps: Callable[[int], float] = lambda t: 0.0
    K: Callable[[int], int] = lambda t: 1
    beta: float = 0.9
    preconditioned: bool = True
    a: float = 0.99  # decay of V
    corrected: bool = False  # V / (1 - a^n)
    s: float = math.inf  # of the prior N(0, s^2 I) of the Langevin algorithms
    c: float = 0.0  # weight decay of the others
    lam: float = 1e-8  # lambda of RMSProp, or Adam's constant
    decay_1: float = 0.5
    decay_2: float = 0.9
    # Of the sample-based algorithms:
    n: int = 1  # n', chains
    memory: str = "reservoir"
    H: int = 200
    b: int = 1  # samples of the past at a step; 0: all
    eta: float = 1.0


class Sampler(NamedTuple):
    start: Callable
    move: Callable


def sgld(h: Hyper) -> Sampler:
    """z <- z - gamma (g + eps z / s^2) + sqrt(2 gamma eps) xi."""

    def move(g, nothing, t, xi, z=0.0):
        g = g + h.eps(t) / h.s**2 * z
        return -h.gamma(t) * g + np.sqrt(2 * h.gamma(t) * h.eps(t)) * xi, nothing

    return Sampler(lambda z: None, move)


def psgld(h: Hyper) -> Sampler:
    """V <- a V + (1-a) g^2;  P = 1/(sqrt V + lam);
    z <- z - gamma P (g + eps z / s^2) + sqrt(2 gamma eps P) xi.
    """

    def move(g, state, t, xi, z=0.0):
        P, state = root_mean_square(h, g, state)
        drift = g + h.eps(t) * z / h.s**2
        return -h.gamma(t) * P * drift + np.sqrt(2 * h.gamma(t) * h.eps(t) * P) * xi, state

    return Sampler(lambda z: (np.zeros(z.shape), 0), move)


def root_mean_square(h: Hyper, g, state):
    """(P, (V, n)) after one more gradient; with the correction V / (1 - a^n) is under the root."""
    V, n = h.a * state[0] + (1 - h.a) * g * g, state[1] + 1
    mean = V / (1 - h.a**n) if h.corrected else V
    return 1 / (np.sqrt(mean) + h.lam), (V, n)


def langevin(h: Hyper) -> Sampler:
    return psgld(h) if h.preconditioned else sgld(h)


def sgd(h: Hyper) -> Sampler:
    """z <- z - gamma (g + c z)."""
    return Sampler(
        lambda z: None, lambda g, nothing, t, xi, z=0.0: (-h.gamma(t) * (g + h.c * z), nothing)
    )


def rmsprop(h: Hyper) -> Sampler:
    """V <- a V + (1-a) g^2;  z <- z - gamma (g + c z) / (sqrt V + lam)."""

    def move(g, state, t, xi, z=0.0):
        P, state = root_mean_square(h, g, state)
        return -h.gamma(t) * P * (g + h.c * z), state

    return Sampler(lambda z: (np.zeros(z.shape), 0), move)


def kingma_adam(h: Hyper) -> Sampler:
    """Kingma & Ba 2015, algorithm 1: the constant joins the root of the corrected moment."""

    def move(g, state, t, xi, z=0.0):
        m, v, n = state
        n = n + 1
        m = h.decay_1 * m + (1 - h.decay_1) * g
        v = h.decay_2 * v + (1 - h.decay_2) * g**2
        m_hat, v_hat = m / (1 - h.decay_1**n), v / (1 - h.decay_2**n)
        step = m_hat / (np.sqrt(v_hat) + h.lam) + h.c * z  # AdamW
        return -h.gamma(t) * step, (m, v, n)

    return Sampler(lambda z: (np.zeros(z.shape), np.zeros(z.shape), 0), move)


def gidel_adam(h: Hyper) -> Sampler:
    """As in Gidel et al.'s public code: lr sqrt(c_2)/c_1 * m / (sqrt(v) + lam)."""

    def move(g, state, t, xi, z=0.0):
        m, v, n = state[0], state[1], state[2] + 1
        m = h.decay_1 * m + (1 - h.decay_1) * g
        v = h.decay_2 * v + (1 - h.decay_2) * g**2
        rate = h.gamma(t) * np.sqrt(1 - h.decay_2**n) / (1 - h.decay_1**n)
        return -rate * m / (np.sqrt(v) + h.lam) - h.gamma(t) * h.c * z, (m, v, n)

    return Sampler(lambda z: (np.zeros(z.shape), np.zeros(z.shape), 0), move)


def optimistic(inner: Sampler) -> Sampler:
    """z <- z - 2 Delta_t + Delta_{t-1}, with no second term at the first step."""

    def move(g, state, t, xi, z=0.0):
        inside, last = state
        displacement, inside = inner.move(g, inside, t, xi, z)
        moved = 2 * displacement if last is None else 2 * displacement - last
        return moved, (inside, displacement)

    return Sampler(lambda z: (inner.start(z), None), move)


def tfp_sgld(z, gradients, noise, learning_rate, data_size, decay=None):
    """TensorFlow Probability's StochasticGradientLangevinDynamics, from its documentation.

    G_t = 1 / sqrt(V_t), V_0 = 1; without a decay G = 1. Each step is a draw of
    N(0.5 N G g, G / learning_rate), times minus the learning rate; the diagonal bias is 0.

    Returns:
      z after each step.
    """
    V, points = np.ones_like(z), []
    for g, xi in zip(gradients, noise, strict=True):
        if decay is not None:
            V = V * decay + np.square(g) * (1 - decay)
        G = V**-0.5
        drift = 0.5 * data_size * G * g
        deviation = np.sqrt(G) / np.sqrt(learning_rate)
        z = z - learning_rate * (drift - deviation * xi)  # -xi is a draw like xi
        points.append(z)
    return points
