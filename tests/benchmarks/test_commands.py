"""The benchmarks' commands run, and their reports say what was timed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


def run(module, *options):
    command = [sys.executable, "-m", f"benchmarks.{module}", *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def report(tmp_path, module, *options):
    path = tmp_path / "report.json"
    done = run(module, *options, f"--output={path}")
    assert done.returncode == 0, done.stderr
    return json.loads(path.read_text())["results"], done.stdout


def test_step_times_our_algorithms_gradients_and_the_peak(tmp_path):
    rows, text = report(
        tmp_path,
        "step",
        *("--peers=none", "--batch_sizes=8", "--precisions=float32", "--rounds=2"),
        *("--algorithms=rmsprop,mirror_prox_gan", "--set=model.hidden_units=(8,8)"),
    )
    names = ["rmsprop", "mirror_prox_gan", "gradients", "matrix product"]
    assert [row["algorithm"] for row in rows] == names
    assert all(row["ms"]["median"] > 0 and row["batch_size"] == 8 for row in rows)
    assert rows[0]["ratio"]["median"] == 1.0
    assert rows[-1]["of_peak"] == 1.0
    assert all(name in text for name in names)


def test_noise_times_ours_and_tensorflows(tmp_path):
    rows, _ = report(tmp_path, "noise", "--num=4096", "--rounds=2")
    assert {row["framework"] for row in rows} >= {"ours", "keras"}
    assert all(row["ms"]["median"] > 0 for row in rows)


def test_scaling_times_every_value_of_an_axis_also_in_a_child(tmp_path):
    rows, _ = report(tmp_path, "scaling", "--axes=inner_steps,replicas", "--rounds=2")
    assert [row["value"] for row in rows] == [1, 2, 5, 20, 1, 2]
    assert rows[0]["ratio"]["median"] == rows[4]["ratio"]["median"] == 1.0


def test_compile_times_both_ways(tmp_path):
    rows, text = report(tmp_path, "compile", "--batch_sizes=8", "--algorithms=sgd", "--rounds=2")
    assert [(r["compile"], r["batch_size"]) for r in rows] == [("parts", 8), ("whole", 8)]
    assert rows[0]["ratio"]["median"] == 1.0
    assert all(row["first"] > 0 for row in rows)
    assert "whole" in text


def test_compile_times_configs_beside_other_work(tmp_path):
    options = ("--configs=swissroll_md", "--set=model.hidden_units=(8,8)", "--beside=1")
    rows, text = report(tmp_path, "compile", *options, "--rounds=2")
    assert [(r["compile"], r["config"]) for r in rows] == [
        ("parts", "swissroll_md"),
        ("whole", "swissroll_md"),
    ]
    assert "swissroll_md" in text


def test_a_target_is_printed_with_its_limit(tmp_path):
    rows, text = report(tmp_path, "targets", "--parts=startup")
    assert [row["limit"] for row in rows] == [10.0]
    assert ("MISSED" in text) == (not rows[0]["met"])


@pytest.mark.parametrize(
    ("module", "option", "choices"),
    [
        ("step", "--peers=theano", "pytorch, pytorch_compiled, pytorch_cuda_graphs, jax, keras"),
        ("scaling", "--axes=depth", "batch, width"),
        ("targets", "--parts=luck", "mlp, small"),
        ("compile", "--algorithms=newton", "mirror_gan"),
        ("compile", "--batch_sizes=0", "above 0"),
        ("compile", "--widths=0", "above 0"),
        ("compile", "--configs=swiss", "swissroll_md"),
        ("judge", "--sizes=few", "above 0"),
        ("judge", "--sets=moons", "gaussians25_unequal"),
        ("diagnoses", "--seeds=-1", "0,1,2"),
    ],
)
def test_an_unknown_choice_is_bad_input(module, option, choices):
    done = run(module, option)
    assert done.returncode == 2
    assert option in done.stderr
    assert choices in done.stderr


def test_particles_gan_times_every_way_of_sampling(tmp_path):
    sizes = ("--num_particles=2", "--units=8", "--single_units=8", "--batch_sizes=8")
    options = (*sizes, "--rounds=2", "--algorithms=rmsprop", "--clock=cpu")
    rows, text = report(tmp_path, "particles_gan", *options)
    ways = ["1 x 8", *(f"2 x 8, {way}" for way in ("split", "full", "thin", "one by one"))]
    assert [row["way"] for row in rows] == ways
    assert rows[0]["ratio"]["median"] == 1.0
    assert all(row["ms"]["median"] > 0 for row in rows)
    assert "2 x 8, thin" in text


def test_components_times_every_way_of_sampling_a_mixture():
    done = run("components", "--num_components=3", "--units=8", "--rows=1,20", "--rounds=2")
    assert done.returncode == 0, done.stderr
    ways = [line.split()[2:4] for line in done.stdout.splitlines()[1:]]
    assert [way[0] for way in ways] == ["in", "at", "own"] * 2
