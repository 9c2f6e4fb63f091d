"""The command mixed-nash: what it lists, what it runs, what it refuses."""

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

import tf_mixed_nash
from tests.trainers.test_help import COMMANDS as MODULES
from tf_mixed_nash import __main__ as sut

ROOT = Path(tf_mixed_nash.__file__).parents[1]


def test_every_command_of_the_trainers_has_a_name_and_every_name_a_command():
    assert set(sut.COMMANDS.values()) <= set(MODULES)
    trainers = {name for name in MODULES if name.startswith("trainers.")}
    assert trainers <= set(sut.COMMANDS.values())


def test_help_has_a_line_for_each_and_loads_nothing():
    code = (
        "import sys; from tf_mixed_nash.__main__ import main; code = main(['x', '--help']);"
        "sys.exit(code or bool({'tensorflow', 'absl', 'trainers', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    lines = {line.split()[0]: line for line in done.stdout.splitlines() if line[:2] == "  "}
    for name, module in sut.COMMANDS.items():
        text = (ROOT / f"{module.replace('.', '/')}.py").read_text()
        assert lines[name].split(None, 1)[1] in text


def test_a_command_gets_its_flags_and_leaves_with_its_code(monkeypatch):
    seen = []

    def module(name, run_name, alter_sys):
        seen.append((name, run_name, alter_sys, sys.argv[1:]))
        sys.exit(3)

    monkeypatch.setattr(runpy, "run_module", module)
    monkeypatch.setattr(sys, "argv", ["mixed-nash", "publish", "--workdir=a b", "--", "x"])
    with pytest.raises(SystemExit) as ended:
        sut.main()
    assert ended.value.code == 3
    assert seen == [("export.saved_model", "__main__", True, ["--workdir=a b", "--", "x"])]


def test_version(capsys):
    assert sut.main(["mixed-nash", "--version"]) == 0
    assert capsys.readouterr().out == f"{tf_mixed_nash.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["trian"], "Unknown command 'trian'. Choose one of: run, evaluate,"),
        (["rum"], "Unknown command 'rum'. Did you mean 'run'? Choose one of: run,"),
        (["reproduces", "all"], "Did you mean 'reproduce'?"),
        (["--workdir=x"], "Unknown command '--workdir=x'."),
        ([], "Give a command. Choose one of: run,"),
    ],
)
def test_an_unknown_command_is_refused(capsys, arguments, says):
    assert sut.main(["mixed-nash", *arguments]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert says in err
    assert err.startswith("error: ")
