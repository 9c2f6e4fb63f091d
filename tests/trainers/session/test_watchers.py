"""Who watches a run (duality gap, scores, health, the best checkpoint) does not disturb it."""

import json

import numpy as np
import pytest

from tests.trainers.conftest import command, state_of
from tests.trainers.session.conftest import (
    END,
    FIRST_PART,
    WATCHED,
    WITHOUT_GAP,
    lines,
    watched_config,
)
from tf_mixed_nash.metrics import scorecard
from trainers.answers import reading
from trainers.session import train
from trainers.system import cli
from trainers.workdir import best, findings

KEYS = ("duality_gap", "score/", "health/", "finding/")


def without(records, keys):
    return [{k: v for k, v in x.items() if not k.startswith(keys)} for x in records]


def test_the_run_is_bitwise_the_same_with_and_without_them(watched):
    off, on, parts = (lines(workdir) for workdir in (watched.off, watched.on, watched.parts))
    for key in KEYS:
        assert any(k.startswith(key) for x in on for k in x), key
        assert not any(k.startswith(key) for x in off for k in x), key
    assert without(on, KEYS) == off
    assert without(parts, KEYS) == off[: END // 2]
    assert not findings.looked(off)
    plain, looked_at = (state_of(reading.load_loop(w)) for w in (watched.off, watched.on))
    assert plain.keys() == looked_at.keys()
    for name in plain:
        np.testing.assert_array_equal(plain[name], looked_at[name], name)
    card = json.loads((watched.off / "scorecard.json").read_text())
    assert set(card) == {*scorecard.KEYS, "strategies", "real_data_ceiling", "by_mode"}


def test_a_resumed_run_has_the_same_looks(watched):
    assert lines(watched.parts) == without(lines(watched.on), "duality_gap")[: END // 2]


@pytest.mark.slow
def test_a_resumed_run_has_the_same_gaps(watched, tmp_path):
    config = watched_config(**WATCHED)
    assert train.train(config, tmp_path / "run", until=FIRST_PART) == cli.STOPPED
    assert train.train(config, tmp_path / "run") == 0
    there, here = (workdir / "metrics.jsonl" for workdir in (watched.on, tmp_path / "run"))
    assert there.read_bytes() == here.read_bytes()


def test_the_best_checkpoint_stays_and_is_read(watched):
    wanted = best.Best.of(watched_config(**WITHOUT_GAP)).of_records(lines(watched.parts))
    assert wanted.step < END, "the newest stays anyway"
    for workdir in (watched.on, watched.parts):
        wanted = best.Best.of(watched_config(**WATCHED)).of_records(lines(workdir))
        loop = reading.load_loop(workdir, "best")
        assert loop.step == wanted.step
        strategy, known = reading.load_answer(workdir, "last", "best")
        assert known["step"] == wanted.step
        assert strategy.num_components == 1
    told = command("trainers.checkpoint", f"--workdir={watched.on}").stdout.splitlines()
    (named,) = (line for line in told if "the best by" in line)
    assert named.split()[0] == str(wanted.step)
