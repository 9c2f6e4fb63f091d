"""What is published draws what the strategy draws, on any server and in any batch."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from export import checks, publish, runtime
from export import strategy as strategies
from tests.export.conftest import (
    LATENT_DIM,
    ONLY_MIXTURE,
    SPACING,
    WEIGHTS,
    answers,
    forward,
    make_strategy,
    samples_of,
    seed_array,
)
from tf_mixed_nash.errors import InputError
from tf_mixed_nash.strategies.mixed import MixedStrategy
from tf_mixed_nash.types import Measure

REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def sample(published, seeds) -> np.ndarray:
    return published.served.run("sample", {"seeds": seeds})["samples"]


def components_of(samples: np.ndarray) -> np.ndarray:
    return np.round(samples[:, 0] / SPACING).astype(int)


# The answers, against the networks in NumPy.


def test_sample_is_the_strategy_s(published):
    seeds = np.concatenate([seed_array(0, 40), seed_array(2**40 + 7, 40), seed_array(-3, 20)])
    expected = samples_of(published.strategy, seeds)
    loaded = tf.saved_model.load(str(published.version))
    for name in ("sample", "serving_default"):
        by_session = published.served.run(name, {"seeds": seeds})["samples"]
        by_python = loaded.signatures[name](seeds=tf.constant(seeds))["samples"].numpy()
        for values in (by_session, by_python):
            assert (values.dtype, values.shape) == (np.float32, (100, 2))
            np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-4)


def test_components_have_their_weights(published):
    num, weights = 4000, np.array(WEIGHTS[published.strategy.num_components])
    latents = np.random.default_rng(0).normal(size=(num, LATENT_DIM)).astype(np.float32)
    for samples in (
        sample(published, seed_array(1, num)),
        published.served.run("generate", {"latents": latents})["samples"],
    ):
        drawn = components_of(samples)
        counts = np.bincount(drawn, minlength=len(weights))
        assert len(counts) == len(weights)
        assert (counts[weights == 0] == 0).all()
        deviation = np.sqrt(num * weights * (1 - weights))
        assert (np.abs(counts - num * weights) <= 4 * deviation).all()


def test_generate_is_a_function_of_the_latents(published):
    latents = np.random.default_rng(1).normal(size=(200, LATENT_DIM)).astype(np.float32)
    values = published.served.run("generate", {"latents": latents})["samples"]
    expected = answers(published.strategy, components_of(values), latents)
    np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-4)
    parts = [
        published.served.run("generate", {"latents": part})["samples"]
        for part in np.split(latents[::-1], [3, 50])
    ]
    np.testing.assert_array_equal(np.concatenate(parts)[::-1], values)


def test_generate_component_takes_any_order(published):
    random = np.random.default_rng(2)
    components = random.integers(0, published.strategy.num_components, 50)
    latents = random.normal(size=(50, LATENT_DIM)).astype(np.float32)
    values = published.served.run(
        "generate_component", {"components": components, "latents": latents}
    )["samples"]
    expected = answers(published.strategy, components, latents)
    np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("loader", ["session", "python"])
def test_generate_component_refuses_others(published, loader):
    loaded = tf.saved_model.load(str(published.version))

    def call(components, num_rows):
        inputs = {
            "components": np.array(components, np.int64),
            "latents": np.zeros([num_rows, LATENT_DIM], np.float32),
        }
        if loader == "session":
            return published.served.run("generate_component", inputs)["samples"]
        tensors = {name: tf.constant(value) for name, value in inputs.items()}
        return loaded.signatures["generate_component"](**tensors)["samples"].numpy()

    num = published.strategy.num_components
    assert call([0, num - 1], 2).shape == (2, 2)
    for outside in (-1, num, 2**40):
        with pytest.raises(tf.errors.InvalidArgumentError, match=rf"must be in \[0, {num}\)"):
            call([0, outside], 2)
    with pytest.raises(tf.errors.InvalidArgumentError, match="the same number of rows"):
        call([0, 0, 0], 2)


# Rows and batches.


def test_rows_do_not_depend_on_their_batch(published):
    """Bitwise: whole groups of rows take the same matrix products, whatever the batch."""
    seeds = seed_array(4, 203)
    whole = sample(published, seeds)
    for size in (1, 2, 3, 7, 8, 50, 202):
        parts = [sample(published, seeds[i : i + size]) for i in range(0, len(seeds), size)]
        np.testing.assert_array_equal(np.concatenate(parts), whole, err_msg=f"batches of {size}")
    order = np.random.default_rng(0).permutation(len(seeds))
    np.testing.assert_array_equal(sample(published, seeds[order]), whole[order])


def test_seeds_and_indices_give_different_samples(published):
    first, second = sample(published, seed_array(0, 100)), sample(published, seed_array(1, 100))
    both = np.concatenate([first, second])
    assert len(np.unique(both, axis=0)) == 200


def test_odd_batches(published):
    assert sample(published, np.zeros([0, 2], np.int64)).shape == (0, 2)
    far = np.array([[2**63 - 1, -(2**63)], [-1, 2**63 - 1]], np.int64)
    assert np.isfinite(sample(published, far)).all()


def test_the_same_bytes_from_every_load(published):
    with runtime.ServedModel(published.version) as again:
        samples = again.run("sample", {"seeds": seed_array(9, 30)})["samples"]
    np.testing.assert_array_equal(samples, sample(published, seed_array(9, 30)))


def test_latents_are_standard_normal(published):
    """Through a network: component 0's share of samples has the moments of fresh latents."""
    samples = sample(published, seed_array(5, 8000))
    samples = samples[components_of(samples) == 0]
    latents = np.random.default_rng(3).normal(size=(20_000, LATENT_DIM))
    fresh = forward(published.strategy.atoms.numpy()[0], latents)
    error = 4 * fresh.std(axis=0) / np.sqrt(len(samples))
    assert (np.abs(samples.mean(axis=0) - fresh.mean(axis=0)) < 1.2 * error).all()
    np.testing.assert_allclose(np.cov(samples.T), np.cov(fresh.T), rtol=0.15, atol=0.1)


# The folder.


def test_signatures(published):
    d = LATENT_DIM
    seeds, latents = (np.dtype("int64"), (None, 2)), (np.dtype("float32"), (None, d))
    assert published.served.signatures == {
        "sample": {"seeds": seeds},
        "serving_default": {"seeds": seeds},
        "generate": {"latents": latents},
        "generate_component": {
            "components": (np.dtype("int64"), (None,)),
            "latents": latents,
        },
        "draw": {"seeds": seeds},
    }
    loaded = tf.saved_model.load(str(published.version))
    for name, function in loaded.signatures.items():
        outputs = {"samples": tf.TensorSpec([None, 2], tf.float32, name="samples")}
        if name == "draw":
            outputs = {
                "components": tf.TensorSpec([None], tf.int64, name="components"),
                "latents": tf.TensorSpec([None, d], tf.float32, name="latents"),
            }
        assert function.structured_outputs == outputs


def test_draw_is_what_sample_does(published):
    seeds = seed_array(4, 50)
    drawn = published.served.run("draw", {"seeds": seeds})
    components, latents = published.strategy.draw(tf.constant(seeds))
    np.testing.assert_array_equal(drawn["components"], components)
    np.testing.assert_allclose(drawn["latents"], latents, atol=1e-6)
    again = published.served.run("generate_component", drawn)["samples"]
    np.testing.assert_array_equal(again, sample(published, seeds))


def test_only_the_values_are_stored(published):
    shapes = dict(tf.train.list_variables(str(published.version / "variables" / "variables")))
    del shapes["_CHECKPOINTABLE_OBJECT_GRAPH"]
    num, d = published.strategy.atoms.shape
    assert shapes == {
        "atoms/.ATTRIBUTES/VARIABLE_VALUE": [num, d],
        "weights/.ATTRIBUTES/VARIABLE_VALUE": [num],
    }


def test_manifest_and_golden_samples(published):
    manifest = published.manifest
    assert manifest == publish.read_manifest(published.version)
    assert set(manifest["files"]) == {
        "saved_model.pb",
        "fingerprint.pb",
        "variables/variables.index",
        "variables/variables.data-00000-of-00001",
        "assets.extra/generator.json",
        "assets.extra/golden.npz",
        "assets.extra/tf_serving_warmup_requests",
        "README.md",
        "samples.png",
    }
    num = published.strategy.num_components
    assert manifest["num_components"] == num
    assert manifest["dim"] == published.strategy.generator.dim
    assert (manifest["latent_dim"], manifest["sample_shape"]) == (LATENT_DIM, [2])
    assert manifest["weights"] == pytest.approx(WEIGHTS[num])
    assert (manifest["strategy"], manifest["config"]) == ("mixture", {"seed": 3})

    golden = np.load(published.version / publish.GOLDEN)
    np.testing.assert_array_equal(golden["seeds"], seed_array(0, 8))
    expected = samples_of(published.strategy, golden["seeds"])
    np.testing.assert_allclose(golden["samples"], expected, rtol=1e-5, atol=1e-4)
    again = sample(published, golden["seeds"])
    assert again.tobytes() == golden["samples"].tobytes()
    assert hashlib.sha256(again.tobytes()).hexdigest() == manifest["golden"]["sha256"]


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float64", "mixed_bfloat16"])
def test_other_precisions(tmp_path, dtype):
    strategy = make_strategy(8, dtype)
    version = strategies.publish_strategy(strategy, tmp_path / "model", {})
    with runtime.ServedModel(version) as served:
        values = served.run("sample", {"seeds": seed_array(0, 64)})["samples"]
        single = served.run("sample", {"seeds": seed_array(0, 64)[33:34]})["samples"]
    expected = samples_of(strategy, seed_array(0, 64))
    tolerance = 1e-5 if dtype == "float64" else 0.05
    assert values.dtype == np.float32
    np.testing.assert_allclose(values, expected, rtol=tolerance, atol=tolerance)
    np.testing.assert_array_equal(single, values[33:34])


# Elsewhere.


def draw_elsewhere(published, path, flags="") -> dict[str, np.ndarray]:
    """The golden samples and 300 rows of seed 6, from a process without Keras or this project."""
    script = f"""
import sys
for name in ("keras", "tf_keras", "tf_mixed_nash", "export", "trainers"):
    sys.modules[name] = None
import numpy as np, tensorflow as tf
sample = tf.saved_model.load({str(published.version)!r}).signatures["sample"]
golden = np.load({str(published.version / publish.GOLDEN)!r})["seeds"]
rows = np.stack([np.full(300, 6), np.arange(300)], axis=1)
np.savez({str(path)!r}, *(sample(seeds=tf.constant(s))["samples"] for s in (golden, rows)))
"""
    environment = {**os.environ, "TF_XLA_FLAGS": flags, "TF_CPP_MIN_LOG_LEVEL": "3"}
    subprocess.run([sys.executable, "-c", script], check=True, env=environment, cwd=path.parent)
    return dict(zip(("golden", "rows"), np.load(path).values(), strict=True))


def test_draws_the_same_without_keras_and_this_project(published, tmp_path):
    there = draw_elsewhere(published, tmp_path / "there.npz")
    golden = np.load(published.version / publish.GOLDEN)["samples"]
    assert there["golden"].tobytes() == golden.tobytes()
    np.testing.assert_array_equal(there["rows"], sample(published, seed_array(6, 300)))


@pytest.mark.slow
@ONLY_MIXTURE
def test_draws_the_same_under_xla_s_clustering(published, tmp_path):
    flags = "--tf_xla_auto_jit=2 --tf_xla_cpu_global_jit --tf_xla_min_cluster_size=1"
    there = draw_elsewhere(published, tmp_path / "there.npz", flags)
    here = sample(published, seed_array(6, 300))
    np.testing.assert_allclose(there["rows"], here, rtol=1e-4, atol=1e-4)


def test_keys_give_the_same_draws_inside_xla(published):
    seeds = tf.constant(seed_array(0, 64))
    compiled = tf.function(published.strategy.draw, jit_compile=True, autograph=False)
    expected = answers(published.strategy, *compiled(seeds))
    np.testing.assert_allclose(sample(published, seeds.numpy()), expected, rtol=1e-4, atol=1e-4)


# What must not be published.


def naive_keras(directory):
    model = make_strategy(1).generator.model
    tf.saved_model.save(model, str(directory))


def keras_in_a_module(directory):
    """Trap 1: the model is an attribute, so its variables are tracked."""
    module = tf.Module()
    module.model = make_strategy(1).generator.model
    spec = tf.TensorSpec([None, LATENT_DIM], tf.float32)
    tf.saved_model.save(
        module, str(directory), signatures=tf.function(module.model.call, input_signature=[spec])
    )


def saver(function):
    """Saves a function of seeds, beside one variable."""

    def save(directory):
        module = tf.Module()
        module.variable = tf.Variable([1.0, 2.0])
        spec = tf.TensorSpec([None, 2], tf.int64)
        plain = tf.function(
            lambda seeds: {"samples": function(seeds) * module.variable}, input_signature=[spec]
        )
        tf.saved_model.save(module, str(directory), signatures=plain)

    return save


def like(seeds):
    return tf.cast(seeds, tf.float32)


def keyed(**options):
    return saver(
        lambda seeds: like(seeds) + tf.random.stateless_normal([1, 2], seeds[0], **options)
    )


def generator_state(seeds):
    with tf.init_scope():
        generator = tf.random.Generator.from_seed(1)
    return like(seeds) + generator.normal([1, 2])


def python_noise(seeds):
    return tf.ensure_shape(
        tf.py_function(lambda s: s.numpy() * 0.5, [like(seeds)], tf.float32), [None, 2]
    )


REFUSED = {
    "keras": (naive_keras, "one handle per variable"),
    "keras_in_a_module": (keras_in_a_module, "one handle per variable"),
    "stateful": (saver(lambda s: like(s) + tf.random.normal([1, 2])), "RandomStandardNormal.*load"),
    "shuffle": (saver(lambda s: like(tf.random.shuffle(s))), "RandomShuffle .*load"),
    "python": (saver(python_noise), "EagerPyFunc .*Python"),
    "xla": (saver(tf.function(lambda s: like(s) + 1, jit_compile=True)), "compiled by XLA"),
    "default_algorithm": (keyed(), "StatelessRandomNormalV2.*alg='philox'"),
    "threefry": (keyed(alg="threefry"), "StatelessRandomNormalV2.*alg='philox'"),
    "gamma": (
        saver(lambda s: like(s) + tf.random.stateless_gamma([1, 2], s[0], 2.0)),
        "StatelessRandomGammaV3.*alg='philox'",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_graphs_that_servers_cannot_repeat_are_refused(tmp_path, case):
    save, message = REFUSED[case]
    # Other tests of this process may have asked for determinism, which wants a seed.
    tf.random.set_seed(0)
    save(tmp_path)
    with pytest.raises(InputError, match=message):
        checks.check_graph(tmp_path)


@pytest.mark.parametrize(
    "function", [like, lambda s: like(s) + tf.random.stateless_normal([1, 2], s[0], alg="philox")]
)
def test_other_graphs_are_not_refused(tmp_path, function):
    saver(function)(tmp_path)
    checks.check_graph(tmp_path)


def test_trap_1_fails_in_the_session_that_servers_use(tmp_path):
    """What the rule on variables is for: this loads in Python, and fails there."""
    keras_in_a_module(tmp_path)
    latents = np.zeros([1, LATENT_DIM], np.float32)
    loaded = tf.saved_model.load(str(tmp_path))
    (output,) = loaded.signatures["serving_default"](tf.constant(latents)).values()
    assert output.shape == (1, 2)
    with runtime.ServedModel(tmp_path) as served:
        (name,) = served.signatures["serving_default"]
        with pytest.raises(tf.errors.FailedPreconditionError, match="Could not find variable"):
            served.run("serving_default", {name: latents})


def test_a_diverged_component_is_refused_even_if_hardly_ever_drawn(tmp_path):
    strategy = make_strategy(8)
    atoms = strategy.atoms.numpy()
    # Its weight is 0; and a ReLU would make 0 of this NaN.
    atoms[2, 0] = np.nan
    diverged = MixedStrategy(
        Measure(tf.constant(atoms), strategy.weights), strategy.generator, LATENT_DIM
    )
    with pytest.raises(InputError, match=r"component 2 of 8 has parameters that are not finite"):
        strategies.publish_strategy(diverged, tmp_path / "model", {})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mistake", ["atoms", "weights", "unpinned", "float64"])
def test_a_model_that_is_not_the_strategy_is_refused(tmp_path, monkeypatch, mistake):
    build = strategies.build_module

    def wrong(strategy):
        atoms, weights = strategy.atoms, strategy.weights
        if mistake == "atoms":
            atoms = tf.tensor_scatter_nd_add(atoms, [[2, 0]], [0.1])  # of weight 0
        if mistake == "weights":
            weights = weights[::-1]
        module, signatures = build(
            MixedStrategy(Measure(atoms, weights), strategy.generator, LATENT_DIM)
        )
        plain = signatures["sample"]
        if mistake == "unpinned":
            signatures["sample"] = lambda seeds: {
                "samples": plain(seeds)["samples"] + 0 * tf.random.stateless_normal([2], [1, 2])
            }
        if mistake == "float64":
            signatures["sample"] = lambda seeds: {
                "samples": tf.cast(plain(seeds)["samples"], tf.float64)
            }
        spec = tf.TensorSpec([None, 2], tf.int64, name="seeds")
        signatures["sample"] = tf.function(signatures["sample"], input_signature=[spec])
        return module, signatures

    monkeypatch.setattr(strategies, "build_module", wrong)
    messages = {
        "atoms": r"generate_component .*differs from the strategy in memory",
        "weights": r"differs from the strategy in memory",
        "unpinned": "does not pin the generator",
        "float64": "float64 .*instead of float32",
    }
    with pytest.raises(InputError, match=messages[mistake]):
        strategies.publish_strategy(make_strategy(8), tmp_path / "model", {})
    assert list(tmp_path.iterdir()) == []
