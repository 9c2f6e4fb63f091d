"""Networks, data and schedules with which no training goes well, for `benchmarks.diagnoses`."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

__all__ = [
    "constant_image",
    "constant_point",
    "few_rows",
    "jump",
    "memory",
    "narrow_image",
    "narrow_point",
]

_NARROW = 0.1
# Data without any structure.
few_rows = np.random.default_rng(0).normal(size=(50, 16)).astype(np.float32)


def _point(spread: float) -> keras.Model:
    """A point that is learnt, and around it what the latents may change."""
    latents = keras.Input((2,))
    centre = keras.layers.Dense(2)(keras.layers.Rescaling(0.0)(latents))
    x = keras.layers.Dense(32, activation="relu")(latents)
    x = keras.layers.Dense(2, activation="tanh")(x)
    return keras.Model(latents, keras.layers.Add()([centre, keras.layers.Rescaling(spread)(x)]))


def _image(spread: float) -> keras.Model:
    latents = keras.Input((32,))
    x = keras.layers.Dense(32, activation="tanh")(latents)
    x = keras.layers.Rescaling(spread)(x)
    x = keras.layers.Dense(7 * 7 * 24, activation="relu")(x)
    x = keras.layers.Reshape((7, 7, 24))(x)
    x = keras.layers.Conv2DTranspose(12, 4, 2, "same", activation="relu")(x)
    x = keras.layers.Conv2DTranspose(1, 4, 2, "same")(x)
    # Whatever the weights, the images lie so near to one that is learnt.
    centre = keras.layers.Dense(28 * 28)(keras.layers.Rescaling(0.0)(latents))
    centre = keras.layers.Reshape((28, 28, 1))(centre)
    moved = keras.layers.Rescaling(spread)(keras.layers.Activation("tanh")(x))
    return keras.Model(
        latents, keras.layers.Activation("tanh")(keras.layers.Add()([centre, moved]))
    )


def constant_point() -> keras.Model:
    """Into the plane: one point, whatever the latents."""
    return _point(0.0)


def narrow_point() -> keras.Model:
    """Into the plane: a spot of the width of a mode."""
    return _point(_NARROW)


def constant_image() -> keras.Model:
    """To 28 x 28 pixels: one image, whatever the latents."""
    return _image(0.0)


def narrow_image() -> keras.Model:
    """To 28 x 28 pixels: variations of one image."""
    return _image(_NARROW)


def memory() -> keras.Model:
    """To 16 numbers: nearly one of `few_rows`, which one the latents say."""
    latents = keras.Input((16,))
    which = keras.layers.Dense(64, activation="relu")(latents)
    which = keras.layers.Dense(len(few_rows))(which)
    which = keras.layers.Softmax()(keras.layers.Rescaling(20.0)(which))
    rows = keras.layers.Dense(16, use_bias=False)
    samples = rows(which)
    rows.set_weights([few_rows])
    return keras.Model(latents, samples)


def jump(t):
    """A step size: 1e-3, and from outer step 2,400 on a thousand times as large."""
    return tf.where(t < 2_400, 1e-3, 1.0)
