"""gaussians8 by mirror_gan.

python -m trainers.run --config=configs/gaussians8_md.py --workdir=runs/gaussians8_md

Not tuned, and not yet run at full length with these defaults.
"""

from configs import common


def get_config(variant=None):
    """The experiment; `:tiny` after the file name runs two steps in seconds."""
    return common.planar("gaussians8", "mirror_gan", variant)
