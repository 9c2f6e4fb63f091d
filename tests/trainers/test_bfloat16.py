"""A run in bfloat16 from the command line to samples, through all gates."""

import json

import numpy as np
import pytest

from tests.trainers.conftest import command


@pytest.mark.slow
@pytest.mark.parametrize("way", ["parts", "whole"])
def test_it_is_trained_published_verified_and_sampled(tmp_path, way):
    run, model = tmp_path / "run", tmp_path / "run" / "export" / "generator"
    trained = command(
        "trainers.run",
        "--config=configs/gaussians8_mp.py:tiny",
        "--config.precision=mixed_bfloat16",
        "--config.model.hidden_units=(16,16)",
        f"--config.compile={way}",
        "--config.num_batches=8",
        f"--workdir={run}",
        timeout=600,
    )
    assert trained.returncode == 0, trained.stderr
    assert f"compile={way}" in trained.stdout
    verified = command("export.verify", f"--model={model}", timeout=300)
    assert verified.returncode == 0, verified.stdout + verified.stderr
    file = tmp_path / "samples.npy"
    drawn = command(
        "export.sample", f"--model={model}", "--num=64", "--seed=0", f"--output={file}", timeout=300
    )
    assert drawn.returncode == 0, drawn.stderr
    assert np.load(file).shape == (64, 2)
    assert np.isfinite(np.load(file)).all()
    card = json.loads((run / "scorecard.json").read_text())
    assert {"last", "ema", "mixture"} <= card["strategies"].keys()
