"""Requests as strangers send them to the embedded server, each with its right answer.

The rule of each kind is in docs/serving.md and docs/serving_security.md.
"""

from __future__ import annotations

import contextlib
import gzip
import http.client
import json
import math
import socket
import threading
import time
import zlib

import aiohttp
import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import get_model_metadata_pb2, predict_pb2

from export.serving import bodies, bounds, listening, origins, rest_json, rpc
from export.serving.bounds import Limits
from export.serving.errors import Code, ServingError
from tests.export.conftest import seed_array
from tests.export.serving.conftest import Running, ask, configs, models, settings  # noqa: F401
from tf_mixed_nash.errors import InputError

TOKEN = "a-token-of-enough-characters"
POINTS = "/v1/models/points:predict"
PREDICT = "/tensorflow.serving.PredictionService/Predict"
METADATA = "/tensorflow.serving.PredictionService/GetModelMetadata"
GZIP = {"headers": {"Content-Encoding": "gzip"}}


@pytest.fixture(scope="module")
def server(models):  # noqa: F811
    """A server of points/1 and points/2, whose replies have at most 300 points."""
    more = settings(models, limits=Limits(reply_bytes=2400))
    with Running(more._replace(models=configs(models)[:1])) as running:
        yield running


@pytest.fixture(scope="module")
def locked(models):  # noqa: F811
    """A server that wants a token."""
    origin = ("https://app.example.org",)
    with Running(settings(models, token=TOKEN, cors_origins=origin)) as running:
        yield running


def post(running, body, path=POINTS, **options):
    return ask(running.rest, ("POST", path, body, options))[0]


def call(running, path, data, timeout=20, **options):
    """(code, details, trailing metadata) of a call with those bytes."""
    channel_options = [("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(running.grpc, channel_options) as channel:
        try:
            channel.unary_unary(path)(data, timeout=timeout, **options)
        except grpc.RpcError as error:
            return error.code().name, error.details(), dict(error.trailing_metadata() or ())
    return "OK", "", {}


def request(name="points", **fields):
    made = predict_pb2.PredictRequest(**fields)
    made.model_spec.name = name
    made.inputs["seeds"].CopyFrom(tf.make_tensor_proto(seed_array(1, 2)))
    return made


@contextlib.contextmanager
def the_loop_is_free(running, seconds=0.1):
    """The thread of the event loop works for less than that while the block runs."""

    async def used():
        return time.thread_time()

    before = running.call(used())
    yield
    assert running.call(used()) - before < seconds


# One request that costs much.


def test_five_million_empty_lists_are_not_parsed(server, monkeypatch):
    """14.6 kB of gzip; they took seconds."""
    monkeypatch.setattr(rest_json, "load", lambda body: pytest.fail("it was parsed"))
    body = gzip.compress(b'{"instances":[' + b"[]," * 5_000_000 + b"[]]}")
    assert len(body) < 20_000
    with the_loop_is_free(server):
        status, content = post(server, body, **GZIP)
    assert status == 413
    assert content["error"].startswith("Request Entity Too Large: a body may have 1048576 bytes")


def test_what_fits_in_bytes_may_not_hold_more_values_than_rows_need(server, monkeypatch):
    monkeypatch.setattr(rest_json, "load", lambda body: pytest.fail("it was parsed"))
    for body in (b'{"instances":[' + b"[]," * 200_000 + b"[]]}", b"[" * 1_000_000):
        status, content = post(server, body)
        assert (status, "more than 65536 values" in content["error"]) == (400, True)


def test_bounds_follow_the_model_and_the_rows():
    """The most rows written as widely as JSON allows pass, and a larger model may have more."""
    f32 = np.dtype(np.float32)
    small = bounds.bounds_of({"s": {"seeds": (np.dtype(np.int64), (None, 2))}}, Limits())
    assert small == (2**20, 2**16, 2**18)
    signatures = {"g": {"latents": (f32, (None, 512))}}
    wide = bounds.bounds_of(signatures, Limits(64, body_bytes=2**30))
    rows = json.dumps({"instances": [{"latents": [-1.2345678901234567e-100] * 512}] * 64}, indent=8)
    assert len(rows) < wide.json_bytes < 4 * len(rows)
    bounds.check_values(rows.encode(), wide, Limits())
    assert wide.message_bytes > 64 * 512 * 4
    assert wide[1:] == (2 * 64 * (512 + 2), 2 * 64 * 512 * 10), "twice what these rows need"
    assert bounds.bounds_of(signatures, Limits()).json_bytes == 16 * 2**20
    anything = bounds.bounds_of({"g": {"latents": (f32, (None, None))}}, Limits())
    assert set(anything) == {16 * 2**20}


def test_a_reply_is_bounded_too(server):
    """By the arrays' bytes; strings, as PNGs are, count nothing."""
    status, content = post(server, {"instances": seed_array(0, 301).tolist()})
    assert (status, "ask for at most 300 rows" in content["error"]) == (400, True)
    assert post(server, {"instances": seed_array(0, 300).tolist()})[0] == 200
    bounds.check_reply(1024, {"image_bytes": (np.dtype(object), (None,))}, Limits())
    image = {"samples": (np.dtype(np.float32), (None, 256, 256, 3))}
    bounds.check_reply(85, image, Limits())
    with pytest.raises(ServingError, match="at most 85 rows"):
        bounds.check_reply(86, image, Limits())


def test_a_million_names_in_a_filter_are_refused_by_their_bytes(server):
    """They took half a minute."""
    data = request(output_filter=["x"] * 1_000_000).SerializeToString()
    with the_loop_is_free(server):
        code, details, trailing = call(server, PREDICT, data)
    assert code == "RESOURCE_EXHAUSTED"
    assert "1 to 1024 rows has at most 262144" in details
    assert trailing["grpc-retry-pushback-ms"] == "-1", "asking again is of no use"


def test_thousands_of_names_are_not_listed(server):
    few = request(output_filter=["x"] * 50_000).SerializeToString()
    with the_loop_is_free(server):
        code, details, _ = call(server, PREDICT, few)
    assert (code, details.startswith("output_filter names x;")) == ("INVALID_ARGUMENT", True)
    many = request()
    for i in range(5000):
        many.inputs[f"x{i}"].dtype = 9
    assert call(server, PREDICT, many.SerializeToString())[0] == "INVALID_ARGUMENT"
    dims = request()
    for _ in range(50_000):
        dims.inputs["seeds"].tensor_shape.dim.add(size=1)
    assert call(server, PREDICT, dims.SerializeToString())[0] == "INVALID_ARGUMENT"
    fields = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["x"] * 50_000)
    fields.model_spec.name = "points"
    assert call(server, METADATA, fields.SerializeToString())[0] == "RESOURCE_EXHAUSTED"


def test_the_token_comes_before_the_body(locked, monkeypatch):
    """Without it nothing is decoded or parsed, and a reply does not wait for the body."""
    monkeypatch.setattr(bodies, "decode", lambda *_: pytest.fail("it was decoded"))
    monkeypatch.setattr(rpc, "_parse", lambda *_: pytest.fail("it was parsed"))
    packer = zlib.compressobj(9, wbits=31)
    block = packer.compress(b" " * 2**20) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(b" " * 2**20) + packer.flush(zlib.Z_FULL_FLUSH)
    bomb = gzip.compress(b" " * 2**20)[:10] + block * 900  # 0.9 GB
    with the_loop_is_free(locked):
        status, content = post(locked, bomb, **GZIP)
    assert (status, "Bearer TOKEN" in content["error"]) == (401, True)
    code, _, _ = call(locked, PREDICT, request().SerializeToString())
    assert code == "UNAUTHENTICATED"
    with socket.create_connection(("127.0.0.1", locked.server.rest_port), 20) as connection:
        connection.sendall(b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999\r\n\r\n"
                           % POINTS.encode())  # fmt: skip
        assert connection.recv(100).startswith(b"HTTP/1.1 401")


def test_a_call_without_the_token_is_refused_before_its_message_comes(locked):
    """The client has not sent any, and never does."""
    with grpc.insecure_channel(locked.grpc) as channel:
        release = threading.Event()

        def never():
            release.wait(20)
            return
            yield b""

        reply = channel.stream_unary(PREDICT).future(never(), timeout=20)
        with pytest.raises(grpc.RpcError) as error:
            reply.result(20)
        release.set()
        assert error.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_gzip_is_undone_up_to_the_bound_and_no_further():
    body = b'{"instances":[[0,0]]}'
    raw = zlib.compressobj(wbits=-15)
    right = [("gzip", gzip.compress(body)), ("deflate", zlib.compress(body)), ("", body)]
    right += [("gzip", gzip.compress(body[:9]) + gzip.compress(body[9:]))]
    right += [("deflate", raw.compress(body) + raw.flush())]
    for encoding, data in right:
        assert bodies.decode(data, encoding, len(body)) == body
    for encoding, data in right[:2]:
        with pytest.raises(ServingError) as error:
            bodies.decode(data, encoding, len(body) - 1)
        assert error.value.http == 413
    wrong = [
        ("gzip", gzip.compress(body)[:-1], "ends too early"),
        ("gzip", b"nothing", "incorrect header"),
        ("gzip", gzip.compress(body) + b"junk", "incorrect header"),
        ("deflate", zlib.compress(body) + b"x", "bytes follow"),
        ("gzip", gzip.compress(b"") * 50_000, "more than 16 members"),
    ]
    for encoding, data, says in wrong:
        began = time.process_time()
        with pytest.raises(ServingError, match=says) as error:
            bodies.decode(data, encoding, 2**20)
        assert error.value.code is Code.INVALID_ARGUMENT
        assert time.process_time() - began < 0.5


def test_encodings_that_nobody_undoes_are_named(server):
    body = b'{"instances":[[0,0]]}'
    for name in ("br", "zstd", "compress", "gzip, gzip"):
        # aiohttp's own client would encode by a header that it knows.
        raw = f"POST {POINTS} HTTP/1.1\r\nHost: x\r\nContent-Encoding: {name}\r\n"
        status, content = exchange(
            server, f"{raw}Content-Length: {len(body)}\r\n\r\n".encode() + body
        )
        assert (status, "gzip, deflate" in content) == (400, True)


def exchange(running, data: bytes):
    with socket.create_connection(("127.0.0.1", running.server.rest_port), 20) as connection:
        connection.sendall(data)
        reply = http.client.HTTPResponse(connection, method="POST")
        reply.begin()
        return reply.status, reply.read().decode()


def in_chunks(path, frames: bytes, *headers: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: x", *headers, "", ""]
    return "\r\n".join(lines).encode() + frames


@pytest.mark.parametrize(
    "frames",
    [b"1\r\n \r\n" * 100_000, b"1;" + b"e" * 500_000 + b"\r\n \r\n"],
    ids=["chunks of a byte", "an extension"],
)
def test_a_body_that_is_mostly_framing_is_given_up(server, frames):
    """500,000 chunks of a byte cost a second. Nothing of the rest is parsed, nor waited for."""
    data = in_chunks(POINTS, frames, "Transfer-Encoding: chunked")
    with the_loop_is_free(server, 0.2):  # to parse all of it takes 0.25 s
        status, content = exchange(server, data)
    assert (status, "their framing is larger than they are" in content) == (400, True)


def test_small_chunks_of_a_body_that_is_none_the_larger_for_them_are_read(server, locked):
    body = b'{"instances":[[0,0]]}' + b" " * 8000
    frames = b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"
    data = in_chunks(POINTS, frames, "Transfer-Encoding: chunked")
    assert exchange(server, data)[0] == 200
    # A refusal comes first, and the rest of the body is not parsed to be passed over.
    with the_loop_is_free(locked, 0.2):
        assert (
            exchange(locked, in_chunks(POINTS, frames * 12, "Transfer-Encoding: chunked"))[0] == 401
        )


def test_why_a_request_is_refused_reaches_who_is_still_sending(server):
    """A connection that is closed with bytes unread is reset."""
    for data in (
        in_chunks(POINTS, b"", "X: " + "y" * 3_000_000),
        in_chunks(POINTS, b"1\r\n \r\n0\r\n" + b"X: y\r\n" * 200_000, "Transfer-Encoding: chunked"),
    ):
        status, content = exchange(server, data)
        assert (status, content[:25]) == (400, '{"error": "Malformed HTTP')


def test_who_is_refused_may_go_on_sending_for_a_while(server):
    """What comes is taken in: a reset may overtake the reply on its way."""
    data = in_chunks(POINTS, b"", "X: " + "y" * 1_000_000)
    with socket.create_connection(("127.0.0.1", server.server.rest_port), 20) as connection:
        connection.sendall(data)
        reply = http.client.HTTPResponse(connection, method="POST")
        reply.begin()
        assert reply.status == 400
        for _ in range(10):
            connection.sendall(b"y" * 100)
            time.sleep(0.02)


def test_bodies_are_framed_as_http_has_them(server):
    """One length, in one way: else a proxy before the server sees other requests than it does."""
    body = b"15\r\n" + b'{"instances":[[0,0]]}' + b"\r\n0\r\n\r\n"
    for headers, expected in {
        ("Transfer-Encoding: chunked",): 200,
        ("Transfer-Encoding: gzip, chunked",): 501,
        ("Transfer-Encoding: chunked", "Content-Length: 5"): 400,
        ("Content-Length: 31", "Content-Length: 31"): 400,
        ("Content-Length: -1",): 400,
        ("X: a", " b", "Transfer-Encoding: chunked"): 400,
    }.items():
        assert exchange(server, in_chunks(POINTS, body, *headers))[0] == expected, headers


# The protocol.


def test_expect_100_continue_is_answered_before_the_body(server):
    body = b'{"instances":[[0,0]]}'
    head = f"POST {POINTS} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\nExpect: %s\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.server.rest_port), 20) as connection:
        for _ in range(2):  # the connection goes on
            connection.sendall((head % "100-Continue").encode())
            assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
            connection.sendall(body)
            reply = http.client.HTTPResponse(connection, method="POST")
            reply.begin()
            assert (reply.status, reply.read()[:15]) == (200, b'{"predictions":')
    status, content = exchange(server, (head % "tea").encode())
    assert (status, "100-continue" in content) == (417, True)


def test_a_body_that_is_refused_is_not_asked_for(server, locked):
    """No 100 where the token is missing or the body too large; the connection ends."""
    for running, length in ((locked, 10), (server, 10_000_000)):
        with socket.create_connection(("127.0.0.1", running.server.rest_port), 20) as connection:
            connection.sendall(
                f"POST {POINTS} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
                f"Content-Length: {length}\r\n\r\n".encode()
            )
            reply = http.client.HTTPResponse(connection, method="POST")
            reply.begin()
            assert reply.status == (401 if running is locked else 413)
            assert reply.headers["Connection"] == "close"


def test_an_output_that_is_named_twice_is_refused(server):
    code, details, _ = call(
        server, PREDICT, request(output_filter=["samples"] * 2).SerializeToString()
    )
    assert (code, "an output twice" in details) == ("INVALID_ARGUMENT", True)


def test_a_shape_that_is_not_known_is_refused(server):
    made = request()
    made.inputs["seeds"].tensor_shape.unknown_rank = True
    code, details, _ = call(server, PREDICT, made.SerializeToString())
    assert (code, "unknown_rank" in details) == ("INVALID_ARGUMENT", True)


@pytest.mark.parametrize("dtype", [0, 7, 14, 20, 21, 34, 101, 109, 120, 999, -1, 2**31 - 1])
def test_dtypes_that_do_not_fit_are_refused(server, dtype):
    made = request()
    made.inputs["seeds"].dtype = dtype
    code, details, _ = call(server, PREDICT, made.SerializeToString())
    expected = "OK" if dtype == 109 else "INVALID_ARGUMENT"  # a reference to an int64 is one
    assert code == expected, details


def test_names_of_types_are_not_kept_for_ever():
    for number in range(1000, 2000):
        rpc._dtype(number)
    assert rpc._dtype.cache_info().currsize <= 64


def test_nan_and_infinity_are_numbers_as_tf_serving_has_them(server):
    """The words NaN, Infinity and -Infinity in both directions, and the same values by gRPC."""
    text = b'{"signature_name":"generate","inputs":[[NaN,0,0],[Infinity,-Infinity,1],[1,2,3]]}'
    path = "/v1/models/points/versions/1:predict"

    async def read():
        async with (
            aiohttp.ClientSession() as session,
            session.post(server.rest + path, data=text) as reply,
        ):
            return reply.status, await reply.read()

    import asyncio

    status, content = asyncio.run(read())
    assert status == 200, content
    by_rest = np.array(json.loads(content)["outputs"], np.float32)
    made = predict_pb2.PredictRequest()
    made.model_spec.name, made.model_spec.signature_name = "points", "generate"
    made.model_spec.version.value = 1
    latents = np.array(json.loads(text)["inputs"], np.float32)
    made.inputs["latents"].CopyFrom(tf.make_tensor_proto(latents))
    with grpc.insecure_channel(server.grpc) as channel:
        reply = predict_pb2.PredictResponse.FromString(
            channel.unary_unary(PREDICT)(made.SerializeToString(), timeout=20)
        )
    by_grpc = tf.make_ndarray(reply.outputs["samples"])
    np.testing.assert_array_equal(by_rest, by_grpc)
    assert np.isfinite(by_rest[2]).all()
    for word in (b"[[1e999,NaN,0]]", b"[[1e39,NaN,0]]", b"[[nan,0,0]]", b"[[NaN,0,0]"):
        assert post(server, b'{"signature_name":"generate","inputs":%s}' % word, path)[0] == 400
    assert post(server, b'{"inputs":[[NaN,0]]}')[0] == 400, "a seed is an integer"


def test_what_is_not_finite_is_written_as_words():
    value = np.array([[math.nan, 1.5], [math.inf, -math.inf]], np.float32)
    rows = b"[[NaN,1.5],[Infinity,-Infinity]]"
    assert rest_json.write_outputs({"x": value}, True) == b'{"predictions":' + rows + b"}"
    both = rest_json.write_outputs({"x": value[:, 0], "n": np.arange(2)}, True)
    assert both == b'{"predictions":[{"x":NaN,"n":0},{"x":Infinity,"n":1}]}'
    assert rest_json.write_outputs({"x": value[0], "n": np.arange(2)}, False) == (
        b'{"outputs":{"x":[NaN,1.5],"n":[0,1]}}'
    )


# Who may ask.


def test_a_name_that_somebody_else_lets_point_here_is_refused(server):
    """DNS rebinding: the page's own name is the Host."""
    for host, expected in {
        "evil.example": 403, "evil.example:8501": 403, "127.0.0.1.evil.example": 403,
        "127.0.0.1": 200, "127.0.0.1:1": 200, "localhost:8501": 200, "[::1]:8501": 200,
        "a.localhost": 200, "LOCALHOST.": 200, "models": 200,
    }.items():  # fmt: skip
        headers = {"headers": {"Host": host}}
        for path in ("/v1/models/points", "/", "/healthz"):
            status, content = ask(server.rest, ("GET", path, None, headers))[0]
            assert status == expected, (host, path)
        assert expected == 200 or "no name of this server" in content["error"]
    for host, expected in {"evil.example": 403, "a@evil.example": 403, "x:80": 200}.items():
        whole = f"GET http://{host}/healthz HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        assert exchange(server, whole)[0] == expected, host
    twice = b"GET /healthz HTTP/1.1\r\nHost: x\r\nHost: evil.example\r\n\r\n"
    assert exchange(server, twice)[0] == 400


def test_names_are_allowed_by_flag_and_everywhere_else_where_all_are():
    some = origins.Origins(["models.example.org"])
    assert some.allows_host("Models.Example.org:80")
    assert not some.allows_host("example.org")
    assert some.allows_host(None)
    assert origins.Origins(None).allows_host("evil.example")
    assert origins.Origins(["*"]).allows_host("evil.example")
    assert origins.read_hosts("a.org, B.org,") == ["a.org", "b.org"]
    for text in ("http://a.org", "a.org:80", "*.org"):
        with pytest.raises(InputError, match="--allowed_hosts"):
            origins.read_hosts(text)


def test_cors_is_off_but_for_the_pages_that_are_named(server, locked):
    ask_for = {"Origin": "https://app.example.org", "Access-Control-Request-Method": "POST"}

    async def headers(running, method, given, path=POINTS):
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, running.rest + path, headers=given) as reply,
        ):
            return reply.status, reply.headers

    import asyncio

    status, found = asyncio.run(headers(server, "OPTIONS", ask_for))
    assert (status, "Access-Control-Allow-Origin" in found) == (403, False)
    _, found = asyncio.run(headers(server, "GET", ask_for, "/v1/models/points"))
    assert not [name for name in found if name.startswith("Access-Control")]
    status, found = asyncio.run(headers(locked, "OPTIONS", ask_for))
    assert status == 204, "asked by browsers without the token"
    assert found["Access-Control-Allow-Origin"] == "https://app.example.org"
    assert "Authorization" in found["Access-Control-Allow-Headers"]
    status, found = asyncio.run(headers(locked, "GET", ask_for, "/v1/models/points"))
    assert (status, found["Access-Control-Allow-Origin"]) == (401, "https://app.example.org")
    assert found["Vary"] == "Origin"
    other = {**ask_for, "Origin": "https://evil.example"}
    assert asyncio.run(headers(locked, "OPTIONS", other))[0] == 403
    _, found = asyncio.run(headers(locked, "GET", other, "/v1/models/points"))
    assert "Access-Control-Allow-Origin" not in found


def test_origins_are_checked():
    assert origins.Origins(origins=["*"]).headers("https://x") == {
        "Access-Control-Allow-Origin": "*"
    }
    assert origins.read_origins("https://A.org:8080,http://b") == ["https://a.org:8080", "http://b"]
    for text in ("a.org", "https://a.org/", "https://u@a.org", "https://"):
        with pytest.raises(InputError, match="--cors_origins"):
            origins.read_origins(text)


# Where it listens.


def test_a_host_means_the_same_for_both_protocols(models):  # noqa: F811
    assert listening.resolve("0.0.0.0") == listening.resolve("::") == ["::"]
    assert listening.resolve("[::1]") == ["::1"]
    assert "127.0.0.1" in listening.resolve("localhost")
    assert (listening.in_url("::1"), listening.in_url("h")) == ("[::1]", "h")
    with pytest.raises(InputError, match=r"--host=nowhere\.invalid has no address"):
        listening.resolve("nowhere.invalid")
    with Running(settings(models, host="0.0.0.0")) as running:
        for address in filter(listening._is_here, ("127.0.0.1", "::1")):
            for port in (running.server.rest_port, running.server.grpc_port):
                socket.create_connection((address, port), 5).close()
    taken = listening.listen(["127.0.0.1"], 0)[0]
    with contextlib.closing(taken), pytest.raises(OSError, match="in use"):
        listening.listen(["127.0.0.1"], taken.getsockname()[1])
