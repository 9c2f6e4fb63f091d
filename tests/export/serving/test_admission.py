"""Requests are admitted whole or refused whole; what nobody waits for is not computed."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from types import SimpleNamespace

import grpc
import numpy as np
import pytest

from export.serving import batching as module
from export.serving import rest, rpc
from export.serving.batching import Scheduler
from export.serving.config import Batching
from export.serving.errors import Code, ServingError
from export.serving.predictor import Predictor
from tests.export.conftest import seed_array
from tests.export.serving.conftest import Running, settings

POINTS = "/v1/models/points:predict"


class Gate:
    """A model whose batches wait until they may run; `ran` has the rows of each."""

    def __init__(self):
        self.open, self.ran = threading.Event(), []

    def __call__(self, inputs):
        assert self.open.wait(30)
        self.ran.append(inputs["x"][:, 0].tolist())
        return {"y": inputs["x"] + 1}


def run(scenario, **options):
    """Runs scenario(scheduler, gate) on a loop; the gate's rows."""
    gate = Gate()

    async def main():
        scheduler = Scheduler(Batching(**{"num_batch_threads": 1, **options}))
        try:
            await scenario(scheduler, gate)
            assert (scheduler.queued_rows, scheduler._queues, scheduler._open) == (0, {}, set())
        finally:
            gate.open.set()
            scheduler.close()

    asyncio.run(main())
    return gate.ran


def ask(scheduler, gate, values, seconds=60.0, key="a"):
    inputs = {"x": np.array([[value, 0] for value in values])}
    deadline = time.monotonic() + seconds
    return asyncio.ensure_future(scheduler.submit((key,), gate, inputs, len(values), deadline))


async def soon():
    await asyncio.sleep(0.01)


def test_a_request_of_many_batches_gets_its_rows_in_order():
    async def scenario(scheduler, gate):
        gate.open.set()
        jobs = [ask(scheduler, gate, range(i, i + n)) for i, n in ((0, 100), (200, 3), (300, 33))]
        for job, (i, n) in zip(jobs, ((0, 100), (200, 3), (300, 33)), strict=True):
            assert (await job)["y"][:, 0].tolist() == list(range(i + 1, i + n + 1))

    ran = run(scenario, max_batch_size=16)
    assert max(map(len, ran)) <= 16
    assert sum(map(len, ran)) == 136, "each row once"
    assert len(ran) <= 12


def test_a_request_that_does_not_fit_is_refused_whole():
    """Nothing of it is computed, and what waits is not disturbed."""

    async def scenario(scheduler, gate):
        first = [ask(scheduler, gate, [i] * 10) for i in (1, 2)]
        await soon()
        with pytest.raises(ServingError, match="queue is full: 16 rows wait, the limit is 16") as e:
            await ask(scheduler, gate, [9] * 100)
        assert (e.value.code, e.value.retry_after is None) == (Code.RESOURCE_EXHAUSTED, False)
        gate.open.set()
        await asyncio.gather(*first)

    ran = run(scenario, max_batch_size=4, max_enqueued_batches=4)
    assert sorted(x for batch in ran for x in batch) == [1] * 10 + [2] * 10


def test_where_nothing_waits_any_request_is_admitted():
    async def scenario(scheduler, gate):
        gate.open.set()
        assert len((await ask(scheduler, gate, range(100)))["y"]) == 100

    run(scenario, max_batch_size=4, max_enqueued_batches=1)


def test_a_large_request_does_not_hold_up_a_small_one():
    """The small one is in the next batch, whatever large ones came before."""

    async def scenario(scheduler, gate):
        large = [ask(scheduler, gate, [i] * 1000) for i in (1, 2, 3)]
        await soon()
        small = ask(scheduler, gate, [7])
        await soon()
        gate.open.set()
        await small
        assert len(gate.ran) <= 3
        for job in large:
            job.cancel()
        await asyncio.gather(*large, return_exceptions=True)

    ran = run(scenario, max_batch_size=64)
    assert [7] in [[x for x in batch if x == 7] for batch in ran[:2]]
    assert all(len(batch) <= 64 for batch in ran)


def test_large_requests_of_another_queue_take_turns():
    async def scenario(scheduler, gate):
        large = ask(scheduler, gate, [1] * 320)
        await soon()
        other = ask(scheduler, gate, [2], key="b")
        await soon()
        gate.open.set()
        await asyncio.gather(other, large)

    ran = run(scenario, max_batch_size=32)
    assert [2] in ran[:3]


def test_what_its_client_left_is_not_computed_any_further():
    async def scenario(scheduler, gate):
        left, stays = ask(scheduler, gate, [1] * 64), ask(scheduler, gate, [2] * 8)
        await soon()
        left.cancel()
        await soon()
        assert scheduler.queued_rows == 8, "its rows make room at once"
        gate.open.set()
        await stays
        await asyncio.gather(left, return_exceptions=True)

    ran = run(scenario, max_batch_size=8)
    assert sum(batch.count(1) for batch in ran) <= 8


def test_what_is_late_is_not_computed_any_further():
    async def scenario(scheduler, gate):
        late = ask(scheduler, gate, [1] * 64, seconds=0.03)
        with pytest.raises(ServingError, match="time was up"):
            await late
        gate.open.set()
        await ask(scheduler, gate, [2])

    ran = run(scenario, max_batch_size=8)
    assert sum(batch.count(1) for batch in ran) <= 8


def test_what_cannot_be_in_time_is_refused_at_once():
    """By the pace of full batches: else it would be computed in part, for nothing."""

    async def scenario(scheduler, gate):
        first = ask(scheduler, gate, [1] * 100)
        await soon()
        scheduler._paces["a",] = 1.0
        with pytest.raises(
            ServingError, match=r"take 92\.0 s, and the request has 5\.0 s"
        ) as error:
            await ask(scheduler, gate, [2], seconds=5.0)
        assert error.value.retry_after == pytest.approx(46)
        assert not ask(scheduler, gate, [3], seconds=500.0).done()
        await soon()
        gate.open.set()
        await first
        assert scheduler._paces["a",] < 1.0, "the pace follows what is measured"

    run(scenario, max_batch_size=8, max_enqueued_batches=100)


def test_batches_beside_each_other_share_the_pace():
    """Seconds for a row are those of the whole server, not of one thread."""
    found = []

    async def scenario(scheduler, gate):
        began = time.monotonic()
        jobs = [ask(scheduler, gate, [1] * 8, key=key) for key in "ab"]
        await asyncio.sleep(0.1)
        gate.open.set()
        await asyncio.gather(*jobs)
        found.extend([scheduler._paces["a",], time.monotonic() - began])

    run(scenario, max_batch_size=8, num_batch_threads=2)
    pace, took = found
    assert 0.09 / 16 < pace < took / 16


def test_rows_are_guessed_by_a_body_s_length_and_rather_too_few():
    predictor, version = object.__new__(Predictor), SimpleNamespace(rows_by_size={})
    assert predictor.guess_rows(version, 1000) == 1
    predictor.note_rows(version, 1000, 40)
    assert [predictor.guess_rows(version, size) for size in (511, 512, 1023, 1024)] == [
        1,
        40,
        40,
        1,
    ]
    predictor.note_rows(version, 1000, 10)
    assert predictor.guess_rows(version, 1000) == 10
    predictor.note_rows(version, 1000, 40)
    assert predictor.guess_rows(version, 1000) == 11, "the fewest are forgotten, little by little"


def test_when_to_ask_again_is_said_in_each_protocol_s_unit():
    """Whole seconds by REST, milliseconds by gRPC, where less than 0 is not at all."""
    said = []

    class Context:
        async def abort(self, code, message, metadata):
            said.append(dict(metadata).get("grpc-retry-pushback-ms"))

    for wait in (2.25, 0.001, None):
        error = ServingError(Code.RESOURCE_EXHAUSTED, "full", retry_after=wait)
        asyncio.run(rpc._abort(Context(), error))
        said.append(rest._refusal(error).headers.get("Retry-After"))
    assert said == ["2250", "3", "10", "1", "-1", None]


def test_one_bad_request_does_not_make_the_others_run_alone():
    calls = []

    def picky(inputs):
        calls.append(len(inputs["x"]))
        if (inputs["x"] == 3).any():
            raise ValueError("three")
        return {"y": inputs["x"]}

    slices = []
    for i in range(64):
        task = object.__new__(module._Task)
        task.inputs, task.rows, task.left = {"x": np.full([1, 1], i)}, 1, 1
        slices.append(task.slice(1))
    results = module._run_joined(picky, slices)
    assert [i for i, result in enumerate(results) if isinstance(result, ValueError)] == [3]
    assert all(results[i]["y"] == i for i in range(64) if i != 3)
    assert len(calls) == 13, "a half at a time"
    # Where a model takes rows of any size, what cannot be joined runs by itself.
    for i, part in enumerate(slices[:3]):
        part.inputs = {"x": np.full([1, 4 + i % 2], i)}
    results = module._run_joined(picky, slices[:3])
    assert [result["y"].tolist() for result in results] == [[[0] * 4], [[1] * 5], [[2] * 4]]


def test_clients_that_leave_are_recorded_so(models, tmp_path):
    """REST and gRPC; an expired deadline is one, and no OK."""
    log = tmp_path / "log"
    with Running(settings(models, access_log=str(log))) as running:
        version = running.server.models.loaded("points")[2]
        gate = threading.Event()
        compute = version.served.run
        version.served.run = lambda *inputs: (gate.wait(20), compute(*inputs))[1]
        body = json.dumps({"instances": seed_array(0, 900).tolist()})
        with socket.create_connection(("127.0.0.1", running.server.rest_port), 20) as connection:
            head = f"POST {POINTS} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
            connection.sendall((head + body).encode())
            time.sleep(0.2)
        from export.client import Client

        with Client(running.grpc, "points", timeout=0.2) as client:
            with pytest.raises(grpc.RpcError) as error:
                client.sample(2)
            assert error.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        with Client(running.grpc, "points", timeout=30) as client:
            request = client._predict.future
            import tensorflow as tf
            from tensorflow_serving.apis import predict_pb2

            made = predict_pb2.PredictRequest()
            made.model_spec.name = "points"
            made.inputs["seeds"].CopyFrom(tf.make_tensor_proto(seed_array(0, 3)))
            call = request(made, timeout=30)
            time.sleep(0.2)
            call.cancel()
        end = time.monotonic() + 20
        while running.server._scheduler.queued_rows and time.monotonic() < end:
            time.sleep(0.01)
        assert running.server._scheduler.queued_rows == 0
        time.sleep(0.1)
        gate.set()
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line.get("status", line.get("code")) for line in lines] == [
        499, "DEADLINE_EXCEEDED", "CANCELLED"]  # fmt: skip
