"""The command trainers.sweep; what it does is in campaigns/test_search.py."""

import json

import pytest

from tests.trainers.conftest import command

TINY = "configs/gaussians8_mp.py:tiny"


def test_bad_flags_exit_2():
    for arguments, says in (
        (["--output=/tmp/x"], "--config"),
        ([f"--config={TINY}"], "--output"),
        ([f"--config={TINY}", "--output=/tmp/x", "--num_trials=x"], "num_trials"),
    ):
        done = command("trainers.sweep", *arguments)
        assert done.returncode == 2
        assert says in done.stderr


@pytest.mark.slow
def test_a_sweep_of_real_runs(tmp_path):
    arguments = [
        f"--config={TINY}",
        "--algorithm=adam",
        "--search=step_size=grid:1e-3,1e30",
        "--sampler=grid",
        "--set=num_batches=12",
        "--objective=max:last/high_quality_3sigma",
        f"--output={tmp_path}",
    ]
    done = command("trainers.sweep", *arguments, timeout=300)
    assert done.returncode == 0, done.stderr
    good, bad = json.loads((tmp_path / "trials.json").read_text())
    assert (good["state"], bad["state"]) == ("complete", "diverged")
    card = json.loads((tmp_path / "trials" / "0000" / "scorecard.json").read_text())
    assert good["value"] == card["strategies"]["last"]["high_quality_3sigma"]
    lines = (tmp_path / "trials" / "0000" / "metrics.jsonl").read_text().splitlines()
    assert all("score/last/high_quality_3sigma" in json.loads(line) for line in lines)
