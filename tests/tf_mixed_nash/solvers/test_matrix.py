"""Finite bi-affine games: eq. 2 against NumPy, values against HiGHS, rates against theorems."""

import math

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import assert_close, f64, index
from tests.oracles import bilinear as oracle
from tf_mixed_nash import rng
from tf_mixed_nash.errors import InputError
from tf_mixed_nash.games.matrix import BiAffine, MatrixGame
from tf_mixed_nash.methods import schemes
from tf_mixed_nash.methods.oracle import Oracle
from tf_mixed_nash.methods.prox import entropic
from tf_mixed_nash.solvers import matrix
from tf_mixed_nash.solvers.matrix import solve
from tf_mixed_nash.solvers.theory import METHODS, noise_variances, theory_step_sizes
from tf_mixed_nash.types import Measure, Pair, dirac

RANDOM = np.random.default_rng(3)
A, a = RANDOM.uniform(-1, 1, (5, 7)), RANDOM.normal(size=5)
P, Q = RANDOM.dirichlet(np.ones(7)), RANDOM.dirichlet(np.ones(5))
GAME = MatrixGame(A, a)
ETA = Pair(0.3, 0.7)
RPS = [[0, 1, -1], [-1, 0, 1], [1, -1, 0]]


def random_game(n, m, seed):
    random = np.random.default_rng(seed)
    return MatrixGame(random.uniform(-1, 1, (n, m)), random.uniform(-0.3, 0.3, n))


def weights(pair):
    return [tf.nn.softmax(z).numpy() for z in pair]


def iterates(scheme, num_steps, game=GAME):
    """[T, (p, q)] of the scheme's outputs, and the last state."""
    state, out = scheme.init(f64(np.log(P)), f64(np.log(Q))), []
    step = tf.function(scheme.step, autograph=False)
    for t in range(num_steps):
        state, _ = step(Oracle(game), state, index(t), index(t * scheme.num_batches(t)))
        out.append(weights(scheme.output(state)))
    return out, state


def exact(scheme, **kwargs):
    steps = (entropic(lambda t, eta=eta: eta) for eta in ETA)
    return scheme(Pair(*steps), **kwargs)


def assert_pairs(actual, desired):
    assert len(actual) == len(desired)
    for (p, q), (p0, q0) in zip(actual, desired, strict=True):
        assert_close(p, p0)
        assert_close(q, q0)


# Eq. 2 and its schemes.


def test_mirror_descent_is_eq_2():
    out, _ = iterates(exact(schemes.mirror_descent), 8)
    assert_pairs(out, oracle.mirror_descent(A, a, P, Q, *ETA, 8)[1:])


def test_mirror_prox_outputs_intermediates_and_both_phases_start_at_tilde():
    out, state = iterates(exact(schemes.mirror_prox), 8)
    expected = oracle.mirror_prox(A, a, P, Q, *ETA, 8)
    assert_pairs(out, [middle for middle, _ in expected])
    assert_pairs([weights((state.theta.tilde, state.w.tilde))], [expected[-1][1]])


def test_alternated_mirror_descent():
    out, _ = iterates(exact(schemes.mirror_descent, alternated=True), 8)
    assert_pairs(out, oracle.alternated_mirror_descent(A, a, P, Q, *ETA, 8))


def test_chambolle_pock():
    out, _ = iterates(exact(schemes.chambolle_pock), 8)
    assert_pairs(out, oracle.chambolle_pock(A, a, P, Q, *ETA, 8))


def test_alternated_mirror_prox_is_chambolle_pock_on_bi_affine_games():
    """theta's second step repeats its first, so that w plays g(2 theta_t - theta_{t-1})."""
    out, _ = iterates(exact(schemes.mirror_prox, alternated=True), 8)
    assert_pairs(out, oracle.chambolle_pock(A, a, P, Q, *ETA, 8))


def test_the_field_of_a_signed_measure_is_linear():
    old, new = f64(RANDOM.normal(size=7)), f64(RANDOM.normal(size=7))
    z = tf.zeros([5], tf.float64)
    field = lambda opponent: GAME.field("w", z, opponent)[0].numpy()  # noqa: E731
    extrapolated = field(Measure((new, old), (2.0, -1.0)))
    assert_close(extrapolated, 2 * field(dirac(new)) - field(dirac(old)))
    unnormalised = field(Measure(tf.stack([new, old]), f64([0.5, 3.0])))
    assert_close(unnormalised, 0.5 * field(dirac(new)) + 3 * field(dirac(old)))


def test_fields_are_the_derivatives_of_the_value_to_be_descended():
    p, q = f64(P), f64(Q)
    with tf.GradientTape() as tape:
        tape.watch([p, q])
        F = GAME.value(p, q)
    assert_close(F, oracle.value(A, a, P, Q))
    of_p, of_q = tape.gradient(F, [p, q])
    assert_close(GAME.field("theta", tf.zeros_like(p), dirac(f64(np.log(Q))))[0], of_p)
    assert_close(GAME.field("w", tf.zeros_like(q), dirac(f64(np.log(P))))[0], -of_q)


# Values, gaps, shifts.


def test_gap_is_that_of_every_pure_strategy():
    assert_close(GAME.gap(P, Q), oracle.gap(A, a, P, Q))
    best, payoffs = GAME.best_responses(P, Q)
    assert_close(payoffs.w, oracle.value(A, a, P, np.eye(5)[int(best.w)]))
    assert_close(payoffs.theta, oracle.value(A, a, np.eye(7)[int(best.theta)], Q))


@pytest.mark.parametrize(("n", "m"), [(5, 7), (30, 12), (1, 4), (4, 1)])
def test_value_and_equilibrium_against_the_linear_programme(n, m):
    game = random_game(n, m, seed=n)
    A, a = game.payoff.numpy(), game.offset.numpy()
    value, p, q = oracle.linear_programme(A, a)
    assert abs(float(game.gap(p, q))) < 1e-8  # HiGHS's answer, our gap
    s = solve(game, num_steps=4000)
    assert s.gap < 5e-3
    assert abs(s.value - value) <= s.gap + 1e-9
    assert_close(s.gap, oracle.gap(A, a, s.nu.weights, s.mu.weights))


def test_shifts_that_leave_the_game_as_it_is_leave_the_iterates():
    u, c = RANDOM.normal(size=5), 2.5
    shifted = MatrixGame(A + u[:, None] + c, a + u)
    one, other = (solve(g, num_steps=200) for g in (GAME, shifted))
    assert_close(other.value, one.value - c)
    assert_close(other.nu.weights, one.nu.weights)
    assert_close(other.gap, one.gap)
    assert_close(shifted.half_ranges().w, GAME.half_ranges().w)


def test_shifting_columns_shifts_the_minimisers_payoff():
    v = RANDOM.normal(size=7)
    shifted = MatrixGame(A + v, a)
    assert_close(shifted.value(P, Q), GAME.value(P, Q) - v @ P)
    assert_close(shifted.half_ranges().w, GAME.half_ranges().w)


def test_lipschitz_bounds_the_operator_on_differences():
    L = GAME.lipschitz()
    vertices = [(i, k) for i in range(7) for k in range(7) if i != k]
    worst = max(abs(A[j, i] - A[j, k] - A[l, i] + A[l, k]) / 4
                for i, k in vertices for j in range(5) for l in range(5))  # fmt: skip
    assert worst <= L <= (A.max() - A.min()) / 2


@pytest.mark.parametrize("table", [RPS, [[1, -1], [-1, 1]]])
def test_rock_paper_scissors_and_matching_pennies(table):
    game = MatrixGame.from_table(table)
    num = len(table)
    random = np.random.default_rng(0)
    start = Pair(random.dirichlet(np.ones(num)), random.dirichlet(np.ones(num)))
    s = solve(game, num_steps=3000, start=start)
    assert s.gap <= s.details["bound"] < 4e-3
    assert np.abs(s.nu.weights - 1 / num).max() < 2e-3
    assert np.abs(s.mu.weights - 1 / num).max() < 2e-3
    # With half the largest steps, the last iterates converge too.
    s = solve(game, num_steps=3000, start=start, step_size=0.5)
    assert_close(weights(s.details["last"])[0], np.full(num, 1 / num), 1e-6)
    assert s.history["last_gap"][-1] < 1e-6
    # Uniform is the equilibrium, and stays.
    assert solve(game, num_steps=10).gap < 1e-14


def test_from_table_is_minimised_by_rows_and_maximised_by_columns():
    table = np.array([[3.0, 1.0, 4.0], [1.0, 5.0, 9.0]])
    game = MatrixGame.from_table(table)
    for i in range(2):
        for j in range(3):
            assert_close(game.value(np.eye(2)[i], np.eye(3)[j]), table[i, j])
    assert game.num_strategies == Pair(2, 3)


# Theory.


@pytest.mark.parametrize("anytime", [False, True])
@pytest.mark.parametrize("method", ["mirror_descent", "mirror_prox", "chambolle_pock"])
@pytest.mark.parametrize(("n", "m", "seed"), [(20, 40, 0), (40, 20, 1), (2, 2, 2), (1, 9, 3)])
def test_gaps_are_within_the_theorem(method, anytime, n, m, seed):
    game = random_game(n, m, seed)
    s = solve(game, method, 500, anytime=anytime)
    theory = theory_step_sizes(
        method, 500, game.half_ranges(), Pair(math.log(m), math.log(n)), anytime=anytime
    )
    assert s.details["step_size"] == tuple(theory.eta)
    for step, gap in zip(s.history["step"], s.history["gap"], strict=True):
        assert gap <= theory.bound(int(step)) * (1 + 1e-9)
    assert s.details["bound"] == theory.bound(500)


def test_the_closed_forms_of_the_bounds():
    G, D = Pair(0.5, 0.8), Pair(math.log(7), math.log(5))
    md = theory_step_sizes("mirror_descent", 100, G, D)
    assert_close(md.bound(100), sum(g * math.sqrt(2 * d / 100) for g, d in zip(G, D, strict=True)))
    mp = theory_step_sizes("mirror_prox", 100, G, D)
    assert_close(mp.bound(100), 2 * 0.5 * math.sqrt(D[0] * D[1]) / 100)
    too_long = theory_step_sizes("mirror_prox", 100, G, D, eta=Pair(2.1, 2.1))
    assert too_long.bound is None


@pytest.mark.slow
@pytest.mark.parametrize("method", ["mirror_descent", "mirror_prox"])
@pytest.mark.parametrize("stochastic", [{"num_sampled": 4}, {"noise_std": 0.3}])
def test_stochastic_gaps_are_within_the_theorem(method, stochastic):
    """The theorem is on the expectation; the mean of three runs is far below it."""
    game = random_game(15, 10, 4)
    runs = [solve(game, method, 1000, seed=i, **stochastic) for i in range(3)]
    gaps = [s.gap for s in runs]
    assert np.mean(gaps) <= runs[0].details["bound"]
    assert np.mean(gaps) < 0.25
    assert len(set(gaps)) == 3


@pytest.mark.parametrize("seed", [1, 3])
def test_every_step_has_noise_of_its_own(seed):
    """Without a payoff the iterates are a random walk: of noise that repeats itself, a straight
    way to one strategy, whose weight in the mean would be above a half."""
    solution = solve(MatrixGame(np.zeros((6, 5)), np.zeros(6)), "mirror_descent", 400,
                     noise_std=0.5, seed=seed)  # fmt: skip
    for mean in (solution.mu.weights, solution.nu.weights):
        assert 0.1 < np.max(mean) < 0.4


@pytest.mark.parametrize(("n", "m", "seed"), [(10, 10, 1), (30, 15, 2), (40, 60, 4)])
def test_slopes(n, m, seed):
    game = random_game(n, m, seed)
    horizons = [100, 400, 1600, 6400]
    md = [solve(game, "mirror_descent", T, records_per_decade=1).gap for T in horizons]
    s = solve(game, "mirror_prox", 6400)
    late = s.history["step"] >= 100
    slope = lambda x, y: np.polyfit(np.log(x), np.log(y), 1)[0]  # noqa: E731
    assert slope(horizons, md) <= -0.45
    assert slope(s.history["step"][late], s.history["gap"][late]) <= -0.9


# Stochastic derivatives.


@pytest.mark.parametrize("player", ["theta", "w"])
def test_sampled_fields_are_unbiased_with_the_variance_of_theory(player):
    k, draws = 3, 20_000
    game = BiAffine(f64(A), f64(a), num_sampled=k)
    mine, opponent = (P, Q) if player == "theta" else (Q, P)
    z, other = tf.zeros([len(mine)], tf.float64), f64(np.log(opponent))

    @tf.function
    def fields():
        keys = tf.range(draws)
        return tf.map_fn(
            lambda m: game.field(player, z, dirac(other), key=rng.fold_in([1, 2], m))[0],
            keys,
            fn_output_signature=tf.float64,
        )

    g = fields().numpy()
    # Rows: the derivative against each pure strategy of the opponent.
    pure = -A if player == "theta" else (A - a[:, None]).T
    mean = opponent @ pure
    variance = (opponent @ (pure - mean) ** 2) / k
    error = (g.mean(0) - mean) / np.sqrt(variance / draws)
    assert np.abs(error).max() < 5
    fourth = ((g - g.mean(0)) ** 4).mean(0)
    spread = np.sqrt((fourth - variance**2) / draws)
    assert (np.abs(g.var(0) - variance) < 5 * spread).all()


def test_gaussian_noise_has_its_standard_deviation_and_keys_differ():
    game = BiAffine(f64(np.zeros((2, 4096))), f64([0.0, 0.0]), noise_std=0.7)
    z, other = tf.zeros([4096], tf.float64), dirac(f64([0.0, 0.0]))
    one, two = (
        game.field("theta", z, other, key=rng.fold_in([1, 2], i))[0].numpy() for i in (0, 1)
    )
    assert abs(one.std() - 0.7) < 5 * 0.7 / math.sqrt(2 * 4096)
    assert abs(one.mean()) < 5 * 0.7 / 64
    assert abs(np.corrcoef(one, two)[0, 1]) < 5 / 64


def test_same_seed_is_bitwise_the_same():
    one, two, three = (solve(GAME, num_steps=50, num_sampled=2, seed=s) for s in (5, 5, 6))
    assert np.array_equal(one.nu.weights, two.nu.weights)
    assert not np.array_equal(one.nu.weights, three.nu.weights)


def test_noise_variance_bounds_hold():
    """E |noise|_inf^2 by simulation, below the bound that the step sizes use."""
    random = np.random.default_rng(0)
    G = GAME.half_ranges()
    bound = noise_variances(GAME, G, 3, 0.2)
    drawn = random.choice(5, p=Q, size=(20_000, 3))
    noise = -A[drawn].mean(1) + Q @ A + 0.2 * random.normal(size=(20_000, 7))
    simulated = (np.abs(noise).max(1) ** 2).mean()
    # Sub-Gaussian constants are loose, not absurd.
    assert simulated < bound.theta < 60 * simulated


# The driver.


def test_averages_are_those_of_the_right_iterates():
    start = Pair(P, Q)
    md = oracle.mirror_descent(A, a, P, Q, *ETA, 30)
    s = solve(GAME, "mirror_descent", 30, step_size=ETA, start=start)
    assert_close(s.nu.weights, np.mean([p for p, _ in md[:-1]], axis=0))
    assert_close(s.mu.weights, np.mean([q for _, q in md[:-1]], axis=0))
    assert_close(weights(s.details["last"])[1], md[-1][1])
    mp = [middle for middle, _ in oracle.mirror_prox(A, a, P, Q, *ETA, 30)]
    s = solve(GAME, "mirror_prox", 30, step_size=ETA, start=start)
    assert_close(s.nu.weights, np.mean([p for p, _ in mp], axis=0))
    assert_close(s.history["last_gap"][-1], oracle.gap(A, a, *mp[-1]))
    assert_close(s.history["gap"][0], oracle.gap(A, a, *mp[0]))


def test_anytime_steps_decay_and_weigh_the_average():
    p, q, ps, c = P, Q, [], [1 / math.sqrt(t) for t in range(1, 21)]
    for ct in c:
        ps.append(p)
        p, q = oracle.MD(ETA.theta * ct, p, -A.T @ q), oracle.MD(ETA.w * ct, q, -a + A @ p)
    s = solve(GAME, "mirror_descent", 20, ETA, anytime=True, start=Pair(P, Q))
    assert_close(weights(s.details["last"])[0], p)
    assert_close(s.nu.weights, np.average(ps, axis=0, weights=c))


def test_stops_at_the_tolerance():
    s = solve(GAME, num_steps=10**6, tolerance=1e-2)
    assert s.details["converged"]
    assert s.gap <= 1e-2 < s.history["gap"][-2]
    assert s.history["step"][-1] < 10**4
    assert solve(GAME, num_steps=3, tolerance=1e-9).details["converged"] is False


def test_log_weights_of_dominated_strategies_stay_finite():
    """F = p_2: the minimiser's second strategy loses 1 a step; its weight is e^{-10^4}."""
    game = MatrixGame.from_table([[0.0, 0.0], [1.0, 1.0]])
    s = solve(game, "mirror_descent", 10_000, step_size=1.0, records_per_decade=1)
    assert_close(s.details["last"].theta, [0.0, -10_000.0], 1e-9)
    assert s.history["last_gap"][-1] == 0


def test_iterates_that_overflow_are_flagged():
    with pytest.raises(
        FloatingPointError, match=r"stopped being finite between steps 0 and 1\b.*step_size"
    ):
        solve(MatrixGame([[0.0, 1e30], [0.0, -1e30]]), num_steps=10, step_size=1e300)


def test_num_steps_and_other_games_of_the_shape_do_not_retrace():
    matrix._compiled.cache_clear()
    solve(GAME, num_steps=7)
    solve(GAME, num_steps=1234)
    solve(random_game(5, 7, 9), num_steps=10, step_size=0.1)
    assert matrix._compiled.cache_info().currsize == 1
    _, advance, _ = matrix._compiled("mirror_prox", False, None, 0.0, 0)
    assert advance.experimental_get_tracing_count() == 1


def test_the_payoff_is_not_a_constant_of_the_graph():
    _, advance, _ = matrix._compiled("mirror_prox", False, None, 0.0, 0)
    game = random_game(90, 100, 1)
    solve(game, num_steps=2)
    eta, z = Pair(f64(1.0), f64(1.0)), Pair(tf.zeros([100], tf.float64), tf.zeros([90], tf.float64))
    begin = matrix._compiled("mirror_prox", False, None, 0.0, 0)[0]
    graph = advance.get_concrete_function(
        game.payoff, game.offset, eta, begin(eta, z), index(1)
    ).graph
    assert len(graph.as_graph_def().SerializeToString()) < 90 * 100 * 8
    assert all(c.shape != (90, 100) for c, _ in graph.captures)


def test_float32():
    s = solve(MatrixGame(A, a, dtype="float32"), num_steps=2000)
    assert_close(s.value, solve(GAME, num_steps=2000).value, 1e-4)


def test_record_points():
    points = matrix.record_points(1000, 3)
    assert points.tolist() == [1, 2, 5, 10, 22, 46, 100, 215, 464, 1000]
    assert matrix.record_points(1).tolist() == [1]


@pytest.mark.slow
def test_a_large_game_in_float32():
    random = np.random.default_rng(0)
    game = MatrixGame(random.uniform(-1, 1, (4000, 3000)).astype(np.float32), dtype="float32")
    s = solve(game, num_steps=200, records_per_decade=2)
    assert s.gap <= s.details["bound"]


# Bad input.


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MatrixGame([1.0, 2.0]), r"matrix \[n, m\].*shape \(2,\)"),
        (lambda: MatrixGame(np.zeros((0, 3))), "at least one strategy"),
        (lambda: MatrixGame([[1, 2], [3, np.nan]]), r"entry \[1, 1\] is nan"),
        (lambda: MatrixGame.from_table([[1, 2, 3], [3, np.inf, 2]]), r"entry \[1, 1\] is inf"),
        (lambda: MatrixGame(A, [1.0]), r"offset.*shape \(5,\).*got shape \(1,\)"),
        (lambda: MatrixGame(A, np.full(5, np.inf)), r"offset.*entry \[0\]"),
        (lambda: MatrixGame(A, dtype="int32"), "float64 or float32, got int32"),
        (lambda: MatrixGame([["x"]]), "array of numbers"),
        (lambda: MatrixGame(A, row_labels=["a"]), "5 row labels, got 1"),
        (lambda: solve(GAME, "newton"), f"Choose one of: {', '.join(METHODS)}"),
        (lambda: solve(GAME, num_steps=0), "num_steps must be a whole number, at least 1"),
        (lambda: solve(GAME, step_size=-1.0), "positive number"),
        (lambda: solve(GAME, num_sampled=0), "num_sampled must be at least 1"),
        (lambda: solve(GAME, noise_std=-1.0), "noise_std must be at least 0"),
        (lambda: solve(GAME, tolerance=-1.0), "tolerance must be at least 0"),
        (lambda: solve(GAME, start=Pair(P, P)), "start of w must be 5 positive weights"),
        (lambda: solve(GAME, start=Pair(np.eye(7)[0], Q)), "start of theta.*minimum 0"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(InputError, match=message):
        make()
