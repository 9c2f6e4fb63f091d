"""Scores and seconds during a run: off by default, exact on resume, and they disturb nothing."""

import json

import numpy as np
import pytest

from tests.trainers.conftest import tiny, tiny_images
from tf_mixed_nash import rng
from tf_mixed_nash.errors import InputError
from tf_mixed_nash.metrics.scorecard import scorecard
from tf_mixed_nash.strategies.mixed import seed_rows
from tf_mixed_nash.training.loop import Loop
from trainers.answers import reading
from trainers.experiment.build import build
from trainers.session import train, watchers
from trainers.system import cli
from trainers.tasks import image_scores
from trainers.tasks.base import SEED
from trainers.tasks.imaging import draw_pixels
from trainers.tasks.kinds import MONITORED, SCORES
from trainers.workdir import folder as workdirs

pytestmark = pytest.mark.usefixtures("quick_pictures")


def config(every, **more):
    more = {"num_batches": 12, "mixture__window": (0.5, 1.0), **more}
    return tiny("mirror_gan", score_every=every, **more)


def lines(workdir):
    return [json.loads(x) for x in (workdir / "metrics.jsonl").read_text().splitlines()]


def state(workdir):
    return {n: v.numpy() for n, v in reading.load_loop(workdir).variables.items()}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Workdirs of one run without scores, with them, and with them in two sessions."""
    folder = tmp_path_factory.mktemp("scores")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(watchers, "Scores", None)  # off: not even its objects are made
        assert train.train(config(0), folder / "off", until=10) == cli.STOPPED
    assert train.train(config(3), folder / "on", until=10) == cli.STOPPED
    # Stopped after a record that is scored and one that is not.
    assert train.train(config(3), folder / "parts", until=8) == cli.STOPPED
    (folder / "parts" / "seconds").write_text(
        str(workdirs.records(folder / "parts")[-1]["seconds"])
    )
    assert train.train(config(3), folder / "parts", until=10) == cli.STOPPED
    return folder


def test_the_run_is_bitwise_the_same_with_and_without_them(runs):
    off, on = state(runs / "off"), state(runs / "on")
    assert off.keys() == on.keys()
    for name in off:
        np.testing.assert_array_equal(off[name], on[name], name)
    without = [{k: v for k, v in x.items() if "score/" not in k} for x in lines(runs / "on")]
    assert lines(runs / "off") == without


def test_a_resumed_run_writes_the_same_scores(runs):
    there, here = (runs / name / "metrics.jsonl" for name in ("on", "parts"))
    assert there.read_bytes() == here.read_bytes()


def test_the_first_record_at_or_after_each_multiple_is_scored(runs):
    # Records come at 2, 4, ..., 10; the multiples of 3 are 3, 6, 9.
    scored = [x["step"] for x in lines(runs / "on") if "score/last/wasserstein2" in x]
    assert scored == [4, 6, 10]
    # The mixture's window begins after step 6.
    mixed = [x["step"] for x in lines(runs / "on") if "score/mixture/wasserstein2" in x]
    assert mixed == [10]


def test_they_are_the_scorecards_of_fixed_draws(runs):
    loop = reading.load_loop(runs / "on")
    data, last = loop.run.task.data, lines(runs / "on")[-1]
    reference = data.sample(rng.stream(SEED, "reference"), 500).numpy()
    for name, strategy in reading.answers_of(loop).items():
        samples = strategy.sample(seed_rows(SEED, 2_500)).numpy()
        card = scorecard(samples, reference, data, 250, 500)
        for metric in ("modes_captured", "high_quality_3sigma", "reverse_kl", "wasserstein2"):
            assert last[f"score/{name}/{metric}"] == pytest.approx(card[metric], rel=1e-6)


def test_seconds_grow_over_sessions_and_hold_no_scoring(runs):
    for name in ("off", "on", "parts"):
        records = workdirs.records(runs / name)
        assert [r["step"] for r in records] == [2, 4, 6, 8, 10]
        seconds = [r["seconds"] for r in records]
        assert seconds == sorted(seconds)
        assert 0 < seconds[-1] < 2
    # Ten steps of tiny networks are faster than the first scoring, which is traced.
    on = workdirs.records(runs / "on")
    assert on[-1]["seconds"] < sum(r.get("score_seconds", 0.0) for r in on)
    before = float((runs / "parts" / "seconds").read_text())
    at_8, at_10 = (r["seconds"] for r in workdirs.records(runs / "parts") if r["step"] in (8, 10))
    assert at_8 == before
    assert at_10 > before


@pytest.mark.slow
def test_images_are_scored_in_the_space_of_their_features(tmp_path):
    path = tmp_path / "images.npy"
    np.save(path, np.random.default_rng(0).integers(0, 256, (160, 28, 28, 1), np.uint8))
    config = tiny_images(score_every=2, num_batches=2, data__path=str(path))
    loop = Loop(build(config))
    loop.advance(2)
    (watcher,) = watchers.make(loop.run)
    found = watcher.look(loop)
    task, num = loop.run.task, config["scorecard"]["num_samples"]
    for name in ("last", "ema"):
        strategy = loop.run.strategy(*loop.answers()[name])
        images = draw_pixels(lambda seeds, s=strategy: s.sample(seeds).numpy(), SEED, num)
        card = image_scores.scorecard(images, task.real, task.features, task.spec.card)
        for metric in MONITORED["images"]:
            assert found[f"score/{name}/{metric}"] == pytest.approx(card[metric], rel=1e-4), metric
    assert "score/mixture/fid" in found
    loop.close()


def test_every_monitored_score_is_one_of_the_scorecard():
    for kind, metrics in MONITORED.items():
        assert set(metrics) <= set(SCORES[kind])


def test_a_number_that_is_none_is_refused():
    with pytest.raises(InputError, match="score_every must be an integer of at least 0"):
        config(-1)
