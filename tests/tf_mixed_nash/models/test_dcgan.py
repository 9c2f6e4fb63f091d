"""DCGAN: shapes, initialisation, normalisation, frozen statistics."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_mixed_nash.models import (
    Network,
    SpectralConv2D,
    dcgan_discriminator,
    dcgan_generator,
)
from tf_mixed_nash.models.dcgan import NORMALIZATIONS, SIZES


def latents(num, dim=8, seed=0):
    return tf.constant(np.random.default_rng(seed).normal(size=(num, dim)), tf.float32)


def small(size=32, **options):
    return dcgan_generator(size, 3, latent_dim=8, width=4, **options)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("normalization", ["batch", "layer", "none"])
def test_generators_make_images_between_minus_1_and_1(size, normalization):
    generator = small(size, normalization=normalization)
    images = generator(generator.initial(), latents(3))
    assert images.shape == [3, size, size, 3]
    assert 0 < np.abs(images).max() <= 1


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_discriminators_give_one_logit(size, normalization):
    net = dcgan_discriminator(size, 1, width=4, normalization=normalization)
    logits = net(net.initial(), tf.random.stateless_uniform([3, size, size, 1], [1, 2], -1, 1))
    assert logits.shape == [3, 1]
    assert np.std(logits) > 0


def test_the_papers_64_pixel_networks_have_dcgans_sizes():
    """100 -> 4x4x512 -> 8x8x256 -> 16x16x128 -> 32x32x64 -> 64x64x3; and back. By hand."""
    generator, discriminator = dcgan_generator(64), dcgan_discriminator(64)
    maps = [512, 256, 128, 64]
    kernels = 100 * 16 * 512 + 16 * sum(a * b for a, b in zip(maps, [*maps[1:], 3], strict=True))
    assert generator.num_parameters == kernels + 2 * sum(maps) + 3
    back = [3, 64, 128, 256, 512]
    kernels = 16 * sum(a * b for a, b in itertools.pairwise(back)) + 4 * 4 * 512
    assert discriminator.num_parameters == kernels + 64 + 2 * (128 + 256 + 512) + 1


def test_initialisation_is_normal_with_deviation_0_02():
    for variable in dcgan_generator(64).model.trainable_variables:
        values, kind = variable.numpy(), variable.path.rsplit("/", 1)[-1]
        if kind == "kernel":
            assert abs(values.std() / 0.02 - 1) < 5 * np.sqrt(0.5 / values.size)
            assert abs(values.mean()) < 5 * 0.02 / np.sqrt(values.size)
        elif kind == "gamma":
            assert abs(values.mean() - 1) < 5 * 0.02 / np.sqrt(values.size)
        else:
            np.testing.assert_array_equal(values, 0.0)


def test_the_seed_decides():
    a, b, c = (small(seed=s).initial().numpy() for s in (0, 0, 1))
    np.testing.assert_array_equal(a, b)
    assert np.abs(a - c).max() > 0.01


def test_training_normalises_by_the_batch_at_hand():
    """A row's image depends on its batch in training, and not on any moving statistics."""
    net = small()
    z, x = net.initial(), latents(6)
    whole, part = net(z, x), net(z, x[:3])
    assert np.abs(whole[:3] - part).max() > 1e-4
    np.testing.assert_array_equal(net(z, x), whole)


def test_frozen_statistics_are_those_of_the_batches():
    """One dense layer and batch normalisation, against numpy's mean and variance."""
    model = keras.Sequential(
        [
            keras.Input((3,)),
            keras.layers.Dense(5, use_bias=False),
            keras.layers.BatchNormalization(momentum=0.7, epsilon=1e-3),
        ]
    )
    net = Network(model)
    assert net.num_statistics == 10
    z = net.initial()
    batches = [latents(64, 3, seed=s) for s in range(3)]
    frozen, y = net.frozen(), latents(4, 3, seed=9)
    vector = net.calibrated(z, batches)
    assert vector.shape == [frozen.dim]
    kernel = model.trainable_variables[0].numpy()
    hidden = [b.numpy() @ kernel for b in batches]
    mean = np.mean([h.mean(axis=0) for h in hidden], axis=0)
    variance = np.mean([h.var(axis=0) for h in hidden], axis=0)
    expected = (y.numpy() @ kernel - mean) / np.sqrt(variance + 1e-3)
    np.testing.assert_allclose(frozen(vector, y), expected, rtol=1e-4, atol=1e-5)


def test_frozen_rows_do_not_depend_on_their_batch():
    net = small()
    frozen = net.frozen()
    vector = net.calibrated(net.initial(), [latents(32, seed=s) for s in range(2)])
    x = latents(6)
    np.testing.assert_allclose(frozen(vector, x)[:3], frozen(vector, x[:3]), atol=1e-6)
    # On a large batch the frozen statistics are nearly the batch's own.
    many = latents(32, seed=0)
    np.testing.assert_allclose(frozen(vector, many), net(net.initial(), many), atol=0.05)


def test_networks_without_statistics_freeze_to_themselves():
    net = small(normalization="layer")
    assert net.frozen() is net
    z = net.initial()
    assert net.calibrated(z, []) is z
    with pytest.raises(ValueError, match="at least one batch"):
        small().calibrated(small().initial(), [])


def test_gradients_flow_through_the_batch_statistics():
    """Every kernel, gamma and beta gets one."""
    net = small()
    with tf.GradientTape() as tape:
        leaves = net.unflatten(net.initial())
        tape.watch(leaves)
        loss = tf.reduce_sum(net.apply(leaves, latents(4)) ** 2)
    gradients = tape.gradient(loss, leaves)
    assert all(g is not None and np.abs(g).max() > 0 for g in gradients)


def test_spectral_convolutions_have_largest_singular_value_1():
    """A kernel of singular values 2, 1, 1/2, ...: k iterations are off by (1/2)^(2k) or so."""
    random = np.random.default_rng(0)
    left, _ = np.linalg.qr(random.normal(size=(96, 16)))
    right, _ = np.linalg.qr(random.normal(size=(16, 16)))
    kernel = (left * 2.0 ** (1 - np.arange(16.0))) @ right.T
    layer = SpectralConv2D(16, 4, 2, "same", use_bias=False)
    x = tf.constant(random.normal(size=(2, 8, 8, 6)), tf.float32)
    layer.build(x.shape)
    layer.kernel.assign(kernel.reshape(4, 4, 6, 16))
    expected = keras.ops.conv(x, layer.kernel / 2.0, strides=2, padding="same")
    np.testing.assert_allclose(layer(x), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("num_iterations", [1, 100])
def test_the_singular_vectors_are_constants_to_the_gradient(num_iterations):
    """d/dW of sum(W / sigma) with sigma = u^T W v, u and v fixed: by hand.

    After one iteration they are not singular vectors yet, and a gradient through them would
    show; after a hundred they are NumPy's.
    """
    layer = SpectralConv2D(3, 1, use_bias=False, num_iterations=num_iterations)
    layer.build([None, 1, 1, 4])
    W = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    layer.kernel.assign(W[None, None])
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(layer(tf.eye(4)[:, None, None, :]))
    g = tape.gradient(total, layer.kernel.value).numpy()[0, 0]
    v = np.sin(1.0 + np.arange(3.0) ** 2)
    u = W @ v / np.linalg.norm(W @ v)
    for _ in range(num_iterations):
        v = W.T @ u / np.linalg.norm(W.T @ u)
        u = W @ v / np.linalg.norm(W @ v)
    sigma = u @ W @ v
    if num_iterations == 100:
        assert sigma == pytest.approx(np.linalg.svd(W, compute_uv=False)[0], rel=1e-6)
    expected = np.ones((4, 3)) / sigma - W.sum() / sigma**2 * np.outer(u, v)
    np.testing.assert_allclose(g, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: dcgan_generator(48), "28, 32, 64, 128"),
        (lambda: dcgan_discriminator(64, normalization="instance"), "spectral"),
        (lambda: dcgan_generator(32, normalization="spectral"), "batch, layer, none"),
    ],
)
def test_what_is_not_offered_is_named(make, says):
    with pytest.raises(ValueError, match=says):
        make()


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_keeps_parameters_and_outputs_in_float32(policy):
    net = small(dtype=policy)
    assert net.initial().dtype == tf.float32
    assert net(net.initial(), latents(2)).dtype == tf.float32
    vector = net.calibrated(net.initial(), [latents(8)])
    assert net.frozen()(vector, latents(2)).dtype == tf.float32
