"""The paper's networks on synthetic data: three hidden layers of 512 ReLU units (section 5.1)."""

from __future__ import annotations

from typing import Any

import keras

from tf_mixed_nash.models.activations import relu
from tf_mixed_nash.models.fourier import FourierFeatures
from tf_mixed_nash.models.network import Network

__all__ = ["mlp"]


def mlp(
    input_dim: int,
    output_dim: int,
    hidden_units: tuple[int, ...] = (512, 512, 512),
    activation: str = "relu",
    seed: int = 0,
    dtype: str = "float32",
    name: str = "mlp",
    penalized: bool = False,
    fourier_features: int = 0,
    fourier_highest: float = 80.0,
    start_scale: float = 1.0,
    start_spread: float = 0.0,
) -> Network:
    """A multilayer perceptron with a linear output, He-initialised, biases 0.

    Args:
      input_dim: width of x [n, input_dim].
      output_dim: width of the output [n, output_dim].
      hidden_units: widths of the hidden layers; not empty.
      activation: any Keras activation.
      seed: of the initialisation; layer i uses seed + i.
      dtype: a Keras dtype policy: "float32", "float64", "mixed_bfloat16", ...
      name: of the Keras model.
      penalized: the network is differentiated twice, as a discriminator with a gradient penalty
        is. ReLU's second derivative, which is 0, is then left out; nothing else changes.
      fourier_features: frequencies that the first layer reads beside x (`FourierFeatures`); 0:
        none.
      fourier_highest: of them.
      start_scale: >= 0, a factor on the last layer's initial weights. With a small one a
        generator starts as a small blob.
      start_spread: >= 0, the standard deviation of the last layer's initial biases: of where.

    Raises:
      ValueError: of Keras, for an unknown activation or dtype policy.

    Example:
      >>> network = mlp(2, 1, hidden_units=(4,))
      >>> network.num_parameters, network.output_shape
      (17, (1,))
    """
    chosen: Any = relu if penalized and activation == "relu" else activation
    policy = keras.DTypePolicy(dtype)
    layers: list = [keras.Input((input_dim,), dtype=policy.variable_dtype)]
    if fourier_features:
        layers.append(FourierFeatures(fourier_features, fourier_highest, dtype=policy))
    for i, units in enumerate((*hidden_units, output_dim)):
        last = i == len(hidden_units)
        layers.append(
            keras.layers.Dense(
                units,
                activation=None if last else chosen,
                kernel_initializer=_he_normal(seed + i, start_scale if last else 1.0),
                bias_initializer=_normal(seed + i + 1, start_spread if last else 0.0),
                dtype=policy,
            )
        )
    return Network(keras.Sequential(layers, name=name))


def _he_normal(seed: int, scale: float) -> Any:
    if scale == 1.0:
        return keras.initializers.HeNormal(seed=seed)
    if scale == 0.0:
        return "zeros"
    # What HeNormal is, times scale^2 in variance.
    return keras.initializers.VarianceScaling(2.0 * scale**2, seed=seed)


def _normal(seed: int, std: float) -> Any:
    return keras.initializers.RandomNormal(0.0, std, seed=seed) if std else "zeros"
