"""Which input of a Keras model gets the latents or data, and which the labels."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from tf_mixed_nash.errors import InputError
from tf_mixed_nash.models import data_and_labels, latents_and_labels

K = 3


def model(*inputs, named=False):
    """A functional model of these inputs: (name, shape) or (name, shape, dtype)."""
    tensors = [
        keras.Input(shape, name=name, dtype=(*dtype, "float32")[0])
        for name, shape, *dtype in inputs
    ]
    images = [x for x in tensors if len(x.shape) == 4]
    rows = [layers.GlobalAveragePooling2D()(x) for x in images]
    rows += [layers.Rescaling(1.0)(x) for x in tensors if len(x.shape) == 2]
    parts = [layers.Dense(2)(x) for x in rows]
    taken = {t.name: t for t in tensors} if named else tensors
    return keras.Model(taken if len(inputs) > 1 or named else tensors[0], parts[0])


LABELS = tf.constant([2, 0, 1, 1])
ONE_HOT = tf.one_hot(LABELS, K)


def latents(dim):
    return tf.random.stateless_normal([4, dim], [1, 2])


def packed(dim):
    return tf.concat([latents(dim), ONE_HOT], 1)


def test_one_tensor_is_passed_on():
    inputs = latents_and_labels(model(("z", (5,))), 5)
    assert inputs.identity
    assert inputs.shape == (5,)
    inputs = latents_and_labels(model(("z", (5 + K,))), 5, K)
    assert inputs.identity
    assert inputs.shape == (5 + K,)
    x = packed(5)
    assert inputs(x) is x
    assert data_and_labels(model(("x", (8, 8, 1 + K))), (8, 8, 1), K).shape == (8, 8, 1 + K)
    assert data_and_labels(model(("x", (None, None, 1))), (8, 8, 1)).shape == (8, 8, 1)


def test_one_input_in_a_dictionary():
    taken = latents_and_labels(model(("z", (5 + K,)), named=True), 5, K)(packed(5))
    np.testing.assert_array_equal(taken["z"], packed(5))


def test_latents_in_another_shape():
    taken = latents_and_labels(model(("z", (1, 1, 5))), 5)(latents(5))
    np.testing.assert_array_equal(taken, tf.reshape(latents(5), [4, 1, 1, 5]))


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        (("c", (), "int32"), LABELS),
        (("c", (1,), "int64"), LABELS[:, None]),
        (("c", (1,)), tf.cast(LABELS, tf.float32)[:, None]),
        (("c", (K,)), ONE_HOT),
        (("c", (K,), "int32"), tf.cast(ONE_HOT, tf.int32)),
    ],
)
@pytest.mark.parametrize("first", [False, True])
def test_labels_of_any_form_in_any_order(label, expected, first):
    order = (label, ("z", (5,))) if first else (("z", (5,)), label)
    taken = latents_and_labels(model(*order), 5, K)(packed(5))
    z, c = taken[::-1] if first else taken
    np.testing.assert_array_equal(z, latents(5))
    np.testing.assert_array_equal(c, expected)
    assert c.dtype == (label[2] if len(label) > 2 else "float32")


def test_names_tell_what_shapes_do_not():
    taken = latents_and_labels(model(("class", (K,)), ("z", (K,))), K, K)(packed(K))
    np.testing.assert_array_equal(taken[0], ONE_HOT)
    np.testing.assert_array_equal(taken[1], latents(K))


def test_images_and_labels():
    images = tf.random.stateless_normal([4, 3, 2, 2], [1, 2])
    channels = tf.broadcast_to(ONE_HOT[:, None, None], [4, 3, 2, K])
    x = tf.concat([images, channels], -1)
    critic = model(("labels", (), "int32"), ("image", (3, 2, 2)), named=True)
    inputs = data_and_labels(critic, (3, 2, 2), K)
    assert inputs.shape == (3, 2, 2 + K)
    taken = inputs(x)
    np.testing.assert_array_equal(taken["image"], images)
    np.testing.assert_array_equal(taken["labels"], LABELS)


@pytest.mark.parametrize("label", [(2,), (2, K)])
def test_the_labels_of_a_pack_are_an_input_of_their_own(label):
    critic = model(("x", (4, 4, 2)), ("labels", label))
    rows = np.random.default_rng(0).normal(size=(3, 2, 4, 4, 1)).astype("float32")
    classes = np.array([[0, 1], [2, 2], [1, 0]])
    one_hot = np.eye(K, dtype="float32")[classes]
    planes = np.broadcast_to(one_hot[:, :, None, None], [3, 2, 4, 4, K])
    each = np.concatenate([rows, planes], -1)  # [3, m, 4, 4, 1 + k]
    packs = np.concatenate([each[:, 0], each[:, 1]], -1)
    inputs = data_and_labels(critic, (4, 4, 1), K, packing=2)
    assert inputs.shape == (4, 4, 2 * (1 + K))
    data, labels = inputs(tf.constant(packs))
    np.testing.assert_array_equal(data, np.concatenate([rows[:, 0], rows[:, 1]], -1))
    np.testing.assert_array_equal(labels, classes if label == (2,) else one_hot)


def test_what_no_pack_fits_is_told_what_would():
    says = r"data \[4, 4, 2\] .* packs of 2 data\..* shape \[2\], or one-hot \[2, 3\]"
    with pytest.raises(InputError, match=says):
        data_and_labels(model(("x", (4, 4, 2)), ("labels", (3,))), (4, 4, 1), K, packing=2)
    whole = model(("x", (4, 4, 2 * (1 + K))))
    assert data_and_labels(whole, (4, 4, 1), K, packing=2).shape == (4, 4, 8)
    says = r"Give it a second input for the labels, or one input \[4, 4, 8\]"
    with pytest.raises(InputError, match=says):
        data_and_labels(model(("x", (4, 4, 2))), (4, 4, 1), K, packing=2)


class Pair(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense, self.embedding = layers.Dense(2), layers.Embedding(K, 2)

    def call(self, x):
        z, label = x.values() if isinstance(x, dict) else x
        return self.dense(z) + self.embedding(label)


class Arguments(Pair):
    def call(self, z, label, training=False):
        return self.dense(z) + self.embedding(label)


class Saying(Arguments):
    def build(self, z_shape, label_shape):
        self.dense.build(z_shape)
        self.embedding.build(label_shape)


@pytest.mark.parametrize(
    "form", [lambda z, c: [z, c], lambda z, c: (z, c), lambda z, c: {"z": z, "label": c}]
)
def test_subclassed_models_take_what_they_were_built_with(form):
    built = Pair()
    example = form(latents(5), LABELS)
    expected = built(example)
    taken = latents_and_labels(built, 5, K)(packed(5))
    assert type(taken) is type(example)
    np.testing.assert_array_equal(built(taken), expected)


def test_subclassed_models_of_two_arguments():
    built = Saying()
    expected = built(latents(5), LABELS)
    taken = latents_and_labels(built, 5, K)(packed(5))
    np.testing.assert_array_equal(built(**taken.named), expected)
    silent = Arguments()
    silent(latents(5), LABELS)
    with pytest.raises(InputError, match=r"arguments \(z, label\).*keras.Model\(\[z, label\]"):
        latents_and_labels(silent, 5, K)


@pytest.mark.parametrize(
    ("inputs", "dim", "num_classes", "words"),
    [
        (
            [("z", (4,))],
            5,
            0,
            r"takes z \[4\].*latents \[5\]. Give it one input \[5\]. Or .*: latent_dim=4",
        ),
        ([("z", (5,))], 5, K, r"labels of 3 classes. Give it a second input.*\[8\]"),
        ([("z", (5,)), ("c", ())], 5, 0, r"one input \(num_classes is 0\)"),
        ([("z", (5,)), ("c", (4,))], 5, K, r"Labels are an input of shape \[\], \[1\].*\[3\]"),
        ([("a", (K,)), ("b", (K,))], K, K, "name one of them labels"),
        ([("z", (5,)), ("c", ()), ("d", ())], 5, K, "Give it two inputs"),
    ],
)
def test_what_is_not_clear_is_refused(inputs, dim, num_classes, words):
    with pytest.raises(InputError, match=words):
        latents_and_labels(model(*inputs), dim, num_classes)


def test_discriminators_of_other_data_are_refused():
    critic = model(("x", (8, 8, 1)))
    with pytest.raises(InputError, match=r"takes x \[8, 8, 1\].*data \[8, 8, 3\]"):
        data_and_labels(critic, (8, 8, 3))
    with pytest.raises(InputError, match="second input for the labels"):
        data_and_labels(critic, (8, 8, 1), K)
    with pytest.raises(InputError, match="at least one axis"):
        data_and_labels(critic, ())


def test_models_that_do_not_say_are_refused():
    with pytest.raises(InputError, match="is not built"):
        latents_and_labels(keras.Sequential([layers.Dense(2)]), 5)
    with pytest.raises(InputError, match=r"Expected a keras.Model, got Dense"):
        latents_and_labels(layers.Dense(2), 5)
