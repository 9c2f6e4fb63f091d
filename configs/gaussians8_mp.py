"""gaussians8 by mirror_prox_gan: four generators that share the modes of one critic.

python -m trainers.run --config=configs/gaussians8_mp.py --workdir=runs/gaussians8_mp

`:pure` after the file name trains one generator of as many parameters, `:tiny` two steps of a small
one. What both give, five seeds each: docs/results/particles.md.
"""

from configs import common


def get_config(variant=None):
    """The experiment."""
    return common.planar("gaussians8", "mirror_prox_gan", variant, particles=(4, 256))
