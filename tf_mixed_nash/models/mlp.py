"""The paper's networks on synthetic data: three hidden layers of 512 ReLU units (section 5.1)."""

from __future__ import annotations

from typing import Any

import keras

from tf_mixed_nash.models.activations import relu
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
    for i, units in enumerate((*hidden_units, output_dim)):
        layers.append(
            keras.layers.Dense(
                units,
                activation=chosen if i < len(hidden_units) else None,
                kernel_initializer=_he_normal(seed + i),
                dtype=policy,
            )
        )
    return Network(keras.Sequential(layers, name=name))


def _he_normal(seed: int) -> Any:
    return keras.initializers.HeNormal(seed=seed)
