"""The command trainers.reproduce; what it does is in campaigns/test_study.py."""

import json
import shlex
import subprocess
import sys

import pytest

from tests.trainers.conftest import ROOT, command
from trainers.campaigns.study import records as study_results
from trainers.workdir.folder import ANSWERS


def test_reports_need_no_tensorflow():
    modules = "sys, trainers.reproduce, trainers.campaigns.study.report"
    code = f"import {modules}; print('tensorflow' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "figure1, figure6, all, figure2"),
        (["figure3"], "'figure3'"),
        (["all", "--protocol=long"], "full, judged, narrow, short, tiny"),
        (["all", "--budget=0"], "above 0"),
        (["all", "--datasets=swissroll,mnist"], "mnist"),
        (["all", "--stages=all"], "sweep, again, final, large"),
        (["all", "--compile=xla"], "auto, parts, whole"),
        (["all", "more"], "Unexpected argument 'more'"),
        (["all", "--results=/proc/x"], "cannot be written"),
    ],
)
def test_bad_input_exits_2(arguments, says, tmp_path):
    if arguments[:1] == ["all"]:
        arguments = [*arguments, f"--runs={tmp_path}"]
    done = command("trainers.reproduce", *arguments)
    assert done.returncode == 2
    assert says in done.stderr


@pytest.mark.slow
def test_a_tiny_study_end_to_end(tmp_path):
    flags = [f"--runs={tmp_path / 'runs'}", f"--results={tmp_path / 'results'}", "--protocol=tiny"]
    done = command("trainers.reproduce", "all", *flags, timeout=500)
    assert done.returncode == 0, done.stderr
    records = study_results.load(tmp_path / "results")
    assert len(records) == 8
    for made in records.values():
        assert made["status"] == "done"
        assert made["seconds"] > 0
        assert made["curve"]["step"][-1] == made["num_batches"]
        assert set(made["curve"]["scores"]) == {"last", "ema", "mixture"}
        assert made["config"]["generator.step_size"] == made["step_size"]
    text = (tmp_path / "results" / "README.md").read_text()
    card = next(r for r in records.values() if r["stage"] == "sweep")["scorecards"]
    assert f"{min(card[a]['wasserstein2'] for a in card):.4f}" in text
    # The command of a record makes its scorecard again.
    made = next(r for r in records.values() if r["stage"] == "final")
    words = [w for w in shlex.split(made["command"]) if not w.startswith("--workdir")]
    again = command(words[2], *words[3:], f"--workdir={tmp_path / 'again'}", timeout=200)
    assert again.returncode == 0, again.stderr
    card = json.loads((tmp_path / "again" / "scorecard.json").read_text())
    for answer in ANSWERS:
        for key, value in made["scorecards"][answer].items():
            assert card["strategies"][answer][key] == (
                pytest.approx(value, rel=1e-3) if value is not None else None
            )
