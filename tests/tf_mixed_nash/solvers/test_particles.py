"""Particle steps against NumPy, their invariances, and solutions of games in closed form."""

import functools
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import assert_close, f64, index
from tests.oracles import moments
from tests.oracles import particles as oracle_steps
from tests.oracles.continuous_games import GAMES
from tests.statistics import assert_mean, r_hat
from tf_mixed_nash.errors import InputError
from tf_mixed_nash.games.boxes import Box
from tf_mixed_nash.games.continuous import ContinuousGame
from tf_mixed_nash.methods import schemes
from tf_mixed_nash.methods.oracle import Oracle
from tf_mixed_nash.methods.prox import conic
from tf_mixed_nash.methods.schedules import constant
from tf_mixed_nash.solvers import particles
from tf_mixed_nash.solvers.particles import ParticleGame, solve
from tf_mixed_nash.types import Measure, Pair, Particles

ETA, GAMMA, EPS = 0.3, 0.05, 0.02


def in_tf(name: str, shift: float = 0.0) -> ContinuousGame:
    g = GAMES[name]
    x_set, y_set = (Box(g.lower[p], g.upper[p], g.periodic) for p in range(2))
    return ContinuousGame(lambda x, y: g.payoff(x, y, tf) + shift, x_set, y_set, name=name)


# The games' claims, without any of our code.


@pytest.mark.parametrize("name", GAMES)
def test_the_claimed_equilibria_have_no_gap_on_a_fine_grid(name):
    g = GAMES[name]
    assert g.gap(g.x, g.a, g.y, g.b, num=101 if g.x.shape[1] == 2 else 2001) < 1e-12
    assert_close(g.a @ g.matrix(g.x, g.y) @ g.b, g.value, 1e-12)
    assert_close([g.a.sum(), g.b.sum()], [1, 1], 1e-14)


@pytest.mark.parametrize("name", [name for name, g in GAMES.items() if g.unique])
def test_other_weights_and_atoms_have_a_gap(name):
    """A unique equilibrium is no equilibrium after a shift of either player."""
    g = GAMES[name]
    for x, y in ((g.x + 0.05, g.y), (g.x, g.y * 0.9 - 0.03)):
        assert g.gap(x, g.a, y, g.b, num=41 if g.x.shape[1] == 2 else 2001) > 1e-4


# Transcriptions.


def plane_problem(oracle: Oracle):
    """`plane_wells` for the NumPy steps, with central differences replaced by exact gradients."""
    u, v, C = GAMES["plane_wells"].x[1], GAMES["plane_wells"].y[1], np.array([[1, 0.5], [-0.5, 2]])
    p, q = 0.2 * u, -0.4 * v

    def well(z):
        return 4 * (z[:, 0] ** 2 - 0.25) ** 2 + 2 * (z[:, 1] - z[:, 0] / 2) ** 2

    def slope(z):
        tilt = z[:, 1] - z[:, 0] / 2
        return np.stack([16 * z[:, 0] * (z[:, 0] ** 2 - 0.25) - 2 * tilt, 4 * tilt], axis=1)

    def V(player, z, atoms, weights):
        if player == "theta":
            mean = weights @ (atoms - q)
            return (
                well(z) - weights @ well(atoms[:, ::-1]) + (z - p) @ C @ mean,
                slope(z) + C @ mean,
            )
        mean = weights @ (atoms - p)
        return (
            well(z[:, ::-1]) - weights @ well(atoms) - mean @ C @ (z - q).T,
            slope(z[:, ::-1])[:, ::-1] - mean @ C,
        )

    return SimpleNamespace(
        V=V,
        noise=lambda player, m, shape: oracle.noise(player, tf.zeros(shape, "float64"), m).numpy(),
        project=lambda player, z: np.clip(z, -1, 1),
    )


def plane_start(num=(4, 3)) -> dict[str, tuple]:
    random = np.random.default_rng(3)
    start = {}
    for player, n in zip(("theta", "w"), num, strict=True):
        a = random.dirichlet(np.ones(n))
        start[player] = (np.log(a), random.uniform(-0.9, 0.9, size=(n, 2)))
    return start


def run_steps(scheme, oracle, start, num_steps):
    """The states after each step, from NumPy particles."""
    step = tf.function(scheme.step, autograph=False)
    state = scheme.init(*(Particles(*map(f64, start[p])) for p in ("theta", "w")))
    states, outputs = [], []
    for t in range(num_steps):
        state, logs = step(oracle, state, index(t), index(t * scheme.num_batches(t)))
        assert logs.theta["finite"]
        assert logs.w["finite"]
        states.append(state)
        outputs.append(scheme.output(state))
    return states, outputs


def prox(eta=ETA, gamma=GAMMA, eps=0.0):
    p = conic(constant(eta), constant(gamma), constant(eps))
    return Pair(p, p)


def assert_particles(ours: Particles, theirs):
    assert_close(ours.log_weights, theirs[0])
    assert_close(ours.atoms, theirs[1])


@pytest.mark.parametrize("alternated", [False, True])
@pytest.mark.parametrize(("eta", "eps"), [(ETA, EPS), (ETA, 0.0), (0.0, EPS)])
def test_descent_ascent_is_the_transcription(alternated, eta, eps):
    oracle = Oracle(ParticleGame(in_tf("plane_wells")), seed=4)
    problem, s = plane_problem(oracle), plane_start()
    scheme = schemes.mirror_descent(prox(eta=eta, eps=eps), alternated)
    _, outputs = run_steps(scheme, oracle, s, 6)
    for t, output in enumerate(outputs):
        s = oracle_steps.descent_ascent(problem, s, eta, GAMMA, eps, t, alternated)
        for p in ("theta", "w"):
            assert_particles(output.of(p), s[p])
    assert np.abs(s["theta"][1] - plane_start()["theta"][1]).max() > 0.05


def test_mirror_prox_is_the_transcription():
    oracle = Oracle(ParticleGame(in_tf("plane_wells")))
    problem, s = plane_problem(oracle), plane_start()
    states, outputs = run_steps(schemes.mirror_prox(prox()), oracle, s, 6)
    for t, (state, output) in enumerate(zip(states, outputs, strict=True)):
        middle, s = oracle_steps.mirror_prox(problem, s, ETA, GAMMA, 2 * t)
        for p in ("theta", "w"):
            assert_particles(output.of(p), middle[p])
            assert_particles(state.of(p).tilde, s[p])


def test_chambolle_pocks_signed_measure_is_played_against():
    """V against 2 nu - nu' is 2 V(nu) - V(nu')."""
    game = ParticleGame(in_tf("plane_wells"))
    first, second = (Particles(*map(f64, plane_start(num)["theta"])) for num in ((4, 3), (5, 3)))
    z = Particles(*map(f64, plane_start()["w"]))

    def field(atoms, weights):
        return game.field("w", z, Measure(atoms, weights))[0]

    signed = field((first, second), (2.0, -1.0))
    one, two = field((first,), (1.0,)), field((second,), (1.0,))
    assert_close(signed.log_weights, 2 * one.log_weights - two.log_weights, 1e-13)
    assert_close(signed.atoms, 2 * one.atoms - two.atoms, 1e-13)


def test_gradient_descent_ascent_is_the_case_of_one_atom():
    """F = x y: (x, y) <- (x - gamma y, y + gamma x)."""
    oracle = Oracle(ParticleGame(in_tf("bilinear")))
    start = {"theta": (np.zeros(1), np.array([[0.1]])), "w": (np.zeros(1), np.array([[0.2]]))}
    _, outputs = run_steps(schemes.mirror_descent(prox(eta=0.0)), oracle, start, 5)
    z = (0.1 + 0.2j) * (1 + 1j * GAMMA) ** 5  # x + i y turns by gamma
    assert_close(outputs[-1].theta.atoms, [[z.real]], 1e-14)
    assert_close(outputs[-1].w.atoms, [[z.imag]], 1e-14)


# Invariances, over several mirror-prox steps.


@functools.cache
def plain_outputs():
    return outputs_of(plane_start())


def outputs_of(start, shift=0.0):
    oracle = Oracle(ParticleGame(in_tf("plane_wells", shift)))
    return run_steps(schemes.mirror_prox(prox()), oracle, start, 5)[1][-1]


def test_permuting_the_atoms_permutes_the_answer():
    start = plane_start()
    order = np.array([2, 0, 3, 1])
    log_a, x = start["theta"]
    plain, permuted = plain_outputs(), outputs_of({**start, "theta": (log_a[order], x[order])})
    assert_close(permuted.theta.atoms, plain.theta.atoms.numpy()[order], 1e-13)
    assert_close(permuted.theta.log_weights, plain.theta.log_weights.numpy()[order], 1e-13)
    assert_close(permuted.w.atoms, plain.w.atoms, 1e-13)


def test_splitting_an_atom_into_halves_changes_nothing():
    start = plane_start()
    log_b, y = start["w"]
    split = (np.append(log_b[:2], [log_b[2] - np.log(2)] * 2), y[[0, 1, 2, 2]])
    plain, halved = plain_outputs(), outputs_of({**start, "w": split})
    assert_close(halved.theta.atoms, plain.theta.atoms, 1e-13)
    assert_close(halved.w.atoms, plain.w.atoms.numpy()[[0, 1, 2, 2]], 1e-13)
    weights = np.exp(halved.w.log_weights)
    assert_close([*weights[:2], weights[2] + weights[3]], np.exp(plain.w.log_weights), 1e-13)


def test_absent_atoms_stay_absent_and_change_nothing():
    start = plane_start()
    log_a, x = start["theta"]
    padded = (np.append(log_a, -np.inf), np.append(x, [[0.3, 0.3]], axis=0))
    plain, more = plain_outputs(), outputs_of({**start, "theta": padded})
    assert_close(more.theta.atoms[:4], plain.theta.atoms, 1e-13)
    assert_close(more.w.log_weights, plain.w.log_weights, 1e-13)
    assert more.theta.log_weights.numpy()[4] == -np.inf


def test_a_constant_in_the_payoff_changes_nothing():
    start = plane_start()
    plain, shifted = plain_outputs(), outputs_of(start, shift=7.5)
    for p in ("theta", "w"):
        assert_close(shifted.of(p).atoms, plain.of(p).atoms, 1e-12)
        assert_close(shifted.of(p).log_weights, plain.of(p).log_weights, 1e-12)


def test_the_noise_has_the_stationary_variance_of_the_discrete_chain():
    """eta = 0, F = x^2 / (2 sigma^2), 512 independent atoms: eps sigma^2 / (1 - gamma/(2 sigma^2)).
    The box is 20 standard deviations wide: the bounds are never hit."""
    sigma, gamma, eps, chains, samples = 0.7, 0.3, 0.01, 512, 300
    game = ContinuousGame(
        lambda x, y: x[0] ** 2 / (2 * sigma**2) + 0.0 * y[0], Box(-2.0, 2.0), Box(-1.0, 1.0)
    )
    oracle = Oracle(ParticleGame(game), seed=2)
    step = conic(constant(0.0), constant(gamma), constant(eps)).step
    log_a = tf.fill([chains], -tf.math.log(f64(chains)))
    opponent = Measure((Particles(f64([0.0]), f64([[0.0]])),), (1.0,))

    @tf.function
    def simulate():
        x, out = (
            tf.linspace(f64(-0.5), f64(0.5), chains)[:, None],
            tf.TensorArray("float64", samples),
        )
        for t in tf.range(100 + samples, dtype=tf.int64):
            z = Particles(log_a, x)
            x = step(oracle, "theta", z, z, opponent, (), t, t).z.atoms
            if t >= 100:
                out = out.write(tf.cast(t, tf.int32) - 100, x[:, 0])
        return out.stack()

    series = simulate().numpy()
    assert r_hat(series) < 1.02
    assert_mean(series, 0.0)
    assert_mean(series**2, moments.sgld_variance(sigma, gamma, eps))


# Solutions with default settings.


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tilted_pursuit", "double_wells", "rotation", "circle"])
def test_default_settings_solve(name):
    g = GAMES[name]
    solution = solve(in_tf(name), seed=1)
    num = 41 if g.x.shape[1] == 2 else 2001
    assert g.gap(*solution.nu, *solution.mu, num) < 1e-5  # on a grid, by NumPy alone
    assert solution.gap < 1e-5
    assert abs(solution.value - g.value) < 1e-5
    assert_close([solution.nu.weights.sum(), solution.mu.weights.sum()], [1, 1], 1e-12)
    if g.unique:
        distance, error = g.errors(*solution.nu, *solution.mu)
        assert distance < 1e-6
        assert error < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["pursuit", "parrilo", "plane_wells", "ripples", "bilinear", "dirac_gan"]
)
def test_default_settings_solve_the_other_games(name):
    test_default_settings_solve(name)


def test_descent_ascent_spirals_out_where_mirror_prox_converges():
    g = GAMES["rotation"]
    game = in_tf("rotation")
    lost = solve(game, method="gda", num_steps=500)
    plain = solve(game, method="conic_mirror_prox", refine=False, num_steps=500)
    assert lost.gap > 0.3
    assert g.errors(*lost.nu, *lost.mu)[0] > 0.3
    assert plain.gap < 1e-2
    assert lost.history["step"][-1] == 500
    assert lost.details["weight_step"] == 0.0


def test_the_same_seed_gives_the_same_answer_and_another_does_not():
    game = in_tf("double_wells")
    first, again, other = (
        solve(game, method="wfr", num_atoms=3, num_steps=2, seed=s, num_starts=2) for s in (3, 3, 4)
    )
    np.testing.assert_array_equal(first.nu.atoms, again.nu.atoms)
    np.testing.assert_array_equal(first.mu.weights, again.mu.weights)
    assert np.abs(first.nu.atoms - other.nu.atoms).max() > 1e-3


@pytest.mark.parametrize("method", particles.METHODS)
def test_every_method_returns_measures_inside_the_sets(method):
    solution = solve(in_tf("tilted_pursuit"), method, num_steps=30, num_rounds=1)
    for measure in (solution.nu, solution.mu):
        assert np.abs(measure.atoms).max() <= 1
        assert_close(measure.weights.sum(), 1, 1e-12)
    assert solution.method == method
    assert len(solution.history["step"]) == len(solution.history["gap"])
    assert (np.diff(solution.history["best"]) <= 1e-6).all()


# Bad input.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "adam"}, "Choose one of: conic_mirror_prox"),
        ({"num_atoms": 0}, "num_atoms must be at least 1"),
        ({"num_steps": 0}, "num_steps must be at least 1"),
        ({"temperature": -1.0}, "temperature must be finite"),
        ({"weight_step": float("nan")}, "weight_step must be finite"),
    ],
)
def test_bad_settings_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        solve(in_tf("bilinear"), **arguments)


def test_a_payoff_that_becomes_infinite_on_the_way_is_reported():
    """Finite at random points, but the maximiser climbs into the pole at (1, 1)."""
    game = ContinuousGame(
        lambda x, y: 1e-9 / (2.0 - x[0] - y[0]) - x[0] * x[0] + y[0], Box(-1.0, 1.0), Box(-1.0, 1.0)
    )
    with pytest.raises(InputError, match=r"(infinite|not finite)"):
        solve(game, num_steps=400)


def test_a_payoff_without_a_gradient_is_refused():
    game = ContinuousGame(lambda x, y: tf.round(3.0 * x[0]) * y[0], Box(-1.0, 1.0), Box(-1.0, 1.0))
    with pytest.raises(InputError, match="not differentiable in x"):
        solve(game, num_steps=2)
