"""A run's folder as others see it: its scores as they come, its scorecard, whether it is in use."""

import json
import re
from pathlib import Path

import pytest

from tf_mixed_nash.errors import InputError
from trainers.system import lock
from trainers.workdir import folder as sut

ROOT = Path(__file__).resolve().parents[3]


def record(step, **scores):
    return json.dumps({"step": step, "loss/theta": 0.5, **scores}) + "\n"


def test_the_scores_are_seen_as_they_come(tmp_path):
    watch, path = sut.Watch(tmp_path), tmp_path / sut.METRICS
    assert list(watch.new()) == []  # no file yet
    scored = {"score/last/modes": 3.0, "score/ema/modes": 4.0, "score/ema/w2": 0.1}
    path.write_text(record(1) + record(2, **scored))
    expected = (2, {"last": {"modes": 3.0}, "ema": {"modes": 4.0, "w2": 0.1}})
    assert list(watch.new()) == [expected]
    assert list(watch.new()) == []  # nothing has changed
    with path.open("a") as file:
        file.write(record(3, **{"score/last/modes": 5.0}) + record(4, **scored)[:-3])
    assert list(watch.new()) == [expected, (3, {"last": {"modes": 5.0}})]  # no half line


def test_a_folder_is_free_unless_a_trainer_holds_it(tmp_path):
    assert sut.free(tmp_path / "none")
    assert sut.free(tmp_path)
    with lock.hold(tmp_path):
        assert not sut.free(tmp_path)
    assert sut.free(tmp_path)


def test_only_a_finished_run_has_a_scorecard(tmp_path):
    assert sut.read_card(tmp_path) is None
    (tmp_path / sut.CARD).write_text('{"strategies": {}}')
    assert sut.read_card(tmp_path) == {"strategies": {}}


@pytest.mark.parametrize("text", ["{broken", "", "[1]", "null"])
def test_a_scorecard_that_is_none_says_so(tmp_path, text):
    (tmp_path / sut.CARD).write_text(text)
    with pytest.raises(InputError, match=r"scorecard.json is no scorecard \(.*\). Remove it"):
        sut.read_card(tmp_path)


def test_the_answers_are_named_once():
    """One triple in the whole code, in whatever order."""
    triple = re.compile(r"\(\s*" + r",\s*".join([r'"(?:last|ema|mixture)"'] * 3) + r",?\s*\)")
    found = [
        path.relative_to(ROOT).as_posix()
        for top in ("tf_mixed_nash", "configs", "trainers", "export")
        for path in sorted((ROOT / top).rglob("*.py"))
        if triple.search(path.read_text())
    ]
    assert found == ["trainers/experiment/settings.py"]
