"""Messages of gRPC's health checking and reflection, made from their published definitions.

grpcio-health-checking and grpcio-reflection bring the same messages; here they need no package.
Both protocols are frozen: grpc/health/v1/health.proto, grpc/reflection/v1/reflection.proto. The
messages are in a pool of their own, so those packages may be loaded beside.
"""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

__all__ = ["POOL", "message_class"]

_FIELD = descriptor_pb2.FieldDescriptorProto
_KINDS = {"string": _FIELD.TYPE_STRING, "bytes": _FIELD.TYPE_BYTES, "int32": _FIELD.TYPE_INT32}
POOL = descriptor_pool.DescriptorPool()

# name:number:type, with * before a type that is repeated, ? before one of the message's oneof.
_HEALTH = {
    "HealthCheckRequest": ["service:1:string"],
    "HealthCheckResponse": ["status:1:HealthCheckResponse.ServingStatus"],
}
_STATUSES = ("UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")
_REFLECTION = {
    "ServerReflectionRequest": [
        "host:1:string",
        "file_by_filename:3:?string",
        "file_containing_symbol:4:?string",
        "file_containing_extension:5:?ExtensionRequest",
        "all_extension_numbers_of_type:6:?string",
        "list_services:7:?string",
    ],
    "ExtensionRequest": ["containing_type:1:string", "extension_number:2:int32"],
    "ServerReflectionResponse": [
        "valid_host:1:string",
        "original_request:2:ServerReflectionRequest",
        "file_descriptor_response:4:?FileDescriptorResponse",
        "all_extension_numbers_response:5:?ExtensionNumberResponse",
        "list_services_response:6:?ListServiceResponse",
        "error_response:7:?ErrorResponse",
    ],
    "FileDescriptorResponse": ["file_descriptor_proto:1:*bytes"],
    "ExtensionNumberResponse": ["base_type_name:1:string", "extension_number:2:*int32"],
    "ListServiceResponse": ["service:1:*ServiceResponse"],
    "ServiceResponse": ["name:1:string"],
    "ErrorResponse": ["error_code:1:int32", "error_message:2:string"],
}


def _add_file(
    name: str,
    package: str,
    messages: dict[str, list[str]],
    service: str,
    methods: Sequence[tuple[str, str, str, bool, bool]],
) -> None:
    file = descriptor_pb2.FileDescriptorProto(name=name, package=package, syntax="proto3")
    for message_name, fields in messages.items():
        message = file.message_type.add(name=message_name)
        for text in fields:
            key, number, kind = text.split(":")
            field = message.field.add(name=key, number=int(number), label=_FIELD.LABEL_OPTIONAL)
            if kind.startswith("*"):
                field.label = _FIELD.LABEL_REPEATED
            elif kind.startswith("?"):
                if not message.oneof_decl:
                    kind_of = "request" if message_name.endswith("Request") else "response"
                    message.oneof_decl.add(name=f"message_{kind_of}")
                field.oneof_index = 0
            kind = kind.lstrip("*?")
            if kind in _KINDS:
                field.type = _KINDS[kind]
            else:
                field.type = _FIELD.TYPE_ENUM if "." in kind else _FIELD.TYPE_MESSAGE
                field.type_name = f".{package}.{kind}"
        if message_name == "HealthCheckResponse":
            enum = message.enum_type.add(name="ServingStatus")
            for i, status in enumerate(_STATUSES):
                enum.value.add(name=status, number=i)
    made = file.service.add(name=service)
    for method, request, response, asks_on, answers_on in methods:
        made.method.add(
            name=method,
            input_type=f".{package}.{request}",
            output_type=f".{package}.{response}",
            client_streaming=asks_on,
            server_streaming=answers_on,
        )
    POOL.Add(file)


_add_file(
    "grpc/health/v1/health.proto",
    "grpc.health.v1",
    _HEALTH,
    "Health",
    [
        ("Check", "HealthCheckRequest", "HealthCheckResponse", False, False),
        ("Watch", "HealthCheckRequest", "HealthCheckResponse", False, True),
    ],
)
for _version in ("v1", "v1alpha"):
    _add_file(
        f"grpc/reflection/{_version}/reflection.proto",
        f"grpc.reflection.{_version}",
        _REFLECTION,
        "ServerReflection",
        [
            (
                "ServerReflectionInfo",
                "ServerReflectionRequest",
                "ServerReflectionResponse",
                True,
                True,
            )
        ],
    )


def message_class(name: str) -> type:
    """The class of a message of these protocols, by its full name."""
    return message_factory.GetMessageClass(POOL.FindMessageTypeByName(name))
