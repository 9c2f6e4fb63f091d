"""gaussians8 by mirror_gan.

python -m trainers.run --config=configs/gaussians8_md.py --workdir=runs/gaussians8_md

Its hyperparameters were tuned with 3 x 64 units (docs/results/tuned.md, configs/tuned.py); with
these networks one run of this length was looked at: all modes, mixture HQ 0.875, std ratio 0.96.
"""

from configs import common


def get_config(variant=None):
    """The experiment; `:tiny` after the file name runs two steps in seconds."""
    return common.planar("gaussians8", "mirror_gan", variant)
