"""lsun by mirror_gan.

python -m trainers.run --config=configs/lsun_md.py --config.data.path=.../bedroom_train_lmdb \\
    --workdir=runs/lsun_md

Not run: needs a GPU and LSUN bedroom (42.8 GiB). DCGAN of width 64 at 64 pixels takes about
0.9 s a mini-batch on 2 cores (docs/images.md); eight GPUs split every mini-batch by themselves.
"""

from configs import common


def get_config(variant=None):
    """The experiment; `:tiny` after the file name runs two steps in seconds."""
    return common.images("lsun", "mirror_gan", variant)
