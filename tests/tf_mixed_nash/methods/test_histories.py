"""What is remembered, with which weights, and the two plays against it."""

import numpy as np
import pytest
import tensorflow as tf

from tests import helpers, statistics
from tests.helpers import assert_close, f64, index
from tests.oracles import payoff
from tf_mixed_nash import rng
from tf_mixed_nash.errors import InputError
from tf_mixed_nash.games.functions import FunctionGame
from tf_mixed_nash.methods.histories import KINDS, Past, exact, make_memory, subsampled
from tf_mixed_nash.methods.oracle import Oracle

KEY = rng.stream(0, "test")


def strategy(s, num_chains=2):
    """n' samples that say which strategy they are of: 10 s, 10 s + 1, ..., in R^2."""
    samples = 10.0 * s + np.arange(num_chains)
    return f64(np.stack([samples, -samples], axis=1))


def remembered(memory, num, seed=0):
    history = memory.empty(strategy(0))
    for s in range(num):
        history = memory.push(history, strategy(s), rng.fold_in(rng.stream(seed, "push"), s))
    return history


def strategies_in(past):
    """The strategies of the filled rows, in their order; whole strategies only."""
    rows = past.rows.numpy()[: int(past.filled)]
    assert np.array_equal(rows[:, 0], -rows[:, 1])
    pairs = rows[:, 0].reshape(-1, 2)
    assert np.array_equal(pairs[:, 1], pairs[:, 0] + 1)
    return list(pairs[:, 0] / 10)


@pytest.mark.parametrize(
    ("kind", "num", "kept", "mass"),
    [
        ("full", 3, [0, 1, 2], 3),
        ("reservoir", 4, [0, 1, 2, 3], 4),
        ("window", 3, [0, 1, 2], 3),
        ("window", 6, [4, 5, 2, 3], 4),
    ],
)
def test_what_is_kept_and_how_much_it_counts(kind, num, kept, mass):
    memory = make_memory(kind, 4)
    past = memory.past(remembered(memory, num))
    assert strategies_in(past) == kept
    assert past.mass == past.num_terms == mass


def test_the_weights_of_a_reservoir_sum_to_the_count():
    memory = make_memory("reservoir", 4)
    history = remembered(memory, 9)
    past = memory.past(history, extra=strategy(50))
    assert (int(history.count), int(past.filled)) == (9, 4 * 2)
    assert (past.mass, past.num_terms) == (9, 10)
    assert set(strategies_in(past)) <= set(range(9))


def test_a_reservoir_is_a_uniform_sample_of_the_past():
    memory, counts = make_memory("reservoir", 3), np.zeros(7)

    @tf.function(autograph=False)
    def kept(seed):
        history = memory.empty(strategy(0))
        for s in range(7):
            history = memory.push(history, strategy(s), rng.fold_in(rng.fold_in(KEY, seed), s))
        return memory.past(history).rows[::2, 0]

    for seed in range(600):
        counts[(kept(tf.constant(seed)).numpy() / 10).astype(int)] += 1
    statistics.assert_counts(counts, np.full(7, 1 / 7))


@pytest.mark.parametrize(("kind", "capacity", "says"), [("all", 3, "full, reservoir, window")])
def test_unknown_kinds(kind, capacity, says):
    with pytest.raises(InputError, match=says):
        make_memory(kind, capacity)


@pytest.mark.parametrize("kind", KINDS)
def test_a_capacity_of_nothing_is_an_error(kind):
    with pytest.raises(InputError, match=r"history_capacity \(H\) must be at least 1, got 0"):
        make_memory(kind, 0)


# Plays.

ROWS = np.random.default_rng(3).normal(size=(6, 4))  # of which 5 are filled; w of the payoff
EXTRA = np.random.default_rng(4).normal(size=(3, 4))
MASS = 11.0


def past_of(filled=5, extra=True, mass=MASS):
    rows = np.where(np.arange(6)[:, None] < filled, ROWS, np.nan)  # not to be read
    return Past(f64(rows), index(filled), f64(mass), f64(EXTRA) if extra else None)


def mean_field(filled=5, extra=True, mass=MASS):
    num_terms = mass + extra
    opponent = [(mass / num_terms / filled, row) for row in ROWS[:filled]] if filled else []
    if extra:
        opponent += [(1 / num_terms / 3, row) for row in EXTRA]
    return payoff.descent("theta", payoff.THETA, opponent), opponent


def play(how, past, m=index(0)):  # noqa: B008
    oracle = Oracle(FunctionGame(helpers.payoff_in_tf), seed=6)
    return how(oracle, "theta", f64(payoff.THETA), past, m)


@pytest.mark.parametrize("chunk", [1, 2, 5, 9])
@pytest.mark.parametrize(
    ("filled", "extra", "mass"), [(5, True, MASS), (5, False, MASS), (0, True, 0.0)]
)
def test_the_exact_play_is_the_mean_over_every_sample(chunk, filled, extra, mass):
    g, logs = play(exact(chunk), past_of(filled, extra, mass))
    expected, opponent = mean_field(filled, extra, mass)
    assert_close(g, expected, 1e-13)
    loss = sum(a * payoff.value(payoff.THETA, w) for a, w in opponent)
    assert_close(logs["loss"], loss, 1e-13)


@pytest.mark.parametrize(
    ("filled", "extra", "mass"), [(5, True, 2.0), (5, False, MASS), (0, True, 0.0)]
)
def test_the_subsampled_play_is_unbiased(filled, extra, mass):
    past, b = past_of(filled, extra, mass), 2
    compiled = tf.function(lambda m: play(subsampled(b), past, m)[0], autograph=False)
    fields = np.stack([compiled(index(m)).numpy() for m in range(4000)])
    expected, _ = mean_field(filled, extra, mass)
    error = np.std(fields, axis=0) / np.sqrt(len(fields))
    assert np.all(error > 0)
    assert np.all(np.abs(np.mean(fields, axis=0) - expected) < statistics.NUM_SIGMAS * error)


def test_the_subsampled_play_is_a_mean_of_b_draws():
    """The variance falls as 1 / b."""
    past = past_of(extra=False)
    spread = {}
    for b in (1, 8):
        compiled = tf.function(lambda m, b=b: play(subsampled(b), past, m)[0], autograph=False)
        spread[b] = np.var([compiled(index(m)).numpy() for m in range(1500)], axis=0)
    np.testing.assert_allclose(spread[1] / spread[8], 8.0, rtol=0.3)
