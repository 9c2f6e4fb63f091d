"""Exact stationary moments of Langevin chains on quadratic losses h(z) = z' H z / 2."""

from __future__ import annotations

import numpy as np
import scipy.linalg


def sgld_variance(sigma, gamma, eps):
    """SGLD on z^2 / (2 sigma^2): eps sigma^2 / (1 - gamma / (2 sigma^2))."""
    return eps * sigma**2 / (1 - gamma / (2 * sigma**2))


def langevin_covariance(H, P, gamma, eps):
    """S = M S M' + 2 gamma eps P with M = I - gamma P H, for a constant preconditioner P."""
    M = np.eye(len(H)) - gamma * P @ H
    return scipy.linalg.solve_discrete_lyapunov(M, 2 * gamma * eps * P)
