"""The chaos harness sees what it must see; few kills here, many by `make chaos`."""

import json
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from tests import chaos
from tests.trainers.conftest import finished, tiny  # noqa: F401 - a fixture
from trainers.session import train
from trainers.system import lock
from trainers.workdir.checkpoints import Checkpoints

NEWEST, BEFORE = 12, 10  # its checkpoints


@pytest.fixture(scope="module")
def run(finished):  # noqa: F811
    """A finished run. Do not change it."""
    workdir, _ = finished
    assert Checkpoints(workdir / "checkpoints").steps[-2:] == [BEFORE, NEWEST]
    return workdir


@pytest.fixture
def copy(run, tmp_path):
    return shutil.copytree(run, tmp_path / "copy")


def test_a_copy_is_equal_and_sound(run, copy):
    assert chaos.differences(copy, run) == []
    assert chaos.unsound(copy, run, newest=NEWEST) == []
    assert chaos.litter(copy) == []


def flip(path, at=-20):
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def other_tensor(workdir):
    import tensorflow as tf

    checkpoints = Checkpoints(workdir / "checkpoints")
    tensors = {k: tf.constant(v) for k, v in checkpoints.read(NEWEST).tensors.items()}
    tensors["ema"] = tensors["ema"] + 1e-3
    checkpoints.save(NEWEST, tensors, {})
    checkpoints.close()


def other_golden(workdir):
    path = workdir / "export" / "generator" / "1" / "assets.extra" / "golden.npz"
    with np.load(path) as arrays:
        changed = {k: v + 1 for k, v in arrays.items()}
    np.savez(path, **changed)


def shorter_metrics(workdir):
    path = workdir / "metrics.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (other_tensor, "checkpoint 12: ema differs by up to 0.001"),
        (shorter_metrics, "metrics.jsonl differs"),
        (lambda d: flip(d / "samples" / "step_00000004.png"), "samples/step_00000004.png differs"),
        (lambda d: (d / "samples" / "published.png").unlink(), "published.png is missing here"),
        (lambda d: flip(d / "samples" / "final.npz"), "samples/final.npz differs"),
        (lambda d: flip(d / "scorecard.json"), "scorecard.json differs"),
        (lambda d: (d / "recoveries.json").write_text("[]"), "missing in the reference"),
        (other_golden, "golden.npz: samples differs by up to 1"),
        (
            lambda d: shutil.copytree(d / "export" / "generator" / "1", d / "export/generator/2"),
            "2 versions",
        ),
    ],
)
def test_every_difference_is_found(change, says, run, copy):
    change(copy)
    assert says in "; ".join(chaos.differences(copy, run))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda d: flip(d / "checkpoints" / "step_00000010" / "tensors.index"), "checkpoint 10"),
        (lambda d: shutil.rmtree(d / "checkpoints" / "step_00000012"), "went back from 12 to 10"),
        (lambda d: flip(d / "metrics.jsonl", 20), "metrics.jsonl line 1 differs"),
        (lambda d: flip(d / "samples" / "step_00000008.png"), "step_00000008.png differs"),
        (lambda d: (d / "config.json").write_text('{"a'), "config.json is half-written"),
        (lambda d: flip(d / "export/generator/1/saved_model.pb"), "saved_model.pb was changed"),
    ],
)
def test_every_unsoundness_is_found(change, says, run, copy):
    change(copy)
    assert says in "; ".join(chaos.unsound(copy, run, newest=NEWEST))


def test_a_line_that_was_cut_off_is_sound(run, copy):
    path = copy / "metrics.jsonl"
    path.write_text(path.read_text()[:-7])
    assert chaos.unsound(copy, run, newest=NEWEST) == []


def test_moments_are_waited_for_and_missed(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(0.5)"])
    began = time.monotonic()
    assert chaos.wait_until(process, lambda: time.monotonic() > began + 0.1)
    assert chaos.sleep_while(process, 0.01)
    assert not chaos.wait_until(process, lambda: False)
    assert not chaos.sleep_while(process, 5)


def test_the_table_counts_what_signals_found():
    def session(sent, phase):
        return {"sent": sent, "phase": phase}

    sessions = [session("SIGKILL", "in write"), session("SIGINT", "training"), session("", "")]
    results = [
        {
            "case": "planar adam",
            "differences": differences,
            "sessions": sessions,
        }
        for differences in ([], ["metrics.jsonl differs"])
    ]
    assert chaos.count(results, "SIGKILL") == {"in write": 2}
    rows = chaos.table(results).splitlines()
    assert rows[2] == "| planar adam | 2 | 2 | 0 | 0 | 2 | 0 | 0 | 2 | 4 | **1 rounds differ** |"
    assert rows[3].startswith("| all | 2 | 2 |")
    for result in results:
        result |= {"seconds": 90, "litter": ["a"], "code": "abc"}
    facts = {"command": "make chaos", "file_system": "ext4", "seed": 0, "jobs": 1}
    text = chaos.report(results, facts)
    for part in (
        rows[2],
        "2 rounds: abc. ",
        "workdirs: 2.",
        "3 minutes",
        "Written by `make chaos`",
    ):
        assert part in text


def test_bad_options_are_refused(tmp_path, capsys):
    assert chaos.main(["--kills=0", f"--out={tmp_path}"]) == 2
    assert chaos.main(["--only=none", f"--out={tmp_path}"]) == 2
    assert "planar adam" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


# What the harness, or reading for it, found: each a kill at one line.


def killed_at(function, tmp_path, monkeypatch):
    """Starts a run that ends when it calls train.<function>."""

    def kill(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(train, function, kill)
        with pytest.raises(KeyboardInterrupt):
            train.train(tiny(), tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize("function", ["write_atomically", "remove_temporaries"])
def test_a_start_that_was_killed_leaves_a_workdir_that_starts(function, tmp_path, monkeypatch):
    killed_at(function, tmp_path, monkeypatch)
    assert (tmp_path / "run" / lock.FILE).is_file()
    # As a kill leaves them, while config.json is written and while the folder is tried.
    (tmp_path / "run" / ".config-0123abcd.json").write_text('{"acc')
    (tmp_path / "run" / ".probe-0123abcd").touch()
    assert train.train(tiny(), tmp_path / "run") == 0
    assert chaos.litter(tmp_path / "run") == []


def test_a_resumed_run_removes_what_a_kill_left(copy, run):
    config = json.loads((copy / "config.json").read_text())
    (copy / "scorecard.json").unlink()
    shutil.rmtree(copy / "export" / "generator" / "1")
    half = copy / "export" / "generator" / ".building-1-0123abcd"
    half.mkdir()
    left = [copy / ".scorecard-0123abcd.json", copy / "samples" / ".step_00000008-0123abcd.png"]
    for path in left:
        path.write_text("half")
    (copy / "samples" / ".mine").touch()
    assert train.train(config, copy) == 0
    assert not any(path.exists() for path in (half, *left))
    assert chaos.litter(copy) == ["samples/.mine"], "and nothing else"
    assert chaos.differences(copy, run) == []


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_few_kills(tmp_path):
    results = chaos.run(tmp_path, kills=4, seed=3, jobs=1, cases=["planar adam"], a_round=4)
    assert [r["differences"] for r in results] == [[]] * len(results)
    assert chaos.count(results, "SIGKILL").total() >= 4
    assert {s["code"] for r in results for s in r["sessions"]} <= {0, 143, 130, -signal.SIGKILL}
    # The same command has nothing left to do.
    assert chaos.run(tmp_path, kills=4, seed=3, jobs=1, cases=["planar adam"]) == results
