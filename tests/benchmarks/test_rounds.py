"""Alternation, ratios within the round, and the arithmetic that is counted."""

import dataclasses

import pytest

from benchmarks import flops, rounds, targets
from benchmarks.peers.common import Work
from benchmarks.rounds import Contestant


def clock(calls, name, seconds_per_step):
    """A contestant on a machine that gets slower with every call of anyone."""

    def seconds(steps):
        calls.append((name, steps))
        return steps * seconds_per_step * (1 + len(calls))

    return Contestant(seconds)


def test_rounds_alternate_and_steps_are_as_many_as_fill_the_time():
    calls = []
    contestants = {
        name: Contestant(lambda n, s=s, name=name: calls.append((name, n)) or n * s)
        for name, s in (("fast", 0.001), ("slow", 10.0))
    }
    results = rounds.alternate(contestants, 3, seconds=0.4)
    assert calls[-6:] == [("fast", 400), ("slow", 2)] * 3
    assert results["fast"].ms == pytest.approx([1.0] * 3)
    assert results["slow"].ratio == pytest.approx([1e4] * 3)


def test_ratios_are_of_the_same_round():
    """The machine slows down from call to call, so that only neighbours are comparable."""
    calls = []
    names = {"a": clock(calls, "a", 1.0), "b": clock(calls, "b", 2.0)}
    result = rounds.alternate(names, 50)
    assert all(2.0 <= ratio < 2.5 for ratio in result["b"].ratio)
    assert max(result["a"].ms) > 5 * min(result["a"].ms)


def test_summary_is_the_median_and_the_quartiles():
    assert rounds.summary([5.0, 1.0, 3.0]) == {"median": 3.0, "quartile_1": 1.0, "quartile_3": 5.0}
    assert set(rounds.summary([2.0]).values()) == {2.0}


def test_flops_of_a_batch_of_the_papers_networks():
    """16 passes through one network's two layers of 512 x 512, and little else: 4.3e9."""
    assert flops.step_flops(Work()) == pytest.approx(16 * 2 * 256 * 2 * 512**2, rel=0.01)


def test_flops_counted_by_hand():
    """G 1-1-1-1-2, D 2-1-1-1-1 with latents of dimension 1; n = 1."""
    work = Work(width=1, latent_dim=1, batch_size=1)
    G, D = 1 + 1 + 1 + 2, 2 + 1 + 1 + 1
    generator = G + D + D + G + (G - 1)
    discriminator = G + 2 * (D + D + (D - 2)) + D + D + D + (D - 1)
    assert flops.step_flops(work) == 2 * (generator + discriminator)
    without = dataclasses.replace(work, penalty=0.0)
    assert flops.step_flops(work) - flops.step_flops(without) == 2 * (4 * D - 1)


def test_flops_of_a_dcgan_are_those_of_its_convolutions():
    """32 px, width 1, one channel: maps of 16, 8 and 4; channels 1, 1, 2, 4."""
    work = Work(
        model="dcgan", size=32, channels=1, width=1, latent_dim=3, penalty=0.0, batch_size=1
    )
    first, second, third = 16 * 16 * 16, 16 * 2 * 8 * 8, 16 * 8 * 4 * 4
    D = first + second + third + 64
    G = 3 * 64 + third + second + first
    expected = G + 2 * D + G + (G - 3 * 64) + G + 2 * (D + D + D - first)
    assert flops.step_flops(work) == 2 * expected


@pytest.mark.parametrize(
    ("values", "limit", "at_least", "met"),
    [
        ([1.0, 1.2, 9.0], 1.2, False, True),
        ([1.0, 1.3, 1.3], 1.2, False, False),
        ([1.3, 1.3, 0.0], 1.25, True, True),
        ([1.2, 1.2, 9.0], 1.25, True, False),
    ],
)
def test_a_target_is_judged_by_its_median(values, limit, at_least, met):
    row = targets.judge(targets.Target("t", values, limit, at_least))
    assert row["met"] == met
    assert row["median"] == sorted(values)[1]
