"""Residual GANs: without normalisation in R3GAN's manner, and that of WGAN-GP.

`residual_generator` and `residual_discriminator` follow Huang et al. 2024 (R3GAN): residual blocks
1 x 1, grouped 3 x 3, 1 x 1 with an inverted bottleneck and biased leaky ReLUs, no normalisation,
bilinear resampling, and an initialisation that keeps the sum of the branches in scale (Fixup, Zhang
et al. 2019: the last convolution of a branch starts at 0). They need zero-centred penalties on
real and generated data (`game.r1`, `game.r2`) with the relativistic objective.

`wgan_gp_generator` and `wgan_gp_discriminator` follow Gulrajani et al. 2017: two 3 x 3 convolutions
a block, batch normalisation in the generator alone, none in the critic.

All are plain Keras models, of 28, 32, 64, 128 or 256 pixels and any width. With classes they take
the labels as a second input, int32 []: the generators through an embedding, the discriminators by
projection (Miyato & Koyama 2018).
"""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_mixed_nash import compile as compiling

__all__ = [
    "SIZES",
    "GroupedConv2D",
    "LearnedBasis",
    "residual_discriminator",
    "residual_generator",
    "wgan_gp_discriminator",
    "wgan_gp_generator",
]

# Pixels -> (the smallest map, how often it is doubled).
SIZES = {28: (7, 2), 32: (4, 3), 64: (4, 4), 128: (4, 5), 256: (4, 6)}
_SLOPE = 0.2
_GAIN = math.sqrt(2.0 / (1.0 + _SLOPE**2))  # of a leaky ReLU (He et al. 2015)
_WIDEST = 8  # the smallest maps have at most so many times the channels of the largest


@keras.saving.register_keras_serializable(package="tf_mixed_nash")
class LearnedBasis(keras.layers.Layer):
    """A learned map [size, size, C], of which every datum takes its own multiple in each channel.

    From [n, C] to [n, size, size, C]; the first layer of R3GAN's generator.

    Args:
      size: of the map.
      seed: of the initialisation, N(0, 1).
      **kwargs: of `keras.layers.Layer`.
    """

    def __init__(self, size: int, seed: int | None = None, **kwargs):
        super().__init__(**kwargs)
        self.size, self.seed = size, seed

    def build(self, input_shape):
        """See `keras.layers.Layer.build`."""
        self.basis = self.add_weight(
            name="basis",
            shape=(self.size, self.size, input_shape[-1]),
            initializer=keras.initializers.RandomNormal(0.0, 1.0, seed=self.seed),
        )

    def call(self, inputs):
        """basis * inputs[:, None, None, :]."""
        return keras.ops.cast(self.basis, inputs.dtype) * inputs[:, None, None, :]

    def compute_output_shape(self, input_shape):
        """[n, size, size, C]."""
        return (input_shape[0], self.size, self.size, input_shape[-1])

    def get_config(self):
        """See `keras.layers.Layer.get_config`."""
        return {**super().get_config(), "size": self.size, "seed": self.seed}


@keras.saving.register_keras_serializable(package="tf_mixed_nash")
class GroupedConv2D(keras.layers.Conv2D):
    """`keras.layers.Conv2D` with groups, each a convolution of its own.

    Keras compiles grouped convolutions by XLA on CPUs, which TensorFlow Serving does not run, and
    TensorFlow's own have gradients on CPUs only where it was built with oneDNN. Convolutions of
    the groups have all derivatives everywhere. In one XLA program on a GPU (compile=whole) they are
    Keras's, one kernel for all groups; XLA has a slow one on CPUs.

    Args:
      *args: of `keras.layers.Conv2D`.
      **kwargs: of `keras.layers.Conv2D`.
    """

    def convolution_op(self, inputs, kernel):
        """Of inputs [n, h, w, C] with a kernel [a, b, C / groups, F]: [n, h', w', F]."""
        if self.groups == 1 or (compiling.in_whole() and compiling.on_gpu()):
            return super().convolution_op(inputs, kernel)
        channels = 3 if self.data_format == "channels_last" else 1
        rows: Any = tf.split(inputs, self.groups, axis=channels)
        kernels: Any = tf.split(tf.convert_to_tensor(kernel), self.groups, axis=3)
        convolve: Any = super().convolution_op
        return tf.concat(
            [convolve(x, k) for x, k in zip(rows, kernels, strict=True)], axis=channels
        )


def residual_generator(
    size: int,
    channels: int = 3,
    latent_dim: int = 64,
    width: int = 64,
    blocks: int = 1,
    group_size: int = 16,
    num_classes: int = 0,
    seed: int = 0,
    dtype: str = "float32",
    name: str = "generator",
) -> keras.Model:
    """From latents [n, latent_dim] (and labels) to images [n, size, size, channels], not bounded.

    Args:
      size: a key of SIZES.
      channels: of the images.
      latent_dim: D.
      width: channels of the largest map; doubled at each smaller one, up to 8 times.
      blocks: residual blocks at each resolution; R3GAN has 2.
      group_size: channels of a group of the 3 x 3 convolutions; less where the width is less.
      num_classes: k > 0: labels, int32 [], are the second input.
      seed: of the initialisation.
      dtype: a Keras dtype policy.
      name: of the model.

    Raises:
      ValueError: for a size that is not offered.

    Example:
      >>> from tf_mixed_nash.models import residual_generator
      >>> residual_generator(28, channels=1, width=16).output_shape
      (None, 28, 28, 1)
    """
    base, widths = _widths(size, width)
    b = _Builder(seed, dtype, branches=blocks * len(widths))
    inputs, x = b.latents(latent_dim, num_classes)
    x = b.dense(widths[0], 1.0, bias=False)(x)
    x = LearnedBasis(base, b.seed(), dtype=b.policy)(x)
    for i, units in enumerate(widths):
        if i:
            x = keras.layers.UpSampling2D(2, interpolation="bilinear", dtype=b.policy)(x)
            x = b.widened(x, units)
        for _ in range(blocks):
            x = b.block(x, units, group_size)
    x = b.convolution(channels, 1, 1.0, bias=False)(x)
    return keras.Model(inputs, x, name=name)


def residual_discriminator(
    size: int,
    channels: int = 3,
    width: int = 64,
    blocks: int = 1,
    group_size: int = 16,
    num_classes: int = 0,
    packing: int = 1,
    seed: int = 0,
    dtype: str = "float32",
    name: str = "discriminator",
) -> keras.Model:
    """From images [n, size, size, channels] (and labels) to logits [n, 1].

    Args:
      size: a key of SIZES.
      channels: of the images.
      width: channels of the largest map; doubled at each smaller one, up to 8 times.
      blocks: residual blocks at each resolution.
      group_size: see `residual_generator`.
      num_classes: k > 0: labels, int32 [], are the second input.
      packing: m, how many images it reads at once, of `channels` together; m > 1: labels [m].
      seed: of the initialisation.
      dtype: a Keras dtype policy.
      name: of the model.

    Raises:
      ValueError: for a size that is not offered.
    """
    base, widths = _widths(size, width)
    b = _Builder(seed, dtype, branches=blocks * len(widths))
    images = keras.Input((size, size, channels), dtype=b.policy.variable_dtype, name="images")
    x = b.convolution(widths[-1], 1, 1.0, bias=False)(images)
    for i, units in enumerate(reversed(widths)):
        if i:
            x = keras.layers.AveragePooling2D(2, dtype=b.policy)(x)  # bilinear, by half
            x = b.widened(x, units)
        for _ in range(blocks):
            x = b.block(x, units, group_size)
    x = keras.layers.DepthwiseConv2D(
        base, use_bias=False, depthwise_initializer=b.normal(1.0 / base), dtype=b.policy
    )(x)
    features = keras.layers.Flatten(dtype=b.policy)(x)
    return b.headed(images, features, num_classes, packing, name)


def wgan_gp_generator(
    size: int,
    channels: int = 3,
    latent_dim: int = 128,
    width: int = 64,
    num_classes: int = 0,
    seed: int = 0,
    dtype: str = "float32",
    name: str = "generator",
) -> keras.Model:
    """From latents [n, latent_dim] (and labels) to images [n, size, size, channels] in [-1, 1].

    Args:
      size: and the following: see `residual_generator`.
      channels: of the images.
      latent_dim: D.
      width: channels of the largest map.
      num_classes: k > 0: labels are the second input.
      seed: of the initialisation.
      dtype: a Keras dtype policy.
      name: of the model.

    Raises:
      ValueError: for a size that is not offered.
    """
    base, widths = _widths(size, width)
    b = _Builder(seed, dtype)
    inputs, x = b.latents(latent_dim, num_classes)
    x = b.dense(base * base * widths[0], 1.0)(x)
    x = keras.layers.Reshape((base, base, widths[0]), dtype=b.policy)(x)
    for units in widths[1:]:
        h = b.rectified(b.normalized(x), 0.0)
        h = keras.layers.UpSampling2D(2, dtype=b.policy)(h)
        h = b.convolution(units, 3, math.sqrt(2.0))(h)
        h = b.convolution(units, 3, math.sqrt(2.0))(b.rectified(b.normalized(h), 0.0))
        shortcut = keras.layers.UpSampling2D(2, dtype=b.policy)(x)
        x = keras.layers.Add(dtype=b.policy)([b.convolution(units, 1, 1.0)(shortcut), h])
    x = b.convolution(channels, 3, 1.0)(b.rectified(b.normalized(x), 0.0))
    x = keras.layers.Activation("tanh", dtype=b.policy)(x)
    return keras.Model(inputs, x, name=name)


def wgan_gp_discriminator(
    size: int,
    channels: int = 3,
    width: int = 64,
    num_classes: int = 0,
    packing: int = 1,
    seed: int = 0,
    dtype: str = "float32",
    name: str = "discriminator",
) -> keras.Model:
    """From images [n, size, size, channels] (and labels) to logits [n, 1]; no normalisation.

    Args:
      size: and the following: see `residual_discriminator`.
      channels: of the images.
      width: channels of the largest map.
      num_classes: k > 0: labels are the second input.
      packing: m, how many images it reads at once, of `channels` together; m > 1: labels [m].
      seed: of the initialisation.
      dtype: a Keras dtype policy.
      name: of the model.

    Raises:
      ValueError: for a size that is not offered.
    """
    _, widths = _widths(size, width)
    b = _Builder(seed, dtype)
    images = keras.Input((size, size, channels), dtype=b.policy.variable_dtype, name="images")
    x = images
    for i, units in enumerate(reversed(widths[:-1])):
        h = b.rectified(x, 0.0) if i else x
        h = b.convolution(units, 3, math.sqrt(2.0))(h)
        h = b.convolution(units, 3, math.sqrt(2.0))(b.rectified(h, 0.0))
        h = keras.layers.AveragePooling2D(2, dtype=b.policy)(h)
        shortcut = keras.layers.AveragePooling2D(2, dtype=b.policy)(x)
        x = keras.layers.Add(dtype=b.policy)([b.convolution(units, 1, 1.0)(shortcut), h])
    features = keras.layers.GlobalAveragePooling2D(dtype=b.policy)(b.rectified(x, 0.0))
    return b.headed(images, features, num_classes, packing, name)


def _widths(size: int, width: int) -> tuple[int, list[int]]:
    """The smallest map, and the channels of all, the smallest first."""
    if size not in SIZES:
        choices = ", ".join(map(str, SIZES))
        raise ValueError(f"No residual networks for {size} px. Choose one of: {choices}.")
    base, doublings = SIZES[size]
    return base, [width * min(2**i, _WIDEST) for i in reversed(range(doublings + 1))]


class _Builder:
    """Layers with a seed each and one dtype policy.

    Args:
      seed: of all.
      dtype: a Keras dtype policy.
      branches: L, residual blocks of the network: by Fixup the first m - 1 of the m = 3 layers of a
        branch start L^(-1 / (2 m - 2)) times as large.
    """

    def __init__(self, seed: int, dtype: str, branches: int = 1):
        self.policy = keras.DTypePolicy(dtype)
        self._seeds = iter(np.random.SeedSequence(seed).generate_state(1024).tolist())
        self._scale = branches**-0.25

    def seed(self) -> int:
        """Of the next layer."""
        return next(self._seeds) >> 1

    def normal(self, deviation: float) -> Any:
        """N(0, deviation^2)."""
        return keras.initializers.RandomNormal(0.0, deviation, seed=self.seed())

    def _scaled(self, gain: float) -> Any:
        """N(0, gain^2 / fan_in)."""
        if gain == 0:
            return "zeros"
        return keras.initializers.VarianceScaling(
            gain**2, "fan_in", "untruncated_normal", seed=self.seed()
        )

    def latents(self, latent_dim: int, num_classes: int) -> tuple[Any, Any]:
        """(a generator's inputs, latents [n, D], followed by the embedded labels [n, D] if any)."""
        latents = keras.Input((latent_dim,), dtype=self.policy.variable_dtype, name="latents")
        if not num_classes:
            return latents, latents
        labels = keras.Input((), dtype="int32", name="labels")
        embedded = self.embedding(num_classes, latent_dim)(labels)
        both = keras.layers.Concatenate(dtype=self.policy)([latents, embedded])
        return [latents, labels], both

    def dense(self, units: int, gain: float, bias: bool = True) -> Any:
        return keras.layers.Dense(
            units, use_bias=bias, kernel_initializer=self._scaled(gain), dtype=self.policy
        )

    def embedding(self, num_classes: int, units: int) -> Any:
        return keras.layers.Embedding(
            num_classes, units, embeddings_initializer=self.normal(1.0), dtype=self.policy
        )

    def convolution(
        self, units: int, kernel: int, gain: float, bias: bool = True, groups: int = 1
    ) -> Any:
        kind: Any = GroupedConv2D if groups > 1 else keras.layers.Conv2D
        return kind(
            units,
            kernel,
            padding="same",
            groups=groups,
            use_bias=bias,
            kernel_initializer=self._scaled(gain),
            dtype=self.policy,
        )

    def rectified(self, x: Any, slope: float) -> Any:
        return keras.layers.LeakyReLU(slope, dtype=self.policy)(x)

    def normalized(self, x: Any) -> Any:
        return keras.layers.BatchNormalization(epsilon=1e-5, dtype=self.policy)(x)

    def widened(self, x: Any, units: int) -> Any:
        """x with `units` channels."""
        return x if x.shape[-1] == units else self.convolution(units, 1, 1.0, bias=False)(x)

    def block(self, x: Any, units: int, group_size: int) -> Any:
        """x + the branch; the branch's middle has twice the channels, in groups."""
        inner, gain = 2 * units, _GAIN * self._scale
        groups = max(inner // group_size, 1)
        while inner % groups:
            groups -= 1
        h = self.rectified(self.convolution(inner, 1, gain)(x), _SLOPE)
        h = self.rectified(self.convolution(inner, 3, gain, groups=groups)(h), _SLOPE)
        h = self.convolution(units, 1, 0.0, bias=False)(h)
        return keras.layers.Add(dtype=self.policy)([x, h])

    def headed(
        self, images: Any, features: Any, num_classes: int, packing: int, name: str
    ) -> keras.Model:
        """The model whose logit is linear in the features, and in those of the label's class.

        Of a pack, in the mean of its classes' embeddings.
        """
        logits = self.dense(1, 1.0)(features)
        if not num_classes:
            return keras.Model(images, logits, name=name)
        shape = (packing,) if packing > 1 else ()
        labels = keras.Input(shape, dtype="int32", name="labels")
        own = self.embedding(num_classes, features.shape[-1])(labels)
        if packing > 1:
            own = keras.layers.GlobalAveragePooling1D(dtype=self.policy)(own)
        # <own, features> / sqrt(C), of variance 1 at the start.
        projected = keras.layers.Dot(1, dtype=self.policy)([own, features])
        scale = features.shape[-1] ** -0.5
        projected = keras.layers.Rescaling(scale, dtype=self.policy)(projected)
        logits = keras.layers.Add(dtype=self.policy)([logits, projected])
        return keras.Model([images, labels], logits, name=name)
