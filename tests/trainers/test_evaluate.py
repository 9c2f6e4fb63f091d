"""Scoring workdirs and models."""

import json

import pytest

from tests.trainers.conftest import command
from tf_mixed_nash.metrics.scorecard import KEYS
from trainers.tasks import planar, tables


def test_a_workdir_scores_what_its_run_scored(finished, tmp_path):
    workdir, _ = finished
    output = tmp_path / "new" / "scores.json"
    done = command("trainers.evaluate", f"--workdir={workdir}", f"--output={output}")
    assert done.returncode == 0, done.stderr
    ours, theirs = (
        json.loads(output.read_text()),
        json.loads((workdir / "scorecard.json").read_text()),
    )
    for key in KEYS:
        if theirs[key] is None:  # no spread: too few samples near a mode
            assert ours[key] is None, key
        else:
            assert ours[key] == pytest.approx(theirs[key], rel=1e-6), key
    assert ours["strategies"].keys() == theirs["strategies"].keys()


@pytest.mark.slow
def test_an_exported_model_scores_like_its_strategy(finished, tmp_path):
    workdir, _ = finished
    output = tmp_path / "scores.json"
    model = workdir / "export" / "generator"
    done = command("trainers.evaluate", f"--model={model}", f"--output={output}")
    assert done.returncode == 0, done.stderr
    card = json.loads(output.read_text())
    assert card["num_samples"] == 10_000
    theirs = json.loads((workdir / "scorecard.json").read_text())
    # 10,000 samples against the tiny run's 500: five binomial deviations of the smaller.
    assert abs(card["reverse_kl"] - theirs["reverse_kl"]) < 0.3


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "Give one of"),
        (["--workdir=/nowhere"], "not a workdir"),
        (["--model=/nowhere"], "No such model"),
        (["--workdir=/nowhere", "--output=/proc/no/a.json"], "/proc/no cannot be written"),
        (["--workdir=/nowhere", "--output=/tmp"], "--output=/tmp is a folder. Give a file"),
        (["--workdir=/nowhere", "--dataset=swissroll"], "--dataset is of a --model"),
        (["--workdir=/nowhere", "--intervals=1"], "--intervals=1 halves have no 95 % interval"),
    ],
)
def test_bad_input_exits_2(arguments, says):
    done = command("trainers.evaluate", *arguments)
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_the_table_marks_what_is_published_and_shows_missing_values():
    card = dict.fromkeys(KEYS, 1.0)
    scores = {"strategies": {"last": {**card, "std_ratio": None}}, "real_data_ceiling": card}
    table = tables.terminal(scores, planar.COLUMNS, published="last").splitlines()
    assert table[1].startswith("*last")
    assert " - " in table[1]
    assert "real data" in table[2]
