"""Any Keras GAN, trained toward a mixed Nash equilibrium: `MixedNashGAN`."""

from tf_mixed_nash import shadows

shadows.check()  # before the trainer's packages are imported
from tf_mixed_nash.mixed_nash_gan.gan import MixedNashGAN  # noqa: E402

__all__ = ["MixedNashGAN"]
