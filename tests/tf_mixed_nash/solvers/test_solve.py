"""One door to all solvers."""

import numpy as np
import pytest

import tf_mixed_nash
from tf_mixed_nash import ArrayGame, Box, ContinuousGame, InputError, MatrixGame
from tf_mixed_nash.solvers import matrix, particles, theory

BOX = Box(0.0, 1.0)
TABLE = MatrixGame.from_table([[0.0, 2.0], [1.0, 0.0]], name="table")
SMOOTH = ContinuousGame(lambda x, y: (x[0] - y[0]) ** 2, BOX, BOX, name="smooth")
ARRAY = ArrayGame(lambda x, y: np.sign(y[None, :, 0] - x[:, None, 0]), BOX, BOX, name="array")
GRID = {f"grid_{name}": "grid" for name in theory.METHODS}


def test_each_kind_of_game_has_its_methods_and_a_default():
    methods = [tf_mixed_nash.methods_of(game) for game in (TABLE, ARRAY, SMOOTH)]
    assert [next(iter(m)) for m in methods] == [
        "mirror_prox",
        "grid_mirror_prox",
        "conic_mirror_prox",
    ]
    assert methods == [
        {
            **dict.fromkeys(theory.METHODS, "matrix"),
            "regret_matching_plus": "regret",
            "lp": "lp",
        },
        GRID,
        {**dict.fromkeys(particles.METHODS, "particles"), **GRID},
    ]


def test_mirror_descent_takes_steps_that_show_a_rate_unless_given_one():
    solved = tf_mixed_nash.solve(TABLE, "mirror_descent", num_steps=50)
    same = matrix.solve(TABLE, "mirror_descent", num_steps=50, anytime=True)
    np.testing.assert_array_equal(solved.nu.weights, same.nu.weights)
    assert solved.details["anytime"]
    assert not tf_mixed_nash.solve(TABLE, "mirror_descent", num_steps=50, step_size=0.1).details[
        "anytime"
    ]
    assert not tf_mixed_nash.solve(TABLE, num_steps=50).details["anytime"]


def test_the_seed_reaches_the_solver():
    one, other, again = (
        tf_mixed_nash.solve(TABLE, seed=seed, num_steps=20, num_sampled=1) for seed in (0, 1, 0)
    )
    assert (one.nu.weights != other.nu.weights).any()
    np.testing.assert_array_equal(one.nu.weights, again.nu.weights)


def test_a_method_that_is_none_for_the_game_is_refused():
    with pytest.raises(InputError, match="conic_mirror_prox is no method for table"):
        tf_mixed_nash.solve(TABLE, "conic_mirror_prox")
