"""Kills of a campaign at random moments leave nobody behind and lose nothing.

Most are of `session.py`, whose trainer only pretends; one of each command is real.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

from tests.trainers.conftest import ROOT

KINDS = ("compare", "sweep", "reproduce")
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
# Also of a session that has not begun yet, or is over.
CODES = {
    signal.SIGINT: {130, -2, 0},
    signal.SIGTERM: {143, -15, 0},
    signal.SIGKILL: {-9, 0},
}
SECONDS = 60.0
_MARK = "A_TEST_OF_KILLS"


class Sessions:
    """Processes of one command, one after the other; all their children bear a mark."""

    def __init__(self, command):
        self.command, self.mark = command, uuid.uuid4().hex

    def start(self):
        environment = {**os.environ, _MARK: self.mark, "PYTHONPATH": str(ROOT)}
        environment |= {"FAKE_SAMPLES": "1", "FAKE_STEPS": "8", "FAKE_PAUSE": "0.05"}
        return subprocess.Popen(
            self.command,
            cwd=ROOT,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def alive(self):
        """Process numbers of this session and of what it started."""
        wanted, found = f"{_MARK}={self.mark}".encode(), []
        for path in Path("/proc").glob("[0-9]*/environ"):
            try:
                if wanted in path.read_bytes().split(b"\0"):
                    found.append(int(path.parent.name))
            except OSError:  # it ended meanwhile
                continue
        return found

    def kill(self, process, number):
        """Sends the signal; everybody ends: before the session does if it can see to that."""
        process.send_signal(number)
        code = process.wait(SECONDS)
        if number == signal.SIGKILL:
            wait_for(lambda: not self.alive())
        assert self.alive() == []
        return code


def wait_for(condition):
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


def fake(kind, folder):
    return Sessions([sys.executable, str(Path(__file__).with_name("session.py")), kind, folder])


def outcome(kind, folder):
    """What a campaign leaves, but for times, places and numbers of sessions."""
    if kind == "compare":
        return [(folder / name).read_text() for name in ("table.json", "table.md")]
    if kind == "sweep":
        text = (folder / "trials.json").read_text().replace(str(folder), "")
        return [{**trial, "seconds": None} for trial in json.loads(text)]
    records = {p.stem: json.loads(p.read_text()) for p in (folder / "results").rglob("*.json")}
    free = ("wall_seconds", "seconds", "sessions", "command", "time")
    return {key: {**r, **dict.fromkeys(free)} for key, r in records.items()}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """kind -> what it leaves if nobody kills it."""
    known = {}

    def of(kind):
        if kind not in known:
            folder = tmp_path_factory.mktemp(kind)
            assert fake(kind, folder).start().wait(SECONDS) == 0
            known[kind] = outcome(kind, folder)
        return known[kind]

    return of


def check_checkpoints(folder):
    """Who was stopped wrote a checkpoint of the last step first."""
    for path in folder.rglob("metrics.jsonl"):
        lines = path.read_text().splitlines()
        if lines and not (path.parent / "scorecard.json").exists():
            assert int((path.parent / "step").read_text()) >= json.loads(lines[-1])["step"]


# Each command with one signal and each signal with one command; the others are slow tests.
_KILLS = [
    pytest.param(
        kind, number, id=f"{kind}-{number.name}", marks=[] if i % 3 == j % 3 else pytest.mark.slow
    )
    for i, kind in enumerate(KINDS)
    for j, number in enumerate(SIGNALS)
]


@pytest.mark.parametrize(("kind", "number"), _KILLS)
def test_kills_leave_nobody_and_lose_nothing(kind, number, tmp_path, undisturbed):
    expected = undisturbed(kind)
    draw = random.Random(f"{kind} {number.name}")
    sessions, kills = fake(kind, tmp_path), 0
    for _ in range(2):
        process = sessions.start()
        # At any moment from before its first trainer's first step to after the last one.
        if draw.random() < 0.8:
            wait_for(lambda p=process: len(sessions.alive()) > 1 or p.poll() is not None)
        end = time.monotonic() + draw.uniform(0.0, 1.5)
        while process.poll() is None and time.monotonic() < end:
            time.sleep(0.01)
        kills += process.poll() is None
        assert sessions.kill(process, number) in CODES[number]
        check_checkpoints(tmp_path)
    assert kills
    assert sessions.start().wait(SECONDS) == 0
    assert outcome(kind, tmp_path) == expected
    assert sessions.alive() == []


@pytest.mark.parametrize("kind", KINDS)
def test_who_comes_at_once_waits_for_the_trainers_of_the_one_that_was_killed(
    kind, tmp_path, undisturbed
):
    expected = undisturbed(kind)
    sessions = fake(kind, tmp_path)
    process = sessions.start()
    wait_for(lambda: any(p.read_text() for p in tmp_path.rglob("metrics.jsonl")))
    process.kill()
    process.wait()
    assert sessions.alive(), "its trainers still write their checkpoints"
    assert sessions.start().wait(SECONDS) == 0
    assert outcome(kind, tmp_path) == expected


REAL = {
    "compare": [
        "--dataset=gaussians8", "--algorithms=adam", "--seeds=0", "--variant=tiny",
        "--num_batches={n}", "--set=scorecard.num_samples=300", "--set=log_every=10", "--out={out}",
    ],
    "sweep": [
        "--config=configs/gaussians8_mp.py:tiny", "--search=step_size=grid:1e-3", "--sampler=grid",
        "--pruner=none", "--set=num_batches={n}", "--set=log_every=10", "--output={out}",
    ],
    "reproduce": ["all", "--protocol=tiny", "--runs={out}/runs", "--results={out}/results"],
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "number"), [*zip(KINDS, (signal.SIGTERM, signal.SIGINT, signal.SIGKILL), strict=True)]
)
def test_kills_of_the_commands(kind, number, tmp_path):
    length = 300
    flags = [flag.format(n=length, out=tmp_path) for flag in REAL[kind]]
    sessions = Sessions([sys.executable, "-m", f"trainers.{kind}", *flags])
    process = sessions.start()
    # The study's tiny runs are over in a moment: of them any moment is as good.
    sign = "config.json" if kind == "reproduce" else "metrics.jsonl"
    wait_for(lambda: any(tmp_path.rglob(sign)) or process.poll() is not None)
    assert sessions.kill(process, number) in CODES[number] - {0}
    if kind != "reproduce":
        (workdir,) = {path.parent for path in tmp_path.rglob("metrics.jsonl")}
        assert any((workdir / "checkpoints").iterdir()), "it wrote a checkpoint before it ended"
        assert not (workdir / "scorecard.json").exists()
    done = subprocess.run(sessions.command, cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    results = {"compare": "table.md", "sweep": "best.json", "reproduce": "results/README.md"}
    assert (tmp_path / results[kind]).is_file()
    if kind != "reproduce":
        records = [json.loads(x) for x in (workdir / "metrics.jsonl").read_text().splitlines()]
        steps = [r["step"] for r in records]
        assert steps == sorted(set(steps))
        assert steps[-1] == length
