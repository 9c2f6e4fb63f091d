"""Which outer steps the reservoir keeps, and what it gives back."""

import math

import numpy as np
import pytest
import tensorflow as tf

from tf_mixed_nash import rng
from tf_mixed_nash.errors import InputError
from tf_mixed_nash.rng import reservoir_slot
from tf_mixed_nash.training.reservoir import Reservoir
from tf_mixed_nash.types import Pair

FIRST, LAST, M = 5, 9_000, 3  # three chunks of 4,096
KEY = rng.stream(3, "reservoir")


def make(window=(FIRST, LAST), num_components=M):
    return Reservoir(num_components, window, KEY, Pair((2,), (4,)), tf.float32)


def output(t):
    return Pair(tf.fill([2], float(t)), tf.fill([4], -float(t)))


def due(reservoir, t=0):
    steps = []
    while (t := reservoir.next(t)) is not None:
        steps.append(t)
        t += 1
    return steps


def fill(reservoir, until):
    for t in due(reservoir):
        if t < until:
            reservoir.keep(t, output(t))


def test_the_steps_are_those_that_reservoir_sampling_keeps():
    steps = due(make())
    kept = set(steps)
    assert steps == sorted(kept)
    assert steps[:M] == [5, 6, 7]
    random = np.random.default_rng(0).integers(FIRST, LAST, 150).tolist()
    edges = [FIRST + k * 4_096 + i for k in (1, 2) for i in (-1, 0, 1)]
    for t in [*steps, *edges, *random, FIRST, LAST - 1]:
        slot = int(reservoir_slot(t - FIRST, M, rng.fold_in(KEY, t)))
        assert (t in kept) == (slot >= 0), t
    # Of n elements number i is kept with probability min(1, M / (i + 1)), independently.
    chances = np.minimum(1, M / np.arange(1, LAST - FIRST + 1))
    spread = math.sqrt(np.sum(chances * (1 - chances)))
    assert abs(len(steps) - chances.sum()) < 4 * spread


def test_any_step_may_be_asked_first():
    steps = due(make())
    for t in (steps[-1], steps[5], 4_101, 0):
        expected = next((s for s in steps if s >= t), None)
        assert make().next(t) == expected
    assert make().next(LAST) is None
    assert make((10, 10)).next(0) is None


@pytest.mark.parametrize("until", [0, 6, 8, 5_000, LAST, LAST + 7])
def test_what_is_kept_is_what_the_slots_say(until):
    reservoir, slots = make(), {}
    fill(reservoir, until)
    for t in due(reservoir):
        if t < until:
            slots[int(reservoir_slot(t - FIRST, M, rng.fold_in(KEY, t)))] = t
    expected = [slots[i] for i in range(len(slots))]
    assert reservoir.num_kept(until) == len(expected)
    pairs, steps = reservoir.pairs(until)
    assert steps.numpy().tolist() == expected
    np.testing.assert_array_equal(pairs.theta, np.repeat(expected, 2).reshape(-1, 2))
    np.testing.assert_array_equal(pairs.w, -np.repeat(expected, 4).reshape(-1, 4))
    np.testing.assert_array_equal(reservoir.mixture(until), pairs.theta)
    np.testing.assert_array_equal(reservoir.mixture(until, take=True), pairs.theta)
    if expected:
        with pytest.raises(KeyError):  # it was taken
            reservoir.mixture(until)


def test_what_it_wrote_it_takes_back():
    reservoir, again = make(), make()
    fill(reservoir, 500)
    rows = reservoir.rows(500)
    again.assign({name: np.array(x) for name, x in rows.items()}, 500)
    for name, value in again.rows(500).items():
        np.testing.assert_array_equal(np.array(value), np.array(rows[name]), name)
    assert rows["mixture"].rows[0] is reservoir.rows(500)["mixture"].rows[0], "nothing is copied"


def test_rows_do_not_change_with_what_they_were_made_of():
    reservoir, value = make(), np.ones(2, np.float32)
    reservoir.keep(5, Pair(value, np.ones(4, np.float32)))
    value[:] = 7
    np.testing.assert_array_equal(reservoir.mixture(6), [[1, 1]])


@pytest.mark.parametrize("rows", [{"mixture": (2, 2)}, {"mixture": (3, 5)}, {"mixture_t": (4,)}])
def test_rows_of_another_run_are_refused(rows):
    right = {"mixture": (3, 2), "mixture_w": (3, 4), "mixture_t": (3,)}
    make().assign({name: np.zeros(shape) for name, shape in right.items()}, 500)
    with pytest.raises(InputError, match=rf"{next(iter(rows))} has shape .* there, \[3"):
        make().assign({name: np.zeros(shape) for name, shape in {**right, **rows}.items()}, 500)


@pytest.mark.parametrize("num_components", [10, 15])
def test_a_window_with_room_for_all_keeps_all(num_components):
    reservoir = make((2, 12), num_components)
    fill(reservoir, 12)
    assert due(reservoir) == list(range(2, 12))
    for t in (12, 40):  # long after the window
        assert reservoir.num_kept(t) == 10
        assert reservoir.pairs(t)[1].numpy().tolist() == list(range(2, 12))


def test_of_a_measure_all_atoms_and_their_weights_are_kept():
    """Three generators, one discriminator."""

    def make_one():
        return Reservoir(M, (FIRST, LAST), KEY, Pair((3, 2), (4,)), tf.float32)

    def weights(t):
        return np.array([t, 2.0, 3.0]).astype(np.float32) / np.float32(t + 5)

    reservoir, again = make_one(), make_one()
    assert reservoir.names == ("mixture", "mixture_w", "mixture_t", "mixture_weights")
    for t in due(reservoir):
        if t < 500:
            atoms = tf.constant(t + np.arange(6).reshape(3, 2), tf.float32)
            reservoir.keep(t, Pair(atoms, tf.fill([4], -float(t))), Pair(weights(t), None))
    rows = {name: np.array(x) for name, x in reservoir.rows(500).items()}
    again.assign(rows, 500)
    for one in (reservoir, again):
        pairs, steps = one.pairs(500)
        expected = steps.numpy()[:, None, None] + np.arange(6).reshape(3, 2)
        np.testing.assert_array_equal(pairs.theta, expected)
        np.testing.assert_array_equal(one.mixture(500), expected)
        a = one.weights(500)
        assert a.w is None
        np.testing.assert_array_equal(a.theta, [weights(t) for t in steps.numpy()])
    with pytest.raises(InputError, match=r"mixture_weights has shape \[3, 2\] there, \[3, 3\]"):
        again.assign({**rows, "mixture_weights": np.zeros((3, 2))}, 500)


def test_some_steps_alone_may_be_kept():
    """Of 200 ends of cycles of 10 steps three, each by its number among them."""
    some = list(range(9, 2_000, 10))
    among = [t for t in some if t >= FIRST]
    reservoir = Reservoir(M, (FIRST, LAST), KEY, Pair((2,), (4,)), tf.float32, some)
    slots = {}
    for i, t in enumerate(among):
        slot = int(reservoir_slot(i, M, rng.fold_in(KEY, t)))
        if slot >= 0:
            slots[slot] = t
    assert set(due(reservoir)[:M]) == {9, 19, 29}
    assert [reservoir.num_kept(t) for t in (9, 10, 20, 30, 10**6)] == [0, 1, 2, 3, 3]
    fill(reservoir, LAST)
    assert reservoir.pairs(LAST)[1].numpy().tolist() == [slots[i] for i in range(M)]
    assert max(slots.values()) > 29, "the reservoir must have replaced a snapshot"
