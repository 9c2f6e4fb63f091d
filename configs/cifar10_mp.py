"""cifar10 by mirror_prox_gan.

python -m trainers.run --config=configs/cifar10_mp.py --config.data.tfds_dir=DIR \\
    --workdir=runs/cifar10_mp

Seen (docs/results/cifar10.md): 10,000 mini-batches of the 25,000 images here, seed 0, in about
15 minutes beside another run on 2 cores; FID 8.20 (last), 8.49 (mixture) of the committed
classifier, real data 0.17.
"""

from configs import common


def get_config(variant=None):
    """The experiment; `:tiny` after the file name runs two steps in seconds."""
    return common.images("cifar10", "mirror_prox_gan", variant)
