"""Sweeps: what is searched, what becomes of trials, and that no kill loses or repeats one.

All use `fake_trainer.py`, whose scores are known in closed form.
"""

import dataclasses
import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import optuna
import pytest

from tests.trainers.conftest import ROOT
from tf_mixed_nash.errors import InputError
from trainers import sweep
from trainers.campaigns import jobs
from trainers.campaigns.search import space
from trainers.campaigns.search.plan import Plan
from trainers.campaigns.search.trials import Sweep

FAKE = (sys.executable, str(Path(__file__).parents[1] / "fake_trainer.py"))
TINY = "configs/gaussians8_mp.py:tiny"


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch):
    monkeypatch.setattr(jobs, "_POLL_SECONDS", 0.02)


def spec(output, *searches, **more):
    """Of a sweep with the fake trainer, 10 mini-batches a trial; ema_decay is its pause a step."""
    flags = {"num_trials": 99, "sampler": "grid", "pruner": "none", "algorithm": "mirror_gan"}
    flags["set"] = ("num_batches=10", *more.pop("set", ()))
    return sweep.Spec(TINY, output, searches or ("step_size=grid:0.1,0.001",), **flags | more)


def run(*arguments, **more):
    return sweep.run(spec(*arguments, **more), FAKE)


def sessions(trial_or_path):
    workdir = getattr(trial_or_path, "workdir", trial_or_path)
    return [int(line) for line in (workdir / "sessions").read_text().split()]


def in_a_process(a_spec):
    """Runs a sweep in a process of its own."""
    code = (
        "import sys; from trainers import sweep; from trainers.system.stopping import Stopped\n"
        f"try: sweep.run(sweep.Spec(**{a_spec.__dict__ | {'output': str(a_spec.output)}!r}), "
        f"{FAKE!r})\nexcept Stopped as stopped: sys.exit(stopped.code)"
    )
    return subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)


def wait_for(condition, seconds=20.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


# What is searched, and for what.


class Taped:
    """An Optuna trial that gives the lower bound, and remembers what it was asked."""

    def suggest_float(self, name, low, high, log):
        return name, low, high, "log" if log else "linear"

    def suggest_int(self, name, low, high, log):
        return name, low, high, "log" if log else "linear"

    def suggest_categorical(self, name, choices):
        return name, choices


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("step_size=log:1e-5:1e-2", ("step_size", 1e-5, 1e-2, "log")),
        ("generator.damping=linear:0.5:1", ("generator.damping", 0.5, 1.0, "linear")),
        ("num_inner_steps=int:1:10", ("num_inner_steps", 1, 10, "linear")),
        ("batch_size=logint:16:256", ("batch_size", 16, 256, "log")),
        ("temperature=grid:0,1e-6,1e-5", ("temperature", (0, 1e-6, 1e-5))),
        ("preconditioner=grid:rms,none", ("preconditioner", ("rms", "none"))),
    ],
)
def test_a_search_asks_optuna_for_what_its_flag_says(text, asked):
    (found,) = space.parse_searches([text])
    assert found.suggest(Taped()) == asked


@pytest.mark.parametrize(
    ("texts", "says"),
    [
        ([], "--search=KEY=log:LOW:HIGH"),
        (["step_size"], "not of the form"),
        (["step_size=lin:0:1"], "KEY=linear:LOW:HIGH"),
        (["step_size=log:0:1"], "above 0"),
        (["step_size=log:1e-2:1e-5"], "LOW must be below HIGH"),
        (["step_size=linear:0:inf"], "finite"),
        (["step_size=linear:0"], "two numbers"),
        (["num_inner_steps=int:1:2.5"], "two integers"),
        (["damping=grid:1,1.0"], "twice"),
        (["damping=grid:1", "damping=linear:0:1"], "twice"),
    ],
)
def test_searches_that_are_none_are_refused(texts, says):
    with pytest.raises(InputError) as error:
        space.parse_searches(texts)
    assert says in str(error.value)


def test_an_objective_takes_the_best_answer_that_has_a_value():
    scores = {"last": {"w": 0.3}, "ema": {"w": math.nan}, "mixture": {"w": 0.1, "v": None}}
    for text, expected in [
        ("min:best/w", (0.1, "mixture")),
        ("max:best/w", (0.3, "last")),
        ("max:mixture/w", (0.1, "mixture")),
        ("min:ema/w", None),
        ("min:best/v", None),
    ]:
        assert space.parse_objective(text).of(scores) == expected, text
    scores["ema_100"] = {"w": 0.05}
    for text in ("min:best/w", "min:ema_100/w"):
        assert space.parse_objective(text, ["ema_100"]).of(scores) == (0.05, "ema_100")
    with pytest.raises(InputError, match="one of last, ema, mixture, ema_7, best; METRIC"):
        space.parse_objective("min:ema_100/w", ["ema_7"])
    assert space.parse_objective("max:last/w").worst == -math.inf
    for text in ("wasserstein2", "min:wasserstein2", "least:ema/w", "min:median/w"):
        with pytest.raises(InputError, match="min:ANSWER/METRIC"):
            space.parse_objective(text)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"sampler": "cma"}, "tpe, grid, random"),
        ({"pruner": "asha"}, "median, hyperband, none"),
        ({"num_trials": 0}, "num_trials"),
        ({"jobs": 0}, "jobs"),
        (
            {"search": ("step_siez=grid:1",)},
            "Unknown config key --search=step_siez. Did you mean --search=step_size? Choose one of",
        ),
        ({"set": ("num_batchs=3",)}, "Unknown config key --set=num_batchs. Did you mean --set=num"),
        (
            {"search": ("game=grid:1",)},
            "Unknown config key --search=game. Did you mean --search=game.",
        ),
        (
            {"search": ("num_inner_steps=grid:many",)},
            "--search=num_inner_steps: the value must be of type int, got 'many'.",
        ),
        ({"search": ("step_size=log:1e-4:1",)}, "cannot enumerate"),
        ({"search": ("num_batches=grid:1,2",)}, "set too"),
        ({"config": "configs/none.py"}, "gaussians8_mp.py"),
        ({"objective": "min:ema/mean_bias_sigma", "pruner": "median"}, "wasserstein2"),
        (
            {"config": "configs/mnist_mp.py:tiny", "objective": "min:ema/fod"},
            "The scorecards of dataset=mnist have no fod. Did you mean fid? Choose an --objective",
        ),
        (
            {"set": ("dataset=vectors", "data.path=p.npy"), "objective": "min:ema/wasserstein2"},
            "Choose an --objective of: energy_distance, precision,",
        ),
        (
            {
                "config": "configs/mnist_mp.py:tiny",
                "objective": "max:ema/classes_captured",
                "pruner": "median",
            },
            "--pruner=median cannot see classes_captured during the training",
        ),
    ],
)
def test_a_spec_that_cannot_be_is_refused_before_anything_runs(tmp_path, more, says):
    flags = spec(tmp_path / "out").__dict__ | more
    with pytest.raises(InputError) as error:
        sweep.run(sweep.Spec(**flags), FAKE)
    assert says in str(error.value)
    assert not (tmp_path / "out").exists()


# What becomes of trials.


def test_a_grid_runs_each_point_once_and_finds_the_best(tmp_path, capsys):
    searches = ("step_size=grid:0.1,0.001", "damping=grid:0.25,0.5,1.0")
    trials = run(tmp_path, *searches, jobs=2)
    points = [(t.params["step_size"], t.params["damping"]) for t in trials]
    assert sorted(points) == [(s, d) for s in (0.001, 0.1) for d in (0.25, 0.5, 1.0)]
    for trial in trials:
        distance = abs(math.log10(trial.params["step_size"]) + 3) + trial.params["damping"]
        assert trial.value == pytest.approx(distance)
        assert (trial.state, trial.answer) == ("complete", "ema")
        assert trial.scorecard["strategies"]["ema"]["wasserstein2"] == trial.value
        assert sessions(trial) == [0]
        assert trial.seconds > 0
    best = json.loads((tmp_path / "best.json").read_text())
    assert best["params"] == {"step_size": 0.001, "damping": 0.25}
    assert best["value"] == pytest.approx(0.25)
    assert best["workdir"] == str(trials[best["trial"]].workdir)
    assert f"--workdir={best['workdir']}" in best["command"]
    written = json.loads((tmp_path / "trials.json").read_text())
    assert [t["value"] for t in written] == [t.value for t in trials]
    out = capsys.readouterr().out
    assert out.count("] trial ") == 6
    assert out.splitlines()[-6].split()[0] == str(best["trial"]), "the table begins with the best"
    # The same command has nothing to do.
    assert run(tmp_path, *searches) == trials
    assert all(sessions(trial) == [0] for trial in trials)


@pytest.mark.slow
def test_a_study_goes_on_to_more_trials_as_if_it_had_not_stopped(tmp_path):
    searches = ("step_size=log:1e-5:1e-1", "damping=linear:0.1:1")
    more = {"sampler": "tpe", "seed": 7}
    whole = run(tmp_path / "whole", *searches, num_trials=5, **more)
    for number in (2, 3, 5):
        parts = run(tmp_path / "parts", *searches, num_trials=number, **more)
        assert len(parts) == number
    # The start-up trials, which are random; later ones depend on num_trials / 3.
    assert [t.params for t in parts[:3]] == [t.params for t in whole[:3]]
    assert len({t.params["step_size"] for t in parts}) == 5


def open_databases(folder):
    """Files of `folder` that this process holds open, of databases."""
    links = [link for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    return [end for end in map(os.path.realpath, links) if end.startswith(f"{folder}/sweep.db")]


def test_a_sweep_that_ended_or_was_refused_holds_no_database_open(tmp_path):
    first = Sweep(spec(tmp_path, num_trials=1), FAKE)
    assert open_databases(tmp_path)
    first.close()
    assert not open_databases(tmp_path)
    run(tmp_path, num_trials=1)
    assert not open_databases(tmp_path)
    (tmp_path / "sweep.json").unlink()
    with pytest.raises(InputError, match="storage's study is of"):
        run(tmp_path, "step_size=grid:2,0.001", num_trials=1)
    assert not open_databases(tmp_path)


def test_another_sweep_in_the_same_folder_is_refused(tmp_path):
    run(tmp_path, num_trials=1)
    with pytest.raises(InputError, match="another search"):
        run(tmp_path, "step_size=grid:0.1,0.01", num_trials=1)
    with pytest.raises(InputError, match="holds the study 'gaussians8_mp-mirror_gan'"):
        run(tmp_path, num_trials=1, study="mine")
    # And in another folder on the same storage.
    url = f"sqlite:///{tmp_path}/sweep.db"
    with pytest.raises(InputError, match="another objective"):
        run(tmp_path / "b", num_trials=1, storage=url, objective="max:best/wasserstein2")
    with pytest.raises(InputError, match="cannot be used"):
        run(tmp_path / "c", num_trials=1, storage="nosql://here")
    assert not list((tmp_path / "c").iterdir()), "another sweep may begin there"
    # What was in the folder is somebody's.
    (tmp_path / "d" / "logs").mkdir(parents=True)
    (tmp_path / "d" / "logs" / "mine").touch()
    with pytest.raises(InputError, match="cannot be used"):
        run(tmp_path / "d", num_trials=1, storage="nosql://here")
    assert [str(p.relative_to(tmp_path)) for p in (tmp_path / "d").rglob("*")] == [
        "d/logs",
        "d/logs/mine",
    ]


@pytest.mark.parametrize(
    ("searches", "more", "says"),
    [
        (("temperature=grid:1e-8,1e-6",), {"algorithm": "sgd"}, "has no effect: sgd does not read"),
        (("particles.batch=grid:thin,full",), {}, "has no effect: it is of several particles"),
        (
            ("algorithm=grid:adam,sgdd",),
            {"algorithm": None},
            "algorithm=... has 'sgdd': Unknown algorithm 'sgdd'",
        ),
        (("damping=linear:0.5:2",), {"sampler": "tpe"}, "damping=... has 2.0: "),
        (
            ("algorithm=grid:sgd,adam", "damping=grid:0.5,1"),
            {"algorithm": None},
            "damping=... has no effect",
        ),
    ],
)
def test_what_cannot_be_had_or_does_nothing_is_not_searched(tmp_path, searches, more, says):
    with pytest.raises(InputError, match=re.escape(says)):
        Plan(spec(tmp_path, *searches, **more))
    assert not list(tmp_path.iterdir())


def test_what_some_trials_read_and_what_fits_with_another_value_is_searched(tmp_path):
    """The damping is of one of two algorithms, learnt weights of several generators."""
    searches = ("algorithm=grid:sgd,mirror_gan", "damping=grid:0.5,1.0")
    assert Plan(spec(tmp_path, *searches, algorithm=None)).notes == []
    searches = ("generator.num_particles=grid:1,4", "particles.batch=grid:thin,full")
    assert Plan(spec(tmp_path, *searches)).notes == []


def test_of_too_many_values_nothing_is_concluded(tmp_path):
    """The damping is read by the last of many combinations alone."""
    more = [f"log_every=grid:{','.join(map(str, range(1, 17)))}", "batch_size=grid:8,16,24,32"]
    more += ["ema_decay=grid:0.1,0.2,0.3", "damping=grid:0.5,1.0"]
    assert Plan(spec(tmp_path, "algorithm=grid:sgd,mirror_gan", *more, algorithm=None)).notes == []


def test_what_is_odd_is_said(tmp_path):
    def notes(*searches, **more):
        return [note.split(" ")[0] for note in Plan(spec(tmp_path, *searches, **more)).notes]

    assert notes(objective="max:best/law_distance") == ["--objective=max:best/law_distance"]
    assert notes(objective="min:last/high_quality_3sigma")
    assert notes(objective="min:best/std_ratio")
    assert notes(objective="max:last/high_quality_3sigma") == notes() == []
    assert notes("seed=grid:0,1") == ["--search=seed=..."]
    plan = Plan(dataclasses.replace(spec(tmp_path, "num_batches=grid:5,10"), set=()))
    assert "unequal length" in plan.notes[0]
    told = notes(algorithm="sgd", set=("temperature=1e-3", "step_size_rate=0.1"))
    assert told == ["--set=temperature", "--set=step_size_rate"]
    # Read by the first of the algorithms that are searched, whatever the others do.
    both = {"algorithm": None, "set": ("temperature=1e-6",)}
    assert notes("algorithm=grid:mirror_gan,sgd,adam", **both) == []
    assert notes("algorithm=grid:sgd,adam", **both) == ["--set=temperature"]


def test_a_diverged_trial_has_the_worst_value_and_the_sweep_goes_on(tmp_path):
    trials = run(tmp_path, "step_size=grid:2,0.001")
    assert [(t.state, t.value) for t in trials] == [("diverged", None), ("complete", 0.0)]
    storage = optuna.storages.RDBStorage(f"sqlite:///{tmp_path}/sweep.db")
    study = optuna.load_study(study_name="gaussians8_mp-mirror_gan", storage=storage)
    assert study.trials[0].state == optuna.trial.TrialState.COMPLETE
    assert study.trials[0].value == math.inf, "so that samplers learn of it"
    storage.remove_session()
    storage.engine.dispose()
    assert json.loads((tmp_path / "best.json").read_text())["trial"] == 1
    assert json.loads((tmp_path / "trials.json").read_text())[0]["value"] is None


def test_bad_input_of_a_trial_ends_the_sweep_with_its_message(tmp_path):
    with pytest.raises(InputError, match=r"Trial 1 could not be run: step_size is three\."):
        run(tmp_path, "step_size=grid:0.1,3,0.001")
    assert not (tmp_path / "trials" / "0002").exists()


def test_a_trainer_that_is_killed_is_started_again_and_one_that_fails_is_not(tmp_path, capsys):
    trials = run(tmp_path, "step_size=grid:5,4,0.001")
    assert [t.state for t in trials] == ["complete", "failed", "complete"]
    assert sessions(trials[0]) == [0, 1]
    assert sessions(trials[1]) == [0]
    assert "trial 1 failed: exit code 1, RuntimeError: four (log: " in capsys.readouterr().err


@pytest.mark.slow
def test_three_failures_in_a_row_end_the_sweep(tmp_path):
    with pytest.raises(InputError, match=r"3 trials in a row failed.*RuntimeError: four"):
        run(tmp_path, "step_size=grid:4", "damping=grid:0.1,0.2,0.3,0.4")
    assert not (tmp_path / "trials" / "0003").exists()


def test_trials_that_are_worse_than_others_are_pruned(tmp_path):
    # Equal ones first, then a far worse one, then the best.
    searches = ("damping=grid:0.1,0.2,0.3,0.4,1.0,0.05", "step_size=grid:0.001")
    more = {"pruner": "median", "set": ("score_every=1", "ema_decay=0.05")}
    trials = run(tmp_path, *searches, jobs=1, **more)
    assert [t.state for t in trials] == [*["complete"] * 4, "pruned", "complete"]
    bad = trials[4]
    assert bad.value is None
    assert bad.scorecard is None
    marker = json.loads((bad.workdir / "pruned.json").read_text())
    # The first quarter of its 10 scores is a warm-up.
    assert 2 <= marker["step"] < 10
    assert marker["value"] == pytest.approx(1.0 + 1 - marker["step"] / 10)
    assert bad.scores["last"]["wasserstein2"] >= 1.0
    assert (bad.workdir / "step").is_file(), "it was stopped by a SIGTERM, after a checkpoint"
    assert [(t.workdir / "pruned.json").exists() for t in trials].count(True) == 1


@pytest.mark.parametrize(
    ("more", "looked_for"),
    [
        ({}, "min:best/law_distance"),
        ({"set": ("dataset=vectors", "data.path=p.npy")}, "min:best/energy_distance"),
        ({"config": "configs/mnist_mp.py:tiny"}, "min:best/fid"),
    ],
)
def test_what_is_looked_for_by_itself_is_the_task_s_first_score(more, looked_for):
    flags = spec("out", pruner="median").__dict__ | {"set": ()} | more
    plan = Plan(sweep.Spec(**flags))
    assert plan.looked_for == looked_for
    assert plan.definition["objective"] == looked_for
    assert plan.score_every > 0


def test_scores_are_asked_for_when_there_is_a_pruner():
    def flags(**more):
        plan = Plan(spec("out", **{"pruner": "median", **more}))
        return plan.job("", {"step_size": 0.5}, Path("w"), ("trainer",)).command()

    assert flags() == [
        "trainer",
        f"--config={TINY}",
        "--config.algorithm=mirror_gan",
        "--config.score_every=2",  # log_every, which is more than num_batches / 20
        "--config.keep_last=1",
        "--config.num_batches=10",
        "--config.step_size=0.5",
        "--workdir=w",
    ]
    given = flags(set=("score_every=5", "keep_last=2"))
    assert given[3:6] == [
        "--config.num_batches=10",
        "--config.score_every=5",
        "--config.keep_last=2",
    ]
    assert not [x for x in flags(pruner="none") if "score_every" in x]


@pytest.mark.slow
def test_a_sweep_of_a_table_of_ones_own(tmp_path):
    """With the trainer itself: its scores are seen on the way, and the best is read."""
    np.save(tmp_path / "points.npy", np.random.default_rng(0).normal(size=(200, 3)))
    own = ("dataset=vectors", f"data.path={tmp_path / 'points.npy'}", "num_batches=4")
    more = {"search": ("step_size=grid:0.1,0.001",), "sampler": "grid", "num_trials": 2}
    a_sweep = sweep.Spec(TINY, tmp_path / "out", algorithm="sgd", set=own, threads=1, **more)
    trials = sweep.run(a_sweep)
    assert [t.state for t in trials] == ["complete"] * 2
    best = json.loads((tmp_path / "out" / "best.json").read_text())
    assert best["objective"] == "min:best/energy_distance"
    assert best["value"] == min(t.value for t in trials)
    seen = [json.loads(x) for x in (trials[0].workdir / "metrics.jsonl").read_text().splitlines()]
    assert "score/ema/energy_distance" in seen[0]


# Kills.

SLOW = ("ema_decay=0.1",)


def test_a_killed_sweeps_trial_is_taken_up_where_it_was(tmp_path):
    a_spec = spec(tmp_path, jobs=2, set=SLOW)
    process = in_a_process(a_spec)
    workdirs = [tmp_path / "trials" / f"{n:04d}" for n in range(2)]
    wait_for(lambda: all((w / "metrics.jsonl").exists() for w in workdirs))
    time.sleep(0.3)
    process.kill()
    process.wait()
    assert not (tmp_path / "best.json").exists()
    # At once: the trainers are still writing their checkpoints.
    trials = sweep.run(a_spec, FAKE)
    assert [t.state for t in trials] == ["complete", "complete"]
    for trial in trials:
        first, second = sessions(trial)
        assert first == 0
        assert second > 0, "the kernel sent the trainer a SIGTERM, and it wrote a checkpoint"


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, 143), pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow)],
)
def test_a_stopped_sweep_stops_its_trials_after_a_checkpoint(tmp_path, number, code):
    a_spec = spec(tmp_path, num_trials=1, set=SLOW)
    process = in_a_process(a_spec)
    workdir = tmp_path / "trials" / "0000"
    wait_for(lambda: (workdir / "metrics.jsonl").exists())
    process.send_signal(number)
    assert process.wait(20) == code
    assert (workdir / "step").is_file()
    assert [t["state"] for t in json.loads((tmp_path / "trials.json").read_text())] == ["running"]
    (trial,) = sweep.run(a_spec, FAKE)
    assert trial.state == "complete"
    assert len(sessions(trial)) == 2


@pytest.mark.slow  # three processes with TensorFlow; what each does at a time is the tests' above
def test_processes_share_a_study_and_run_each_trial_once(tmp_path):
    searches = ("step_size=grid:0.1,0.01,0.001", "damping=grid:0.1,0.2")
    url = f"sqlite:///{tmp_path}/all.db"
    # Two on one folder, one elsewhere.
    folders = [tmp_path / name for name in ("a", "a", "b")]
    processes = [
        in_a_process(spec(f, *searches, storage=url, set=("ema_decay=0.02",))) for f in folders
    ]
    assert [p.wait(120) for p in processes] == [0, 0, 0]
    ran = [path for f in ("a", "b") for path in (tmp_path / f / "trials").iterdir()]
    assert sorted(path.name for path in ran) == [f"{n:04d}" for n in range(6)]
    assert all(sessions(path) == [0] for path in ran)
    trials = sweep.run(spec(tmp_path / "b", *searches, storage=url, set=("ema_decay=0.02",)), FAKE)
    assert [t.state for t in trials] == ["complete"] * 6
    assert len({tuple(t.params.values()) for t in trials}) == 6


def test_the_trainer_gets_its_threads(tmp_path):
    script = tmp_path / "trainer.py"
    names = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")
    script.write_text(
        f"import os; print('threads', *(os.environ.get(n) for n in {names})); raise SystemExit(2)"
    )
    for threads, says in ((3, "threads 3 3 3"), (0, "threads " + " ".join(_inherited(names)))):
        with pytest.raises(InputError, match=says):
            sweep.run(spec(tmp_path / f"{threads}", threads=threads), (sys.executable, str(script)))


def _inherited(names):
    return [str(os.environ.get(name)) for name in names]


def test_who_loses_the_race_for_the_tables_tries_again_and_other_errors_are_told(monkeypatch):
    from trainers.campaigns.search import trials as study

    monkeypatch.setattr(study.time, "sleep", lambda _: None)
    errors = [ValueError("UNIQUE constraint failed: alembic_version.version_num")]

    def second():
        if errors:
            raise errors.pop()
        return "study"

    assert study._after_a_race(second) == "study"
    for message, calls in (("unable to open database file", 1), ("table x already exists", 4)):
        tried = []

        def create(message=message, tried=tried):
            tried.append(message)
            raise ValueError(message)

        with pytest.raises(ValueError, match=message):
            study._after_a_race(create)
        assert len(tried) == calls
