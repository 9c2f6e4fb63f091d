"""lsun by mirror_gan.

python -m trainers.run --config=configs/lsun_md.py --config.data.path=.../bedroom_train_lmdb \\
    --workdir=runs/lsun_md

@@DOC
"""

from configs import common


def get_config(variant=None):
    """The experiment; `:tiny` after the file name runs two steps in seconds."""
    return common.images(
        "lsun",
        "mirror_gan",
        variant,
        size=64,
        channels=3,
        width=64,
        num_components=10,
        num_batches=100_000,
    )
