"""fashion_mnist by mirror_prox_gan.

python -m trainers.run --config=configs/fashion_mnist_mp.py --config.data.tfds_dir=DIR \\
    --workdir=runs/fashion_mnist_mp

Seen (docs/results/fashion_mnist.md): 10,000 mini-batches, five seeds, about 15 minutes each beside
another run on 2 cores; FID 6.65 (last), 6.91 (mixture) of the committed classifier, real data
0.15.
"""

from configs import common


def get_config(variant=None):
    """The experiment; `:tiny` after the file name runs two steps in seconds."""
    return common.images("fashion_mnist", "mirror_prox_gan", variant)
