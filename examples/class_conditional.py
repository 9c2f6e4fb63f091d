"""A class-conditional GAN: both models take the labels as a second input, through an Embedding.

python examples/class_conditional.py [--tiny] [--workdir=DIR]
"""

import keras
from images import fashion_mnist
from options import options

from tf_mixed_nash import MixedNashGAN

o = options(num_batches=10_000)
layers, k = keras.layers, 10
width = 2 if o.tiny else 64
train, labels, held_out = fashion_mnist(o)

latents, classes = keras.Input((64,)), keras.Input((), dtype="int32", name="labels")
x = layers.Concatenate()([latents, layers.Embedding(k, 16)(classes)])
x = layers.Reshape((7, 7, width))(layers.Dense(7 * 7 * width, activation="relu")(x))
x = layers.Conv2DTranspose(width, 4, strides=2, padding="same", activation="relu")(x)
x = layers.Conv2DTranspose(1, 4, strides=2, padding="same", activation="tanh")(x)
generator = keras.Model([latents, classes], x)

images, classes = keras.Input((28, 28, 1)), keras.Input((), dtype="int32", name="labels")
plane = layers.Reshape((28, 28, 1))(layers.Embedding(k, 28 * 28)(classes))
x = layers.Concatenate()([images, plane])
for channels in (width, 2 * width):
    x = layers.Conv2D(channels, 4, strides=2, padding="same")(x)
    x = layers.LeakyReLU(negative_slope=0.2)(x)
discriminator = keras.Model([images, classes], layers.Dense(1)(layers.Flatten()(x)))

gan = MixedNashGAN(
    generator, discriminator, algorithm="adam", objective="hinge", latent_dim=64, num_classes=k
)
gan.compile(
    step_size=2e-4,
    step_size_schedule="constant",  # by itself it falls to 0 over the mini-batches
    alternated=True,  # the generator against the discriminator that has just moved
    decay_1=0.5,
    decay_2=0.999,
    num_components=10,
    seed=o.seed,
)
gan.fit(
    (train, labels),
    batch_size=64 if not o.tiny else 8,
    num_batches=o.num_batches,
    workdir=o.workdir,
    verbose=o.verbose,
)
shoes = gan.sample(4, seed=0, labels=9, answer="ema")
print("four of class 9:", shoes.shape)
print({k: round(v, 3) for k, v in gan.evaluate(held_out[:1_000], answer="ema").items()})
