"""The runs that are made ill: which are judged, and how they are counted."""

import pytest
import tensorflow as tf

from benchmarks import diagnoses
from trainers.session import train
from trainers.system import cli
from trainers.workdir.checkpoints import Checkpoints


@pytest.mark.parametrize(
    ("code", "step", "comes", "kept"),
    [(cli.INTERRUPTED, 0, cli.INTERRUPTED, False), (cli.STOPPED, 2_998, cli.STOPPED, False),
     (cli.STOPPED, 2_999, cli.DONE, True), (cli.DIVERGED, 0, cli.DONE, True)],
)  # fmt: skip
def test_a_run_that_a_signal_stopped_is_none_that_was_trained(
    code, step, comes, kept, tmp_path, monkeypatch
):
    def trained(config, workdir, until):
        assert until == 2_999
        checkpoints = Checkpoints(workdir / "checkpoints")
        if step:
            checkpoints.save(step, {"m": tf.constant(step)}, {})
            checkpoints.wait()
        return code

    monkeypatch.setattr(train, "train", trained)
    assert diagnoses.run(diagnoses.cases("")["plane/wgan"], 0, tmp_path) == comes
    assert (tmp_path / diagnoses._DONE).exists() == kept


def test_healthy_runs_are_right_if_silent_and_ill_ones_if_found():
    known = diagnoses.cases("somewhere")
    assert known["images/one_mode"].keys["model.generator"].endswith(":narrow_image")
    assert known["plane/constant"].keys["model.generator"].endswith(":constant_point")
    silent, found = {"findings": []}, {"findings": ["collapsed_samples", "dead"]}
    results = {"plane/wgan": [silent, found], "plane/one_mode": [silent, found, found]}
    text = diagnoses.table(results, known)
    assert "| `plane/wgan` | healthy | 1 of 2 | collapsed_samples 1, dead 1 |" in text
    assert "| 2 of 3 | collapsed_samples 2, dead 2 |" in text
    assert "| **healthy runs, silent** | | **1 of 2** | |" in text
    assert "| **ill runs, found** | | **2 of 3** | |" in text
    other = {"plane/one_mode": [{"findings": ["exploding_field"]}]}
    assert "| **ill runs, found** | | **0 of 1** | |" in diagnoses.table(other, known)
