"""The command that weighs and prunes a finished run's mixture."""

import json
import pickle
import shutil

import numpy as np
import pytest
import tensorflow as tf

from tests.oracles import gan
from tests.shared import shared_folder
from tests.trainers.conftest import (
    FEW_SCORED,
    command,
    publish_without_model,
    state_of,
    tiny,
)
from tf_mixed_nash import rng
from tf_mixed_nash.errors import InputError
from tf_mixed_nash.metrics.scorecard import KEYS
from tf_mixed_nash.strategies.mixed import seed_rows
from trainers.answers import publishing, reading, weighing
from trainers.session import train
from trainers.workdir.checkpoints import Checkpoints

WIDTHS = (2, 16, 16, 2), (2, 16, 16, 1)
NUM = 50


@pytest.fixture(scope="session")
def better(tmp_path_factory):
    """A run of five snapshots and what trainers.mixtures made of it: (workdir, process)."""

    def make(folder):
        workdir = folder / "run"
        config = tiny(
            "mirror_gan",
            num_batches=20,
            log_every=10,
            picture_every=20,
            checkpoint_every=20,
            mixture__num_components=5,
            step_size=0.02,
            **FEW_SCORED,
        )
        with pytest.MonkeyPatch.context() as patch:
            # The run's own model is another test's.
            patch.setattr(publishing, "publish_strategy", publish_without_model)
            assert train.train(config, workdir) == 0
        done = command(
            "trainers.mixtures", f"--workdir={workdir}", f"--num_samples={NUM}", "--publish"
        )
        assert done.returncode == 0, done.stderr
        (folder / "done.pickle").write_bytes(pickle.dumps(done))

    folder = shared_folder(tmp_path_factory, "mixtures", make)
    return folder / "run", pickle.loads((folder / "done.pickle").read_bytes())


def result(workdir):
    return json.loads((workdir / "mixture" / "mixture.json").read_text())


def test_it_writes_and_prints_the_report(better):
    workdir, done = better
    names = {p.name for p in (workdir / "mixture").iterdir()}
    assert names == {"mixture.json", "report.md", "report.png", "weights.npz"}
    for row in ("last", "ema", "mixture", "single", "weighted", "pruned", "real data"):
        assert sum(x.strip().startswith(row) for x in done.stdout.splitlines()) >= 2, row
    card = result(workdir)
    assert set(card["strategies"]) == {"last", "ema", "mixture", "single", "weighted", "pruned"}
    assert set(card["strategies"]["pruned"]) == set(KEYS)
    report = card["report"]
    assert {r["window"] for r in report} >= {"all", "last half", "first half"}
    assert {r["num_components"] for r in report if r["window"] == "all"} == {1, 2, 4, 5}
    assert all(r["gap"] >= -1e-9 for r in report)
    by_key = {(r["window"], r["num_components"], r["weights"]): r for r in report}
    for (window, M, how), r in by_key.items():
        if how == "weighted":
            assert r["worst"] <= by_key[window, M, "uniform"]["worst"] + 1e-4
    whole = by_key["all", 5, "uniform"]
    assert whole["gap"] == pytest.approx(card["game"]["mixture"]["gap"])
    mixture = card["strategies"]["mixture"]
    assert whole["reverse_kl"] == pytest.approx(mixture["reverse_kl"])
    assert not [x for x in done.stderr.splitlines() if "retracing" in x]


def test_the_uniform_mixture_scores_what_its_run_scored(better):
    workdir, _ = better
    theirs = json.loads((workdir / "scorecard.json").read_text())["strategies"]
    ours = result(workdir)["strategies"]
    for name in ("last", "ema", "mixture"):
        for key, value in theirs[name].items():
            assert ours[name][key] == (value if value is None else pytest.approx(value)), key


def test_the_payoffs_are_numpys_on_held_out_draws(better):
    workdir, _ = better
    loop = reading.load_loop(workdir)
    kept, t = loop.mixture_pairs()
    with np.load(workdir / "mixture" / "weights.npz") as saved:
        F, fresh, steps, p, q = (saved[k] for k in ("F", "fresh", "t", "p", "q"))
    # The check is on other draws: no payoff is equal, all are near (both have about 50 samples).
    assert (fresh != F).all()
    assert np.abs(F - fresh).mean() < 0.5
    np.testing.assert_array_equal(steps, t)
    assert len(set(steps)) == 5
    assert ((steps >= 0) & (steps < 20)).all()
    key = rng.fold_in(rng.stream(loop.run.config["seed"], "mixture"), 0)
    real = loop.run.task.data.sample(rng.fold_in(key, 0), 8 * NUM).numpy()
    latents = rng.normal(key, [7, NUM, 2], at=2).numpy()
    for i, w in enumerate(kept.w.numpy()):
        critic = gan.unpack(w, WIDTHS[1])
        f_real = gan.forward(critic, real)[0]
        for j, theta in enumerate(kept.theta.numpy()):
            fake = gan.forward(gan.unpack(theta, WIDTHS[0]), latents[j])[0]
            expected = (f_real.mean() - gan.forward(critic, fake)[0].mean()) / f_real.std()
            assert F[i, j] == pytest.approx(expected, abs=2e-5)
            assert F[i + 5, j] == -F[i, j]
    card = result(workdir)
    assert card["game"]["weighted"]["worst"] == pytest.approx((F @ p).max())
    assert card["certified_gap"] == pytest.approx((F @ p).max() - (q @ F).min(), abs=1e-9)
    uniform = (F @ np.full(5, 0.2)).max()
    assert card["game"]["mixture"]["worst"] == pytest.approx(uniform)
    assert card["game"]["mixture"]["gap"] == pytest.approx(uniform - (q @ F).min())
    assert card["game"]["single"]["worst"] == pytest.approx(F.max(axis=0).min())


def test_the_published_model_is_the_pruned_mixture(better):
    workdir, _ = better
    version = workdir / "export" / "generator" / "2"
    manifest = json.loads((version / "manifest.json").read_text())
    card = result(workdir)
    pruned = card["game"]["pruned"]
    assert manifest["strategy"] == "weighted"
    assert manifest["num_components"] == pruned["num_components"] == len(pruned["weights"])
    np.testing.assert_allclose(manifest["weights"], pruned["weights"], atol=1e-7)
    assert sum(manifest["weights"]) == pytest.approx(1.0)
    assert pruned["worst"] <= card["game"]["weighted"]["worst"] + card["tolerance"] + 1e-9
    loop = reading.load_loop(workdir)
    kept, t = loop.mixture_pairs()
    rows = [list(t.numpy()).index(step) for step in pruned["outer_steps"]]
    model = tf.saved_model.load(str(version))
    seeds = seed_rows(3, 40)
    samples = model.signatures["serving_default"](seeds=seeds)["samples"].numpy()
    # Every sample is one of the chosen components'.
    latents = reading.answers_of(loop)["mixture"].draw(seeds)[1].numpy()
    each = [gan.forward(gan.unpack(kept.theta[j].numpy(), WIDTHS[0]), latents)[0] for j in rows]
    nearest = np.abs(np.stack(each) - samples).max(axis=2).min(axis=0)
    assert nearest.max() < 1e-5


@pytest.mark.slow
def test_the_same_command_gives_the_same_weights(better, tmp_path):
    workdir = tmp_path / "copy"
    shutil.copytree(better[0], workdir)
    done = command("trainers.mixtures", f"--workdir={workdir}", f"--num_samples={NUM}")
    assert done.returncode == 0, done.stderr
    ours, theirs = (np.load(w / "mixture" / "weights.npz") for w in (workdir, better[0]))
    for key in theirs:
        np.testing.assert_array_equal(ours[key], theirs[key], key)
    assert not (workdir / "export" / "generator" / "3").exists(), "published only when asked"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "--workdir"),
        (["--workdir=/nowhere"], "No such workdir"),
        (["--workdir=configs"], "not a workdir"),
        (["--workdir=configs", "--tolerance=-0.1"], "--tolerance must be at least 0"),
        (["--workdir=configs", "--num_samples=0"], "--num_samples"),
    ],
)
def test_bad_input_exits_2(arguments, says):
    done = command("trainers.mixtures", *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def old_checkpoint(workdir, into):
    """A copy of the workdir whose checkpoint is as runs wrote it before w was kept."""
    loop = reading.load_loop(workdir)
    old = {
        name.replace("/", "__"): tf.Variable(value)
        for name, value in state_of(loop).items()
        if name not in ("mixture_w", "mixture_t")
    }
    shutil.copytree(workdir, into)
    shutil.rmtree(into / "checkpoints")
    manager = tf.train.CheckpointManager(
        tf.train.Checkpoint(**old), str(into / "checkpoints"), max_to_keep=1
    )
    manager.save(checkpoint_number=loop.step)
    return loop


def test_old_checkpoints_still_restore_and_say_what_they_lack(better, tmp_path):
    loop = old_checkpoint(better[0], tmp_path / "old")
    found = reading.load_loop(tmp_path / "old")
    np.testing.assert_array_equal(found.mixture(), loop.mixture())
    with pytest.raises(InputError, match="5 of the 5 snapshots have no discriminator"):
        weighing.kept_of(found, tmp_path / "old")


def test_a_damaged_checkpoint_is_not_taken_for_an_old_one(better, tmp_path):
    loop = reading.load_loop(better[0])
    some = {n.replace("/", "__"): tf.Variable(v) for n, v in state_of(loop).items() if n != "ema"}
    manager = tf.train.CheckpointManager(tf.train.Checkpoint(**some), str(tmp_path), max_to_keep=1)
    manager.save(checkpoint_number=1)
    with pytest.raises(InputError, match="lacks ema"):
        loop.assign(Checkpoints(tmp_path).read().tensors)


def test_an_unfinished_run_is_refused(better, tmp_path):
    workdir = tmp_path / "unfinished"
    shutil.copytree(better[0], workdir)
    (workdir / "scorecard.json").unlink()
    done = command("trainers.mixtures", f"--workdir={workdir}")
    assert done.returncode == 2
    assert "not finished" in done.stderr


def test_packs_of_data_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(publishing, "publish_strategy", publish_without_model)
    config = tiny("sgd", game__packing=2, game__gradient_penalty=0.0, num_batches=2, **FEW_SCORED)
    assert train.train(config, tmp_path / "run") == 0
    done = command("trainers.mixtures", f"--workdir={tmp_path / 'run'}")
    assert done.returncode == 2
    assert "packs of 2 data (game.packing)" in done.stderr
    assert done.stderr.count("\n") == 1
