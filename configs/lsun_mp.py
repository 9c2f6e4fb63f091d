"""lsun by mirror_prox_gan.

python -m trainers.run --config=configs/lsun_mp.py --config.data.path=.../bedroom_train_lmdb \\
    --workdir=runs/lsun_mp

@@DOC
"""

from configs import common


def get_config(variant=None):
    """The experiment; `:tiny` after the file name runs two steps in seconds."""
    return common.images(
        "lsun",
        "mirror_prox_gan",
        variant,
        size=64,
        channels=3,
        width=64,
        num_components=10,
        num_batches=100_000,
    )
