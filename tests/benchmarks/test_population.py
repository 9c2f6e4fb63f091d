"""What S runs cost beside one, and several GPUs on paper."""

import dataclasses
import time

import pytest

from benchmarks import gpus, population
from benchmarks.gpus import Links
from benchmarks.peers.common import Work


@pytest.mark.slow
def test_a_population_has_the_kernels_of_one_run():
    work = dataclasses.replace(Work("mirror_gan", "float32", 64), width=16)
    row = population.count(work, 3)
    assert row["one"] < row["all"] <= 1.1 * row["one"]


@pytest.mark.slow
def test_both_are_timed():
    work = dataclasses.replace(Work("rmsprop", "float32", 4), width=4)
    row = population.measure(work, "parts", 2, 2, 1, time.process_time)
    assert (row["runs"], row["way"]) == (2, "parts")
    assert row["ratio"] == pytest.approx(row["all"] / row["one"])


def test_a_step_is_the_measured_one_and_no_shorter_with_fewer_rows():
    assert [gpus.step_ms("dcgan64", "parts", n) for n in (16, 64, 256)] == [8.93, 8.93, 20.06]
    assert gpus.step_ms("dcgan64", "parts", 160) == pytest.approx((8.93 + 20.06) / 2)


def test_gradients_are_added_up_over_the_slowest_links():
    links = Links(inside=1e9, between=1e8, latency=1e-3, node=2)
    assert gpus.reduce_ms((10**6, 10**6), 1, links) == 0.0
    # Of two: half of each goes there and back, by two messages.
    assert gpus.reduce_ms((10**6, 0), 2, links) == pytest.approx(1.0 + 2 * 2.0)
    assert gpus.reduce_ms((10**6, 0), 4, links) == pytest.approx(15.0 + 2 * 4.0)


def test_one_gpu_is_the_measure():
    row = gpus.scaling("mlp", "whole", (10**6, 10**6), 1, 256, Links())
    ones = {"weak_gain": 1.0, "strong_gain": 1.0}
    assert row == {"reduce": 0.0, "weak": 0.307, "strong": 0.307, **ones}
    four = gpus.scaling("dcgan64", "parts", (10**6, 10**6), 4, 256, Links())
    assert four["strong"] == pytest.approx(8.93 + four["reduce"])
    assert four["weak_gain"] == pytest.approx(4 * 20.06 / (20.06 + four["reduce"]))
