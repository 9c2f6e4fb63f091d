"""swissroll by mirror_prox_gan.

python -m trainers.run --config=configs/swissroll_mp.py --workdir=runs/swissroll_mp

Not tuned, and not yet run at full length with these defaults.
"""

from configs import common


def get_config(variant=None):
    """The experiment; `:tiny` after the file name runs two steps in seconds."""
    return common.planar("swissroll", "mirror_prox_gan", variant)
