"""Schedules against their formulas."""

import math

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import assert_close
from tf_mixed_nash.errors import InputError
from tf_mixed_nash.methods import schedules
from tf_mixed_nash.methods.schedules import make

T = 10
TIMES = [0, 1, 3, 5, 9, 10, 11, 100]

FORMULAS = {
    "constant": (schedules.constant(0.3), lambda t: 0.3),
    "linear": (schedules.linear(0.3, T), lambda t: 0.3 * max(1 - t / T, 0)),
    "linear to an end": (
        schedules.linear(0.3, T, end=0.1),
        lambda t: 0.3 - 0.2 * t / T if t < T else 0.1,
    ),
    "cosine": (
        schedules.cosine(0.3, T),
        lambda t: 0.15 * (1 + math.cos(math.pi * t / T)) if t < T else 0.0,
    ),
    "cosine to an end": (
        schedules.cosine(0.3, T, end=0.1),
        lambda t: 0.1 + 0.1 * (1 + math.cos(math.pi * t / T)) if t < T else 0.1,
    ),
    "exponential": (schedules.exponential(0.3, 0.05), lambda t: 0.3 * 0.95**t),
    # Zhang et al. 2020, eq. 3, of four cycles of ceil(10 / 4) = 3 steps.
    "cyclical": (
        schedules.cyclical(0.3, T),
        lambda t: 0.15 * (math.cos(math.pi * (t % 3) / 3) + 1),
    ),
    "cyclical, quiet at first": (
        schedules.cyclical(0.3, T, cycles=2, end=0.1, quiet=0.5),
        lambda t: 0.0 if t % 5 < 2.5 else 0.1 + 0.1 * (math.cos(math.pi * (t % 5) / 5) + 1),
    ),
    "warmed": (
        make("linear(warmup=0.4)", 0.3, T),
        lambda t: 0.3 * min((t + 1) / 4, 1) * (1 - min(max(t - 4, 0) / 6, 1)),
    ),
    "warmed and constant": (
        make("constant(warmup=0.5)", 0.3, T),
        lambda t: 0.3 * min((t + 1) / 5, 1),
    ),
    "with an end": (
        make("cosine(end=0.5, warmup=0.1)", 0.3, T),
        lambda t: 0.15 + 0.075 * (1 + math.cos(math.pi * min(max(t - 1, 0) / 9, 1))),
    ),
    "slow exponential": (schedules.exponential(0.3, 1e-5), lambda t: 0.3 * (1 - 1e-5) ** t),
}


@pytest.mark.parametrize("kind", FORMULAS)
@pytest.mark.parametrize("as_tensor", [False, True])
def test_values(kind, as_tensor):
    schedule, formula = FORMULAS[kind]
    for t in TIMES:
        value = schedule(tf.constant(t, tf.int64) if as_tensor else t)
        assert_close(value, formula(t), 1e-14)  # t = 100 products in the formula


@pytest.mark.parametrize("kind", FORMULAS)
def test_varying_schedules_are_float64_tensors(kind):
    schedule, _ = FORMULAS[kind]
    value = schedule(tf.constant(3, tf.int64))
    if kind == "constant":
        assert value == 0.3
        assert schedule.value == 0.3
    else:
        assert value.dtype == tf.float64
        assert value.shape == []


@pytest.mark.parametrize("kind", ["linear", "cosine", "exponential"])
def test_decaying_schedules_never_rise_nor_leave_their_bounds(kind):
    schedule = make(kind, 0.3, num_steps=50, rate=0.02)
    values = np.array([float(schedule(t)) for t in range(80)])
    assert values[0] == 0.3
    assert np.all(np.diff(values) <= 0)
    assert np.all((values >= 0) & (values <= 0.3))


@pytest.mark.parametrize(
    ("maximum", "rate", "expected"),
    [
        (5, 0.5, [1, 1, 2, 3, 5, 5, 5]),  # 1.5^t = 1, 1.5, 2.25, 3.4, 5.1, ...
        (8, 1.0, [1, 2, 4, 8, 8, 8, 8]),  # exact powers, which a rounding error must not lower
        (3, 0.0, [3, 3, 3, 3, 3, 3, 3]),
        (1, 0.5, [1, 1, 1, 1, 1, 1, 1]),
    ],
)
def test_growing_inner_steps(maximum, rate, expected):
    schedule = schedules.growing_inner_steps(maximum, rate)
    assert [int(schedule(t)) for t in range(7)] == expected


def test_growing_inner_steps_of_mixedne_ld():
    """min(K, floor((1 + 1e-5)^t)) doubles after log 2 / log(1 + 1e-5) = 69,315.1 steps."""
    schedule = schedules.growing_inner_steps(5, 1e-5)
    assert [int(schedule(t)) for t in (0, 69_315, 69_316, 10**9)] == [1, 1, 2, 5]
    assert schedule(tf.constant(0)).dtype == tf.int64


@pytest.mark.parametrize("rate", [0.0, 0.5])
def test_a_single_inner_step_is_known_when_the_graph_is_built(rate):
    assert schedules.growing_inner_steps(1, rate)(tf.constant(3)) == 1
    assert isinstance(schedules.growing_inner_steps(1, rate)(tf.constant(3)), int)


@pytest.mark.parametrize("kind", schedules.SCHEDULES)
def test_make_gives_the_schedule_of_its_name(kind):
    value = make(kind, 0.3, num_steps=T, rate=0.05)(4)
    assert_close(value, FORMULAS[kind][1](4), 1e-15)


@pytest.mark.parametrize("kind", schedules.SCHEDULES)
def test_zero_is_constant_and_says_so(kind):
    """So that the graph can drop the noise."""
    assert make(kind, 0.0, T, rate=0.1).value == 0


def test_a_window_of_constant_temperature():
    """From 1 to a fifth at three quarters of the run, and there to its end; after a warm-up too."""
    schedule = make("linear(end=0.2, until=0.75)", 1.0, 100)
    values = [float(schedule(t)) for t in (0, 30, 75, 76, 99)]
    assert values == pytest.approx([1.0, 1 - 0.8 * 30 / 75, 0.2, 0.2, 0.2])
    late = make("cosine(end=0.2, until=0.75, warmup=0.1)", 1.0, 100)
    assert [float(late(t)) for t in (10, 74, 76, 99)] == pytest.approx(
        [1.0, 0.2005, 0.2, 0.2], abs=1e-3
    )


def test_an_exponential_falls_to_its_end_by_the_same_factor_at_each_step():
    values = np.array([float(make("exponential(end=0.01)", 0.5, T)(t)) for t in range(T + 1)])
    np.testing.assert_allclose(values, 0.5 * 0.01 ** (np.arange(T + 1) / T), rtol=1e-12)
    late = make("exponential(end=0.01, warmup=0.5)", 0.5, T)
    assert float(late(T // 2)) == pytest.approx(0.5)
    assert float(late(T)) == pytest.approx(0.005)


@pytest.mark.parametrize(
    ("function", "below", "says"),
    [
        (lambda t: 1.0 - t / 900.0, math.inf, r"at least 0 .* 0 to 999; at t = 9\d\d it is -0"),
        (lambda t: tf.sqrt(990.0 - t), math.inf, "at t = 99. it is nan"),
        (lambda t: t / 990.0, 1.0, r"in \[0, 1\) .* at t = 99. it is 1"),
        (
            lambda t: tf.debugging.assert_less(t, 500.0),
            math.inf,
            "the thing failed with '.*at t = ",
        ),
        (lambda t: 1.0 - t / 999.0, math.inf, ""),
        (lambda t: t / 1000.0, 1.0, ""),
    ],
)
def test_a_schedule_is_looked_at_on_the_whole_way(function, below, says):
    schedule = lambda t: function(tf.cast(t, tf.float64))  # noqa: E731
    if not says:
        schedules.check(schedule, 1000, "the thing", below)
        return
    with pytest.raises(InputError, match=says):
        schedules.check(schedule, 1000, "the thing", below)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: make("quadratic", 0.1, T), "Unknown schedule 'quadratic'. Choose one of: con"),
        (lambda: make("linear", -0.1, T), "must be at least 0, got -0.1"),
        (lambda: make("cosin", 0.1, T), "Did you mean 'cosine'"),
        (lambda: make("cosine(warm=0.1)", 0.1, T), "has no 'warm'. Its options: end, warmup"),
        (lambda: make("cosine(warmup=1.0)", 0.1, T), r"warmup must be in \[0, 1\), got 1.0"),
        (lambda: make("cyclical(cycles=1.5)", 0.1, T), "cycles must be a whole number"),
        (lambda: make("linear(until=0)", 0.1, T), r"until must be in \(0, 1\], a fraction"),
        (lambda: make("constant(until=0.5)", 0.1, T), "has no 'until'"),
        (lambda: make("cosine(warmup=0.5, until=0.5)", 0.1, T), "rises until 0.5 .* end at 0.5"),
        (lambda: make("exponential(end=0)", 0.1, T), r"end must be in \(0, 1\]"),
        (lambda: make("cosine(0.1)", 0.1, T), "A schedule is KIND or KIND"),
        (lambda: make("cosine(end=", 0.1, T), "A schedule is KIND or KIND"),
        (lambda: make("linear(end='x')", 0.1, T), "end must be at least 0"),
        (lambda: schedules.growing_inner_steps(0), "must be at least 1, got 0"),
        (lambda: schedules.growing_inner_steps(3, -0.1), "must be at least 0, got -0.1"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_inner_steps_are_a_schedule_rounded():
    K = schedules.inner_steps(schedules.linear(5.0, T, end=0.0))
    assert [int(K(t)) for t in range(T + 2)] == [5, 5, 4, 4, 3, 3, 2, 2, 1, 1, 1, 1]
    np.testing.assert_array_equal(K(tf.range(4, dtype=tf.int64)), [5, 5, 4, 4])
    assert schedules.inner_steps(schedules.constant(2.6))(0) == 3


@pytest.mark.parametrize(
    ("kind", "num_steps", "expected"),
    [
        ("cyclical", 12, [2, 5, 8, 11]),
        ("cyclical(cycles=3)", 10, [3, 7, 9]),
        ("cyclical(cycles=2, warmup=0.2)", 10, [5, 9]),
        ("cyclical(cycles=8)", 4, [0, 1, 2, 3]),
    ],
)
def test_low_points_are_where_a_cyclical_schedule_is_lowest(kind, num_steps, expected):
    assert schedules.low_points(kind, num_steps) == expected
    values = [float(make(kind, 1.0, num_steps)(t)) for t in range(num_steps)]
    for t in expected[:-1]:
        assert values[t + 1] == 1.0, "a new cycle"
        assert values[t] < 1.0 or num_steps == 4
    with pytest.raises(InputError, match="no cycles"):
        schedules.low_points("cosine", 10)
