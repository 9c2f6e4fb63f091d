"""Stacked MNIST in R3GAN's manner: relativistic pairs, R1 and R2, residual networks, Adam.

python -m trainers.run --config=configs/stacked_mnist_r3.py --config.data.tfds_dir=DIR \\
    --workdir=runs/stacked_mnist_r3

Any algorithm takes its place: --config.algorithm=mirror_prox_gan. Seen (docs/results/modern.md):
--config.model.width=16 --config.num_batches=4000, seeds 0 and 1, 52 and 86 minutes of one core that
other work shared: 871 and 743 of 1,000 modes by the last iterate, 849 and 764 by the mixture. Its
own length has not been run.
"""

from configs import common


def get_config(variant=None):
    """The experiment; `:tiny` after the file name runs two steps in seconds."""
    return common.residual("stacked_mnist", 1.0, variant)
