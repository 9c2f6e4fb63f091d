"""ONNX and LiteRT files, run by their own interpreters."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from ai_edge_litert.interpreter import Interpreter

from export import convert
from export.strategy import publish_strategy
from tests.export.conftest import LATENT_DIM, ONLY_MIXTURE, answers, make_image_strategy


@pytest.fixture
def points(published):
    return published.strategy, published.version


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    strategy = make_image_strategy(2, num_classes=4)
    return strategy, publish_strategy(strategy, tmp_path_factory.mktemp("i") / "m", {})


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
    assert [p.stem for p in paths] == ["component_00", "component_01"]
    random = np.random.default_rng(1)
    latents = random.normal(size=(7, LATENT_DIM)).astype(np.float32)
    labels = random.integers(0, 4, 7)
    for j, path in enumerate(paths):
        inputs = strategy.with_classes(latents, labels)
        expected = strategy.generate(np.full(7, j), inputs).numpy()
        got = RUN[kind](path, latents=latents, labels=labels)
        np.testing.assert_allclose(got, expected, atol=1e-5)
        assert expected.std() > 0.05


@ONLY_MIXTURE
def test_another_answer_is_refused(points, monkeypatch):
    suffix, make, run = convert.FORMATS["onnx"]
    wrong = (suffix, make, lambda content, inputs: run(content, inputs) + 0.1)
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
