"""Blocks of one length, so that XLA compiles once."""

import time

import numpy as np
import pytest
import tensorflow as tf

from tf_mixed_nash.training.feeds import of_one_length


class Numbers:
    """Mini-batch m is [m, m]; blocks of at most 5."""

    waited = 1.5
    closed = False
    signature = (tf.TensorSpec([], tf.int64), tf.TensorSpec([None, 2], tf.float32))

    def limit(self, start, end):
        return min(end, start + 5)

    def block(self, start, end):
        m = np.repeat(np.arange(start, end)[:, None], 2, axis=1)
        return tf.constant(start, tf.int64), tf.constant(m, tf.float32)

    def batch_at(self, block, m):
        return tf.gather(block[1], m - block[0])

    def close(self):
        self.closed = True


class Endless(Numbers):
    """The same, whose blocks may be read before they are asked for."""

    def __init__(self):
        self.made = []

    def arrays(self, start, end):
        self.made.append((start, end))
        return np.int64(start), np.repeat(np.arange(start, end)[:, None], 2, axis=1)


@pytest.mark.parametrize("kind", [Numbers, Endless])
@pytest.mark.parametrize(
    ("step", "call", "length"),
    [(1, 1, 5), (3, 1, 3), (5, 1, 5), (8, 1, 8), (1, 2, 4), (2, 2, 4), (1, 3, 3), (3, 2, 5)],
)
def test_every_block_has_the_signatures_length(step, call, length, kind):
    """Whole outer steps of `step` mini-batches reach at most step - 1 beyond a limit.

    And blocks hold whole calls of `call` such steps, if they can hold one.
    """
    inner = kind()
    feed = of_one_length(inner, step, call)
    start, rows = feed.signature
    assert (start.shape, rows.shape) == ([], [length, 2])
    m = 0
    while m < 38:
        limit = feed.limit(m, 38)
        assert m < limit <= 38
        end = m + -(-(limit - m) // step) * step
        block = feed.block(m, end)
        assert block[1].shape == [length, 2]
        for k in range(m, end):
            np.testing.assert_array_equal(feed.batch_at(block, tf.constant(k, tf.int64)), [k, k])
        m = end
    assert feed.limit(3, 4) == 4
    assert feed.waited == 1.5 or (kind is Endless and 0 <= feed.waited < 1.5)
    feed.close()
    assert inner.closed


def test_an_endless_feeds_block_is_used_up_and_the_next_one_is_there():
    inner = Endless()
    feed = of_one_length(inner, 1)
    first = feed.block(7, 9)
    assert feed.limit(9, 100) == 12
    assert feed.block(9, 12) is first
    feed.block(12, 14)
    feed.block(17, 18)
    feed.close()
    assert inner.made[:3] == [(7, 12), (12, 17), (17, 22)]
    # Elsewhere, as of a run that goes on: what was ready is of no use.
    inner = Endless()
    feed = of_one_length(inner, 1)
    feed.block(0, 5)
    np.testing.assert_array_equal(feed.block(3, 7)[0], 3)
    np.testing.assert_array_equal(feed.block(1, 2)[0], 1)
    feed.close()


def test_waiting_for_a_block_is_measured_but_not_for_the_first():
    class Slow(Endless):
        def arrays(self, start, end):
            time.sleep(0.2)
            return super().arrays(start, end)

    feed = of_one_length(Slow(), 1)
    feed.block(0, 5)
    assert feed.waited == 0
    feed.block(5, 10)  # the thread has only begun
    first = feed.waited
    assert 0.05 < first < 5
    time.sleep(1)
    feed.block(10, 15)  # it has long been there
    assert feed.waited - first < 0.05
    feed.close()


def test_an_endless_feeds_error_is_that_of_the_block_that_has_it():
    class Torn(Endless):
        def arrays(self, start, end):
            if end > 5:
                raise ValueError("record 5")
            return super().arrays(start, end)

    feed = of_one_length(Torn(), 1)
    feed.block(0, 5)
    for _ in range(2):
        with pytest.raises(ValueError, match="record 5"):
            feed.block(5, 6)
    feed.close()


def test_a_feed_whose_blocks_have_no_length_is_itself():
    class Drawn(Numbers):
        signature = (tf.TensorSpec([], tf.int64),)

    feed = Drawn()
    assert of_one_length(feed, 3) is feed
