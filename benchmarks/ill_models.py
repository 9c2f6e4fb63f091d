"""Generators that cannot do their work, for `benchmarks.diagnoses`."""

from __future__ import annotations

import keras

__all__ = ["constant_image", "constant_point", "narrow_image", "narrow_point"]

_NARROW = 0.1


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
