"""Completion of mixed-nash, asked as a shell asks."""

import shutil
import subprocess

import pytest

from trainers import completion
from trainers.system import discovery, names

LINES = {
    "mixed-nash rep": ["report", "reproduce", "replay"],
    "mixed-nash --ver": ["--version "],
    # What lies before = is there already: bash takes it for a word of its own.
    "mixed-nash run --config=gaussians8_": ["gaussians8_md", "gaussians8_mp"],
    "mixed-nash run --config.algorithm=mirror_p": ["mirror_prox_gan "],
    "mixed-nash run --config=gaussians8_mp --config.game.objective=wg": ["wgan "],
    "mixed-nash run --config.data.p": ["--config.data.path="],
    "mixed-nash run --dry": ["--dry_run "],
    "mixed-nash sample --mo": ["--model="],
    "mixed-nash sample --model=run": ["runs/"],
    "mixed-nash sample --output=a": ["a.png "],
    "mixed-nash solve --tol": ["--tolerance="],
    "mixed-nash completion --shell=z": ["zsh "],
    "mixed-nash nothing --x": [],
}


@pytest.fixture(scope="module")
def answered(tmp_path_factory):
    """What bash completes, of every line."""
    folder = tmp_path_factory.mktemp("folder")
    (folder / "runs").mkdir()
    (folder / "a.png").touch()
    ask = """
while IFS= read -r line; do
  COMP_LINE=$line COMP_POINT=${#line} COMPREPLY=()
  _mixed_nash
  (IFS='|'; echo "${COMPREPLY[*]}")
done
"""
    done = subprocess.run(
        ["bash", "-c", completion.script("bash") + ask],
        input="".join(f"{line}\n" for line in LINES),
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return dict(zip(LINES, done.stdout.splitlines(), strict=True))


@pytest.mark.parametrize("line", LINES)
def test_bash_completes(answered, line):
    assert [word for word in answered[line].split("|") if word] == LINES[line]


def test_values_are_those_of_help():
    found = completion.candidates("run")
    assert set(found["--config.algorithm="]) == set(names.algorithms())
    assert {f"--config.{key}=" for key in discovery.KEYS} <= set(found)
    assert "FILE.py:NAME" not in found["--config.dataset="]


@pytest.mark.skipif(not shutil.which("zsh"), reason="no zsh")
def test_zsh_reads_its_script():
    """What it does there was tried by hand: zsh completes in a terminal alone."""
    script = "autoload -Uz compinit && compinit -D\n" + completion.script("zsh")
    done = subprocess.run(
        ["zsh", "-f", "-c", script + "\nprint $_comps[mixed-nash]"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "_mixed_nash" in done.stdout, done.stderr
