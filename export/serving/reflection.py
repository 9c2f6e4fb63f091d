"""gRPC's reflection, v1 and v1alpha: what grpcurl and the like ask for services and messages."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc
import grpc.aio
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.message import DecodeError

from export.serving import protos

__all__ = ["reflection_handlers"]

_MOST_BYTES = 2**12
_NOT_FOUND, _INVALID = 5, 3


def reflection_handlers(services: Sequence[str]) -> dict[str, grpc.RpcMethodHandler]:
    """Handlers by path.

    Args:
      services: full names of those that are served, beside reflection.
    """
    packages = [f"grpc.reflection.{version}" for version in ("v1", "v1alpha")]
    names = sorted([*services, *(f"{package}.ServerReflection" for package in packages)])
    return {
        f"/{package}.ServerReflection/ServerReflectionInfo": _handler(package, names)
        for package in packages
    }


def _handler(package: str, names: Sequence[str]) -> grpc.RpcMethodHandler:
    request_class: Any = protos.message_class(f"{package}.ServerReflectionRequest")
    response_class: Any = protos.message_class(f"{package}.ServerReflectionResponse")

    async def answer(requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext):
        async for data in requests:
            try:
                if len(data) > _MOST_BYTES:
                    raise DecodeError
                request = request_class.FromString(data)
            except DecodeError:
                await context.abort(
                    grpc.StatusCode.INVALID_ARGUMENT, "The request is no ServerReflectionRequest."
                )
            response = response_class(valid_host=request.host, original_request=request)
            _fill(request, response, names)
            yield response.SerializeToString()

    return grpc.stream_stream_rpc_method_handler(answer)


def _fill(request: Any, response: Any, names: Sequence[str]) -> None:
    kind = request.WhichOneof("message_request")
    try:
        match kind:
            case "list_services":
                for name in names:
                    response.list_services_response.service.add(name=name)
            case "file_by_filename":
                _add_files(response, _find("FindFileByName", request.file_by_filename))
            case "file_containing_symbol":
                symbol = request.file_containing_symbol
                _add_files(response, _find("FindFileContainingSymbol", symbol))
            case "all_extension_numbers_of_type":
                found = _find("FindMessageTypeByName", request.all_extension_numbers_of_type)
                response.all_extension_numbers_response.base_type_name = found.full_name
            case "file_containing_extension":
                raise KeyError  # none of the messages here has any
            case _:
                response.error_response.error_code = _INVALID
                response.error_response.error_message = "The request asks for nothing."
    except KeyError:
        response.error_response.error_code = _NOT_FOUND
        response.error_response.error_message = "It is not here."


def _find(method: str, name: str):
    """What the first pool that knows a name says."""
    try:
        return getattr(protos.POOL, method)(name)
    except KeyError:
        return getattr(descriptor_pool.Default(), method)(name)


def _add_files(response: Any, file) -> None:
    """A file and all that it imports."""
    found: dict[str, bytes] = {}

    def add(file) -> None:
        if file.name in found:
            return
        proto = descriptor_pb2.FileDescriptorProto()
        file.CopyToProto(proto)
        found[file.name] = b""
        for dependency in file.dependencies:
            add(dependency)
        found[file.name] = proto.SerializeToString()

    add(file)
    response.file_descriptor_response.file_descriptor_proto.extend(found.values())
