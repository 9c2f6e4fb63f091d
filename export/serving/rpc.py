"""gRPC: TF Serving's PredictionService and ModelService, with its official stubs.

Predict, GetModelMetadata and GetModelStatus are served; the other methods answer UNIMPLEMENTED.
Messages are parsed here and not by grpc, which answers what is no message by UNKNOWN and logs a
stack trace.
"""

from __future__ import annotations

import functools
import hmac
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
import numpy as np
from google.protobuf import any_pb2, message_factory
from google.protobuf.message import DecodeError

from export import runtime
from export.serving.access import AccessLog
from export.serving.errors import Code, ServingError
from export.serving.metrics import Metrics
from export.serving.predictor import Predictor, Target, check_tensor

tf = runtime.import_tensorflow()

from tensorflow_serving.apis import (  # noqa: E402
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2,
    predict_pb2,
    prediction_service_pb2,
)

__all__ = ["make_server"]

_log = logging.getLogger(__name__)

Method = Callable[[Any, grpc.aio.ServicerContext, dict[str, Any]], Awaitable[Any]]


class _Services:
    def __init__(self, predictor: Predictor, metrics: Metrics, log: AccessLog, token: str | None):
        self.predictor, self.metrics, self.log, self.token = predictor, metrics, log, token
        self.models = predictor.models

    def wrap(self, name: str, message_class: type, method: Method):
        """A handler that answers errors by code and records the request."""

        async def handle(data: bytes, context: grpc.aio.ServicerContext):
            began = time.perf_counter()
            facts: dict[str, Any] = {}
            code, message = Code.OK, ""
            try:
                self._check_token(context)
                request = _parse(message_class, data)
                response = await method(request, context, facts)
                return response.SerializeToString()
            except ServingError as error:
                code, message = error.code, error.message
            except Exception:
                _log.exception("A request failed")
                code, message = Code.INTERNAL, "Internal error; the server's log says more."
            finally:
                seconds = time.perf_counter() - began
                model = facts.get("model", "")
                self.metrics.request("grpc", name, model, code.name, seconds)
                if self.log.on:
                    peer = context.peer()
                    self.log.write(
                        seconds, api="grpc", method=name, peer=peer, code=code.name, **facts
                    )
            return await context.abort(grpc.StatusCode[code.name], message)

        return grpc.unary_unary_rpc_method_handler(handle)

    def _check_token(self, context) -> None:
        if self.token is None:
            return
        given = dict(context.invocation_metadata() or ()).get("authorization", "")
        if not hmac.compare_digest(str(given).encode(), f"Bearer {self.token}".encode()):
            raise ServingError(
                Code.UNAUTHENTICATED, "This server needs the metadata authorization: Bearer TOKEN."
            )

    async def predict(self, request, context, facts):
        with self.models.lease(*_target(request.model_spec)) as version:
            signature = self.predictor.signature(version, request.model_spec.signature_name)
            facts |= {"model": version.model, "version": version.number, "signature": signature}
            inputs = self._read(request, version.served.signatures[signature])
            wanted = list(request.output_filter) or sorted(version.served.outputs[signature])
            if unknown := set(wanted) - set(version.served.outputs[signature]):
                raise ServingError(
                    Code.INVALID_ARGUMENT,
                    f"output_filter names {', '.join(sorted(unknown))}; the outputs are "
                    f"{', '.join(sorted(version.served.outputs[signature]))}.",
                )
            remaining = context.time_remaining()
            outputs = await self.predictor.run(version, signature, inputs, remaining)
            facts["rows"] = rows = len(next(iter(outputs.values())))
            self.metrics.answered(version.model, version.number, rows)
            response = predict_pb2.PredictResponse()
            _fill(response.model_spec, version, signature)
            for name in wanted:
                _write(response.outputs[name], outputs[name])
            return response

    def _read(self, request, specs) -> dict[str, np.ndarray]:
        inputs = {}
        for name, proto in request.inputs.items():
            if name in specs:
                # Before it is made: the shape of a small message can claim any memory.
                shape = [d.size for d in proto.tensor_shape.dim]
                check_tensor(name, _dtype(proto.dtype), shape, specs, self.predictor.limits.rows)
            try:
                inputs[name] = _array(proto) if name in specs else np.zeros([1])
            except (ValueError, TypeError) as error:
                raise ServingError(
                    Code.INVALID_ARGUMENT, f"input {name} is not a valid tensor: {error}"
                ) from None
        return inputs

    async def metadata(self, request, context, facts):
        fields = list(request.metadata_field)
        if not fields or set(fields) != {"signature_def"}:
            raise ServingError(
                Code.INVALID_ARGUMENT,
                f"Metadata field {', '.join(fields) or 'none'} is not supported; ask for "
                "signature_def.",
            )
        with self.models.lease(*_target(request.model_spec)) as version:
            facts |= {"model": version.model, "version": version.number}
            signatures = get_model_metadata_pb2.SignatureDefMap()
            for name, definition in version.served.definitions.items():
                signatures.signature_def[name].CopyFrom(definition)
            response = get_model_metadata_pb2.GetModelMetadataResponse()
            _fill(response.model_spec, version, "")
            packed = any_pb2.Any()
            packed.Pack(signatures)
            response.metadata["signature_def"].CopyFrom(packed)
            return response

    async def status(self, request, context, facts):
        target = _target(request.model_spec)
        number = target.version
        if target.label is not None:
            with self.models.lease(*target) as version:
                number = version.number
        response = get_model_status_pb2.GetModelStatusResponse()
        for version, status in self.models.statuses(target.model, number).items():
            entry = response.model_version_status.add(version=version, state=status.state)
            if status.error:
                entry.status.error_code = 2  # UNKNOWN
                entry.status.error_message = status.error
        facts["model"] = target.model
        return response

    async def unimplemented(self, request, context, facts):
        raise ServingError(Code.UNIMPLEMENTED, "This method is not implemented; use Predict.")


def _parse(message_class: Any, data: bytes):
    try:
        return message_class.FromString(data)
    except DecodeError:
        raise ServingError(
            Code.INVALID_ARGUMENT, f"The request is no {message_class.DESCRIPTOR.name}."
        ) from None


@functools.cache
def _dtype(number: int):
    """NumPy's type of a DataType, or how to call one that has none."""
    try:
        return np.dtype(tf.as_dtype(number).as_numpy_dtype)
    except TypeError:
        return f"number {number}"


def _array(proto) -> np.ndarray:
    """tf.make_ndarray, in a tenth of the time where the values are bytes."""
    dtype = _dtype(proto.dtype)
    if proto.tensor_content and isinstance(dtype, np.dtype) and dtype.kind in "if":
        shape = [d.size for d in proto.tensor_shape.dim]
        return np.frombuffer(proto.tensor_content, dtype).reshape(shape)
    return tf.make_ndarray(proto)


@functools.cache
def _number(dtype: np.dtype) -> int:
    return tf.as_dtype(dtype).as_datatype_enum


def _write(proto, value: np.ndarray) -> None:
    """proto.CopyFrom(tf.make_tensor_proto(value)), in a tenth of the time."""
    proto.dtype = _number(value.dtype)
    for size in value.shape:
        proto.tensor_shape.dim.add(size=size)
    if value.dtype == object:
        proto.string_val.extend(value.ravel().tolist())
    else:
        proto.tensor_content = value.tobytes()


def _target(spec) -> Target:
    if not spec.name:
        raise ServingError(Code.INVALID_ARGUMENT, "Missing ModelSpec")
    version = spec.version.value if spec.HasField("version") else None
    label = spec.version_label if spec.WhichOneof("version_choice") == "version_label" else None
    return Target(spec.name, version, label)


def _fill(spec, version, signature: str) -> None:
    spec.name, spec.signature_name = version.model, signature
    spec.version.value = version.number


def make_server(
    predictor: Predictor, metrics: Metrics, log: AccessLog, token: str | None = None
) -> grpc.aio.Server:
    """The gRPC server, without a port yet.

    Args:
      predictor: answers.
      metrics: counts.
      log: gets a line for each request.
      token: that requests must bear; None for no authentication.
    """
    server = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", predictor.limits.body_bytes),
            ("grpc.max_send_message_length", -1),
            ("grpc.so_reuseport", 0),  # a second server on the port is an error
        ]
    )
    services = _Services(predictor, metrics, log, token)
    methods = {
        "Predict": services.predict,
        "GetModelMetadata": services.metadata,
        "GetModelStatus": services.status,
    }
    for file in (prediction_service_pb2, model_service_pb2):
        for service in file.DESCRIPTOR.services_by_name.values():
            handlers = {}
            for name, method in service.methods_by_name.items():
                message_class = message_factory.GetMessageClass(method.input_type)
                answer = methods.get(name, services.unimplemented)
                handlers[name] = services.wrap(name, message_class, answer)
            handler = grpc.method_handlers_generic_handler(service.full_name, handlers)
            server.add_generic_rpc_handlers((handler,))
    return server
