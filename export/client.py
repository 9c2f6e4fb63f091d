"""A gRPC client of a served model: the embedded server's or TensorFlow Serving's.

    with Client("127.0.0.1:8500", "gaussians8") as client:
        samples = client.sample(64, seed=0)

Needs the packages grpcio and tensorflow-serving-api, and TensorFlow for its protos.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import grpc
import numpy as np

from export import runtime

tf = runtime.import_tensorflow()

from tensorflow_serving.apis import (  # noqa: E402
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

__all__ = ["Client"]


class Client:
    """Calls one model. Use it as a context manager, or `close` it.

    Args:
      address: host:port of gRPC.
      model: the model's name.
      version: its number; None for the newest.
      label: instead of a number, such as "stable".
      token: bearer token, where the server wants one.
      timeout: seconds for a call.
      rows: of one call; more are asked for in several.

    Raises:
      ValueError: for a version and a label.
    """

    def __init__(
        self,
        address: str,
        model: str,
        version: int | None = None,
        label: str | None = None,
        token: str | None = None,
        timeout: float = 30.0,
        rows: int = 64,
    ):
        if version is not None and label is not None:
            raise ValueError("Give a version or a label, not both.")
        self._model, self._version, self._label = model, version, label
        self._metadata = [("authorization", f"Bearer {token}")] if token else None
        self._timeout, self._rows = timeout, rows
        self._channel = grpc.insecure_channel(
            address, options=[("grpc.max_receive_message_length", -1)]
        )
        self._predict = prediction_service_pb2_grpc.PredictionServiceStub(self._channel).Predict
        self._status = model_service_pb2_grpc.ModelServiceStub(self._channel).GetModelStatus

    def predict(self, signature: str, inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Calls a signature in one request.

        Args:
          signature: of the table in `export.saved_model`.
          inputs: an array for each input.

        Returns:
          An array for each output; of PNGs an array of bytes.

        Raises:
          grpc.RpcError: with the server's code and message.
        """
        request = predict_pb2.PredictRequest()
        self._fill(request.model_spec)
        request.model_spec.signature_name = signature
        for name, value in inputs.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(np.asarray(value)))
        response = self._predict(request, timeout=self._timeout, metadata=self._metadata)
        return {name: tf.make_ndarray(value) for name, value in response.outputs.items()}

    def sample(self, num: int, seed: int = 0, labels: Any = None) -> np.ndarray:
        """Samples 0 .. num - 1 of a seed: float32 [num, ...].

        Args:
          num: at least 1.
          seed: which.
          labels: int [num], the classes of a class-conditional model; None draws them.
        """
        return self._by_seed("", "samples", num, seed, labels)

    def sample_png(self, num: int, seed: int = 0, labels: Any = None) -> list[bytes]:
        """The same as PNGs."""
        return list(self._by_seed("_png", "image_bytes", num, seed, labels))

    def generate(self, latents: Any, components: Any = None, labels: Any = None) -> np.ndarray:
        """Samples of latents float32 [n, D], by components int [n] or the mixture's choice."""
        inputs: dict[str, np.ndarray] = {"latents": np.asarray(latents, np.float32)}
        if labels is not None:
            inputs["labels"] = np.asarray(labels, np.int64)
        if components is None:
            return self._in_parts("generate", inputs, "samples")
        inputs["components"] = np.asarray(components, np.int64)
        return self._in_parts("generate_component", inputs, "samples")

    def versions(self) -> dict[int, str]:
        """The versions that the server knows -> their state, such as "AVAILABLE"."""
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = self._model
        response = self._status(request, timeout=self._timeout, metadata=self._metadata)
        states = get_model_status_pb2.ModelVersionStatus.State
        return {s.version: states.Name(s.state) for s in response.model_version_status}

    def close(self) -> None:
        """Closes the connection."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception) -> None:
        self.close()

    def _by_seed(self, suffix, output, num, seed, labels) -> np.ndarray:
        index = np.arange(num, dtype=np.int64)
        inputs: dict[str, np.ndarray] = {
            "seeds": np.stack([np.full_like(index, seed), index], axis=1)
        }
        if labels is None:
            return self._in_parts(f"sample{suffix}", inputs, output)
        inputs["labels"] = np.asarray(labels, np.int64)
        return self._in_parts(f"sample_class{suffix}", inputs, output)

    def _in_parts(self, signature, inputs, output) -> np.ndarray:
        num = len(next(iter(inputs.values())))
        parts = [
            self.predict(signature, {n: v[a : a + self._rows] for n, v in inputs.items()})[output]
            for a in range(0, num, self._rows)
        ]
        return np.concatenate(parts)

    def _fill(self, spec) -> None:
        spec.name = self._model
        if self._version is not None:
            spec.version.value = self._version
        if self._label is not None:
            spec.version_label = self._label
