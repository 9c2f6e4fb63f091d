"""gaussians25 by alternated mirror descent: the best of ours there in ten minutes of 2 cores.

python -m trainers.run --config=configs/gaussians25_md.py --workdir=runs/gaussians25_md

Five seeds, five times as long on a GPU, and what else was tried: docs/results/gaussians25.md.
"""

from configs import common


def get_config(variant=None):
    """The experiment; `:tiny` after the file name runs two steps in seconds."""
    return common.planar("gaussians25", "alt_mirror_gan", variant)
