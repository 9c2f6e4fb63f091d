"""cifar10 in R3GAN's manner: relativistic pairs, R1 and R2, residual networks, Adam.

python -m trainers.run --config=configs/cifar10_r3.py --config.data.tfds_dir=DIR \\
    --workdir=runs/cifar10_r3

Smaller than R3GAN's (width 32, one block at each resolution), whose FID needs 10^8 images.
Seen (docs/results/modern.md): width 16, 1,000 mini-batches, 775 to 1,049 s of one core, seeds 0, 1
and 2: FID 157 (standard error 1) of the last iterate, where DCGAN has 16 (1) in 884 to 924 s. Its
own length has not been run.
"""

from configs import common


def get_config(variant=None):
    """The experiment; `:tiny` after the file name runs two steps in seconds."""
    return common.residual("cifar10", 0.05, variant)
