"""A DCGAN as keras.io has it, with Dropout in the discriminator, on Fashion-MNIST.

python examples/fashion_mnist.py [--tiny] [--workdir=DIR]
"""

import keras
from images import fashion_mnist
from options import options

from tf_mixed_nash import MixedNashGAN

o = options(num_batches=10_000)
layers = keras.layers
width = 2 if o.tiny else 64
train, _, held_out = fashion_mnist(o)  # uint8 [n, 28, 28, 1]: read as numbers in [-1, 1]

generator = keras.Sequential(
    [
        keras.Input((100,)),
        layers.Dense(7 * 7 * width),
        layers.Reshape((7, 7, width)),
        layers.Conv2DTranspose(width, 4, strides=2, padding="same"),
        layers.LeakyReLU(negative_slope=0.2),
        layers.Conv2DTranspose(2 * width, 4, strides=2, padding="same"),
        layers.LeakyReLU(negative_slope=0.2),
        layers.Conv2D(1, 5, padding="same", activation="tanh"),
    ]
)
discriminator = keras.Sequential(
    [
        keras.Input((28, 28, 1)),
        layers.Conv2D(width, 4, strides=2, padding="same"),
        layers.LeakyReLU(negative_slope=0.2),
        layers.Conv2D(2 * width, 4, strides=2, padding="same"),
        layers.LeakyReLU(negative_slope=0.2),
        layers.Flatten(),
        layers.Dropout(0.2),
        layers.Dense(1),
    ]
)
gan = MixedNashGAN(generator, discriminator, algorithm="adam", objective="nonsaturating")
gan.compile(
    step_size=2e-4,
    step_size_schedule="constant",  # by itself it falls to 0 over the mini-batches
    alternated=True,  # the generator against the discriminator that has just moved, as there
    decay_1=0.5,
    decay_2=0.999,
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
images = gan.sample(16, seed=0, answer="ema")
print("sampled", images.shape, "in", [round(float(x), 2) for x in (images.min(), images.max())])
print({k: round(v, 3) for k, v in gan.evaluate(held_out[:1_000]).items()})
