"""keep_best by a score: the best record, its checkpoint, and what a user may ask for."""

import json
from types import SimpleNamespace
from typing import Any, cast

import pytest
import tensorflow as tf

from tests.trainers.conftest import tiny
from tf_mixed_nash.errors import InputError
from trainers.experiment.options import Options
from trainers.session.session import Session
from trainers.workdir import best as sut
from trainers.workdir.checkpoints import Checkpoints, Retention
from trainers.workdir.findings import Finding


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


def options(**more):
    every = {"dataset": "mnist", "algorithm": "adam", "seed": 0, "num_batches": 10}
    return Options(**{**every, "score_every": 2, **more})


def said(*records, **more):
    return sut.said(records, options(**more))


def test_fid_kid_and_modes_are_said_where_they_are_scored():
    images = record(2, last__fid=12.345, last__kid=0.04, last__recall=0.3, last__num_samples=2500)
    assert said(images) == "last fid 12.35, kid 0.04 (2,500)"
    stacked = record(
        4, last__fid=9.0, mixture__fid=8.0, mixture__kid=0.02, mixture__precision=0.7,
        mixture__modes_captured=950, mixture__reverse_kl=0.2, mixture__num_samples=1000,
    )  # fmt: skip
    late = "mixture fid 8, kid 0.02, modes_captured 950 (1,000)"
    assert said(images, stacked) == said(images, stacked, {"step": 6}) == late
    assert said(stacked, publish="last") == "last fid 9"
    planar = record(2, last__modes_captured=7, last__std_ratio=0.5, last__num_samples=500)
    assert said(planar) == "last modes_captured 7 (500)"


def test_of_data_without_these_the_first_score_is_said():
    custom = record(2, last__energy_distance=0.25, last__recall=0.5, last__num_samples=99)
    assert said(custom) == "last energy_distance 0.25 (99)"
    assert said(custom, keep_best="max:recall") == "last recall 0.5 (99)"
    assert said({"step": 2}) == said() == ""
    assert said(custom, score_every=0) == ""  # of a session before this one


def test_what_keep_best_is_by_is_said_first():
    images = record(
        4, last__fid=9.0, ema__recall=0.2, ema__kid=0.01, mixture__fid=8.0, mixture__kid=0.02,
        mixture__recall=0.4, mixture__num_samples=1000,
    )  # fmt: skip
    rest = "fid 8, kid 0.02 (1,000)"
    assert said(images, keep_best="max:recall") == f"mixture recall 0.4, {rest}"
    assert said(images, keep_best="min:kid") == "mixture kid 0.02, fid 8 (1,000)"
    assert said(images, keep_best="max:ema/recall") == f"ema recall 0.2, mixture {rest}"
    early = record(2, last__fid=9.0, last__recall=0.1, last__num_samples=1000)
    assert said(early, keep_best="max:recall") == "last recall 0.1, fid 9 (1,000)"
    # What was not measured is not said.
    assert said(images, keep_best="min:class_kl") == f"mixture {rest}"


def test_an_entry_of_every_record_is_said_but_for_the_losses_which_are_in_the_line():
    gap = {"step": 2, "duality_gap": 0.125, "loss/w": 1.0}
    later = record(4, last__fid=9.0)
    assert said(gap, later, keep_best="min:duality_gap") == "duality_gap 0.125, last fid 9"
    assert said(gap, keep_best="min:duality_gap", score_every=0) == "duality_gap 0.125"
    assert said(gap, later, keep_best="min:loss/w") == "last fid 9"


def test_the_progress_line_has_the_newest_scores_and_the_findings():
    records = [record(2, last__fid=12.0, last__kid=0.04, ema__recall=0.2)]
    session = SimpleNamespace(
        loop=SimpleNamespace(run=SimpleNamespace(options=options(keep_best="max:ema/recall"))),
        _found=[Finding("duplicates", "", "", 1)],
    )
    journal = SimpleNamespace(records=records)
    scores = "ema recall 0.2, last fid 12, kid 0.04"
    assert Session._notable(cast(Any, session), cast(Any, journal)) == (scores, "duplicates")


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
