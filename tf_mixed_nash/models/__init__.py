"""Networks as functions of one parameter vector."""

from tf_mixed_nash.models.adapters import Inputs, data_and_labels, latents_and_labels
from tf_mixed_nash.models.dcgan import SpectralConv2D, dcgan_discriminator, dcgan_generator
from tf_mixed_nash.models.families import FAMILIES
from tf_mixed_nash.models.fourier import FourierFeatures
from tf_mixed_nash.models.mlp import mlp
from tf_mixed_nash.models.network import FrozenNetwork, Network
from tf_mixed_nash.models.residual import (
    GroupedConv2D,
    LearnedBasis,
    residual_discriminator,
    residual_generator,
    wgan_gp_discriminator,
    wgan_gp_generator,
)

__all__ = [
    "FAMILIES",
    "FourierFeatures",
    "FrozenNetwork",
    "GroupedConv2D",
    "Inputs",
    "LearnedBasis",
    "Network",
    "SpectralConv2D",
    "data_and_labels",
    "dcgan_discriminator",
    "dcgan_generator",
    "latents_and_labels",
    "mlp",
    "residual_discriminator",
    "residual_generator",
    "wgan_gp_discriminator",
    "wgan_gp_generator",
]
