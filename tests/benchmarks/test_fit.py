"""What a mini-batch of `fit` costs beside the trainer's: how it is counted."""

import pytest

from benchmarks import fit
from tests.trainers.conftest import command


def test_the_clock_starts_after_the_first_record():
    marks = [(100, 5.0, 4.0), (200, 7.0, 5.5), (300, 8.0, 7.0)]
    assert fit.cost_of(marks, 100) == pytest.approx((15.0, 15.0))
    assert fit.cost_of(marks, 150) == pytest.approx((10.0, 15.0))
    with pytest.raises(ValueError, match="Nothing was trained after mini-batch 300"):
        fit.cost_of(marks, 300)


def test_another_one_begins_each_round():
    names = ["a", "b", "c"]
    assert [fit.rotated(names, i)[0] for i in range(4)] == ["a", "b", "c", "a"]
    assert sorted(fit.rotated(names, 2)) == names


@pytest.mark.slow
def test_it_times_all_three_ways():
    done = command("benchmarks.fit", "--rounds=2", "--num_batches=300", timeout=600)
    assert done.returncode == 0, done.stderr
    for way in (fit.RUN, fit.FOLDER, fit.MEMORY):
        assert any(line.startswith(way) for line in done.stdout.splitlines())
    assert "(<= 1.03)" in done.stdout
