"""gaussians25 by mirror_prox_gan.

python -m trainers.run --config=configs/gaussians25_mp.py --workdir=runs/gaussians25_mp

Not tuned, and not yet run at full length with these defaults.
"""

from configs import common


def get_config(variant=None):
    """The experiment; `:tiny` after the file name runs two steps in seconds."""
    return common.planar("gaussians25", "mirror_prox_gan", variant)
