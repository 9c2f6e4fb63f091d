"""Do today's losses and networks, or mixed strategies, reach more modes? docs/results/modern.md.

    python -m benchmarks.modern_study [--stages=stacked,quarter,textbook,...|all] [--render]
        [--seeds=0,1,2] [--jobs=2] [--threads=1] [--budget=MIN] --set=data.tfds_dir=DIR

The protocol is at the head of that page; how it runs, benchmarks/studies.py. `textbook` alone needs
no images, and takes no data.tfds_dir.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks import former, studies
from benchmarks.studies import Setting, Study
from trainers.system import cli

__all__ = ["STAGES", "STUDY"]

_STACKED = "configs/stacked_mnist_mp.py:pure"
_RPGAN = (
    "game.objective=relativistic",
    "game.r1=0.05",
    "game.r2=0.05",
    "game.gradient_penalty=0.0",
)
# A width of 16 for PacGAN's 128, and 4,000 mini-batches for its 100,000: what two cores can do.
_NARROW = ("model.width=16", "num_batches=4000")
_ALGORITHMS = {
    "adam": "Adam",
    "rmsprop": "RMSProp",
    "mirror_gan": "Mirror-GAN",
    "mirror_prox_gan": "Mirror-Prox-GAN",
}


def _stacked(prefix: str, *items: str) -> Iterator[Setting]:
    for algorithm, title in _ALGORITHMS.items():
        own = (*_NARROW, f"algorithm={algorithm}", *items)
        yield Setting(f"{prefix}_{algorithm}", f"DCGAN, {title}", _STACKED, own)
    same = (*_NARROW, "algorithm=rmsprop", "step_size=1e-3", "stability=1e-3", *items)
    title = "DCGAN, RMSProp with the Mirrors' step size and lambda"
    yield Setting(f"{prefix}_rmsprop_same", title, _STACKED, same)
    four = (*_NARROW, "algorithm=mirror_prox_gan", "generator.num_particles=4", *items)
    title = "four DCGAN generators, Mirror-Prox-GAN"
    yield Setting(f"{prefix}_particles", title, _STACKED, four)
    # The discriminator stays, unless the items have a smaller one.
    one = (*_NARROW, "model.width=56", "model.discriminator_width=16", *items)
    title = "one DCGAN generator of as many parameters, Mirror-Prox-GAN"
    yield Setting(f"{prefix}_one", title, _STACKED, (*one, "algorithm=mirror_prox_gan"))


STAGES: dict[str, list[Setting]] = {
    "stacked": [
        *_stacked("stacked"),
        Setting(
            "stacked_r3",
            "residual, RpGAN + R1 + R2, Adam",
            "configs/stacked_mnist_r3.py:pure",
            _NARROW,
        ),
    ],
    "quarter": [*_stacked("quarter", "model.discriminator_width=4")],
    # 25 Gaussians, 20,000 mini-batches of 256.
    "textbook": [
        Setting(
            "textbook_rpgan",
            "RpGAN + R1 + R2, Adam",
            "configs/gaussians25_md.py:pure",
            (*_RPGAN, "algorithm=adam", "step_size=2e-4", "decay_1=0.0", "decay_2=0.99"),
        ),
        Setting(
            "textbook_rpgan_mirror",
            "RpGAN + R1 + R2, alternated Mirror-GAN",
            "configs/gaussians25_md.py:pure",
            (*former.items("alt_mirror_gan"), *_RPGAN),
        ),
        Setting(
            "textbook_ours",
            "WGAN-GP, alternated Mirror-GAN (the config)",
            "configs/gaussians25_md.py:pure",
            former.items("alt_mirror_gan"),
        ),
    ],
    "fashion": [
        Setting(
            "fashion_dcgan",
            "DCGAN, Adam",
            "configs/fashion_mnist_mp.py:pure",
            ("algorithm=adam", "model.width=16", "num_batches=24000"),
        ),
        Setting(
            "fashion_residual",
            "residual, RpGAN + R1 + R2, Adam",
            "configs/cifar10_r3.py:pure",
            (
                *("dataset=fashion_mnist", "image.channels=1", "game.r1=0.5", "game.r2=0.5"),
                *("model.width=16", "num_batches=1200"),
            ),
        ),
    ],
    "cifar10": [
        Setting(
            "cifar10_dcgan",
            "DCGAN, Adam",
            "configs/cifar10_mp.py:pure",
            ("algorithm=adam", "model.width=16", "num_batches=25000"),
        ),
        Setting(
            "cifar10_residual",
            "residual, RpGAN + R1 + R2, Adam",
            "configs/cifar10_r3.py:pure",
            ("model.width=16", "num_batches=1000"),
        ),
    ],
}
_IMAGE_COLUMNS = studies.columns("fid", "kid", "recall", "coverage")
_STACKED_COLUMNS = studies.columns("modes_captured", "reverse_kl", "fid", "recall")
STUDY = Study(
    STAGES,
    Path("docs/results/modern.json"),
    {
        "stacked": _STACKED_COLUMNS,
        "quarter": _STACKED_COLUMNS,
        "textbook": studies.columns(
            *("modes_captured", "high_quality_3sigma", "reverse_kl", "std_ratio", "law_distance")
        ),
        "fashion": _IMAGE_COLUMNS,
        "cifar10": _IMAGE_COLUMNS,
    },
    "networks and algorithm",
)


def main() -> int:
    """The command."""
    return studies.command(STUDY)


if __name__ == "__main__":
    studies.define_flags(STUDY, "textbook")
    cli.main(main, sys.argv)
