"""Data of the user's own: every kind gives mini-batch m as a function of the seed and m."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework.config import is_op_determinism_enabled

from tf_mixed_nash.compile import as_before, deterministic
from tf_mixed_nash.errors import InputError
from tf_mixed_nash.training import order
from trainers.tasks.data import user_data as sut

B = 4


def rows(num, shape=(2,), dtype=np.float32):
    return np.arange(num * np.prod(shape)).reshape(num, *shape).astype(dtype)


class Items(keras.utils.PyDataset):
    """Mini-batches of four rows, the last one shorter."""

    def __init__(self, num=10, labels=False):
        super().__init__()
        self.x, self.labels = rows(num), labels

    def __len__(self):
        return -(-len(self.x) // B)

    def __getitem__(self, i):
        x = self.x[B * i : B * i + B]
        return (x, np.arange(len(x)) % 3) if self.labels else (x,)


class Pictures(Items):
    """Others with labels."""

    def __init__(self, x, y):
        super().__init__()
        self.x, self.y = x, y

    def __getitem__(self, i):
        return tuple(part[B * i :][:B] for part in (self.x, self.y))


def drawn(feed, numbers, step=None):
    """Mini-batches `numbers` (consecutive), in blocks of at most `step`."""
    start, end, found = numbers[0], numbers[-1] + 1, []
    while start < end:
        stop = feed.limit(start, min(end, start + (step or end)))
        block = feed.block(start, stop)
        call = tf.function(feed.batch_at, autograph=False)
        found += [call(block, tf.constant(m, tf.int64)).numpy() for m in range(start, stop)]
        start = stop
    return np.stack(found)


KINDS = {
    "arrays": lambda: rows(11),
    "function": lambda: lambda m, size: rows(size) + m,
    "graph": lambda: tf.function(lambda m, size: tf.cast(m, tf.float32) + tf.zeros([size, 2])),
    "items": Items,
    "stream": lambda: tf.data.Dataset.from_tensor_slices(rows(11)).shuffle(11, seed=3),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_mini_batch_is_a_function_of_its_number(kind, monkeypatch):
    """Whatever came before, and however many are made at once."""
    monkeypatch.setattr(sut, "_KEPT_ROWS", 2 * B)

    def feed():
        return sut.make(KINDS[kind](), B, (2,)).feed(5, B, 0, tf.float32)

    whole = drawn(feed(), range(9))
    assert whole.shape == (9, B, 2)
    np.testing.assert_array_equal(drawn(feed(), range(9), step=2), whole)
    resumed = feed()
    np.testing.assert_array_equal(drawn(resumed, range(4, 9)), whole[4:])
    if kind != "stream":  # where each reading is shuffled anew
        np.testing.assert_array_equal(drawn(resumed, range(2, 4)), whole[2:4])


def test_arrays_are_shuffled_anew_in_every_epoch():
    x = rows(8)
    batches = drawn(sut.make(x, B, (2,)).feed(5, B, 0, tf.float32), range(4))
    first, second = batches[:2].reshape(8, 2), batches[2:].reshape(8, 2)
    for epoch in (first, second):
        np.testing.assert_array_equal(np.sort(epoch[:, 0]), x[:, 0])
    assert (first != second).any()
    np.testing.assert_array_equal(batches[1], x[order.records(5, 1, B, 8)])
    other = drawn(sut.make(x, B, (2,)).feed(6, B, 0, tf.float32), range(2))
    assert (other != batches[:2]).any()


def test_large_arrays_stay_on_the_host_and_are_the_same(monkeypatch):
    x, y = rows(9), np.arange(9) % 3
    on_device = drawn(sut.make((x, y), B, (2,)).feed(5, B, 3, tf.float32), range(5))
    monkeypatch.setattr(sut, "DEVICE_BYTES", 0)
    np.testing.assert_array_equal(
        drawn(sut.make((x, y), B, (2,)).feed(5, B, 3, tf.float32), range(5)), on_device
    )


@pytest.mark.parametrize("column", [False, True])
def test_labels_become_channels_of_their_rows(column):
    images, labels = rows(12, (2, 2, 1), np.uint8), np.arange(12) % 3
    labels = labels[:, None] if column else labels
    for data in (
        (images, labels),
        tf.data.Dataset.from_tensor_slices((images, labels)).batch(5),
        lambda m, size: (images[:size], labels[:size]),
        tf.function(lambda m, size: (tf.constant(images)[:size], tf.constant(labels)[:size])),
        Pictures(images, labels),
    ):
        (batch,) = drawn(sut.make(data, B, (2, 2, 1)).feed(0, B, 3, tf.float32), range(1))
        assert batch.shape == (B, 2, 2, 4)
        pixels = np.rint((batch[..., 0] + 1.0) * 127.5).reshape(B, -1)
        classes = batch[:, 0, 0, 1:].argmax(axis=1)
        np.testing.assert_array_equal(pixels[:, 0] // 4 % 3, classes)
        np.testing.assert_array_equal(batch[..., 1:].sum(axis=-1), 1.0)


def test_bytes_of_tables_are_numbers_and_of_images_are_pixels():
    table = drawn(sut.make(rows(8, (2,), np.uint8), B, (2,)).feed(0, B, 0, tf.float32), range(2))
    assert table.max() == 15.0
    images = sut.make(np.array([0, 255], np.uint8).reshape(2, 1, 1, 1), 2, (1, 1, 1))
    assert sorted(drawn(images.feed(0, 2, 0, tf.float32), range(1)).ravel()) == [-1.0, 1.0]


@pytest.mark.parametrize("size", [None, 3, 6])
def test_a_stream_of_rows_or_of_mini_batches_of_any_size(size):
    data = tf.data.Dataset.from_tensor_slices(rows(6))
    data = data.batch(size) if size else data
    found = drawn(sut.make(data, B, (2,)).feed(0, B, 0, tf.float32), range(3)).reshape(12, 2)
    np.testing.assert_array_equal(found, np.concatenate([rows(6), rows(6)]))


def test_looking_at_a_stream_does_not_change_its_order():
    def feed(look):
        data = sut.make(KINDS["stream"](), B, (2,))
        if look:
            data.other(3, 20)
            data.first(B)
        return drawn(data.feed(5, B, 0, tf.float32), range(9))

    np.testing.assert_array_equal(feed(look=True), feed(look=False))


@pytest.mark.parametrize(
    ("late", "message"),
    [
        (
            lambda m, size: rows(size)[:, : 1 if m else 2],
            r"returned rows of \[1\] without labels, ",
        ),
        (lambda m, size: (rows(size), np.zeros(size, int)) if m else rows(size), "with labels, "),
    ],
)
def test_a_function_whose_later_rows_are_others_is_refused_where_they_are(late, message):
    data = sut.make(late, B, (2,))
    for ask in (lambda: data.other(0, 5), lambda: data.feed(0, B, 0, tf.float32).block(0, 2)):
        with pytest.raises(InputError, match=message):
            ask()


@pytest.mark.usefixtures("without_determinism")
def test_code_of_the_user_runs_as_outside():
    """Under determinism TensorFlow draws nothing without a seed; the user's code does not know."""
    seen = []

    def function(m, size):
        seen.append(is_op_determinism_enabled())
        return tf.random.normal([size, 2])

    with deterministic():
        sut.make(function, B, (2,)).feed(0, B, 0, tf.float32).block(0, 2)
        assert is_op_determinism_enabled()
        with as_before():
            assert not is_op_determinism_enabled()
    assert not is_op_determinism_enabled()
    assert set(seen) == {False}


def test_held_out_rows_are_no_training_rows():
    train, held = sut.ArrayData(rows(20), np.arange(20) % 2).split(0.25, seed=1)
    assert (len(train.x), len(held.x)) == (15, 5)
    assert sorted([*train.x[:, 0], *held.x[:, 0]]) == sorted(rows(20)[:, 0])
    np.testing.assert_array_equal(held.y, held.x[:, 0] / 2 % 2)
    assert train.split(0.2, 1)[1].x.shape == (3, 2)


def test_a_fingerprint_changes_with_the_data():
    x = rows(8)
    known = sut.ArrayData(x).fingerprint
    assert sut.ArrayData(x.copy()).fingerprint == known
    assert sut.ArrayData(x + 1).fingerprint != known
    assert sut.ArrayData(x, np.zeros(8, int)).fingerprint != known


def test_a_stream_that_begins_anew_has_so_many_rows():
    """As far as its content shows it; of what does not repeat all rows are some."""
    data = rows(11)
    for stream in (
        tf.data.Dataset.from_tensor_slices(data).shuffle(11, seed=3),
        tf.data.Dataset.from_tensor_slices(data).batch(5),
        tf.data.Dataset.from_tensor_slices(data).repeat(),
        tf.data.Dataset.from_tensor_slices(data).filter(lambda _: True),
    ):
        made = sut.make(stream, B, (2,))
        x, _ = made.other(1, made.num_rows)
        assert 8 <= made.num_rows <= 11
        assert len(np.unique(x, axis=0)) == made.num_rows
    assert sut.make(Items(), B, (2,)).num_rows == 8
    bits = np.random.default_rng(0).integers(0, 2, (4_000, 1))
    assert sut._period(bits) > 100
    assert sut._period(np.tile(bits[:1_000], (3, 1))) <= 1_000


def test_rows_of_a_class_are_rows_or_a_pair():
    """Two images are two rows of images; a pair is data and labels."""
    images, labels = rows(6, (2, 2)), np.arange(6) % 3
    assert sut.make(list(images[:2]), 2, (2, 2)).y is None
    assert sut.make(([1.0, 2.0], [3.0, 4.0]), 2, (2,)).num_rows == 2
    assert sut.make(tuple(images[:3]), 2, (2, 2)).num_rows == 3
    np.testing.assert_array_equal(sut.make([images, labels], 2, (2, 2)).y, labels)


def test_what_is_compared_with_has_an_end(monkeypatch):
    monkeypatch.setattr(sut, "_COMPARED_ROWS", 10)
    for data in (tf.data.Dataset.from_tensor_slices(rows(20)), Items(20)):
        np.testing.assert_array_equal(sut.make_compared(data, B, (2,)).x, rows(20)[:10])
    endless = tf.data.Dataset.random(seed=1).map(lambda x: tf.stack([x, x + 1]))
    assert sut.make_compared(endless, B, (2,), 7).num_rows == 7
    with pytest.raises(InputError, match="is empty"):
        sut.make_compared(tf.data.Dataset.from_tensor_slices(rows(4)).take(0), B, (2,))
    ragged = tf.data.Dataset.from_generator(
        lambda: iter([rows(4), rows(4, (3,))]), output_signature=tf.TensorSpec([None, None])
    )
    with pytest.raises(InputError, match=r"has rows of \[3\] and of \[2\]"):
        sut.make_compared(ragged, B, (2,))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (np.zeros((0, 2)), "is empty"),
        (np.array([[1.0, np.nan]]), "1 of the 1 rows of the data hold NaN"),
        (np.array([["a", "b"]]), "must be real numbers"),
        (np.zeros(3), "must be rows"),
        (3, "Data must be an array"),
        (lambda m, size: np.zeros((2, 2)), "must return 4 rows"),
        (lambda m, size: (1, 2, 3), "got 3 values"),
        (tf.data.Dataset.from_tensor_slices(rows(4)).take(0), "has no elements"),
        (tf.data.Dataset.from_tensor_slices({"x": rows(4)}), "must have elements x or"),
        (Items(0), "has no items"),
    ],
)
def test_what_is_refused(data, message):
    with pytest.raises(InputError, match=message):
        sut.make(data, B, (2,))


def test_items_are_mini_batches_as_they_are():
    with pytest.raises(InputError, match="batch_size must be 4, got 5"):
        sut.make(Items(), 5, (2,)).feed(0, 5, 0, tf.float32)


def test_a_mini_batch_of_another_form_is_refused():
    feed = sut.make(lambda m, size: rows(size) if m < 2 else rows(size, (3,)), B, (2,)).feed(
        0, B, 0, tf.float32
    )
    feed.block(0, 2)
    with pytest.raises(InputError, match=r"returned rows of \[3\] without labels"):
        feed.block(1, 4)
