"""The critics' game and its pruning, against NumPy, linear programmes and brute force."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from scipy.optimize import linprog

from tests.helpers import DISCRIMINATOR, GENERATOR, f64, gan_start, small_gan
from tests.oracles import gan
from tf_mixed_nash.errors import InputError
from tf_mixed_nash.strategies import weights


def game_value(F):
    """min_p max_i (F p)_i by SciPy's linear programme."""
    n, m = F.shape
    result = linprog(
        np.r_[np.zeros(m), 1.0],
        A_ub=np.c_[F, -np.ones(n)],
        b_ub=np.zeros(n),
        A_eq=[np.r_[np.ones(m), 0.0]],
        b_eq=[1.0],
        bounds=[(0, None)] * m + [(None, None)],
    )
    assert result.success
    return result.fun


def best_of_size(F, k):
    """The best value of any k components, by brute force."""
    return min(game_value(F[:, list(c)]) for c in itertools.combinations(range(F.shape[1]), k))


def draws(m=3, n=2, num=40, num_real=70):
    game, random = small_gan(), np.random.default_rng(0)
    thetas = tf.stack([gan_start(game, s).theta for s in range(m)])
    ws = tf.stack([gan_start(game, 10 + s).w for s in range(n)])
    real = random.normal(size=(num_real, 2))
    latents = random.normal(size=(m, num, GENERATOR[0]))
    return game, thetas, ws, real, latents


@pytest.mark.parametrize("objective", ["wgan", "hinge", "nonsaturating"])
def test_the_payoff_table_is_numpys(objective):
    from tf_mixed_nash.games.objectives import OBJECTIVES

    game, thetas, ws, real, latents = draws()
    samples = weights.samples_of(game.generator, thetas, f64(latents))
    table = weights.payoff_table(game.discriminator, OBJECTIVES[objective], ws, f64(real), samples)
    for j, theta in enumerate(thetas.numpy()):
        fake, *_ = gan.forward(gan.unpack(theta, GENERATOR), latents[j])
        np.testing.assert_allclose(samples[j], fake, rtol=1e-10, atol=1e-12)
        for i, w in enumerate(ws.numpy()):
            layers = gan.unpack(w, DISCRIMINATOR)
            f_real, f_fake = (gan.forward(layers, x)[0] for x in (real, fake))
            if objective == "wgan":  # a_i - A_ij
                expected = f_real.mean() - f_fake.mean()
            elif objective == "hinge":
                expected = -np.maximum(1 - f_real, 0).mean() - np.maximum(1 + f_fake, 0).mean()
            else:
                expected = -np.log1p(np.exp(-f_real)).mean() - np.log1p(np.exp(f_fake)).mean()
            assert table.payoff[i, j] == pytest.approx(expected, abs=1e-12)
            assert table.scale[i] == pytest.approx(f_real.std(), abs=1e-12)
    assert table.linear == (objective == "wgan")


def test_a_diverged_snapshot_is_named():
    game, thetas, ws, real, latents = draws()
    samples = weights.samples_of(game.generator, thetas, f64(latents)).numpy()
    samples[1] = np.nan
    objective = game.objective
    with pytest.raises(InputError, match="discriminator 0 against component 1"):
        weights.payoff_table(game.discriminator, objective, ws, f64(real), f64(samples))


def test_scaled_rows_do_not_depend_on_the_critics_scale_or_sign():
    random = np.random.default_rng(1)
    payoff, scale = random.normal(size=(4, 3)), random.uniform(0.5, 2, size=4)
    table = weights.PayoffTable(payoff, scale, True)
    factor = np.array([10.0, -0.1, -3.0, 1.0])
    other = weights.PayoffTable(factor[:, None] * payoff, np.abs(factor) * scale, True)
    p = random.dirichlet(np.ones(3))
    ours, theirs = (weights.worst(weights.critic_game(t), p) for t in (table, other))
    assert ours == pytest.approx(theirs, rel=1e-12)
    assert ours == pytest.approx(np.abs(payoff @ p / scale).max(), rel=1e-12)
    negated = weights.critic_game(weights.PayoffTable(-payoff, scale, True))
    assert weights.worst(negated, p) == pytest.approx(ours, rel=1e-12)
    raw = weights.critic_game(table, normalize=False, both_signs=False)
    np.testing.assert_array_equal(raw, payoff)
    assert weights.worst(raw, p) != pytest.approx(ours)


def test_a_constant_critic_says_nothing():
    table = weights.PayoffTable(np.array([[0.0, 0.0], [1.0, 2.0]]), np.array([0.0, 2.0]), True)
    np.testing.assert_array_equal(weights.critic_game(table)[0], [0.0, 0.0])


def test_losses_with_a_scale_of_their_own_are_left_alone():
    table = weights.PayoffTable(np.ones((2, 3)), np.ones(2), False)
    np.testing.assert_array_equal(weights.critic_game(table), table.payoff)
    with pytest.raises(InputError, match=r"game\.objective=wgan"):
        weights.critic_game(table, both_signs=True)


# The solver's tolerance here; the payoffs are of order 1.
TOLERANCE = 1e-3


@pytest.mark.parametrize("seed", range(4))
def test_the_weights_are_the_linear_programmes_with_a_certified_gap(seed):
    F = np.random.default_rng(seed).normal(size=(7, 5))
    solution = weights.weigh(F, TOLERANCE)
    p, q = solution.nu.weights, solution.mu.weights
    value = game_value(F)
    assert p.shape == (5,)
    assert q.shape == (7,)
    assert solution.gap <= TOLERANCE
    assert solution.gap == pytest.approx(weights.worst(F, p) - (q @ F).min(), abs=1e-9)
    assert value - 1e-9 <= weights.worst(F, p) <= value + TOLERANCE
    uniform = np.full(5, 0.2)
    assert weights.worst(F, uniform) > weights.worst(F, p)


@pytest.mark.parametrize("seed", [0, *(pytest.param(i, marks=pytest.mark.slow) for i in (1, 2))])
def test_pruning_keeps_its_promises_and_finds_nearly_the_best_subsets(seed):
    F = np.random.default_rng(seed).normal(size=(6, 5))
    path = weights.prune(F, candidates=None, tolerance=TOLERANCE)
    assert [len(option.components) for option in path] == [5, 4, 3, 2, 1]
    value = game_value(F)
    for option in path:
        assert option.weights.sum() == pytest.approx(1.0)
        assert option.worst == pytest.approx((F[:, option.components] @ option.weights).max())
        # The weights are the subset's best, and no subset beats the best of its size.
        assert option.worst == pytest.approx(
            game_value(F[:, option.components]), abs=1.1 * TOLERANCE
        )
        assert option.worst >= best_of_size(F, len(option.components)) - 1e-9
        # gap = worst - floor, with value - TOLERANCE <= floor <= value.
        assert option.worst - value - 1e-9 <= option.gap <= option.worst - value + 1.1 * TOLERANCE
    for before, after in itertools.pairwise(path):
        assert set(after.components) < set(before.components)
    # The first removal is exhaustive, hence the best four.
    assert path[1].worst == pytest.approx(best_of_size(F, 4), abs=1.1 * TOLERANCE)
    chosen = weights.fewest(path, 0.05)
    assert chosen.worst <= value + 0.05 + TOLERANCE
    smaller = [o for o in path if len(o.components) < len(chosen.components)]
    assert all(o.worst > value + 0.05 - TOLERANCE for o in smaller)


def test_pruning_finds_a_planted_pair_among_decoys():
    # Components 1 and 4 cancel exactly; the others are worse for every critic.
    F = 1.0 + np.random.default_rng(2).uniform(size=(8, 6))
    F[:, 1] = np.linspace(-1, 1, 8)
    F[:, 4] = -F[:, 1]
    path = weights.prune(F)
    chosen = weights.fewest(path, 1e-2)
    assert chosen.components == (1, 4)
    np.testing.assert_allclose(chosen.weights, [0.5, 0.5], atol=1e-3)
    assert chosen.gap < 1e-2
    assert weights.fewest(path, 10.0).components in {(j,) for j in range(6)}


@pytest.mark.parametrize("tolerance", [-0.1, float("nan"), float("inf")])
def test_bad_tolerances_are_refused(tolerance):
    path = weights.prune(np.eye(2))
    with pytest.raises(InputError, match="tolerance"):
        weights.fewest(path, tolerance)


def test_pruning_without_candidates_is_refused():
    with pytest.raises(InputError, match="candidates"):
        weights.prune(np.eye(2), candidates=0)
