"""One run end to end: what a workdir holds, resuming, stopping, refusing."""

import json
import math
import resource
import runpy
import signal
import time

import numpy as np
import pytest

from tests.trainers.conftest import (
    FEW_SCORED,
    ROOT,
    command,
    interrupted,
    process,
    started,
    tiny,
    tiny_images,
)
from tf_mixed_nash.errors import InputError
from tf_mixed_nash.metrics.scorecard import KEYS
from tf_mixed_nash.strategies.mixed import seed_rows
from tf_mixed_nash.training.loop import Loop
from trainers.answers import reading
from trainers.experiment import settings
from trainers.experiment.build import build
from trainers.session import train
from trainers.session.session import Session
from trainers.tasks.data.synthetic import DATASETS


def cpu_seconds():
    """Of the processes that were started and have ended; a busy machine does not lengthen them."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def lines(workdir):
    return [json.loads(x) for x in (workdir / "metrics.jsonl").read_text().splitlines()]


def weights(workdir):
    return {
        name: s.atoms.numpy() for name, s in reading.answers_of(reading.load_loop(workdir)).items()
    }


def test_a_workdir_holds_what_the_contract_names(finished):
    workdir, done = finished
    names = {p.name for p in workdir.iterdir()}
    assert names == {
        "config.json",
        "provenance.json",
        "metrics.jsonl",
        "tensorboard",
        "checkpoints",
        "samples",
        "scorecard.json",
        "times.jsonl",
        "export",
        ".lock",
    }
    assert list((workdir / "tensorboard").glob("events.out.tfevents.*"))
    assert sorted(p.name for p in (workdir / "samples").glob("step_*.png"))[-1] == (
        "step_00000012.png"
    )
    assert (workdir / "export" / "generator" / "1" / "saved_model.pb").is_file()
    assert [x["step"] for x in lines(workdir)] == [2, 4, 6, 8, 10, 12]
    provenance = json.loads((workdir / "provenance.json").read_text())
    assert provenance.keys() == {
        "command", "code", "compile", "config", "draws", "environment", "executable", "hardware",
        "seed", "sessions", "tensor_float_32", "time", "versions",
    }  # fmt: skip
    assert provenance["config"] == json.loads((workdir / "config.json").read_text())
    assert [s["from_step"] for s in provenance["sessions"]] == [0]
    for part in ("scorecard", "published.png", "export.sample", "real data"):
        assert part in done.stdout or part == "scorecard"
    assert not [x for x in done.stderr.splitlines() if "tensorflow" in x.lower() or "0000" in x]


def test_the_scorecard_has_the_contracts_keys(finished):
    card = json.loads((finished[0] / "scorecard.json").read_text())
    assert set(card) == {*KEYS, "strategies", "real_data_ceiling", "by_mode"}
    assert set(card["strategies"]) == {"last", "ema", "mixture"}
    assert set(card["by_mode"]) == {"last", "ema", "mixture", "real_data"}
    for part in (*card["strategies"].values(), card["real_data_ceiling"]):
        assert set(part) == set(KEYS)
    assert {k: card[k] for k in KEYS} == card["strategies"]["mixture"], "mixture is published"
    assert card["real_data_ceiling"]["modes_captured"] == 8


def test_the_published_model_draws_what_the_mixture_draws(finished):
    import tensorflow as tf

    workdir, _ = finished
    model = tf.saved_model.load(str(workdir / "export" / "generator" / "1"))
    seeds = seed_rows(3, 50)
    mine = reading.answers_of(reading.load_loop(workdir))["mixture"].sample(seeds)
    theirs = model.signatures["serving_default"](seeds=seeds)["samples"]
    np.testing.assert_allclose(theirs, mine, rtol=1e-5, atol=1e-6)
    with np.load(workdir / "samples" / "final.npz") as saved:
        picture = model.signatures["serving_default"](seeds=seed_rows(0, 2500))["samples"]
        np.testing.assert_allclose(saved["mixture"], picture, rtol=1e-5, atol=1e-6)


def test_a_finished_run_says_so_and_is_left_alone(finished):
    workdir, done = finished
    before = {p: p.stat().st_mtime_ns for p in workdir.rglob("*") if p.is_file()}
    again = command("trainers.run", *done.args[3:])
    assert again.returncode == 0
    assert "finished" in again.stdout
    assert {p: p.stat().st_mtime_ns for p in workdir.rglob("*") if p.is_file()} == before


def test_a_run_may_end_without_a_model(tmp_path, capsys):
    """`export.saved_model` makes it later, and the workdir is the same run with or without."""
    workdir = tmp_path / "run"
    few = {
        "num_batches": 4,
        "log_every": 2,
        "picture_every": 0,
        "checkpoint_every": 4,
        **FEW_SCORED,
    }
    assert train.train(tiny("sgd", export=False, **few), workdir) == 0
    out = capsys.readouterr().out
    assert f"export.saved_model --workdir={workdir} --output=MODELS makes one" in out
    assert "SavedModel  " not in out
    assert (workdir / "samples" / "published.png").is_file()
    assert len(list((workdir / "samples").glob("step_*.png"))) == 1, "at the end alone"
    assert (workdir / "scorecard.json").is_file()
    assert not (workdir / "export").exists()
    assert train.train(tiny("sgd", **few), workdir) == 0
    assert "finished" in (out := capsys.readouterr().out)
    assert f"It has no model. python -m export.saved_model --workdir={workdir}" in out
    assert not (workdir / "export").exists()


@pytest.mark.parametrize(("held_out", "every", "said"), [(0.0, 4, 1), (0.25, 4, 0), (0.0, 0, 0)])
def test_a_gap_of_images_that_are_trained_on_is_said(
    held_out, every, said, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(Session, "go_on", lambda self, until=None: 0)
    np.save(tmp_path / "images.npy", np.zeros((16, 32, 32, 3), np.uint8))
    data = {"data__path": str(tmp_path / "images.npy"), "image__held_out": held_out}
    config = tiny_images("mirror_gan", duality_gap__every=every, **data)
    assert train.train(config, tmp_path / "run") == 0
    out = capsys.readouterr().out
    assert out.count("--config.image.held_out=0.05 keeps a twentieth of them for it.") == said


@pytest.mark.parametrize(("every", "step", "said"), [(2, 0, 1), (2, 2, 0), (1, 0, 0)])
def test_what_is_known_of_lazy_penalties_is_said_where_the_run_begins(
    every, step, said, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(Session, "_restore", lambda self: step)
    monkeypatch.setattr(Session, "go_on", lambda self, until=None: 0)
    assert train.train(tiny("sgd", game__penalty_every=every), tmp_path / "run") == 0
    out = capsys.readouterr().out
    assert out.count("penalty_every=2: it saves time, no more; R3GAN's authors found") == said
    assert "compile=" in out


def test_another_config_is_refused(finished):
    workdir, _ = finished
    with pytest.raises(InputError, match=r"another config \(.*num_batches: 12 there, 14 now"):
        train.train(tiny(num_batches=14), workdir)


def test_a_folder_of_somebody_elses_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(InputError, match="not empty"):
        train.train(tiny(), tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_an_unwritable_workdir_is_refused():
    with pytest.raises(InputError, match="--workdir"):
        train.train(tiny(), ROOT / "setup.py" / "run")


@pytest.mark.slow
def test_same_seed_same_run_and_resuming_changes_nothing(tmp_path):
    config = tiny("mirror_gan", num_batches=12)
    assert train.train(config, tmp_path / "a") == 0
    # The second is interrupted after its fourth mini-batch.
    workdir = tmp_path / "b"
    with interrupted(lambda _, until: until > 4):
        train.train(config, workdir)
    assert [x["step"] for x in lines(workdir)] == [2, 4]
    with (workdir / "metrics.jsonl").open("a") as file:  # a line after the checkpoint, cut off
        file.write('{"step": 6}\n{"step": 8, "lo')
    assert train.train(config, workdir) == 0
    assert lines(workdir) == lines(tmp_path / "a")
    for name, atoms in weights(tmp_path / "a").items():
        np.testing.assert_array_equal(weights(workdir)[name], atoms, name)
    other = tiny("mirror_gan", num_batches=12, seed=1)
    assert train.train(other, tmp_path / "c") == 0
    assert lines(tmp_path / "c") != lines(tmp_path / "a")


def test_divergence_exits_3_and_names_step_player_and_checkpoint(tmp_path, capsys):
    config = tiny("sgd", num_batches=400, step_size=1e30, checkpoint_every=100)
    assert train.train(config, tmp_path / "run") == 3
    message = capsys.readouterr().err
    assert "diverged" in message
    assert "generator" in message or "discriminator" in message
    assert "mini-batch" in message
    assert "none yet" in message
    assert not (tmp_path / "run" / "scorecard.json").exists()


def test_sigterm_stops_after_a_checkpoint_and_the_same_command_resumes(tmp_path):
    process = started(
        "trainers.run", "--config=configs/gaussians8_md.py:tiny",
        "--config.num_batches=200000", "--config.log_every=50",
        "--config.picture_every=100000", "--config.checkpoint_every=100000",
        f"--workdir={tmp_path / 'run'}",
    )  # fmt: skip
    metrics = tmp_path / "run" / "metrics.jsonl"
    deadline = time.monotonic() + 90
    while not (metrics.is_file() and metrics.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "the same command resumes" in out
    loop = reading.load_loop(tmp_path / "run")
    # Between two records: a stop does not wait for the next.
    assert 0 <= loop.step - lines(tmp_path / "run")[-1]["step"] < 50


# How long it takes where nothing was imported before is for the slow tests.
@pytest.mark.parametrize("start", [command, pytest.param(process, marks=pytest.mark.slow)])
def test_dry_run_prints_the_config_and_sizes_in_time_and_writes_nothing(start, tmp_path):
    before = cpu_seconds()
    done = start(
        "trainers.run",
        "--config=configs/gaussians25_md.py:pure",
        "--config.algorithm=adam",
        f"--workdir={tmp_path / 'run'}",
        "--dry_run",
    )
    assert cpu_seconds() - before < 8
    assert done.returncode == 0
    # 2*512+512 + 2*(512*512+512) + 512*2+2, and 512+1 at the end for the discriminator.
    assert "527,874 parameters" in done.stdout
    assert "527,361 parameters" in done.stdout
    assert '"algorithm": "adam"' in done.stdout
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--config=configs/gaussians8_mp.py:tiny", "--config.algorithm=adan"], "sgd, rmsprop"),
        (["--config=configs/gaussians8_mp.py:tiny", "--config.stepsize=1"], "--config.step_size?"),
        (["--config=configs/gaussians8_mp.py:tiny", "--config.batch_size=many"], "batch_size=many"),
        (["--config=configs/moons_mp.py"], "configs/gaussians8_mp.py"),
        (["--config=configs/gaussians8_mp.py:huge"], "'huge'"),
        (["--config=configs/gaussians8_mp.py:tiny", "--wrkdir=x"], "wrkdir"),
        ([], "--config"),
    ],
)
def test_bad_commands_exit_2_with_one_message_and_write_nothing(arguments, says, tmp_path):
    # What a start takes, the test above sees: to be refused takes no more.
    done = command("trainers.run", *arguments, f"--workdir={tmp_path / 'run'}")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_help_is_quick_and_lists_the_flags():
    before = cpu_seconds()
    done = process("trainers.run", "--help")
    assert cpu_seconds() - before < 3, "--help must not load TensorFlow"
    assert done.returncode == 0
    for flag in ("--config", "--workdir", "dry_run", "Exit codes"):
        assert flag in done.stdout


PLANAR = [p for n in DATASETS for p in sorted(ROOT.glob(f"configs/{n}_m[dp].py"))]


# The others are slow tests: they differ by their data alone.
FIRST = ("gaussians8_mp", "swissroll_md")


@pytest.mark.usefixtures("without_publishing", "quick_samplers", "quick_pictures")
@pytest.mark.parametrize(
    "path",
    [pytest.param(p, id=p.stem, marks=[] if p.stem in FIRST else pytest.mark.slow) for p in PLANAR],
)
def test_every_planar_config_runs_two_outer_steps_when_tiny(path, tmp_path):
    config = runpy.run_path(str(path))["get_config"]("tiny")
    assert config.dataset == path.stem.rsplit("_", 1)[0]
    names = {"md": "mirror_gan", "mp": "mirror_prox_gan", "gaussians25_md": "alt_mirror_gan"}
    assert config.algorithm == names.get(path.stem, names[path.stem[-2:]])
    assert train.train(settings.resolve(config), tmp_path / "run") == 0
    assert lines(tmp_path / "run")[-1]["outer_step"] == 2
    card = json.loads((tmp_path / "run" / "scorecard.json").read_text())
    assert card["real_data_ceiling"]["modes_captured"] == card["num_modes"]


@pytest.mark.usefixtures("without_publishing", "quick_samplers", "quick_pictures")
@pytest.mark.parametrize(
    "objective",
    ["user", *(pytest.param(n, marks=pytest.mark.slow) for n in ("nonsaturating", "hinge"))],
)
def test_other_games_train(objective, tmp_path):
    if objective == "user":
        file = tmp_path / "mine.py"
        file.write_text(
            "import tensorflow as tf\n"
            "def square(real, fake):\n"
            "    from tf_mixed_nash.games.objectives import Losses\n"
            "    d = tf.reduce_mean((real - 1) ** 2) + tf.reduce_mean(fake ** 2)\n"
            "    return Losses(d, -tf.reduce_mean(fake))\n"
        )
        objective = f"{file}:square"
    config = tiny(
        "mirror_gan",
        num_batches=6,
        game__objective=objective,
        game__r1=0.1,
        game__weight_clip=0.05,
        discriminator_steps=2,
    )
    assert train.train(config, tmp_path / "run") == 0
    last = lines(tmp_path / "run")[-1]
    assert all(math.isfinite(v) for v in last.values())
    loop = reading.load_loop(tmp_path / "run")
    assert np.abs(loop.last().w).max() <= 0.05 + 1e-7, "w lives in its box"
    assert np.abs(loop.last().theta).max() > 0.05


def test_a_missing_or_empty_objective_file_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="no file"):
        build(tiny(game__objective=f"{tmp_path}/none.py:f"))
    (tmp_path / "some.py").write_text("def other(): pass")
    with pytest.raises(InputError, match="It has: other"):
        build(tiny(game__objective=f"{tmp_path}/some.py:f"))


def test_bfloat16_keeps_a_float32_state():
    config = tiny("mirror_gan", precision="mixed_bfloat16", num_batches=4)
    loop = Loop(build(config))
    assert loop.advance(4) is None
    exact = Loop(build(tiny("mirror_gan", num_batches=4)))
    exact.advance(4)
    mine, theirs = loop.last().theta.numpy(), exact.last().theta.numpy()
    assert mine.dtype == np.float32
    assert 0 < np.abs(mine - theirs).max() < 0.02, "close to float32, and not the same"
