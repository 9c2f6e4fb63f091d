"""TLS of both protocols, health checks and reflection."""

from __future__ import annotations

import asyncio
import json
import shutil
import ssl
import urllib.error
import urllib.request
from pathlib import Path

import grpc
import pytest

from export.client import Client
from export.serving import config, protos
from export.serving.tls import Tls, TlsFiles
from tests.export.serving.conftest import Running, ask, settings
from tf_mixed_nash.errors import InputError

HERE = Path(__file__).parent / "certificates"
TOKEN = "a-token-of-enough-characters"
HEALTH = "/grpc.health.v1.Health/"
SERVER = TlsFiles(HERE / "server.pem", HERE / "server.key")


def credentials(authority="authority", client=False):
    parts = (HERE / "client.key", HERE / "client.pem") if client else ()
    return grpc.ssl_channel_credentials(
        (HERE / f"{authority}.pem").read_bytes(), *(part.read_bytes() for part in parts)
    )


def get(running, path="/v1/models/points", authority="authority", client=False):
    context = ssl.create_default_context(cafile=HERE / f"{authority}.pem")
    if client:
        context.load_cert_chain(HERE / "client.pem", HERE / "client.key")
    url = running.rest.replace("http:", "https:") + path
    with urllib.request.urlopen(url, timeout=20, context=context) as reply:
        return reply.status


def sample(running, **more):
    with Client(
        running.grpc, "points", timeout=20, retry=False, credentials=credentials(**more)
    ) as c:
        return c.sample(2).shape


@pytest.fixture(scope="module")
def open_server(models):
    """A server without TLS, but with a token."""
    with Running(settings(models, token=TOKEN)) as running:
        yield running


def test_both_protocols_speak_tls_and_take_a_new_certificate(models, tmp_path):
    files = [shutil.copy(HERE / f"server.{end}", tmp_path / f"s.{end}") for end in ("pem", "key")]
    with Running(settings(models, tls=TlsFiles(*map(Path, files)))) as running:
        assert get(running) == 200
        assert sample(running) == (2, 2)
        with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
            get(running, authority="stranger")
        with pytest.raises(grpc.RpcError):
            sample(running, authority="stranger")
        with Client(running.grpc, "points", timeout=5, retry=False) as client:
            with pytest.raises(grpc.RpcError) as error:
                client.sample(1)
            assert error.value.code() is grpc.StatusCode.UNAVAILABLE

        def serial():
            host, port = "127.0.0.1", running.server.rest_port
            return ssl.get_server_certificate((host, port), timeout=20)

        before, tls = serial(), running.server._tls
        shutil.copy(HERE / "server2.pem", tmp_path / "s.pem")  # half of a renewal
        tls.renew()
        assert serial() == before, "a certificate without its key changes nothing"
        shutil.copy(HERE / "server2.key", tmp_path / "s.key")
        tls.renew()
        assert serial() == (HERE / "server2.pem").read_text() != before
        assert sample(running) == (2, 2)


def test_clients_need_a_certificate_where_they_must(models, tmp_path):
    authority = tmp_path / "authority.pem"
    shutil.copy(HERE / "authority.pem", authority)
    tls = SERVER._replace(client_ca=authority)
    with Running(settings(models, tls=tls)) as running:
        with pytest.raises((urllib.error.URLError, ssl.SSLError, ConnectionError)):
            get(running)
        with pytest.raises(grpc.RpcError):
            sample(running)
        assert get(running, client=True) == 200
        assert sample(running, client=True) == (2, 2)
        shutil.copy(HERE / "stranger.pem", authority)
        running.server._tls.renew()
        with pytest.raises((urllib.error.URLError, ssl.SSLError, ConnectionError)):
            get(running, client=True)  # their authority is none any more
        with pytest.raises(grpc.RpcError):
            sample(running, client=True)


@pytest.mark.parametrize(
    ("files", "says"),
    [
        (("nowhere.pem", "server.key"), "cannot be read"),
        (("server.pem", "server2.key"), "belong together"),
        (("server.key", "server.key"), "no certificate"),
        (("server.pem", "encrypted.key"), "encrypted"),
        (("server.pem", "server.key", "server.key"), "no certificate of an authority"),
    ],
)
def test_files_that_do_not_fit_are_refused(files, says):
    with pytest.raises(InputError, match=says):
        Tls(TlsFiles(*(HERE / name for name in files)))


def test_tf_servings_ssl_config_file_is_read(tmp_path):
    def text(name):
        return json.dumps((HERE / name).read_text())

    path = tmp_path / "ssl.config"
    path.write_text(
        f"server_key: {text('server.key')}\nserver_cert: {text('server.pem')}\n"
        f"custom_ca: {text('authority.pem')}\nclient_verify: true\n"
    )
    files = config.read_ssl(path, tmp_path)
    assert files.client_ca is not None
    assert (files.key.stat().st_mode & 0o077) == 0
    Tls(files)
    path.write_text(f"server_key: {text('server.key')}\n")
    with pytest.raises(InputError, match="both server_key and server_cert"):
        config.read_ssl(path, tmp_path)


# Health.


def call(running, path, data=b"", token=None):
    metadata = [("authorization", f"Bearer {token}")] if token else None
    with grpc.insecure_channel(running.grpc) as channel:
        return channel.unary_unary(path)(data, timeout=20, metadata=metadata)


def health(running, service=""):
    request = protos.message_class("grpc.health.v1.HealthCheckRequest")(service=service)
    data = call(running, HEALTH + "Check", request.SerializeToString())
    return protos.message_class("grpc.health.v1.HealthCheckResponse").FromString(data).status


def test_health_needs_no_token(open_server):
    assert health(open_server) == 1
    assert health(open_server, "points") == 1
    assert health(open_server, "tensorflow.serving.PredictionService") == 1
    with pytest.raises(grpc.RpcError) as error:
        health(open_server, "nothing")
    assert error.value.code() is grpc.StatusCode.NOT_FOUND
    for path, says in (("/healthz", b"ok\n"), ("/readyz", b"ok\n")):
        assert ask(open_server.rest, ("GET", path, None), ("HEAD", path, None)) == [
            (200, says), (200, b"")]  # fmt: skip
    assert ask(open_server.rest, ("GET", "/v1/models/points", None))[0][0] == 401


def test_what_ends_is_not_ready_and_watchers_are_told(models):
    response = protos.message_class("grpc.health.v1.HealthCheckResponse")
    with Running(settings(models)) as running:
        channel = grpc.insecure_channel(running.grpc)
        watch = channel.unary_stream(HEALTH + "Watch")(b"", timeout=30)
        assert response.FromString(next(watch)).status == 1
        unknown = channel.unary_stream(HEALTH + "Watch")(b"\x0a\x01x", timeout=30)
        assert response.FromString(next(unknown)).status == 3
        model = running.server.models._models["points"]
        loaded, model.loaded = model.loaded, {}

        async def note():
            running.server._health.note_change()

        running.call(note())
        assert response.FromString(next(watch)).status == 2
        assert ask(running.rest, ("GET", "/readyz", None))[0] == (
            503, b"no version serves of: points\n")  # fmt: skip
        assert ask(running.rest, ("GET", "/healthz", None))[0][0] == 200
        model.loaded = loaded
        running.call(note())
        assert response.FromString(next(watch)).status == 1
        running.call(asyncio.wait_for(running.server.drain(), 20))
        assert [response.FromString(x).status for x in watch] == [2], "and the watch ends"
        channel.close()
        running.server = type(running.server)(settings(models))  # drained already


# Reflection.


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_reflection_describes_every_service(open_server, version):
    from google.protobuf import descriptor_pb2, descriptor_pool

    package = f"grpc.reflection.{version}"
    request_class = protos.message_class(f"{package}.ServerReflectionRequest")
    response_class = protos.message_class(f"{package}.ServerReflectionResponse")

    def reflect(token=TOKEN, **asked):
        requests = iter([request_class(host="h", **asked).SerializeToString()])
        path = f"/{package}.ServerReflection/ServerReflectionInfo"
        metadata = [("authorization", f"Bearer {token}")] if token else None
        with grpc.insecure_channel(open_server.grpc) as channel:
            (data,) = channel.stream_stream(path)(requests, timeout=20, metadata=metadata)
        return response_class.FromString(data)

    names = [s.name for s in reflect(list_services="").list_services_response.service]
    assert "tensorflow.serving.PredictionService" in names
    assert {"grpc.health.v1.Health", f"{package}.ServerReflection"} <= set(names)
    for name in names:
        files = reflect(file_containing_symbol=name).file_descriptor_response.file_descriptor_proto
        pool = descriptor_pool.DescriptorPool()  # what a client makes of them
        protos_by_name = {}
        for data in files:
            file = descriptor_pb2.FileDescriptorProto.FromString(data)
            protos_by_name[file.name] = file

        def add(name, pool=pool, found=protos_by_name):
            file = found.pop(name, None)
            if file is not None:
                for dependency in file.dependency:
                    add(dependency)
                pool.Add(file)

        for file in list(protos_by_name):
            add(file)
        assert pool.FindServiceByName(name).full_name == name
    assert reflect(file_containing_symbol="no.Such").error_response.error_code == 5
    assert reflect(file_by_filename="google/protobuf/any.proto").HasField(
        "file_descriptor_response"
    )
    assert reflect().error_response.error_code == 3
    with pytest.raises(grpc.RpcError) as error:
        reflect(token=None, list_services="")
    assert error.value.code() is grpc.StatusCode.UNAUTHENTICATED
