"""Eq. 2 of the paper in NumPy, products of weights and exponentials; HiGHS; a gap by loops."""

import numpy as np
from scipy.optimize import linprog


def MD(eta, z, b):
    """z_i exp(-eta b_i) / sum."""
    new = z * np.exp(-eta * b)
    return new / new.sum()


def mirror_descent(A, a, p, q, eta_p, eta_q, T):
    """[(p_t, q_t)], t = 0, ..., T, both from the old ones."""
    out = [(p, q)]
    for _ in range(T):
        p, q = MD(eta_p, p, -A.T @ q), MD(eta_q, q, -a + A @ p)
        out.append((p, q))
    return out


def mirror_prox(A, a, p, q, eta_p, eta_q, T):
    """[(intermediates (p_t, q_t), tildes after)], t = 1, ..., T, as printed."""
    out, pt, qt = [], p, q
    for _ in range(T):
        p = MD(eta_p, pt, -A.T @ qt)
        q = MD(eta_q, qt, -a + A @ pt)
        new_pt = MD(eta_p, pt, -A.T @ q)
        new_qt = MD(eta_q, qt, -a + A @ p)
        pt, qt = new_pt, new_qt
        out.append(((p, q), (pt, qt)))
    return out


def alternated_mirror_descent(A, a, p, q, eta_p, eta_q, T):
    out = []
    for _ in range(T):
        q = MD(eta_q, q, -a + A @ p)
        p = MD(eta_p, p, -A.T @ q)
        out.append((p, q))
    return out


def chambolle_pock(A, a, p, q, eta_p, eta_q, T):
    out, old = [], p
    for _ in range(T):
        q = MD(eta_q, q, -a + A @ (2 * p - old))
        old, p = p, MD(eta_p, p, -A.T @ q)
        out.append((p, q))
    return out


def value(A, a, p, q):
    return sum(q[j] * (a[j] - sum(A[j, i] * p[i] for i in range(len(p)))) for j in range(len(q)))


def gap(A, a, p, q):
    """By trying every pure strategy."""
    n, m = A.shape
    best_q = max(value(A, a, p, np.eye(n)[j]) for j in range(n))
    best_p = min(value(A, a, np.eye(m)[i], q) for i in range(m))
    return best_q - best_p


def linear_programme(A, a):
    """(value, p, q) of min_p max_q <q, a> - <q, A p>."""
    n, m = A.shape
    solution = linprog(
        np.r_[np.zeros(m), 1.0],
        A_ub=np.c_[-A, -np.ones(n)],
        b_ub=-a,
        A_eq=np.r_[np.ones(m), 0.0][None],
        b_eq=[1.0],
        bounds=[(0, None)] * m + [(None, None)],
    )
    assert solution.success
    return solution.fun, solution.x[:m], -solution.ineqlin.marginals
