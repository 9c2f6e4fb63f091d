"""gaussians25 by mirror_prox_gan: twenty-five generators that share the modes of one critic.

python -m trainers.run --config=configs/gaussians25_mp.py --workdir=runs/gaussians25_mp

A generator for each mode, and the settings of `common.blobs`, which says what each does; five seeds
are in docs/results/best_default.md. `:pure` after the file name trains the paper's single generator
by WGAN-GP (tuned with 3 x 64 units); `:tiny` two steps of a small one.
"""

from typing import Any

from configs import common


def get_config(variant=None):
    """The experiment."""
    c: Any = common.planar("gaussians25", "mirror_prox_gan", variant, particles=(25, 64))
    if not variant:
        common.blobs(c)
        c.batch_size, c.num_batches = 400, 60_000
    return c
