"""What a run says of the machine that it was computed on."""

import json
import subprocess
import types

import tensorflow as tf

import tf_mixed_nash
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


def test_installed_below_a_user_s_repository_it_names_its_version_not_the_user_s_commit(
    tmp_path, monkeypatch
):
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "x"]):
        subprocess.run([*git, *words], cwd=tmp_path, check=True)
    site = tmp_path / "venv" / "site-packages"
    site.mkdir(parents=True)
    monkeypatch.setattr(provenance, "_ROOT", site)
    assert provenance.code.__wrapped__() == {
        "commit": None,
        "dirty": None,
        "version": tf_mixed_nash.__version__,
    }
    monkeypatch.setattr(provenance, "_ROOT", tmp_path)
    found = provenance.code.__wrapped__()
    assert (len(found["commit"]), found["dirty"], set(found)) == (40, False, {"commit", "dirty"})


def test_whether_float32_is_tf32_is_said_of_every_session(monkeypatch, tmp_path):
    def said(gpus, enabled, override):
        monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: gpus)
        config = tf.config.experimental
        monkeypatch.setattr(config, "tensor_float_32_execution_enabled", lambda: enabled)
        monkeypatch.setattr(config, "get_device_details", lambda d: {})
        if override is None:
            monkeypatch.delenv("NVIDIA_TF32_OVERRIDE", raising=False)
        else:
            monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", override)
        return provenance.describe({"seed": 0})["tensor_float_32"]

    gpu = types.SimpleNamespace(name="/physical_device:GPU:0")
    assert said([gpu], True, None) is True
    assert said([gpu], False, None) is False
    assert said([gpu], True, "0") is False
    assert said([], True, None) is False
    provenance.record(tmp_path, {"seed": 0}, 0, {"way": "parts"})
    said([gpu], True, None)
    provenance.record(tmp_path, {"seed": 0}, 7, {"way": "parts"})
    written = json.loads((tmp_path / "provenance.json").read_text())
    assert [s["tensor_float_32"] for s in written["sessions"]] == [False, True]
