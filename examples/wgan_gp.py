"""WGAN-GP with a residual critic and LayerNormalization on Fashion-MNIST: functional models.

python examples/wgan_gp.py [--tiny] [--workdir=DIR]
"""

import keras
from images import fashion_mnist
from options import options

from tf_mixed_nash import MixedNashGAN

o = options(num_batches=30_000)
layers = keras.layers
width = 2 if o.tiny else 16
train, _, held_out = fashion_mnist(o)


def block(x, channels, change):
    """x + f(x), both resized by `change`."""
    h = layers.LayerNormalization(axis=(1, 2, 3))(x)
    h = layers.Conv2D(channels, 3, padding="same")(layers.LeakyReLU(negative_slope=0.2)(h))
    h = layers.Conv2D(channels, 3, padding="same")(layers.LeakyReLU(negative_slope=0.2)(h))
    return change(layers.add([layers.Conv2D(channels, 1)(x), h]))


latents = keras.Input((64,))
x = layers.Reshape((7, 7, 2 * width))(layers.Dense(7 * 7 * 2 * width)(latents))
for channels in (2 * width, width):
    x = block(x, channels, layers.UpSampling2D(2))
generator = keras.Model(latents, layers.Conv2D(1, 3, padding="same", activation="tanh")(x))

data = keras.Input((28, 28, 1))
x = layers.Conv2D(width, 3, padding="same")(data)
for channels in (width, 2 * width):
    x = block(x, channels, layers.AveragePooling2D(2))
critic = keras.Model(data, layers.Dense(1)(layers.Flatten()(x)))

gan = MixedNashGAN(
    generator, critic, algorithm="alt_mirror_gan", objective="wgan", gradient_penalty=10.0
)
gan.compile(
    step_size=2e-4,
    step_size_schedule="constant",  # by itself it falls to 0 over the mini-batches
    rms_decay=0.9,
    rms_correction=True,
    damping=1.0,  # the last point of an inner chain, not one between it and its anchor
    discriminator_steps=3,  # for one of the generator, each on a mini-batch of its own
    num_components=10,
    seed=o.seed,
)
gan.fit(
    train,
    batch_size=64 if not o.tiny else 8,
    num_batches=o.num_batches,
    workdir=o.workdir,
    verbose=o.verbose,
)
print({k: round(v, 3) for k, v in gan.evaluate(held_out[:1_000], answer="ema").items()})
