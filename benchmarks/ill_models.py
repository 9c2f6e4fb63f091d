"""Generators that cannot do their work, for `benchmarks.diagnoses`."""

from __future__ import annotations

from typing import Any

import keras

__all__ = ["constant_image", "constant_point", "narrow_image", "narrow_point"]


def _latents(dim: int, scale: float) -> list[Any]:
    return [keras.Input((dim,)), keras.layers.Rescaling(scale)]


def _point(scale: float) -> keras.Model:
    hidden = [keras.layers.Dense(32, activation="relu") for _ in range(2)]
    return keras.Sequential([*_latents(2, scale), *hidden, keras.layers.Dense(2)])


def _image(scale: float) -> keras.Model:
    return keras.Sequential(
        [
            *_latents(32, scale),
            keras.layers.Dense(7 * 7 * 24, activation="relu"),
            keras.layers.Reshape((7, 7, 24)),
            keras.layers.Conv2DTranspose(12, 4, 2, "same", activation="relu"),
            keras.layers.Conv2DTranspose(1, 4, 2, "same", activation="tanh"),
        ]
    )


def constant_point() -> keras.Model:
    """Into the plane: one point, whatever the latents."""
    return _point(0.0)


def narrow_point() -> keras.Model:
    """Into the plane: latents so small that the samples stay together."""
    return _point(0.02)


def constant_image() -> keras.Model:
    """To 28 x 28 pixels: one image, whatever the latents."""
    return _image(0.0)


def narrow_image() -> keras.Model:
    """To 28 x 28 pixels: latents so small that the images are of one kind."""
    return _image(0.02)
