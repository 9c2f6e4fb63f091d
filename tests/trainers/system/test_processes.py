"""The leash: a trainer does not outlive who started it."""

import os
import signal
import subprocess
import sys
import time

import pytest

from tests.trainers.conftest import ROOT
from trainers.system.processes import TRAINER as TRAINER_OF_OURS
from trainers.system.processes import Process

TRAINER = """
import pathlib, signal, sys, time
def stop(*_):
    pathlib.Path(sys.argv[1], "stopped").touch()
    sys.exit(143)
signal.signal(signal.SIGTERM, stop)
pathlib.Path(sys.argv[1], "ready").touch()
time.sleep(60)
"""
STARTER = """
import pathlib, sys, time
from trainers.system.processes import Process
command = [sys.executable, "-S", "-c", sys.argv[2], sys.argv[1]]
process = Process(command, pathlib.Path(sys.argv[1], "log"))
while process.poll() is None: time.sleep(0.02)
"""


def wait_for(path):
    end = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_kernel_stops_a_trainer_whose_starter_dies(tmp_path, number):
    starter = subprocess.Popen(
        [sys.executable, "-c", STARTER, tmp_path, TRAINER],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    wait_for(tmp_path / "ready")
    starter.send_signal(number)
    assert starter.wait(30) == -number
    wait_for(tmp_path / "stopped")


def test_its_last_words_are_of_this_start(tmp_path):
    log = tmp_path / "logs" / "a.log"
    for text, says in (("error: first\nlater", "first"), ("bar\rend \n\n", "end"), ("", "nothing")):
        process = Process([sys.executable, "-S", "-c", f"print({text!r})"], log)
        while process.poll() is None:
            time.sleep(0.02)
        assert process.said() == says
    assert "error: first" in log.read_text()


def test_only_our_own_trainer_is_told_where_we_lie(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    started = []

    class Popen:
        def __init__(self, command, env, **_):
            started.append((command[4:], env))

    monkeypatch.setattr(subprocess, "Popen", Popen)
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    for command in ([*TRAINER_OF_OURS, "--config=c"], [sys.executable, "-m", "mine"]):
        Process(command, tmp_path / "log")
    (ours, env), (mine, other) = started
    assert (ours, mine) == ([*TRAINER_OF_OURS, "--config=c"], [sys.executable, "-m", "mine"])
    assert env["PYTHONSAFEPATH"] == "1"
    assert "PYTHONSAFEPATH" not in other
