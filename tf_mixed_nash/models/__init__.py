"""Networks as functions of one parameter vector."""

from tf_mixed_nash.models.dcgan import SpectralConv2D, dcgan_discriminator, dcgan_generator
from tf_mixed_nash.models.mlp import mlp
from tf_mixed_nash.models.network import FrozenNetwork, Network

__all__ = [
    "FrozenNetwork",
    "Network",
    "SpectralConv2D",
    "dcgan_discriminator",
    "dcgan_generator",
    "mlp",
]
