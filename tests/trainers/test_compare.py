"""The command trainers.compare; what it does is in campaigns/."""

import json

import pytest

from tests.trainers.conftest import command


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
        (
            ["--out=/tmp/x", "--dataset=moons"],
            "gaussians25, gaussians25_unbalanced, gaussians8, lsun",
        ),
        (["--out=/tmp/x", "--algorithms=adam,adan"], "'adan'"),
        (["--out=/tmp/x", "--seeds=a"], "integers"),
        (["--out=/tmp/x", "--seeds=0,1,0"], "--seeds=0,1,0 has 0 twice"),
        (["--out=/tmp/x", "--budget=0"], "above 0"),
        (["--out=/tmp/x", "--jobs=0"], "jobs"),
        ([], "--out"),
    ],
)
def test_bad_input_exits_2(arguments, says):
    done = command("trainers.compare", *arguments)
    assert done.returncode == 2
    assert says in done.stderr
