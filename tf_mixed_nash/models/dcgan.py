"""DCGAN (Radford et al. 2016), the paper's networks on images (section 5.2).

Kernels 4 x 4 of stride 2, weights N(0, 0.02), batch normalisation but not at the generator's
output and the discriminator's input, ReLU and tanh, LeakyReLU(0.2). For games with a gradient
penalty the discriminator's batch normalisation is replaced (`normalization="layer"` or
"spectral"): the penalty is on single samples, which batch statistics tie together.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_mixed_nash.errors import unknown
from tf_mixed_nash.models.activations import leaky_relu
from tf_mixed_nash.models.network import Network

__all__ = ["NORMALIZATIONS", "SIZES", "SpectralConv2D", "dcgan_discriminator", "dcgan_generator"]

# Image size -> (the smallest map, how often it is doubled).
SIZES = {28: (7, 2), 32: (4, 3), 64: (4, 4), 128: (4, 5)}
NORMALIZATIONS = ("batch", "layer", "spectral", "none")
_DEVIATION = 0.02


@keras.saving.register_keras_serializable(package="tf_mixed_nash")
class SpectralConv2D(keras.layers.Conv2D):
    """A convolution whose kernel is divided by its largest singular value (Miyato et al. 2018).

    The value is that of the kernel as a matrix [h w c_in, c_out]. It is found by power
    iterations that start anew at every call, so that the layer has no state of its own; on
    kernels without a gap between their largest values, such as fresh ones, eight leave a few
    per cent. The singular vectors are constants to the gradient, as in the reference.

    Args:
      num_iterations: power iterations of a call.
      **kwargs: of `keras.layers.Conv2D`.
    """

    def __init__(self, *args, num_iterations: int = 8, **kwargs):
        super().__init__(*args, **kwargs)
        self.num_iterations = num_iterations

    def call(self, inputs):
        """The convolution of inputs [n, h, w, c] with the normalised kernel, and the bias."""
        kernel = tf.convert_to_tensor(self.kernel)
        matrix = tf.reshape(kernel, [-1, kernel.shape[-1]])
        constant = tf.stop_gradient(matrix)
        # A fixed start that is not orthogonal to anything in particular.
        v = tf.sin(1.0 + tf.range(kernel.shape[-1], dtype=tf.float32) ** 2)
        v = tf.math.l2_normalize(tf.cast(v, matrix.dtype))
        u = tf.math.l2_normalize(tf.linalg.matvec(constant, v))
        for _ in range(self.num_iterations):
            v = tf.math.l2_normalize(tf.linalg.matvec(constant, u, transpose_a=True))
            u = tf.math.l2_normalize(tf.linalg.matvec(constant, v))
        sigma = tf.tensordot(u, tf.linalg.matvec(matrix, v), 1)
        output: Any = self.convolution_op(inputs, kernel / (sigma + 1e-12))
        if self.use_bias:
            output += tf.cast(tf.convert_to_tensor(self.bias), output.dtype)
        return self.activation(output) if self.activation is not None else output

    def get_config(self):
        """See `keras.layers.Layer.get_config`."""
        return {**super().get_config(), "num_iterations": self.num_iterations}


def dcgan_generator(
    size: int,
    channels: int = 3,
    latent_dim: int = 100,
    width: int = 64,
    normalization: str = "batch",
    seed: int = 0,
    dtype: str = "float32",
    name: str = "generator",
) -> Network:
    """From latents [n, latent_dim] to images [n, size, size, channels] in [-1, 1].

    Args:
      size: 28, 32, 64 or 128.
      channels: of the images.
      latent_dim: D.
      width: channels of the last hidden map; doubled at each smaller one.
      normalization: "batch", "layer" or "none".
      seed: of the initialisation.
      dtype: a Keras dtype policy.
      name: of the Keras model.

    Raises:
      ValueError: for a size or normalisation that is not offered.

    Example:
      >>> dcgan_generator(28, channels=1, latent_dim=8, width=2).output_shape
      (28, 28, 1)
    """
    base, num_doublings = _shape(size)
    _check(normalization, ("batch", "layer", "none"))
    build = _Builder(seed, dtype)
    widths = [width * 2**i for i in reversed(range(num_doublings))]
    layers: list[Any] = [keras.Input((latent_dim,), dtype=build.policy.variable_dtype)]
    layers += [
        build.dense(base * base * widths[0], use_bias=normalization == "none"),
        keras.layers.Reshape((base, base, widths[0]), dtype=build.policy),
        *build.normalization(normalization),
        keras.layers.ReLU(dtype=build.policy),
    ]
    for units in widths[1:]:
        layers += [
            build.transposed(units, use_bias=normalization == "none"),
            *build.normalization(normalization),
            keras.layers.ReLU(dtype=build.policy),
        ]
    layers += [build.transposed(channels), keras.layers.Activation("tanh", dtype=build.policy)]
    return Network(keras.Sequential(layers, name=name))


def dcgan_discriminator(
    size: int,
    channels: int = 3,
    width: int = 64,
    normalization: str = "batch",
    seed: int = 0,
    dtype: str = "float32",
    name: str = "discriminator",
) -> Network:
    """From images [n, size, size, channels] to logits [n, 1].

    Args:
      size: 28, 32, 64 or 128.
      channels: of the images.
      width: channels of the first map; doubled at each smaller one.
      normalization: one of NORMALIZATIONS.
      seed: of the initialisation.
      dtype: a Keras dtype policy.
      name: of the Keras model.

    Raises:
      ValueError: for a size or normalisation that is not offered.

    Example:
      >>> dcgan_discriminator(28, channels=1, width=2).output_shape
      (1,)
    """
    _, num_halvings = _shape(size)
    _check(normalization, NORMALIZATIONS)
    build = _Builder(seed, dtype)
    layers: list[Any] = [keras.Input((size, size, channels), dtype=build.policy.variable_dtype)]
    for i in range(num_halvings):
        normalized = normalization in ("batch", "layer") and i > 0
        layers += [
            build.convolution(
                width * 2**i, spectral=normalization == "spectral", use_bias=not normalized
            ),
            *build.normalization(normalization if normalized else "none"),
            keras.layers.Activation(leaky_relu(0.2), dtype=build.policy),
        ]
    layers += [keras.layers.Flatten(dtype=build.policy), build.dense(1)]
    return Network(keras.Sequential(layers, name=name))


def _shape(size: int) -> tuple[int, int]:
    if size not in SIZES:
        raise ValueError(f"No DCGAN for {size} px. Choose one of: {', '.join(map(str, SIZES))}.")
    return SIZES[size]


def _check(normalization: str, valid) -> None:
    if normalization not in valid:
        raise unknown("normalization", normalization, valid)


class _Builder:
    """Layers with a seed each and one dtype policy."""

    def __init__(self, seed: int, dtype: str):
        self.policy = keras.DTypePolicy(dtype)
        self._seeds = iter(np.random.SeedSequence(seed).generate_state(64).tolist())

    def _normal(self, mean: float = 0.0) -> Any:
        return keras.initializers.RandomNormal(mean, _DEVIATION, seed=next(self._seeds) >> 1)

    def dense(self, units: int, use_bias: bool = True) -> Any:
        return keras.layers.Dense(
            units, use_bias=use_bias, kernel_initializer=self._normal(), dtype=self.policy
        )

    def transposed(self, units: int, use_bias: bool = True) -> Any:
        return keras.layers.Conv2DTranspose(
            units,
            4,
            2,
            "same",
            use_bias=use_bias,
            kernel_initializer=self._normal(),
            dtype=self.policy,
        )

    def convolution(self, units: int, spectral: bool, use_bias: bool) -> Any:
        kind: Any = SpectralConv2D if spectral else keras.layers.Conv2D
        return kind(
            units,
            4,
            2,
            "same",
            use_bias=use_bias,
            kernel_initializer=self._normal(),
            dtype=self.policy,
        )

    def normalization(self, kind: str) -> list[Any]:
        if kind == "batch":
            gamma = self._normal(mean=1.0)
            return [
                keras.layers.BatchNormalization(
                    epsilon=1e-5, gamma_initializer=gamma, dtype=self.policy
                )
            ]
        if kind == "layer":
            axes: Any = (1, 2, 3)
            return [keras.layers.LayerNormalization(axis=axes, epsilon=1e-5, dtype=self.policy)]
        return []
