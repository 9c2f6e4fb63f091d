"""Clients for `benchmarks.serving` that cost little: bytes prepared, replies hardly parsed.

A Python HTTP or gRPC client needs about as much of the processor as the server, with which it
shares the machine. These speak just enough HTTP/1.1 and HTTP/2 to one server on loopback.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import time
from collections.abc import Callable, Coroutine
from typing import Any

__all__ = ["DECODE", "Client", "GrpcClient", "HttpClient", "drive", "run"]

_LARGEST_WINDOW = 2**31 - 1
# gRPC's channels put all requests of a process on one connection. Python's and C++'s servers take
# about 100 at once.
_STREAMS = 16


class Client(asyncio.Protocol):
    """A connection; HTTP/1.1 has one request in flight on it, gRPC as many as are started.

    Args:
      host: of the server.
      port: of the server.
    """

    def __init__(self, host: str, port: int):
        self._address = host, port
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._reply: asyncio.Future[bytes] | None = None
        # Called with each reply instead of a future; returns the next request, or None.
        self.on_reply: Callable[[bytes], bytes | None] | None = None

    async def connect(self) -> None:
        """Connects."""
        await asyncio.get_running_loop().create_connection(lambda: self, *self._address)

    def close(self) -> None:
        """Closes the connection."""
        if self._transport:
            self._transport.close()

    def encode(self, model: str, signature: str, seeds: Any) -> bytes:
        """The bytes of a request."""
        raise NotImplementedError

    def _send(self, data: bytes) -> None:
        assert self._transport is not None
        self._transport.write(data)

    async def ask(self, data: bytes) -> bytes:
        """Sends a request; returns its reply, still encoded.

        Raises:
          RuntimeError: for a reply that is an error.
          ConnectionError: if the server closes the connection.
        """
        self._reply = asyncio.get_running_loop().create_future()
        self._send(data)
        return await self._reply

    def start(self, data: bytes) -> None:
        """Sends the first request of those that `on_reply` goes on with."""
        self._send(data)

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(ConnectionError(f"The server closed the connection ({exc})."))

    def _fail(self, error: Exception) -> None:
        if self._reply and not self._reply.done():
            self._reply.set_exception(error)
        elif self.on_reply:
            self.error = error

    error: Exception | None = None

    def _done(self, reply: bytes) -> None:
        if self.on_reply:
            request = self.on_reply(reply)
            if request is not None:
                self._send(request)
        elif self._reply and not self._reply.done():
            self._reply.set_result(reply)


class HttpClient(Client):
    """HTTP/1.1 with replies that have a Content-Length."""

    _needed = 0  # bytes until the reply is whole; 0 while its head is not

    def encode(self, model: str, signature: str, seeds: Any) -> bytes:
        body = json.dumps({"signature_name": signature, "instances": seeds.tolist()}).encode()
        head = f"POST /v1/models/{model}:predict HTTP/1.1\r\nHost: localhost\r\n"
        return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._needed:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = bytes(self._buffer[:end]).lower()
            _, found, rest = head.partition(b"content-length:")
            if not found:
                self._fail(RuntimeError(f"A reply without a length: {head[:100]!r}"))
                return
            self._start = end + 4
            self._needed = self._start + int(rest.split(b"\r", 1)[0])
        if len(self._buffer) < self._needed:
            return
        status = bytes(self._buffer[9:12])
        body = bytes(self._buffer[self._start : self._needed])
        del self._buffer[: self._needed]
        self._needed = 0
        if status == b"200":
            self._done(body)
        else:
            self._fail(RuntimeError(f"HTTP {status.decode()}: {body[:200].decode()}"))


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return (
        len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload
    )


def _header(name: str, value: str) -> bytes:
    # HPACK: a literal without indexing, its name new, nothing compressed.
    def text(x: str) -> bytes:
        assert len(x) < 127
        return bytes([len(x)]) + x.encode()

    return b"\x00" + text(name) + text(value)


_DATA, _HEADERS, _RESET, _SETTINGS, _PING, _GOAWAY, _WINDOW = 0, 1, 3, 4, 6, 7, 8
_END_STREAM, _END_HEADERS, _ACK = 1, 4, 1


class GrpcClient(Client):
    """gRPC's Predict in HTTP/2 frames. A reply without a message counts as an error."""

    def __init__(self, host: str, port: int):
        super().__init__(host, port)
        self._streams = itertools.count(1, 2)
        self._messages: dict[int, bytearray] = {}  # of the streams that are open
        self._taken = 0  # bytes of the connection's window
        self._frames: list[bytes] | None = None  # gathered while what arrived is worked off
        headers = {
            ":method": "POST",
            ":scheme": "http",
            ":path": "/tensorflow.serving.PredictionService/Predict",
            ":authority": f"{host}:{port}",
            "content-type": "application/grpc",
            "te": "trailers",
        }
        self._headers = b"".join(_header(*pair) for pair in headers.items())

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        # No table of headers, no push, and windows that never fill.
        settings = {1: 0, 2: 0, 4: _LARGEST_WINDOW}
        pairs = (k.to_bytes(2, "big") + v.to_bytes(4, "big") for k, v in settings.items())
        self._send_raw(
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
            + _frame(_SETTINGS, 0, 0, b"".join(pairs))
            + _frame(_WINDOW, 0, 0, (_LARGEST_WINDOW - 65_535).to_bytes(4, "big"))
        )

    def encode(self, model: str, signature: str, seeds: Any) -> bytes:
        import tensorflow as tf
        from tensorflow_serving.apis import predict_pb2

        request = predict_pb2.PredictRequest()
        request.model_spec.name, request.model_spec.signature_name = model, signature
        request.inputs["seeds"].CopyFrom(tf.make_tensor_proto(seeds))
        data = request.SerializeToString()
        return b"\x00" + len(data).to_bytes(4, "big") + data

    def _send(self, data: bytes) -> None:
        stream = next(self._streams)
        self._messages[stream] = bytearray()
        self._send_raw(_frame(_HEADERS, _END_HEADERS, stream, self._headers))
        for i in range(0, len(data), 16_384):
            part = data[i : i + 16_384]
            self._send_raw(_frame(_DATA, _END_STREAM * (i + 16_384 >= len(data)), stream, part))

    def _send_raw(self, data: bytes) -> None:
        if self._frames is None:
            super()._send(data)
        else:
            self._frames.append(data)

    def data_received(self, data: bytes) -> None:
        if self._buffer:
            data = bytes(self._buffer) + data
            self._buffer.clear()
        at, size = 0, len(data)
        self._frames = []
        while size - at >= 9:
            end = at + 9 + int.from_bytes(data[at : at + 3], "big")
            if size < end:
                break
            stream = int.from_bytes(data[at + 5 : at + 9], "big")
            self._take(data[at + 3], data[at + 4], stream, data[at + 9 : end])
            at = end
        frames, self._frames = self._frames, None
        if frames:
            super()._send(b"".join(frames))
        self._buffer += data[at:]

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == _DATA:
            self._messages[stream] += payload
            # The connection's window, which all streams share, is half used up.
            self._taken += len(payload)
            if self._taken > _LARGEST_WINDOW // 2:
                self._send_raw(_frame(_WINDOW, 0, 0, self._taken.to_bytes(4, "big")))
                self._taken = 0
        elif kind in (_SETTINGS, _PING) and not flags & _ACK:
            self._send_raw(_frame(kind, _ACK, 0, payload if kind == _PING else b""))
        elif kind in (_RESET, _GOAWAY):
            self._fail(RuntimeError(f"HTTP/2 frame {kind}: {payload[:100]!r}"))
        if flags & _END_STREAM and kind in (_DATA, _HEADERS):
            self._finish(self._messages.pop(stream), payload)

    def _finish(self, message: bytearray, trailers: bytes) -> None:
        if len(message) < 5 or len(message) != 5 + int.from_bytes(message[1:5], "big"):
            self._fail(RuntimeError(f"gRPC error: {trailers[:200]!r}"))
        else:
            self._done(bytes(message[5:]))


def _decode_rest(reply: bytes) -> list[bytes]:
    import numpy as np

    (rows,) = json.loads(reply).values()
    if isinstance(rows[0], dict):
        return [base64.b64decode(row["b64"]) for row in rows]
    return [np.array(row, np.float32).tobytes() for row in rows]


def _decode_grpc(reply: bytes) -> list[bytes]:
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2

    (proto,) = predict_pb2.PredictResponse.FromString(reply).outputs.values()
    return [x if isinstance(x, bytes) else x.tobytes() for x in tf.make_ndarray(proto)]


# Protocol -> from a reply to the bytes of each of its rows.
DECODE: dict[str, Callable[[bytes], list[bytes]]] = {"rest": _decode_rest, "grpc": _decode_grpc}


async def drive(
    api: str, address: tuple[str, int], model: str, signature: str, in_flight: int, seconds: float
) -> float:
    """Requests of one row per second, with so many in flight.

    REST has one on each connection, gRPC 16, as a process of a client has that shares its channel.

    Raises:
      RuntimeError: if a request fails.
    """
    import numpy as np

    kind = {"rest": HttpClient, "grpc": GrpcClient}[api]
    streams = 1 if api == "rest" else _STREAMS
    clients = [kind(*address) for _ in range(-(-in_flight // streams))]
    requests = [
        clients[0].encode(model, signature, np.array([[5, i]], np.int64)) for i in range(256)
    ]
    num = 0
    end = time.perf_counter() + seconds
    over = asyncio.Event()

    def on_reply(_: bytes) -> bytes | None:
        nonlocal num
        num += 1
        if num % 16 == 0 and time.perf_counter() >= end:
            over.set()
            return None
        return None if over.is_set() else requests[num % 256]

    watch = asyncio.create_task(_first_error(clients))
    waits = [watch, asyncio.create_task(over.wait())]
    try:
        for client in clients:
            await client.connect()
            client.on_reply = on_reply
        began = time.perf_counter()
        end = began + seconds
        for i in range(in_flight):
            clients[i % len(clients)].start(requests[i % 256])
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        elapsed, done = time.perf_counter() - began, num
    finally:
        for wait in waits:
            wait.cancel()
        for client in clients:
            client.close()
    if watch.done() and not watch.cancelled() and (error := watch.result()):
        raise RuntimeError(f"{api} {model}: {error}")
    await asyncio.sleep(0.1)
    return done / elapsed


def run(coroutine: Coroutine[Any, Any, float]) -> float:
    """asyncio.run on uvloop's event loop: the less the load costs, the more is measured."""
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(coroutine)


async def _first_error(clients: list[Any]) -> Exception:
    while True:
        for client in clients:
            if client.error:
                return client.error
        await asyncio.sleep(0.05)
