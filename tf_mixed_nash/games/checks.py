"""Whether two Keras models make a GAN, said in words before anything is computed."""

from __future__ import annotations

from collections.abc import Sequence

import keras

from tf_mixed_nash.errors import InputError
from tf_mixed_nash.games.objectives import OBJECTIVES, Objective, takes_any_logits
from tf_mixed_nash.models.adapters import data_and_labels, latents_and_labels
from tf_mixed_nash.models.network import Network
from tf_mixed_nash.types import Pair

__all__ = ["check_answers", "check_pair"]


def check_pair(
    generator: keras.Model | Network,
    discriminator: keras.Model | Network,
    latent_dim: int,
    num_classes: int,
    sample_shape: Sequence[int],
    objective: Objective | None = None,
    packing: int = 1,
) -> Pair[Network]:
    """The networks of a game between two models, if they fit each other and the data.

    Args:
      generator: from latents (and labels) to data; see `models.adapters.latents_and_labels`.
      discriminator: from data (and labels) to logits; see `models.adapters.data_and_labels`.
      latent_dim: D.
      num_classes: k; 0 without classes.
      sample_shape: of one datum without its class, such as (2,) or (28, 28, 1).
      objective: where it is given, the discriminator's output must suit it.
      packing: how many data the discriminator reads at once, side by side in the last axis.

    Returns:
      Pair of networks, which take the packed tensors of `GanGame`. A `Network` is returned itself.

    Raises:
      InputError: for models that are not built, that read or give other shapes, or whose layers or
        weights cannot be carried (`Network`).
    """
    shape = tuple(int(n) for n in sample_shape)
    theta = (
        generator
        if isinstance(generator, Network)
        else Network(generator, latents_and_labels(generator, latent_dim, num_classes))
    )
    w = (
        discriminator
        if isinstance(discriminator, Network)
        else Network(discriminator, data_and_labels(discriminator, shape, num_classes, packing))
    )
    name, other = theta.model.name, w.model.name
    if theta.output_shape != shape:
        raise InputError(
            f"The generator {name!r} gives samples of shape {list(theta.output_shape)}, and the "
            f"data are {list(shape)}. Change its last layer, or the data."
        )
    packed = (*shape[:-1], packing * (shape[-1] + num_classes))
    for network, role, given in (
        (theta, "generator", (latent_dim + num_classes,)),
        (w, "discriminator", packed),
    ):
        if len(network.input_shape) != len(given) or any(
            n not in (None, m) for n, m in zip(network.input_shape, given, strict=True)
        ):
            raise InputError(
                f"The {role} {network.model.name!r} reads rows of shape "
                f"{list(network.input_shape)}, and the game gives {list(given)}. Change its input, "
                "or give the network `inputs` of tf_mixed_nash.models.adapters."
            )
    if not theta.known and theta.sees_other_rows(training=False):
        raise InputError(
            f"A sample of the generator {name!r} depends on the samples beside it, also with "
            "training=False, and could not be drawn by itself. Use the batch in training alone, "
            "as BatchNormalization does."
        )
    if theta.dtype != w.dtype:
        raise InputError(
            f"The weights of {name!r} are {theta.dtype.name}, those of {other!r} {w.dtype.name}. "
            "Give both models one dtype policy."
        )
    if objective is not None:
        check_answers(w, objective)
    return Pair(theta, w)


def check_answers(discriminator: Network, objective: Objective) -> None:
    """That the discriminator's answers suit an objective.

    Raises:
      InputError: if it gives other than one number, and the objective is a built-in one.
    """
    shape = discriminator.output_shape
    if takes_any_logits(objective) or shape in ((1,), ()):
        return
    raise InputError(
        f"The discriminator {discriminator.model.name!r} gives {list(shape)} numbers for each "
        f"datum, and the objective takes one. End it with keras.layers.Dense(1), or write an "
        f"objective of your own; the built-in ones are {', '.join(OBJECTIVES)}."
    )
