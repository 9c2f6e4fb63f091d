"""Scores and seconds during a run. That they disturb nothing is test_watchers'."""

import numpy as np
import pytest

from tests.trainers.conftest import tiny, tiny_images
from tests.trainers.session.conftest import lines
from tf_mixed_nash import rng
from tf_mixed_nash.errors import InputError
from tf_mixed_nash.metrics.scorecard import scorecard
from tf_mixed_nash.strategies.mixed import seed_rows
from tf_mixed_nash.training.loop import Loop
from trainers.answers import reading
from trainers.experiment.build import build
from trainers.session import watchers
from trainers.tasks import image_scores
from trainers.tasks.base import SEED
from trainers.tasks.imaging import draw_pixels
from trainers.tasks.kinds import MONITORED, SCORES
from trainers.workdir import folder as workdirs


def test_the_first_record_at_or_after_each_multiple_is_scored(watched):
    # Records come at 2, 4, ..., 12; the multiples of 3 are 3, 6, 9, 12.
    scored = [x["step"] for x in lines(watched.on) if "score/last/wasserstein2" in x]
    assert scored == [4, 6, 10, 12]
    # The mixture's window begins after step 6.
    mixed = [x["step"] for x in lines(watched.on) if "score/mixture/wasserstein2" in x]
    assert mixed == [10, 12]


def test_they_are_the_scorecards_of_fixed_draws(watched):
    loop = reading.load_loop(watched.on)
    data, last = loop.run.task.data, lines(watched.on)[-1]
    reference = data.sample(rng.stream(SEED, "reference"), 500).numpy()
    for name, strategy in reading.answers_of(loop).items():
        samples = strategy.sample(seed_rows(SEED, 2_500)).numpy()
        card = scorecard(samples, reference, data, 250, 500)
        for metric in ("modes_captured", "high_quality_3sigma", "reverse_kl", "wasserstein2"):
            assert last[f"score/{name}/{metric}"] == pytest.approx(card[metric], rel=1e-6)


def test_seconds_grow_over_sessions_and_hold_no_scoring(watched):
    for workdir in (watched.off, watched.on, watched.parts):
        records = workdirs.records(workdir)
        assert [r["step"] for r in records] == [2, 4, 6, 8, 10, 12][: len(lines(workdir))]
        seconds = [r["seconds"] for r in records]
        assert seconds == sorted(seconds)
        assert 0 < seconds[-1] < 2
    # Twelve steps of tiny networks are faster than the first scoring, which is traced.
    on = workdirs.records(watched.on)
    assert on[-1]["seconds"] < sum(r.get("score_seconds", 0.0) for r in on)
    before = float((watched.parts / "seconds").read_text())
    at_8, at_10 = (r["seconds"] for r in workdirs.records(watched.parts) if r["step"] in (8, 10))
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
        tiny(score_every=-1)
