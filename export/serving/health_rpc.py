"""grpc.health.v1: Check and Watch, of the server ("") and of each model by its name."""

from __future__ import annotations

from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from export.serving import protos
from export.serving.health import Health

__all__ = ["HEALTH", "health_handlers"]

HEALTH = "grpc.health.v1.Health"
_SERVING, _NOT_SERVING, _UNKNOWN = 1, 2, 3
_MOST_BYTES = 2**12


def health_handlers(health: Health) -> dict[str, grpc.RpcMethodHandler]:
    """Handlers by path."""
    request_class: Any = protos.message_class("grpc.health.v1.HealthCheckRequest")
    response_class: Any = protos.message_class("grpc.health.v1.HealthCheckResponse")

    async def name_of(data: bytes, context) -> str:
        try:
            if len(data) <= _MOST_BYTES:
                return request_class.FromString(data).service
        except DecodeError:
            pass
        await context.abort(
            grpc.StatusCode.INVALID_ARGUMENT, "The request is no HealthCheckRequest."
        )
        raise AssertionError

    def status(name: str) -> int:
        if name in ("", HEALTH, "tensorflow.serving.PredictionService"):
            return _NOT_SERVING if health.missing() else _SERVING
        serves = health.serves(name)
        return _UNKNOWN if serves is None else _SERVING if serves else _NOT_SERVING

    async def check(data: bytes, context: grpc.aio.ServicerContext):
        name = await name_of(data, context)
        found = status(name)
        if found == _UNKNOWN:
            await context.abort(
                grpc.StatusCode.NOT_FOUND, f"Unknown service {name[:100]}; models are services."
            )
        return response_class(status=found).SerializeToString()

    async def watch(data: bytes, context: grpc.aio.ServicerContext):
        name = await name_of(data, context)
        said = None
        while True:
            change = health.change  # before looking, so that none is missed
            if (found := status(name)) != said:
                said = found
                yield response_class(status=found).SerializeToString()
            if health.draining:  # else this would keep the server from ending
                return
            await change.wait()

    return {
        f"/{HEALTH}/Check": grpc.unary_unary_rpc_method_handler(check),
        f"/{HEALTH}/Watch": grpc.unary_stream_rpc_method_handler(watch),
    }
