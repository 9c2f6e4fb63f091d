"""Tables before a loop hold what the functions give at each of its steps."""

import numpy as np
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


def loop(first, per_step, num=4, tables=True):
    """What a loop of `num` steps reads, and the operations in its body."""
    bodies = []

    def read(m):
        bodies.append(tf.compat.v1.get_default_graph())
        # The second draw is of the step's last mini-batch.
        keys = [ahead.of_batch(key_of, x) for x in (m, m + per_step - 1)]
        drawn = [ahead.of_key(draw, key) for key in keys]
        return tf.concat(drawn, 0)

    def many(m):
        def body(i, rows):
            row = read(m + tf.cast(i, tf.int64) * per_step)
            return i + 1, rows.write(i, row)

        rows = tf.TensorArray(tf.float32, num, element_shape=[12])
        loop = lambda: tf.while_loop(lambda i, _: i < num, body, (0, rows))[1].stack()  # noqa: E731
        if not tables:
            return loop()
        with ahead.batches(m, num * per_step):
            return loop()

    compiled = tf.function(many, autograph=False)
    found = compiled(tf.constant(first, tf.int64)).numpy()
    return found, [op.type for op in bodies[-1].get_operations()]


def test_a_step_reads_what_the_functions_give():
    (found, inside), (expected, without) = (loop(40, 2, tables=b) for b in (True, False))
    np.testing.assert_array_equal(found, expected)
    assert len(np.unique(found)) == found.size, "no two steps read the same"
    drawing = {"BitwiseXor", "LeftShift"}
    assert drawing <= set(without)
    assert not drawing & set(inside), "nothing is drawn in the loop"


def test_rows_that_are_too_large_are_made_in_the_loop(monkeypatch):
    expected, _ = loop(40, 2)
    # A table of keys has 64 bytes, one of draws 192.
    monkeypatch.setattr(ahead, "_MOST_BYTES", 100)
    found, inside = loop(40, 2)
    np.testing.assert_array_equal(found, expected)
    assert "BitwiseXor" in inside
    assert "GatherV2" in inside, "keys are made before it all the same"


def test_steps_of_several_lengths_have_no_tables_of_mini_batches():
    m = tf.constant(9, tf.int64)

    @tf.function(autograph=False)
    def one():
        with ahead.batches(m, tf.constant(12)):
            key = ahead.of_batch(key_of, m + 100)  # of no table: it would be no row of it
            return key, ahead.of_key(draw, key)

    key, drawn = one()
    np.testing.assert_array_equal(key, key_of(m + 100))
    np.testing.assert_array_equal(drawn, draw(key))


def test_outside_of_a_loop_the_functions_are_called():
    np.testing.assert_array_equal(ahead.of_batch(key_of, tf.constant(5)), key_of(5))
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


def test_draws_without_a_rule_for_many_rows_stay_in_the_loop():
    def theirs(m):
        seed = tf.stack([tf.constant(1), tf.cast(m, tf.int32)])
        return tf.random.stateless_uniform([6], seed, alg="philox")

    @tf.function(autograph=False)
    def one(m):
        with ahead.batches(m, 4):
            return ahead.of_batch(theirs, m + 2)

    np.testing.assert_array_equal(one(tf.constant(5, tf.int64)), theirs(tf.constant(7)))
