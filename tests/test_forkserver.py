"""A forked command against one that starts from nothing."""

import json
import os
import signal
import subprocess

import pytest

from tests.trainers.conftest import _SERVER, _environment, command, process, started

_PROBE = """
import json, os, signal, sys, threading
print(json.dumps({
    "argv": sys.argv[1:], "file": sys.argv[0] == __file__, "cwd": os.getcwd(),
    "path": sys.path[0] or os.getcwd(), "name": __name__, "input": sys.stdin.read(),
    "variable": os.environ.get("PROBE"), "test": "PYTEST_CURRENT_TEST" in os.environ,
    "threads": threading.active_count(), "ours": "trainers" in sys.modules,
    "again": sys.stdout.reconfigure(errors="replace"),
    "interrupt": signal.getsignal(signal.SIGINT) is signal.default_int_handler,
}), flush=True)
print("two\\r\\nlines", file=sys.stderr)
if sys.argv[1] == "sleep": import time; time.sleep(60)
if sys.argv[1] == "die": os.kill(os.getpid(), signal.SIGTERM)
if sys.argv[1] == "raise": raise RuntimeError("boom")
import atexit; atexit.register(print, "the end")
sys.exit({"text": "why", "none": None}.get(sys.argv[1], 7))
"""


@pytest.fixture
def probe(tmp_path, monkeypatch):
    """(run, ...) -> a command's end, in a folder that has its module."""
    (tmp_path / "probe.py").write_text(_PROBE)
    monkeypatch.setenv("PROBE", "a b\n")
    return lambda run, *arguments, **options: run("probe", *arguments, cwd=tmp_path, **options)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("code", "--x=1 2", ""), 7),
        (("none",), 0),
        (("text",), 1),
        (("raise",), 1),
        (("die",), -signal.SIGTERM),
    ],
)
def test_a_forked_command_is_as_one_that_starts_from_nothing(probe, arguments, code):
    forked, started = probe(command, *arguments), probe(process, *arguments)
    assert forked.returncode == started.returncode == code
    assert forked.args == started.args
    assert forked.stdout == started.stdout
    first = forked.stderr.splitlines()[:1] if arguments == ("raise",) else forked.stderr
    assert first == (["two"] if arguments == ("raise",) else started.stderr)
    assert forked.stderr.splitlines()[-1] == started.stderr.splitlines()[-1]
    if code >= 0:
        assert json.loads(forked.stdout.splitlines()[0])["argv"] == list(arguments)


def test_what_a_command_changes_is_its_own(probe):
    before = probe(command, "none").stdout
    probe(command, "raise")
    assert probe(command, "none").stdout == before


def test_commands_run_side_by_side_and_end_as_processes_do(tmp_path):
    """Started; their words come as they say them, signals reach them."""
    (tmp_path / "probe.py").write_text(_PROBE)
    options = {"cwd": tmp_path, "environment": _environment()}
    asleep, dead, quick = (_SERVER.start("probe", x, **options) for x in ("sleep", "die", "code"))
    assert json.loads(asleep.stdout.readline())["argv"] == ["sleep"]
    assert "two" in quick.communicate()[1]
    assert (dead.wait(), quick.returncode) == (-signal.SIGTERM, 7)
    assert json.loads(dead.communicate()[0])["argv"] == ["die"]
    assert command("probe", "none", cwd=tmp_path).returncode == 0, "meanwhile"
    assert asleep.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        asleep.wait(0.01)
    asleep.send_signal(signal.SIGINT)
    out, err = asleep.communicate()
    assert (asleep.returncode, out) == (-signal.SIGINT, "")
    assert "KeyboardInterrupt" in err
    late = _SERVER.start("probe", "sleep", **options)
    with pytest.raises(subprocess.TimeoutExpired):
        late.communicate(0.5)
    assert late.returncode == -signal.SIGKILL


def test_too_long_a_command_is_killed(probe):
    with pytest.raises(subprocess.TimeoutExpired) as expired:
        probe(command, "sleep", timeout=1)
    assert "two" in expired.value.stderr
    assert probe(command, "none").returncode == 0, "the server goes on"


def test_an_import_that_depends_on_a_variable_starts_in_earnest(tmp_path, monkeypatch):
    (tmp_path / "probe.py").write_text("import sys; print('tensorflow' in sys.modules)")
    assert command("probe", cwd=tmp_path).stdout == "True\n"
    monkeypatch.setenv("PYTHONWARNINGS", "error")
    assert command("probe", cwd=tmp_path).stdout == "False\n"
    theirs = {**os.environ, "PYTHONPATH": str(tmp_path)}
    assert started("probe", environment=theirs).communicate()[0] == "False\n"
