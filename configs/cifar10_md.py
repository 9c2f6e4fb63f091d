"""cifar10 by mirror_gan.

python -m trainers.run --config=configs/cifar10_md.py --config.data.tfds_dir=DIR \\
    --workdir=runs/cifar10_md

Not run: needs what cifar10_mp needs.
"""

from configs import common


def get_config(variant=None):
    """The experiment; `:tiny` after the file name runs two steps in seconds."""
    return common.images("cifar10", "mirror_gan", variant)
