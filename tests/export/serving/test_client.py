"""The client: one version, integers, tries again."""

from __future__ import annotations

from types import SimpleNamespace

import grpc
import numpy as np
import pytest

from export import client as module
from export.client import Client

Code = grpc.StatusCode


class Refusal(grpc.RpcError):
    """An error as a channel raises it."""

    def __init__(self, code, details="", pushback=None):
        self._code, self._details, self._pushback = code, details, pushback

    def code(self):
        return self._code

    def details(self):
        return self._details

    def trailing_metadata(self):
        return (("grpc-retry-pushback-ms", self._pushback),) if self._pushback else ()


@pytest.fixture
def client():
    with Client("127.0.0.1:1", "points", timeout=8.0, rows=4) as made:
        yield made


@pytest.fixture
def sleeps(monkeypatch):
    """Seconds that the client would have slept, on a clock that only they move."""
    found, now = [], [100.0]
    clock = SimpleNamespace(
        monotonic=lambda: now[0],
        sleep=lambda seconds: (found.append(seconds), now.__setitem__(0, now[0] + seconds)),
    )
    monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(module, "random", SimpleNamespace(uniform=lambda a, b: b))
    return found


def answers(monkeypatch, client, *results):
    """Lets Predict answer so, one after the other; collects the versions that are asked for."""
    asked, results = [], list(results)

    def predict(request, timeout, metadata):
        spec = request.model_spec
        asked.append(spec.version.value if spec.HasField("version") else spec.version_label or None)
        result = results.pop(0)
        if isinstance(result, Exception):
            raise result
        response = module.predict_pb2.PredictResponse()
        response.model_spec.version.value = result
        seeds = module.tf.make_ndarray(request.inputs["seeds"])
        values = np.full([len(seeds), 2], result, np.float32)
        response.outputs["samples"].CopyFrom(module.tf.make_tensor_proto(values))
        return response

    monkeypatch.setattr(client, "_predict", predict)
    return asked


def test_a_sample_stays_on_the_version_of_its_first_reply(client, monkeypatch):
    asked = answers(monkeypatch, client, 3, 3, 3)
    assert (client.sample(10) == 3).all()
    assert asked == [None, 3, 3]


def test_a_sample_by_label_stays_on_its_version_too(monkeypatch):
    with Client("127.0.0.1:1", "points", label="stable", rows=4) as client:
        asked = answers(monkeypatch, client, 3, 3, 4)
        client.sample(8)
        client.sample(4)
        assert asked == ["stable", 3, "stable"], "the next sample begins anew"


def test_a_sample_whose_version_goes_fails(client, monkeypatch):
    answers(monkeypatch, client, 3, Refusal(Code.NOT_FOUND, "Servable not found"))
    with pytest.raises(grpc.RpcError) as error:
        client.sample(10)
    assert error.value.code() is Code.NOT_FOUND


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"seed": 1.5}, "seed must be integers"),
        ({"seed": 1.0}, "seed must be integers"),
        ({"seed": True}, "seed must be integers"),
        ({"seed": "1"}, "seed must be integers"),
        ({"seed": 2**63}, "range of int64"),
        ({"seed": -(2**63) - 1}, "range of int64"),
        ({"seed": [1]}, "seed must be one integer"),
        ({"num": 2.5}, "num must be integers"),
        ({"num": -1}, "num must be at least 0"),
        ({"labels": [0.0, 1.0]}, "labels must be integers"),
        ({"labels": [0, 1, 2]}, "the same number of rows"),
        ({"labels": 1}, "labels must be a list of integers"),
    ],
)
def test_what_is_no_integer_is_refused(client, given, says):
    with pytest.raises(ValueError, match=says):
        client.sample(**{"num": 2, **given})


def test_components_are_not_rounded(client):
    latents = np.zeros([2, 3])
    for components in ([0.6, 1], np.array([0.0, 1.0]), [None, 1]):
        with pytest.raises(ValueError, match="components must be integers"):
            client.generate(latents, components)
    with pytest.raises(ValueError, match="labels must be integers"):
        client.generate(latents, labels=["0", "1"])


def test_integers_of_any_kind_are_taken():
    for value in (np.int8(3), np.uint64(3), 3):
        assert module._integers("seed", value, 0) == 3
    assert module._integers("labels", []).dtype == np.int64
    assert module._integers("labels", np.array([1, 2], np.uint8)).tolist() == [1, 2]


def test_a_refusal_for_now_is_tried_again_with_growing_waits(client, monkeypatch, sleeps):
    full = Refusal(Code.RESOURCE_EXHAUSTED, "The queue is full")
    asked = answers(monkeypatch, client, full, Refusal(Code.UNAVAILABLE), full, full, 1)
    assert client.sample(2).shape == (2, 2)
    assert len(asked) == 5
    assert sleeps == [0.05, 0.1, 0.2, 0.4]


def test_waits_end_at_the_deadline(client, monkeypatch, sleeps):
    answers(monkeypatch, client, *[Refusal(Code.UNAVAILABLE)] * 50)
    with pytest.raises(grpc.RpcError) as error:
        client.sample(2)
    assert error.value.code() is Code.UNAVAILABLE
    assert 6.0 < sum(sleeps) < 8.0
    assert max(sleeps) == 2.0


@pytest.mark.parametrize(
    "error",
    [
        Refusal(Code.RESOURCE_EXHAUSTED, "Received message larger than max (9 vs. 4)"),
        Refusal(Code.UNAVAILABLE, "Tls handshake failed: CERTIFICATE_VERIFY_FAILED: self signed"),
        Refusal(Code.UNAVAILABLE, "UNAUTHENTICATED: Hostname Verification Check failed."),
        Refusal(Code.RESOURCE_EXHAUSTED, "The message has 9 bytes", "-1"),
        Refusal(Code.RESOURCE_EXHAUSTED, "", "soon"),
        Refusal(Code.INVALID_ARGUMENT),
        Refusal(Code.DEADLINE_EXCEEDED),
        Refusal(Code.UNAUTHENTICATED),
    ],
    ids=lambda e: e.code().name,
)
def test_what_would_be_refused_again_is_not_tried_again(client, monkeypatch, sleeps, error):
    answers(monkeypatch, client, error)
    with pytest.raises(grpc.RpcError):
        client.sample(2)
    assert sleeps == []


def test_the_server_s_word_on_the_wait_is_followed(client, monkeypatch, sleeps):
    answers(monkeypatch, client, Refusal(Code.RESOURCE_EXHAUSTED, "", "1500"), 1)
    client.sample(2)
    assert sleeps == [1.5]


def test_one_who_wants_no_second_try_gets_none(monkeypatch, sleeps):
    with Client("127.0.0.1:1", "points", retry=False) as client:
        answers(monkeypatch, client, Refusal(Code.UNAVAILABLE))
        with pytest.raises(grpc.RpcError):
            client.sample(2)
    assert sleeps == []


def test_waits_are_not_the_same_for_all():
    error = Refusal(Code.UNAVAILABLE)
    waits = {module._pause(error, 1.0) for _ in range(20)}
    assert len(waits) > 10
    assert all(0.5 <= wait <= 1.0 for wait in waits)


def test_no_sample_has_the_right_shape(running):
    with Client(running.grpc, "points") as client:
        nothing = client.sample(0)
        assert (nothing.shape, nothing.dtype) == ((0, 2), np.float32)
        assert client.generate(np.empty([0, 3])).shape == (0, 2)
        assert client.sample(1).shape == (1, 2)
