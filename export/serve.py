"""Serves published models over REST and gRPC, as TensorFlow Serving does, and a page for people.

    python -m export.serve --model_name=NAME --model_base_path=BASE/NAME
        [--rest_api_port=8501] [--port=8500]
    python -m export.serve --model_config_file=models.config

The flags are those of tensorflow_model_server where it has them. It listens on loopback unless
--host says otherwise. New versions of a model are found, loaded, warmed up and swapped in without
losing a request. SIGTERM and SIGINT end it after the requests in flight are answered. The page is
at http://127.0.0.1:8501/. docs/serving.md lists what is served of TF Serving's protocol.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from pathlib import Path

from absl import flags

from export import runtime
from tf_mixed_nash.errors import InputError
from trainers.system import cli

__all__: list[str] = []

_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def _define_flags() -> None:
    d = flags
    d.DEFINE_string("model_name", "", "The model's name in requests.")
    d.DEFINE_string("model_base_path", "", "The model's folder, BASE/NAME.")
    d.DEFINE_string("model_config_file", "", "Many models: a ModelServerConfig in text form.")
    d.DEFINE_integer("rest_api_port", 8501, "Port of REST and the page; 0: any free one; -1: off.")
    d.DEFINE_integer("port", 8500, "Port of gRPC; 0: any free one; -1: off.")
    d.DEFINE_string("host", "127.0.0.1", "The address to listen at; 0.0.0.0 for all.")
    d.DEFINE_boolean("enable_batching", True, "Whether requests that wait together run as one.")
    d.DEFINE_string("batching_parameters_file", "", "BatchingParameters in text form.")
    d.DEFINE_string("monitoring_config_file", "", "MonitoringConfig in text form.")
    d.DEFINE_float("file_system_poll_wait_seconds", 1.0, "Between two looks for versions.")
    d.DEFINE_integer("rest_api_timeout_in_ms", 30000, "A request's time, at most.")
    d.DEFINE_integer("max_rows", 1024, "Rows of a request, at most.")
    d.DEFINE_integer("max_body_bytes", 16 * 2**20, "Bytes of a request, at most.")
    d.DEFINE_float("drain_seconds", 30.0, "For the requests in flight when it is stopped.")
    d.DEFINE_string("auth_token_file", "", "Requests must bear the token in this file.")
    d.DEFINE_string("access_log", "-", "JSON lines: a file, - for stderr, empty for none.")


def _run() -> int:
    f = flags.FLAGS
    _check_flags()
    token = _read_token(f.auth_token_file)
    if f.host not in _LOOPBACK and token is None:
        print(
            f"warning: {f.host} may be reached from other machines, and no --auth_token_file is "
            "given.",
            file=sys.stderr,
        )
    logging.basicConfig(format="%(levelname)s %(message)s", level=logging.INFO, stream=sys.stderr)
    runtime.import_tensorflow()
    try:
        from export.serving import config, server
        from export.serving.predictor import Limits
    except ModuleNotFoundError as error:
        raise InputError(
            f"Serving needs the package {error.name}. Install the extra: pip install "
            "'tf_mixed_nash[serving]'."
        ) from None

    models_file = Path(f.model_config_file) if f.model_config_file else None
    if models_file:
        models = config.read_models(models_file)
    else:
        models = [config.ModelConfig(f.model_name, Path(f.model_base_path))]
    for model in models:
        if not model.base_path.is_dir():
            raise InputError(
                f"No such folder: {model.base_path}. Expected the folder of the versions of "
                f"{model.name}, as python -m export.saved_model --output=... makes it."
            )
    batching = config.Batching(num_batch_threads=len(os.sched_getaffinity(0)))
    if f.batching_parameters_file:
        batching = config.read_batching(Path(f.batching_parameters_file))
    metrics_path = "/monitoring/prometheus/metrics"
    if f.monitoring_config_file:
        metrics_path = config.read_monitoring_path(Path(f.monitoring_config_file))
    settings = server.Settings(
        models=models,
        models_file=models_file,
        host=f.host,
        rest_port=None if f.rest_api_port < 0 else f.rest_api_port,
        grpc_port=None if f.port < 0 else f.port,
        batching=batching._replace(enabled=f.enable_batching),
        limits=Limits(f.max_rows, f.max_body_bytes, f.rest_api_timeout_in_ms / 1000),
        poll_seconds=f.file_system_poll_wait_seconds,
        drain_seconds=f.drain_seconds,
        token=token,
        metrics_path=metrics_path,
        access_log=f.access_log,
    )
    return server.run(_serve(server.Server(settings)))


async def _serve(server) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        await server.start()
        host = server.settings.host
        for name in server.models.names:
            numbers = ", ".join(map(str, sorted(server.models.loaded(name))))
            print(f"Serving {name} (version {numbers})")
        if server.rest_port is not None:
            print(f"REST  http://{host}:{server.rest_port}/v1/models/")
            print(f"page  http://{host}:{server.rest_port}/")
        if server.grpc_port is not None:
            print(f"gRPC  {host}:{server.grpc_port}")
        sys.stdout.flush()
        await stop.wait()
        print("Stopping: requests in flight are answered first.", flush=True)
    finally:
        await server.drain()
    return cli.DONE


def _check_flags() -> None:
    f = flags.FLAGS
    if f.model_config_file and (f.model_name or f.model_base_path):
        raise InputError(
            "Give either --model_config_file, or --model_name and --model_base_path, not both."
        )
    if not f.model_config_file and not (f.model_name and f.model_base_path):
        raise InputError(
            "What to serve is missing: --model_name=NAME and --model_base_path=BASE/NAME, or "
            "--model_config_file=FILE."
        )
    if set("/:") & set(f.model_name):
        raise InputError(f"--model_name={f.model_name} may hold neither / nor :.")
    if f.rest_api_port < 0 and f.port < 0:
        raise InputError("Both --rest_api_port and --port are off; nothing would be served.")
    for name in ("rest_api_port", "port"):
        if int(f[name].value or 0) > 65535:
            raise InputError(f"--{name}={f[name].value} is no port: 0 to 65535, or -1 for off.")
    for name in ("file_system_poll_wait_seconds", "rest_api_timeout_in_ms", "max_rows",
                 "max_body_bytes"):  # fmt: skip
        if float(f[name].value or 0) <= 0:
            raise InputError(f"--{name} must be positive, got {f[name].value}.")
    if f.drain_seconds < 0:
        raise InputError(f"--drain_seconds must not be negative, got {f.drain_seconds}.")


def _read_token(path: str) -> str | None:
    if not path:
        return None
    try:
        token = Path(path).read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--auth_token_file={path} cannot be read ({error}).") from None
    if len(token) < 16 or not token.isascii() or not token.isprintable() or " " in token:
        raise InputError(
            f"--auth_token_file={path} must hold one token of at least 16 printable ASCII "
            "characters without blanks."
        )
    return token


if __name__ == "__main__":
    _define_flags()
    with contextlib.suppress(KeyboardInterrupt):
        cli.main(_run)
