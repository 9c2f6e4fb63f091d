"""Kernel means in closed form, against Monte Carlo, quadrature and brute force."""

import itertools

import numpy as np
import pytest

from benchmarks import kernel_means
from benchmarks.kernel_means import Normals

WIDTHS = (0.3, 1.0, 2.5)


def mixture(seed: int, num: int, d: int) -> Normals:
    random = np.random.default_rng(seed)
    factors = random.normal(size=(num, d, d)) * 0.5
    weights = random.random(num)
    return Normals(
        weights / weights.sum(), random.normal(size=(num, d)), factors @ factors.transpose(0, 2, 1)
    )


def drawn(law: Normals, num: int, random: np.random.Generator) -> np.ndarray:
    index = random.choice(len(law.weights), num, p=law.weights)
    roots = np.linalg.cholesky(law.covariances + 1e-12 * np.eye(law.means.shape[1]))
    z = random.normal(size=(num, law.means.shape[1]))
    return law.means[index] + np.einsum("nij,nj->ni", roots[index], z)


def kernel(x, y):
    square = ((x - y) ** 2).sum(-1)
    return sum(np.exp(-square / (2 * h * h)) for h in WIDTHS)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_a_kernel_mean_is_the_mean_of_the_kernel(d):
    """Of 200,000 pairs, within four standard errors, which are 0.002 or less."""
    one, two, random = mixture(1, 2, d), mixture(2, 3, d), np.random.default_rng(3)
    exact = one.weights @ kernel_means.kernel_mean(one, two, WIDTHS) @ two.weights
    values = kernel(drawn(one, 200_000, random), drawn(two, 200_000, random))
    error = values.std() / np.sqrt(len(values))
    assert error < 2e-3
    assert abs(values.mean() - exact) < 4 * error


def test_the_plane_by_hand_is_the_plane_by_the_general_formula():
    one, two = mixture(4, 3, 2), mixture(5, 4, 2)
    found = kernel_means.kernel_mean(one, two, WIDTHS)
    for i, j in itertools.product(range(3), range(4)):
        total, delta = 0.0, one.means[i] - two.means[j]
        for h in WIDTHS:
            C = one.covariances[i] + two.covariances[j] + h * h * np.eye(2)
            total += (
                h**2 / np.sqrt(np.linalg.det(C)) * np.exp(-delta @ np.linalg.solve(C, delta) / 2)
            )
        assert found[i, j] == pytest.approx(total, rel=1e-12)


def test_the_discrepancy_of_two_points_is_known():
    """|delta_0 - delta_1|^2 = 2 k(0, 0) - 2 k(0, 1)."""

    def at(x):
        return Normals(np.ones(1), np.array([[x, 0.0]]), np.zeros([1, 2, 2]))

    expected = 2 * len(WIDTHS) - 2 * sum(np.exp(-1 / (2 * h * h)) for h in WIDTHS)
    assert kernel_means.squared_mmd(at(0.0), at(1.0), WIDTHS) == pytest.approx(expected, rel=1e-12)
    assert kernel_means.mmd(at(0.5), at(0.5), WIDTHS) == 0.0


def test_no_function_of_the_ball_sees_more_and_the_witness_sees_all():
    """E_law f - E_model f of f = sum_i c_i k(x_i, .) / its norm, by quadrature in one dimension."""
    law = Normals(np.array([0.3, 0.7]), np.array([[-1.0], [0.5]]), np.array([[[0.04]], [[0.3]]]))
    model = Normals(np.array([0.6, 0.4]), np.array([[-0.8], [1.0]]), np.array([[[0.3]], [[0.1]]]))
    exact = kernel_means.mmd(model, law, WIDTHS)
    line = np.linspace(-9.0, 9.0, 2_001)
    step = line[1] - line[0]

    def density(of):
        var = of.covariances[:, 0, 0]
        each = np.exp(-((line[:, None] - of.means[:, 0]) ** 2) / (2 * var))
        return (each / np.sqrt(2 * np.pi * var)) @ of.weights

    def seen(c, places):
        K = kernel(places[:, None, None], places[None, :, None])
        f = kernel(line[:, None, None], places[None, :, None]) @ c
        return ((density(law) - density(model)) @ f * step) / np.sqrt(c @ K @ c)

    random = np.random.default_rng(8)
    for _ in range(20):
        assert seen(random.normal(size=5), random.normal(size=5)) < exact
    coarse = line[::4]
    witness = (density(law) - density(model))[::4]
    assert seen(witness, coarse) == pytest.approx(exact, rel=1e-6)


def test_the_best_weights_by_brute_force_on_a_line():
    """Three normal laws of the line against a fourth: every mixture on a grid of 1/200."""
    atoms = Normals(
        np.full(3, 1 / 3),
        np.array([[-1.0], [0.2], [1.5]]),
        np.array([0.1, 0.5, 0.0])[:, None, None],
    )
    law = Normals(np.array([0.3, 0.7]), np.array([[-0.8], [0.9]]), np.full([2, 1, 1], 0.2))
    a, b = np.meshgrid(np.arange(201) / 200, np.arange(201) / 200)
    every = np.stack([a, b, 1 - a - b], -1)[a + b <= 1]
    K, c = (kernel_means.kernel_mean(atoms, other, WIDTHS) for other in (atoms, law))
    squares = ((every @ K) * every).sum(1) - 2 * every @ (c @ law.weights)
    best = atoms._replace(weights=every[squares.argmin()])
    least = kernel_means.squared_mmd(best, law, WIDTHS)
    found = kernel_means.fitted(atoms, law, WIDTHS, tolerance=1e-12)
    assert found.bound <= found.mmd <= np.sqrt(least)
    assert found.mmd == pytest.approx(np.sqrt(least), abs=1e-4)
    assert found.mmd - found.bound < 1e-6
    assert found.weights.min() >= 0
    assert found.weights.sum() == pytest.approx(1.0)
    # Stopped early, the bounds are wide, and bounds.
    early = kernel_means.fitted(atoms, law, WIDTHS, steps=2)
    assert early.bound <= found.mmd < early.mmd


def test_a_grid_with_the_law_in_it_reaches_it():
    places = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    atoms = kernel_means.on_a_grid(places, [0.0, 0.1, 0.4])
    assert len(atoms.weights) == 4 * 9
    assert atoms.weights.sum() == pytest.approx(1.0)
    assert {tuple(np.diag(c).round(9)) for c in atoms.covariances[:9]} == set(
        itertools.product([0.0, 0.01, 0.16], repeat=2)
    )
    law = Normals(np.array([0.25, 0.75]), places[1:3], np.tile(0.01 * np.eye(2), (2, 1, 1)))
    found = kernel_means.fitted(atoms, law, WIDTHS)
    assert found.mmd < 1e-4
    assert found.bound == 0.0


def test_descents_find_two_modes_with_two_atoms_and_not_with_one():
    modes = np.array([[-1.0, 0.0], [1.0, 0.5]])
    law = Normals(np.array([0.3, 0.7]), modes, np.tile(0.01 * np.eye(2), (2, 1, 1)))
    spread = [1.0, 1.0, *[0.3] * 4]
    free = kernel_means.least_found(2, law, WIDTHS, True, 2, spread)
    equal = kernel_means.least_found(2, law, WIDTHS, False, 2, spread)
    (one,) = kernel_means.least_found(1, law, WIDTHS, False, 1, spread)
    assert min(free) < 1e-3 < min(equal) < one
    # One atom by brute force: its means on the line of the modes, its axes along it.
    turn = np.arctan2(0.5, 2.0)
    turned = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    around = kernel_means.on_a_grid(np.zeros([1, 2]), np.linspace(0.0, 1.6, 9))
    covariances = turned @ around.covariances @ turned.T
    line = modes[0] + np.linspace(0.0, 1.0, 21)[:, None] * (modes[1] - modes[0])
    every = Normals(np.ones(21 * 81), np.repeat(line, 81, axis=0), np.tile(covariances, (21, 1, 1)))
    K = kernel_means.kernel_mean(every, law, WIDTHS) @ law.weights
    own = sum(
        h * h / np.sqrt(np.linalg.det(2 * every.covariances + h * h * np.eye(2))) for h in WIDTHS
    )
    constant = law.weights @ kernel_means.kernel_mean(law, law, WIDTHS) @ law.weights
    brute = np.sqrt((own - 2 * K + constant).min())
    assert one == pytest.approx(brute, abs=1.5e-2)
    assert one < brute + 1e-9


def test_the_slopes_of_a_descent_are_those_of_the_kernel_mean():
    model, law = mixture(9, 2, 2), mixture(10, 3, 2)
    sums, of_means, of_covariances = kernel_means._sums_and_slopes(model, law, WIDTHS)

    def total(means, covariances):
        moved = model._replace(means=means, covariances=covariances)
        return (kernel_means.kernel_mean(moved, law, WIDTHS) @ law.weights).sum()

    assert total(*model[1:]) == pytest.approx(sums.sum(), rel=1e-12)
    for j, i in itertools.product(range(2), range(2)):
        step = np.zeros([2, 2])
        step[j, i] = 1e-5
        slope = total(model.means + step, model.covariances) - total(
            model.means - step, model.covariances
        )
        assert of_means[j, i] == pytest.approx(slope / 2e-5, rel=1e-6)
        turned = np.zeros([2, 2, 2])
        turned[j, i, i] = 1e-5
        slope = total(model.means, model.covariances + turned) - total(
            model.means, model.covariances - turned
        )
        assert of_covariances[j, i, i] == pytest.approx(slope / 2e-5, rel=1e-5)
