"""Stacked MNIST in R3GAN's manner: relativistic pairs, R1 and R2, residual networks, Adam.

python -m trainers.run --config=configs/stacked_mnist_r3.py --config.data.tfds_dir=DIR \\
    --workdir=runs/stacked_mnist_r3

Any algorithm takes its place: --config.algorithm=mirror_prox_gan. Nothing long has been run yet
(docs/modern.md).
"""

from typing import Any

from configs import common


def get_config(variant=None):
    """The experiment; `:tiny` after the file name runs two steps in seconds."""
    c: Any = common.images("stacked_mnist", "adam", variant)
    c.model.family = "residual"
    c.game.objective = "relativistic"
    c.game.r1 = c.game.r2 = 1.0
    c.game.penalty_schedule = "cosine(end=0.1)"
    c.step_size, c.step_size_schedule = 2e-4, "cosine(end=0.25)"
    c.decay_1 = 0.0
    c.decay_2, c.decay_2_schedule = 0.9, "cosine(end=1.1)"  # to 0.99
    return c
