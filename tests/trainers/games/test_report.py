"""The report of a solved game."""

import numpy as np
import pytest

from trainers.games import report


def test_the_slope_is_that_of_the_last_decade():
    steps = np.geomspace(1, 1e4, 41)
    gaps = np.where(steps < 900, 10.0, 1.0) / steps**0.7
    assert report.slope(steps, gaps) == pytest.approx(-0.7, abs=1e-9)
    rounded = np.where(steps > 5e3, 1e-16, 1 / steps)
    assert report.slope(steps, rounded) == pytest.approx(-1.0, abs=1e-9)
    assert np.isnan(report.slope(steps, 0 * steps))


def test_arrays_and_their_numbers_become_plain_values():
    content = {1: np.arange(2), "x": (np.float64(0.5), None), "y": {"z": np.bool_(True)}}
    assert report.plain(content) == {"1": [0, 1], "x": [0.5, None], "y": {"z": True}}
    assert report.plain(np.ones) == str(np.ones)
