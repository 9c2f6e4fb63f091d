"""Any Keras GAN, trained toward a mixed Nash equilibrium: `MixedNashGAN`."""

from tf_mixed_nash.mixed_nash_gan.gan import MixedNashGAN

__all__ = ["MixedNashGAN"]
