"""Serves published models over REST and gRPC, as TensorFlow Serving does, and a page for people.

    python -m export.serve --model_name=NAME --model_base_path=BASE/NAME
        [--rest_api_port=8501] [--port=8500]
    python -m export.serve --model_config_file=models.config

The flags are those of tensorflow_model_server where it has them. It listens on loopback unless
--host says otherwise. New versions of a model are found, loaded, warmed up and swapped in without
losing a request. SIGTERM and SIGINT end it after the requests in flight are answered, a second one
at once; SIGHUP opens the access log anew. The page is at http://127.0.0.1:8501/. docs/serving.md
lists what is served of TF Serving's protocol, docs/serving_security.md what it withstands.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from absl import flags

from export import runtime
from tf_mixed_nash.errors import InputError
from trainers.system import cli

__all__: list[str] = []


def _define_flags() -> None:
    d = flags
    d.DEFINE_string("model_name", "", "The model's name in requests.")
    d.DEFINE_string("model_base_path", "", "The model's folder, BASE/NAME.")
    d.DEFINE_string("model_config_file", "", "Many models: a ModelServerConfig in text form.")
    d.DEFINE_integer("rest_api_port", 8501, "Port of REST and the page; 0: any free one; -1: off.")
    d.DEFINE_integer("port", 8500, "Port of gRPC; 0: any free one; -1: off.")
    d.DEFINE_string("host", "127.0.0.1", "Name or address to listen at; 0.0.0.0 or :: for all.")
    d.DEFINE_boolean("enable_batching", True, "Whether requests that wait together run as one.")
    d.DEFINE_string("batching_parameters_file", "", "BatchingParameters in text form.")
    d.DEFINE_string("monitoring_config_file", "", "MonitoringConfig in text form.")
    d.DEFINE_float("file_system_poll_wait_seconds", 1.0, "Between two looks for versions.")
    d.DEFINE_integer("rest_api_timeout_in_ms", 30000, "A request's time, at most.")
    d.DEFINE_integer("max_rows", 1024, "Rows of a request, at most.")
    d.DEFINE_integer("max_body_bytes", 16 * 2**20, "Bytes of a request, at most.")
    d.DEFINE_integer("max_reply_bytes", 64 * 2**20, "Bytes of a reply's arrays, at most.")
    d.DEFINE_float("drain_seconds", 30.0, "For the requests in flight when it is stopped.")
    d.DEFINE_string("auth_token_file", "", "Requests must bear the token in this file.")
    d.DEFINE_string("access_log", "-", "JSON lines: a file, - for stderr, empty for none.")
    d.DEFINE_string("ssl_certificate", "", "TLS, both protocols: the certificate chain, PEM.")
    d.DEFINE_string("ssl_key", "", "Its key, PEM, not encrypted.")
    d.DEFINE_string("ssl_client_ca", "", "Clients need a certificate of these authorities, PEM.")
    d.DEFINE_string("ssl_config_file", "", "Instead of these three: an SSLConfig in text form.")
    d.DEFINE_string("allowed_hosts", "", "Names of this server for browsers, comma-separated.")
    d.DEFINE_string("cors_origins", "", "Pages that may read replies: scheme://host[:port],...")


def _run() -> int:
    from export.serving import listening
    from export.serving.origins import is_loopback

    f = flags.FLAGS
    _check_flags()
    token = _read_token(f.auth_token_file)
    if token is None and not all(map(is_loopback, listening.resolve(f.host))):
        print(
            f"warning: {f.host} may be reached from other machines, and no --auth_token_file is "
            "given.",
            file=sys.stderr,
        )
    # What gRPC's C++ side logs of each bad connection would fill a pipe that nobody reads.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    runtime.import_tensorflow()
    try:
        from export.serving import config, lines, origins, server
        from export.serving.bounds import Limits
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
    with contextlib.ExitStack() as exits:
        tls = None
        if f.ssl_config_file:
            folder = exits.enter_context(tempfile.TemporaryDirectory())
            tls = config.read_ssl(Path(f.ssl_config_file), Path(folder))
        elif f.ssl_certificate:
            ca = Path(f.ssl_client_ca) if f.ssl_client_ca else None
            tls = config.TlsFiles(Path(f.ssl_certificate), Path(f.ssl_key), ca)
        settings = server.Settings(
            models=models,
            models_file=models_file,
            host=f.host,
            rest_port=None if f.rest_api_port < 0 else f.rest_api_port,
            grpc_port=None if f.port < 0 else f.port,
            batching=batching._replace(enabled=f.enable_batching),
            limits=Limits(
                f.max_rows, f.max_body_bytes, f.rest_api_timeout_in_ms / 1000, f.max_reply_bytes
            ),
            poll_seconds=f.file_system_poll_wait_seconds,
            drain_seconds=f.drain_seconds,
            token=token,
            metrics_path=metrics_path,
            access_log=f.access_log,
            tls=tls,
            allowed_hosts=tuple(origins.read_hosts(f.allowed_hosts)) or None,
            cors_origins=tuple(origins.read_origins(f.cors_origins)),
        )
        # From here on nothing waits for a reader of stdout or stderr.
        sys.stdout.flush()
        stdout, stderr = lines.Lines(1), lines.Lines(2)
        handler = lines.LineHandler(stderr)
        handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
        logging.basicConfig(level=logging.INFO, handlers=[handler])
        try:
            return server.run(_serve(server.Server(settings, stderr), stdout.write))
        finally:
            stdout.close()
            stderr.close()


async def _serve(server, say: Callable[[str], None]) -> int:
    from export.serving.listening import in_url

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def end(number: signal.Signals) -> None:
        if stop.is_set():  # again: at once, as if nobody had listened
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end, number)
    loop.add_signal_handler(signal.SIGHUP, server.reopen_log)
    # TensorFlow's half a million objects stay anyway, and looking for garbage among them stops
    # every request for a third of a second. Versions come later, and are freed.
    gc.collect()
    gc.freeze()
    try:
        await server.start()
        host = in_url(server.settings.host)
        scheme = "https" if server.settings.tls else "http"
        for name in server.models.names:
            numbers = ", ".join(map(str, sorted(server.models.loaded(name))))
            say(f"Serving {name} (version {numbers})")
        if server.rest_port is not None:
            say(f"REST  {scheme}://{host}:{server.rest_port}/v1/models/")
            say(f"page  {scheme}://{host}:{server.rest_port}/")
        if server.grpc_port is not None:
            say(f"gRPC  {host}:{server.grpc_port}")
        await stop.wait()
        say("Stopping: requests in flight are answered first.")
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
    if f.ssl_config_file and (f.ssl_certificate or f.ssl_key or f.ssl_client_ca):
        raise InputError(
            "Give either --ssl_config_file, or --ssl_certificate and --ssl_key, not both."
        )
    if bool(f.ssl_certificate) != bool(f.ssl_key) or (f.ssl_client_ca and not f.ssl_certificate):
        raise InputError(
            "TLS needs both --ssl_certificate=FILE and --ssl_key=FILE; --ssl_client_ca=FILE goes "
            "with them."
        )
    for name in ("file_system_poll_wait_seconds", "rest_api_timeout_in_ms", "max_rows",
                 "max_body_bytes", "max_reply_bytes"):  # fmt: skip
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
