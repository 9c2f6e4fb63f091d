"""cifar10 in R3GAN's manner: relativistic pairs, R1 and R2, residual networks, Adam.

python -m trainers.run --config=configs/cifar10_r3.py --config.data.tfds_dir=DIR \\
    --workdir=runs/cifar10_r3

Smaller than R3GAN's (width 32, one block at each resolution), whose FID needs 10^8 images.
Seen (docs/results/modern.md): width 16, 1,000 mini-batches, 775 s of one core of an AMD EPYC, seed
0: FID 157 of the last iterate and 135 of the mixture, where DCGAN has 14 in 1,095 s. Its own length
has not been run.
"""

from configs import common


def get_config(variant=None):
    """The experiment; `:tiny` after the file name runs two steps in seconds."""
    return common.residual("cifar10", 0.05, variant)
