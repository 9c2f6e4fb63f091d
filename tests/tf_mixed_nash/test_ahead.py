"""Tables before a loop hold what the functions give at each of its steps."""

import numpy as np
import pytest
import tensorflow as tf

from tf_mixed_nash import ahead, rng

STREAM = (7, 11)


def key_of(m):
    """A key by integer operations, as rng's are."""
    word = tf.bitcast(tf.cast(m, tf.int32), tf.uint32)
    words = rng.threefry(tf.bitcast(tf.constant(STREAM, tf.int32), tf.uint32), word, word)
    return tf.bitcast(tf.stack(words), tf.int32)


def draw(key):
    counter = tf.bitcast(tf.range(6, dtype=tf.int32), tf.uint32)
    return rng.uniform_from_bits(rng.threefry(tf.bitcast(key, tf.uint32), counter, counter)[0])


def step_size(t):
    return tf.cast(0.5 ** tf.cast(t, tf.float64), tf.float32)


def loop(start, per_step, num=4, tables=True):
    """What a loop of `num` steps reads, and the operations in its body."""
    bodies = []

    def read(t, m):
        bodies.append(tf.compat.v1.get_default_graph())
        # The second draw is of the step's last mini-batch.
        keys = [ahead.of_batch(key_of, x) for x in (m, m + per_step - 1)]
        drawn = [ahead.of_key(draw, key) for key in keys]
        return tf.concat([*drawn, ahead.of_step(step_size, t)[None]], 0)

    def many(t, m):
        def body(i, rows):
            row = read(t + tf.cast(i, tf.int64), m + tf.cast(i, tf.int64) * per_step)
            return i + 1, rows.write(i, row)

        rows = tf.TensorArray(tf.float32, num, element_shape=[13])
        loop = lambda: tf.while_loop(lambda i, _: i < num, body, (0, rows))[1].stack()  # noqa: E731
        if not tables:
            return loop()
        with ahead.steps(t, m, num, per_step):
            return loop()

    compiled = tf.function(many, autograph=False)
    found = compiled(*(tf.constant(x, tf.int64) for x in start)).numpy()
    return found, [op.type for op in bodies[-1].get_operations()]


def test_a_step_reads_what_the_functions_give():
    (found, inside), (expected, without) = (loop((3, 40), 2, tables=b) for b in (True, False))
    np.testing.assert_array_equal(found, expected)
    assert len(np.unique(found)) == found.size, "no two steps read the same"
    np.testing.assert_allclose(found[:, -1], 0.5 ** np.arange(3, 7))
    drawing = {"BitwiseXor", "LeftShift", "Pow"}
    assert drawing <= set(without)
    assert not drawing & set(inside), "nothing is drawn in the loop"


def test_rows_that_are_too_large_are_made_in_the_loop(monkeypatch):
    expected, _ = loop((3, 40), 2)
    # A table of keys has 64 bytes, one of draws 192.
    monkeypatch.setattr(ahead, "_MOST_BYTES", 100)
    found, inside = loop((3, 40), 2)
    np.testing.assert_array_equal(found, expected)
    assert "BitwiseXor" in inside
    assert "Pow" not in inside


def test_steps_of_several_lengths_have_no_tables_of_mini_batches():
    t, m = (tf.constant(x, tf.int64) for x in (2, 9))

    @tf.function(autograph=False)
    def one():
        with ahead.steps(t, m, 4, tf.constant(3)):
            key = ahead.of_batch(key_of, m + 100)  # of no table: it would be no row of it
            return key, ahead.of_key(draw, key), ahead.of_step(step_size, t + 3)

    key, drawn, size = one()
    np.testing.assert_array_equal(key, key_of(m + 100))
    np.testing.assert_array_equal(drawn, draw(key))
    assert size.numpy() == pytest.approx(0.5**5)


def test_outside_of_a_loop_the_functions_are_called():
    np.testing.assert_array_equal(ahead.of_batch(key_of, tf.constant(5)), key_of(5))
    assert ahead.of_step(lambda t: t + 1, 3) == 4
    np.testing.assert_array_equal(ahead.of_key(draw, key_of(1)), draw(key_of(1)))


def test_bitcasts_of_many_rows_are_one_operation():
    def halves(x):
        return tf.bitcast(x, tf.uint32)

    x = tf.constant([1, -1, 2**40], tf.int64)
    mapped = tf.function(lambda x: tf.vectorized_map(halves, x), autograph=False)
    np.testing.assert_array_equal(mapped(x), halves(x))
    kinds = {op.type for op in mapped.get_concrete_function(x).graph.get_operations()}
    assert "Bitcast" in kinds
    assert not any("While" in kind for kind in kinds)
