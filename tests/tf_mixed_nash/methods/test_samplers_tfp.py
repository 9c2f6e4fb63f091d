"""SGLD and preconditioned SGLD against TensorFlow Probability's optimizer.

TFP's (lr, data_size) is gamma = lr data_size / 2, eps = 1 / data_size. Its V starts at 1, its
constant is inside the root (0 here), and it adds no noise in the first burnin + 1 steps. Its Gamma
term gamma eps dP/dz, which ours drops, is 0 on losses that are linear in z; on others TFP 0.25
differentiates with respect to a second read of the variable, so that it is 0 there too. It exists
in graph mode only. All its hyperparameters are numbers that float32 holds exactly.
"""

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
import tensorflow_probability as tfp

from tests.helpers import assert_close, f64, index
from tests.statistics import NUM_SIGMAS, P_VALUE
from tf_mixed_nash import rng
from tf_mixed_nash.methods import samplers
from tf_mixed_nash.methods.schedules import constant

LR, DATA_SIZE = 0.0625, 4
GAMMA, EPS = LR * DATA_SIZE / 2, 1 / DATA_SIZE

GRADIENTS = np.random.default_rng(3).normal(size=(12, 5))

# decay of V: 1 keeps P = 1, which is SGLD.
each_decay = pytest.mark.parametrize("decay", [1.0, 0.75], ids=["sgld", "psgld"])


def tfp_walk(start, gradients, decay, burnin, curvature=0.0):
    """z after every step of TFP on the loss <g_t, z> + curvature |z|^2 / 2: [T, d]."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        tf.compat.v1.set_random_seed(1)
        g = tf.compat.v1.placeholder(tf.float64, start.shape)
        z = tf.Variable(start)
        optimizer = tfp.optimizer.StochasticGradientLangevinDynamics(
            learning_rate=LR,
            data_size=DATA_SIZE,
            preconditioner_decay_rate=decay,
            burnin=burnin,
            diagonal_bias=0.0,
        )
        step = optimizer.apply_gradients([(g + curvature * z, z)])
        session.run(tf.compat.v1.global_variables_initializer())
        points = []
        for gradient in gradients:
            session.run(step, {g: gradient})
            points.append(session.run(z))
    return np.array(points)


def our_sampler(decay, eps):
    # decay = 1 is outside rms's range: it is SGLD's identity.
    preconditioner = (
        samplers.identity() if decay == 1 else samplers.rms(decay, stability=0.0, initial=1.0)
    )
    return samplers.langevin(constant(GAMMA), constant(eps), preconditioner)


def our_walk(start, gradients, decay, eps=0.0, curvature=0.0):
    sampler, z, points = our_sampler(decay, eps), f64(start), []
    state = sampler.init(z)
    key = rng.stream(1, "test")
    for t, gradient in enumerate(gradients):
        xi = rng.normal(rng.fold_in(key, t), len(start), tf.float64) if sampler.noisy else None
        displacement, state = sampler.update(f64(gradient) + curvature * z, state, index(0), xi)
        z += displacement
        points.append(z.numpy())
    return np.array(points)


@each_decay
@pytest.mark.parametrize("curvature", [0.0, 0.5])
def test_without_noise_the_trajectories_are_equal(decay, curvature):
    start = np.linspace(-1.0, 1.0, 5)
    theirs = tfp_walk(start, GRADIENTS, decay, burnin=100, curvature=curvature)
    assert_close(our_walk(start, GRADIENTS, decay, curvature=curvature), theirs, 1e-13)


@each_decay
def test_the_noise_has_the_same_law(decay):
    """One step without noise, five with: the sum of 30,000 chains' displacements. Mean and
    variance within five standard errors of theory, and one law (Kolmogorov-Smirnov)."""
    chains, gradients = 30_000, np.array([0.5, -1.0, 2.0, 0.3, -0.7, 1.2])
    start, rows = np.zeros(chains), np.repeat(gradients[:, None], chains, axis=1)
    theirs = tfp_walk(start, rows, decay, burnin=0)
    ours = our_walk(start, rows, decay, EPS)
    V, mean, variance = 1.0, 0.0, 0.0
    for t, g in enumerate(gradients):
        V = decay * V + (1 - decay) * g**2
        if t > 0:  # TFP's first step is noiseless
            mean -= GAMMA * V**-0.5 * g
            variance += 2 * GAMMA * EPS * V**-0.5
    moved = [z[-1] - z[0] for z in (ours, theirs)]
    for x in moved:
        assert abs(np.mean(x) - mean) < NUM_SIGMAS * np.sqrt(variance / chains)
        # The variance of n normals has a relative standard error of sqrt(2 / n).
        assert abs(np.var(x) / variance - 1) < NUM_SIGMAS * np.sqrt(2 / chains)
    assert scipy.stats.ks_2samp(*moved).pvalue > P_VALUE
