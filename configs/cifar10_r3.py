"""cifar10 in R3GAN's manner: relativistic pairs, R1 and R2, residual networks, Adam.

python -m trainers.run --config=configs/cifar10_r3.py --config.data.tfds_dir=DIR \\
    --workdir=runs/cifar10_r3

Smaller than R3GAN's (width 32, one block at each resolution), whose FID needs 10^8 images.
"""

from typing import Any

from configs import common


def get_config(variant=None):
    """The experiment; `:tiny` after the file name runs two steps in seconds."""
    c: Any = common.images("cifar10", "adam", variant)
    c.model.family = "residual"
    c.game.objective = "relativistic"
    c.game.r1 = c.game.r2 = 0.05
    c.game.penalty_schedule = "cosine(end=0.1)"
    c.step_size, c.step_size_schedule = 2e-4, "cosine(end=0.25)"
    c.decay_1 = 0.0
    c.decay_2, c.decay_2_schedule = 0.9, "cosine(end=1.1)"  # to 0.99
    return c
