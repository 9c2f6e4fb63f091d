"""keep_best by a score: the best record, its checkpoint, and what a user may ask for."""

import json
from types import SimpleNamespace
from typing import Any, cast

import pytest
import tensorflow as tf

from tests.trainers.conftest import tiny
from tf_mixed_nash.errors import InputError
from trainers.session.session import Session
from trainers.workdir import best as sut
from trainers.workdir.checkpoints import Checkpoints, Retention


def record(step, **scores):
    return {"step": step, **{f"score/{k.replace('__', '/')}": v for k, v in scores.items()}}


def best(text, publish="mixture"):
    return sut.Best.of(tiny(keep_best=text, score_every=2, publish=publish))


def test_a_score_is_that_of_the_published_answer_or_of_the_last_before_its_window():
    b = best("min:wasserstein2")
    early = record(2, last__wasserstein2=0.5, ema__wasserstein2=0.1, last__num_samples=50)
    late = record(4, last__wasserstein2=0.5, mixture__wasserstein2=0.7)
    assert b.score(early) == sut.Found("wasserstein2", "last", 0.5, 50, 2)
    assert b.score(late) == sut.Found("wasserstein2", "mixture", 0.7, 0, 4)
    assert b.score({"step": 6}) is None
    assert best("min:ema/wasserstein2").score(early).value == 0.1
    assert best("min:wasserstein2", "ema").score(early).value == 0.1


def test_the_best_beats_all_before_it():
    records = [record(i, last__std_ratio=v) for i, v in enumerate((3.0, 1.0, 2.0))]
    low, high = best("min:std_ratio", "last"), best("max:std_ratio", "last")
    assert (low.of_records(records).step, high.of_records(records).step) == (1, 0)
    assert [low.beats(records[: i + 1]) for i in range(3)] == [True, True, False]
    assert not low.beats([*records, {"step": 9}])
    assert low.entry(records[1]) == {"std_ratio": 1.0}
    assert low.entry({"step": 1}) == {}


def test_a_checkpoint_is_due_at_the_best_s_own_record_alone():
    """Not at one of a later mini-batch, which would be another network's under this score."""
    records = [record(2, last__std_ratio=3.0), record(4, last__std_ratio=1.0)]
    journal = SimpleNamespace(records=records, last=records[-1])
    for step, due in ((4, True), (5, False)):
        at = SimpleNamespace(_best=best("min:std_ratio", "last"), loop=SimpleNamespace(step=step))
        assert Session._is_best(cast(Any, at), cast(Any, journal)) is due


def test_other_metrics_are_no_scores():
    assert sut.Best.of(tiny(keep_best="min:loss/w")) is None
    assert sut.Best.of(tiny()) is None


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"keep_best": "min:fid", "score_every": 2}, "wasserstein2"),
        ({"keep_best": "min:wasserstein2"}, "Set --config.score_every"),
        ({"score_samples": 3}, "score_samples must be an integer of at least 16"),
        ({"health_every": -1}, "health_every"),
    ],
)
def test_what_cannot_be_kept_is_refused(more, message):
    with pytest.raises(InputError, match=message):
        tiny(**more)


def test_a_step_is_a_number_or_the_best(tmp_path):
    config = tiny(keep_best="min:wasserstein2", score_every=2)
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert sut.step_of(tmp_path, None) is None
    assert sut.step_of(tmp_path, "12") == sut.step_of(tmp_path, 12) == 12
    with pytest.raises(InputError, match="neither a mini-batch nor 'best'"):
        sut.step_of(tmp_path, "newest")
    with pytest.raises(InputError, match="no best checkpoint"):
        sut.step_of(tmp_path, "best")
    retention = Retention(last=1, best="min:wasserstein2")
    checkpoints = Checkpoints(tmp_path / "checkpoints", retention)
    for step, value in ((2, 3.0), (4, 1.0), (6, 2.0)):
        checkpoints.save(step, {"t": tf.constant(step)}, {"metrics": {"wasserstein2": value}})
    checkpoints.save(8, {"t": tf.constant(8)}, {"metrics": {}})
    checkpoints.close()
    assert Checkpoints(tmp_path / "checkpoints").steps == [4, 8]
    assert sut.step_of(tmp_path, "best") == 4
