"""Langevin chains on quadratic losses have the exact stationary law of the discrete chain.

The samplers are elementwise, so that one vector holds many independent chains. Chains start
far apart; after the burn-in their memory of it is below 1e-6 of a standard deviation.
"""

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import f64, index
from tests.oracles import moments
from tests.statistics import assert_mean, effective_samples, r_hat
from tf_mixed_nash import rng
from tf_mixed_nash.methods import samplers
from tf_mixed_nash.methods.schedules import constant

CHAINS, BURN_IN, SAMPLES = 512, 100, 400


def chains(sampler, gradient, dim, state=None, spread=5.0):
    """Samples [T, dim, C] of C chains of z [dim]; `gradient` maps [dim, C] to [dim, C]."""
    key = rng.stream(11, "chains")

    @tf.function
    def simulate(state):
        samples = tf.TensorArray(tf.float64, SAMPLES)
        z = tf.tile(tf.linspace(f64(-spread), f64(spread), CHAINS), [dim])
        for t in tf.range(BURN_IN + SAMPLES):
            g = tf.reshape(gradient(tf.reshape(z, [dim, CHAINS])), [-1])
            xi = rng.normal(rng.fold_in(key, t), dim * CHAINS, tf.float64)
            displacement, state = sampler.update(g, state, index(0), xi)
            z += displacement
            if t >= BURN_IN:
                samples = samples.write(t - BURN_IN, tf.reshape(z, [dim, CHAINS]))
        return samples.stack()

    z = tf.zeros([dim * CHAINS], tf.float64)
    return simulate(sampler.init(z) if state is None else state).numpy()


@pytest.mark.parametrize(
    ("sigma", "gamma", "eps"), [(1.0, 0.5, 1.0), (0.7, 0.3, 0.01), (2.0, 1.0, 0.2), (1.0, 1.5, 1.0)]
)
def test_sgld_on_a_quadratic(sigma, gamma, eps):
    """h = z^2 / (2 sigma^2). The step size inflates the variance by 1 / (1 - gamma/(2 sigma^2)),
    here by 14 to 300 %."""
    sampler = samplers.langevin(constant(gamma), constant(eps), samplers.identity())
    z = chains(sampler, lambda z: z / sigma**2, dim=1)[:, 0]
    variance = moments.sgld_variance(sigma, gamma, eps)
    # A chain has at least 400 / 7 effective samples, so that R-hat is about 1 + 7 / 800.
    assert r_hat(z) < 1.02
    assert_mean(z, 0.0)
    assert_mean(z**2, variance)
    assert_mean(z[1:] * z[:-1], (1 - gamma / sigma**2) * variance)


def test_sgld_on_a_correlated_quadratic():
    """h = z' H z / 2: the covariance solves the discrete Lyapunov equation."""
    H, gamma, eps = np.array([[1.0, 0.6], [0.6, 0.8]]), 0.7, 0.3
    sampler = samplers.langevin(constant(gamma), constant(eps), samplers.identity())
    z = chains(sampler, lambda z: tf.matmul(f64(H), z), dim=2)
    covariance = moments.langevin_covariance(H, np.eye(2), gamma, eps)
    # 1 - gamma (the smallest eigenvalue, 0.29) = 0.79: 0.79^100 = 1e-10 is left after burn-in.
    for i in range(2):
        assert_mean(z[:, i], 0.0)
        for j in range(i + 1):
            assert_mean(z[:, i] * z[:, j], covariance[i, j])


def test_preconditioned_sgld_on_an_anisotropic_quadratic():
    """V moves by less than 1e-4 of itself in the whole run, so that P is constant: the variance
    of coordinate i is eps / (h_i (1 - gamma P_i h_i / 2)), within 1e-4 of itself."""
    h, gamma, eps, decay = np.array([0.5, 1.0, 4.0]), 0.5, 0.1, 1.0 - 1e-8
    stability = 1e-3
    V = eps * h  # the size of g^2
    P = 1 / (np.sqrt(V) + stability)
    gamma *= 1 / np.max(P * h)  # gamma P h = 0.18, 0.25, 0.5
    preconditioner = samplers.rms(decay, stability)
    sampler = samplers.langevin(constant(gamma), constant(eps), preconditioner)
    state = f64(np.repeat(V, CHAINS))
    z = chains(sampler, lambda z: f64(h)[:, None] * z, dim=3, state=state, spread=0.1)
    for i in range(3):
        covariance = moments.langevin_covariance(np.diag(h), np.diag(P), gamma, eps)
        exact = eps / (h[i] * (1 - gamma * P[i] * h[i] / 2))
        np.testing.assert_allclose(covariance[i, i], exact, rtol=1e-12)
        assert_mean(z[:, i], 0.0)
        assert_mean(z[:, i] ** 2, exact)


def test_the_bounds_would_see_a_wrong_square_root():
    """sqrt(gamma eps) for sqrt(2 gamma eps) halves the variance. The bound on the variance is
    five standard errors of its effective sample size: below 5 %, so ten times too small."""
    sampler = samplers.langevin(constant(0.5), constant(1.0), samplers.identity())
    z = chains(sampler, lambda z: z, dim=1)[:, 0]
    size = effective_samples(z**2)
    # AR(1) with coefficient 1/2; its square has autocorrelations 4^-k and relative variance 2.
    np.testing.assert_allclose(size, CHAINS * SAMPLES * (1 - 0.25) / (1 + 0.25), rtol=0.1)
    assert 5 * np.sqrt(2 / size) < 0.05
    halved = z / np.sqrt(2)
    with pytest.raises(AssertionError, match="standard errors off"):
        assert_mean(halved**2, moments.sgld_variance(1.0, 0.5, 1.0))
