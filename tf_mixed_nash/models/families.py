"""Families of networks for images: what `--config.model.family` may be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from tf_mixed_nash.models import dcgan, residual

__all__ = ["FAMILIES", "Family"]


class Family(NamedTuple):
    """A generator and a discriminator that belong together.

    Attributes:
      title: in words.
      generator: (size, channels, latent_dim, width, ...) -> a Keras model, or the `Network` of one.
      discriminator: (size, channels, width, ...) -> the same.
      sizes: whose keys are the pixels that there are networks for.
    """

    title: str
    generator: Callable[..., Any]
    discriminator: Callable[..., Any]
    sizes: Mapping[int, Any]


# `--help` reads this from the text (trainers/system/names.py): literals and names.
FAMILIES: Mapping[str, Family] = {
    "dcgan": Family(
        "DCGAN (Radford et al. 2016)",
        dcgan.dcgan_generator,
        dcgan.dcgan_discriminator,
        dcgan.SIZES,
    ),
    "residual": Family(
        "R3GAN's manner: residual, without normalisation, of model.blocks",
        residual.residual_generator,
        residual.residual_discriminator,
        residual.SIZES,
    ),
    "wgan_gp": Family(
        "WGAN-GP's (Gulrajani et al. 2017): residual",
        residual.wgan_gp_generator,
        residual.wgan_gp_discriminator,
        residual.SIZES,
    ),
}
