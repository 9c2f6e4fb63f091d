"""gaussians25 by alternated mirror descent: twenty-five generators and one critic, in turn.

python -m trainers.run --config=configs/gaussians25_md.py --workdir=runs/gaussians25_md

A generator for each mode, and the settings of `common.blobs`, which says what each does; the seeds
that were run are in docs/results/best_default.md: in three of five the modes are too narrow in one
direction, in none of `gaussians25_mp`. `:pure` after the file name trains the paper's
single generator by WGAN-GP, with --config.step_size=2e-3 --config.temperature=1e-6 the best of ours
of that kind in ten minutes of 2 cores (docs/results/gaussians25.md); `:tiny` two steps of a small
one.
"""

from typing import Any

from configs import common


def get_config(variant=None):
    """The experiment."""
    c: Any = common.planar("gaussians25", "alt_mirror_gan", variant, particles=(25, 64))
    if not variant:
        common.blobs(c)
        c.batch_size, c.num_batches = 400, 60_000
    return c
