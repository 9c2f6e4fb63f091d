"""A published version as a server runs it: the C++ session, and no Keras.

TF Serving builds its session from the graph and the checkpoint alone. `tf.saved_model.load`
rebuilds Python objects, and so reads models that fail there (SERVING.md, trap 1).
"""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np

from tf_mixed_nash.errors import InputError, unknown
from trainers.system import quiet
from trainers.system.paths import literal

__all__ = ["ServedModel", "Specs", "import_tensorflow", "read_signatures"]

# Input or output name -> (dtype, shape); a shape is a tuple with None where any size is allowed.
Specs = dict[str, tuple[np.dtype, tuple[int | None, ...]]]


def import_tensorflow():
    """Imports TensorFlow as if Keras were not installed; returns the module.

    `import tensorflow` would import an installed Keras, to register its optimizers. If Keras
    is there already, it stays.
    """
    if "tensorflow" in sys.modules:
        return quiet.import_tensorflow()
    with quiet.hidden("keras"):
        return quiet.import_tensorflow()


class ServedModel:
    """A version folder in a session like TF Serving's: XLA off, variables by name.

    Use it as a context manager, or `close` it. Calls from several threads may run at once.

    Args:
      directory: the folder of the SavedModel.

    Attributes:
      signatures: names of the signatures -> Specs of the inputs.
      outputs: the same of the outputs.
      definitions: the SignatureDef protos, by name.

    Raises:
      InputError: if the session cannot load it.
    """

    def __init__(self, directory: Path):
        tf = import_tensorflow()
        options = tf.compat.v1.OptimizerOptions(global_jit_level=tf.compat.v1.OptimizerOptions.OFF)
        config = tf.compat.v1.ConfigProto(
            graph_options=tf.compat.v1.GraphOptions(optimizer_options=options)
        )
        self._session = tf.compat.v1.Session(graph=tf.Graph(), config=config)
        with contextlib.ExitStack() as exits:
            exits.callback(self.close)
            meta_graph = self._load(tf, directory)
            self.definitions = _public(meta_graph.signature_def)
            self.signatures = {n: _specs(tf, d.inputs) for n, d in self.definitions.items()}
            self.outputs = {n: _specs(tf, d.outputs) for n, d in self.definitions.items()}
            exits.pop_all()

    def _load(self, tf, directory: Path):
        try:
            with _without_warnings(), literal(directory) as plain:
                return tf.compat.v1.saved_model.loader.load(
                    self._session, [tf.saved_model.SERVING], str(plain)
                )
        except (OSError, ValueError, RuntimeError, KeyError, tf.errors.OpError) as error:
            reason, _, _ = str(error).partition("\n")
            raise InputError(
                f"{directory} does not load as a SavedModel ({reason}). Expected a version folder "
                "made by python -m export.saved_model."
            ) from error

    def run(self, signature: str, inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Calls a signature.

        Args:
          signature: one of `signatures`.
          inputs: an array for each input.

        Returns:
          An array for each output.

        Raises:
          InputError: for an unknown signature or wrong names of inputs.
          tf.errors.InvalidArgumentError: if the graph refuses the values.
        """
        if signature not in self.definitions:
            raise unknown("signature", signature, sorted(self.definitions))
        definition = self.definitions[signature]
        if inputs.keys() != set(definition.inputs):
            raise InputError(
                f"Signature {signature!r} takes the inputs {', '.join(sorted(definition.inputs))}"
                f", got {', '.join(sorted(inputs)) or 'none'}."
            )
        session = self._session  # until the call is over, whoever closes meanwhile
        if session is None:
            raise RuntimeError("The model is closed.")
        return session.run(
            {key: info.name for key, info in definition.outputs.items()},
            {definition.inputs[key].name: value for key, value in inputs.items()},
        )

    def close(self) -> None:
        """Frees the session; calls after it fail."""
        session, self._session = self._session, None
        if session is not None:
            session.close()  # its variables go with the object

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception) -> None:
        self.close()


def read_signatures(directory: Path) -> dict[str, Specs]:
    """The inputs of every signature of a SavedModel, without loading it."""
    tf = import_tensorflow()
    from tensorflow.core.protobuf import saved_model_pb2

    proto = saved_model_pb2.SavedModel.FromString((directory / "saved_model.pb").read_bytes())
    definitions = _public(proto.meta_graphs[0].signature_def)
    return {name: _specs(tf, definition.inputs) for name, definition in definitions.items()}


def _public(definitions: Mapping[str, Any]) -> dict[str, Any]:
    return {name: d for name, d in definitions.items() if not name.startswith("__")}


def _specs(tf, tensors) -> Specs:
    return {key: _spec(tf, info) for key, info in tensors.items()}


def _spec(tf, info) -> tuple[np.dtype, tuple[int | None, ...]]:
    dims = tuple(None if d.size < 0 else d.size for d in info.tensor_shape.dim)
    return np.dtype(tf.as_dtype(info.dtype).as_numpy_dtype), dims


@contextlib.contextmanager
def _without_warnings() -> Iterator[None]:
    """Without TensorFlow's warning that the session loader is deprecated (Serving uses it)."""
    logger = logging.getLogger("tensorflow")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
