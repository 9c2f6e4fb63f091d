"""What must hold of a SavedModel before it is published (the traps of SERVING.md)."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from PIL import Image
from tensorflow.core.protobuf import saved_model_pb2

from export import rounding
from export.runtime import ServedModel
from tf_mixed_nash.errors import InputError
from tf_mixed_nash.memory import give_back
from trainers.system.paths import literal

__all__ = ["Call", "check_calls", "check_graph", "decode_png"]

# Draws that depend on a state or on the time of loading (trap 4); the gradient of a gamma variate
# is a function of it.
_STATEFUL_RANDOM = re.compile(
    r"^(Random(?!Dataset|GammaGrad)|TruncatedNormal|ParameterizedTruncatedNormal|Multinomial|Stateful("
    r"Standard|Uniform|Truncated|Random)|Rng|NonDeterministic|AnonymousRandomSeed|Dummy.*Seed)"
)
_PYTHON = {"PyFunc", "PyFuncStateless", "EagerPyFunc"}
_XLA_LAUNCH = {"XlaLaunch", "XlaLaunchV2", "_XlaRun", "_XlaCompile"}
_STATELESS_RANDOM = re.compile(
    r"^Stateless(RandomNormal|RandomUniform|RandomUniformInt|RandomUniformFullInt|TruncatedNormal)"
    r"(V2)?$|^StatelessRandomGammaV3$"
)
_CPU = re.compile(r"(^|/|:)cpu(:(\d+|\*))?$", re.IGNORECASE)
_PHILOX = tf.random.Algorithm.PHILOX.value


class Call(NamedTuple):
    """A call of a signature whose answer is known.

    Attributes:
      signature: its name.
      inputs: an array for each input.
      expected: an array for each output: numbers [n, ...], or for an output of PNGs the pixels,
        uint8 [n, height, width, channels].
    """

    signature: str
    inputs: Mapping[str, np.ndarray]
    expected: Mapping[str, np.ndarray]


def check_graph(directory: Path) -> None:
    """Checks the graph of a SavedModel without running it.

    Raises:
      InputError: for an operation that a server cannot run or that would not repeat its
        samples; one pinned to a device other than the CPU; a signature that cannot be batched;
        or variables whose number differs from that of their handles (trap 1).
    """
    proto = saved_model_pb2.SavedModel.FromString((directory / "saved_model.pb").read_bytes())
    for meta_graph in proto.meta_graphs:
        _check_signatures(meta_graph.signature_def)
        graph = meta_graph.graph_def
        _check_nodes("the graph", graph.node)
        for function in graph.library.function:
            if function.attr["_XlaMustCompile"].b:
                raise _refusal(
                    f"function {function.signature.name} must be compiled by XLA, which TF "
                    "Serving disables. Export plain functions, without jit_compile"
                )
            _check_nodes(f"function {function.signature.name}", function.node_def)
        handles = [n for n in graph.node if n.op == "VarHandleOp"]
        names = {n.attr["shared_name"].s for n in handles}
        saved = [n for n in meta_graph.object_graph_def.nodes if n.WhichOneof("kind") == "variable"]
        if not len(handles) == len(names) == len(saved):
            raise _refusal(
                f"{len(saved)} variables have {len(handles)} handles with {len(names)} names. "
                "Servers restore one handle per variable: track each variable once"
            )


def _check_signatures(definitions: Mapping) -> None:
    """A server joins requests along the first dimension of every input (trap 6)."""
    for name, definition in definitions.items():
        if name.startswith("__"):
            continue
        for kind, tensors in (("input", definition.inputs), ("output", definition.outputs)):
            for key, info in tensors.items():
                shape = info.tensor_shape
                if shape.unknown_rank or not shape.dim or shape.dim[0].size != -1:
                    what = "no rank" if shape.unknown_rank else [d.size for d in shape.dim]
                    raise _refusal(
                        f"{kind} {key!r} of {name} has shape {what}: servers join requests along "
                        "the first dimension, which must be there and of any size"
                    )


def _check_nodes(where: str, nodes: Iterable) -> None:
    by_name = {node.name: node for node in nodes}
    for node in nodes:
        if _STATEFUL_RANDOM.match(node.op):
            raise _refusal(
                f"{node.op} in {where} gives different samples at each load. Draw by key"
            )
        if node.op in _PYTHON:
            raise _refusal(f"{node.op} in {where} needs this Python process. Use TensorFlow's own")
        if node.device and not _CPU.search(node.device):
            raise _refusal(
                f"{node.op} {node.name!r} in {where} is pinned to {node.device}, which a server "
                "may not have. Export without tf.device"
            )
        if node.op in _XLA_LAUNCH or node.attr["_XlaMustCompile"].b:
            raise _refusal(
                f"{node.op} {node.name!r} in {where} must be compiled by XLA, which TF Serving "
                "disables. Export plain functions, without jit_compile"
            )
        if _STATELESS_RANDOM.match(node.op) and not _is_philox(node, by_name):
            raise _refusal(
                f"{node.op} {node.name!r} in {where} does not pin the generator, so that XLA "
                "would draw other samples. Pass alg='philox'"
            )


def _is_philox(node, by_name: Mapping) -> bool:
    # These take (shape, key, counter, algorithm, ...), the last a constant; older ones a seed.
    source = by_name.get(node.input[3].split(":")[0]) if node.op.endswith(("V2", "V3")) else None
    if source is None or source.op != "Const":
        return False
    return int(tf.make_ndarray(source.attr["value"].tensor)) == _PHILOX


def check_calls(
    directory: Path, calls: Sequence[Call]
) -> tuple[list[dict[str, np.ndarray]], ServedModel]:
    """Checks what a SavedModel answers, by both of TensorFlow's loaders.

    Returns:
      The outputs of each call in the C++ session; and that session, which is open.

    Raises:
      InputError: if a loader fails, or an answer is not finite, or differs from the expected
        one by more than 1e-5, absolutely and relatively (pixels of a PNG: by more than 1); on
        a GPU by more than its kernels round (export/rounding.py).
    """
    tolerance = rounding.of_this_machine(directory)
    # One after the other: each loader holds a copy of all components.
    for call, answer in zip(calls, _by_python(directory, calls), strict=True):
        _check_outputs(call, "by tf.saved_model.load", answer, tolerance)
    give_back()
    answers = []
    with contextlib.ExitStack() as exits:
        served = exits.enter_context(ServedModel(directory))
        for call in calls:
            with _failing(call):
                answers.append(served.run(call.signature, call.inputs))
            _check_outputs(call, "in a C++ session", answers[-1], tolerance)
        exits.pop_all()
    return answers, served


def _by_python(directory: Path, calls: Sequence[Call]) -> list[dict[str, np.ndarray]]:
    with literal(directory) as plain:
        loaded = tf.saved_model.load(str(plain))
    answers = []
    for call in calls:
        tensors = {name: tf.constant(value) for name, value in call.inputs.items()}
        with _failing(call):
            outputs = loaded.signatures[call.signature](**tensors)
            answers.append({name: value.numpy() for name, value in outputs.items()})
    return answers


@contextlib.contextmanager
def _failing(call: Call) -> Iterator[None]:
    try:
        yield
    except tf.errors.OpError as error:
        reason, _, _ = error.message.partition("\n")
        raise _refusal(f"{call.signature} fails: {reason}") from error


def _check_outputs(
    call: Call, where: str, answer: Mapping[str, np.ndarray], tolerance: float
) -> None:
    if answer.keys() != call.expected.keys():
        raise _refusal(
            f"{call.signature} {where} gives {', '.join(sorted(answer))} instead of "
            f"{', '.join(sorted(call.expected))}"
        )
    for name, values in answer.items():
        _check_answer(f"{call.signature} {where}", values, call.expected[name], tolerance)


def _check_answer(where: str, values: np.ndarray, expected: np.ndarray, tolerance: float) -> None:
    rtol = atol = tolerance
    if values.dtype == object:  # PNGs: 255 for the interval [-1, 1]
        values, rtol, atol = decode_png(values), 0.0, max(1.0, 127.5 * tolerance)
    if values.dtype != expected.dtype or values.shape != expected.shape:
        raise _refusal(
            f"{where} gives {values.dtype} {list(values.shape)} instead of {expected.dtype} "
            f"{list(expected.shape)}"
        )
    if not np.isfinite(values).all():
        raise _refusal(f"{where} gives samples that are not finite: the run diverged")
    values, expected = (x.astype(np.float64) for x in (values, expected))
    if not np.allclose(values, expected, rtol=rtol, atol=atol):
        error = np.abs(values - expected).max()
        raise _refusal(f"{where} differs from the strategy in memory by up to {error:.3g}")


def decode_png(images: np.ndarray) -> np.ndarray:
    """PNGs [n] as pixels: uint8 [n, height, width, channels]."""
    pixels = np.stack([np.asarray(Image.open(BytesIO(png))) for png in images])
    return pixels if pixels.ndim == 4 else pixels[..., None]


def _refusal(reason: str) -> InputError:
    return InputError(f"The model cannot be published: {reason.rstrip('.')}.")
