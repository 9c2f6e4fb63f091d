"""swissroll by mirror_gan.

python -m trainers.run --config=configs/swissroll_md.py --workdir=runs/swissroll_md

Its hyperparameters were tuned with 3 x 64 units (docs/results/tuned.md, configs/tuned.py); with
these networks it has not been run at full length.
"""

from configs import common


def get_config(variant=None):
    """The experiment; `:tiny` after the file name runs two steps in seconds."""
    return common.planar("swissroll", "mirror_gan", variant)
