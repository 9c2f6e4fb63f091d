"""lsun by mirror_prox_gan.

python -m trainers.run --config=configs/lsun_mp.py --config.data.path=.../bedroom_train_lmdb \\
    --workdir=runs/lsun_mp

Not run: needs a GPU and LSUN bedroom (42.8 GiB). DCGAN of width 64 at 64 pixels takes about
0.9 s a mini-batch on 2 cores (docs/images.md); eight GPUs split every mini-batch by themselves.
tests/trainers/tasks/test_imaging.py runs it end to end, `:tiny`, on a small LMDB in LSUN's layout.
"""

from configs import common


def get_config(variant=None):
    """The experiment; `:tiny` after the file name runs two steps in seconds."""
    return common.images("lsun", "mirror_prox_gan", variant)
