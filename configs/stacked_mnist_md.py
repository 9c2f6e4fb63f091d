"""Stacked MNIST by mirror_gan: DCGAN of 28 px, 128,000 stacks, a thousand modes.

python -m trainers.run --config=configs/stacked_mnist_md.py --config.data.tfds_dir=DIR \\
    --workdir=runs/stacked_mnist_md

PacGAN's protocol but for the width (64 for its 128): batch 64, 50 epochs of 2,000 mini-batches,
26,000 samples, modes by the committed classifier of MNIST's digits. Smaller discriminators:
--config.model.discriminator_width=32 or 16.
Seen (docs/results/modern.md): --config.model.width=16 --config.num_batches=4000, seeds 0, 1 and 2,
one core of an AMD EPYC, 90 seconds and four minutes of scoring: 896 to 966 of 1,000 modes in the
mixture. PacGAN's length has not been run.
"""

from configs import common


def get_config(variant=None):
    """The experiment; `:tiny` after the file name runs two steps in seconds."""
    return common.images("stacked_mnist", "mirror_gan", variant)
