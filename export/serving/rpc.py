"""gRPC: TF Serving's PredictionService and ModelService, with its official stubs.

Predict, GetModelMetadata and GetModelStatus are served; the other methods answer UNIMPLEMENTED.
Messages are parsed here and not by grpc, which answers what is no message by UNKNOWN and logs a
stack trace. The token is looked at when a call's headers are here, before its message is.
"""

from __future__ import annotations

import asyncio
import functools
import hmac
import itertools
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
from export.serving.health import Health
from export.serving.health_rpc import HEALTH, health_handlers
from export.serving.metrics import Metrics
from export.serving.predictor import LARGE, Predictor, Target, check_tensor
from export.serving.reflection import reflection_handlers

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

_OTHER_BYTES = 2**16  # of a message that holds no tensors
_METHODS = ("Predict", "GetModelMetadata", "GetModelStatus")
_FEW, _LARGE_REPLY = 128, 2**18  # rows and bytes of a reply that is written at once

Method = Callable[[Any, grpc.aio.ServicerContext, dict[str, Any], int], Awaitable[Any]]


class _Services:
    def __init__(self, predictor: Predictor, metrics: Metrics, log: AccessLog, token: str | None):
        self.predictor, self.metrics, self.log, self.token = predictor, metrics, log, token
        self.models = predictor.models

    def wrap(self, name: str, message_class: type, method: Method):
        """A handler that answers errors by code and records the request."""

        async def handle(data: bytes, context: grpc.aio.ServicerContext):
            began = time.perf_counter()
            facts: dict[str, Any] = {}
            error = None
            code = Code.OK
            try:
                request = await self._parse(message_class, data, name)
                response = await method(request, context, facts, len(data))
                if isinstance(response, bytes):
                    return response
                return response.SerializeToString()
            except ServingError as found:
                error, code = found, found.code
            except asyncio.CancelledError:
                left = context.time_remaining()
                late = left is not None and left <= 0
                code = Code.DEADLINE_EXCEEDED if late else Code.CANCELLED
                raise
            except Exception:
                _log.exception("A request failed")
                code = Code.INTERNAL
                error = ServingError(code, "Internal error; the server's log says more.")
            finally:
                self._record(name, code, began, context, facts)
            return await _abort(context, error)

        return grpc.unary_unary_rpc_method_handler(handle)

    def refuse(self, name: str):
        """A handler for calls without the token: it answers without waiting for a message."""

        async def handle(_, context: grpc.aio.ServicerContext):
            self._record(name, Code.UNAUTHENTICATED, time.perf_counter(), context, {})
            message = "This server needs the metadata authorization: Bearer TOKEN."
            return await _abort(context, ServingError(Code.UNAUTHENTICATED, message))

        return grpc.stream_unary_rpc_method_handler(handle)

    def _record(self, name: str, code: Code, began: float, context, facts) -> None:
        seconds = time.perf_counter() - began
        self.metrics.request("grpc", name, facts.get("model", ""), code.name, seconds)
        if self.log.on:
            peer = context.peer()
            self.log.write(seconds, api="grpc", method=name, peer=peer, code=code.name, **facts)

    def has_token(self, metadata) -> bool:
        """Whether a call with this metadata may be answered."""
        if self.token is None:
            return True
        given = dict(metadata or ()).get("authorization", "")
        return hmac.compare_digest(str(given).encode(), f"Bearer {self.token}".encode())

    async def _parse(self, message_class: Any, data: bytes, name: str):
        most = _OTHER_BYTES
        if name == "Predict" and len(data) > most:
            most = self.predictor.message_bytes()
        if name not in _METHODS and len(data) > LARGE:
            return None  # it is refused anyway
        if len(data) > most:
            raise ServingError(
                Code.RESOURCE_EXHAUSTED,
                f"The message has {len(data)} bytes; one of a request of 1 to "
                f"{self.predictor.limits.rows} rows has at most {most}.",
            )
        if len(data) > LARGE:
            return await self.predictor.off_loop(_parse, message_class, data)
        return _parse(message_class, data)

    async def predict(self, request, context, facts, size):
        with self.models.lease(*_target(request.model_spec)) as version:
            signature = self.predictor.signature(version, request.model_spec.signature_name)
            facts |= {"model": version.model, "version": version.number, "signature": signature}
            specs, outputs = version.served.signatures[signature], version.served.outputs[signature]
            wanted = _wanted(request.output_filter, outputs)
            if size > LARGE:  # before it is read: refusing must cost little
                self.predictor.scheduler.check_room()
                inputs = await self.predictor.off_loop(self._read, request, specs)
            else:
                inputs = self._read(request, specs)
            remaining = context.time_remaining()
            arrays = await self.predictor.run(version, signature, inputs, remaining)
            facts["rows"] = rows = len(next(iter(arrays.values())))
            self.metrics.answered(version.model, version.number, rows)
            parts = version, signature, wanted, arrays
            if rows > _FEW or any(arrays[name].nbytes > _LARGE_REPLY for name in wanted):
                return await self.predictor.off_loop(_reply, *parts)
            return _reply(*parts)

    def _read(self, request, specs) -> dict[str, np.ndarray]:
        inputs = {}
        if len(request.inputs) > len(specs):  # names enough to say so
            few = itertools.islice(request.inputs, 20)
            return dict.fromkeys([*specs, *few], np.zeros([1]))
        for name in request.inputs:
            if name not in specs:
                inputs[name] = np.zeros([1])
                continue
            proto = request.inputs[name]
            # Before it is made: the shape of a small message can claim any memory.
            shape = [d.size for d in itertools.islice(proto.tensor_shape.dim, 20)]
            check_tensor(name, _dtype(proto.dtype), shape, specs, self.predictor.limits.rows)
            if proto.tensor_shape.unknown_rank:
                raise ServingError(
                    Code.INVALID_ARGUMENT, f"input {name} is not a valid tensor: unknown_rank"
                )
            try:
                inputs[name] = _array(proto, specs[name][0], shape)
            except (ValueError, TypeError) as error:
                raise ServingError(
                    Code.INVALID_ARGUMENT, f"input {name} is not a valid tensor: {error}"
                ) from None
        return inputs

    async def metadata(self, request, context, facts, size):
        fields = list(request.metadata_field)
        if not fields or set(fields) != {"signature_def"}:
            raise ServingError(
                Code.INVALID_ARGUMENT,
                f"Metadata field {', '.join(fields[:5]) or 'none'} is not supported; ask for "
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

    async def status(self, request, context, facts, size):
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

    async def unimplemented(self, request, context, facts, size):
        raise ServingError(Code.UNIMPLEMENTED, "This method is not implemented; use Predict.")


def _parse(message_class: Any, data: bytes):
    try:
        return message_class.FromString(data)
    except DecodeError:
        raise ServingError(
            Code.INVALID_ARGUMENT, f"The request is no {message_class.DESCRIPTOR.name}."
        ) from None


@functools.lru_cache(64)
def _dtype(number: int):
    """NumPy's type of a DataType, or how to call one that has none."""
    try:
        return np.dtype(tf.as_dtype(number).as_numpy_dtype)
    except (TypeError, KeyError):  # unknown, or a resource or variant
        return f"number {number}"


def _wanted(names, outputs) -> list[str]:
    """The outputs that a filter asks for."""
    if not names:
        return sorted(outputs)
    unknown = set(itertools.islice(names, 20)) - set(outputs)
    if unknown:
        raise ServingError(
            Code.INVALID_ARGUMENT,
            f"output_filter names {', '.join(sorted(unknown))}; the outputs are "
            f"{', '.join(sorted(outputs))}.",
        )
    if len(names) > len(outputs) or len(set(names)) < len(names):
        raise ServingError(
            Code.INVALID_ARGUMENT,
            f"output_filter names an output twice; the outputs are {', '.join(sorted(outputs))}.",
        )
    return list(names)


def _reply(version, signature: str, wanted: list[str], arrays) -> bytes:
    response = predict_pb2.PredictResponse()
    _fill(response.model_spec, version, signature)
    for name in wanted:
        _write(response.outputs[name], arrays[name])
    return response.SerializeToString()


async def _abort(context: grpc.aio.ServicerContext, error: ServingError):
    # gRPC's own word to clients that try again: when, or (negative) not at all.
    wait = -1 if error.retry_after is None else max(10, int(1000 * error.retry_after))
    metadata = ()
    if error.code is Code.RESOURCE_EXHAUSTED:
        metadata = (("grpc-retry-pushback-ms", str(wait)),)
    await context.abort(grpc.StatusCode[error.code.name], error.message, metadata)


def _array(proto, dtype: np.dtype, shape: list[int]) -> np.ndarray:
    """tf.make_ndarray, in a tenth of the time where the values are bytes."""
    content = proto.tensor_content
    if content and dtype.kind in "if":
        return np.frombuffer(content, dtype).reshape(shape)
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


class _Handlers(grpc.GenericRpcHandler):
    """Finds the handler of a call, once its headers are here.

    Args:
      handlers: by path.
      refusals: those of calls without the token, by path; a path that has none needs no token.
      has_token: whether a call with some metadata has it.
    """

    def __init__(self, handlers, refusals, has_token: Callable[[Any], bool]):
        self._handlers, self._refusals, self._has_token = handlers, refusals, has_token

    def service(self, handler_call_details):
        """The handler, or None for an unknown method."""
        path = handler_call_details.method
        metadata = handler_call_details.invocation_metadata
        if path in self._refusals and not self._has_token(metadata):
            return self._refusals[path]
        return self._handlers.get(path)


def make_server(
    predictor: Predictor, metrics: Metrics, log: AccessLog, health: Health, token: str | None = None
) -> grpc.aio.Server:
    """The gRPC server, without a port yet.

    Args:
      predictor: answers.
      metrics: counts.
      log: gets a line for each request.
      health: what health checks are told; they need no token.
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
    handlers, refusals, names = {}, {}, [HEALTH]
    for file in (prediction_service_pb2, model_service_pb2):
        for service in file.DESCRIPTOR.services_by_name.values():
            names.append(service.full_name)
            for name, method in service.methods_by_name.items():
                message_class = message_factory.GetMessageClass(method.input_type)
                answer = methods.get(name, services.unimplemented)
                path = f"/{service.full_name}/{name}"
                handlers[path] = services.wrap(name, message_class, answer)
                refusals[path] = services.refuse(name)
    reflection = reflection_handlers(names)
    refusals |= dict.fromkeys(reflection, services.refuse("ServerReflectionInfo"))
    handlers |= reflection | health_handlers(health)
    if token is None:
        refusals = {}
    server.add_generic_rpc_handlers((_Handlers(handlers, refusals, services.has_token),))
    return server
