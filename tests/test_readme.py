"""README.md: its length, and every block of code in it executed (at a tiny size)."""

import re
import shlex
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.trainers.conftest import command
from tf_mixed_nash import __main__ as commands

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


def lines_of(kind):
    """The commands of the blocks of a kind, without comments and continuation."""
    text = "".join(block for language, block in BLOCKS if language == kind)
    whole = text.replace("\\\n", " ").splitlines()
    return [line.partition("  #")[0].strip() for line in whole if line.strip()]


def test_it_is_short_and_has_no_other_code():
    assert len(TEXT.splitlines()) <= 120
    assert {language for language, _ in BLOCKS} == {"python", "sh"}
    assert not re.search(r"^ {4}\S", TEXT, re.MULTILINE)  # indented code would be in no test


def test_it_names_only_commands_that_there_are():
    for name in re.findall(r"`mixed-nash ([a-z]+)", TEXT):
        assert name in commands.COMMANDS


# Trainings of their own are slow ones.
COMMANDS = [
    pytest.param(line, marks=pytest.mark.slow if line.startswith("mixed-nash") else [])
    for line in lines_of("sh")
]


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_of_the_readme_works(line, tmp_path):
    program, *words = shlex.split(line)
    if program == "make":  # what it would do; the target itself is this suite, and `make run`
        done = subprocess.run(
            ["make", "--dry-run", *words], cwd=ROOT, capture_output=True, text=True, check=True
        )
        assert "python -m" in done.stdout
        return
    if program == ".":  # what `make` sets up
        assert re.search(rf"^VENV +\?= {words[0].partition('/')[0]}$", MAKEFILE, re.MULTILINE)
        return
    assert program == "mixed-nash"
    module = commands.COMMANDS[words[0]]
    flags = [w.replace("--config=gaussians8_mp", "--config=gaussians8_mp:tiny") for w in words[1:]]
    done = command(module, *flags, cwd=tmp_path, timeout=600)
    assert done.returncode == 0, done.stderr
    assert "SavedModel" in done.stdout


@pytest.mark.slow
def test_the_ten_lines_train_and_publish(tmp_path, monkeypatch):
    (block,) = [text for language, text in BLOCKS if language == "python"]
    code = [line for line in block.splitlines() if line and not line.startswith(("import", "from"))]
    assert len(code) <= 10
    for long, short in (("num_batches=5_000", "num_batches=4"), ("dense(128", "dense(4")):
        assert long in block
        block = block.replace(long, short)
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(compile(block, "README.md", "exec"), names)
    assert names["samples"].shape == (64, 2)
    assert np.isfinite(names["samples"]).all()
    assert (tmp_path / "models/mine/1/saved_model.pb").is_file()
