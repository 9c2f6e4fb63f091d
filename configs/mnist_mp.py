"""mnist by mirror_prox_gan.

python -m trainers.run --config=configs/mnist_mp.py --config.data.tfds_dir=DIR \\
    --workdir=runs/mnist_mp

Not run: the digits here are a part of MNIST. 10,000 mini-batches take about 9 minutes on 2 cores
(53 ms each, docs/results/fashion_mnist.md), as fashion_mnist_mp has the same networks.
"""

from configs import common


def get_config(variant=None):
    """The experiment; `:tiny` after the file name runs two steps in seconds."""
    return common.images("mnist", "mirror_prox_gan", variant)
