"""REST, in TF Serving's paths and forms, and the page for people.

    POST /v1/models/M[/versions/N|/labels/L]:predict
    GET  /v1/models/M[/versions/N|/labels/L]            state of the versions
    GET  /v1/models/M[/versions/N|/labels/L]/metadata   signatures
    GET  /monitoring/prometheus/metrics
    GET  /                                              the page
    GET  /page/models.json, /card/M/N                   what the page shows
    GET  /healthz, /readyz                              whether it lives, and serves every model

Errors are {"error": "..."} with TF Serving's statuses. Names and paths are looked up in tables of
what is served; none of a request's text reaches a file system.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import logging
import math
import re
import time
from collections.abc import Callable
from importlib import resources
from typing import Any

from aiohttp import web
from aiohttp.http import HttpProcessingError
from google.protobuf import json_format

from export.serving import bodies, rest_json
from export.serving import metrics as metrics_module
from export.serving.access import AccessLog
from export.serving.bounds import check_values
from export.serving.errors import Code, ServingError
from export.serving.health import Health
from export.serving.metrics import Metrics
from export.serving.origins import Origins
from export.serving.predictor import LARGE, Predictor, Target

__all__ = ["PAGE_FILES", "make_server"]

_log = logging.getLogger(__name__)

_TARGET = (
    r"/v1/models/(?P<model>[^/:]+)(?:/versions/(?P<version>[0-9]+)|/labels/(?P<label>[^/:]+))?"
)
_PREDICT = re.compile(_TARGET + r":(?P<method>predict|classify|regress)")
_METADATA = re.compile(_TARGET + r"/metadata")
_STATUS = re.compile(_TARGET)
_ABSOLUTE = re.compile(r"https?://([^/?#]*)", re.IGNORECASE)
_CARD = re.compile(r"/card/(?P<model>[^/:]+)/(?P<version>[0-9]{1,19})(?P<picture>/samples\.png)?")
_MAX_VERSION = 2**63 - 1
_SLICE, _LOOK_SECONDS = 2**12, 0.05  # bytes of HTTP that are parsed at once
# Bytes of a body's framing: beyond, and beyond those of the body, it is refused. h2o and Node.js
# have such a bound, too.
_FRAMING = 2**16
_LINGER_TURNS = 40  # of _LOOK_SECONDS
_FEW = 128  # rows whose reply is written at once
_STATES = {10: "START", 20: "LOADING", 30: "AVAILABLE", 40: "UNLOADING", 50: "END"}

PAGE_FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/page/page.css": ("page.css", "text/css; charset=utf-8"),
}
_HEADERS = {
    # The page loads nothing from elsewhere and runs no inline script.
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}

# A text or a picture alone: browsers show it in a document of their own, with inline styles.
_CARD_HEADERS = {
    **_HEADERS,
    "Content-Security-Policy": "default-src 'none'; img-src 'self'; style-src 'unsafe-inline'; "
    "frame-ancestors 'none'",
}

_JSON_HEADERS = {"Content-Type": "application/json", "X-Content-Type-Options": "nosniff"}


class _Rest:
    def __init__(
        self,
        predictor: Predictor,
        metrics: Metrics,
        log: AccessLog,
        health: Health,
        token: str | None,
        metrics_path: str | None,
        origins: Origins,
    ):
        self.predictor, self.metrics, self.log = predictor, metrics, log
        self.models = predictor.models
        self.health, self.origins = health, origins
        self.token, self.metrics_path = token, metrics_path
        folder = resources.files("export.serving") / "page"
        self.files = {
            path: ((folder / name).read_bytes(), kind) for path, (name, kind) in PAGE_FILES.items()
        }

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        began = time.perf_counter()
        facts: dict[str, Any] = {"api": "rest", "http": f"{request.method} {request.path}"[:300]}
        code = Code.OK
        try:
            response = await self._answer(request, facts)
        except ServingError as error:
            code = error.code
            response = _refusal(error)
        except asyncio.CancelledError:
            self._record(facts, Code.CANCELLED, began, request, None)
            raise
        except ConnectionError:  # the client hung up: aiohttp would log what is raised
            code = Code.CANCELLED
            response = _error(code.http, "The client left.")
        except Exception:
            _log.exception("A request failed")
            code = Code.INTERNAL
            response = _error(code.http, "Internal error; the server's log says more.")
        if "Origin" in request.headers:
            response.headers.update(self.origins.headers(request.headers["Origin"]))
        if not request.content.is_eof() and ("Expect" in request.headers or _is_chunked(request)):
            # The client may send the body that it announced or not, so what it sends next cannot be
            # told apart; and the rest of one in chunks would have to be parsed to be passed over.
            response.force_close()
            if _is_chunked(request):
                _connection(request).ignore()
        self._record(facts, code, began, request, response)
        return response

    def _record(self, facts, code, began, request, response) -> None:
        seconds = time.perf_counter() - began
        method = facts.pop("method", "other")
        model = facts.get("model", "")
        self.metrics.request("rest", method, model, code.name, seconds)
        if self.log.on:
            status = response.status if response else 499
            self.log.write(peer=request.remote, status=status, seconds=seconds, **facts)

    def refuse(
        self, request: web.BaseRequest, status: int, message: str, kind: type[web.Response]
    ) -> web.Response:
        """The answer, a response of a kind, to what aiohttp takes for no request at all."""
        response = _error(status, message, kind)
        self._record({"api": "rest"}, Code.INVALID_ARGUMENT, time.perf_counter(), request, response)
        return response

    async def _answer(self, request: web.BaseRequest, facts: dict[str, Any]) -> web.Response:
        path, method = request.path, request.method
        self._check_host(request)
        if method == "OPTIONS" and "Access-Control-Request-Method" in request.headers:
            return self._preflight(request)
        if method in ("GET", "HEAD"):
            if path in self.files:
                body, kind = self.files[path]
                return web.Response(body=body, headers={"Content-Type": kind, **_HEADERS})
            if path == "/healthz":
                return _text(200, "ok\n")
            if path == "/readyz":
                missing = self.health.missing()
                return _text(503 if missing else 200, f"{missing or 'ok'}\n")
        self._check_token(request)
        if method == "POST" and (found := _PREDICT.fullmatch(path)):
            return await self._predict(request, found, facts)
        if method in ("GET", "HEAD"):
            if path == self.metrics_path:
                self.metrics.queued_rows.set(self.predictor.scheduler.queued_rows)
                self.metrics.lost_lines.set(self.log.lost)
                kind = {"Content-Type": metrics_module.CONTENT_TYPE}
                return web.Response(body=self.metrics.text(), headers=kind)
            if found := _METADATA.fullmatch(path):
                return self._metadata(_target(found), facts)
            if found := _STATUS.fullmatch(path):
                return self._status(_target(found), facts)
            if path == "/page/models.json":
                return _json(rest_json.dump(self._describe()))
            if found := _CARD.fullmatch(path):
                return await self._card(found)
        if path.startswith("/v1/"):
            raise ServingError(Code.INVALID_ARGUMENT, f"Malformed request: {method} {path}"[:300])
        raise ServingError(Code.NOT_FOUND, f"Nothing is at {path}"[:300])

    def _check_host(self, request: web.BaseRequest) -> None:
        hosts = request.headers.getall("Host", [])
        if len(hosts) > 1:
            raise ServingError(Code.INVALID_ARGUMENT, "Malformed HTTP: more than one Host.")
        if found := _ABSOLUTE.match(request.raw_path):  # then Host is not looked at (RFC 9112)
            hosts = [found[1]]
        if hosts and not self.origins.allows_host(hosts[0]):
            raise ServingError(
                Code.PERMISSION_DENIED,
                f"{hosts[0][:100]} is no name of this server. Ask it by its address, or start it "
                "with --allowed_hosts=NAME.",
            )

    def _preflight(self, request: web.BaseRequest) -> web.Response:
        headers = self.origins.preflight(request.headers.get("Origin"))
        if headers is None:
            raise ServingError(
                Code.PERMISSION_DENIED,
                "Pages of other origins may not ask this server; --cors_origins names those that "
                "may.",
            )
        return web.Response(status=204, headers=headers)

    def _check_token(self, request: web.BaseRequest) -> None:
        if self.token is None:
            return
        given = request.headers.get("Authorization", "")
        # aiohttp keeps bytes that are no UTF-8 as surrogates.
        given = given.encode("utf-8", "surrogateescape")
        if not hmac.compare_digest(given, f"Bearer {self.token}".encode()):
            raise ServingError(
                Code.UNAUTHENTICATED, "This server needs the header Authorization: Bearer TOKEN."
            )

    async def _predict(self, request, found, facts) -> web.Response:
        if found["method"] != "predict":
            raise ServingError(
                Code.UNIMPLEMENTED, f"{found['method']} is not implemented; use predict."
            )
        facts["method"] = "predict"
        target = _target(found)
        with self.models.lease(*target) as version:
            bounds = self.predictor.bounds(version)
        coding = ",".join(request.headers.getall("Transfer-Encoding", ["chunked"])).strip()
        if coding.lower() != "chunked":
            raise ServingError(
                Code.UNIMPLEMENTED, f"Transfer-Encoding {coding[:40]!r} is not known; use chunked."
            )
        encoding = bodies.encoding_of(request)
        body = await self._read(request, bounds.json_bytes)
        # Before it is parsed: refusing must cost little while the queue is full.
        self.predictor.scheduler.check_room(self.predictor.guess_rows(version, len(body)))
        # Another version may be the newest by now.
        with self.models.lease(*target) as version:
            bounds = self.predictor.bounds(version)

            def parse():
                text = bodies.decode(body, encoding, bounds.json_bytes)
                check_values(text, bounds, self.predictor.limits)
                document = rest_json.load(text)
                signature = self.predictor.signature(version, document.get("signature_name", ""))
                facts.update(model=version.model, version=version.number, signature=signature)
                inputs = rest_json.read_inputs(document, version.served.signatures[signature])
                self.predictor.note_rows(version, len(body), len(next(iter(inputs.values()))))
                return signature, inputs, "instances" in document

            if encoding or len(body) > LARGE:
                signature, inputs, by_row = await self.predictor.off_loop(parse)
            else:
                signature, inputs, by_row = parse()
            outputs = await self.predictor.run(version, signature, inputs)
            del inputs
            rows = len(next(iter(outputs.values())))
            facts["rows"] = rows
            self.metrics.answered(version.model, version.number, rows)
            if rows > _FEW or sum(value.nbytes for value in outputs.values()) > LARGE:
                return _json(
                    await self.predictor.off_loop(rest_json.write_outputs, outputs, by_row)
                )
            return _json(rest_json.write_outputs(outputs, by_row))

    async def _read(self, request: web.BaseRequest, limit: int) -> bytes:
        try:
            if request.content.is_eof():  # it is here already: no timer
                return await bodies.read(request, limit)
            async with asyncio.timeout(self.predictor.limits.seconds) as timer:
                if _is_chunked(request):
                    _connection(request).watch(request.content, timer)
                await self._go_on(request, limit)
                return await bodies.read(request, limit)
        except (HttpProcessingError, web.RequestPayloadError) as error:
            raise ServingError(
                Code.INVALID_ARGUMENT,
                f"The request's body does not end or decode as its headers say: {_line(error)}",
            ) from None
        except TimeoutError:
            if _connection(request).gave_up:
                raise ServingError(
                    Code.INVALID_ARGUMENT,
                    "The request's body is in chunks so small that their framing is larger than "
                    "they are. Send it in larger ones, or with a Content-Length.",
                ) from None
            raise ServingError(
                Code.DEADLINE_EXCEEDED, "The request's body took too long."
            ) from None

    async def _go_on(self, request: web.BaseRequest, limit: int) -> None:
        """Answers Expect: 100-continue, unless the body is too large anyway."""
        expected = request.headers.get("Expect", "").strip().lower()
        if expected and expected != "100-continue":
            raise ServingError(
                Code.INVALID_ARGUMENT, "The header Expect may be 100-continue.", http=417
            )
        if expected and (request.content_length or 0) <= limit and request.version >= (1, 1):
            writer: Any = request.writer
            await writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            writer.output_size = 0

    def _status(self, target: Target, facts) -> web.Response:
        facts["method"] = "status"
        number = target.version
        if target.label is not None:
            with self.models.lease(*target) as version:
                number = version.number
        statuses = self.models.statuses(target.model, number)
        content = {
            "model_version_status": [
                {
                    "version": str(number),
                    "state": _STATES[status.state],
                    "status": {
                        "error_code": "UNKNOWN" if status.error else "OK",
                        "error_message": status.error,
                    },
                }
                for number, status in statuses.items()
            ]
        }
        return _json(json.dumps(content, indent=1).encode())

    def _metadata(self, target: Target, facts) -> web.Response:
        facts["method"] = "metadata"
        with self.models.lease(*target) as version:
            signatures = {
                name: json_format.MessageToDict(
                    definition,
                    preserving_proto_field_name=True,
                    always_print_fields_with_no_presence=True,
                )
                for name, definition in version.served.definitions.items()
            }
            content = {
                "model_spec": {
                    "name": version.model,
                    "signature_name": "",
                    "version": str(version.number),
                },
                "metadata": {"signature_def": {"signature_def": signatures}},
            }
        return _json(json.dumps(content, indent=1).encode())

    def _describe(self) -> dict[str, Any]:
        """What the page needs to know: the limit of a request, and each served version."""
        keys = ("num_components", "weights", "latent_dim", "num_classes", "class_names",
                "sample_shape", "image", "dataset", "algorithm", "average", "plot")  # fmt: skip
        models = [
            {
                "model": name,
                "labels": self.models.labels(name),
                "versions": [
                    {
                        "version": number,
                        "signatures": sorted(version.served.signatures),
                        **{key: version.manifest.get(key) for key in keys},
                    }
                    for number, version in sorted(self.models.loaded(name).items(), reverse=True)
                ],
            }
            for name in self.models.names
        ]
        return {"max_rows": self.predictor.limits.rows, "models": models}

    async def _card(self, found) -> web.Response:
        with self.models.lease(*_target(found)) as version:
            name, kind = "README.md", "text/plain; charset=utf-8"
            if found["picture"]:
                name, kind = "samples.png", "image/png"
            if name not in version.manifest["files"]:
                raise ServingError(Code.NOT_FOUND, f"This version has no {name}.")
            read = (version.directory / name).read_bytes
            try:
                body = await asyncio.get_running_loop().run_in_executor(None, read)
            except OSError:
                raise ServingError(Code.NOT_FOUND, f"{name} is gone.") from None
        return web.Response(body=body, headers={"Content-Type": kind, **_CARD_HEADERS})


def _target(found: re.Match) -> Target:
    groups = found.groupdict()
    version = groups["version"]
    # Its length first: Python refuses to convert thousands of digits.
    if version is not None and (len(version) > 19 or int(version) > _MAX_VERSION):
        raise ServingError(
            Code.INVALID_ARGUMENT, f"Failed to convert version: {version[:40]} to numeric."
        )
    return Target(groups["model"], int(version) if version else None, groups.get("label"))


def _is_chunked(request: web.BaseRequest) -> bool:
    """Whether the body has no length beforehand."""
    return request.content_length is None


def _connection(request: web.BaseRequest) -> _Connection:
    protocol = request.protocol
    assert isinstance(protocol, _Connection)
    return protocol


def _json(body: bytes, kind: type[web.Response] = web.Response) -> web.Response:
    return kind(body=body, headers=_JSON_HEADERS)


def _text(status: int, text: str) -> web.Response:
    headers = {"Content-Type": "text/plain; charset=utf-8", "X-Content-Type-Options": "nosniff"}
    return web.Response(status=status, body=text.encode(), headers=headers)


def _refusal(error: ServingError) -> web.Response:
    response = _error(error.http, error.message)
    if error.retry_after is not None:
        response.headers["Retry-After"] = str(max(1, math.ceil(error.retry_after)))
    return response


def _error(status: int, message: str, kind: type[web.Response] = web.Response) -> web.Response:
    response = _json(json.dumps({"error": message}).encode(), kind)
    response.set_status(status)
    if status == Code.UNAUTHENTICATED.http:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def _line(error: BaseException | None) -> str:
    """The first line of what an error of aiohttp's says; it may quote the whole request."""
    lines = str(getattr(error, "message", error)).split("\n")
    return lines[0].strip().rstrip(":")[:200] or type(error).__name__


class _Connection(web.RequestHandler):
    """A connection that answers malformed HTTP as it answers all else: in JSON, without a trace.

    What arrives at once is parsed a slice at a time, others' turns between: a body in chunks of a
    byte costs two microseconds for each. One whose framing is larger than itself is given up.

    Attributes:
      gave_up: whether the body that is watched was given up.
    """

    __slots__ = ("_body", "_deaf", "_feeding", "_framed", "_heard", "_refuse", "_rest", "_timer",
                 "gave_up")  # fmt: skip

    def __init__(self, manager: _Server, refuse: Callable, **options: Any):
        super().__init__(manager, **options)
        self._refuse = refuse
        self._rest, self._feeding = memoryview(b""), False
        self._body: Any = None
        self._timer: asyncio.Timeout | None = None
        self._framed = 0  # bytes of the body that is watched, with its framing
        self._deaf = self._heard = self.gave_up = False

    def watch(self, body: Any, timer: asyncio.Timeout) -> None:
        """Ends the timer at once should the body be mostly framing.

        Args:
          body: the StreamReader of a body in chunks, of which the start may be there.
          timer: of who reads it.
        """
        self._body, self._timer, self._framed = body, timer, body.total_bytes

    def ignore(self) -> None:
        """Takes what comes from now on for nothing, until the client hangs up or time is up."""
        self._deaf, self._body = True, None
        self._rest = memoryview(b"")

    def data_received(self, data: bytes) -> None:
        if not data or (len(data) <= _SLICE and not self._rest):
            self._parse(data)
            return
        if self._deaf:
            self._heard = True
            return
        self._rest = memoryview(bytes(self._rest) + data)
        self._hold()
        self._feed_later()

    def _parse(self, data: bytes) -> None:
        if self._deaf:
            self._heard = True
            return
        super().data_received(data)
        if self._body is None:
            return
        self._framed += len(data)
        if self._body.is_eof():
            self._body = None
        elif self._framed - self._body.total_bytes > max(_FRAMING, self._body.total_bytes):
            self.gave_up = True
            self.ignore()
            if self._timer and not self._timer.expired():
                self._timer.reschedule(asyncio.get_running_loop().time())

    def resume_reading(self, *args: Any, **options: Any) -> None:
        super().resume_reading(*args, **options)
        if self._rest:
            self._hold()
            self._feed_later()

    def _hold(self) -> None:
        if self.transport is not None:
            with contextlib.suppress(RuntimeError):  # it is closing
                self.transport.pause_reading()

    def _feed_later(self, seconds: float = 0.0) -> None:
        if not self._feeding:
            self._feeding = True
            loop = asyncio.get_running_loop()
            if seconds:
                loop.call_later(seconds, self._feed)
            else:
                loop.call_soon(self._feed)

    def _feed(self) -> None:
        self._feeding = False
        if self.transport is None:
            self._rest = memoryview(b"")
            return
        if self._reading_paused or getattr(self, "_buffer_paused", False):
            self._feed_later(_LOOK_SECONDS)  # or when it is resumed, if that is before
            return
        part, self._rest = self._rest[:_SLICE], self._rest[_SLICE:]
        self._parse(bytes(part))
        if self._rest:
            self._feed_later()
        elif self.transport is not None and not self._reading_paused:
            with contextlib.suppress(RuntimeError):
                self.transport.resume_reading()

    def handle_error(self, request, status=500, exc=None, message=None):
        if status != 400:  # a defect, or a connection that is gone
            return super().handle_error(request, status, exc, message)
        response = self._refuse(request, status, f"Malformed HTTP: {_line(exc)}", _Last)
        response.force_close()
        return response

    async def linger(self) -> None:
        """Takes in what the client still sends, for as long as it does, but not for long.

        A connection that is closed with bytes unread is reset, and the client may not get to read
        why it was refused.
        """
        waiting = bool(self._rest) or self._feeding
        self.ignore()
        if self.transport is not None and waiting:
            self.transport.resume_reading()
        for _ in range(_LINGER_TURNS):
            if self.transport is None or not waiting:
                return
            self._heard = False
            await asyncio.sleep(_LOOK_SECONDS)
            waiting = self._heard

    def log_exception(self, *args: Any, **options: Any) -> None:
        # What is left of a damaged body is read, and fails again, after its reply.
        if not isinstance(options.get("exc_info"), HttpProcessingError | web.RequestPayloadError):
            super().log_exception(*args, **options)


class _Last(web.Response):
    """A response after which the connection ends, once the client has had time to read it."""

    async def prepare(self, request):
        self._protocol = _connection(request)
        return await super().prepare(request)

    async def write_eof(self, data: bytes = b"") -> None:
        await super().write_eof(data)
        await self._protocol.linger()


class _Server(web.Server):
    def __init__(self, handle, refuse: Callable, **options: Any):
        super().__init__(handle, **options)
        self._refuse = refuse

    def __call__(self) -> web.RequestHandler:
        loop = asyncio.get_running_loop()
        return _Connection(
            self,
            self._refuse,
            loop=loop,
            keepalive_timeout=75,
            access_log=None,
            # Nothing is decoded before the request is known to be allowed to have it.
            auto_decompress=False,
        )


def make_server(
    predictor: Predictor,
    metrics: Metrics,
    log: AccessLog,
    health: Health,
    token: str | None = None,
    metrics_path: str | None = "/monitoring/prometheus/metrics",
    origins: Origins | None = None,
) -> web.Server:
    """The REST server, for an aiohttp runner.

    Args:
      predictor: answers.
      metrics: counts.
      log: gets a line for each request.
      health: says whether the server is ready, and whether it is ending.
      token: that requests must bear; None for no authentication.
      metrics_path: of the metrics; None where they are off.
      origins: which names and pages are allowed; None for any name, and no other page.
    """
    rest = _Rest(predictor, metrics, log, health, token, metrics_path, origins or Origins())
    limit = predictor.limits.body_bytes

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        response = await rest.handle(request)
        if health.draining:
            response.force_close()
        return response

    def make_request(message, payload, protocol, writer, task):
        loop = asyncio.get_running_loop()
        return web.BaseRequest(
            message, payload, protocol, writer, task, loop, client_max_size=limit
        )

    # A client that leaves cancels its request, so that nothing more is computed for it.
    return _Server(handle, rest.refuse, request_factory=make_request, handler_cancellation=True)
