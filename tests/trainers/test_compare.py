"""Comparing algorithms."""

import json
import math

import pytest

from tests.trainers.conftest import command
from trainers.campaigns import cells
from trainers.tasks.pictures import panel_order
from trainers.tasks.planar import COLUMNS


def test_mean_and_standard_error():
    cards = [dict.fromkeys(COLUMNS, v) for v in (1.0, 2.0, 6.0)]
    cards[2]["std_ratio"] = None
    result = cells.aggregate(cards, COLUMNS)
    # Sample variance of 1, 2, 6 is 7; over three.
    assert result["reverse_kl"] == {
        "mean": 3.0,
        "standard_error": pytest.approx(math.sqrt(7 / 3)),
        "count": 3,
    }
    assert result["std_ratio"]["mean"] == 1.5
    assert result["std_ratio"]["count"] == 2
    assert math.isnan(cells.aggregate(cards[:1], COLUMNS)["reverse_kl"]["standard_error"])


def test_panels_are_in_the_places_of_figure_1():
    six = ["sgd", "adam", "optimistic_adam", "extra_adam", "mirror_gan", "mirror_prox_gan"]
    assert panel_order(six) == [
        ["sgd", "optimistic_adam", "mirror_gan"],
        ["adam", "extra_adam", "mirror_prox_gan"],
    ]
    assert panel_order(["adam", "rmsprop"]) == [[None, "rmsprop"], ["adam", None]]


@pytest.mark.slow
def test_a_comparison_runs_once_and_tabulates(tmp_path):
    arguments = (
        "--dataset=gaussians8", "--algorithms=adam,mirror_gan", "--num_batches=4",
        "--seeds=0", "--variant=tiny", f"--out={tmp_path}", "--set=scorecard.num_samples=300",
    )  # fmt: skip
    done = command("trainers.compare", *arguments, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "0000 00:" not in done.stderr, "no log lines of TensorFlow's C++ side"
    table = json.loads((tmp_path / "table.json").read_text())
    assert {"adam/last", "adam/ema", "adam/mixture", "mirror_gan/mixture"} < table["rows"].keys()
    card = json.loads((tmp_path / "adam" / "seed0" / "scorecard.json").read_text())
    assert card["num_samples"] == 300
    mean = table["rows"]["adam/ema"]["reverse_kl"]["mean"]
    assert mean == card["strategies"]["ema"]["reverse_kl"]
    for answer in ("last", "ema", "mixture"):
        assert (tmp_path / f"figure_{answer}.png").stat().st_size > 5_000
    stamp = (tmp_path / "adam" / "seed0" / "scorecard.json").stat().st_mtime_ns
    again = command("trainers.compare", *arguments, timeout=300)
    assert again.returncode == 0
    assert "[1/2]" not in again.stdout, "finished runs are not repeated"
    assert (tmp_path / "adam" / "seed0" / "scorecard.json").stat().st_mtime_ns == stamp
    other = command("trainers.compare", *arguments, "--set=batch_size=8")
    assert other.returncode == 2
    assert "another config" in other.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--out=/tmp/x", "--dataset=moons"], "gaussians25, gaussians8, lsun"),
        (["--out=/tmp/x", "--algorithms=adam,adan"], "'adan'"),
        (["--out=/tmp/x", "--seeds=a"], "integers"),
        ([], "--out"),
    ],
)
def test_bad_input_exits_2(arguments, says):
    done = command("trainers.compare", *arguments)
    assert done.returncode == 2
    assert says in done.stderr
