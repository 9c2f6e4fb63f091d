"""GAN objectives: what each player minimises, as functions of the discriminator's outputs.

An objective is `(real, fake) -> Losses` with real and fake logits of shape [n, 1]. Both
losses are *descended* by their player; this is where the signs of min and max live. A
user's own objective is a Python function of the same form; it gets the discriminator's
output whatever its shape [n, ...] (`takes_any_logits`).

    >>> losses = OBJECTIVES["wgan"](real=tf.constant([[1.0]]), fake=tf.constant([[3.0]]))
    >>> float(losses.discriminator), float(losses.generator)
    (2.0, -3.0)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from tf_mixed_nash.errors import InputError

__all__ = [
    "OBJECTIVES",
    "Losses",
    "Objective",
    "check_objective",
    "hinge",
    "least_squares",
    "minimax",
    "nonsaturating",
    "relativistic",
    "relativistic_hinge",
    "relativistic_least_squares",
    "takes_any_logits",
    "wgan",
]


class Losses(NamedTuple):
    """Scalars: the discriminator's and the generator's loss, both to be minimised."""

    discriminator: tf.Tensor
    generator: tf.Tensor


Objective = Callable[[tf.Tensor, tf.Tensor], Losses]


def check_objective(
    objective: Objective, num: int, shape: tuple[int, ...] = (1,), dtype: tf.DType = tf.float32
) -> None:
    """Tries an objective on zeros.

    Args:
      objective: see the module.
      num: rows of a mini-batch.
      shape: of a discriminator's answer to a row.
      dtype: of it.

    Raises:
      InputError: unless it returns `Losses` of two scalars.
    """
    name = getattr(objective, "__name__", type(objective).__name__)
    zeros = tf.zeros([num, *shape], dtype)
    try:
        losses = objective(zeros, zeros)
    except InputError:
        raise
    except Exception as error:  # a user's code
        raise InputError(
            f"The objective {name} must take (real, fake), two tensors [n, 1]; it failed with "
            f"{error!r}."
        ) from error
    if not isinstance(losses, Losses):
        what = type(losses).__name__
        if isinstance(losses, (tuple, list)):
            what = f"a {what} of {len(losses)} values"
        raise InputError(
            f"The objective {name} returned {what}; it must return "
            "tf_mixed_nash.games.objectives.Losses(discriminator=..., generator=...)."
        )
    for player, loss in losses._asdict().items():
        loss = tf.convert_to_tensor(loss)
        if loss.shape.rank or not loss.dtype.is_floating:
            raise InputError(
                f"The objective {name}: the {player}'s loss is {loss.dtype.name} "
                f"{loss.shape.as_list()}; it must be one number, the mean over the mini-batch "
                "(tf.reduce_mean)."
            )


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


def relativistic(real: tf.Tensor, fake: tf.Tensor) -> Losses:
    """RpGAN, the relativistic pairing loss (Jolicoeur-Martineau 2020; R3GAN, Huang et al. 2024).

    Each generated datum is judged beside a real one, softplus(-(D(x_i) - D(G(z_i)))): so every real
    datum keeps its share of the loss, which is what holds the modes. The pairs are row i of each.
    It is the non-saturating loss in the relativistic form; both players read both logits.
    """
    return Losses(
        discriminator=_mean(tf.nn.softplus(fake - real)),
        generator=_mean(tf.nn.softplus(real - fake)),
    )


def relativistic_hinge(real: tf.Tensor, fake: tf.Tensor) -> Losses:
    """The hinge loss of pairs (RpHingeGAN, Jolicoeur-Martineau 2020)."""
    return Losses(
        discriminator=_mean(tf.nn.relu(1.0 - (real - fake))),
        generator=_mean(tf.nn.relu(1.0 - (fake - real))),
    )


def relativistic_least_squares(real: tf.Tensor, fake: tf.Tensor) -> Losses:
    """The least-squares loss of pairs (RpLSGAN, Jolicoeur-Martineau 2020)."""
    return Losses(
        discriminator=_mean((real - fake - 1.0) ** 2),
        generator=_mean((fake - real - 1.0) ** 2),
    )


OBJECTIVES: dict[str, Objective] = {
    "wgan": wgan,
    "minimax": minimax,
    "nonsaturating": nonsaturating,
    "least_squares": least_squares,
    "hinge": hinge,
    "relativistic": relativistic,
    "relativistic_hinge": relativistic_hinge,
    "relativistic_least_squares": relativistic_least_squares,
}


def takes_any_logits(objective: Objective) -> bool:
    """Whether a discriminator may give anything but one number for each datum.

    Those of this module take one; of a user's that is so where its attribute `any_logits` is false.
    """
    return getattr(objective, "any_logits", objective not in OBJECTIVES.values())
