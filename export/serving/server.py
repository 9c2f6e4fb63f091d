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

from export.serving import rest, rpc
from export.serving.access import AccessLog
from export.serving.batching import Scheduler
from export.serving.config import Batching, ModelConfig, read_models
from export.serving.metrics import Metrics
from export.serving.predictor import Limits, Predictor
from export.serving.versions import Models
from tf_mixed_nash.errors import InputError

__all__ = ["Server", "Settings", "run"]

_log = logging.getLogger(__name__)


class Settings(NamedTuple):
    """How to serve.

    Attributes:
      models: which.
      models_file: read again when it changes; None for fixed models.
      host: address to listen at.
      rest_port: of REST and the page; 0 chooses a free one, None is off.
      grpc_port: of gRPC; 0 chooses a free one, None is off.
      batching: how requests are joined.
      limits: of a request.
      poll_seconds: between two looks at the folders.
      drain_seconds: that requests may take to end once the server stops.
      token: that requests must bear; None for no authentication.
      metrics_path: of Prometheus's metrics; None where they are off.
      access_log: a file, "-" for stderr, "" for none.
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


class Server:
    """Serves until it is stopped.

    Args:
      settings: see Settings.

    Attributes:
      models: what is loaded.
      rest_port: where REST listens, once started.
      grpc_port: where gRPC listens, once started.
    """

    def __init__(self, settings: Settings):
        self.settings = settings
        self._metrics = Metrics()
        self._log = AccessLog(settings.access_log)
        self.models = Models(settings.models, self._count_versions)
        self._scheduler: Scheduler | None = None
        self._runner: web.ServerRunner | None = None
        self._grpc: grpc.aio.Server | None = None
        self._poller: asyncio.Task | None = None
        self._draining = False
        self._modified = _modified(settings.models_file)
        self.rest_port: int | None = None
        self.grpc_port: int | None = None

    async def start(self) -> None:
        """Loads every model, then listens.

        Raises:
          InputError: if a model has no version that loads, or a port is taken.
        """
        s = self.settings
        await self.models.poll()
        for name in self.models.names:
            if not self.models.loaded(name):
                raise InputError(_why_nothing_serves(self.models, name, s.models))
        self._scheduler = Scheduler(s.batching, self._metrics.batch)
        predictor = Predictor(self.models, self._scheduler, s.limits)
        if s.rest_port is not None:
            server = rest.make_server(
                predictor, self._metrics, self._log, s.token, s.metrics_path, self._is_draining
            )
            self._runner = web.ServerRunner(server, shutdown_timeout=s.drain_seconds)
            await self._runner.setup()
            site = web.TCPSite(self._runner, s.host, s.rest_port, reuse_port=False)
            try:
                await site.start()
            except OSError as error:
                raise InputError(_taken("rest_api_port", s.host, s.rest_port, error)) from None
            self.rest_port = self._runner.addresses[0][1]
        if s.grpc_port is not None:
            self._grpc = rpc.make_server(predictor, self._metrics, self._log, s.token)
            host = f"[{s.host}]" if ":" in s.host else s.host
            try:
                self.grpc_port = self._grpc.add_insecure_port(f"{host}:{s.grpc_port}")
            except RuntimeError as error:
                raise InputError(_taken("port", s.host, s.grpc_port, error)) from None
            await self._grpc.start()
        self._poller = asyncio.create_task(self._follow())

    async def drain(self) -> None:
        """Takes no new connections, answers what has begun, frees everything."""
        self._draining = True
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
        self.models.configure([])
        self._log.close()

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(self.settings.poll_seconds)
            try:
                self._read_models_again()
                await self.models.poll()
            except Exception:  # a folder that vanishes for a moment must not end the server
                _log.exception("Looking at the model folders failed")

    def _read_models_again(self) -> None:
        path = self.settings.models_file
        modified = _modified(path)
        if path is None or modified in (None, self._modified):
            return
        self._modified = modified
        try:
            self.models.configure(read_models(path))
            _log.info("%s was read again", path)
        except InputError as error:
            _log.warning("%s; the models stay as they were", error)

    def _is_draining(self) -> bool:
        return self._draining

    def _count_versions(self) -> None:
        self._metrics.loaded.clear()
        for name in self.models.names:
            for number in self.models.loaded(name):
                self._metrics.loaded.labels(name, str(number)).set(1)


def run(coroutine: Coroutine[Any, Any, int]) -> int:
    """asyncio.run on uvloop's event loop, on which a request costs less than on asyncio's own."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(coroutine)


def _modified(path: Path | None) -> int | None:
    try:
        return path.stat().st_mtime_ns if path else None
    except OSError:
        return None


def _why_nothing_serves(models: Models, name: str, configs: list[ModelConfig]) -> str:
    base = next(config.base_path for config in configs if config.name == name)
    try:
        failed = {n: s.error for n, s in models.statuses(name).items() if s.error}
    except Exception:
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
    return f"--{flag}={port}: {host}:{port} cannot be listened at ({error}). Choose another port."
