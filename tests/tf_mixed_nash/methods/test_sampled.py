"""Algorithms 4 and 5 against their transcription, their limits, and the exact law."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tests import helpers, statistics
from tests.helpers import assert_close, f64
from tests.oracles import algorithms as oracles
from tests.oracles import payoff
from tf_mixed_nash import compile as compiling
from tf_mixed_nash.algorithms import build
from tf_mixed_nash.errors import InputError
from tf_mixed_nash.games.functions import FunctionGame
from tf_mixed_nash.methods import sampled, samplers, schemes
from tf_mixed_nash.methods.histories import exact, reservoir, subsampled, window
from tf_mixed_nash.methods.oracle import Oracle
from tf_mixed_nash.methods.prox import langevin_atoms, one_step
from tf_mixed_nash.methods.schedules import constant, exponential
from tf_mixed_nash.training import whole
from tf_mixed_nash.types import Pair

NUM_STEPS = 7  # pushes beyond every small capacity below

# algorithm, preconditioned, (n' of theta, n' of w), history, H, b; a compiled graph each.
CASES = [
    ("sample_md", False, (1, 1), "full", 50, 0),
    ("sample_md", True, (3, 2), "full", 50, 4),
    ("sample_md", False, (3, 3), "window", 2, 3),
    ("sample_md", True, (1, 3), "reservoir", 3, 0),
    ("sample_mp", True, (1, 1), "full", 50, 2),
    ("sample_mp", False, (3, 3), "full", 50, 0),
    ("sample_mp", True, (3, 1), "window", 3, 0),
    ("sample_mp", False, (1, 3), "reservoir", 2, 2),
]


def two(ours, theirs, num_chains, **both):
    """The hyperparameters of `helpers` with those of the sampled algorithms."""
    names = {"history": "memory", "history_capacity": "H", "history_batch": "b"}
    eta = {"theta": 0.7, "w": 2.5}
    chains = dict(zip(("theta", "w"), num_chains, strict=True))
    ours = Pair(
        *(
            dataclasses.replace(ours.of(p), num_chains=chains[p], mirror_step=eta[p], **both)
            for p in ("theta", "w")
        )
    )
    named = {names[key]: value for key, value in both.items()}
    theirs = {p: h._replace(n=chains[p], eta=eta[p], **named) for p, h in theirs.items()}
    return ours, theirs


def spread_start(num_chains):
    """[n', d] or [d] of both players: chains that differ."""
    random = np.random.default_rng(4)

    def rows(z, num):
        return z if num == 1 else f64(z + 0.3 * random.normal(size=(num, len(z))))

    return Pair(*map(rows, helpers.payoff_start(), num_chains))


@pytest.mark.parametrize(
    ("name", "preconditioned", "num_chains", "history", "capacity", "batch"), CASES
)
def test_trajectory_is_the_transcription(
    name, preconditioned, num_chains, history, capacity, batch
):
    """K_t grows, both players differ in everything, w lives in a box that binds."""
    box = 0.95
    ours, theirs = two(
        *helpers.hyperparameters(growing=True, preconditioned=preconditioned),
        num_chains,
        history=history,
        history_capacity=capacity,
        history_batch=batch,
    )
    start = spread_start(num_chains)
    oracle = Oracle(helpers.StochasticGame(box), helpers.StochasticGame.batch_at, seed=5)
    actual, state = helpers.run(build(name, ours), oracle, start, NUM_STEPS)
    desired = oracles.trajectory(
        name,
        helpers.payoff_problem(oracle, box),
        theirs,
        {p: z.numpy() for p, z in start._asdict().items()},
        NUM_STEPS,
    )
    for a, b in zip(actual, desired, strict=True):
        for player in ("theta", "w"):
            assert_close(a[player], b[player])
    assert state.theta.history.count == NUM_STEPS + (name == "sample_md")


def test_trajectory_of_a_gan_against_the_exact_sum():
    penalties = {"gradient_penalty": 0.7, "r1": 0.3}
    game = helpers.small_gan("nonsaturating", **penalties)
    oracle, start = helpers.gan_oracle(game), helpers.gan_start(game)
    ours, theirs = two(
        *helpers.hyperparameters(growing=True, preconditioned=True),
        (2, 1),
        history="reservoir",
        history_capacity=2,
        history_batch=0,
    )
    actual, _ = helpers.run(build("sample_md", ours), oracle, start, 4)
    problem = helpers.gan_problem(game, oracle, "nonsaturating", **penalties)
    arrays = {p: z.numpy() for p, z in start._asdict().items()}
    desired = oracles.trajectory("sample_md", problem, theirs, arrays, 4)
    for a, b in zip(actual, desired, strict=True):
        assert_close(a["theta"], b["theta"])
        assert_close(a["w"], b["w"])


@pytest.mark.parametrize(
    ("name", "history"),
    [("sample_md", "window"), pytest.param("sample_mp", "reservoir", marks=pytest.mark.slow)],
)
def test_compiled_whole_it_is_one_program_for_every_call(name, history):
    """XLA takes the begin of a slice for a constant, and compiled anew for every count."""
    ours, _ = two(
        *helpers.hyperparameters(growing=False, preconditioned=False),
        (2, 1),
        history=history,
        history_capacity=2,
    )
    scheme = build(name, ours)
    oracle = Oracle(helpers.StochasticGame(), helpers.StochasticGame.batch_at, seed=5)
    state = scheme.init(*spread_start((2, 1)))

    def step(t, m, *values):
        packed = tf.nest.pack_sequence_as(state, values)
        with compiling.whole():
            return tf.nest.flatten(scheme.step(oracle, packed, t, m)[0])

    compiled = tf.function(step, jit_compile=True)

    def program(shift):
        numbers = [tf.constant(shift, tf.int64)] * 2
        values = [x + shift if x.dtype.is_integer else x for x in tf.nest.flatten(state)]
        return whole.text_of(compiled, "hlo", *numbers, *values)

    assert program(5) == program(0)


# What is left of them.


def langevin():
    return samplers.langevin(exponential(0.05, 0.05), constant(0.3), samplers.identity())


def atoms(play, K=1, mirror_step=1.0):
    make = lambda: langevin_atoms(langevin(), constant(K), play, mirror_step)  # noqa: E731
    return Pair(make(), make())


def outputs(scheme, num_steps=6):
    oracle = Oracle(helpers.StochasticGame(), helpers.StochasticGame.batch_at, seed=1)
    trajectory, _ = helpers.run(scheme, oracle, helpers.payoff_start(), num_steps)
    return np.array([np.concatenate([s["theta"], s["w"]]) for s in trajectory])


@pytest.mark.parametrize("play", [exact(), subsampled(2)], ids=["exact", "subsampled"])
def test_without_memory_it_is_langevin_descent_ascent(play):
    """n' = 1, a window of 1, K = 1, eta = 1."""
    ones = Pair(1, 1)
    without = sampled.sample_md(atoms(play), Pair(window(1), window(1)), ones)
    descent = schemes.mirror_descent(Pair(one_step(langevin()), one_step(langevin())))
    assert_close(outputs(without), outputs(descent), 1e-13)
    remembers = sampled.sample_md(atoms(play), Pair(window(2), window(2)), ones)
    assert np.max(np.abs(outputs(remembers) - outputs(descent))) > 1e-3


def test_only_the_ratio_of_temperature_and_mirror_step_counts():
    def scheme(temperature, mirror_step):
        sampler = samplers.langevin(constant(0.05), constant(temperature), samplers.identity())
        prox = langevin_atoms(sampler, constant(2), subsampled(1), mirror_step)
        return sampled.sample_md(Pair(prox, prox), Pair(reservoir(9), reservoir(9)), Pair(1, 1))

    expected = outputs(scheme(0.3, 1.0))
    assert_close(outputs(scheme(0.9, 3.0)), expected, 1e-13)
    assert np.max(np.abs(outputs(scheme(0.3, 3.0)) - expected)) > 1e-3


# The law that is sampled, on the payoff  x y + sin x cos y + (A x^2 - B y^2) / 2  of the line.

A, B, ETA, EPS = 1.0, 1.5, 0.6, 0.5
GRID = np.linspace(-6.0, 6.0, 1201)


NUM = 400


def crowd(theta, w):
    """The mean game of NUM samples each: a chain's coordinates are independent samples."""
    x, y = theta[:, None], w[None, :]
    coupled = tf.reduce_sum(x * y + tf.sin(x) * tf.cos(y)) / NUM
    return coupled + tf.reduce_sum(A * theta**2 - B * w**2) / 2


def curved_on_grid():
    theta, w = GRID[:, None], GRID[None, :]
    return theta * w + np.sin(theta) * np.cos(w) + A * theta**2 / 2 - B * w**2 / 2


def density(log):
    weights = np.exp(log - np.max(log))
    return weights / np.sum(weights)


def exact_laws(name, theta, w, num_steps):
    """The strategies after `num_steps` steps by Algorithm 1 or 2 on the grid, from one point."""
    F = curved_on_grid()
    rate = ETA / EPS
    point = lambda z: density(-1e6 * (GRID - z) ** 2)  # noqa: E731
    tilde = {"theta": point(theta), "w": point(w)}
    log = {"theta": np.zeros(len(GRID)), "w": np.zeros(len(GRID))}

    def losses(p):
        return {"theta": F @ p["w"], "w": -(p["theta"] @ F)}

    for _ in range(num_steps):
        middle = losses(tilde)
        if name == "sample_mp":
            z = {q: density(log[q] - rate * middle[q]) for q in log}
            middle = losses(z)
        for q in log:
            log[q] = log[q] - rate * middle[q]
            tilde[q] = density(log[q])
    return z if name == "sample_mp" else tilde


@pytest.mark.parametrize("name", ["sample_md", "sample_mp"])
def test_the_samples_follow_the_exact_mirror_descent_iterate(name):
    """Mean and standard deviation of the samples of (mu_T, nu_T), to their standard errors.

    The bias of Langevin steps of size gamma is about gamma / 2 times the curvature, relatively.
    """
    num_steps, gamma = 3, 0.03
    sampler = samplers.langevin(constant(gamma), constant(EPS), samplers.identity())
    prox = langevin_atoms(sampler, constant(150), exact(1), ETA)
    scheme = {"sample_md": sampled.sample_md, "sample_mp": sampled.sample_mp}[name](
        Pair(prox, prox), Pair(reservoir(10), reservoir(10)), Pair(1, 1)
    )
    start = Pair(f64(np.full(NUM, 0.9)), f64(np.full(NUM, -0.4)))
    _, state = helpers.run(scheme, Oracle(FunctionGame(crowd), seed=8), start, num_steps)
    laws = exact_laws(name, 0.9, -0.4, num_steps)
    for player in ("theta", "w"):
        z, law = state.of(player).z.numpy()[0], laws[player]
        mean = law @ GRID
        std = np.sqrt(law @ (GRID - mean) ** 2)
        # The past's samples are as many, and pass their error on: sqrt(2).
        error = np.sqrt(2) * statistics.NUM_SIGMAS * std / np.sqrt(NUM)
        assert abs(np.mean(z) - mean) < error
        assert abs(np.std(z) - std) < error / np.sqrt(2) + gamma * std
        assert std < 0.8 * np.sqrt(EPS / ETA)  # several terms have narrowed it


def test_rows_that_do_not_match_the_chains_are_an_error():
    scheme = sampled.sample_md(atoms(exact()), Pair(reservoir(3), reservoir(3)), Pair(2, 2))
    with pytest.raises(InputError, match=r"2 rows.*got shape \(3, 3\)"):
        scheme.init(f64(np.zeros([3, 3])), f64(payoff.W))


@pytest.mark.parametrize("eta", [0.0, -1.0, float("nan")])
def test_the_mirror_step_must_be_positive(eta):
    with pytest.raises(InputError, match=r"mirror_step \(eta\) must be above 0"):
        langevin_atoms(langevin(), constant(1), exact(), eta)
