"""One step of every sampler: against NumPy, and its contract."""

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import assert_close, f64, index
from tests.oracles import samplers as oracles
from tests.oracles.samplers import Hyper
from tf_mixed_nash.methods import samplers
from tf_mixed_nash.methods.schedules import constant, exponential

RANDOM = np.random.default_rng(7)
GRADIENTS, NOISE = RANDOM.normal(size=(2, 6, 5))
Z = RANDOM.normal(size=5)

HYPER = Hyper(
    gamma=lambda t: 0.1 * 0.9**t,
    eps=lambda t: 0.02 * 0.8**t,
    a=0.9,
    lam=1e-3,
    decay_1=0.6,
    decay_2=0.8,
)
GAMMA, EPS = exponential(0.1, 0.1), exponential(0.02, 0.2)


def adam(before=False):
    return samplers.adam(GAMMA, 0.6, 0.8, 1e-3, stability_before_correction=before)


SAMPLERS = {
    "sgd": (samplers.langevin(GAMMA, constant(0.0), samplers.identity()), oracles.sgd),
    "rmsprop": (samplers.langevin(GAMMA, constant(0.0), samplers.rms(0.9, 1e-3)), oracles.rmsprop),
    "sgld": (samplers.langevin(GAMMA, EPS, samplers.identity()), oracles.sgld),
    "psgld": (samplers.langevin(GAMMA, EPS, samplers.rms(0.9, 1e-3)), oracles.psgld),
    "adam": (adam(), oracles.kingma_adam),
    "reference adam": (adam(before=True), oracles.gidel_adam),
    "optimistic adam": (
        samplers.optimistic(adam()),
        lambda h: oracles.optimistic(oracles.kingma_adam(h)),
    ),
    "optimistic sgld": (
        samplers.optimistic(samplers.langevin(GAMMA, EPS, samplers.identity())),
        lambda h: oracles.optimistic(oracles.sgld(h)),
    ),
}
each_sampler = pytest.mark.parametrize("name", SAMPLERS)


def walk(sampler, dtype=tf.float64, gradients=GRADIENTS):
    """The displacements [T, d] of a sampler along fixed gradients and noise."""
    state, displacements = sampler.init(tf.cast(Z, dtype)), []
    for t, (g, xi) in enumerate(zip(gradients, NOISE, strict=True)):
        d, state = sampler.update(
            tf.cast(g, dtype), state, index(t), tf.cast(xi, dtype) if sampler.noisy else None
        )
        displacements.append(d.numpy())
    return np.array(displacements)


CORRECTED = samplers.rms(0.9, 1e-3, correction=True)


def test_a_corrected_start_does_not_kick():
    """The first step is gamma in every coordinate, and not gamma / sqrt(1 - a)."""
    step, none = constant(0.01), constant(0.0)
    steps = walk(samplers.langevin(step, none, CORRECTED))
    np.testing.assert_allclose(np.abs(steps[0, 1:]), 0.01, rtol=0.01)  # the first gradient is small
    V, expected = np.zeros(5), []
    for n, g in enumerate(GRADIENTS, 1):
        V = 0.9 * V + 0.1 * g**2
        expected.append(-0.01 * g / (np.sqrt(V / (1 - 0.9**n)) + 1e-3))
    assert_close(steps, expected)
    kick = walk(samplers.langevin(step, none, samplers.rms(0.9, 1e-3)))[0]
    np.testing.assert_allclose(np.abs(kick[1:]), 0.01 / np.sqrt(0.1), rtol=0.02)
    with pytest.raises(ValueError, match="Only V_0 = 0"):
        samplers.rms(initial=1.0, correction=True)


def test_the_law_has_its_prior():
    """Of no loss it is N(0, s^2): a walk that is pulled, and without a prior goes anywhere."""
    step, eps, s = 0.02, 0.5, 1.5
    sampler = samplers.langevin(constant(step), constant(eps), samplers.identity(), prior_std=s)
    z, nothing = tf.zeros([4000], tf.float64), tf.zeros([4000], tf.float64)
    random = np.random.default_rng(0)
    for t in range(600):  # 600 x 0.02 x eps / s^2 = 2.7 relaxation times
        xi = tf.constant(random.normal(size=4000))
        z += samplers.moved_by(sampler, z, nothing, (), t, xi)[0]
    # The variance of the walk: s^2 (1 - exp(-2 x 2.67)), and its own error.
    assert np.var(z) == pytest.approx(s**2 * (1 - np.exp(-5.33)), rel=5 * np.sqrt(2 / 4000))
    assert samplers.langevin(constant(step), constant(0.0), CORRECTED, prior_std=s).pull is None
    assert samplers.langevin(constant(step), constant(eps), CORRECTED).pull is None


def test_units_without_gradients_are_pulled_by_their_rate_alone():
    """V does not see the pull: else P would be as large as the pull is small."""
    decayed = samplers.langevin(constant(0.1), constant(0.0), samplers.rms(0.9, 1.0), 0.0, 1e-3)
    zero = tf.zeros([5], tf.float64)
    d, V = samplers.moved_by(decayed, f64(Z), zero, decayed.init(f64(Z)), 0, None)
    np.testing.assert_allclose(d, -0.1 * 1e-3 * Z)
    np.testing.assert_array_equal(V, 0.0)


@each_sampler
def test_displacements_match_the_transcription(name):
    ours, transcription = SAMPLERS[name]
    theirs = transcription(HYPER)
    state, expected = theirs.start(Z), []
    for t, (g, xi) in enumerate(zip(GRADIENTS, NOISE, strict=True)):
        d, state = theirs.move(g, state, t, xi)
        expected.append(d)
    assert_close(walk(ours), np.array(expected), 1e-13)


@each_sampler
def test_noisy_says_whether_the_noise_is_read(name):
    sampler, _ = SAMPLERS[name]
    assert sampler.noisy == name.endswith("sgld")
    state, g = sampler.init(f64(Z)), f64(GRADIENTS[0])
    a, b = (sampler.update(g, state, index(0), f64(xi))[0] for xi in NOISE[:2])
    assert np.array_equal(a, b) != sampler.noisy


@each_sampler
@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
def test_state_keeps_its_structure_and_types(name, dtype):
    sampler, _ = SAMPLERS[name]
    z = tf.cast(Z, dtype)
    state = sampler.init(z)
    d, new = sampler.update(tf.cast(GRADIENTS[0], dtype), state, index(0), tf.ones_like(z))
    assert d.dtype == dtype
    assert d.shape == z.shape
    tf.nest.assert_same_structure(state, new)
    for old_leaf, new_leaf in zip(tf.nest.flatten(state), tf.nest.flatten(new), strict=True):
        assert (old_leaf.dtype, old_leaf.shape) == (new_leaf.dtype, new_leaf.shape)


@each_sampler
def test_update_is_pure(name):
    sampler, _ = SAMPLERS[name]
    np.testing.assert_array_equal(walk(sampler), walk(sampler))


@each_sampler
def test_float32_is_float64_rounded(name):
    """A displacement is below 1 in size after about ten operations: 1e-5 >> 10 * 6e-8."""
    sampler, _ = SAMPLERS[name]
    assert_close(walk(sampler, tf.float32), walk(sampler), 1e-5)


def test_preconditioned_langevin_without_temperature_is_rmsprop():
    """A temperature that is 0 at every t but not known to be: the noise is read, times 0."""
    psgld = samplers.langevin(GAMMA, lambda t: f64(0.0), samplers.rms(0.9, 1e-3))
    rmsprop, _ = SAMPLERS["rmsprop"]
    assert psgld.noisy
    assert not rmsprop.noisy
    np.testing.assert_array_equal(walk(psgld), walk(rmsprop))


def test_rms_starts_at_its_initial_value():
    V = samplers.rms(initial=0.7).init(f64(Z))
    np.testing.assert_array_equal(V, np.full(5, 0.7))


def test_python_numbers_are_not_rounded_to_float32():
    """0.1 in float32 is off by 1.5e-9."""
    sampler = samplers.langevin(constant(0.1), constant(0.0), samplers.identity())
    d, _ = sampler.update(f64([1.0]), (), index(0), None)
    assert d.numpy()[0] == -0.1


def test_adams_first_step_has_the_size_of_gamma():
    """m-hat / sqrt(v-hat) is the sign of g, whatever the decays (stability 0)."""
    sampler = samplers.adam(constant(0.1), 0.9, 0.999, stability=0.0)
    d, _ = sampler.update(f64(GRADIENTS[0]), sampler.init(f64(Z)), index(0), None)
    assert_close(d, -0.1 * np.sign(GRADIENTS[0]), 1e-14)


@pytest.mark.parametrize("before", [False, True])
def test_where_adams_constant_is_added(before):
    """At g = 1 and count 1: sqrt(v-hat) = 1, sqrt(v) = sqrt(1 - decay_2)."""
    decay_2, lam = 0.75, 0.5
    sampler = samplers.adam(constant(1.0), 0.0, decay_2, lam, before)
    d, _ = sampler.update(f64([1.0]), sampler.init(f64([0.0])), index(0), None)
    root = (np.sqrt(1 - decay_2) + lam) / np.sqrt(1 - decay_2) if before else 1 + lam
    assert_close(d, [-1 / root], 1e-15)


@pytest.mark.parametrize(
    ("preconditioner", "P"),
    [(samplers.identity(), 1.0), (samplers.rms(decay=0.99, stability=0.0), 10.0)],
    ids=["identity", "rms"],
)
def test_noise_has_variance_two_gamma_eps_preconditioner(preconditioner, P):
    """At g = 1 and V_0 = 0, V = 0.01 and P = 10."""
    sampler = samplers.langevin(GAMMA, EPS, preconditioner)
    state, g = sampler.init(f64([0.0])), f64([1.0])
    with_noise, _ = sampler.update(g, state, index(2), f64([1.0]))
    without, _ = sampler.update(g, state, index(2), f64([0.0]))
    gamma, eps = 0.1 * 0.9**2, 0.02 * 0.8**2
    assert_close((with_noise - without) ** 2, [2 * gamma * eps * P], 1e-13)


def test_adams_second_decay_may_follow_a_schedule():
    """v-hat is corrected as if the decay had always been what it is now; in NumPy."""
    decay = lambda t: 0.9 + 0.03 * tf.cast(t, tf.float64)  # noqa: E731
    sampler = samplers.adam(constant(0.1), 0.6, decay, stability=1e-3)
    gradients = np.random.default_rng(0).normal(size=(4, 5))
    state = sampler.init(tf.zeros([5], tf.float64))
    first = second = np.zeros(5)
    for t, g in enumerate(gradients):
        move, state = sampler.update(tf.constant(g), state, tf.constant(t, tf.int64), None)
        a, n = 0.9 + 0.03 * t, t + 1
        first, second = 0.6 * first + 0.4 * g, a * second + (1 - a) * g**2
        root = np.sqrt(second / (1 - a**n)) + 1e-3
        assert_close(move, -0.1 * first / (1 - 0.6**n) / root, 1e-12)
