"""The order of records: permutations, epochs, no state."""

import numpy as np
import pytest
from scipy import stats

from tf_mixed_nash.training import order


@pytest.mark.parametrize("num", [1, 2, 3, 5, 64, 1000, 4097, 60_000])
def test_it_is_a_permutation(num):
    image = order.permutation(np.arange(num), num, 7)
    np.testing.assert_array_equal(np.sort(image), np.arange(num))


def test_every_entry_is_computed_on_its_own():
    whole = order.permutation(np.arange(1000), 1000, 3)
    some = np.array([999, 0, 17])
    np.testing.assert_array_equal(order.permutation(some, 1000, 3), whole[some])


def test_keys_give_different_permutations_without_visible_structure():
    """Where record 0 goes is uniform over keys; neighbours are not kept together."""
    num = 50
    images = np.array(
        [order.permutation(np.arange(num), num, order._key(1, k)) for k in range(2000)]
    )
    for entry in (0, 25, 49):
        counts = np.bincount(images[:, entry], minlength=num)
        assert stats.chisquare(counts).pvalue > 1e-4
    # E |pi(i+1) - pi(i)| = (num + 1) / 3 for a uniform permutation, standard deviation about
    # num / 4.2 per pair; 98,000 pairs.
    steps = np.abs(np.diff(images, axis=1)).mean()
    assert steps == pytest.approx((num + 1) / 3, abs=4 * (num / 4.2) / np.sqrt(images.size / 3))


def test_batches_run_through_epochs():
    num, size = 10, 4
    seen = np.concatenate([order.records(5, b, size, num) for b in range(10)])
    for epoch in seen.reshape(4, num):
        np.testing.assert_array_equal(np.sort(epoch), np.arange(num))
    assert len({tuple(epoch) for epoch in seen.reshape(4, num)}) == 4


def test_a_batch_may_be_larger_than_the_data():
    seen = order.records(0, 0, 7, 3)
    np.testing.assert_array_equal(np.sort(seen[:3]), np.arange(3))
    np.testing.assert_array_equal(np.sort(seen[3:6]), np.arange(3))


def test_a_late_batch_costs_what_the_first_does():
    """Batch 10^9 of 3,033,042 records needs no replay: one call, and the same one each time."""
    late = order.records(0, 10**9, 64, 3_033_042)
    assert len(set(late)) == 64
    assert set(late) != set(order.records(0, 10**9 + 1, 64, 3_033_042))
    assert (late >= 0).all()
    assert (late < 3_033_042).all()


def test_seeds_differ():
    assert not np.array_equal(order.records(0, 0, 64, 1000), order.records(1, 0, 64, 1000))


def test_coins_are_fair_and_keyed():
    coins = np.concatenate([order.coin(3, b, 64) for b in range(500)])
    assert coins.mean() == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(coins.size))
    agree = (coins == np.concatenate([order.coin(4, b, 64) for b in range(500)])).mean()
    assert agree == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(coins.size))
