"""Every command answers --help, and does so before TensorFlow loads."""

import subprocess
import sys
from pathlib import Path

import pytest

from tf_mixed_nash.__main__ import COMMANDS as NAMES
from trainers import completion

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = [
    *(f"trainers.{p.stem}" for p in sorted((ROOT / "trainers").glob("[!_]*.py"))),
    *(f"export.{name}" for name in ("convert", "sample", "saved_model", "serve", "verify")),
    "export.tfserving",
]
# One process whose children are the commands: only Python itself is started anew.
SCRIPT = r"""
import contextlib, io, os, re, runpy, sys
for name in sys.argv[1:]:
    child = os.fork()
    if not child:
        sys.argv = [name, "--help"]
        text = io.StringIO()
        with contextlib.redirect_stdout(text):
            try:
                runpy.run_module(name, run_name="__main__", alter_sys=True)
            except SystemExit as end:
                code = end.code
        loaded = {"tensorflow", "keras", "matplotlib"} & set(sys.modules)
        own = re.findall(r"^  (--\S+)", text.getvalue().partition("Flags:")[2], re.MULTILINE)
        print(name, code, *sorted(loaded), "Flags:" in text.getvalue(), *own, flush=True)
        os._exit(0)
    os.waitpid(child, 0)
"""


@pytest.fixture(scope="module")
def answers():
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT, *COMMANDS],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines()}


@pytest.mark.parametrize("name", COMMANDS)
def test_help_loads_no_tensorflow(answers, name):
    assert answers[name][:2] == ["0", "True"]


def test_completion_knows_every_flag_of_every_command(answers):
    """It reads them from the modules' texts, --help from the flags that they define."""
    for command, module in NAMES.items():
        theirs = {flag.rstrip(":").replace("[no]", "") for flag in answers[module][2:]}
        ours = {flag.rstrip("=") for flag in completion.candidates(command)}
        ours = {flag for flag in ours if not flag.startswith("--config.")} - {"--help"}
        assert ours == theirs, command


def test_the_files_of_a_workdir_are_named_without_tensorflow():
    """What only looks at runs (a campaign, a report) must not wait for it."""
    code = "import sys, trainers.workdir.folder; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
