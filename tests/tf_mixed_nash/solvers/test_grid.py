"""Algorithms 1 and 2 on grids: known equilibria, volumes, refinement, certificates."""

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import assert_close
from tf_mixed_nash.errors import InputError
from tf_mixed_nash.games.boxes import Box
from tf_mixed_nash.games.continuous import ArrayGame, ContinuousGame
from tf_mixed_nash.solvers import grid
from tf_mixed_nash.solvers.grid import Cells
from tf_mixed_nash.types import Pair

CIRCLE, INTERVAL = Box(0.0, 2 * np.pi, periodic=True), Box(-1.0, 1.0)

# min_x max_y (x - y)^2 on [-1, 1]: x = 0; y = -1 and 1, half each; value 1.
WEIGHTS = np.arange(1, 6) / 15
SQUARE = ArrayGame(lambda x, y: (x - y.T) ** 2, INTERVAL, INTERVAL, "square")
PENNIES = ContinuousGame(lambda x, y: tf.cos(x[0] - y[0]), CIRCLE, CIRCLE)


def test_cut_tiles_the_box():
    cells = grid.cut(Box([0.0, -1.0], [2.0, 1.0]), 4)
    assert cells.centres.shape == cells.widths.shape == (16, 2)
    assert_close(cells.centres[:5, 1], [-0.75, -0.25, 0.25, 0.75, -0.75])
    assert_close(cells.centres[:5, 0], [0.25, 0.25, 0.25, 0.25, 0.75])
    assert_close(cells.volumes, np.full(16, 0.25))


def test_split_keeps_the_tiling():
    cells = grid.cut(Box([0.0, 0.0], [1.0, 2.0]), 3)
    chosen = np.arange(9) % 4 == 1
    new, parents = grid.split(cells, chosen)
    assert len(new.centres) == 9 - 2 + 2 * 4
    assert_close(np.bincount(parents, new.volumes), cells.volumes)
    inside = np.abs(new.centres - cells.centres[parents]) + new.widths / 2
    assert (inside <= cells.widths[parents] / 2 + 1e-12).all()
    # The centre of mass of the children is the parent's.
    moment = np.stack([np.bincount(parents, new.volumes * c) for c in new.centres.T], axis=1)
    assert_close(moment, cells.centres * cells.volumes[:, None])


def test_payoffs_are_those_of_the_midpoints():
    x, y = grid.cut(INTERVAL, 5), grid.cut(INTERVAL, 8)
    game = grid.matrix_game(SQUARE, x, y)
    for i, j in ((0, 0), (1, 6), (4, 7)):
        value = game.value(np.eye(5)[i], np.eye(8)[j])
        assert_close(value, (x.centres[i, 0] - y.centres[j, 0]) ** 2)


def test_batches_do_not_change_the_payoffs(monkeypatch):
    cells = grid.cut(CIRCLE, 7)
    whole = grid.matrix_game(PENNIES, cells, cells).payoff.numpy()
    gap = grid.off_grid_gap(SQUARE, *[grid.cut(INTERVAL, 5)] * 2, WEIGHTS, WEIGHTS[::-1])
    monkeypatch.setattr(grid, "_BATCH", 3)
    assert_close(grid.matrix_game(PENNIES, cells, cells).payoff, whole)
    other = grid.off_grid_gap(SQUARE, *[grid.cut(INTERVAL, 5)] * 2, WEIGHTS, WEIGHTS[::-1])
    assert_close(other, gap)


@pytest.mark.parametrize("finer", [1, 2, 3, 4])
def test_the_certificate_looks_between_the_midpoints_and_at_the_edges(finer):
    """x = -0.8 against y = -0.4: max_y at y = 1 is 1.8^2; min_x is 0, where x = y."""
    cells = grid.cut(INTERVAL, 5)
    gap = grid.off_grid_gap(SQUARE, cells, cells, np.eye(5)[0], np.eye(5)[1], finer)
    assert_close(gap, 1.8**2)


@pytest.mark.parametrize("method", ["mirror_descent", "mirror_prox"])
def test_matching_pennies_on_the_circle(method):
    """cos(x - y) has uniform equilibria; others differ in higher Fourier modes only."""
    start = Pair(*(1 + 0.9 * np.cos(grid.cut(CIRCLE, 40).centres[:, 0] + s) for s in (0.3, 1.0)))
    far = grid.matrix.solve(grid.matrix_game(PENNIES, *[grid.cut(CIRCLE, 40)] * 2), num_steps=1)
    assert far.gap < 1e-14
    game = grid.matrix_game(PENNIES, *[grid.cut(CIRCLE, 40)] * 2)
    s = grid.matrix.solve(game, method, 2000, start=start)
    assert s.gap < (0.1 if method == "mirror_descent" else 4e-3)
    angles = grid.cut(CIRCLE, 40).centres[:, 0]
    assert abs(np.exp(1j * angles) @ s.nu.weights) <= s.gap
    s = grid.solve(PENNIES, 40, method, 50)
    assert_close(s.details["densities"].theta, np.full(40, 1 / (2 * np.pi)))
    assert s.gap < 1e-12
    assert abs(s.value) < 1e-12


def test_refinement_finds_atoms():
    coarse, fine = (
        grid.solve(SQUARE, 20, num_steps=1500, refinements=r, records_per_decade=3) for r in (0, 4)
    )
    assert coarse.gap > 0.05  # a cell's width
    assert fine.gap < 0.012
    assert abs(fine.value - 1.0) < 0.012
    y, q = fine.mu.atoms[:, 0], fine.mu.weights
    assert_close([q[y < -0.99].sum(), q[y > 0.99].sum()], [0.5, 0.5], 0.02)
    assert np.sqrt(fine.nu.weights @ fine.nu.atoms[:, 0] ** 2) < 0.05
    assert len(q) < 60  # where a uniform grid has 320
    assert fine.details["grid_gap"] <= fine.gap


def test_volumes_are_respected_under_refinement():
    s = grid.solve(SQUARE, 8, num_steps=200, refinements=3)
    for player, measure in (("theta", s.nu), ("w", s.mu)):
        volumes, density = s.details["volumes"].of(player), s.details["densities"].of(player)
        assert_close(volumes.sum(), 2.0)
        assert_close(volumes * density, measure.weights)
        assert volumes.min() == 2.0 / 8 / 2**3
        edges = np.sort(measure.atoms[:, 0] - volumes / 2)
        assert_close(
            edges, np.r_[-1.0, -1 + np.cumsum(volumes[np.argsort(measure.atoms[:, 0])])][:-1]
        )
    assert_close(s.nu.weights.sum(), 1.0)


def test_a_start_is_uniform_in_volume_not_in_cells():
    """A payoff of 0 leaves the start, on cells of two sizes."""
    zero = ArrayGame(lambda x, y: np.zeros((len(x), len(y))), INTERVAL, INTERVAL)
    uneven = Cells(np.array([[-0.5], [0.25], [0.75]]), np.array([[1.0], [0.5], [0.5]]))
    assert_close(grid._shares(uneven), [0.5, 0.25, 0.25])
    new, parents = grid.split(uneven, np.array([True, False, False]))
    spread = grid._spread(new, np.array([0.8, 0.2, 0.0]), parents, 0.1)
    # Kept cells first: 0.9 * (0.2, 0, 0.4, 0.4) + 0.1 / 4.
    assert_close(spread, [0.205, 0.025, 0.385, 0.385])
    s = grid.solve(zero, 4, num_steps=5, refinements=2)
    assert_close(s.details["densities"].w, np.full(len(s.mu.weights), 0.5))


def test_two_dimensions():
    """min_x max_y |x|^2 + 2 x.y - |y|^2 on squares off-centre: x = y = 0, value 0."""

    def payoff(x, y):
        return (x**2).sum(1)[:, None] + 2 * x @ y.T - (y**2).sum(1)

    box = Box([-1.0, -0.7], [0.7, 1.0])
    s = grid.solve(ArrayGame(payoff, box, box), Pair(9, 10), num_steps=1500, refinements=1)
    assert abs(s.value) < 0.02
    assert s.gap < 0.06
    assert np.abs(s.nu.weights @ s.nu.atoms).max() < 0.05
    assert_close(s.details["volumes"].theta.sum(), 1.7**2)


def test_a_payoff_that_is_not_differentiable():
    """Colonel-Blotto-like: sign(y - x), where the larger number wins: both at the top."""
    game = ArrayGame(lambda x, y: np.sign(y.T - x), INTERVAL, INTERVAL)
    s = grid.solve(game, 10, num_steps=2000)
    assert s.nu.weights.argmax() == s.mu.weights.argmax() == 9
    assert s.details["grid_gap"] < 0.02
    assert s.gap >= 0.9  # off the grid, y = 1 beats x = 0.9: the certificate is honest


def test_history_counts_steps_over_levels():
    s = grid.solve(SQUARE, 6, num_steps=30, refinements=2, records_per_decade=2)
    assert s.history["step"][-1] == 90
    assert (np.diff(s.history["step"]) > 0).all()
    assert sorted(set(s.history["level"])) == [0, 1, 2]
    assert "4 times finer" in s.certificate


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: grid.solve(SQUARE, 0), "num_points must be a whole number, at least 1"),
        (lambda: grid.solve(SQUARE, refinements=-1), "refinements must be"),
        (lambda: grid.solve(SQUARE, mass=0.0), r"mass must be in \(0, 1\]"),
        (lambda: grid.solve(SQUARE, 10**6), r"1000000 x 1000000 payoffs.*max_bytes = 4\.00 GiB"),
        (
            lambda: grid.solve(SQUARE, 20, num_steps=2, refinements=5, max_bytes=4000),
            "more than max_bytes",
        ),
        (
            lambda: grid.solve(ArrayGame(lambda x, y: x, INTERVAL, INTERVAL), 3),
            r"shape \(3, 3\).*got \(3, 1\)",
        ),
        (
            lambda: grid.solve(
                ArrayGame(lambda x, y: np.log(x + 0.5) + y.T * 0, INTERVAL, INTERVAL), 4
            ),
            r"not finite at x=\[-0\.75\], y=\[-0\.75\]",
        ),
        (lambda: grid.solve(SQUARE, 5, "newton"), "Choose one of: mirror_descent"),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value encountered in log:RuntimeWarning")
def test_bad_input(make, message):
    with pytest.raises(InputError, match=message):
        make()
