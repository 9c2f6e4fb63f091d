"""Games from a user's file; the command's tests have the refusals."""

import numpy as np
import pytest

from tf_mixed_nash.errors import InputError
from trainers.games import load


def test_sets_are_read_coordinate_by_coordinate():
    box = load.parse_set("-1:1, 0:6.5:periodic", "x_set")
    np.testing.assert_array_equal(box.lower, [-1.0, 0.0])
    np.testing.assert_array_equal(box.upper, [1.0, 6.5])
    np.testing.assert_array_equal(box.periodic, [False, True])
    with pytest.raises(InputError, match="no interval"):
        load.parse_set("0:1:circle", "x_set")
