"""What a run says of the machine that it was computed on."""

import types

import tensorflow as tf

from trainers.campaigns.study.records import machine
from trainers.system import provenance


def test_gpus_are_named_by_their_model(monkeypatch):
    gpus = [types.SimpleNamespace(name=f"/physical_device:GPU:{i}") for i in range(2)]
    details = [{"device_name": "NVIDIA H200", "compute_capability": (9, 0)}, {}]
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: gpus)
    monkeypatch.setattr(
        tf.config.experimental, "get_device_details", lambda d: details[gpus.index(d)]
    )
    hardware = provenance.describe({"seed": 0})["hardware"]
    assert hardware["gpus"] == ["NVIDIA H200", "/physical_device:GPU:1"]
    record = {"hardware": [{**hardware, "processor": "P", "cores": 2}], "jobs": 1, "threads": 1}
    said = machine(record)
    assert said == (
        "P, 2 cores, NVIDIA H200 and /physical_device:GPU:1, 1 runs side by side with 1 thread each"
    )


def test_without_gpus_none_is_named():
    hardware = provenance.describe({"seed": 0})["hardware"]
    assert hardware["gpus"] == []
    assert ", 2 cores, 1 runs" in machine(
        {"hardware": [{**hardware, "cores": 2}], "jobs": 1, "threads": 1}
    )
