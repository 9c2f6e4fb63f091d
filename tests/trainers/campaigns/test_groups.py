"""Jobs that one trainer makes: who goes together, and how each ended; the trainer only pretends."""

import sys

import pytest

from tests.trainers.campaigns.test_jobs import TRAINER, WAYS, Listed
from tf_mixed_nash.errors import InputError
from trainers.campaigns import groups, jobs
from trainers.campaigns.jobs import Job
from trainers.system import cli

# What trainers.many does here: the ends that the names of the folders say, and its exit code.
MANY = """
import json, os, pathlib, signal, sys, time
flags = dict(a.lstrip("-").split("=", 1) for a in sys.argv[2:])
runs = json.loads(pathlib.Path(flags["runs"]).read_text())
n = 0
for run in runs:
    folder = pathlib.Path(run["workdir"])
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "starts").open("a") as file: file.write("x")
    n = len((folder / "starts").read_text())
exec(sys.argv[1])
ends = []
for run in runs:
    how = run["settings"][0].split("=")[1]
    if how == "done":
        (pathlib.Path(run["workdir"]) / "scorecard.json").write_text("{}")
    said = "samples are not all finite" if run["workdir"].endswith("2") else "boom"
    ends.append({"how": how, "said": "" if how in ("done", "diverged") else said})
pathlib.Path(flags["outcomes"]).write_text(json.dumps(ends))
sys.exit(0)
"""


class Hows(Listed):
    """A list of jobs that end so; those of one letter are alike."""

    def __init__(self, folder, *hows):
        super().__init__(folder)
        self.jobs = [
            Job(f"run {i}", "c.py", [f"how={how}"], folder / f"{i}", (*ALONE, WAYS["done"]))
            for i, how in enumerate(hows)
        ]
        self.waiting = list(self.jobs)


ALONE = (sys.executable, "-S", "-c", TRAINER)


def together(most, kind=lambda job: "same", does="pass"):
    return groups.Together(most, kind=kind, trainer=(sys.executable, "-S", "-c", MANY, does))


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(jobs, "_POLL_SECONDS", 0.02)


def test_each_job_ends_as_its_run_did(tmp_path):
    campaign = Hows(tmp_path, "done", "diverged", "failed", "failed")
    assert jobs.run(campaign, starter=together(4)) == cli.DONE
    assert campaign.hows == ["done", "diverged", "diverged", "failed"]
    assert [campaign.starts(i) for i in range(4)] == [1, 1, 1, 1]
    assert campaign.ended["run 3"].said == "boom"
    log = (tmp_path / "1.log").read_text()
    assert log == f"Trained with 3 others; their log is {tmp_path / '0.log'}\n"


def test_only_jobs_of_one_kind_go_together_and_no_more_than_asked(tmp_path):
    seen = []

    class Recorded(groups.Together):
        def start(self, campaign, running):
            before = len(campaign.waiting)
            made = super().start(campaign, running)
            if made:
                seen.append((type(made).__name__, before - len(campaign.waiting)))
            return made

    campaign = Hows(tmp_path, *["done"] * 6)
    kinds = dict(zip((j.name for j in campaign.jobs), "aaaab-", strict=True))
    trainer = (sys.executable, "-S", "-c", MANY, "pass")
    starter = Recorded(3, kind=lambda job: kinds[job.name].strip("-"), trainer=trainer)
    assert jobs.run(campaign, starter=starter) == cli.DONE
    assert campaign.hows == ["done"] * 6
    # Three; the fourth, for which the fifth is looked at; that one, and the last likewise.
    assert seen == [("_Group", 3), ("Alone", 2), ("Alone", 1), ("Alone", 0)]


@pytest.mark.parametrize(
    ("does", "how", "starts"),
    [
        ("n > 1 or os.kill(os.getpid(), 9)", "done", 2),
        ("os.kill(os.getpid(), 9)", "failed", jobs.STARTS),
        ("sys.exit(1)", "failed", 1),
    ],
)
def test_a_trainer_that_is_killed_is_started_again_and_one_that_fails_is_not(
    tmp_path, does, how, starts
):
    campaign = Hows(tmp_path, "done", "done")
    jobs.run(campaign, starter=together(2, does=does))
    assert campaign.hows == [how] * 2
    assert campaign.starts() == starts


def test_a_run_that_says_done_and_has_no_scorecard_failed(tmp_path):
    campaign = Hows(tmp_path, "done", "done")
    does = 'pathlib.Path(flags[\'outcomes\']).write_text(\'[{"how": "done", "said": ""}] * 2\''
    does += '.replace(\'] * 2\', \', {"how": "done", "said": ""}]\')); sys.exit(0)'
    assert jobs.run(campaign, starter=together(2, does=does)) == cli.DONE
    assert campaign.hows == ["failed"] * 2


def test_bad_input_of_one_ends_the_campaign(tmp_path):
    campaign = Hows(tmp_path, "done", "done")
    does = "print('error: no such key'); sys.exit(2)"
    with pytest.raises(InputError, match="Run 0 and 1 more could not be run: no such key"):
        jobs.run(campaign, starter=together(2, does=does))


def test_the_end_of_the_minutes_stops_all_and_gives_back_what_was_not_started(tmp_path):
    campaign = Hows(tmp_path, "stopped", "stopped", "done")
    kinds = {"run 0": "a", "run 1": "a", "run 2": "b"}
    does = "signal.signal(15, lambda *_: os._exit(143)); time.sleep(60)"
    starter = together(3, kind=lambda job: kinds[job.name], does=does)
    assert jobs.run(campaign, minutes=0.01, starter=starter) == cli.DONE
    assert campaign.hows == ["stopped"] * 3


@pytest.mark.parametrize(
    ("gpus", "chosen", "most"),
    [
        (0, None, 1),
        (1, None, groups.AUTO),
        (2, None, 1),
        (2, "1", groups.AUTO),
        (2, "0,1", 1),
        (1, "", 1),
        (1, "-1", 1),
        (0, "0", 1),
    ],
)
def test_where_the_choice_is_ours(tmp_path, monkeypatch, gpus, chosen, most):
    for i in range(gpus):
        (tmp_path / "gpus" / f"{i}").mkdir(parents=True)
    monkeypatch.setattr(groups, "_DRIVER", tmp_path)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if chosen is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
    assert (groups.most(0), groups.most(5)) == (most, 5)


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        (["seed=1"], ["seed=2"], True),
        (["seed=1"], ["step_size=1e-3", "temperature=1e-9"], True),
        (["seed=1"], ["batch_size=32"], False),
        (["algorithm=sample_md"], ["algorithm=sample_md"], False),
        (["strategy=mirrored"], ["strategy=mirrored"], False),
        (["game.penalty_every=2"], ["game.penalty_every=2"], False),
    ],
)
def test_which_jobs_are_alike(tmp_path, one, other, alike):
    kinds = [
        groups.kind_of(Job("r", "configs/gaussians8_md.py:tiny", items, tmp_path))
        for items in (one, other)
    ]
    assert (bool(kinds[0]) and kinds[0] == kinds[1]) is alike
    assert groups.kind_of(Job("r", "c.py", [], tmp_path, ("another", "trainer"))) == ""
