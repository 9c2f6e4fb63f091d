"""A user's export.py, configs/ or trainers/ neither breaks a command nor takes over.

Each question is put to a new Python: what is asked is how modules are found.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tf_mixed_nash import shadows

ROOT = Path(shadows.ROOT)
TAKEN = "raise SystemExit('a user\\'s file was imported')\n"
WHERE = """
import runpy, sys
runpy.run_path(sys.argv[1])["ours_first"](*map(bool, sys.argv[2:]))
import configs, export, tf_mixed_nash, trainers
for module in (configs, export, tf_mixed_nash, trainers):
    print(module.__file__)
print(sys.path[-1])
"""
OURS = [str(ROOT / name / "__init__.py") for name in shadows.OURS]


def python(*arguments, cwd, **variables):
    """A Python's (stdout lines, stderr lines); it must end with 0."""
    own = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "MIXED_NASH"))}
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        env={**own, **{k: str(v) for k, v in variables.items()}},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines(), done.stderr.splitlines()


@pytest.fixture
def hostile(tmp_path):
    """A user's folder with files of our names, and of some that ours import."""
    folder = tmp_path / "my work"
    for name in ("export.py", "keras.py", "absl.py", "configs/__init__.py"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(TAKEN)
    return folder


def test_a_command_imports_ours_and_says_what_it_does_not(hostile):
    out, err = python("-m", "trainers.checkpoint", "--help", cwd=hostile, PYTHONPATH=ROOT)
    assert out[0] == "Lists a run's checkpoints, their sizes, and whether they are good."
    names = ["configs/__init__.py", "export.py", "absl.py", "keras.py"]
    assert [line.split()[1] for line in err] == names
    assert err[1] == (
        "note: export.py in this folder is not imported as export: the installed one is. Rename "
        "yours if your code needs it."
    )


@pytest.mark.parametrize(
    ("words", "module"),
    [
        (["-m", "trainers.run", "--config=m"], "trainers.run"),
        (["-mtrainers.run"], "trainers.run"),
        (
            ["-u", "-W", "ignore", "-Ximporttime", "-X", "dev", "-Pm", "export.sample"],
            "export.sample",
        ),
        (["-W", "mmm", "script.py", "-m", "trainers.run"], ""),
        (["script.py"], ""),
        (["-c", "import m"], ""),
        (["--help-all", "-m"], ""),
        ([], ""),
    ],
)
def test_which_module_a_python_runs(words, module):
    assert shadows._module_of(words) == module


def test_a_user_s_own_module_that_uses_ours_keeps_its_path(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "__init__.py").write_text("import trainers\n")
    (tmp_path / "mine" / "run.py").write_text("import sys; print(sys.path[0])\n")
    out, err = python("-m", "mine.run", cwd=tmp_path, PYTHONPATH=ROOT)
    assert (out, err) == ([str(tmp_path)], [])


def test_mixed_nash_runs_where_python_dash_m_would_run_the_user_s_file(hostile):
    command = ("-m", "tf_mixed_nash", "sample", "--help")
    out, err = python(*command, cwd=hostile, PYTHONPATH=ROOT)
    assert out[0].startswith("Draws from a published model")
    assert len(err) == 4


def test_the_folder_comes_last_so_that_a_user_s_own_modules_are_found(hostile):
    out, _ = python("-c", WHERE, ROOT / "tf_mixed_nash/shadows.py", cwd=hostile, PYTHONPATH=ROOT)
    assert out == [*OURS, str(hostile)]


def test_a_folder_that_nobody_asked_for_stays_out(hostile):
    where = ("-P", "-c", WHERE, ROOT / "tf_mixed_nash/shadows.py")
    out, _ = python(*where, cwd=hostile, PYTHONPATH=ROOT)
    assert out[:-1] == OURS
    assert out[-1] != str(hostile)
    out, _ = python(*where, "with it", cwd=hostile, PYTHONPATH=ROOT)
    assert out == [*OURS, str(hostile)]


@pytest.mark.parametrize("regular", [True, False], ids=["packages", "folders"])
def test_what_stands_before_ours_in_the_path_does_not_win(tmp_path, regular):
    """PYTHONPATH; a folder without __init__.py wins over an editable install."""
    first, cwd = tmp_path / "first", tmp_path / "cwd"
    cwd.mkdir()
    for name in shadows.OURS:
        (first / name).mkdir(parents=True)
        if regular:
            (first / name / "__init__.py").write_text(TAKEN)
    path = f"{first}{os.pathsep}{ROOT}"
    where = ("-P", "-c", WHERE, ROOT / "tf_mixed_nash/shadows.py")
    out, err = python(*where, cwd=cwd, PYTHONPATH=path)
    assert out[:-1] == OURS
    assert err == []


def test_in_a_checkout_nothing_changes():
    code = (
        "import runpy, sys; before = list(sys.path); "
        "runpy.run_path(sys.argv[1])['ours_first'](True); print(before == sys.path)"
    )
    out, err = python("-c", code, ROOT / "tf_mixed_nash/shadows.py", cwd=ROOT)
    assert (out, err) == (["True"], [])
    code = "from tf_mixed_nash import shadows; print(shadows.environment())"
    assert python("-c", code, cwd=ROOT)[0] == ["{}"]


CHILD = """
import subprocess, sys, os
from tf_mixed_nash import shadows
command = [sys.executable, "-m", "trainers.checkpoint", "--help"]
done = subprocess.run(command, env={**os.environ, **shadows.environment()}, text=True,
                      capture_output=True)
print(done.stdout.splitlines()[0] if not done.returncode else done.stderr)
print(done.stderr)
"""


def test_a_trainer_that_is_started_there_is_ours_even_beside_a_package_trainers(hostile):
    (hostile / "trainers").mkdir()
    (hostile / "trainers" / "__init__.py").write_text(TAKEN)
    out, _ = python("-P", "-c", CHILD, cwd=hostile, PYTHONPATH=ROOT)
    assert out == ["Lists a run's checkpoints, their sizes, and whether they are good.", ""]


ENVIRONMENT = """
import json, os, sys
from tf_mixed_nash import shadows
print(json.dumps(shadows.environment(), sort_keys=True))
"""


def test_a_trainer_finds_what_its_starter_finds(tmp_path):
    (one,) = python("-c", ENVIRONMENT, cwd=tmp_path, PYTHONPATH=f"{ROOT}{os.pathsep}/x")[0]
    path = f"{ROOT}{os.pathsep}{ROOT}{os.pathsep}/x"
    assert one == (
        f'{{"MIXED_NASH_FOLDER_LAST": "1", "PYTHONPATH": "{path}", "PYTHONSAFEPATH": "1"}}'
    )
    (one,) = python("-P", "-c", ENVIRONMENT, cwd=tmp_path, PYTHONPATH=ROOT)[0]
    assert '"MIXED_NASH_FOLDER_LAST": ""' in one


CHECK = """
import sys
sys.path.append({root!r})
from tf_mixed_nash import InputError, shadows
{imported}
try:
    shadows.check()
    print("ours")
except InputError as error:
    print(error)
"""


@pytest.mark.parametrize("imported", ["", "import export"])
def test_a_script_beside_an_export_py_is_told_before_it_trains(tmp_path, imported):
    (tmp_path / "export.py").write_text("")
    script = tmp_path / "mine.py"
    script.write_text(CHECK.format(root=str(ROOT), imported=imported))
    (said,) = python(script, cwd=tmp_path)[0]
    assert said.startswith(f"The module export of this process is {tmp_path / 'export.py'}, not")
    (tmp_path / "export.py").unlink()
    assert python(script, cwd=tmp_path)[0] == ["ours"]
