"""Many clients at once, while versions are swapped and one is half-written."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

from benchmarks import load, serving
from export import publish
from export.serving.config import Batching, ModelConfig
from export.serving.server import Settings
from tests.export.conftest import seed_array
from tests.export.serving.conftest import Running
from tests.export.serving.test_server import run_scheduler, slow, submit


def beside(running):
    """What a Soak needs of a server that runs in this process."""
    return SimpleNamespace(
        rest=("127.0.0.1", running.server.rest_port),
        grpc=("127.0.0.1", running.server.grpc_port),
        memory=lambda: serving.memory_of("self"),
    )


@pytest.fixture
def folder(models, tmp_path):
    """points/1."""
    shutil.copytree(models / "points" / "1", tmp_path / "points" / "1")
    return tmp_path


def check(result, clients, versions):
    assert result["failures"] == {}
    assert result["failed"] == 0
    assert result["mixed"] == 0
    assert result["swap_seen_after_s"] is not None
    # 99 was there before, half-written: it never serves, and its number is not given again.
    assert set(result["by_version"]) == versions
    assert min(result["by_version"].values()) > clients / 4
    assert sum(result["by_version"].values()) == result["replies"]
    assert set(result["milliseconds"]) == {"rest", "grpc"}


def test_a_swap_under_load(models, folder):
    """32 clients for a few seconds: no failure, no reply of two versions."""
    base = folder / "points"
    configs = [ModelConfig("points", base)]

    def publish_other():
        def write(building):
            shutil.copytree(models / "points" / "2", building, dirs_exist_ok=True)

        return publish.publish(base, write)

    with Running(Settings(configs, poll_seconds=0.2, access_log="")) as running:
        soak = serving.Soak(beside(running), base, False, publish_other, 32, 3.0, 0.1, patience=60)
        soak.run()
    check(soak.report(), 32, {"points/1", "points/100"})


@pytest.mark.slow
def test_a_minute_of_load_on_the_command(tmp_path):
    """The same on `python -m export.serve`, with the real publisher; memory stays flat."""
    points, images = (tmp_path / "models" / name for name in ("points", "images"))
    serving.publish_points(points)
    serving.publish_images(images)
    with serving.Server({"points": points, "images": images}, tmp_path) as server:
        publish_other = serving.Publisher(points, 1).publish
        soak = serving.Soak(server, points, True, publish_other, clients=32, seconds=60)
        soak.run()
    assert server.code == 0
    result = soak.report()
    check(result, 32, {"images/1", "points/1", "points/100"})
    assert not serving.soak_failed(result)


# The soak itself finds what it is for.


@pytest.mark.parametrize("api", ["rest", "grpc"])
def test_a_reply_of_two_versions_would_be_found(models, folder, api):
    soak = serving.Soak(None, folder / "points", False, Path, clients=4, seconds=1)
    shutil.copytree(models / "points" / "2", folder / "points" / "2")
    known = soak._known()
    request = 3
    first, second = (known["points", request][v] for v in "12")
    assert len(first) == len(second) == soak.rows(request) == 70
    assert first != second
    mixed = [*first[:64], *second[64:]]
    reply = encode(api, mixed)
    assert load.DECODE[api](reply) == mixed
    soak.replies[api, "points", request].update([reply, encode(api, first), encode(api, first)])
    soak.memory = [(0.5, 100.0), (0.9, 100.0)]
    soak._began = 0.0
    result = soak.report()
    assert (result["mixed"], result["by_version"]) == (1, {"points/1": 2})
    assert serving.soak_failed(result)


def encode(api, rows):
    """A reply with these rows, as the server would write it."""
    samples = np.stack([np.frombuffer(row, np.float32) for row in rows])
    if api == "rest":
        return json.dumps({"predictions": samples.astype(float).tolist()}).encode()
    response = predict_pb2.PredictResponse()
    response.outputs["samples"].CopyFrom(tf.make_tensor_proto(samples))
    return response.SerializeToString()


def test_errors_are_not_taken_for_replies(models):
    """The load's clients notice errors, of HTTP and of gRPC."""
    configs = [ModelConfig("points", models / "points")]

    async def ask(client, model):
        await client.connect()
        try:
            return await client.ask(client.encode(model, "sample", seed_array(0, 3)))
        finally:
            client.close()

    with Running(Settings(configs, poll_seconds=3600, access_log="")) as running:
        addresses = beside(running)
        for kind, api in ((load.HttpClient, "rest"), (load.GrpcClient, "grpc")):
            address = getattr(addresses, api)
            rows = load.DECODE[api](asyncio.run(ask(kind(*address), "points")))
            assert [len(row) for row in rows] == [8, 8, 8]
            with pytest.raises(RuntimeError, match=r"404|gRPC error"):
                asyncio.run(ask(kind(*address), "nothing"))
            with pytest.raises(RuntimeError, match=f"{api} nothing"):
                asyncio.run(load.drive(api, address, "nothing", "sample", 2, 5.0))
            assert asyncio.run(load.drive(api, address, "points", "sample", 8, 0.3)) > 20


def test_replies_on_one_connection_find_their_streams():
    """Interleaved, out of order, and cut anywhere, as a server may send them."""

    class Transport:
        def __init__(self):
            self.sent = []

        def write(self, data):
            self.sent.append(data)

    def frame(kind, flags, stream, payload):
        head = len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big")
        return head + payload

    first, second = (b"\0" + len(x).to_bytes(4, "big") + x for x in (b"first" * 9, b"second"))
    end = frame(1, 5, 1, b"trailers")
    stream = (
        frame(4, 0, 0, b"")
        + frame(1, 4, 3, b"headers")
        + frame(0, 0, 1, first[:7])
        + frame(0, 0, 3, second)
        + frame(6, 0, 0, b"12345678")
        + frame(1, 5, 3, b"trailers")
        + frame(0, 0, 1, first[7:])
    )
    for size in (1, 5, 13, 1000):
        client, transport, replies = load.GrpcClient("127.0.0.1", 1), Transport(), []
        client.on_reply = lambda reply, replies=replies: replies.append(reply)
        client.connection_made(transport)
        client.start(b"a")
        client.start(b"b")
        del transport.sent[:]
        for at in range(0, len(stream), size):
            client.data_received(stream[at : at + size])
        assert replies == [b"second"]
        assert b"".join(transport.sent) == frame(4, 1, 0, b"") + frame(6, 1, 0, b"12345678")
        client.data_received(end)
        assert replies == [b"second", b"first" * 9]
        assert client.error is None
        # A stream that ends before its message does is an error.
        client.start(b"c")
        client.data_received(frame(0, 0, 5, first[:7]) + frame(1, 5, 5, b"grpc-status 13"))
        assert "grpc-status 13" in str(client.error)


@pytest.mark.parametrize(("api", "connections"), [("rest", 40), ("grpc", 3)])
def test_so_many_requests_are_in_flight(api, connections):
    """Of 40 to a server that never answers, all arrive."""
    received, accepted = bytearray(), []

    async def accept(reader, writer):
        accepted.append(writer)
        while data := await reader.read(4096):
            received.extend(data)
        writer.close()

    async def scenario():
        server = await asyncio.start_server(accept, "127.0.0.1")
        address = server.sockets[0].getsockname()
        job = asyncio.ensure_future(load.drive(api, address, "points", "sample", 40, 60.0))
        mark = b"points:predict" if api == "rest" else b"PredictionService/Predict"
        for _ in range(500):
            await asyncio.sleep(0.01)
            if received.count(mark) >= 40:
                break
        assert received.count(mark) == 40
        assert len(accepted) == connections
        job.cancel()
        await asyncio.gather(job, return_exceptions=True)
        for writer in accepted:
            writer.close()
        server.close()

    asyncio.run(scenario())


# Micro-batching under load.


def test_a_part_of_a_batch_waits_for_the_one_that_runs():
    """A full one does not, nor does that of another queue."""
    order = []

    def note(inputs):
        order.append(("begins", len(inputs["x"])))
        time.sleep(0.1)
        order.append(("ends", len(inputs["x"])))
        return {"y": inputs["x"]}

    async def scenario(scheduler, _):
        jobs = [submit(scheduler, 0, run=note), *(submit(scheduler, i, run=note) for i in range(3))]
        jobs.append(submit(scheduler, 0, rows=2, key="b", run=note))
        await asyncio.gather(*jobs)

    batching = Batching(max_batch_size=4, num_batch_threads=2)
    run_scheduler(batching, scenario)
    assert order.index(("begins", 2)) < order.index(("ends", 1)) < order.index(("begins", 3))

    async def full(scheduler, _):
        await asyncio.gather(submit(scheduler, 0, run=note), submit(scheduler, 0, rows=4, run=note))

    order.clear()
    run_scheduler(batching, full)
    assert {order[0], order[1]} == {("begins", 1), ("begins", 4)}


def test_a_batch_waits_for_those_who_ask_again():
    """Else six clients would be two groups for ever, of which each waits for the other."""

    async def scenario(scheduler, batches):
        async def client(i):
            for _ in range(4):
                await submit(scheduler, i, run=slow)
                await asyncio.sleep(0.005)

        await asyncio.gather(*map(client, range(6)))
        return batches

    batches = run_scheduler(Batching(num_batch_threads=1), scenario)
    assert batches[:2] == [(1, 1), (5, 5)]
    assert (6, 6) in batches
    assert len(batches) <= 6


def test_nobody_waits_for_those_who_left():
    """Longer than the batch before took; nor at all where each asks by himself."""

    async def scenario(scheduler, _):
        await asyncio.gather(
            submit(scheduler, 0, run=slow), *(submit(scheduler, i) for i in (1, 2))
        )
        began = time.monotonic()
        await submit(scheduler, 3, run=slow)
        return time.monotonic() - began, scheduler._fills

    took, left = run_scheduler(Batching(num_batch_threads=1), scenario)
    assert 0.05 <= took < 3
    assert not left, "the next one does not wait"
