"""Means over seeds."""

import math

import pytest

from trainers.campaigns import cells
from trainers.tasks.planar import COLUMNS


def test_mean_and_standard_error():
    cards = [dict.fromkeys(COLUMNS, v) for v in (1.0, 2.0, 6.0)]
    cards[2]["std_ratio"] = None
    result = cells.aggregate(cards, COLUMNS)
    # Sample variance of 1, 2, 6 is 7; over three.
    assert result["reverse_kl"] == {
        "mean": 3.0,
        "standard_error": pytest.approx(math.sqrt(7 / 3)),
        "count": 3,
    }
    assert result["std_ratio"]["mean"] == 1.5
    assert result["std_ratio"]["count"] == 2
    assert math.isnan(cells.aggregate(cards[:1], COLUMNS)["reverse_kl"]["standard_error"])
