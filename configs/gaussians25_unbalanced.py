"""The 25 Gaussians with masses from 0.177 down to 0.00177, by alternated mirror descent.

python -m trainers.run --config=configs/gaussians25_unbalanced.py --workdir=runs/unbalanced

Scored by mode_kl, KL(data || model) over the modes, and rarest_mode_mass too (docs/modern.md).
Seen, seed 0, 28 minutes of 2 cores of an Intel Xeon that other work shared: 18 of 25 modes by the
mixture, mode_kl 0.0040 (0.0021 of real data), rarest_mode_mass 0 (0.0015), law distance 0.47. With
3 x 64 units, by every algorithm, 0.20 and more: docs/results/unbalanced.md. Several generators:
configs/gaussians25_mp.py with --config.dataset=gaussians25_unbalanced.
"""

from configs import common


def get_config(variant=None):
    """The experiment; `:tiny` after the file name runs two steps in seconds."""
    return common.planar("gaussians25_unbalanced", "alt_mirror_gan", variant)
