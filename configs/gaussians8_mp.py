"""gaussians8 by mirror_prox_gan: eight generators that share the modes of one critic.

python -m trainers.run --config=configs/gaussians8_mp.py --workdir=runs/gaussians8_mp

A generator for each mode, and the settings of `common.blobs`, which says what each does. With a
third of the mini-batches one seed in five leaves two generators on bridges between modes
(docs/results/best_default.md). `:pure` after the file name trains the paper's single generator by
WGAN-GP, which data of another scale need as well; `:tiny` two steps of a small one.
"""

from typing import Any

from configs import common


def get_config(variant=None):
    """The experiment."""
    c: Any = common.planar("gaussians8", "mirror_prox_gan", variant, particles=(8, 64))
    if not variant:
        common.blobs(c)
        c.num_batches = 54_000
        # From 0.87 of it one direction of one mode was up to 1.28 times too wide (seeds 0 to 2).
        c.mixture.window = (0.9, 1.0)
    return c
