"""Do today's losses and networks, or mixed strategies, reach more modes? docs/results/modern.md.

    python -m benchmarks.modern_study [--stages=stacked,quarter,textbook,...|all] [--render]
        [--seeds=0,1,2] [--jobs=2] [--threads=1] [--budget=MIN] --set=data.tfds_dir=DIR

The protocol is at the head of that page; how it runs, benchmarks/studies.py. `textbook` alone needs
no images, and takes no data.tfds_dir. `few_source` comes before few100 and few1000, which begin at
its networks.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks import former, studies
from benchmarks.studies import Setting, Study
from trainers.campaigns import evidence
from trainers.campaigns.study.tables import METRICS
from trainers.system import cli

__all__ = ["PUBLISHED", "STAGES", "STUDY", "compared", "tables"]

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


# Small data sets (docs/modern.md). Scores compare with images that no run trains on.
_SMALL = ("image.size=28", "model.width=16")
_FEW = ("num_batches=2000", "scorecard.split=train[1000:]")
_FLIP = "image.flip=true"
_AUGMENT = "game.augment=color,translation,cutout"
_ADA = ("game.augment_target=0.6", "game.augment_speed=100000")
_WARM = "init_from={out}/few_source/seed{seed}"


def _few(num: int) -> Iterator[Setting]:
    for name, title, items in (
        ("scratch", "as it is", ()),
        ("flip", "flipped", (_FLIP,)),
        ("augment", "flipped, DiffAugment", (_FLIP, _AUGMENT)),
        ("ada", "flipped, ADA", (_FLIP, _AUGMENT, *_ADA)),
        ("warm", "flipped, begun at MNIST's networks", (_FLIP, _WARM)),
        ("warm_augment", "flipped, begun at MNIST's, DiffAugment", (_FLIP, _WARM, _AUGMENT)),
        ("warm_ada", "flipped, begun at MNIST's, ADA", (_FLIP, _WARM, _AUGMENT, *_ADA)),
    ):
        own = (*_SMALL, *_FEW, f"data.split=train[:{num}]", *items)
        yield Setting(f"few{num}_{name}", title, "configs/fashion_mnist_mp.py:pure", own)


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
            "WGAN-GP, alternated Mirror-GAN (its former defaults)",
            "configs/gaussians25_md.py:pure",
            former.items("alt_mirror_gan"),
        ),
    ],
    "fashion": [
        Setting(
            "fashion_dcgan",
            "DCGAN, Adam",
            "configs/fashion_mnist_mp.py:pure",
            ("algorithm=adam", "model.width=16", "num_batches=21000"),
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
            ("algorithm=adam", "model.width=16", "num_batches=17000"),
        ),
        Setting(
            "cifar10_residual",
            "residual, RpGAN + R1 + R2, Adam",
            "configs/cifar10_r3.py:pure",
            ("model.width=16", "num_batches=1000"),
        ),
    ],
    "few_source": [
        Setting(
            "few_source",
            "DCGAN of width 16 on MNIST, Mirror-Prox-GAN",
            "configs/mnist_mp.py:pure",
            (*_SMALL, "num_batches=4000"),
        )
    ],
    "few100": [*_few(100)],
    "few1000": [*_few(1000)],
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
        **dict.fromkeys(("cifar10", "few_source", "few100", "few1000"), _IMAGE_COLUMNS),
    },
    "networks and algorithm",
)

# What is compared, of last iterates: (first, second, in words).
_DIGITS = (
    ("rmsprop_same", "rmsprop", "RMSProp with the Mirrors' step size and lambda, against RMSProp"),
    ("mirror_gan", "rmsprop_same", "Mirror-GAN, against RMSProp with its step size and lambda"),
    ("mirror_gan", "adam", "Mirror-GAN, against Adam"),
    ("particles", "mirror_prox_gan", "four generators, against one of the width of each"),
    ("particles", "one", "four generators, against one of as many parameters"),
)
# Of one architecture: the runs of a seed share their initial networks and mini-batches.
_PAIRED = {"rmsprop_same", "rmsprop", "mirror_gan", "adam", *("scratch", "flip", "augment", "ada")}
_BEGUN = (
    ("flip", "scratch", "flips, against none"),
    ("augment", "flip", "DiffAugment, against flips alone"),
    ("ada", "flip", "ADA, against flips alone"),
    ("warm", "flip", "MNIST's networks, against fresh ones"),
    ("warm_augment", "augment", "MNIST's networks with DiffAugment, against fresh ones with it"),
    ("warm_ada", "ada", "MNIST's networks with ADA, against fresh ones with it"),
)
_COMPARED: Mapping[str, tuple[tuple[str, str, str], ...]] = {
    "stacked": _DIGITS,
    "quarter": _DIGITS,
    "few_source": (),
    "few100": _BEGUN,
    "few1000": _BEGUN,
    "textbook": (("rpgan", "ours", "RpGAN + R1 + R2 by Adam, against WGAN-GP by Mirror-GAN"),),
    "fashion": (("residual", "dcgan", "the residual pair, against DCGAN"),),
    "cifar10": (("residual", "dcgan", "the residual pair, against DCGAN"),),
}
_JUDGED = {
    "stacked": ("modes_captured", "reverse_kl"),
    "quarter": ("modes_captured", "reverse_kl"),
    **dict.fromkeys(("few_source", "few100", "few1000"), ("fid", "kid")),
    "textbook": ("law_distance", "high_quality_3sigma"),
    "fashion": ("fid", "kid"),
    "cifar10": ("fid", "kid"),
}
# Of others, with their protocols: (who, modes, reverse KL, protocol). R3GAN's Table 3 has the first
# seven (Huang et al. 2024), PacGAN's Tables 2 and 3 the rest (Lin et al. 2018).
_R3 = "32 px, batch 512, 10 M images, 20.7 M parameters"
_PAC = "28 px, width 128, batch 64, 50 epochs of 128,000 stacks"
_PAC_QUARTER = f"{_PAC}, a quarter of the discriminator"
PUBLISHED = {
    "stacked": (
        ("R3GAN", "1000", "0.029", _R3),
        ("MEG", "1000", "0.031", _R3),
        ("DDGAN", "1000", "0.071", _R3),
        ("PresGAN", "1000", "0.12", _R3),
        ("StyleGAN2", "940", "0.42", _R3),
        ("WGAN-GP", "959", "0.73", _R3),
        ("VEEGAN", "150", "2.95", _R3),
        ("DCGAN", "78.9", "4.50", _PAC),
        ("PacDCGAN2", "1000", "0.06", _PAC),
    ),
    "quarter": (
        ("DCGAN", "30.6", "5.99", _PAC_QUARTER),
        ("PacDCGAN4", "667", "1.81", _PAC_QUARTER),
    ),
}


def compared(
    runs: Mapping[str, Mapping[str, Any]], stage: str, number: str
) -> list[tuple[str, evidence.Evidence]]:
    """(what, evidence) of last iterates, with Holm's correction over the stage's comparisons.

    Args:
      runs: setting's name -> seed -> record; what has none is left out.
      stage: a key of STAGES.
      number: a scorecard's key.
    """
    metric = METRICS.get(number)
    distance = metric.distance if metric else operator.pos  # FID and KID: the smaller the better
    found = []
    for one, two, what in _COMPARED[stage]:
        a, b = (
            {int(s): run["answers"]["last"][number] for s, run in mine.items()}
            for mine in (runs.get(f"{stage}_{name}", {}) for name in (one, two))
        )
        if a and b:
            paired = _PAIRED.issuperset((one, two))
            found.append((what, evidence.weigh(a, b, distance, paired)))
    return studies.judged(found)


def tables(runs: Mapping[str, Mapping[str, Any]], stage: str) -> str:
    """Markdown: the settings, what is compared, and what others have published."""
    parts = [studies.table(STUDY, stage, runs)]
    rows = [
        [what, title, e.outcome, evidence.gains(e, digits)]
        for number in _JUDGED[stage]
        for title, digits in [studies.columns(number)[number][:2]]
        for what, e in compared(runs, stage, number)
    ]
    if rows:
        parts.append(studies.markdown(["last iterates", "number", "", "gain"], rows))
    if stage in PUBLISHED:
        head = ["published", "modes", "reverse KL", "protocol"]
        parts.append(studies.markdown(head, PUBLISHED[stage]))
    return "\n\n".join(parts)


def main() -> int:
    """The command."""
    return studies.command(STUDY)


if __name__ == "__main__":
    studies.define_flags(STUDY, "textbook")
    cli.main(main, sys.argv)
