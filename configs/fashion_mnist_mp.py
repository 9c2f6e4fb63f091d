"""fashion_mnist by mirror_prox_gan.

python -m trainers.run --config=configs/fashion_mnist_mp.py --config.data.tfds_dir=DIR \\
    --workdir=runs/fashion_mnist_mp

@@FM_MP
"""

from configs import common


def get_config(variant=None):
    """The experiment; `:tiny` after the file name runs two steps in seconds."""
    return common.images(
        "fashion_mnist",
        "mirror_prox_gan",
        variant,
        size=32,
        channels=1,
        num_classes=10,
        width=32,
        num_batches=10_000,
    )
