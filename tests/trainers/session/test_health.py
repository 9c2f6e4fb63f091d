"""The health monitor finds what was made ill. That it disturbs nothing is test_watchers'."""

import json
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.trainers.conftest import tiny, tiny_images
from tests.trainers.session.conftest import lines
from tf_mixed_nash import MixedNashGAN
from tf_mixed_nash.games.objectives import OBJECTIVES
from tf_mixed_nash.training.loop import Loop
from trainers import diagnose
from trainers.experiment import settings
from trainers.experiment.build import build
from trainers.session import health as sut
from trainers.session import train, watchers
from trainers.system import cli
from trainers.workdir import findings, folder

pytestmark = pytest.mark.usefixtures("quick_pictures")

ILL = """
import keras

def constant():
    return keras.Sequential([keras.Input((2,)), keras.layers.Rescaling(0.0), keras.layers.Dense(2)])
"""


def config(**more):
    more = {"num_batches": 12, "mixture__window": (0.8, 1.0), "health_every": 2, **more}
    return tiny("mirror_gan", **more)


def plain(records):
    return [
        {k: v for k, v in x.items() if not k.startswith(("health/", "finding/", "score/"))}
        for x in records
    ]


@pytest.fixture(scope="module")
def ill(without_publishing, tmp_path_factory):
    """A run with the monitor whose generator is ill."""
    path = tmp_path_factory.mktemp("health")
    (path / "ill.py").write_text(ILL)
    own = {"model__generator": f"{path / 'ill.py'}:constant", "picture_every": 6}
    own |= {"score_every": 2, "score_samples": 64}
    assert train.train(config(**own), path / "run", until=10) == cli.STOPPED
    return path / "run"


def test_a_constant_generator_is_found_by_name(ill):
    last = lines(ill)[-1]
    assert last["health/duplicates"] == 1.0
    assert last["health/kinds"] == 1.0
    assert last["score/last/num_samples"] == 64
    assert last["finding/duplicates"] == last["finding/collapsed_samples"] == 1.0
    found = {f.name: f for f in findings.find(lines(ill), 12)}
    assert found["duplicates"].since == 4  # after a fifth of the run
    times = folder.records(ill)[-1]
    assert times["health_seconds"] > 0
    assert "health_seconds" not in last


def test_tensorboard_has_histograms_and_numbers(ill):
    events = EventAccumulator(str(ill / "tensorboard"), {"tensors": 0}).Reload()
    tags = events.Tags()["tensors"]
    assert {"health/d_real", "health/d_fake", "finding/duplicates", "samples"} <= {*tags}
    kinds = {tag: events.summary_metadata[tag].plugin_data.plugin_name for tag in tags}
    assert kinds["health/histogram/d_real"] == kinds["health/histogram/d_fake"] == "histograms"
    assert kinds["samples"] == "images"


def test_diagnose_reads_and_looks(ill, tmp_path):
    facts = diagnose.diagnose(ill)
    names = {f["name"] for f in facts["findings"]}
    assert {"duplicates", "collapsed_samples", "lost_modes"} <= names
    assert (facts["step"], facts["looked_at"], facts["finished"]) == (10, 10, False)
    assert facts["measures"]["duplicates"] == 1.0
    text = diagnose.text(facts)
    assert "finding      duplicates: 100% of the last iterate's samples have a twin" in text
    assert "usually helps:" in text
    # A run without looks, as old ones are, has them now.
    old = shutil.copytree(ill, tmp_path / "old")
    records = "".join(json.dumps(x) + "\n" for x in plain(lines(ill)))
    (old / "metrics.jsonl").write_text(records)
    now = diagnose.diagnose(old)
    assert names <= {f["name"] for f in now["findings"]}
    only = diagnose.diagnose(old, records_only=True)
    assert not only["findings"]
    assert "nobody looked at it" in only["notes"][0]
    # What is damaged is said.
    (old / "metrics.jsonl").write_text(records[:-9])
    (old / "scorecard.json").write_text("{broken")
    only = diagnose.diagnose(old, records_only=True)
    assert "metrics.jsonl ends within a line" in only["notes"][0]
    assert "scorecard.json is no scorecard" in only["notes"][1]
    assert not only["finished"]


def test_what_a_users_code_raises_ends_the_looks_and_not_the_run():
    loop = Loop(build(config()))
    loop.run.game.objective = lambda real, fake: 1 / 0
    watcher = sut.Health(loop.run)
    assert watcher.look(loop) == {}
    assert "ZeroDivisionError" in watcher.broken
    assert watcher.look(loop) == {}


@pytest.mark.parametrize(
    ("num_batches", "asked", "every"),
    [(100, None, 0), (200, None, 200), (18_000, None, 900), (100, 7, 7), (18_000, 0, 0)],
)
def test_how_often_it_looks(num_batches, asked, every):
    more = {} if asked is None else {"health_every": asked}
    run = build(tiny(num_batches=num_batches, **more))
    assert sut.every(run) == every
    assert bool(watchers.make(run)) == bool(every)


@pytest.mark.parametrize("name", ["wgan", "nonsaturating", "hinge", "relativistic"])
def test_pulls_are_the_losses_derivatives(name):
    real, fake = np.random.default_rng(0).normal(size=(2, 5, 1)).astype(np.float32)
    found = sut._pulls(OBJECTIVES[name], tf.constant(real), tf.constant(fake))
    step = 1e-2

    def slope(player, which, i):
        ends = []
        for sign in (1, -1):
            moved = [real.copy(), fake.copy()]
            moved[which][i] += sign * step
            losses = OBJECTIVES[name](*map(tf.constant, moved))
            ends.append(float(getattr(losses, player)))
        return abs(ends[0] - ends[1]) / (2 * step) * len(real)

    w = np.mean([slope("discriminator", k, i) for k in (0, 1) for i in range(5)])
    theta = np.mean([slope("generator", 1, i) for i in range(5)])
    assert float(found.w) == pytest.approx(w, abs=0.05)
    assert float(found.theta) == pytest.approx(theta, abs=0.05)


@pytest.mark.parametrize(
    "more",
    [
        {"algorithm": "mirror_gan", "num_particles": 2},
        {"algorithm": "sample_md", "num_chains": 2},
        {"algorithm": "adam", "game__packing": 2},
    ],
)
def test_every_kind_of_player_is_looked_at(more):
    loop = Loop(build(tiny(health_every=2, **more)))
    watcher = sut.Health(loop.run, rows=40)
    found = watcher.look(loop)
    assert not watcher.broken
    assert found["health/growth/theta"] == pytest.approx(1.0, rel=0.2)
    assert 0 <= found["health/separation"] <= 1


@pytest.mark.slow
def test_conditional_images_and_their_training_records(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (30, 28, 28, 1), np.uint8)
    np.savez(tmp_path / "a.npz", images=images, labels=np.arange(30) % 3)
    more = {"data__path": str(tmp_path / "a.npz"), "model__conditional": True, "model__width": 4}
    loop = Loop(build(tiny_images("adam", health_every=2, **more)))
    watcher = sut.Health(loop.run, rows=16)
    found = watcher.look(loop)
    assert not watcher.broken
    assert found["health/known"] == 1.0
    assert found["health/memorised"] == 0.0
    loop.close()


def test_a_fit_warns_and_keeps_the_findings_in_its_history():
    generator = keras.Sequential(
        [keras.Input((2,)), keras.layers.Rescaling(0.0), keras.layers.Dense(2)]
    )
    gan = MixedNashGAN(
        generator,
        keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]),
        algorithm="adam",
    )
    gan.compile(step_size=1e-3)
    rows = np.random.default_rng(0).normal(size=(64, 2))
    with pytest.warns(UserWarning, match=r"(?s)looks ill.*duplicates: 100%") as said:
        history = gan.fit(
            rows, batch_size=16, num_batches=8, steps_per_epoch=1, health_every=1, verbose=0
        )
    assert said[0].filename == __file__
    assert history.history["finding/duplicates"][-1] == 1.0
    assert history.history["health/duplicates"] == [1.0] * 8


def test_a_config_of_an_earlier_version_has_no_say():
    old = {k: v for k, v in config().items() if not k.startswith(("health_", "init_", "score_s"))}
    assert settings.differences(config(), old) == []
