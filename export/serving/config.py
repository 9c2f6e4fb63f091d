"""TF Serving's own configuration files, read with its own field names.

`models.config` is parsed with the official proto. BatchingParameters, MonitoringConfig and
SSLConfig are not in the tensorflow-serving-api package: their descriptors are built here, field for
field as in tensorflow/serving (servables/tensorflow/session_bundle_config.proto,
config/monitoring_config.proto and config/ssl_config.proto).
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, NamedTuple

from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    message_factory,
    text_format,
    wrappers_pb2,
)

from export.serving.tls import TlsFiles
from tf_mixed_nash.errors import InputError

__all__ = [
    "LATEST",
    "Batching",
    "ModelConfig",
    "Policy",
    "batching_parameters_class",
    "monitoring_config_class",
    "read_batching",
    "read_models",
    "read_monitoring_path",
    "read_ssl",
]


class Policy(NamedTuple):
    """Which versions of a folder are served.

    Attributes:
      kind: "latest", "all" or "specific".
      num: of latest, how many.
      versions: of specific, which.
    """

    kind: str
    num: int = 1
    versions: tuple[int, ...] = ()

    def choose(self, there: list[int]) -> list[int]:
        """The versions to serve of those that are there (ascending)."""
        if self.kind == "latest":
            return there[-self.num :]
        return there if self.kind == "all" else [v for v in there if v in self.versions]


LATEST = Policy("latest", 1)


class ModelConfig(NamedTuple):
    """A model to serve.

    Attributes:
      name: in requests.
      base_path: its folder of versions.
      policy: which versions.
      labels: label -> version.
    """

    name: str
    base_path: Path
    policy: Policy = LATEST
    labels: dict[str, int] = {}  # noqa: RUF012  # never written to


class Batching(NamedTuple):
    """How requests are joined (TF Serving's BatchingParameters).

    Attributes:
      enabled: whether they are.
      max_batch_size: rows of a batch.
      batch_timeout_micros: how long a batch that is not full waits for more while a thread is
        free.
      max_enqueued_batches: full batches that may wait; more requests are refused.
      num_batch_threads: batches that run at once.
    """

    enabled: bool = True
    max_batch_size: int = 64
    batch_timeout_micros: int = 0
    max_enqueued_batches: int = 64
    num_batch_threads: int = 2


def read_models(path: Path) -> list[ModelConfig]:
    """The models of a models.config, a ModelServerConfig in text form.

    Raises:
      InputError: if it cannot be read or parsed, or lists no model or one twice.
    """
    from tensorflow_serving.config import model_server_config_pb2

    config = _parse(path, model_server_config_pb2.ModelServerConfig(), "ModelServerConfig")
    models = [_model(path, entry) for entry in config.model_config_list.config]
    if not models:
        raise InputError(
            f"{path} lists no model: it needs model_config_list {{ config {{ ... }} }}"
        )
    names = [model.name for model in models]
    if len(set(names)) < len(names):
        raise InputError(f"{path} lists a model twice. Names: {', '.join(names)}.")
    return models


def _model(path: Path, entry) -> ModelConfig:
    if not entry.name or not entry.base_path:
        raise InputError(f"{path}: every config needs a name and a base_path.")
    if entry.model_platform not in ("", "tensorflow"):
        raise InputError(
            f"{path}: model_platform {entry.model_platform!r} of {entry.name} is not served. "
            "Expected 'tensorflow'."
        )
    policy, given = LATEST, entry.model_version_policy
    match given.WhichOneof("policy_choice"):
        case "latest":
            policy = Policy("latest", given.latest.num_versions or 1)
        case "all":
            policy = Policy("all")
        case "specific":
            policy = Policy("specific", versions=tuple(given.specific.versions))
    return ModelConfig(entry.name, Path(entry.base_path), policy, dict(entry.version_labels))


def read_batching(path: Path) -> Batching:
    """The parameters of a batching file, BatchingParameters in text form.

    Raises:
      InputError: if it cannot be read or parsed, or a number is out of range.
    """
    given: Any = _parse(path, batching_parameters_class()(), "BatchingParameters")
    values = {
        name: getattr(given, name).value for name in Batching._fields[1:] if given.HasField(name)
    }
    sizes = list(given.allowed_batch_sizes)
    if sizes and (sizes != sorted(set(sizes)) or sizes[-1] != values.get("max_batch_size")):
        raise InputError(
            f"{path}: allowed_batch_sizes {sizes} must increase and end with max_batch_size."
        )
    batching = Batching()._replace(**values)
    for name, value in batching._asdict().items():
        if value < (0 if name == "batch_timeout_micros" else 1):
            raise InputError(f"{path}: {name} is {value}, below its least value.")
    return batching


def read_monitoring_path(path: Path) -> str | None:
    """Where a monitoring.config puts the metrics; None if it disables them.

    Raises:
      InputError: if it cannot be read or parsed.
    """
    given: Any = _parse(path, monitoring_config_class()(), "MonitoringConfig")
    if not given.prometheus_config.enable:
        return None
    return given.prometheus_config.path or "/monitoring/prometheus/metrics"


def read_ssl(path: Path, folder: Path) -> TlsFiles:
    """The PEM parts of an ssl_config_file, which holds them as text, as files.

    Args:
      path: an SSLConfig in text form.
      folder: where the parts are written, readable for this user alone.

    Raises:
      InputError: if it cannot be read or parsed, or the key or the certificate is missing.
    """
    given: Any = _parse(path, _messages()["SSLConfig"](), "SSLConfig")
    if not given.server_key or not given.server_cert:
        raise InputError(f"{path} needs both server_key and server_cert, in PEM.")
    if given.client_verify and not given.custom_ca:
        raise InputError(f"{path}: client_verify needs custom_ca, the authorities of clients.")
    parts = {"certificate": given.server_cert, "key": given.server_key, "ca": given.custom_ca}
    for name, text in parts.items():
        file = folder / f"{name}.pem"
        file.touch(0o600)
        file.write_text(text)
    ca = folder / "ca.pem" if given.client_verify else None
    return TlsFiles(folder / "certificate.pem", folder / "key.pem", ca)


def _parse(path: Path, message, kind: str):
    try:
        return text_format.Parse(path.read_text(), message)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}).") from None
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is no {kind} in protobuf's text form: {error}") from None


@functools.cache
def _messages() -> dict[str, type]:
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="tf_mixed_nash/serving_config.proto",
        package="tf_mixed_nash.serving",
        syntax="proto3",
        dependency=[wrappers_pb2.DESCRIPTOR.name],
    )

    def message(name: str, *fields) -> None:
        proto = file.message_type.add(name=name)
        for number, (key, kind) in enumerate(fields, 1):
            made = proto.field.add(name=key, number=number, label=field.LABEL_OPTIONAL)
            if isinstance(kind, str):
                made.type, made.type_name = field.TYPE_MESSAGE, kind
            else:
                made.type = kind

    int64, text = ".google.protobuf.Int64Value", ".google.protobuf.StringValue"
    message(
        "BatchingParameters",
        ("max_batch_size", int64),
        ("batch_timeout_micros", int64),
        ("max_enqueued_batches", int64),
        ("num_batch_threads", int64),
        ("thread_pool_name", text),
        ("allowed_batch_sizes", field.TYPE_INT64),
        ("pad_variable_length_inputs", field.TYPE_BOOL),
    )
    file.message_type[0].field[5].label = field.LABEL_REPEATED
    message("PrometheusConfig", ("enable", field.TYPE_BOOL), ("path", field.TYPE_STRING))
    message("MonitoringConfig", ("prometheus_config", ".tf_mixed_nash.serving.PrometheusConfig"))
    text_field, switch = field.TYPE_STRING, field.TYPE_BOOL
    message(
        "SSLConfig",
        ("server_key", text_field),
        ("server_cert", text_field),
        ("custom_ca", text_field),
        ("client_verify", switch),
    )
    pool = descriptor_pool.DescriptorPool()
    wrappers = descriptor_pb2.FileDescriptorProto()
    wrappers_pb2.DESCRIPTOR.CopyToProto(wrappers)
    pool.Add(wrappers)
    pool.Add(file)
    return {
        m.name: message_factory.GetMessageClass(
            pool.FindMessageTypeByName(f"{file.package}.{m.name}")
        )
        for m in file.message_type
    }


def batching_parameters_class() -> type:
    """The message class BatchingParameters."""
    return _messages()["BatchingParameters"]


def monitoring_config_class() -> type:
    """The message class MonitoringConfig."""
    return _messages()["MonitoringConfig"]
