"""Hostile requests: every reply is a documented one, and the server serves as before.

The default run sends 1,900 requests, the slow tests 4,800, more of each kind: the same ones where
the same modules are loaded, whose constants Hypothesis takes, too. Others, and more:

    FUZZ_SEED=7 FUZZ_TIMES=10 python -m pytest tests/export/serving/test_fuzz.py
"""

from __future__ import annotations

import contextlib
import functools
import gzip
import http.client
import json
import logging
import os
import re
import select
import socket
import zlib

import grpc
import hypothesis
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    predict_pb2,
)

from export.serving.errors import Code
from export.serving.predictor import Limits
from tests.export.conftest import seed_array
from tests.export.serving.conftest import Running, ask, configs, settings
from tests.trainers.conftest import ROOT

SEED = os.environ.get("FUZZ_SEED")
TIMES = float(os.environ.get("FUZZ_TIMES", "1"))
TOKEN = "a-token-of-enough-characters"
BODY_BYTES = 200_000

# What SERVING.md and errors.py document. 413 is the body's limit; 500 would be a defect.
STATUSES = {code.http for code in Code} - {Code.INTERNAL.http, Code.CANCELLED.http} | {413}
CODES = {code.name for code in Code} - {"INTERNAL", "CANCELLED"}
INNARDS = re.compile(rf'Traceback|File "|site-packages|object at 0x|{re.escape(str(ROOT))}')

POINTS = "/v1/models/points:predict"
SEEDS = seed_array(2**40 + 5, 9)
VALID = {
    "sample": {"seeds": [[0, 0], [-(2**63), 2**63 - 1], [7, 1]]},
    "draw": {"seeds": [[0, 0]]},
    "generate": {"latents": [[0.5, -1, 2e-3], [1, 2, 3]]},
    "generate_component": {"latents": [[0.5, -1, 2e-3], [1, 2, 3]], "components": [0, 0]},
    "sample_class_png": {"seeds": [[0, 0], [0, 1]], "labels": [3, 0]},
    "generate_png": {"latents": [[0.5, -1, 2e-3]], "labels": [1]},
}
TARGETS = ["points", "points/versions/1", "points/labels/canary", "images"]


def words(text: str):
    return st.sampled_from(text.split())


def examples(num: int):
    """A profile of so many examples: the same in every run, unless the environment says so."""
    profile = hypothesis.settings(
        max_examples=max(1, int(num * TIMES)),
        derandomize=SEED is None,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    return lambda test: profile(test if SEED is None else hypothesis.seed(int(SEED))(test))


def few_and_many(few: int, many: int):
    """Calls a test with so many examples `num`; with many only among the slow tests."""
    slow = pytest.param(many, id="many", marks=pytest.mark.slow)
    return pytest.mark.parametrize("num", [pytest.param(few, id="few"), slow])


# The servers.


@pytest.fixture(scope="module")
def open_server(models):
    """A server of points/1, points/2 and images/1."""
    more = settings(models, limits=Limits(body_bytes=BODY_BYTES))
    with Running(more._replace(models=configs(models))) as running:
        yield running


@pytest.fixture(scope="module")
def locked_server(models):
    """A server that wants a token."""
    with Running(settings(models, token=TOKEN)) as running:
        yield running


@contextlib.contextmanager
def unharmed(running, caplog, token=None, sees=()):
    """Checks that the server answers as before, and that its log holds no exception.

    Yields a list for the statuses of the replies, which must come to hold those of `sees`.
    """

    def answer():
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        body = {"instances": SEEDS.tolist()}
        return ask(running.rest, ("POST", POINTS, body, {"headers": headers}))

    before = answer()
    assert before[0][0] == 200
    statuses = []
    with caplog.at_level(logging.INFO):
        yield statuses
    assert answer() == before
    assert set(sees) <= set(statuses), "the requests are less various than they were meant to be"
    bad = [r for r in caplog.records if r.exc_info or r.levelno >= logging.ERROR]
    assert [(r.name, r.getMessage(), r.exc_info) for r in bad] == []


# HTTP, byte by byte.


def exchange(running, data: bytes, method: str = "POST", whole: bool = True):
    """Sends bytes; (status, headers, content), or None for no reply.

    What is not a whole request is never answered: then hanging up ends the wait for the rest.
    """
    with socket.create_connection(("127.0.0.1", running.server.rest_port), 20) as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(data)
            if not whole and not select.select([connection], [], [], 0.04)[0]:
                connection.shutdown(socket.SHUT_WR)
        reply = http.client.HTTPResponse(connection, method=method)
        try:
            reply.begin()
            return reply.status, reply.headers, reply.read()
        except (http.client.HTTPException, ConnectionError):
            return None


def http_request(method, path, body: bytes, headers=()) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", *headers]
    if not any(h.lower().startswith(("content-length", "transfer-encoding")) for h in headers):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape") + body


def check(reply, method="POST") -> int:
    """The status of a reply that is as documented."""
    status, headers, content = reply
    assert status in STATUSES, (status, content[:300])
    if status == 200:
        return status
    assert headers["Content-Type"].startswith("application/json"), (status, content[:300])
    if method == "HEAD":
        return status
    document = json.loads(content)
    assert list(document) == ["error"]
    message = document["error"]
    assert isinstance(message, str)
    assert 0 < len(message) < 2000
    assert not INNARDS.search(message), message
    return status


# Documents that are nearly right.

JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([2**31, 2**53 + 1, 2**63 - 1, 2**63, 2**64, -(2**63) - 1, 10**400]),
    st.floats(),
    st.text(max_size=12),
    st.sampled_from(["0", "\x00", "é́", "\U0001f600", "a" * 3000, {"b64": "AAAA"}, {"b64": 5}]),
    st.recursive(
        st.integers() | st.floats() | st.text(max_size=3),
        lambda x: st.lists(x, max_size=4) | st.dictionaries(st.text(max_size=4), x, max_size=3),
        max_leaves=8,
    ),
)


def places(value, path=()):
    """The paths of all nodes of a document."""
    yield path
    if isinstance(value, dict | list):
        for key, child in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(child, (*path, key))


def replaced(value, path, new):
    """The document with another node at a path; DROP drops it, DOUBLE doubles a list's item."""
    if not path:
        return new(value)
    key, *rest = path
    if isinstance(value, dict):
        changed = {k: replaced(v, rest, new) if k == key else v for k, v in value.items()}
        return {k: v for k, v in changed.items() if v is not DROP}
    changed = [replaced(v, rest, new) if i == key else v for i, v in enumerate(value)]
    return [v for v in changed if v is not DROP]


DROP = object()
CHANGES = {
    "replace": lambda junk, old: junk,
    "drop": lambda junk, old: DROP,
    "nest": lambda junk, old: [old],
    "pair": lambda junk, old: [old, old],
    "key": lambda junk, old: {**old, "more": junk} if isinstance(old, dict) else old,
    "item": lambda junk, old: [*old, junk] if isinstance(old, list) else old,
    "many": lambda junk, old: old * 600 if isinstance(old, list) else old,
    "empty": lambda junk, old: [] if isinstance(old, list) else {},
}


@st.composite
def nearly(draw):
    """A request with a mistake or two."""
    signature = draw(st.sampled_from(sorted(VALID)))
    columns = VALID[signature]
    if draw(st.booleans()):
        document = {"signature_name": signature, "inputs": columns}
    else:
        rows = zip(*columns.values(), strict=False)
        document = {
            "signature_name": signature,
            "instances": [dict(zip(columns, r, strict=True)) for r in rows],
        }
    for _ in range(draw(st.integers(0, 3))):
        if not isinstance(document, dict | list):
            break
        path = draw(st.sampled_from(list(places(document))))
        change = CHANGES[draw(st.sampled_from(sorted(CHANGES)))]
        document = replaced(document, path, functools.partial(change, draw(JUNK)))
        document = {} if document is DROP else document
    return document


@st.composite
def texts(draw):
    """The bytes of such a request, whole or damaged."""
    text = json.dumps(draw(nearly() | JUNK), ensure_ascii=draw(st.booleans()))
    body = text.encode("utf-8", "surrogatepass")
    damage = draw(
        st.sampled_from(
            ["none", "none", "none", "cut", "slice", "key", "nan", "deep", "digits", "bom", "case"]
        )
    )
    at = draw(st.integers(0, len(body)))
    match damage:
        case "cut":
            body = body[:at]
        case "slice":
            body = body[:at] + draw(st.binary(max_size=8)) + body[at + draw(st.integers(0, 8)) :]
        case "key":
            twice = draw(st.sampled_from([b'"inputs": [[0, 0]], ', b'"signature_name": "draw", ']))
            body = body.replace(b"{", b"{" + twice, 1)
        case "nan":
            word = draw(
                st.sampled_from([b"NaN", b"Infinity", b"-Infinity", b"1e999", b"-0", b"01"])
            )
            body = re.sub(rb"\d+", lambda _: word, body, count=1)
        case "deep":
            n = draw(st.sampled_from([30, 63, 64, 65, 500, 1000, 1025, 20_000]))
            opening, closing = draw(st.sampled_from([(b"[", b"]"), (b'{"a":', b"}")]))
            deep = opening * n + b"0" + closing * n
            body = re.sub(rb"\d+", lambda _: deep, body, count=1)
        case "digits":
            digits = b"9" * draw(st.sampled_from([19, 20, 21, 40, 400, 5000]))
            body = re.sub(rb"\d+", lambda _: digits, body, count=1)
        case "bom":
            body = b"\xef\xbb\xbf" + body
        case "case":
            body = body.upper()
    return body


PATHS = st.one_of(
    st.builds(
        "/v1/models/{}{}".format,
        st.sampled_from(TARGETS),
        st.sampled_from([":predict", ":classify", ":regress", ":x", "/metadata", ""]),
    ),
    st.lists(
        st.sampled_from(
            ["/v1", "/models", "/points", "/versions", "/1", "/9" * 2, "/labels", "/stable", ":",
             "predict", "/metadata", "/", "//", "/..", "/%2e%2e", "%00", "%", "%zz", "/card",
             "/samples.png", "/page", "/page.js", "?x=1", "#y", "/monitoring/prometheus/metrics",
             "9" * 19, "9" * 5000, "%D9%A1", "\u0661", "é", "\udcff", ";", "classify", "{}", "\\"]
        ),
        min_size=1,
        max_size=8,
    ).map(lambda parts: "/" + "".join(parts).lstrip("/")),
    st.sampled_from(["9" * 5000, "\u0661", "%D9%A1", "-1", "1.0", "0", "01", "9" * 19, "9" * 20])
    .flatmap(lambda v: st.sampled_from([f"/v1/models/points/versions/{v}:predict",
                                        f"/v1/models/points/versions/{v}",
                                        f"/v1/models/points/versions/{v}/metadata",
                                        f"/card/points/{v}"])),
    st.text(st.characters(blacklist_categories=["Cc", "Cs", "Zs", "Zl", "Zp"]), max_size=30)
    .map(lambda text: "/" + text),
)  # fmt: skip


@few_and_many(100, 1000)
def test_bodies(open_server, caplog, num):
    """Predict requests whose bodies are nearly right, or nothing of the kind."""

    @examples(num)
    @given(st.sampled_from(TARGETS), texts() | texts() | texts() | st.binary(max_size=60))
    def run(target, body):
        reply = exchange(open_server, http_request("POST", f"/v1/models/{target}:predict", body))
        statuses.append(check(reply))

    with unharmed(open_server, caplog, sees=(200, 400)) as statuses:
        run()


def test_paths_and_methods(open_server, caplog):
    methods = st.sampled_from(
        [
            "GET",
            "HEAD",
            "POST",
            "PUT",
            "DELETE",
            "OPTIONS",
            "PATCH",
            "TRACE",
            "CONNECT",
            "PRI",
            "get",
            "X-Y",
            "M-SEARCH",
        ]
    )

    @examples(500)
    @given(methods, PATHS, st.sampled_from([b"", b'{"instances": [[0, 0]]}', b"\xff" * 9]))
    def run(method, path, body):
        path = path.encode("utf-8", "surrogateescape").decode("latin-1")
        data = f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        reply = exchange(open_server, data.encode("latin-1") + body, method)
        statuses.append(check(reply, method))

    with unharmed(open_server, caplog, sees=(200, 400, 404, 501)) as statuses:
        run()


NAMES = st.sampled_from(
    [
        "Authorization",
        "Content-Type",
        "Accept",
        "Expect",
        "Connection",
        "Upgrade",
        "Host",
        "Range",
        "Cookie",
        "Content-MD5",
        "Content-Encoding",
        "Transfer-Encoding",
        "Content-Length",
        "Sec-WebSocket-Key",
        "X-Forwarded-For",
        "If-Match",
        "Origin",
        "HTTP2-Settings",
        "TE",
        "Trailer",
    ]
)
VALUES = st.one_of(
    st.sampled_from(
        ["close", "keep-alive", "upgrade", "websocket", "h2c", "100-continue", "gzip", "deflate",
         "br", "zstd", "identity", "chunked", "gzip, chunked", "text/html", "*/*", "bytes=0-1",
         "application/json", "Bearer ", "Bearer x", "Basic =", "-1", "0", "5", "99999999999999999",
         "1e3", "x" * 7000, "x" * 9000, "é", "\udcff", ""]
    ),
    st.text(st.characters(blacklist_categories=["Cc", "Cs"]), max_size=20),
)  # fmt: skip


@few_and_many(80, 400)
@pytest.mark.parametrize("token", [None, TOKEN], ids=["open", "locked"])
def test_headers(open_server, locked_server, caplog, token, num):
    """A valid request among strange headers; the body may not be what they say."""
    running = locked_server if token else open_server
    body = b'{"instances": [[0, 0]]}'
    bodies = st.sampled_from(
        [body, gzip.compress(body), zlib.compress(body), b"5\r\n{}   \r\n0\r\n\r\n"]
    )

    @examples(num)
    @given(st.lists(st.tuples(NAMES, VALUES), max_size=4), bodies)
    def run(pairs, body):
        headers = [f"{name}: {value}" for name, value in pairs]
        data = http_request("POST", POINTS, body, headers)
        reply = exchange(running, data, whole=False)
        statuses.append(reply and check(reply))

    sees = (400, 401) if token else (200, 400)
    with unharmed(running, caplog, token, sees) as statuses:
        run()
    assert not token or 200 not in statuses


@st.composite
def framings(draw):
    """A valid request framed wrongly."""
    body = b'{"instances": [[0, 0]]}'
    kind = draw(st.sampled_from(["length", "chunks", "encoding", "line", "bytes", "bomb"]))
    line = "POST /v1/models/points:predict HTTP/1.1"
    match kind:
        case "length":
            length = draw(st.sampled_from(
                ["0", "3", "22", "24", "500", "-1", "+23", "0x17", "23, 23", "1" * 30, "", "abc",
                 "23\r\nContent-Length: 24", "23\r\nTransfer-Encoding: chunked"]))  # fmt: skip
            headers = [f"Content-Length: {length}"]
        case "chunks":
            size = draw(
                st.sampled_from([b"17", b"18", b"1", b"-1", b"zz", b"F" * 20, b"17;x=y", b""])
            )
            end = draw(st.sampled_from([b"\r\n0\r\n\r\n", b"\r\n", b"0\r\n", b"\n0\n\n", b""]))
            headers, body = ["Transfer-Encoding: chunked"], size + b"\r\n" + body + end
        case "encoding":
            name = draw(st.sampled_from(["gzip", "deflate", "br", "zstd", "compress", "x, gzip"]))
            packed = draw(st.sampled_from([gzip.compress(body), zlib.compress(body), body, b""]))
            body = packed[: draw(st.integers(0, len(packed)))] + draw(st.binary(max_size=3))
            headers = [f"Content-Encoding: {name}", f"Content-Length: {len(body)}"]
        case "line":
            line = draw(st.sampled_from(
                ["", "POST", "POST /", "POST / HTTP/9.9", "POST  / HTTP/1.1", "POST / HTTP/1.1 x",
                 "POST /v1/models/points:predict HTTP/1.0", "POST http://[::1 HTTP/1.1",
                 "POST http://else/v1/models/points:predict HTTP/1.1", "POST * HTTP/1.1",
                 "PRI * HTTP/2.0", "\x16\x03\x01\x02", "GET /" + "a" * 9000 + " HTTP/1.1",
                 "POST points:predict HTTP/1.1", "POST ?x HTTP/1.1",
                 "POST //[ HTTP/1.1"]))  # fmt: skip
            headers = [f"Content-Length: {len(body)}"]
        case "bytes":
            return draw(st.binary(min_size=1, max_size=80))
        case "bomb":
            body = gzip.compress(b" " * draw(st.sampled_from([BODY_BYTES - 1, 20 * 2**20])))
            headers = ["Content-Encoding: gzip", f"Content-Length: {len(body)}"]
    return "\r\n".join([line, "Host: x", *headers, "", ""]).encode() + body


def test_framings(open_server, caplog):
    """HTTP itself broken; the client hangs up, and gets a reply or none."""

    @examples(400)
    @given(framings(), st.booleans())
    def run(data, more):
        reply = exchange(open_server, data + data * more, whole=False)
        statuses.append(reply and check(reply))

    with unharmed(open_server, caplog, sees=(200, 400, 413, None)) as statuses:
        run()


# gRPC, message by message.

SERVICE = "/tensorflow.serving.PredictionService/"
METHODS = [SERVICE + m for m in ("Predict", "GetModelMetadata", "Classify", "Regress")] + [
    SERVICE + "MultiInference",
    SERVICE + "Nothing",
    "/tensorflow.serving.ModelService/GetModelStatus",
    "/tensorflow.serving.ModelService/HandleReloadConfigRequest",
    "/tensorflow.serving.SessionService/SessionRun",
    "/x/y",
]
SIZES = st.sampled_from(
    [-(2**63), -2, -1, 0, 1, 2, 3, 5, 1024, 1025, 2**31, 2**40, 2**62, 2**63 - 1]
)
DTYPES = st.integers(-3, 30) | st.sampled_from([9, 1, 101, 109, 2**31 - 1, 2**20])


@st.composite
def tensors(draw, proto):
    """Fills a TensorProto with what may or may not belong together."""
    if draw(st.booleans()):
        rows = draw(st.integers(0, 3))
        dtype = draw(
            st.sampled_from([np.int64, np.int32, np.float32, np.float64, np.bool_, np.str_])
        )
        shape = [rows, *draw(st.lists(st.integers(0, 4), max_size=3))]
        proto.CopyFrom(tf.make_tensor_proto(np.ones(shape).astype(dtype)))
        if draw(st.booleans()):
            return
    for _ in range(draw(st.integers(1, 3))):
        match draw(
            st.sampled_from(
                ["dtype", "dims", "rank", "content", "half", "int64", "float", "string", "other"]
            )
        ):
            case "dtype":
                proto.dtype = draw(DTYPES)
            case "dims":
                del proto.tensor_shape.dim[:]
                for size in draw(st.lists(SIZES, max_size=4)):
                    proto.tensor_shape.dim.add(size=size, name=draw(st.sampled_from(["", "é"])))
            case "rank":
                proto.tensor_shape.unknown_rank = True
            case "content":
                proto.tensor_content = draw(st.binary(max_size=40))
            case "half":
                proto.half_val.extend(draw(st.lists(st.integers(-5, 2**31 - 1), max_size=4)))
            case "int64":
                proto.int64_val.extend(draw(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=8)))
            case "float":
                proto.float_val.extend(draw(st.lists(st.floats(width=32), max_size=8)))
            case "string":
                proto.string_val.extend(draw(st.lists(st.binary(max_size=4), max_size=4)))
            case "other":
                proto.version_number = draw(st.integers(-5, 5))
                proto.resource_handle_val.add().container = "x"
                proto.variant_val.add().type_name = "y"


@st.composite
def messages(draw):
    """(method, bytes) of a request that is nearly right, or not at all."""
    kind = draw(st.sampled_from(["predict", "predict", "predict", "status", "metadata", "bytes"]))
    method = {
        "predict": SERVICE + "Predict",
        "status": "/tensorflow.serving.ModelService/GetModelStatus",
        "metadata": SERVICE + "GetModelMetadata",
    }.get(kind) or draw(st.sampled_from(METHODS))
    if kind == "bytes":
        return method, draw(st.binary(max_size=60))
    request = {
        "predict": predict_pb2.PredictRequest,
        "status": get_model_status_pb2.GetModelStatusRequest,
        "metadata": get_model_metadata_pb2.GetModelMetadataRequest,
    }[kind]()
    name = draw(st.sampled_from(["points", "points", "images", "nothing", "", "é", "x" * 20_000]))
    request.model_spec.name = name
    request.model_spec.signature_name = draw(
        st.sampled_from(
            ["", "", "sample", "generate", "nothing", "é", "x" * 20_000, "__saved_model_init_op"]
        )
    )
    match draw(st.sampled_from(["none", "none", "version", "label"])):
        case "version":
            request.model_spec.version.value = draw(st.sampled_from([1, 2, 0, -1, 2**63 - 1]))
        case "label":
            request.model_spec.version_label = draw(
                st.sampled_from(["stable", "canary", "", "\x00", "x" * 20_000])
            )
    if kind == "predict":
        for key in draw(st.lists(st.sampled_from(["seeds", "seeds", "latents", "", "é" * 9000]))):
            draw(tensors(request.inputs[key]))
        request.output_filter.extend(
            draw(st.lists(st.sampled_from(["samples", "nothing", "é" * 9000]), max_size=2))
        )
    if kind == "metadata":
        request.metadata_field.extend(
            draw(st.lists(st.sampled_from(["signature_def", "weights", "y" * 20_000]), max_size=2))
        )
    data = request.SerializeToString()
    match draw(st.sampled_from(["none", "none", "none", "cut", "slice"])):
        case "cut":
            data = data[: draw(st.integers(0, len(data)))]
        case "slice":
            at = draw(st.integers(0, len(data)))
            data = data[:at] + draw(st.binary(max_size=6)) + data[at + draw(st.integers(0, 6)) :]
    return method, data


def outcome(channel, method, data):
    """(code, message) of a call with those bytes."""
    try:
        channel.unary_unary(method)(data, timeout=20)
    except grpc.RpcError as error:
        return error.code().name, error.details()
    return "OK", ""


@few_and_many(80, 600)
def test_messages(open_server, caplog, num):
    with grpc.insecure_channel(open_server.grpc) as channel:

        @examples(num)
        @given(messages())
        def run(message):
            code, details = outcome(channel, *message)
            codes.append(code)
            assert code in CODES, (code, details)
            assert (code == "OK") == (not details)
            assert len(details) < 2000
            assert not INNARDS.search(details), details

        sees = ("OK", "INVALID_ARGUMENT", "NOT_FOUND", "UNIMPLEMENTED")
        with unharmed(open_server, caplog, sees=sees) as codes:
            run()


# Encodings, chunks, filters, types, and messages that are damaged on the wire.


@st.composite
def encoded(draw):
    """A right or nearly right document in gzip or deflate, in chunks or not, whole or damaged."""
    # Of nearly right ones one in eighty is answered, which a few other draws make none.
    body = draw(st.just(json.dumps({"instances": SEEDS.tolist()}).encode()) | texts())
    if draw(st.integers(0, 9)) == 0:
        filler = draw(st.sampled_from([b"[]", b"0", b"{}", b'""', b"[[0,0]]", b" ", b"NaN"]))
        count = draw(st.sampled_from([1000, 100_000, 3_000_000]))
        body = b'{"instances":[' + b",".join([filler] * 2) + (b"," + filler) * count + b"]}"
    headers = []
    name = draw(
        st.sampled_from(["", "gzip", "x-gzip", "deflate", "raw", "GZIP", "twice", "members"])
    )
    match name:
        case "gzip" | "x-gzip" | "GZIP":
            body = gzip.compress(body, 1)
        case "twice":
            body = gzip.compress(gzip.compress(body, 1), 1)
        case "members":
            at = draw(st.integers(0, len(body)))
            body = gzip.compress(body[:at], 1) + gzip.compress(body[at:], 1)
        case "deflate":
            body = zlib.compress(body, 1)
        case "raw":
            packer = zlib.compressobj(1, wbits=-15)
            body = packer.compress(body) + packer.flush()
    if name:
        said = {"twice": "gzip", "members": "gzip", "raw": "deflate"}.get(name, name)
        headers.append(f"Content-Encoding: {said}")
    match draw(st.sampled_from(["none", "none", "none", "cut", "flip", "junk"])):
        case "cut":
            body = body[: draw(st.integers(0, len(body)))]
        case "flip" if body:
            at = draw(st.integers(0, len(body) - 1))
            body = body[:at] + bytes([body[at] ^ draw(st.integers(1, 255))]) + body[at + 1 :]
        case "junk":
            body += draw(st.binary(max_size=30))
    if draw(st.booleans()):
        headers.append("Transfer-Encoding: chunked")
        sizes = draw(st.lists(st.sampled_from([1, 2, 7, 100, 4096, 70_000]), max_size=8))
        parts, at = [], 0
        for size in [*sizes, len(body)]:
            if part := body[at : at + size]:
                parts.append(b"%x\r\n%s\r\n" % (len(part), part))
            at += size
        body = b"".join([*parts, b"0\r\n\r\n"])
    if draw(st.integers(0, 9)) == 0:
        headers.append("Expect: 100-continue")
    return http_request(
        "POST", f"/v1/models/{draw(st.sampled_from(TARGETS))}:predict", body, headers
    )


@few_and_many(50, 1200)
def test_encoded_bodies(open_server, caplog, num):
    @examples(num)
    @given(encoded())
    def run(data):
        reply = exchange(open_server, data, whole=False)
        statuses.append(reply and check(reply))

    sees = (200, 400, 413) if num > 100 else (400, 413)
    with unharmed(open_server, caplog, sees=sees) as statuses:
        run()


@st.composite
def damaged_messages(draw):
    """A right PredictRequest with a filter or a type of its own, damaged byte by byte or not."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "points"
    signature = draw(st.sampled_from(["sample", "draw"]))
    request.model_spec.signature_name = signature
    request.inputs["seeds"].CopyFrom(tf.make_tensor_proto(SEEDS[: draw(st.integers(1, 9))]))
    names = {"sample": ["samples"], "draw": ["latents", "components"]}[signature]
    choices = st.sampled_from([*names, *names, *names, "", "seeds", "\x00", "é" * 300])
    request.output_filter.extend(draw(st.lists(choices, max_size=3)))
    if draw(st.integers(0, 2)) == 0:
        request.inputs["seeds"].dtype = draw(st.integers(-2, 130))
    data = request.SerializeToString()
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(data)))
        end = min(len(data), at + draw(st.integers(0, 12)))
        match draw(
            st.sampled_from(["flip", "cut", "double", "insert", "varint", "length", "field"])
        ):
            case "flip" if at < len(data):
                data = (
                    data[:at] + bytes([data[at] ^ (1 << draw(st.integers(0, 7)))]) + data[at + 1 :]
                )
            case "cut":
                data = data[:at] + data[end:]
            case "double":
                data = data[:end] + data[at:end] * draw(st.sampled_from([1, 2, 500])) + data[end:]
            case "insert":
                data = data[:at] + draw(st.binary(max_size=6)) + data[at:]
            case "varint":
                data = data[:at] + b"\xff" * draw(st.integers(1, 11)) + data[at:]
            case "length":
                data = data[:at] + b"\x0a\xff\xff\xff\xff\x07" + data[at:]
            case "field":  # unknown numbers, groups, nested without end
                data += draw(
                    st.sampled_from([b"\x0b" * 300, b"\xf8\x07\x01" * 50, b"\x1a\x00" * 4000])
                )
    return data


@few_and_many(50, 1200)
def test_damaged_messages(open_server, caplog, num):
    with grpc.insecure_channel(open_server.grpc) as channel:

        @examples(num)
        @given(damaged_messages())
        def run(data):
            code, details = outcome(channel, SERVICE + "Predict", data)
            codes.append(code)
            assert code in CODES, (code, details)
            assert (code == "OK") == (not details)
            assert not INNARDS.search(details), details

        with unharmed(open_server, caplog, sees=("OK", "INVALID_ARGUMENT")) as codes:
            run()


# What was found so, and by reading: each was a 500, a stack trace in the log, or worse.


def test_a_version_of_thousands_of_digits_is_refused(open_server, caplog):
    paths = [f"/v1/models/points/versions/{v}:predict" for v in ("9" * 5000, "9" * 20, "%D9%A1")]
    with unharmed(open_server, caplog):
        for path in paths:
            reply = exchange(open_server, http_request("POST", path, b'{"instances": [[0, 0]]}'))
            assert check(reply) == 400


def test_a_body_that_does_not_decode_is_refused(open_server, caplog):
    with unharmed(open_server, caplog):
        for name in ("gzip", "deflate"):
            data = http_request("POST", POINTS, b"no such thing", [f"Content-Encoding: {name}"])
            status, _, content = exchange(open_server, data)
            assert status == 400
            assert "body does not end or decode" in json.loads(content)["error"]


def test_malformed_http_is_answered_in_json(open_server, caplog):
    with unharmed(open_server, caplog):
        status, headers, content = exchange(open_server, b"POST / HTTP/1.1\r\nHost x\r\n\r\n")
        assert (status, headers["Content-Type"]) == (400, "application/json")
        assert json.loads(content)["error"].startswith("Malformed HTTP: ")


def test_a_client_that_hangs_up_is_no_exception(open_server, caplog):
    with unharmed(open_server, caplog):
        for length in (1, 22):
            data = http_request("POST", POINTS, b"[" * length, ["Content-Length: 23"])
            assert exchange(open_server, data, whole=False) is None


def test_a_token_that_is_no_text_is_refused(locked_server, caplog):
    with unharmed(locked_server, caplog, TOKEN):
        data = http_request("POST", POINTS, b"", ["Authorization: Bearer \udcff"])
        assert check(exchange(locked_server, data)) == 401


def test_a_long_string_does_not_claim_memory_for_every_row(models, caplog):
    """NumPy gives each string of a list the length of the longest: here 400 GB."""
    body = json.dumps({"instances": [["x" * 1_000_000, 0], *([["", 0]] * 100_000)]}).encode()
    with Running(settings(models)) as running, unharmed(running, caplog):
        assert check(exchange(running, http_request("POST", POINTS, body))) == 413


def test_what_is_no_message_and_long_names_are_refused(open_server, caplog):
    predict = SERVICE + "Predict"
    named = predict_pb2.PredictRequest()
    named.model_spec.name = "\U0001f600" * 20_000
    with grpc.insecure_channel(open_server.grpc) as channel, unharmed(open_server, caplog):
        code, details = outcome(channel, predict, b"\xff" * 9)
        assert (code, details) == ("INVALID_ARGUMENT", "The request is no PredictRequest.")
        code, details = outcome(channel, predict, named.SerializeToString())
        assert (code, len(details)) == ("NOT_FOUND", 500)
        assert details.endswith("...")
