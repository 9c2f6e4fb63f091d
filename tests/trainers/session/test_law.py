"""Runs of the earlier draws, and runs that change their way of compiling between two sessions."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.trainers.conftest import FEW_SCORED, tiny
from tf_mixed_nash import rng
from tf_mixed_nash.errors import InputError
from trainers import replay
from trainers.answers import reading
from trainers.session import train
from trainers.workdir import checkpoints as module
from trainers.workdir.checkpoints import Checkpoints

pytestmark = pytest.mark.usefixtures("without_publishing", "quick_samplers", "quick_pictures")
EVERY = {"num_batches": 8, "log_every": 4, "picture_every": 8, "checkpoint_every": 4}
EVERY |= {"precision": "float64", **FEW_SCORED}


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A run of parts that was stopped after its first checkpoint."""
    workdir = tmp_path_factory.mktemp("law") / "run"
    assert train.train(tiny("sgd", **EVERY), workdir, until=4) == 143
    return workdir


@pytest.fixture
def copied(stopped, tmp_path):
    return Path(shutil.copytree(stopped, tmp_path / "run"))


def without_law(workdir):
    """The workdir as a version before the second law would have written it."""
    for step in Checkpoints(workdir / "checkpoints").steps:
        path = workdir / "checkpoints" / f"step_{step:08d}" / "manifest.json"
        manifest = json.loads(path.read_text())
        del manifest["checksum"], manifest["rng"]["draws"], manifest["compile"]
        path.write_text(json.dumps({**manifest, "checksum": module._checksum(manifest)}))


def test_a_run_of_the_earlier_draws_is_read_but_not_resumed(copied):
    without_law(copied)
    before = {p: p.read_bytes() for p in copied.rglob("*") if p.is_file()}
    with pytest.raises(InputError, match=r"law 1; .*law 2.*Give a new --workdir, or check out"):
        train.train(tiny("sgd", **EVERY), copied)
    with pytest.raises(InputError, match="A replay would be another run"):
        replay.replay(copied, copied.parent / "again")
    # Nothing was written, and what the run answers can be read.
    assert {p: p.read_bytes() for p in copied.rglob("*") if p.is_file()} == before
    assert reading.load_loop(copied).step == 4


def test_a_run_goes_on_the_other_way_and_says_so(stopped, copied, capsys):
    assert train.train(tiny("sgd", compile="whole", **EVERY), copied) == 0
    out, err = capsys.readouterr()
    assert "compile=whole: the config says so." in out
    assert "other ways of compiling (parts there, whole now)" in err
    alone = Path(shutil.copytree(stopped, copied.parent / "alone"))
    assert train.train(tiny("sgd", **EVERY), alone) == 0
    assert "compile=parts: on CPUs" in capsys.readouterr().out
    ends = [Checkpoints(w / "checkpoints").read().tensors for w in (copied, alone)]
    for name in ("scheme/theta/z", "scheme/w/z", "ema"):
        np.testing.assert_allclose(ends[0][name], ends[1][name], rtol=1e-10, atol=1e-10)
    facts = json.loads((copied / "provenance.json").read_text())
    assert (facts["draws"], facts["compile"]["way"]) == (rng.LAW, "parts")
    assert [s["compile"]["way"] for s in facts["sessions"]] == ["parts", "whole"]
    assert facts["sessions"][0]["compile"] == {
        "asked": "auto",
        "way": "parts",
        "reason": "on CPUs one program takes longer to compile than it saves in 8 mini-batches",
    }
    assert replay._way(copied, "auto") == "parts"
