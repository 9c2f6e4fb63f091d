"""The wheel in a clean environment, in folders that are not ours: `make wheel-test`.

pip installs the base install, in the versions of constraints.txt. A minute or two.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.clean_install import build_wheel, clean_environment, install
from tf_mixed_nash.__main__ import COMMANDS

pytestmark = pytest.mark.slow


class Installed:
    """A base install; `call` runs one of its programmes in a folder."""

    def __init__(self, python: Path):
        self.bin = python.parent

    def call(self, folder: Path, *words: str, code: int = 0) -> tuple[str, str]:
        """(stdout, stderr) of a programme of the environment that must end with `code`."""
        done = subprocess.run(
            [self.bin / words[0], *words[1:]],
            cwd=folder,
            env=clean_environment(PATH=f"{self.bin}{os.pathsep}{os.environ['PATH']}"),
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout, done.stderr


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    return Installed(install(build_wheel(folder / "built"), folder / "environment"))


@pytest.fixture(scope="module")
def run(installed, tmp_path_factory):
    """A run of a built-in experiment in an empty folder: the folder."""
    folder = tmp_path_factory.mktemp("empty")
    command = ("-m", "trainers.run", "--config=gaussians8_mp:tiny", "--workdir=runs/a")
    _, err = installed.call(folder, "python", *command)
    assert "note:" not in err
    return folder


def test_the_requirements_are_met_and_the_extras_are_not_there(installed, tmp_path):
    out, _ = installed.call(tmp_path, "python", "-m", "pip", "check")
    assert "No broken requirements" in out
    out, _ = installed.call(tmp_path, "python", "-m", "pip", "list", "--format=json")
    names = {one["name"].lower().replace("_", "-") for one in json.loads(out)}
    assert {"tensorflow", "keras", "tf-mixed-nash"} <= names
    extras = {"aiohttp", "uvloop", "tensorflow-datasets", "lmdb", "pot", "optuna", "onnx", "pytest"}
    assert not names & extras


def test_mixed_nash_lists_its_commands(installed, tmp_path):
    out, _ = installed.call(tmp_path, "mixed-nash", "--help")
    assert re.findall(r"^  (\w+)  ", out, re.MULTILINE) == list(COMMANDS)
    _, err = installed.call(tmp_path, "mixed-nash", "rnu", code=2)
    assert "Did you mean 'run'?" in err


def test_it_trains_publishes_and_samples_in_an_empty_folder(installed, run):
    provenance = json.loads((run / "runs/a/provenance.json").read_text())
    assert provenance["code"]["commit"] is None
    assert provenance["code"]["version"]
    model = "--model=runs/a/export/generator"
    installed.call(run, "mixed-nash", "sample", model, "--num=12", "--output=x.npy")
    assert np.load(run / "x.npy").shape == (12, 2)
    model = f"{model}/1"
    back = ("--format=keras", "--component=1", "--out=g.keras")
    out, _ = installed.call(run, "mixed-nash", "convert", model, *back)
    assert out.endswith("the same bits\n")
    installed.call(run, "python", "-m", "export.tfserving", "--model=runs/a/export/generator")


def test_a_folder_of_hostile_names_neither_breaks_a_comparison_nor_takes_over(installed, tmp_path):
    """Its runs are processes of their own, and import `export` when they publish."""
    for name in ("export.py", "keras.py", "configs/__init__.py", "trainers/__init__.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("raise SystemExit('a user\\'s file was imported')\n")
    flags = ("--algorithms=adam", "--num_batches=2", "--seeds=0", "--variant=tiny", "--out=c")
    _, err = installed.call(tmp_path, "mixed-nash", "compare", *flags)
    for name in ("export.py", "keras.py", "configs/__init__.py", "trainers/__init__.py"):
        assert err.count(f"note: {name} in this folder is not imported") == 1
    assert (tmp_path / "c/adam/seed0/export/generator/1/saved_model.pb").is_file()


def test_a_path_of_the_checkout_means_the_built_in_file(installed, tmp_path):
    """The wrong key ends the command before TensorFlow loads; that it is wrong needs the file."""
    words = ("run", "--config=configs/gaussians8_mp.py:tiny", "--config.sead=1")
    _, err = installed.call(tmp_path, "mixed-nash", *words, code=2)
    note, error = err.splitlines()
    assert note.startswith("note: there is no configs/gaussians8_mp.py here; the built-in /")
    assert "Did you mean --config.seed?" in error


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ("serving", ["serve", "--model_name=m", "--model_base_path=."]),
        ("sweep", ["sweep", "--config=gaussians8_mp:tiny", "--search=seed=grid:1", "--output=s"]),
    ],
)
def test_what_needs_an_extra_names_it(installed, tmp_path, extra, words):
    _, err = installed.call(tmp_path, "mixed-nash", *words, code=2)
    assert f"pip install 'tf_mixed_nash[{extra}]'" in err
    assert len([line for line in err.splitlines() if line]) == 1
    assert not list(tmp_path.iterdir())
