"""The server as a whole: start, follow the folders, drain."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, NamedTuple

import grpc.aio
import uvloop
from aiohttp import web

from export.serving import listening, rest, rpc
from export.serving.access import AccessLog
from export.serving.batching import Scheduler
from export.serving.bounds import Limits
from export.serving.config import Batching, ModelConfig, read_models
from export.serving.errors import ServingError
from export.serving.health import Health
from export.serving.lines import Lines
from export.serving.metrics import Metrics
from export.serving.origins import Origins, is_loopback
from export.serving.predictor import Predictor
from export.serving.tls import Tls, TlsFiles
from export.serving.versions import Models
from tf_mixed_nash.errors import InputError

__all__ = ["Server", "Settings", "run"]

_log = logging.getLogger(__name__)


class Settings(NamedTuple):
    """How to serve.

    Attributes:
      models: which.
      models_file: read again when it changes; None for fixed models.
      host: a name or an address to listen at, with both protocols; 0.0.0.0 and :: are all.
      rest_port: of REST and the page; 0 chooses a free one, None is off.
      grpc_port: of gRPC; 0 chooses a free one, None is off.
      batching: how requests are joined.
      limits: of a request.
      poll_seconds: between two looks at the folders.
      drain_seconds: that requests may take to end once the server stops.
      token: that requests must bear; None for no authentication.
      metrics_path: of Prometheus's metrics; None where they are off.
      access_log: a file, "-" for stderr, "" for none.
      tls: the files of TLS; None for none.
      allowed_hosts: names by which REST may be asked, beside addresses and local ones; None for
        any where the server can be reached from other machines, and for no other on loopback.
      cors_origins: pages that may read REST's replies.
    """

    models: list[ModelConfig]
    models_file: Path | None = None
    host: str = "127.0.0.1"
    rest_port: int | None = 8501
    grpc_port: int | None = 8500
    batching: Batching = Batching()
    limits: Limits = Limits()
    poll_seconds: float = 1.0
    drain_seconds: float = 30.0
    token: str | None = None
    metrics_path: str | None = "/monitoring/prometheus/metrics"
    access_log: str = "-"
    tls: TlsFiles | None = None
    allowed_hosts: tuple[str, ...] | None = None
    cors_origins: tuple[str, ...] = ()


class Server:
    """Serves until it is stopped.

    Args:
      settings: see Settings.
      stderr: what writes to stderr; None where the access log is to open it.

    Raises:
      InputError: if the log or the files of TLS cannot be used.

    Attributes:
      models: what is loaded.
      rest_port: where REST listens, once started.
      grpc_port: where gRPC listens, once started.
    """

    def __init__(self, settings: Settings, stderr: Lines | None = None):
        self.settings = settings
        self._metrics = Metrics()
        self._tls = Tls(settings.tls) if settings.tls else None
        self._log = AccessLog(settings.access_log, stderr)
        self.models = Models(settings.models, self._note_versions)
        self._health = Health(self.models)
        self._scheduler: Scheduler | None = None
        self._predictor: Predictor | None = None
        self._runner: web.ServerRunner | None = None
        self._grpc: grpc.aio.Server | None = None
        self._poller: asyncio.Task | None = None
        self._modified = _modified(settings.models_file)
        self._bad_file = ""
        self.rest_port: int | None = None
        self.grpc_port: int | None = None

    async def start(self) -> None:
        """Loads every model, then listens.

        Raises:
          InputError: if a model has no version that loads, or a port is taken.
        """
        s = self.settings
        addresses = listening.resolve(s.host)
        await self.models.poll()
        for name in self.models.names:
            if not self.models.loaded(name):
                raise InputError(_why_nothing_serves(self.models, name, s.models))
        self._scheduler = Scheduler(s.batching, self._metrics.batch)
        self._predictor = Predictor(self.models, self._scheduler, s.limits)
        if s.rest_port is not None:
            await self._start_rest(self._predictor, addresses, s.rest_port)
        if s.grpc_port is not None:
            await self._start_grpc(self._predictor, addresses, s.grpc_port)
        self._poller = asyncio.create_task(self._follow())

    async def _start_rest(self, predictor: Predictor, addresses: list[str], port: int) -> None:
        s = self.settings
        hosts = s.allowed_hosts
        if hosts is None and all(map(is_loopback, addresses)):
            hosts = ()
        if hosts is not None:
            hosts = (*hosts, s.host.strip("[]").lower())
        server = rest.make_server(
            predictor,
            self._metrics,
            self._log,
            self._health,
            s.token,
            s.metrics_path,
            Origins(hosts, s.cors_origins),
        )
        self._runner = runner = web.ServerRunner(server, shutdown_timeout=s.drain_seconds)
        await runner.setup()
        try:
            sockets = listening.listen(addresses, port)
        except OSError as error:
            raise InputError(_taken("rest_api_port", s.host, port, error)) from None
        for one in sockets:
            context = self._tls.context if self._tls else None
            await web.SockSite(runner, one, ssl_context=context, backlog=1024).start()
        self.rest_port = sockets[0].getsockname()[1]

    async def _start_grpc(self, predictor: Predictor, addresses: list[str], port: int) -> None:
        s = self.settings
        server = rpc.make_server(predictor, self._metrics, self._log, self._health, s.token)
        self._grpc = server
        try:
            for address in addresses:
                where = f"{listening.in_url(address)}:{port}"
                if self._tls:
                    port = server.add_secure_port(where, self._tls.credentials())
                else:
                    port = server.add_insecure_port(where)
        except RuntimeError as error:
            raise InputError(_taken("port", s.host, port, error)) from None
        self.grpc_port = port
        await server.start()

    async def drain(self) -> None:
        """Takes no new connections, answers what has begun, frees everything."""
        self._health.drain()
        if self._poller:
            self._poller.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._poller
        ends = []
        if self._grpc:
            ends.append(self._grpc.stop(self.settings.drain_seconds))
        if self._runner:
            ends.append(self._runner.cleanup())
        await asyncio.gather(*ends)
        if self._scheduler:
            self._scheduler.close()
        if self._predictor:
            self._predictor.close()
        self.models.configure([])
        self._log.close()

    def reopen_log(self) -> None:
        """Opens the access log by its name anew, after it was moved away."""
        self._log.reopen()

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(self.settings.poll_seconds)
            try:
                if self._tls:
                    self._tls.renew()
                self._read_models_again()
                await self.models.poll()
            except Exception:  # a folder that vanishes for a moment must not end the server
                _log.exception("Looking at the model folders failed")

    def _read_models_again(self) -> None:
        path = self.settings.models_file
        modified = _modified(path)
        if path is None or modified in (None, self._modified):
            return
        try:
            self.models.configure(read_models(path))
        except InputError as error:  # half-written, or not to be read now: it is tried again
            if str(error) != self._bad_file:
                _log.warning("%s; the models stay as they were", error)
            self._bad_file = str(error)
            return
        self._modified, self._bad_file = modified, ""
        self._health.note_change()
        _log.info("%s was read again", path)

    def _note_versions(self) -> None:
        self._metrics.loaded.clear()
        for name in self.models.names:
            for number in self.models.loaded(name):
                self._metrics.loaded.labels(name, str(number)).set(1)
        self._health.note_change()


def run(coroutine: Coroutine[Any, Any, int]) -> int:
    """asyncio.run on uvloop's event loop, on which a request costs less than on asyncio's own."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(coroutine)


def _modified(path: Path | None) -> tuple | None:
    try:
        s = path.stat() if path else None
    except OSError:
        return None
    return s and (s.st_mtime_ns, s.st_size, s.st_ino)


def _why_nothing_serves(models: Models, name: str, configs: list[ModelConfig]) -> str:
    base = next(config.base_path for config in configs if config.name == name)
    try:
        failed = {n: s.error for n, s in models.statuses(name).items() if s.error}
    except ServingError:  # there never was one
        failed = {}
    if failed:
        reasons = "; ".join(f"version {n}: {error}" for n, error in failed.items())
        return f"No version of {name} in {base} loads: {reasons}"
    return (
        f"{base} holds no version of {name} to serve. Publish one with "
        f"python -m export.saved_model --output={base}, or point --model_base_path at a folder of "
        "versions."
    )


def _taken(flag: str, host: str, port: int, error: Exception) -> str:
    where = f"{listening.in_url(host)}:{port}"
    return f"--{flag}={port}: {where} cannot be listened at ({error}). Choose another port."
