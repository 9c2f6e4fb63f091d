"""The command publishes an answer of a workdir, or says what is wrong and publishes nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from export import saved_model, verify
from export import strategy as strategies
from tests.export.conftest import make_strategy
from tests.trainers.conftest import publish_without_model
from tf_mixed_nash.errors import InputError
from trainers.answers import reading

REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


@pytest.fixture
def workdir(tmp_path, monkeypatch):
    """A folder in which trainers.answers.reading finds the answers last and mixture."""

    def load_answer(_, answer, step):
        strategy = make_strategy(8 if answer == "mixture" else 1)
        return strategy, {"average": answer, "step": int(step or 900)}

    monkeypatch.setattr(reading, "load_answer", load_answer)
    monkeypatch.setattr(reading, "export_metadata", lambda at: {"config": {"from": str(at)}})
    folder = tmp_path / "run"
    folder.mkdir()
    return folder


def test_command_publishes(command, workdir, tmp_path, monkeypatch):
    base = tmp_path / "models" / "gaussians"
    monkeypatch.delitem(verify.GATES, "isolated")  # seconds; it is test_verify's
    arguments = [f"--workdir={workdir}", f"--output={base}"]
    code, out, err = command(saved_model, *arguments)
    assert (code, err) == (0, "")
    assert f"Published {base / '1'}" in out
    # theta, the paper's letter for the last iterate, is another word for it. Without the models.

    def without_model(strategy, base, facts, isolated):
        assert isolated
        facts = {"num_components": strategy.num_components, **facts}
        return publish_without_model(strategy, base, facts)

    monkeypatch.setattr(strategies, "publish_strategy", without_model)
    for word in ("last", "theta"):
        assert command(saved_model, *arguments, f"--average={word}", "--step=300")[0] == 0
    manifests = [json.loads((base / v / "manifest.json").read_text()) for v in "123"]
    assert [(m["average"], m["step"], m["num_components"]) for m in manifests] == [
        ("mixture", 900, 8),
        ("last", 300, 1),
        ("last", 300, 1),
    ]
    assert manifests[0]["config"] == {"from": str(workdir)}


def test_command_refuses_bad_input(refused, workdir, tmp_path, monkeypatch):
    base, run = tmp_path / "models" / "m", workdir
    (tmp_path / "file").write_text("mine")
    assert "workdir" in refused(saved_model, f"--output={base}")
    assert "output" in refused(saved_model, f"--workdir={run}")
    assert "No such workdir" in refused(saved_model, "--workdir=nowhere", f"--output={base}")
    message = refused(saved_model, f"--workdir={run}", f"--output={base}", "--average=best")
    assert "Unknown --average=best" in message
    assert "last, ema, mixture, theta_bar" in message
    message = refused(saved_model, f"--workdir={run}", f"--output={base / '7'}")
    assert f"--output={base}" in message
    message = refused(saved_model, f"--workdir={run}", f"--output={tmp_path / 'file'}")
    assert "is a file" in message
    assert "'nu'" in refused(saved_model, f"--workdir={run}", f"--output={base}", "--nu=1")

    def bad_workdir(*_):
        raise InputError("It has no checkpoint yet.")

    monkeypatch.setattr(reading, "load_answer", bad_workdir)
    message = refused(saved_model, f"--workdir={run}", f"--output={base}")
    assert message == "error: It has no checkpoint yet.\n"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "run"]


def test_command_reports_a_full_disk(refused, workdir, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    base = tmp_path / "m"
    message = refused(saved_model, f"--workdir={workdir}", f"--output={base}")
    assert "No space left" in message
    assert "Nothing was published" in message
    assert not base.exists()


def test_help_does_not_load_tensorflow():
    script = (
        "import runpy, sys\n"
        "sys.argv = ['saved_model', '--help']\n"
        "try: runpy.run_module(sys.argv[0].join(['export.', '']), run_name='__main__')\n"
        "except SystemExit as e: assert not e.code\n"
        "assert not {'tensorflow', 'keras', 'matplotlib'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    for flag in ("--workdir", "--output", "--average", "--step"):
        assert flag in done.stdout
