"""The embedded server: versions, batching, limits, deadlines, authentication, draining."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
import tensorflow as tf
import uvloop

from export import publish
from export.client import Client
from export.serving.batching import Scheduler
from export.serving.config import Batching, ModelConfig, Policy
from export.serving.errors import Code, ServingError
from export.serving.predictor import Limits
from export.serving.server import Server, Settings, run
from export.serving.versions import Models
from tests.export.conftest import seed_array
from tests.export.serving.conftest import Running, ask, configs, settings
from tests.trainers.conftest import ROOT
from tests.trainers.conftest import started as start_command
from tf_mixed_nash.errors import InputError

POINTS = "/v1/models/points:predict"


def one(running, version=None, rows=3):
    """(status, content, version) of a small request."""
    where = f"/versions/{version}" if version else ""
    body = {"instances": seed_array(1, rows).tolist()}
    ((status, content),) = ask(running.rest, ("POST", f"/v1/models/points{where}:predict", body))
    return status, content


@pytest.fixture
def base(models, tmp_path):
    """A folder with one version, 1, of one generator (eight take a second to load and warm up)."""
    folder = tmp_path / "points"
    folder.mkdir()
    shutil.copytree(models / "points" / "2", folder / "1")
    return folder


def add(models, base, number, source=1):
    """Puts a version where a publisher would: by renaming a whole folder."""
    building = base / f".building-{number}"
    shutil.copytree(models / "points" / str(source), building)
    building.rename(base / str(number))


def serve(base, policy=Policy("latest", 1), **more):  # noqa: B008  # a tuple
    return Running(
        Settings([ModelConfig("points", base, policy)], poll_seconds=3600, access_log="", **more)
    )


def states(running):
    ((_, content),) = ask(running.rest, ("GET", "/v1/models/points", None))
    return {s["version"]: s for s in content["model_version_status"]}


# Versions.


def test_a_new_version_takes_over_and_the_old_one_is_closed(models, base):
    with serve(base) as running:
        before = one(running)
        old = running.server.models.loaded("points")[1]
        session = weakref.ref(old.served._session)
        add(models, base, 5)
        running.poll()
        assert one(running) != before
        assert one(running, 1)[0] == 404
        assert {v: s["state"] for v, s in states(running).items()} == {"1": "END", "5": "AVAILABLE"}

        async def closed():
            await asyncio.wait_for(asyncio.gather(*running.server.models._closing), 20)

        running.call(closed())
        assert session() is None, "its memory is free, though the version is held here"
        with pytest.raises(RuntimeError, match="closed"):
            old.served.run("sample", {"seeds": seed_array(0, 1)})


@pytest.mark.parametrize("damage", ["truncated", "no_manifest", "flipped", "empty"])
def test_a_broken_version_leaves_the_served_one_alone(models, base, damage):
    with serve(base) as running:
        before = one(running)
        add(models, base, 2)
        broken = base / "2"
        data = broken / "variables" / "variables.data-00000-of-00001"
        if damage == "truncated":
            os.truncate(data, data.stat().st_size // 2)
        elif damage == "no_manifest":
            (broken / publish.MANIFEST).unlink()
        elif damage == "flipped":
            content = bytearray(data.read_bytes())
            content[1000] ^= 4
            data.write_bytes(content)
        else:
            shutil.rmtree(broken)
            broken.mkdir()
        running.poll()
        assert one(running) == before
        found = states(running)
        assert found["1"]["state"] == "AVAILABLE"
        assert found["2"]["state"] == "END"
        assert found["2"]["status"]["error_code"] == "UNKNOWN"
        assert found["2"]["status"]["error_message"]
        # Repaired, it serves: no restart.
        shutil.rmtree(broken)
        add(models, base, 2)
        running.poll()
        assert states(running)["2"]["state"] == "AVAILABLE"
        assert one(running) != before


def test_a_broken_version_is_not_read_again_until_it_changes(models, base, monkeypatch):
    add(models, base, 2)
    (base / "2" / "saved_model.pb").write_bytes(b"")
    loads = []
    read = publish.read_manifest

    def counting(folder):
        loads.append(folder.name)
        return read(folder)

    monkeypatch.setattr(publish, "read_manifest", counting)
    with serve(base, Policy("latest", 2)) as running:
        for _ in range(3):
            running.poll()
        assert sorted(loads) == ["1", "2"]


def test_removing_the_newest_rolls_back_and_removing_all_changes_nothing(models, base):
    with serve(base) as running:
        before = one(running)
        add(models, base, 2)
        running.poll()
        assert one(running) != before
        shutil.rmtree(base / "2")
        running.poll()
        assert one(running) == before
        shutil.rmtree(base / "1")
        running.poll()
        assert one(running) == before, "better an old version than none"


def test_names_with_dots_and_words_are_no_versions(models, base):
    shutil.copytree(models / "points" / "2", base / ".building-2-abcd")
    shutil.copytree(models / "points" / "2", base / "latest")
    with serve(base, Policy("all")) as running:
        assert list(states(running)) == ["1"]


def test_policies():
    there = [1, 2, 5, 9]
    assert Policy("latest", 2).choose(there) == [5, 9]
    assert Policy("all").choose(there) == there
    assert Policy("specific", versions=(2, 9, 11)).choose(there) == [2, 9]


def test_a_config_file_that_changes_is_followed(models, base, tmp_path):
    add(models, base, 2)
    file = tmp_path / "models.config"

    def write(versions, label):
        file.write_text(
            f'model_config_list {{ config {{ name: "points" base_path: "{base}" '
            f"model_version_policy {{ specific {{ {versions} }} }} "
            f'version_labels {{ key: "stable" value: {label} }} }} }}'
        )

    from export.serving.config import read_models

    write("versions: 1", 1)
    with Running(Settings(read_models(file), file, poll_seconds=0.05, access_log="")) as running:
        stable = "/v1/models/points/labels/stable:predict"
        body = {"instances": seed_array(1, 3).tolist()}
        assert ask(running.rest, ("POST", stable, body)) == [one(running, 1)]
        write("versions: 1 versions: 2", 2)
        deadline = time.monotonic() + 20
        while one(running, 2)[0] != 200:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert ask(running.rest, ("POST", stable, body)) == [one(running, 2)]
        file.write_text("nonsense {")
        time.sleep(0.3)
        assert one(running, 2)[0] == 200, "a broken file changes nothing"


def test_a_label_stays_until_its_new_version_serves(models, base):
    def config(labels):
        versions = tuple(sorted(set(labels.values())))
        return [ModelConfig("points", base, Policy("specific", versions=versions), labels)]

    def status(label):
        path = f"/v1/models/points/labels/{label}:predict"
        return ask(running.rest, ("POST", path, {"instances": [[0, 0]]}))[0][0]

    add(models, base, 2)
    shutil.copytree(models / "points" / "1", base / "3")
    both = config({"stable": 1, "canary": 1})
    with Running(Settings(both, poll_seconds=3600, access_log="")) as running:
        served = running.server.models
        served.configure(config({"stable": 1, "canary": 2}))
        assert served.labels("points") == {"stable": 1, "canary": 1}, "2 is not loaded yet"
        assert status("canary") == 200
        running.poll()
        assert served.labels("points") == {"stable": 1, "canary": 2}
        # Both move on, one to a version that does not load.
        (base / "3" / publish.MANIFEST).write_text("{}")
        add(models, base, 4)
        served.configure(config({"stable": 3, "canary": 4}))
        running.poll()
        assert served.labels("points") == {"stable": 1, "canary": 4}
        assert set(served.loaded("points")) >= {1, 4}
        assert status("stable") == status("canary") == 200
        # Rolled back.
        served.configure(config({"stable": 1, "canary": 1}))
        running.poll()
        assert set(served.loaded("points")) == {1}
        assert status("stable") == status("canary") == 200
        served.configure(config({"stable": 1}))
        assert status("canary") == 400, "a label that is taken away is unknown at once"


def test_a_version_in_use_is_closed_after_its_last_request(models, base):
    async def scenario():
        watched = Models([ModelConfig("points", base)])
        await watched.poll()
        with watched.lease("points") as held:
            add(models, base, 2)
            await watched.poll()
            with watched.lease("points") as new:
                assert (held.number, new.number) == (1, 2)
            assert watched.statuses("points")[1].state == 40  # UNLOADING
            held.served.run("sample", {"seeds": seed_array(0, 1)})
        assert watched.statuses("points")[1].state == 50  # END
        await asyncio.gather(*watched._closing)
        with pytest.raises(RuntimeError, match="closed"):
            held.served.run("sample", {"seeds": seed_array(0, 1)})
        watched.configure([])

    asyncio.run(scenario())


def test_requests_never_fail_while_versions_are_swapped(models, base):
    """Every reply is wholly of one version, and a broken version beside it changes nothing."""
    seeds = seed_array(3, 70)  # more than a batch: split, and joined again
    with serve(base) as running:
        (base / "7").mkdir()  # half-written
        stop, replies, errors = threading.Event(), [], []

        def client():
            with Client(running.grpc, "points", rows=70) as c:
                while not stop.is_set():
                    try:
                        replies.append(c.predict("sample", {"seeds": seeds})["samples"].tobytes())
                    except grpc.RpcError as error:
                        errors.append(error)

        threads = [threading.Thread(target=client) for _ in range(4)]
        for thread in threads:
            thread.start()
        for number in (2, 3):
            add(models, base, number, source=1 + number % 2)
            running.poll()
            time.sleep(0.3)
        stop.set()
        for thread in threads:
            thread.join(30)
        assert not errors
        whole = [
            tf.saved_model.load(str(models / "points" / v)).signatures["sample"](tf.constant(seeds))
            for v in "12"
        ]
        known = {w["samples"].numpy().tobytes() for w in whole}
        assert set(replies) == known, "both versions answered, and nothing else did"
        assert len(replies) > 50


# Batching.


def run_scheduler(batching, scenario):
    """Runs scenario(scheduler, batches) on a loop; batches collects (rows, requests)."""

    async def main():
        batches = []
        scheduler = Scheduler(batching, lambda rows, requests: batches.append((rows, requests)))
        try:
            return await scenario(scheduler, batches)
        finally:
            scheduler.close()

    return asyncio.run(main())


def later(seconds=60.0):
    return time.monotonic() + seconds


def slow(inputs):
    time.sleep(0.05)
    return {"y": inputs["x"] + 1}


def submit(scheduler, value, rows=1, key="a", run=slow, deadline=None):
    inputs = {"x": np.full([rows, 2], value)}
    return scheduler.submit((key,), run, inputs, rows, deadline or later())


def test_requests_that_wait_together_run_together_and_get_their_own_rows():
    async def scenario(scheduler, batches):
        outputs = await asyncio.gather(*(submit(scheduler, i, 1 + i % 3) for i in range(30)))
        for i, output in enumerate(outputs):
            np.testing.assert_array_equal(output["y"], np.full([1 + i % 3, 2], i + 1))
        return batches

    batches = run_scheduler(Batching(max_batch_size=16, num_batch_threads=1), scenario)
    assert sum(rows for rows, _ in batches) == 60
    assert sum(requests for _, requests in batches) == 30
    assert all(rows <= 16 for rows, _ in batches)
    assert len(batches) <= 6, "the first alone, the others in full batches"


def test_without_batching_each_runs_alone():
    async def scenario(scheduler, batches):
        await asyncio.gather(*(submit(scheduler, i) for i in range(5)))
        return batches

    batching = Batching(enabled=False, num_batch_threads=2)
    assert run_scheduler(batching, scenario) == [(1, 1)] * 5


def test_a_batch_waits_for_more_only_as_long_as_it_is_told():
    async def scenario(scheduler, batches):
        first = asyncio.ensure_future(submit(scheduler, 1))
        await asyncio.sleep(0.05)
        assert batches == []
        second = asyncio.ensure_future(submit(scheduler, 2))
        began = time.monotonic()
        await asyncio.gather(first, second)
        assert time.monotonic() - began < 1
        return batches

    batching = Batching(batch_timeout_micros=200_000, num_batch_threads=1)
    assert run_scheduler(batching, scenario) == [(2, 2)]


def test_a_full_batch_does_not_wait():
    async def scenario(scheduler, batches):
        began = time.monotonic()
        await asyncio.gather(*(submit(scheduler, i) for i in range(4)))
        assert time.monotonic() - began < 5
        return batches

    batching = Batching(max_batch_size=4, batch_timeout_micros=30_000_000, num_batch_threads=1)
    assert run_scheduler(batching, scenario) == [(4, 4)]


def test_one_request_s_bad_values_do_not_fail_the_others():
    def picky(inputs):
        if (inputs["x"] == 3).any():
            raise ValueError("three")
        return slow(inputs)

    async def scenario(scheduler, batches):
        return await asyncio.gather(
            *(submit(scheduler, i, run=picky) for i in range(6)), return_exceptions=True
        )

    outputs = run_scheduler(Batching(num_batch_threads=1), scenario)
    assert isinstance(outputs[3], ValueError)
    for i in (0, 1, 2, 4, 5):
        np.testing.assert_array_equal(outputs[i]["y"], [[i + 1, i + 1]])


def test_a_full_queue_refuses():
    may_run = threading.Event()

    def held(inputs):
        assert may_run.wait(30)
        return slow(inputs)

    async def scenario(scheduler, batches):
        waiting = [asyncio.ensure_future(submit(scheduler, i, run=held)) for i in range(9)]
        await asyncio.sleep(0.01)
        with pytest.raises(ServingError, match="queue is full") as error:
            await submit(scheduler, 9)
        assert error.value.code is Code.RESOURCE_EXHAUSTED
        may_run.set()
        await asyncio.gather(*waiting)
        await submit(scheduler, 9)  # there is room again
        assert scheduler.queued_rows == 0

    batching = Batching(max_batch_size=4, max_enqueued_batches=2, num_batch_threads=1)
    run_scheduler(batching, scenario)


def test_whatever_becomes_of_requests_nothing_of_them_stays():
    """Answered, failed, late or left by their clients: no queue, row or deadline is kept."""

    def run(inputs):
        if (inputs["x"] < 0).any():
            raise ValueError("negative")
        return slow(inputs)

    async def scenario(scheduler, batches):
        jobs = [
            asyncio.ensure_future(
                submit(scheduler, i, 1 + i % 3, run=run, deadline=later(0.02 if i % 5 == 4 else 60))
            )
            for i in range(-3, 30)
        ]
        await asyncio.sleep(0.005)
        for job in jobs[1::4]:
            job.cancel()
        results = await asyncio.gather(*jobs, return_exceptions=True)
        kinds = {type(result) for result in results}
        assert kinds == {dict, ValueError, ServingError, asyncio.CancelledError}
        assert (scheduler.queued_rows, scheduler._queues, scheduler._open) == (0, {}, set())
        assert not scheduler._running
        assert scheduler._free == 2

    run_scheduler(Batching(max_batch_size=6, num_batch_threads=2), scenario)


def test_the_command_s_event_loop_is_uvloop_s():
    async def which():
        assert isinstance(asyncio.get_running_loop(), uvloop.Loop)
        return 7

    assert run(which()) == 7


def test_requests_whose_time_is_up_are_answered_and_not_run():
    ran = []

    def note(inputs):
        ran.extend(inputs["x"][:, 0])
        return slow(inputs)

    async def scenario(scheduler, batches):
        first = asyncio.ensure_future(submit(scheduler, 1, run=note))
        await asyncio.sleep(0.005)
        late = submit(scheduler, 2, run=note, deadline=later(0.01))
        with pytest.raises(ServingError, match="time was up") as error:
            await late
        assert error.value.code is Code.DEADLINE_EXCEEDED
        await first
        await submit(scheduler, 3, run=note)

    run_scheduler(Batching(num_batch_threads=1), scenario)
    assert ran == [1, 3]


def test_a_cancelled_request_is_not_run():
    ran = []

    def note(inputs):
        ran.extend(inputs["x"][:, 0])
        return slow(inputs)

    async def scenario(scheduler, batches):
        first = asyncio.ensure_future(submit(scheduler, 1, run=note))
        await asyncio.sleep(0.005)
        second = asyncio.ensure_future(submit(scheduler, 2, run=note))
        await asyncio.sleep(0.005)
        second.cancel()
        await first
        await submit(scheduler, 3, run=note)
        assert scheduler.queued_rows == 0

    run_scheduler(Batching(num_batch_threads=1), scenario)
    assert ran == [1, 3]


def test_queues_take_turns_by_age():
    order = []

    def note(inputs):
        order.append(int(inputs["x"][0, 0]))
        return slow(inputs)

    async def scenario(scheduler, batches):
        jobs = []
        for i, key in enumerate("abcab"):
            jobs.append(asyncio.ensure_future(submit(scheduler, i, key=key, run=note)))
            await asyncio.sleep(0.002)
        await asyncio.gather(*jobs)

    run_scheduler(Batching(num_batch_threads=1), scenario)
    assert order == [0, 1, 2, 3], "b's second request joined its first"


def test_single_rows_share_batches_over_rest(models):
    with Running(settings(models)) as running:
        ask(running.rest, *(("POST", POINTS, {"instances": [[0, i]]}) for i in range(64)))
        ((_, text),) = ask(running.rest, ("GET", "/monitoring/prometheus/metrics", None))
    metrics = dict(re.findall(r"^(\S+) ([\d.e+]+)$", text.decode(), re.MULTILINE))
    batches = float(metrics["tf_mixed_nash_serving_batch_rows_count"])
    assert float(metrics["tf_mixed_nash_serving_batch_rows_sum"]) == 64
    assert float(metrics["tf_mixed_nash_serving_batched_requests_total"]) == 64
    assert batches < 48
    key = (
        'tf_mixed_nash_serving_requests_total{api="rest",code="OK",method="predict",model="points"}'
    )
    assert float(metrics[key]) == 64
    assert metrics['tf_mixed_nash_serving_rows_total{model="points",version="2"}'] == "64.0"
    assert metrics['tf_mixed_nash_serving_version_loaded{model="points",version="2"}'] == "1.0"


# Limits.


def test_limits(models):
    with Running(settings(models, limits=Limits(rows=8, body_bytes=2000))) as running:
        assert one(running, rows=8)[0] == 200
        status, content = one(running, rows=9)
        assert (status, "1 to 8" in content["error"]) == (400, True)
        ((status, content),) = ask(running.rest, ("POST", POINTS, b" " * 2001))
        assert status == 413
        assert set(content) == {"error"}
        with Client(running.grpc, "points", rows=1000) as client:
            with pytest.raises(grpc.RpcError) as error:
                client.predict("sample", {"seeds": seed_array(0, 9)})
            assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
            with pytest.raises(grpc.RpcError) as error:
                client.predict("sample", {"seeds": seed_array(0, 300)})
            assert error.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_deadlines(models, monkeypatch):
    with Running(settings(models, limits=Limits(seconds=0.2))) as running:
        version = running.server.models.loaded("points")[2]
        run = version.served.run
        monkeypatch.setattr(
            version.served, "run", lambda *inputs: (time.sleep(0.5), run(*inputs))[1]
        )
        status, content = one(running)
        assert (status, "time was up" in content["error"]) == (504, True)
        with Client(running.grpc, "points", timeout=0.1) as client:
            with pytest.raises(grpc.RpcError) as error:
                client.sample(3)
            assert error.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


def test_a_body_that_does_not_come_is_given_up(models):
    import socket

    with Running(settings(models, limits=Limits(seconds=0.2))) as running:
        address = ("127.0.0.1", running.server.rest_port)
        with socket.create_connection(address) as s:
            s.sendall(b"POST /v1/models/points:predict HTTP/1.1\r\nHost: x\r\n"
                      b"Content-Length: 100\r\n\r\n{")  # fmt: skip
            s.settimeout(10)
            assert s.recv(100).startswith(b"HTTP/1.1 504")


def test_what_fails_inside_is_no_stack_trace(models, monkeypatch):
    with Running(settings(models)) as running:
        version = running.server.models.loaded("points")[2]

        def broken(*_):
            raise RuntimeError("secret")

        monkeypatch.setattr(version.served, "run", broken)
        status, content = one(running)
        assert (status, content) == (500, {"error": "Internal error; the server's log says more."})
        with Client(running.grpc, "points") as client, pytest.raises(grpc.RpcError) as error:
            client.sample(3)
        assert error.value.code() is grpc.StatusCode.INTERNAL
        assert "secret" not in error.value.details()


# Authentication.


def test_a_token(models):
    token = "a-token-of-enough-characters"
    good = {"headers": {"Authorization": f"Bearer {token}"}}
    with Running(settings(models, token=token)) as running:
        body = {"instances": [[0, 0]]}
        paths = ("/v1/models/points", "/monitoring/prometheus/metrics", "/page/models.json",
                 "/card/points/2", "/v1/models/points/metadata")  # fmt: skip
        for path in paths:
            assert ask(running.rest, ("GET", path, None))[0][0] == 401
            assert ask(running.rest, ("GET", path, None, good))[0][0] == 200
        assert ask(running.rest, ("POST", POINTS, body))[0][0] == 401
        wrong = {"headers": {"Authorization": f"Bearer {token[:-1]}"}}
        assert ask(running.rest, ("POST", POINTS, body, wrong))[0][0] == 401
        assert ask(running.rest, ("POST", POINTS, body, good))[0][0] == 200
        assert ask(running.rest, ("GET", "/", None))[0][0] == 200, "the page asks for the token"
        with Client(running.grpc, "points") as client:
            with pytest.raises(grpc.RpcError) as error:
                client.sample(1)
            assert error.value.code() is grpc.StatusCode.UNAUTHENTICATED
        with Client(running.grpc, "points", token=token) as client:
            assert client.sample(1).shape == (1, 2)


# The log.


def test_the_access_log_is_a_line_of_json_for_each_request(models, tmp_path):
    log = tmp_path / "access.jsonl"
    both = configs(models)[:1]
    with Running(settings(models)._replace(models=both, access_log=str(log))) as running:
        one(running, rows=5)
        ask(running.rest, ("GET", "/nothing", None))
        with Client(running.grpc, "points", label="stable") as client:
            client.sample(2)
    first, second, third = map(json.loads, log.read_text().splitlines())
    assert (first["status"], first["model"], first["version"]) == (200, "points", 2)
    assert (first["signature"], first["rows"], first["api"]) == ("serving_default", 5, "rest")
    assert (second["status"], second["http"]) == (404, "GET /nothing")
    assert (third["api"], third["code"], third["version"], third["rows"]) == ("grpc", "OK", 1, 2)
    assert all(0 < line["ms"] < 60_000 and line["peer"] for line in (first, second, third))


# The client.


def test_the_client(running, signatures):
    signatures = signatures["images", 1]
    with Client(running.grpc, "images", rows=16) as client:
        seeds = tf.constant(seed_array(3, 40))
        np.testing.assert_array_equal(client.sample(40, 3), signatures["sample"](seeds)["samples"])
        labels = np.arange(40) % 4
        by_class = signatures["sample_class"](seeds=seeds, labels=tf.constant(labels))["samples"]
        np.testing.assert_array_equal(client.sample(40, 3, labels), by_class)
        assert client.sample_png(3, 3) == list(signatures["sample_png"](seeds[:3])["image_bytes"])
        latents = np.ones([5, 3], np.float32)
        inputs = {"latents": tf.constant(latents), "labels": tf.constant(labels[:5])}
        generated = client.generate(latents, labels=labels[:5])
        np.testing.assert_array_equal(generated, signatures["generate"](**inputs)["samples"])
        one_component = client.generate(latents, [2] * 5, labels[:5])
        inputs["components"] = tf.fill([5], tf.constant(2, tf.int64))
        np.testing.assert_array_equal(
            one_component, signatures["generate_component"](**inputs)["samples"]
        )
        assert client.versions() == {1: "AVAILABLE"}
    with pytest.raises(ValueError, match="not both"):
        Client("localhost:1", "m", version=1, label="stable")


# Starting and stopping.


def test_nothing_to_serve_is_an_error_at_once(models, base):
    shutil.rmtree(base / "1")
    with pytest.raises(InputError, match="holds no version"), serve(base):
        pass
    add(models, base, 3)
    (base / "3" / publish.MANIFEST).write_text("{}")
    with pytest.raises(InputError, match=r"version 3: .*not a published version"), serve(base):
        pass


def test_a_port_that_is_taken_is_named(models, running):
    async def second(port, name):
        server = Server(settings(models)._replace(**{"rest_port": 0, "grpc_port": 0, name: port}))
        try:
            await server.start()
        finally:
            await server.drain()

    for name, flag, port in (
        ("rest_port", "--rest_api_port", running.server.rest_port),
        ("grpc_port", "--port", running.server.grpc_port),
    ):
        with pytest.raises(InputError, match=rf"{flag}={port}: .*Choose another port"):
            asyncio.run(second(port, name))


def test_draining_answers_what_has_begun(models, monkeypatch):
    with Running(settings(models)) as running:
        version = running.server.models.loaded("points")[2]
        run, began = version.served.run, threading.Event()

        def slow_run(*inputs):
            began.set()
            time.sleep(0.5)
            return run(*inputs)

        monkeypatch.setattr(version.served, "run", slow_run)
        with ThreadPoolExecutor(2) as pool, Client(running.grpc, "points") as client:
            by_rest = pool.submit(one, running)
            by_grpc = pool.submit(client.sample, 3)
            assert began.wait(10)
            time.sleep(0.2)
            running.call(running.server.drain())
            assert by_rest.result()[0] == 200
            assert by_grpc.result().shape == (3, 2)
        running.server = Server(settings(models))  # drained already


def test_the_command_serves_until_sigterm(models, tmp_path):
    arguments = ["--model_name=points", f"--model_base_path={models / 'points'}",
                 "--rest_api_port=0", "--port=0", "--access_log="]  # fmt: skip
    process = start_command("export.serve", *arguments)
    try:
        lines = [process.stdout.readline() for _ in range(4)]
        assert lines[0] == "Serving points (version 2)\n"
        rest = re.search(r"http://127\.0\.0\.1:\d+", lines[1])[0]
        grpc_address = re.search(r"127\.0\.0\.1:\d+", lines[3])[0]
        assert ask(rest, ("GET", "/v1/models/points", None))[0][0] == 200
        with Client(grpc_address, "points") as client:
            assert client.sample(2).shape == (2, 2)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=30)
        assert process.returncode == 0, err
        assert "answered first" in out
        assert all(line.startswith("INFO ") for line in err.splitlines()), err
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "What to serve is missing"),
        (["--model_name=m"], "What to serve is missing"),
        (["--model_name=m", "--model_base_path={base}", "--model_config_file=x"], "not both"),
        (["--model_name=a/b", "--model_base_path={base}"], "neither / nor :"),
        (["--model_name=m", "--model_base_path=nowhere"], "No such folder: nowhere"),
        (["--model_config_file=nowhere"], "nowhere cannot be read"),
        (["{m}", "--port=70000"], "no port"),
        (["{m}", "--port=-1", "--rest_api_port=-1"], "nothing would be served"),
        (["{m}", "--max_rows=0"], "--max_rows must be positive"),
        (["{m}", "--auth_token_file=nowhere"], "cannot be read"),
        (["{m}", "--auth_token_file={short}"], "at least 16"),
        (["{m}", "--batching_parameters_file=nowhere"], "nowhere cannot be read"),
        (["{m}", "--access_log=no/such/folder"], "--access_log=no/such/folder"),
        (["{m}", "--max_reply_bytes=0"], "--max_reply_bytes must be positive"),
        (["{m}", "--ssl_key={short}"], "TLS needs both"),
        (["{m}", "--ssl_certificate=x", "--ssl_key=y", "--ssl_config_file=z"], "not both"),
        (["{m}", "--ssl_certificate={short}", "--ssl_key={short}"], "no certificate and its key"),
        (["{m}", "--cors_origins=example.org"], "no origin"),
        (["{m}", "--allowed_hosts=http://x"], "no name of a host"),
    ],
)
def test_bad_flags(refused, base, tmp_path, arguments, says):
    from export import serve as module

    (tmp_path / "short").write_text("abc")
    places = {"base": base, "short": tmp_path / "short"}
    given = []
    for argument in arguments:
        if argument == "{m}":
            given += ["--model_name=m", f"--model_base_path={base}"]
        else:
            given.append(argument.format(**places))
    assert says in refused(module, *given)


@pytest.fixture
def started(models, tmp_path):
    """Starts `python -m export.serve` with more flags: (process, address of REST)."""
    processes = []

    def start(*more, **options):
        process = subprocess.Popen(
            [sys.executable, "-m", "export.serve", "--model_name=points",
             f"--model_base_path={models / 'points'}", "--rest_api_port=0", "--port=0", *more],
            **{"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "cwd": ROOT, **options},
        )  # fmt: skip
        processes.append(process)
        for line in process.stdout:
            if found := re.match(rb"REST  http://(\S+):(\d+)/", line):
                return process, (found[1].decode(), int(found[2]))
        raise AssertionError("it did not start")

    yield start
    for process in processes:
        process.kill()
        process.wait(30)
        for stream in (process.stdout, process.stderr):
            if stream:
                stream.close()


@pytest.mark.slow
def test_an_unread_pipe_stops_neither_requests_nor_sigterm(started):
    """stdout and stderr are one pipe, of which nobody reads any more."""
    import http.client

    process, address = started(stderr=subprocess.STDOUT)
    connection = http.client.HTTPConnection(*address, timeout=20)
    for _ in range(1200):  # 180 kB of log
        connection.request("GET", "/v1/models/" + "x" * 60)
        assert connection.getresponse().read()
    connection.close()
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0


@pytest.mark.slow
def test_a_second_sigterm_ends_at_once_and_sighup_opens_the_log_anew(started, tmp_path):
    import socket

    log = tmp_path / "access.jsonl"
    process, address = started(f"--access_log={log}")
    with socket.create_connection(address, 20) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"200 OK" in connection.recv(1000)
        end = time.monotonic() + 20
        while "/healthz" not in log.read_text():  # the log is written a little later
            assert time.monotonic() < end
            time.sleep(0.05)
        log.rename(tmp_path / "old")
        process.send_signal(signal.SIGHUP)
        time.sleep(0.2)
        connection.sendall(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"200 OK" in connection.recv(1000)
        end = time.monotonic() + 20
        while not (log.exists() and log.read_text()):
            assert time.monotonic() < end
            time.sleep(0.05)
        assert "/readyz" in log.read_text()
        # A request that never ends holds up the first, for --drain_seconds=30.
        connection.sendall(b"POST /v1/models/points:predict HTTP/1.1\r\nHost: x\r\n"
                           b"Content-Length: 100\r\n\r\n{")  # fmt: skip
        time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(5) == -signal.SIGTERM
