"""mnist by mirror_gan.

python -m trainers.run --config=configs/mnist_md.py --config.data.tfds_dir=DIR \\
    --workdir=runs/mnist_md

Not run: the digits here are a part of MNIST. About 8 minutes for 10,000 mini-batches on 2 cores, as
fashion_mnist_md has the same networks.
"""

from configs import common


def get_config(variant=None):
    """The experiment; `:tiny` after the file name runs two steps in seconds."""
    return common.images(
        "mnist",
        "mirror_gan",
        variant,
        size=32,
        channels=1,
        num_classes=10,
        width=32,
        num_batches=10_000,
    )
