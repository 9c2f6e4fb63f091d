"""Many runs in one process, and what a kill and a divergence leave of them."""

import json

import numpy as np
import pytest

from tests.trainers.conftest import command, tiny
from tf_mixed_nash.errors import InputError
from trainers.session import train
from trainers.session.session import Session
from trainers.session.together import Member, Outcome, train_together
from trainers.system import cli
from trainers.workdir.checkpoints import Checkpoints, Retention


def config(**more):
    same = {"num_batches": 8, "precision": "float64", "model__hidden_units": (4,)}
    same |= {"mixture__window": (0.5, 1.0), "checkpoint_every": 2, "log_every": 2, "batch_size": 4}
    same |= {"scorecard__num_samples": 100, "scorecard__capture_samples": 100}
    return tiny("sgd", **(same | more))


def records(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def tensors(workdir):
    found = Checkpoints(workdir / "checkpoints", Retention(3, 0, "")).read()
    return {name: np.asarray(x) for name, x in found.tensors.items()}


@pytest.mark.slow
@pytest.mark.usefixtures("without_publishing", "quick_samplers", "quick_pictures")
def test_a_population_that_is_killed_goes_on_and_ends_as_its_runs_alone(tmp_path, monkeypatch):
    configs = [config(seed=1), config(seed=2, step_size=3e-3), config(seed=3, step_size=1e140)]
    names = ["one", "two", "lost"]
    for name, each in zip(names[:2], configs, strict=False):
        assert train.train(each, tmp_path / "alone" / name) == cli.DONE
    members = [Member(c, tmp_path / n) for c, n in zip(configs, names, strict=True)]
    save = Session._save

    def killed(session, journal):
        if session.workdir.name == "two" and session.loop.step == 6:
            raise MemoryError
        save(session, journal)

    with monkeypatch.context() as patch:
        patch.setattr(Session, "_save", killed)
        with pytest.raises(MemoryError):
            train_together(members)
    newest = [
        Checkpoints(tmp_path / n / "checkpoints", Retention(3, 0, "")).read().saved.step
        for n in names[:2]
    ]
    assert newest == [6, 4], "one had written its checkpoint, and the other had not"

    code, outcomes = train_together(members)
    assert code == cli.DIVERGED
    assert [outcome.how for outcome in outcomes] == ["done", "done", "diverged"]
    assert (tmp_path / "lost" / "postmortem_1.json").is_file()
    for name in names[:2]:
        alone, mine = (tmp_path / "alone" / name, tmp_path / name)
        for a, b in zip(records(alone), records(mine), strict=True):
            assert a == pytest.approx(b, rel=1e-9)
        there, here = tensors(alone), tensors(mine)
        assert there.keys() == here.keys()
        for key, value in there.items():
            np.testing.assert_allclose(here[key], value, rtol=1e-10, atol=1e-10, err_msg=key)
        assert (mine / "scorecard.json").is_file()
        facts = json.loads((mine / "provenance.json").read_text())
        assert "2 more runs in one program" in facts["compile"]["reason"]
        manifest = next((mine / "checkpoints").glob("step_*8/manifest.json"))
        assert json.loads(manifest.read_text())["compile"] == "parts, 3 runs"
    # Nothing is left to do.
    code, outcomes = train_together(members[:2])
    assert (code, outcomes) == (cli.DONE, [Outcome("done")] * 2)


def test_what_cannot_be_one_population_is_refused_before_anything_is_written(tmp_path):
    members = [
        Member(config(), tmp_path / "a"),
        Member(config(discriminator__damping=0.5, batch_size=8), tmp_path / "b"),
    ]
    with pytest.raises(InputError, match=r"have the same batch_size, got 4 and 8. They may differ"):
        train_together(members)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_command_trains_every_combination(tmp_path):
    done = command(
        "trainers.many",
        "--config=configs/gaussians8_md.py:tiny",
        "--set=model.hidden_units=(4,)",
        "--each=seed=0,1",
        f"--workdir={tmp_path}",
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-2:] == [f"{tmp_path}/seed{i}: done" for i in (0, 1)]
    assert (tmp_path / "seed1" / "export" / "generator" / "1" / "saved_model.pb").is_file()


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ((), "Give an experiment with --config"),
        (("--config=configs/gaussians8_md.py",), "Say where the runs go"),
        (("--config=configs/gaussians8_md.py", "--workdir=w"), "Say in what the runs differ"),
        (
            ("--config=configs/gaussians8_md.py", "--workdir=w", "--each=seed"),
            "--each=seed is not of the form KEY=VALUE,VALUE,...",
        ),
        (
            ("--config=configs/gaussians8_md.py", "--workdir=w", "--each=seed=0,0"),
            "--each=seed=0,0: a value comes twice",
        ),
        (("--runs=none.json",), "--runs=none.json is no list of runs"),
    ],
)
def test_bad_flags_of_the_command(flags, says):
    done = command("trainers.many", *flags)
    assert done.returncode == cli.BAD_INPUT
    assert says in done.stderr
