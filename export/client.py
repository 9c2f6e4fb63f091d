"""A gRPC client of a served model: the embedded server's or TensorFlow Serving's.

    with Client("127.0.0.1:8500", "gaussians8") as client:
        samples = client.sample(64, seed=0)

Needs the packages grpcio and tensorflow-serving-api, and TensorFlow for its protos.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Mapping
from typing import Any, Self

import grpc
import numpy as np

from export import runtime

tf = runtime.import_tensorflow()

from tensorflow_serving.apis import (  # noqa: E402
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

__all__ = ["Client"]

# Seconds before a refused request is sent again: from the first to the last, doubling.
_FIRST_WAIT, _LAST_WAIT = 0.05, 2.0
# gRPC's own limit of a message; certificates that are not trusted, or of another host.
_FOR_GOOD = re.compile("larger than max|CERTIFICATE_VERIFY_FAILED|Hostname Verification Check")
_INT64 = np.iinfo(np.int64)


class Client:
    """Calls one model. Use it as a context manager, or `close` it.

    Args:
      address: host:port of gRPC.
      model: the model's name.
      version: its number; None for the newest.
      label: instead of a number, such as "stable".
      token: bearer token, where the server wants one.
      timeout: seconds for a call, tries included.
      rows: of one call; more are asked for in several.
      credentials: of TLS, such as grpc.ssl_channel_credentials(...); None for none.
      retry: whether a call that the server refuses for now (a full queue, UNAVAILABLE) is made
        again, after a growing wait, until its time is up.

    A sample of several calls is of one version: that of the first reply. If it is no longer served
    before the last call, the sample fails.

    Raises:
      ValueError: for a version and a label, or less than one row.
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
        credentials: grpc.ChannelCredentials | None = None,
        retry: bool = True,
    ):
        if version is not None and label is not None:
            raise ValueError("Give a version or a label, not both.")
        if rows < 1:
            raise ValueError(f"rows must be at least 1, got {rows}.")
        self._model, self._version, self._label = model, version, label
        self._metadata = [("authorization", f"Bearer {token}")] if token else None
        self._timeout, self._rows, self._retry = timeout, rows, retry
        options = [("grpc.max_receive_message_length", -1)]
        if credentials is None:
            self._channel = grpc.insecure_channel(address, options)
        else:
            self._channel = grpc.secure_channel(address, credentials, options)
        stub = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)
        self._predict, self._metadata_of = stub.Predict, stub.GetModelMetadata
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
        return self._ask(signature, inputs)[0]

    def sample(self, num: int, seed: int = 0, labels: Any = None) -> np.ndarray:
        """Samples 0 .. num - 1 of a seed: float32 [num, ...].

        Args:
          num: of samples; 0 gives an empty array of the right shape.
          seed: an int64.
          labels: int [num], the classes of a class-conditional model; None draws them.

        Raises:
          ValueError: for a number, seed or label that is no integer of its range.
          grpc.RpcError: with the server's code and message.
        """
        return self._by_seed("", "samples", num, seed, labels)

    def sample_png(self, num: int, seed: int = 0, labels: Any = None) -> list[bytes]:
        """The same as PNGs."""
        return list(self._by_seed("_png", "image_bytes", num, seed, labels))

    def generate(self, latents: Any, components: Any = None, labels: Any = None) -> np.ndarray:
        """Samples of latents float32 [n, D], by components int [n] or the mixture's choice.

        Raises:
          ValueError: for components or labels that are no integers.
          grpc.RpcError: with the server's code and message.
        """
        inputs: dict[str, np.ndarray] = {"latents": np.asarray(latents, np.float32)}
        if labels is not None:
            inputs["labels"] = _integers("labels", labels)
        if components is None:
            return self._in_parts("generate", inputs, "samples")
        inputs["components"] = _integers("components", components)
        return self._in_parts("generate_component", inputs, "samples")

    def versions(self) -> dict[int, str]:
        """The versions that the server knows -> their state, such as "AVAILABLE"."""
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = self._model
        response = self._call(self._status, request)
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
        num, seed = int(_integers("num", num, 0)), _integers("seed", seed, 0)
        if num < 0:
            raise ValueError(f"num must be at least 0, got {num}.")
        index = np.arange(num, dtype=np.int64)
        inputs: dict[str, np.ndarray] = {
            "seeds": np.stack([np.full_like(index, seed), index], axis=1)
        }
        if labels is None:
            return self._in_parts(f"sample{suffix}", inputs, output)
        inputs["labels"] = _integers("labels", labels)
        return self._in_parts(f"sample_class{suffix}", inputs, output)

    def _in_parts(self, signature, inputs, output) -> np.ndarray:
        lengths = {name: len(value) for name, value in inputs.items()}
        num = next(iter(lengths.values()))
        if len(set(lengths.values())) > 1:
            raise ValueError(f"All inputs need the same number of rows, got {lengths}.")
        if num == 0:
            return self._nothing(signature, output)
        parts, version = [], self._version
        for a in range(0, num, self._rows):
            rows = {name: value[a : a + self._rows] for name, value in inputs.items()}
            outputs, answered = self._ask(signature, rows, version)
            parts.append(outputs[output])
            version = answered if version is None else version
        return np.concatenate(parts)

    def _nothing(self, signature: str, output: str) -> np.ndarray:
        """No rows of an output."""
        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        self._fill(request.model_spec, self._version)
        response = self._call(self._metadata_of, request)
        signatures = get_model_metadata_pb2.SignatureDefMap()
        response.metadata["signature_def"].Unpack(signatures)
        info = signatures.signature_def[signature].outputs[output]
        shape = [max(0, d.size) for d in info.tensor_shape.dim][1:]
        return np.empty([0, *shape], tf.as_dtype(info.dtype).as_numpy_dtype)

    def _ask(
        self, signature: str, inputs: Mapping[str, Any], version: int | None = None
    ) -> tuple[dict[str, np.ndarray], int | None]:
        """The outputs of a request, and the version that gave them if the server says it."""
        request = predict_pb2.PredictRequest()
        self._fill(request.model_spec, self._version if version is None else version)
        request.model_spec.signature_name = signature
        for name, value in inputs.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(np.asarray(value)))
        response = self._call(self._predict, request)
        outputs = {name: tf.make_ndarray(value) for name, value in response.outputs.items()}
        spec = response.model_spec
        return outputs, spec.version.value if spec.HasField("version") else None

    def _call(self, method, request):
        """Calls, and calls again what was refused for now, until the time is up."""
        end, wait = time.monotonic() + self._timeout, _FIRST_WAIT
        while True:
            left = max(0.0, end - time.monotonic())
            try:
                return method(request, timeout=left, metadata=self._metadata)
            except grpc.RpcError as error:
                pause = _pause(error, wait) if self._retry else None
                if pause is None or time.monotonic() + pause >= end:
                    raise
            time.sleep(pause)
            wait = min(2 * wait, _LAST_WAIT)

    def _fill(self, spec, version: int | None) -> None:
        spec.name = self._model
        if version is not None:
            spec.version.value = version
        elif self._label is not None:
            spec.version_label = self._label


def _pause(error: Any, wait: float) -> float | None:
    """Seconds until a call may be made again: about `wait`, or what the server asks for."""
    if error.code() not in (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE):
        return None
    if _FOR_GOOD.search(error.details() or ""):
        return None
    asked = dict(error.trailing_metadata() or ()).get("grpc-retry-pushback-ms")
    if asked is not None:
        try:
            seconds = int(asked) / 1000
        except ValueError:
            return None
        if seconds < 0:
            return None
        wait = min(max(wait, seconds), _LAST_WAIT)
    return wait * random.uniform(0.5, 1.0)  # not all at once


def _integers(name: str, value: Any, rank: int = 1) -> np.ndarray:
    """An array of int64 of values that are integers; none is rounded."""
    array = np.asarray(value)
    if array.size == 0 and array.ndim == rank:  # [] has no type
        return array.astype(np.int64)
    if array.ndim != rank:
        expected = "one integer" if rank == 0 else "a list of integers"
        raise ValueError(f"{name} must be {expected}, got an array of shape {list(array.shape)}.")
    if array.dtype.kind == "O" and all(type(x) is int for x in array.ravel()):
        raise ValueError(f"{name} must be in the range of int64.")
    if array.dtype.kind not in "iu":
        raise ValueError(f"{name} must be integers, got values of type {array.dtype}.")
    if array.dtype == np.uint64 and array.max() > _INT64.max:
        raise ValueError(f"{name} must be in the range of int64.")
    return array.astype(np.int64)
