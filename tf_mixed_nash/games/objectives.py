"""GAN objectives: what each player minimises, as functions of the discriminator's outputs.

An objective is `(real, fake) -> Losses` with real and fake logits of shape [n, 1]. Both
losses are *descended* by their player; this is where the signs of min and max live. A
user's own objective is a Python function of the same form; it gets the discriminator's
output whatever its shape [n, ...] (`takes_any_logits`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

__all__ = [
    "OBJECTIVES",
    "Losses",
    "Objective",
    "hinge",
    "least_squares",
    "minimax",
    "nonsaturating",
    "takes_any_logits",
    "wgan",
]


class Losses(NamedTuple):
    """Scalars: the discriminator's and the generator's loss, both to be minimised."""

    discriminator: tf.Tensor
    generator: tf.Tensor


Objective = Callable[[tf.Tensor, tf.Tensor], Losses]


def _mean(x):
    return tf.reduce_mean(x)


def wgan(real: tf.Tensor, fake: tf.Tensor) -> Losses:
    """Wasserstein GAN (paper eq. 3): w ascends and theta descends E f_w(real) - E f_w(fake)."""
    return Losses(discriminator=_mean(fake) - _mean(real), generator=-_mean(fake))


def minimax(real: tf.Tensor, fake: tf.Tensor) -> Losses:
    """Goodfellow et al. 2014, the zero-sum form: E log D(real) + E log(1 - D(fake))."""
    return Losses(
        discriminator=_mean(tf.nn.softplus(-real)) + _mean(tf.nn.softplus(fake)),
        generator=-_mean(tf.nn.softplus(fake)),
    )


def nonsaturating(real: tf.Tensor, fake: tf.Tensor) -> Losses:
    """Goodfellow et al. 2014 with the generator's -E log D(fake)."""
    return Losses(
        discriminator=_mean(tf.nn.softplus(-real)) + _mean(tf.nn.softplus(fake)),
        generator=_mean(tf.nn.softplus(-fake)),
    )


def least_squares(real: tf.Tensor, fake: tf.Tensor) -> Losses:
    """LSGAN (Mao et al. 2017) with labels a = 0, b = c = 1."""
    return Losses(
        discriminator=0.5 * _mean((real - 1.0) ** 2) + 0.5 * _mean(fake**2),
        generator=0.5 * _mean((fake - 1.0) ** 2),
    )


def hinge(real: tf.Tensor, fake: tf.Tensor) -> Losses:
    """Hinge loss (Lim & Ye 2017; Miyato et al. 2018)."""
    return Losses(
        discriminator=_mean(tf.nn.relu(1.0 - real)) + _mean(tf.nn.relu(1.0 + fake)),
        generator=-_mean(fake),
    )


OBJECTIVES: dict[str, Objective] = {
    "wgan": wgan,
    "minimax": minimax,
    "nonsaturating": nonsaturating,
    "least_squares": least_squares,
    "hinge": hinge,
}


def takes_any_logits(objective: Objective) -> bool:
    """Whether a discriminator may give anything but one number for each datum.

    Those of this module take one; of a user's that is so where its attribute `any_logits` is false.
    """
    return getattr(objective, "any_logits", objective not in OBJECTIVES.values())
