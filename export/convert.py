"""Converts the generators of a published model to ONNX, LiteRT or Keras.

    python -m export.convert --model=BASE/NAME[/VERSION] --format=onnx --output=DIR [--component=0]
    python -m export.convert --model=BASE/NAME[/VERSION] --format=litert --output=DIR
    python -m export.convert --model=BASE/NAME[/VERSION] --format=keras --output=FILE.keras \\
        [--component=0]

ONNX and LiteRT need the extra `onnx` or `litert`. Each generator (component) of the model becomes
a file, DIR/component_00.onnx or .tflite, with the input `latents` float32 [n, D] (and `labels`
int64 [n] in a class-conditional model) and the output `samples`. Before it is written it is run by
ONNX Runtime or LiteRT's interpreter, and must agree with the SavedModel's `generate_component` to
1e-5.

A Keras file is the generator that was trained, for `keras.models.load_model` and for training it
on: its input is the latents [n, D], in a class-conditional model followed by a one-hot class
[n, D + k]. Called with training=False on 8 rows in a `tf.function` it must agree as well; whether
to the last bit is printed.

What does not convert: the drawing by key (its integer words have no ONNX operations) and the
choice of a mixture's component inside the graph (tf2onnx writes Bitcast and LowerBound, which ONNX
Runtime does not know; LiteRT does not lower the loop's tensor lists). Whoever samples a mixture
draws latents from N(0, I) and a component by the weights in manifest.json.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl import flags

from export import publish
from tf_mixed_nash.errors import InputError, unknown
from trainers.system import cli, quiet
from trainers.system.files import write_atomically
from trainers.system.paths import literal

__all__ = ["FORMATS", "convert"]

_ROWS = 5  # with which a file is tested; not the number it is converted with
# The rows that a version computes at once (`export.strategy`): only as many round alike.
_KERAS_ROWS = 8
_OPSET = 18
_TOLERANCE = 1e-5


def convert(version: Path, kind: str, component: int) -> bytes:
    """One generator of a version in another format.

    Args:
      version: a published version's folder.
      kind: a key of FORMATS.
      component: in [0, M).

    Returns:
      The file's content.

    Raises:
      InputError: if the format's packages are missing, the generator does not convert, or the
        result differs from the SavedModel by more than 1e-5.
    """
    return _converted(version, kind, component)[0]


def _converted(version: Path, kind: str, component: int) -> tuple[bytes, float]:
    """`convert`, and by how much the result differs from the SavedModel."""
    import tensorflow as tf

    manifest = publish.read_manifest(version)
    if not 0 <= component < manifest["num_components"]:
        raise InputError(
            f"There is no component {component}: {version} has 0 to "
            f"{manifest['num_components'] - 1}."
        )
    with literal(version) as plain:
        loaded: Any = tf.saved_model.load(str(plain))
    if not hasattr(loaded, "network"):
        raise InputError(
            f"{version} was published by an earlier version of this package, without the function "
            "that converts. Publish it anew (python -m export.saved_model)."
        )
    atom, k = loaded.atoms[component].numpy(), manifest["num_classes"]

    def generate(latents, *labels):
        one_hot = [tf.one_hot(x, k, dtype=latents.dtype) for x in labels]
        z = tf.constant(atom)  # inside, so that it is part of the graph and no further input
        return {"samples": loaded.network(z, tf.concat([latents, *one_hot], axis=1))}

    specs = [tf.TensorSpec([None, manifest["latent_dim"]], tf.float32, name="latents")]
    random = np.random.default_rng(0)
    rows = _KERAS_ROWS if kind == "keras" else _ROWS
    latents = random.normal(size=(rows, manifest["latent_dim"])).astype(np.float32)
    inputs: dict[str, np.ndarray] = {"latents": latents}
    if k:
        specs.append(tf.TensorSpec([None], tf.int64, name="labels"))
        inputs["labels"] = random.integers(0, k, rows)
    function = tf.function(generate, input_signature=specs, autograph=False)
    make, run = FORMATS[kind][1:]
    try:
        content = make(function, specs, _Source(version, loaded, atom))
        samples = run(content, inputs, k)
    except ModuleNotFoundError as error:
        raise InputError(
            f"--format={kind} needs the package {error.name}. Install the extra: "
            f"pip install 'tf_mixed_nash[{kind}]'."
        ) from None
    except InputError:
        raise
    except Exception as error:  # converters raise many kinds
        reason = str(error).strip().partition("\n")[0][:300]
        raise InputError(
            f"Component {component} does not convert to {kind}: {type(error).__name__}: {reason}"
        ) from error
    components = np.full(rows, component, np.int64)
    tensors = {n: tf.constant(v) for n, v in {**inputs, "components": components}.items()}
    expected = loaded.signatures["generate_component"](**tensors)["samples"].numpy()
    error = float(np.abs(samples - expected).max())
    if samples.shape != expected.shape or not error <= _TOLERANCE * max(1, np.abs(expected).max()):
        raise InputError(
            f"Component {component} in {kind} differs from the SavedModel by {error:.3g}; at most "
            f"{_TOLERANCE} is expected. Nothing was written for it."
        )
    return content, error


class _Source(NamedTuple):
    """What is converted: a version, loaded, and the component's vector."""

    version: Path
    loaded: Any
    atom: np.ndarray


def _to_onnx(function, specs, _) -> bytes:
    import tf2onnx

    model, _ = tf2onnx.convert.from_function(function, input_signature=specs, opset=_OPSET)
    names = [value.name for value in model.graph.output]
    if names != ["samples"]:
        (old,) = names
        for node in model.graph.node:
            node.output[:] = ["samples" if name == old else name for name in node.output]
        model.graph.output[0].name = "samples"
    return model.SerializeToString()


def _run_onnx(content: bytes, inputs: dict[str, np.ndarray], num_classes: int) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["samples"], inputs)[0])


def _to_litert(function, specs, source) -> bytes:
    import tensorflow as tf

    concrete = function.get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], source.loaded)
    return converter.convert()


def _run_litert(content: bytes, inputs: dict[str, np.ndarray], num_classes: int) -> np.ndarray:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content)
    details = {d["name"].split(":")[0].split("_")[-1]: d for d in interpreter.get_input_details()}
    for name, value in inputs.items():
        interpreter.resize_tensor_input(details[name]["index"], value.shape)
    interpreter.allocate_tensors()
    for name, value in inputs.items():
        interpreter.set_tensor(details[name]["index"], value)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def _to_keras(function, specs, source) -> bytes:
    from export import keras_model

    return keras_model.to_bytes(keras_model.restore(source.version, source.atom))


def _run_keras(content: bytes, inputs: dict[str, np.ndarray], num_classes: int) -> np.ndarray:
    from export import keras_model

    labels = inputs.get("labels")
    return keras_model.run(content, inputs["latents"], labels, num_classes)


FORMATS: dict[str, tuple[str, Callable[..., bytes], Callable[..., np.ndarray]]] = {
    "onnx": (".onnx", _to_onnx, _run_onnx),
    "litert": (".tflite", _to_litert, _run_litert),
    "keras": (".keras", _to_keras, _run_keras),
}


def _define_flags() -> None:
    flags.DEFINE_string("model", None, "The model's folder BASE/NAME, or one of its versions.")
    flags.DEFINE_string("format", None, f"One of: {', '.join(FORMATS)}.")
    flags.DEFINE_string(
        "output", None, "The folder to write the files to; or one FILE.keras for --format=keras."
    )
    flags.DEFINE_alias("out", "output")
    flags.DEFINE_integer("component", None, "Which generator; by default each.")
    flags.mark_flags_as_required(["model", "format", "output"])


def _run() -> None:
    f = flags.FLAGS
    if f.format not in FORMATS:
        raise unknown("--format", f.format, FORMATS)
    output, suffix = Path(f.output), FORMATS[f.format][0]
    one_file = f.format == "keras" and output.suffix == suffix
    publish.check_writable(output.parent if one_file else output)
    version = publish.find_version(Path(f.model))
    quiet.import_tensorflow()
    count = publish.read_manifest(version)["num_components"]
    chosen = range(count) if f.component is None else [f.component]
    if one_file and len(chosen) > 1:
        raise InputError(
            f"{version} has {count} components, and --output={output} is one file. Say which, with "
            f"--component=I (0 to {count - 1}), or give a folder for all."
        )
    for component in chosen:
        content, error = _converted(version, f.format, component)
        path = output if one_file else output / f"component_{component:02d}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            write_atomically(
                path, lambda temporary, content=content: temporary.write_bytes(content)
            )
        except OSError as error:
            raise InputError(f"{path} could not be written: {error}.") from None
        agrees = f"agrees with the SavedModel to {_TOLERANCE}"
        if f.format == "keras":
            agrees = f"differs from the SavedModel by {error:.1g}" if error else "the same bits"
        print(f"{path}: {len(content):,} bytes, {agrees}")


if __name__ == "__main__":
    _define_flags()
    cli.main(_run)
