"""The driver of many runs by itself: starts, ends, budgets, patience; its trainers only pretend."""

import subprocess
import sys
import threading
import time

import pytest

from tf_mixed_nash.errors import InputError
from trainers.campaigns import jobs
from trainers.campaigns.jobs import FAILED, Job
from trainers.system import cli, processes

# What a trainer does, said by --config; F is its workdir.
WAYS = {
    "done": "finish()",
    "idle": "sys.exit(0)",
    "diverge": "sys.exit(3)",
    "infinite": "print('ValueError: The samples are not all finite; no scorecard.'); sys.exit(1)",
    "refuse": "print('error: no such key'); sys.exit(2)",
    "crash": "print('error: not the last\\nboom'); sys.exit(1)",
    "killed once": "n > 1 and finish(); os.kill(os.getpid(), 9)",
    "stopped once": "n > 1 and finish(); sys.exit(143)",
    "killed": "os.kill(os.getpid(), 9)",
    "score": "(F / 'metrics.jsonl').write_text(json.dumps(S) + '\\n'); wait()",
    "wait": "wait()",
    "deaf": "signal.signal(15, signal.SIG_IGN); (F / 'ready').touch(); time.sleep(60)",
}
TRAINER = """
import json, os, pathlib, signal, sys, time
flags = dict(a.lstrip("-").split("=", 1) for a in sys.argv[2:])
F = pathlib.Path(flags["workdir"])
F.mkdir(parents=True, exist_ok=True)
S = {"step": 5, "score/ema/w": 0.5}
with (F / "starts").open("a") as file: file.write("x")
n = len((F / "starts").read_text())
def finish():
    (F / "scorecard.json").write_text("{}")
    sys.exit(0)
def wait():
    def stop(*_):
        (F / "stopped").touch()
        sys.exit(143)
    signal.signal(15, stop)
    (F / "ready").touch()
    time.sleep(60)
exec(sys.argv[1])
"""


class Campaign:
    """A list of jobs, each `way` with its number; remembers all that it was told."""

    def __init__(self, folder, *ways, go_on=lambda scores: True):
        fake = (sys.executable, "-S", "-c", TRAINER)
        self.jobs = [
            Job(f"run {i}", "c.py", ["a=1"], folder / f"{i}", (*fake, WAYS[way]))
            for i, way in enumerate(ways)
        ]
        self.waiting = list(self.jobs)
        self.ended, self.seen, self.most, self.go_on = {}, [], 0, go_on

    def next(self, running):
        self.most = max(self.most, len(running) + bool(self.waiting))
        return self.waiting.pop(0) if self.waiting else None

    def see(self, job, scores):
        self.seen += scores
        return self.go_on(scores)

    def take(self, job, ended):
        self.ended[job.name] = ended
        return f"{job.name} ended"

    @property
    def hows(self):
        return [self.ended[j.name].how for j in self.jobs if j.name in self.ended]

    def starts(self, number=0):
        path = self.jobs[number].workdir / "starts"
        return len(path.read_text()) if path.exists() else 0


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(jobs, "_POLL_SECONDS", 0.02)


def test_a_job_is_a_command():
    assert Job("r", "c.py:tiny", ["a=1", "b.c=x y"], "w", ("t",)).command() == [
        "t", "--config=c.py:tiny", "--config.a=1", "--config.b.c=x y", "--workdir=w",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("way", "how", "said", "starts"),
    [
        ("done", "done", "nothing", 1),
        ("diverge", "diverged", "nothing", 1),
        ("infinite", "diverged", "ValueError: The samples are not all finite; no scorecard.", 1),
        ("crash", "failed", "exit code 1, not the last", 1),
        ("idle", "failed", "exit code 0, nothing", 1),
        ("killed once", "done", "nothing", 2),
        ("stopped once", "done", "nothing", 2),
        ("killed", "failed", "exit code -9, nothing", 4),
    ],
)
def test_what_an_exit_code_means(tmp_path, capfd, way, how, said, starts):
    campaign = Campaign(tmp_path, way)
    assert jobs.run(campaign) == cli.DONE
    ended = campaign.ended["run 0"]
    assert (ended.how, ended.said, campaign.starts()) == (how, said, starts)
    assert ended.seconds > 0
    out, err = capfd.readouterr()
    assert out == "run 0 ended\n"
    warning = f"warning: run 0 failed: {said} (log: {tmp_path / '0.log'})\n"
    assert err == (warning if how == "failed" else "")


def test_bad_input_of_a_trainer_ends_all_with_its_message(tmp_path):
    campaign = Campaign(tmp_path, "wait", "refuse", "done")

    def go_on(scores):  # the second begins once the first can be stopped
        while campaign.starts() and not (tmp_path / "0" / "ready").exists():
            time.sleep(0.01)
        return True

    campaign.go_on = go_on
    with pytest.raises(InputError, match=r"^Run 1 could not be run: no such key$"):
        jobs.run(campaign, side_by_side=2)
    assert campaign.hows == ["stopped", "stopped"], "the one that was refused is let go, too"
    assert campaign.starts(2) == 0


def test_three_failures_in_a_row_end_the_campaign(tmp_path):
    campaign = Campaign(tmp_path, "crash", "crash", "done", "crash", "crash", "diverge")
    assert jobs.run(campaign) == cli.DONE
    assert campaign.hows == ["failed", "failed", "done", "failed", "failed", "diverged"]
    campaign = Campaign(tmp_path / "more", "crash", "crash", "crash", "done")
    assert jobs.run(campaign) == FAILED
    assert campaign.starts(3) == 0


def test_a_run_that_is_there_is_not_begun(tmp_path):
    campaign = Campaign(tmp_path, "crash")
    (tmp_path / "0").mkdir()
    (tmp_path / "0" / "scorecard.json").write_text("{}")
    assert jobs.run(campaign) == cli.DONE
    assert campaign.ended["run 0"] == ("done", 0.0, "")
    assert campaign.starts() == 0


def test_what_is_given_up_is_stopped_and_not_begun_again(tmp_path):
    campaign = Campaign(tmp_path, "score", "done", go_on=lambda scores: not scores)
    assert jobs.run(campaign) == cli.DONE
    assert campaign.seen == [(5, {"ema": {"w": 0.5}})]
    assert campaign.hows == ["given up", "done"]
    # In the next session its scores are there from the beginning.
    again = Campaign(tmp_path, "score", go_on=lambda scores: not scores)
    assert jobs.run(again) == cli.DONE
    assert again.hows == ["given up"]
    assert again.starts() == 1


def test_side_by_side(tmp_path):
    campaign = Campaign(tmp_path, *["done"] * 5)
    assert jobs.run(campaign, side_by_side=3) == cli.DONE
    assert campaign.hows == ["done"] * 5
    assert campaign.most == 3


def test_the_end_of_the_minutes_stops_the_trainers_after_a_checkpoint(tmp_path):
    campaign = Campaign(tmp_path, "wait", "done")
    began = time.monotonic()
    assert jobs.run(campaign, minutes=1.5 / 60) == cli.DONE
    assert 1.5 <= time.monotonic() - began < 20
    assert (tmp_path / "0" / "stopped").exists()
    assert campaign.hows == ["stopped"]
    assert campaign.ended["run 0"].seconds > 1
    assert campaign.starts(1) == 0


def test_who_does_not_stop_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "_PATIENCE", 0.3)
    campaign = Campaign(tmp_path, "deaf")
    began = time.monotonic()
    assert jobs.run(campaign, minutes=1.5 / 60) == cli.DONE
    assert time.monotonic() - began < 20
    assert (tmp_path / "0" / "ready").exists()
    assert campaign.hows == ["stopped"]


def test_a_workdir_that_another_trainer_holds_is_waited_for(tmp_path, capfd):
    (tmp_path / "0").mkdir()
    campaign = Campaign(tmp_path, "done")
    code = (
        "import fcntl, sys; file = open(sys.argv[1], 'w'); fcntl.flock(file, 2); "
        "print(flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, tmp_path / "0" / ".lock"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    holder.stdout.readline()

    def let_go():
        assert campaign.starts() == 0
        holder.communicate()

    timer = threading.Timer(0.5, let_go)
    timer.start()
    assert jobs.run(campaign) == cli.DONE
    timer.join()
    assert campaign.hows == ["done"]
    assert capfd.readouterr().err.count("another trainer works in") == 1


def test_what_is_shown_is_also_in_the_log(tmp_path, capfd):
    for show in (True, False):
        campaign = Campaign(tmp_path / str(show), "crash")
        jobs.run(campaign, show=show)
        assert campaign.jobs[0].log.read_text() == "error: not the last\nboom\n"
        assert ("boom" in capfd.readouterr().err) == show
