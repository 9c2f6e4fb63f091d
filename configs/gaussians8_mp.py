"""gaussians8 by mirror_prox_gan: eight generators that share the modes of one critic.

python -m trainers.run --config=configs/gaussians8_mp.py --workdir=runs/gaussians8_mp

Eight small generators begin as small blobs in eight places. The critic reads Fourier features of
the data, without which it does not see a width of a hundredth of the ring, and its penalty is
zero-centred (R1 + R2): one that asks for |grad D| = 1 makes every mode narrow. What each of these
does, and how they were chosen: docs/results/best_default.md. `:pure` after the file name trains the
paper's single generator by WGAN-GP, which data of another scale need as well; `:tiny` two steps of
a small one.
"""

from typing import Any

from configs import common


def get_config(variant=None):
    """The experiment."""
    c: Any = common.planar("gaussians8", "mirror_prox_gan", variant, particles=(8, 64))
    if not variant:
        c.particles.batch = "thin"
        c.num_batches = 18_000
        c.mixture.window = (0.87, 1.0)
        c.step_size_schedule = "cosine(end=0.002)"
        c.game.gradient_penalty = 0.0
        c.game.r1 = c.game.r2 = 0.1
        c.model.discriminator_hidden_units = (128, 128)
        c.model.fourier_features = 48
        c.model.start_scale, c.model.start_spread = 0.1, 1.0
    return c
