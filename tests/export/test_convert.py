"""ONNX and LiteRT files, run by their own interpreters."""

from __future__ import annotations

import json
import shutil

import keras
import numpy as np
import onnxruntime
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from export import convert, keras_model, publish
from export import strategy as strategies
from export.strategy import publish_strategy
from tests.export.conftest import LATENT_DIM, ONLY_MIXTURE, answers
from tf_mixed_nash.models import dcgan_generator
from tf_mixed_nash.strategies.mixed import MixedStrategy
from tf_mixed_nash.types import Measure


@pytest.fixture
def points(published):
    return published.strategy, published.version


def run_onnx(path, **inputs):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(["samples"], inputs)[0]


def run_litert(path, **inputs):
    interpreter = Interpreter(model_path=str(path))
    runner = interpreter.get_signature_runner() if interpreter.get_signature_list() else None
    if runner:
        return runner(**inputs)["samples"]
    by_size = {len(d["shape"]): d["index"] for d in interpreter.get_input_details()}
    for value in inputs.values():
        interpreter.resize_tensor_input(by_size[value.ndim], value.shape)
    interpreter.allocate_tensors()
    for value in inputs.values():
        interpreter.set_tensor(by_size[value.ndim], value)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


RUN = {"onnx": run_onnx, "litert": run_litert}


@ONLY_MIXTURE
@pytest.mark.parametrize("kind", RUN)
def test_a_component_of_points(command, points, tmp_path, kind):
    strategy, version = points
    arguments = [f"--model={version}", f"--format={kind}", f"--output={tmp_path}"]
    code, out, _ = command(convert, *arguments, "--component=3")
    assert code == 0
    (path,) = tmp_path.iterdir()
    assert str(path) in out
    latents = np.random.default_rng(1).normal(size=(33, LATENT_DIM)).astype(np.float32)
    expected = answers(strategy, np.full(33, 3), latents)
    np.testing.assert_allclose(RUN[kind](path, latents=latents), expected, rtol=1e-5, atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("kind", RUN)
def test_every_component_of_class_conditional_images(command, images, tmp_path, kind):
    strategy, version = images
    code, _, _ = command(
        convert, f"--model={version.parent}", f"--format={kind}", f"--output={tmp_path}"
    )
    assert code == 0
    paths = sorted(tmp_path.iterdir())
    assert [p.stem for p in paths] == ["component_00", "component_01", "component_02"]
    random = np.random.default_rng(1)
    latents = random.normal(size=(7, LATENT_DIM)).astype(np.float32)
    labels = random.integers(0, 4, 7)
    for j, path in enumerate(paths):
        inputs = strategy.with_classes(latents, labels)
        expected = strategy.generate(np.full(7, j), inputs).numpy()
        got = RUN[kind](path, latents=latents, labels=labels)
        np.testing.assert_allclose(got, expected, atol=1e-5)
        assert expected.std() > 0.05


# Back to Keras.

keras_warns = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def served(version, component, latents, **labels):
    loaded = tf.saved_model.load(str(version))
    components = tf.fill([len(latents)], tf.constant(component, tf.int64))
    generate = loaded.signatures["generate_component"]
    return generate(latents=tf.constant(latents), components=components, **labels)["samples"]


@keras_warns
@ONLY_MIXTURE
def test_a_keras_file_has_the_bits_of_the_served_component(command, points, tmp_path):
    _, version = points
    path = tmp_path / "new" / "g.keras"
    arguments = [f"--model={version.parent}", "--format=keras", f"--out={path}"]
    code, out, _ = command(convert, *arguments, "--component=3")
    assert code == 0
    assert out.endswith("the same bits\n")
    assert [p.name for p in path.parent.iterdir()] == ["g.keras"]
    model = keras.models.load_model(path)
    latents = np.random.default_rng(3).normal(size=(8, LATENT_DIM)).astype(np.float32)
    got = tf.function(model)(tf.constant(latents))
    np.testing.assert_array_equal(got, served(version, 3, latents))
    np.testing.assert_allclose(model.predict(latents, verbose=0), got, rtol=1e-5, atol=1e-4)


@keras_warns
@pytest.mark.parametrize("num_classes", [pytest.param(0, marks=pytest.mark.slow), 3])
def test_a_dcgan_has_its_statistics_and_its_layers(tmp_path, num_classes, monkeypatch):
    net = dcgan_generator(28, 1, LATENT_DIM + num_classes, 4, "batch", seed=1)
    x = tf.random.stateless_normal([64, LATENT_DIM + num_classes], (1, 2))
    z = net.calibrated(1.5 * net.initial(), [x])
    strategy = MixedStrategy(Measure(z[None], tf.ones([1])), net.frozen(), LATENT_DIM, num_classes)
    # Other tests', and seconds: the gates, and the calls after the golden one.
    monkeypatch.setattr("export.verify.check", lambda *_: None)
    known = strategies._known_calls
    monkeypatch.setattr(strategies, "_known_calls", lambda strategy: known(strategy)[:1])
    version = publish_strategy(strategy, tmp_path / "m", {})
    (tmp_path / "g.keras").write_bytes(convert.convert(version, "keras", 0))
    model = keras.models.load_model(tmp_path / "g.keras")
    latents = np.random.default_rng(3).normal(size=(8, LATENT_DIM)).astype(np.float32)
    labels = {"labels": tf.range(8, dtype=tf.int64) % 3} if num_classes else {}
    inputs = strategy.with_classes(latents, labels["labels"]) if labels else latents
    got = tf.function(model)(tf.constant(inputs))
    expected = served(version, 0, latents, **labels)
    np.testing.assert_array_equal(got, expected)
    assert np.std(expected) > 0.05
    batch = [layer for layer in model.layers if "BatchNorm" in type(layer).__name__]
    assert batch
    assert all(np.std(layer.moving_variance.numpy()) > 0 for layer in batch)


@keras_warns
@ONLY_MIXTURE
def test_what_cannot_go_back_to_keras_is_refused(refused, points, tmp_path):
    _, version = points
    model = f"--model={version}"
    one = f"--output={tmp_path / 'g.keras'}"
    said = refused(convert, model, "--format=keras", one)
    assert "has 8 components" in said
    assert "--component=I (0 to 7)" in said
    old = tmp_path / "old" / "1"
    shutil.copytree(version, old)
    (old / publish.ARCHITECTURE).unlink()
    manifest = json.loads((old / publish.MANIFEST).read_text())
    del manifest["files"][publish.ARCHITECTURE]
    (old / publish.MANIFEST).write_text(json.dumps(manifest))
    said = refused(convert, f"--model={old}", "--format=keras", one, "--component=0")
    assert "does not keep its generator's architecture" in said
    manifest["files"].pop("README.md")
    text = (version / publish.ARCHITECTURE).read_text().replace('"Dense"', '"Tense"')
    (old / publish.ARCHITECTURE).write_text(text)
    said = refused(convert, f"--model={old}", "--format=keras", one, "--component=0")
    assert "Keras does not read the architecture" in said
    assert not (tmp_path / "g.keras").exists()


def test_a_model_that_keras_cannot_write_has_no_architecture():
    class Own(keras.Model):
        def __init__(self, width):
            super().__init__()
            self.dense = keras.layers.Dense(width)

        def call(self, x):
            return self.dense(x)

    model = Own(2)
    model(tf.zeros([1, 3]))
    assert keras_model.describe(model) is None


@ONLY_MIXTURE
def test_another_answer_is_refused(points, monkeypatch):
    suffix, make, run = convert.FORMATS["onnx"]
    wrong = (suffix, make, lambda *given: run(*given) + 0.1)
    monkeypatch.setitem(convert.FORMATS, "onnx", wrong)
    with pytest.raises(convert.InputError, match=r"differs from the SavedModel by 0\.1"):
        convert.convert(points[1], "onnx", 0)


@ONLY_MIXTURE
def test_bad_input(refused, points, tmp_path):
    model, output = f"--model={points[1]}", f"--output={tmp_path / 'out'}"
    assert "onnx, litert" in refused(convert, model, output, "--format=tflite")
    assert "0 to 7" in refused(convert, model, output, "--format=onnx", "--component=8")
    assert "No such model" in refused(convert, "--model=nowhere", output, "--format=onnx")
    assert not (tmp_path / "out").exists()
