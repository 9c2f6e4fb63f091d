"""Published models and a running server.

The protocol suite runs against TFS_ADDR=host:grpc_port,rest_port if that is set: a real
tensorflow_model_server (or another embedded one) that serves the folder in TFS_MODELS, which
`python -m tests.export.serving.models DIR` fills.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import threading
from pathlib import Path
from types import SimpleNamespace

import aiohttp
import pytest
import tensorflow as tf
import uvloop

from export.serving.config import ModelConfig, Policy
from export.serving.server import Server, Settings
from tests.export.conftest import published_images, published_points
from tests.shared import shared_folder


class Running:
    """A server on a thread of its own: `with Running(settings) as server`."""

    def __init__(self, settings: Settings):
        self.server = Server(settings._replace(rest_port=0, grpc_port=0))
        self._loop = uvloop.new_event_loop()  # as `server.run` has
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def call(self, coroutine, timeout=60):
        """Runs a coroutine on the server's loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(timeout)

    @staticmethod
    async def _cancel_the_rest():
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        if rest:
            await asyncio.wait(rest, timeout=10)

    def poll(self):
        """Makes the server look at its folders now."""
        self.call(self.server.models.poll())

    def __enter__(self):
        self._thread.start()
        try:
            self.call(self.server.start(), 300)  # warming up, on a busy machine
        except BaseException:
            self._stop()
            raise
        self.grpc = f"127.0.0.1:{self.server.grpc_port}"
        self.rest = f"http://127.0.0.1:{self.server.rest_port}"
        return self

    def __exit__(self, *exception):
        try:
            self.call(self.server.drain())
        finally:
            self._stop()

    def _stop(self):
        # What a drain has given up: else asyncio complains of it when it is found as garbage, in
        # the log of whatever test runs then.
        self.call(self._cancel_the_rest())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)
        self._loop.close()


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """The folder of the models: `points` (versions 1 and 2) and `images` (version 1)."""
    if "TFS_MODELS" in os.environ:
        return Path(os.environ["TFS_MODELS"])
    versions = {
        "points/1": published_points(tmp_path_factory, 8),
        "points/2": published_points(tmp_path_factory, 1),
        "images/1": published_images(tmp_path_factory),
    }

    def copy(folder):
        for name, version in versions.items():
            shutil.copytree(version, folder / name)

    return shared_folder(tmp_path_factory, "models", copy)


def configs(folder):
    """Both versions of points with labels, and images."""
    labels = {"stable": 1, "canary": 2}
    return [
        ModelConfig("points", folder / "points", Policy("latest", 2), labels),
        ModelConfig("images", folder / "images"),
    ]


def settings(folder, **more):
    """Settings of a quiet server of points/2 that polls only when told to."""
    points = [ModelConfig("points", folder / "points")]
    return Settings(points, **{"poll_seconds": 3600, "access_log": "", **more})


@pytest.fixture(scope="session")
def signatures(models):
    """(model, version) -> signatures of tf.saved_model.load."""
    return {
        (name, version): tf.saved_model.load(str(models / name / str(version))).signatures
        for name, version in (("points", 1), ("points", 2), ("images", 1))
    }


@pytest.fixture(scope="session")
def running(models):
    """A server of points/1, points/2 and images/1. Ask only what leaves it as it is."""
    with Running(settings(models)._replace(models=configs(models))) as running:
        yield running


@pytest.fixture(scope="session")
def served(request):
    """Where the models are served: `grpc` (host:port) and `rest` (http://host:port)."""
    if address := os.environ.get("TFS_ADDR"):
        host, ports = address.rsplit(":", 1)
        grpc_port, rest_port = ports.split(",")
        yield SimpleNamespace(
            grpc=f"{host}:{grpc_port}", rest=f"http://{host}:{rest_port}", embedded=False
        )
        return
    running = request.getfixturevalue("running")
    yield SimpleNamespace(grpc=running.grpc, rest=running.rest, embedded=True, running=running)


def ask(url, *requests):
    """Sends requests at once: (method, path, json or bytes); [(status, content), ...]."""

    async def one(session, method, path, body=None, **options):
        data = {"data": body} if isinstance(body, bytes) else {"json": body}
        async with session.request(method, url + path, **data, **options) as response:
            kind = response.headers.get("Content-Type", "")
            content = await (response.json() if "json" in kind else response.read())
            return response.status, content

    async def all_():
        async with aiohttp.ClientSession() as session:
            return await asyncio.gather(
                *(one(session, *r[:3], **(r[3] if len(r) > 3 else {})) for r in requests)
            )

    return asyncio.run(all_())
