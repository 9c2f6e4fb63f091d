"""gaussians8 by mirror_prox_gan: eight generators that share the modes of one critic.

python -m trainers.run --config=configs/gaussians8_mp.py --workdir=runs/gaussians8_mp

Eight of 180 units have as many parameters as one of 512, and with thin mini-batches they cost as
much. `:pure` after the file name trains that one, `:tiny` two steps of a small one. What both give,
and how these numbers were chosen: docs/results/particles.md.
"""

from typing import Any

from configs import common


def get_config(variant=None):
    """The experiment."""
    c: Any = common.planar("gaussians8", "mirror_prox_gan", variant, particles=(8, 180))
    if not variant:
        c.particles.batch = "thin"
        c.num_batches = 18_000
        c.mixture.window = (0.87, 1.0)
    return c
