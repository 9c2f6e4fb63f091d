"""Who watches a run (duality gap, scores, health, the best checkpoint) does not disturb it."""

import numpy as np

from tests.trainers.conftest import state_of
from tests.trainers.session.conftest import WATCHED, lines, watched_config
from trainers.answers import reading
from trainers.workdir import best, findings

KEYS = ("duality_gap", "score/", "health/", "finding/")


def test_the_run_is_bitwise_the_same_with_and_without_them(watched):
    off, on = (state_of(reading.load_loop(workdir)) for workdir in (watched.off, watched.on))
    assert off.keys() == on.keys()
    for name in off:
        np.testing.assert_array_equal(off[name], on[name], name)
    seen = {key for x in lines(watched.on) for key in x if key.startswith(KEYS)}
    assert {key for key in KEYS if any(x.startswith(key) for x in seen)} == {*KEYS}
    without = [{k: v for k, v in x.items() if k not in seen} for x in lines(watched.on)]
    assert lines(watched.off) == without
    assert not findings.looked(lines(watched.off))


def test_a_resumed_run_has_the_same_looks(watched):
    there, here = (workdir / "metrics.jsonl" for workdir in (watched.on, watched.parts))
    assert there.read_bytes() == here.read_bytes()


def test_the_best_checkpoint_stays_and_is_read(watched):
    wanted = best.Best.of(watched_config(**WATCHED)).of_records(lines(watched.on))
    assert wanted.step < 12, "the newest stays anyway"
    for workdir in (watched.on, watched.parts):
        loop = reading.load_loop(workdir, "best")
        assert loop.step == wanted.step
        strategy, known = reading.load_answer(workdir, "last", "best")
        assert known["step"] == wanted.step
        assert strategy.num_components == 1
