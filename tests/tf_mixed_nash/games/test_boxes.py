"""Boxes and circles."""

import math

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from tests.helpers import assert_close, f64
from tf_mixed_nash import rng
from tf_mixed_nash.errors import InputError
from tf_mixed_nash.games.boxes import Box

MIXED = Box([-1.0, 0.0], [2.0, 2 * math.pi], periodic=[False, True])


def test_bounds_broadcast():
    box = Box([-1.0, -2.0], 3.0)
    assert box.dim == 2
    assert_close(box.width, [4, 5])
    assert not box.periodic.any()


def test_projection_clips_lines_and_wraps_circles():
    z = f64([[-5.0, -1.0], [0.5, 1.0], [7.0, 2 * math.pi + 0.25]])
    expected = [[-1, 2 * math.pi - 1], [0.5, 1], [2, 0.25]]
    assert_close(MIXED.project(z), expected, 1e-14)
    assert_close(MIXED.clip(z.numpy()), expected, 1e-14)
    assert_close(MIXED.project(MIXED.project(z)), expected, 1e-14)


def test_differences_go_the_short_way_round():
    d = MIXED.difference([[2.0, 0.1]], [[-1.0, 2 * math.pi - 0.1]])
    assert_close(d, [[3.0, 0.2]], 1e-14)
    assert_close(MIXED.difference([[0.0, 1.0]], [[0.0, 1.5]]), [[0.0, -0.5]], 1e-14)


def test_uniform_points_are_uniform_and_functions_of_the_key():
    key = rng.stream(1, "test")
    z = MIXED.uniform(key, 4000).numpy()
    for k in range(2):
        u = (z[:, k] - MIXED.lower[k]) / MIXED.width[k]
        assert scipy.stats.kstest(u, "uniform").pvalue > 1e-6
    assert abs(np.corrcoef(z.T)[0, 1]) < 5 / math.sqrt(4000)
    np.testing.assert_array_equal(z, MIXED.uniform(key, 4000))
    assert np.abs(z - MIXED.uniform(rng.fold_in(key, 1), 4000)).max() > 0.1
    assert MIXED.uniform(key, 3, tf.float32).dtype == tf.float32


def test_sobol_points_fill_every_cell_evenly():
    """The first 2^6 - 1 points and 0: every dyadic interval of length 1/16 holds 4."""
    z = MIXED.sobol(63).numpy()
    for k in range(2):
        cells = np.floor((z[:, k] - MIXED.lower[k]) / MIXED.width[k] * 16 + 1e-9).astype(int)
        counts = np.bincount(cells, minlength=16)
        assert counts[0] == 3
        assert (counts[1:] == 4).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((["a"], [1.0]), "must be numbers of one length"),
        (([0.0, 0.0], [1.0, 1.0, 1.0]), "must be numbers of one length"),
        (([], []), "at least one coordinate"),
        (([0.0], [math.inf]), "must be compact"),
        (([0.0], [math.nan]), "must be compact"),
        (([1.0], [1.0]), "must not be empty or flat"),
        (([0.0, 2.0], [1.0, 1.0]), "must not be empty or flat"),
    ],
)
def test_bad_bounds_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        Box(*arguments)
