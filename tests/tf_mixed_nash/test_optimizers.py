"""Langevin, the Keras optimizer: our sampler's steps, TFP's formula, the law, and what is saved."""

import doctest

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import assert_close, f64, index
from tests.oracles.samplers import tfp_sgld
from tests.statistics import NUM_SIGMAS
from tf_mixed_nash import InputError, optimizers
from tf_mixed_nash.methods import samplers, schedules
from tf_mixed_nash.optimizers import Langevin

STEPS = 6
SHAPES = [(3, 2), (5,), ()]


def gradients(seed=0, shapes=SHAPES):
    random = np.random.default_rng(seed)
    return [[random.normal(size=shape) for shape in shapes] for _ in range(STEPS)]


def starts(dtype="float64", shapes=SHAPES):
    random = np.random.default_rng(9)
    return [keras.Variable(random.normal(size=shape), dtype=dtype) for shape in shapes]


def walk(optimizer, variables, all_gradients, apply=None):
    """The variables after every step: [step][variable]."""
    apply = apply or optimizer.apply
    points = []
    for g in all_gradients:
        apply([tf.cast(x, v.dtype) for x, v in zip(g, variables, strict=True)], variables)
        points.append([v.numpy() for v in variables])
    return points


@pytest.mark.parametrize("scheduled", [False, True])
@pytest.mark.parametrize("preconditioner", ["none", "rms"])
def test_it_takes_the_steps_of_our_sampler(preconditioner, scheduled):
    """One sampler a variable, at the noise that the optimizer says it draws."""
    gamma, eps = schedules.constant(0.05), schedules.constant(0.3)
    rates = {"learning_rate": 0.05, "temperature": 0.3}
    if scheduled:
        gamma, eps = schedules.cosine(0.05, 9), schedules.linear(0.3, 7)
        rates = {
            "learning_rate": keras.optimizers.schedules.CosineDecay(0.05, 9),
            "temperature": keras.optimizers.schedules.PolynomialDecay(0.3, 7, 0.0),
        }
    P = samplers.rms(0.9, 1e-3, 0.5) if preconditioner == "rms" else samplers.identity()
    sampler = samplers.langevin(gamma, eps, P)
    optimizer = Langevin(
        **rates, preconditioner=preconditioner, decay=0.9, stability=1e-3, initial=0.5, seed=2**40
    )
    variables = starts()
    points = [f64(v.numpy()) for v in variables]
    states = [sampler.init(z) for z in points]
    # Keras's schedules compute in float32.
    tolerance = 1e-7 if scheduled else 1e-12
    if not scheduled:  # the learning rate is a float32 variable
        optimizer.learning_rate = lambda: tf.constant(0.05, tf.float64)
    for t, got in enumerate(walk(optimizer, variables, gradients())):
        for i, g in enumerate(gradients()[t]):
            xi = optimizer.noise(i, t, points[i].shape, tf.float64)
            move, states[i] = sampler.update(f64(g), states[i], index(t), xi)
            points[i] += move
            assert_close(got[i], points[i].numpy(), tolerance)


@pytest.mark.parametrize("decay", [None, 0.75])
def test_it_takes_the_steps_of_tensorflow_probability(decay):
    """TFP's (lr, N) is gamma = lr N / 2, eps = 1 / N; its V starts at 1."""
    lr, size = 0.0625, 4
    optimizer = Langevin(
        learning_rate=lambda: tf.constant(lr * size / 2, tf.float64),
        temperature=1 / size,
        preconditioner="rms" if decay else "none",
        decay=decay or 0.0,
        stability=0.0,
        initial=1.0,
    )
    variables = starts()
    begin = [v.numpy() for v in variables]
    got = walk(optimizer, variables, gradients())
    for i, z in enumerate(begin):
        own = [g[i] for g in gradients()]
        xi = [optimizer.noise(i, t, z.shape, "float64").numpy() for t in range(STEPS)]
        expected = tfp_sgld(z, own, xi, lr, size, decay)
        assert_close([point[i] for point in got], expected, 1e-12)


def test_the_bias_of_the_first_steps_is_corrected():
    """After one step from V = 0 the corrected V is g^2: every entry moves by gamma."""
    optimizer = Langevin(
        0.5, temperature=0.0, preconditioner="rms", stability=0.0, bias_correction=True
    )
    variables = starts("float32")
    begin = [v.numpy() for v in variables]
    (g, *_) = gradients()
    (got, *_) = walk(optimizer, variables, [g])
    for z, x, dz in zip(begin, got, g, strict=True):
        np.testing.assert_allclose(x, z - 0.5 * np.sign(dz), rtol=1e-5)


@pytest.mark.parametrize("preconditioner", ["none", "rms"])
def test_the_stationary_law_of_a_gaussian(preconditioner):
    """h = z^2 / 2 with prior precision 1: the law is N(0, eps / 2), inflated by
    1 / (1 - gamma P) for a curvature of 2; V of rms stays 1, so that P = 1 there too."""
    gamma, eps, chains, steps = 0.1, 0.3, 4000, 120
    z = keras.Variable(tf.fill([chains], 3.0))
    optimizer = Langevin(
        gamma,
        temperature=eps,
        preconditioner=preconditioner,
        decay=1.0 - 1e-9,
        stability=0.0,
        initial=1.0,
        weight_decay=1.0,
        seed=4,
    )

    @tf.function
    def run():
        for _ in tf.range(steps):
            optimizer.apply([z.value], [z])

    optimizer.build([z])
    run()
    # (1 - 2 gamma)^120 = 2e-12 is left of the start; chains are independent.
    variance = eps / (2.0 * (1.0 - gamma))
    x = z.numpy()
    assert abs(x.mean()) < NUM_SIGMAS * np.sqrt(variance / chains)
    assert abs(x.var() / variance - 1) < NUM_SIGMAS * np.sqrt(2 / chains)


def test_every_variable_and_step_and_seed_has_noise_of_its_own():
    draws = [
        Langevin(seed=seed).noise(i, t, [1000]).numpy()
        for seed in (0, 1, 2**32)
        for i in (0, 1)
        for t in (0, 1, 2**33)
    ]
    correlations = np.corrcoef(draws) - np.eye(len(draws))
    assert np.abs(correlations).max() < NUM_SIGMAS / np.sqrt(1000)
    assert np.abs(np.mean(draws)) < NUM_SIGMAS / np.sqrt(np.size(draws))
    assert np.abs(np.var(draws) - 1) < NUM_SIGMAS * np.sqrt(2 / np.size(draws))


@pytest.mark.parametrize("how", ["graph", "xla"])
def test_compiled_it_draws_the_same(how):
    expected = walk(Langevin(0.1, 0.5, seed=3), starts("float32"), gradients())
    optimizer, variables = Langevin(0.1, 0.5, seed=3), starts("float32")
    optimizer.build(variables)
    apply = tf.function(optimizer.apply, jit_compile=how == "xla")
    got = walk(optimizer, variables, gradients(), lambda g, v: apply(g))
    for a, b in zip(got, expected, strict=True):
        for x, y in zip(a, b, strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_16_bits_are_updated_in_float32_and_rounded(dtype):
    optimizer = Langevin(0.1, 0.5, preconditioner="rms", seed=3)
    variables = starts(dtype)
    (got, *_) = walk(optimizer, variables, gradients())
    exact = Langevin(0.1, 0.5, preconditioner="rms", seed=3)
    same = [keras.Variable(v.numpy().astype("float32")) for v in starts(dtype)]
    rounded = [[x.astype(variables[0].numpy().dtype) for x in g] for g in gradients()]
    (expected, *_) = walk(exact, same, rounded)
    for x, y in zip(got, expected, strict=True):
        np.testing.assert_array_equal(x, y.astype(x.dtype))
    assert {v.dtype for v in optimizer._V} == {"float32"}


def test_a_sparse_gradient_is_a_dense_one():
    """Rows that a batch does not show have noise, and their prior, too."""
    ids, values = tf.constant([1, 3, 1]), tf.ones([3, 2])
    sparse = tf.IndexedSlices(values, ids, tf.constant([5, 2]))
    results = []
    for g in (sparse, tf.convert_to_tensor(sparse)):
        z = keras.Variable(np.ones((5, 2)))
        Langevin(0.1, 0.5, weight_decay=0.1, preconditioner="rms").apply([g], [z])
        results.append(z.numpy())
    np.testing.assert_array_equal(*results)
    assert (results[0] != 1.0).all()


def test_variables_can_be_spared_the_prior():
    optimizer = Langevin(0.5, temperature=0.0, weight_decay=1.0)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    kernel, bias = keras.Variable([1.0], name="kernel"), keras.Variable([1.0], name="bias")
    optimizer.apply([tf.zeros([1]), tf.zeros([1])], [kernel, bias])
    assert (kernel.numpy(), bias.numpy()) == (0.5, 1.0)


def model_of(**options):
    keras.utils.set_random_seed(0)
    layers = [keras.Input((3,)), keras.layers.Dense(4, "tanh"), keras.layers.Dense(1)]
    model = keras.Sequential(layers)
    # XLA's draws are test_compiled_it_draws_the_same's; it compiles for seconds.
    model.compile(Langevin(**options), "mse", jit_compile=False)
    return model


def data():
    random = np.random.default_rng(0)
    x = random.normal(size=(64, 3)).astype("float32")
    return x, x.sum(1, keepdims=True)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras's own
@pytest.mark.parametrize(
    "options", [pytest.param({}, marks=pytest.mark.slow), {"preconditioner": "rms"}]
)
def test_a_saved_model_goes_on_as_if_it_had_not_stopped(tmp_path, options):
    options = {
        "learning_rate": keras.optimizers.schedules.ExponentialDecay(0.05, 10, 0.5),
        "temperature": keras.optimizers.schedules.PolynomialDecay(1e-2, 20),
        "weight_decay": 0.01,
        "seed": 7,
        **options,
    }
    x, y = data()
    whole = model_of(**options)
    once = {"batch_size": 16, "shuffle": False, "verbose": 0}
    whole.fit(x, y, epochs=2, **once)
    whole.save(tmp_path / "half.keras")
    whole.fit(x, y, epochs=2, **once)
    resumed = keras.models.load_model(tmp_path / "half.keras")
    assert isinstance(resumed.optimizer, Langevin)
    assert resumed.optimizer.get_config() == whole.optimizer.get_config()
    assert int(resumed.optimizer.iterations) == 8
    resumed.fit(x, y, epochs=2, **once)
    assert int(resumed.optimizer.iterations) == 16
    for a, b in zip(resumed.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_it_fits_a_model():
    model = model_of(learning_rate=0.05, temperature=1e-6, preconditioner="rms", stability=1e-2)
    x, y = data()
    before = model.evaluate(x, y, verbose=0)
    model.fit(x, y, epochs=20, batch_size=16, verbose=0)
    assert model.evaluate(x, y, verbose=0) < 0.2 * before


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"learning_rate": -0.1}, "learning_rate must be a number at least 0 or a schedule"),
        ({"temperature": float("nan")}, "temperature must be a number at least 0 or a schedule"),
        ({"temperature": "hot"}, "got 'hot'"),
        ({"preconditioner": "adam"}, "Choose one of: none, rms"),
        ({"decay": 1.0}, r"decay must be a number in \[0, 1\)"),
        ({"stability": -1e-9}, "stability"),
        ({"initial": -1.0}, "initial"),
        ({"weight_decay": -0.1}, "weight_decay must be a number at least 0, or None"),
        ({"seed": -1}, "seed must be an integer"),
        ({"seed": True}, "seed must be an integer"),
    ],
)
def test_bad_input(options, says):
    with pytest.raises(InputError, match=says):
        Langevin(**options)


def test_the_example_of_its_docstring():
    finder = doctest.DocTestFinder(recurse=False)
    (example,) = finder.find(Langevin, "Langevin", module=optimizers)
    runner = doctest.DocTestRunner()
    runner.run(example)
    assert (runner.failures, runner.tries > 5) == (0, True)
