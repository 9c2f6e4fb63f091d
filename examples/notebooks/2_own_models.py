"""Your own Keras models: labels, several generators, callbacks, resuming. See benchmarks/pages."""

# %% [markdown]
# # Your own Keras models
#
# Any two Keras models whose shapes fit each other play: here a generator of points with labels,
# and a discriminator that reads them. Data are two moons, and the label says which.

# %%
import sys
import tempfile

import keras
import numpy as np

from tf_mixed_nash import MixedNashGAN

TINY = "--tiny" in sys.argv  # a few steps, for tests

r = np.random.default_rng(0)
angle, moon = r.uniform(0.0, np.pi, 4_000), r.integers(0, 2, 4_000)
x = np.where(moon, 1.0 - np.cos(angle), np.cos(angle))
y = np.where(moon, 0.5 - np.sin(angle), np.sin(angle))
rows = (np.stack([x, y], axis=1) + 0.05 * r.normal(size=(4_000, 2))).astype(np.float32)

# %% [markdown]
# The functional API, with the label as a second input. Give *functions* that make the models, and
# `seed=` decides the initial weights, too.

# %%
UNITS = 8 if TINY else 128


def generator():
    latents, label = keras.Input((2,)), keras.Input((), dtype="int32", name="labels")
    h = keras.layers.Concatenate()([latents, keras.layers.Embedding(2, 4)(label)])
    for _ in range(3):
        h = keras.layers.Dense(UNITS, "relu")(h)
    return keras.Model([latents, label], keras.layers.Dense(2)(h))


def discriminator():
    point, label = keras.Input((2,)), keras.Input((), dtype="int32", name="labels")
    h = keras.layers.Concatenate()([point, keras.layers.Embedding(2, 4)(label)])
    for _ in range(3):
        h = keras.layers.Dense(UNITS, "relu")(h)
    return keras.Model([point, label], keras.layers.Dense(1)(h))


# %% [markdown]
# `compile` takes the hyperparameters of both players, or of one; `fit` is one whole run. In a
# `workdir` it is resumed after a kill by the same call, bit for bit.

# %%
folder = tempfile.mkdtemp()
gan = MixedNashGAN(
    *(generator, discriminator),
    objective="wgan",
    gradient_penalty=0.1,
    num_classes=2,
    latent_dim=2,
)
gan.compile(step_size=1e-3, discriminator={"step_size": 2e-3}, num_components=10, seed=0)
history = gan.fit(
    (rows[:3_000], moon[:3_000]),
    batch_size=64,
    num_batches=8 if TINY else 6_000,
    workdir=f"{folder}/run",
    verbose=0,
)
print("the record has", sorted(history.history)[:4])

# %% [markdown]
# Scores are against rows that were held out; samples are of a class where you name one.

# %%
print({k: round(float(v), 3) for k, v in gan.evaluate(rows[3_000:]).items() if np.ndim(v) == 0})
upper = gan.sample(500, seed=0, labels=0)
print(
    "mean of moon 0:", upper.mean(axis=0).round(2), "of the data:", rows[moon == 0].mean(0).round(2)
)

# %% [markdown]
# What is inside is a Keras model again, of the same weights.

# %%
ema = gan.generator("ema")
ema.save(f"{folder}/generator.keras")
same = keras.models.load_model(f"{folder}/generator.keras")
latents = r.normal(size=(3, 2)).astype(np.float32)
print("equal:", np.array_equal(ema([latents, moon[:3]]), same([latents, moon[:3]])))

# %% [markdown]
# Everything else: [your own models and data](../your_own.md). Next: [images and FID](3_images.md).
