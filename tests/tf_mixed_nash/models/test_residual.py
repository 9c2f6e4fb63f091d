"""Residual networks: shapes, scale at the start, classes, second derivatives, Keras files."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_mixed_nash import compile as compiling
from tf_mixed_nash.games.gan import GanGame, Regularizers
from tf_mixed_nash.games.objectives import relativistic
from tf_mixed_nash.models import (
    GroupedConv2D,
    Network,
    data_and_labels,
    latents_and_labels,
    residual_discriminator,
    residual_generator,
    wgan_gp_discriminator,
    wgan_gp_generator,
)
from tf_mixed_nash.models.residual import SIZES
from tf_mixed_nash.types import dirac

D = 8
PAIRS = {
    "residual": (residual_generator, residual_discriminator),
    "wgan_gp": (wgan_gp_generator, wgan_gp_discriminator),
}
each_pair = pytest.mark.parametrize("pair", PAIRS)


def draw(*shape, seed=0):
    return tf.constant(np.random.default_rng(seed).normal(size=shape), tf.float32)


@each_pair
@pytest.mark.parametrize("size", [28, 32, pytest.param(64, marks=pytest.mark.slow),
                                  pytest.param(256, marks=pytest.mark.slow)])  # fmt: skip
def test_images_of_every_size_and_one_logit(pair, size):
    make, judge = PAIRS[pair]
    images = make(size, 3, latent_dim=D, width=4)(draw(2, D))
    assert images.shape == (2, size, size, 3)
    assert np.isfinite(images).all()
    assert judge(size, 3, width=4)(images).shape == (2, 1)


@each_pair
def test_128_pixels_are_built(pair):
    """Shapes alone, of the least width."""
    make, judge = PAIRS[pair]
    assert make(128, 3, latent_dim=D, width=1).output_shape == (None, 128, 128, 3)
    judge = judge(128, 3, width=1)
    assert (judge.input_shape, judge.output_shape) == ((None, 128, 128, 3), (None, 1))


@each_pair
def test_a_size_that_is_not_offered_is_named(pair):
    for make in PAIRS[pair]:
        with pytest.raises(ValueError, match=r"No residual networks for 48 px\. Choose one of: 28"):
            make(48)
    assert list(SIZES) == [28, 32, 64, 128, 256]


@each_pair
def test_the_seed_decides_the_start(pair):
    make, _ = PAIRS[pair]
    weights = [make(28, 1, latent_dim=D, width=4, seed=s).get_weights() for s in (0, 0, 1)]
    for a, b in zip(*weights[:2], strict=True):
        np.testing.assert_array_equal(a, b)
    assert any((a != b).any() for a, b in zip(weights[0], weights[2], strict=True))


@pytest.mark.parametrize("blocks", [1, 4])
def test_without_normalisation_the_scale_is_kept(blocks):
    """Images and logits are of order 1 at the start: every branch begins as nothing (Fixup)."""
    generator = residual_generator(32, 3, latent_dim=64, width=32, blocks=blocks)
    images = generator(draw(16, 64)).numpy()
    assert 0.2 < images.std() < 3
    logits = residual_discriminator(32, 3, width=32, blocks=blocks)(draw(16, 32, 32, 3)).numpy()
    assert 0.05 < logits.std() < 3
    # A branch's inner activations are of the same order, however many branches there are.
    inner = [x for x in generator.layers if isinstance(x, keras.layers.Conv2D) and x.groups > 1]
    middle = keras.Model(generator.input, [x.output for x in inner])(draw(16, 64))
    assert all(0.05 < np.std(x) < 5 for x in tf.nest.flatten(middle))


@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 1, "padding": "same"},
        {"kernel_size": 4, "padding": "same"},
        {"kernel_size": 3, "strides": 2},
        {"kernel_size": (3, 2), "dilation_rate": 2, "activation": "relu"},
    ],
)
def test_a_grouped_convolution_is_keras_s(options):
    ours = GroupedConv2D(6, groups=2, dtype="float64", bias_initializer="normal", **options)
    keras_s = keras.layers.Conv2D(6, groups=2, dtype="float64", **options)
    x = tf.constant(np.random.default_rng(0).normal(size=(2, 5, 4, 8)))
    y = ours(x)
    keras_s(x)
    keras_s.set_weights(ours.get_weights())
    np.testing.assert_allclose(y, keras_s(x), rtol=1e-12, atol=1e-12)
    assert ours.count_params() == keras_s.count_params()
    assert ours(x[:0]).shape == (0, *y.shape[1:])


@pytest.mark.parametrize(("devices", "kernels"), [([], 2), (["a GPU"], 1)])
def test_in_one_program_it_is_one_kernel_on_a_gpu(devices, kernels, monkeypatch):
    layer = GroupedConv2D(6, 3, padding="same", groups=2)
    x = draw(2, 5, 4, 8)
    y = layer(x)
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: devices)

    @tf.function(jit_compile=True, autograph=False)
    def whole(x):
        with compiling.whole():
            return layer(x)

    np.testing.assert_allclose(whole(x), y, rtol=1e-5, atol=1e-6)
    program = whole.experimental_get_compiler_ir(x)(stage="hlo")
    assert program.count(" convolution(") == kernels


def test_the_convolutions_are_grouped_in_groups_of_the_asked_size():
    model = residual_generator(28, 1, latent_dim=D, width=32, group_size=16)
    grouped = [x for x in model.layers if isinstance(x, keras.layers.Conv2D) and x.groups > 1]
    assert {x.filters // x.groups for x in grouped} == {16}
    assert sum(isinstance(x, keras.layers.BatchNormalization) for x in model.layers) == 0


@each_pair
def test_labels_change_images_and_logits(pair):
    make, judge = (f(28, 1, width=4, num_classes=3) for f in PAIRS[pair])
    z, labels = draw(1, make.input_shape[0][1]), [tf.constant([i]) for i in (0, 1)]
    images = [make([z, label]) for label in labels]
    assert np.abs(images[0] - images[1]).max() > 1e-4
    logits = [judge([images[0], label]).numpy() for label in labels]
    assert np.abs(logits[0] - logits[1]).max() > 1e-6
    # As the games give them: latents and images with one-hot classes behind.
    D, k = z.shape[1], 3
    theta = Network(make, latents_and_labels(make, D, k))
    w = Network(judge, data_and_labels(judge, (28, 28, 1), k))
    packed = tf.concat([z, tf.one_hot([1], k)], axis=1)
    expected = make([z, labels[1]], training=True)  # a game's generator sees the batch
    np.testing.assert_allclose(theta(theta.initial(), packed), expected, atol=1e-6)
    planes = tf.broadcast_to(tf.one_hot([1], k)[:, None, None], [1, 28, 28, k])
    given = tf.concat([images[0], planes], axis=3)
    np.testing.assert_allclose(w(w.initial(), given), logits[1], atol=1e-6)


@each_pair
def test_a_pack_has_its_images_side_by_side_and_all_their_labels(pair):
    m, k = 2, 3
    judge = PAIRS[pair][1](28, m, width=4, num_classes=k, packing=m)
    images = draw(2 * m, 28, 28, 1)
    classes = np.array([0, 2, 1, 1])
    planes = np.broadcast_to(np.eye(k)[classes][:, None, None], [2 * m, 28, 28, k])
    labelled = tf.concat([images, tf.constant(planes, tf.float32)], axis=3)
    w = Network(judge, data_and_labels(judge, (28, 28, 1), k, m))
    theta = residual_generator(28, 1, latent_dim=D, width=2, num_classes=k)
    game = GanGame(Network(theta, latents_and_labels(theta, D, k)), w, D, num_classes=k, packing=m)
    given = game.packed(labelled)
    beside = tf.stack([tf.concat([images[i], images[i + 1]], axis=-1) for i in (0, 2)])
    expected = judge([beside, tf.constant([[0, 2], [1, 1]])])
    np.testing.assert_allclose(w(w.initial(), given), expected, atol=1e-6)
    other = judge([beside, tf.constant([[0, 2], [0, 1]])])
    assert abs(other[1] - expected[1]) > 1e-6
    assert other[0] == expected[0]


def test_penalties_on_both_sides_reach_the_parameters():
    """Second derivatives of grouped, depthwise and pooled layers: against a difference."""
    theta = Network(residual_generator(28, 1, latent_dim=D, width=2, seed=1, dtype="float64"))
    w = Network(residual_discriminator(28, 1, width=2, seed=2, dtype="float64"))
    game = GanGame(theta, w, D, relativistic, Regularizers(r1=2.0, r2=3.0))
    random = np.random.default_rng(0)
    start = tf.constant(w.initial().numpy() + 0.1 * random.normal(size=w.dim))
    real = tf.constant(random.normal(size=(4, 28, 28, 1)))
    field = tf.function(
        lambda z: game.field("w", z, dirac(theta.initial()), real, tf.constant([1, 2])),
        autograph=False,
    )
    g, logs = field(start)
    assert float(logs["penalty"]) > 0
    e = random.normal(size=w.dim)
    e /= np.linalg.norm(e)

    def total(z):
        _, logs = field(z)
        return float(logs["loss"] + logs["penalty"])

    slope = (total(start + 1e-5 * e) - total(start - 1e-5 * e)) / 2e-5
    assert float(tf.tensordot(g, tf.constant(e), 1)) == pytest.approx(slope, rel=1e-4)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras's own
@each_pair
def test_they_are_saved_as_keras_files(pair, tmp_path):
    model = PAIRS[pair][0](28, 1, latent_dim=D, width=4)
    model.save(tmp_path / "g.keras")
    again = keras.models.load_model(tmp_path / "g.keras")
    np.testing.assert_array_equal(again(draw(2, D)), model(draw(2, D)))
