"""The 25 Gaussians with masses from 0.177 down to 0.00177, by alternated mirror descent.

python -m trainers.run --config=configs/gaussians25_unbalanced.py --workdir=runs/unbalanced

Scored by mode_kl, KL(data || model) over the modes, and rarest_mode_mass too (docs/modern.md). Not
yet run with these networks: as configs/gaussians25_md.py:pure it takes ten minutes of 2 cores. With
3 x 64 units, by every algorithm: docs/results/unbalanced.md. Several generators:
configs/gaussians25_mp.py with --config.dataset=gaussians25_unbalanced.
"""

from configs import common


def get_config(variant=None):
    """The experiment; `:tiny` after the file name runs two steps in seconds."""
    return common.planar("gaussians25_unbalanced", "alt_mirror_gan", variant)
