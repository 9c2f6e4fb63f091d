"""Runs whose players are measures of several networks, end to end."""

import json
import shutil

import numpy as np
import pytest
import tensorflow as tf

from export import publish, verify
from export.strategy import publish_strategy
from tests.trainers.conftest import (
    command,
    interrupted,
    process,
    publish_without_model,
    state_of,
    tiny,
)
from tf_mixed_nash.errors import InputError
from tf_mixed_nash.metrics.scorecard import KEYS
from tf_mixed_nash.strategies.mixed import seed_rows
from tf_mixed_nash.training.loop import Loop
from trainers.answers import publishing, reading
from trainers.experiment import settings
from trainers.experiment.build import build
from trainers.session import train
from trainers.workdir.checkpoints import Checkpoints

pytestmark = pytest.mark.usefixtures("quick_pictures")

# Weights far from equal after a few steps, and atoms that are reborn.
LEARNT = {"generator__weights": "learnt", "generator__weight_step": 2.0}
REBORN = {**LEARNT, "generator__rebirth_below": 0.2}
ALGORITHMS = {
    "mirror_prox_gan": REBORN,
    "adam": {},
    "extra_adam": {"discriminator__num_particles": 2},
    "chambolle_pock": {"particles__batch": "thin"},
}


def config(algorithm, **more):
    mine = {"num_batches": 12, "generator__num_particles": 4, **ALGORITHMS[algorithm]}
    return tiny(algorithm, **mine | more)


def lines(workdir):
    return [json.loads(x) for x in (workdir / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    "algorithm",
    [
        pytest.param(name, marks=[] if name == "mirror_prox_gan" else pytest.mark.slow)
        for name in ALGORITHMS
    ],
)
def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(algorithm, tmp_path):
    """With a reservoir that overflows. (Two calls are one long one: test_loop.py.)"""
    whole = Loop(build(config(algorithm)))
    whole.advance(4)
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(whole.step, whole.tensors(), {})
    checkpoints.wait()
    assert whole.advance(12) is None
    second = Loop(whole.run)
    second.assign(checkpoints.read().tensors)
    assert second.step == 4
    second.advance(12)
    again = state_of(second)
    for name, value in state_of(whole).items():
        np.testing.assert_array_equal(value, again[name], name)
    if ALGORITHMS[algorithm] is REBORN:
        weights = whole.reservoir.weights(whole.outer_step).theta
        assert weights.shape == (2, 4)
        assert np.ptp(weights) > 1e-3
    start = whole.run.initial_state()
    rows = whole.run.scheme.output(start).theta.numpy()
    for i in range(4):
        for j in range(i):
            assert np.abs(rows[i] - rows[j]).max() > 0.1, "each has an initialisation of its own"


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """A finished run of four generators with learnt weights; its version has no model."""
    workdir = tmp_path_factory.mktemp("particles") / "run"
    # Rebirth would make them equal again.
    mine = config("mirror_prox_gan", publish="last", generator__rebirth_below=0.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(publishing, "publish_strategy", publish_without_model)
        assert train.train(mine, workdir) == 0
    return workdir


def test_its_scorecard_knows_the_atoms(workdir):
    card = json.loads((workdir / "scorecard.json").read_text())
    for answer in ("last", "ema", "mixture"):
        own = card["strategies"][answer]
        assert set(own) == {*KEYS, "atoms", "specialisation"}
        assert len(own["atoms"]) == 4
        assert sum(atom["weight"] for atom in own["atoms"]) == pytest.approx(1.0, abs=1e-6)
        assert sum(atom["num_samples"] for atom in own["atoms"]) == own["num_samples"] == 300
        good = sum(sum(atom["modes"]) for atom in own["atoms"])
        assert good == round(own["high_quality_3sigma"] * 300)
        assert all(len(atom["modes"]) == 8 for atom in own["atoms"])
    assert set(card["real_data_ceiling"]) == set(KEYS)
    assert all(np.isfinite(x).all() for record in lines(workdir) for x in record.values())


def test_its_answers_have_all_atoms_by_their_weights(workdir):
    loop = reading.load_loop(workdir)
    answers = reading.answers_of(loop)
    last = answers["last"]
    assert (last.num_components, last.num_particles) == (4, 4)
    assert (answers["mixture"].num_components, answers["mixture"].num_particles) == (8, 4)
    np.testing.assert_array_equal(last.atoms, loop.last().theta)
    assert np.ptp(last.weights) > 1e-3
    assert sum(last.weights.numpy()) == pytest.approx(1.0, abs=1e-6)
    assert np.ptp(answers["mixture"].weights) > 1e-3


# That a model draws its components by their weights, and each is its atom, is test_strategy.py's.
@pytest.mark.slow
def test_its_published_model_samples_all_atoms_by_their_weights(workdir, tmp_path):
    last, known = reading.load_answer(workdir, "last")
    facts = {"strategy": "last", **known, **reading.export_metadata(workdir)}
    version = publish_strategy(last, tmp_path / "generator", facts)  # it passes every gate
    manifest = publish.read_manifest(version)
    assert (manifest["num_components"], manifest["num_particles"]) == (4, 4)
    np.testing.assert_allclose(manifest["weights"], last.weights, rtol=1e-6)
    assert "4 particles" in (version / "README.md").read_text()
    model = tf.saved_model.load(str(version))
    seeds = seed_rows(5, 4_000)
    drawn = model.signatures["draw"](seeds=seeds)["components"].numpy()
    share = np.bincount(drawn, minlength=4) / len(drawn)
    sigma = np.sqrt(last.weights * (1 - last.weights) / len(drawn))
    assert (np.abs(share - last.weights) < 5 * sigma).all()
    assert np.ptp(last.weights) > 10 * sigma.max(), "the weights differ"
    loop = reading.load_loop(workdir)
    for j in range(4):
        one = tf.constant([j, j], tf.int64)
        latents = tf.constant([[0.5, -1.0], [1.0, 2.0]])
        mine = loop.run.networks.theta(loop.last().theta[j], latents)
        theirs = model.signatures["generate_component"](latents=latents, components=one)
        np.testing.assert_allclose(theirs["samples"], mine, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_killed_and_resumed_it_writes_the_same(algorithm, tmp_path):
    more = {"duality_gap__every": 4, "score_every": 4}
    whole = config(algorithm, **more)
    assert train.train(whole, tmp_path / "a") == 0
    with interrupted(lambda _, until: until > 4):
        train.train(whole, tmp_path / "b")
    assert [x["step"] for x in lines(tmp_path / "b")] == [2, 4]
    assert train.train(whole, tmp_path / "b") == 0
    for name in ("metrics.jsonl", "scorecard.json", "samples/published.png"):
        there, here = (tmp_path / x / name for x in "ab")
        assert there.read_bytes() == here.read_bytes(), name
    gaps = json.loads((tmp_path / "a" / "scorecard.json").read_text())["duality_gap"]
    assert set(gaps["strategies"]) == {"last", "ema", "mixture"}
    verify.check(publish.find_version(tmp_path / "b" / "export" / "generator"), isolated=False)


@pytest.mark.slow
def test_its_mixtures_are_weighed_atom_by_atom(workdir, tmp_path):
    shutil.copytree(workdir, tmp_path / "run")
    done = command(
        "trainers.mixtures", f"--workdir={tmp_path / 'run'}", "--num_samples=64", "--publish"
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "run" / "mixture" / "mixture.json").read_text())
    weights = reading.answers_of(reading.load_loop(workdir))["mixture"].weights
    assert found["game"]["mixture"]["num_components"] == 8
    np.testing.assert_allclose(found["game"]["mixture"]["weights"], weights, rtol=1e-6)
    assert found["game"]["last"]["num_components"] == 4
    assert found["game"]["weighted"]["worst"] <= found["game"]["mixture"]["worst"] + 1e-9
    card = json.loads((workdir / "scorecard.json").read_text())
    for answer in ("last", "ema", "mixture"):
        for key in ("high_quality_3sigma", "wasserstein2"):
            here, there = found["strategies"][answer][key], card["strategies"][answer][key]
            assert here == pytest.approx(there, rel=1e-6)
    steps = found["game"]["mixture"]["outer_steps"]
    assert steps[:4] == steps[:1] * 4 != steps[4:]
    few = {r["num_components"] for r in found["report"] if r["window"] == "all"}
    assert few == {4, 8}, "whole outer steps"


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        ({"num_particles": 0}, ["num_particles (n')", "at least 1", "0"]),
        ({"generator__num_particles": 3}, ["batch_size 16", "num_particles=3", "multiple of 3"]),
        (
            {"generator__num_particles": 4, "accumulate": 8},
            ["16", "accumulate=8 times generator.num_particles=4", "multiple of 32"],
        ),
        ({"weights": "learned"}, ["generator.weights 'learned'", "uniform, learnt"]),
        ({"discriminator__weight_floor": 1.0}, ["discriminator.weight_floor", "(delta) in [0, 1)"]),
        ({"weight_step": -1.0}, ["weight_step", "at least 0"]),
        ({"rebirth_noise": -1.0}, ["rebirth_noise", "at least 0"]),
        (
            {"generator__num_particles": 4, "rebirth_below": 0.1},
            ["generator.rebirth_below=0.1", "weights=learnt"],
        ),
        (
            {"generator__num_particles": 4, **LEARNT, "generator__rebirth_below": 0.3},
            ["generator.rebirth_below", "0.025", "0.25", "0.3"],
        ),
        ({"particles__batch": "half"}, ["particles.batch 'half'", "split, full, thin"]),
        ({"particles__latents": "none"}, ["particles.latents 'none'", "own, shared"]),
        ({"model__generator_hidden_units": (0,)}, ["model.generator_hidden_units", "(0,)"]),
    ],
)
def test_bad_values_are_named_with_what_is_valid(overrides, says):
    with pytest.raises(InputError) as error:
        tiny(**overrides)
    for part in says:
        assert part in str(error.value)


def test_full_mini_batches_need_no_multiple():
    tiny(generator__num_particles=3, particles__batch="full")
    tiny(discriminator__num_particles=3)


def test_common_flags_of_weights_leave_a_player_of_one_alone():
    both = {"weights": "learnt", "rebirth_below": 0.05}
    run = build(tiny(generator__num_particles=4, **both))
    assert run.hyperparameters.theta.rebirth_below == 0.05
    assert run.hyperparameters.w.num_particles == 1


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--config.algorithm=sample_md"], ["sample_md", "num_chains=4"]),
        (["--config.generator.num_particles=8000000"], ["8,000,000 generators", "GB"]),
    ],
)
def test_what_cannot_be_trained_is_refused_before_anything_is_written(flags, says, tmp_path):
    done = command(
        "trainers.run",
        "--config=configs/gaussians8_mp.py:tiny",
        "--config.generator.num_particles=4",
        "--config.particles.batch=full",
        *flags,
        f"--workdir={tmp_path / 'run'}",
    )
    assert done.returncode == 2
    (line,) = [x for x in done.stderr.splitlines() if x.startswith("error: ")]
    for part in says:
        assert part in line
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


def test_a_workdir_from_before_particles_is_still_the_same_run(tmp_path):
    now = tiny("mirror_gan", prior_std=0.0, rms_correction=False)  # whatever is tuned by now
    old = json.loads(settings.to_json(now))
    del old["particles"], old["model"]["generator_hidden_units"]
    for player in ("generator", "discriminator"):
        for key in settings.LATER:
            del old[player][key]
    (tmp_path / "config.json").write_text(json.dumps(old))
    there = settings.load_workdir_config(tmp_path)
    assert settings.differences(now, there) == []
    assert build(there).num_particles == 1


@pytest.mark.slow
def test_widths_of_each_player_are_flags():
    done = process(
        "trainers.run",
        "--config=configs/gaussians8_mp.py:pure",
        "--config.model.generator_hidden_units=256,256",
        "--config.num_particles=2",
        "--dry_run",
    )
    assert done.returncode == 0, done.stderr
    assert "2 -> 256 -> 256 -> 2, 2 particles" in done.stdout
    assert "2 -> 512 -> 512 -> 512 -> 1, 2 particles" in done.stdout
