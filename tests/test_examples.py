"""Every example runs, at a tiny size, and says what it should."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "examples"
SAYS = {
    "class_conditional": "four of class 9: (4, 28, 28, 1)",
    "fashion_mnist": "sampled (16, 28, 28, 1) in [-",
    "objective_and_schedule": "step sizes: [1.e-05",
    "resume": "equal to the undisturbed one: True",
    "table": "KS of each column: [",
    "two_moons": "'energy_distance': ",
    "wgan_gp": "'ks_max': ",
}
HELPERS = {"images", "options"}
# The tutorials, as scripts.
NOTEBOOKS = {
    "1_ten_lines": "row player: [0.5 0.5]",
    "2_own_models": "equal: True",
    "3_images": "real data fid",
    "4_served": "[[",
    "5_claims": "comparisons: held in 7, undecided in 17",
}


def run(name, *arguments):
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"}
    done = subprocess.run(
        [sys.executable, f"{FOLDER.name}/{name}.py", "--tiny", *arguments],
        cwd=FOLDER.parent,
        env={**environment, "PYTHONPATH": str(FOLDER.parent)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2_000:]
    return done.stdout


def test_every_example_is_tested():
    assert {p.stem for p in FOLDER.glob("*.py")} == {*SAYS, *HELPERS}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(SAYS))
def test_an_example_runs(name, tmp_path):
    assert SAYS[name] in run(name)
    assert not list(tmp_path.iterdir())


def test_every_notebook_is_tested():
    assert {p.stem for p in (FOLDER / "notebooks").glob("*.py")} == {*NOTEBOOKS}


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[] if n == "5_claims" else pytest.mark.slow) for n in NOTEBOOKS],
)
def test_a_notebook_runs(name):
    said = " ".join(run(f"notebooks/{name}").split())  # numbers are aligned
    assert NOTEBOOKS[name] in said


def test_two_moons_are_twenty_lines():
    """Of code, the imports aside."""
    text = (FOLDER / "two_moons.py").read_text().split('"""', 2)[2]
    lines = [line for line in text.splitlines() if line.strip()]
    code = [line for line in lines if not line.startswith(("import", "from"))]
    assert len(code) <= 20
