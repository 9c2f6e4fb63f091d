"""Pools of runs and mixtures of one: the samples that are put together, and the table."""

import json

import numpy as np
import pytest

from benchmarks import pools
from benchmarks.pages.code import ROOT
from tf_mixed_nash.metrics.law import distance_from_law
from trainers.tasks.data import synthetic


def test_pools_have_a_part_of_every_run_and_no_sample_twice():
    runs = [np.stack([np.full(6, i), np.arange(6)], 1) for i in range(3)]
    made = pools.pools(runs)
    assert [p.shape for p in made] == [(6, 2)] * 3
    for pool in made:
        assert sorted(pool[:, 0]) == [0, 0, 1, 1, 2, 2]
    rows = np.concatenate(made)
    assert len(np.unique(rows, axis=0)) == len(rows) == 18


def test_runs_that_know_a_mode_each_are_the_law_together():
    """Two runs of half the ring each: every last iterate misses four modes, the pool none."""
    data, random = synthetic.make("gaussians8"), np.random.default_rng(0)

    def samples(modes):
        at = data.modes[random.choice(modes, 1_000)]
        return at + data.sigma * random.standard_normal((1_000, 2))

    halves = [{"last": samples(m), "mixture": samples(range(8))} for m in (range(4), range(4, 8))]
    found = pools.distances(halves, data)
    assert [len(each) for each in found.values()] == [2, 2, 2]
    assert min(found["last"]) > 0.5
    assert max(found["pool"]) < 0.05
    assert max(found["mixture"]) < 0.05
    first = halves[0]["last"]
    assert found["last"][0] == pytest.approx(distance_from_law(first, data), abs=1e-5)


def test_the_committed_table_is_of_every_algorithm_and_says_who_has_none():
    found = json.loads((ROOT / pools.RECORDS).read_text())
    assert list(found) == ["gaussians8", "gaussians25", "swissroll"]
    lines = pools.table(found).splitlines()
    assert len(lines) == 2 + 12
    rmsprop = found["gaussians8"]["rmsprop"]
    line = next(x for x in lines if x.startswith("| RMSProp"))
    means = (f"{np.mean(rmsprop[what]):.3f}" for what in ("last", "pool", "mixture"))
    assert line.startswith(f"| RMSProp | {' | '.join(means)} |")
    found["swissroll"]["rmsprop"] = {}
    line = next(x for x in pools.table(found).splitlines() if x.startswith("| RMSProp"))
    assert line.endswith("| - | - | - |")
