"""The kinds of tasks: which one a config is of, and what a task of each kind is made from."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

__all__ = [
    "HIGHER",
    "LOWER",
    "MONITORED",
    "SCORES",
    "CustomCard",
    "CustomData",
    "CustomSpec",
    "ImageCard",
    "ImageData",
    "ImageSpec",
    "PlanarCard",
    "PlanarSpec",
    "kind_of",
    "monitored",
    "program_of",
]

# The numbers of a scorecard, by kind of task. What a search looks for by itself comes first.
SCORES = {
    "planar": (
        *("law_distance", "modes_captured", "high_quality_3sigma", "high_quality_4sigma"),
        *("reverse_kl", "std_ratio", "mean_bias_sigma", "wasserstein2", "energy_distance"),
        *("mode_kl", "principal_std_log", "radius_ks", "bridge_mass", "rarest_mode_mass"),
        *("shape_distance", "specialisation"),
    ),
    "images": (
        *("fid", "kid", "kid_std", "precision", "recall", "density", "coverage"),
        *("classes_captured", "class_entropy", "class_kl", "mean_confidence", "specialisation"),
    ),
    "custom": (
        *("energy_distance", "precision", "recall", "density", "coverage", "ks_max", "ks_mean"),
    ),
}
# Which way is better; of those in neither it depends, and a std ratio should be 1.
LOWER = frozenset(
    (
        *("law_distance", "reverse_kl", "mean_bias_sigma", "wasserstein2", "energy_distance"),
        *("mode_kl", "principal_std_log", "radius_ks", "bridge_mass", "shape_distance"),
        *("fid", "kid", "kid_std", "class_kl", "ks_max", "ks_mean"),
    )
)
HIGHER = frozenset(
    (
        *("modes_captured", "high_quality_3sigma", "high_quality_4sigma", "rarest_mode_mass"),
        *("precision", "recall", "density", "coverage", "classes_captured", "class_entropy"),
    )
)
# Those that `score_every` measures during the training, where the data have them.
MONITORED = {
    "planar": (
        *("modes_captured", "high_quality_3sigma", "std_ratio", "reverse_kl", "wasserstein2"),
        *("law_distance", "shape_distance", "mode_kl", "rarest_mode_mass"),
        *("principal_std_log", "bridge_mass"),
    ),
    "images": ("fid", "kid", "precision", "recall", "density", "coverage"),
    "custom": SCORES["custom"],
}


# Beside them, of one data set.
_OF_DATASET = {"stacked_mnist": ("modes_captured", "reverse_kl")}


def monitored(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The scores that `score_every` measures of a config's task."""
    return (*_OF_DATASET.get(config["dataset"], ()), *MONITORED[kind_of(config)])


def kind_of(config: Mapping[str, Any]) -> Literal["planar", "images", "custom"]:
    """The kind of task that a config describes, resolved or not."""
    if config["dataset"] in ("vectors", "python") or ".py:" in config["dataset"]:
        return "custom"
    return "images" if "image" in config else "planar"


def program_of(config: Mapping[str, Any]) -> tuple[bool, int]:
    """What XLA's flags depend on, as far as an unchecked config tells.

    Returns:
      (whether it is one run of networks without convolutions for certain; its mini-batches), as of
      `trainers.system.xla_cache.keep`.
    """
    try:
        own = config["model"]["generator"] or config["model"]["discriminator"]
        return kind_of(config) == "planar" and not own, int(config["num_batches"])
    except (KeyError, TypeError, ValueError):  # it is refused later, with a reason
        return False, 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlanarCard:
    """How samples in the plane are scored (configs/common.py), by default a published model's.

    Attributes:
      num_samples: of each answer. 10,000 tell every fake of docs/results/judge.md from real data.
      capture_samples: of them, which decide what modes are captured.
      replicates: halves of them that are scored for 95 % intervals of the numbers; 0: none.
    """

    num_samples: int = 10_000
    capture_samples: int = 2_500
    replicates: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlanarSpec:
    """A task in the plane; only a task that is trained needs more than `dataset` and `card`.

    Attributes:
      hidden_units: widths of the generator's layers and of the discriminator's.
      start: keywords of `tf_mixed_nash.models.mlp` that only the generator has.
      fourier: the same of the discriminator.
      generator: FILE.py:NAME, in place of the perceptron; "": none.
      discriminator: the same.
      packing: how many data the discriminator reads at once.
    """

    dataset: str
    seed: int = 0
    card: PlanarCard = PlanarCard()
    batch_size: int = 64
    precision: str = "float32"
    hidden_units: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())
    activation: str = "relu"
    start: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    fourier: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    latent_dim: int = 2
    generator: str = ""
    discriminator: str = ""
    packing: int = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageCard:
    """How samples of images are scored (configs/common.py).

    Attributes:
      split: of the TFDS data set, whose records scores compare with; "": those of the training.
      path: of other images that they compare with; "": none.
    """

    features: str
    num_samples: int
    prdc_samples: int
    nearest_k: int
    kid_subsets: int
    kid_subset_size: int
    split: str = ""
    path: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageData:
    """Where the images are, and how they are read (configs/common.py)."""

    path: str | None
    tfds_dir: str | None
    split: str
    download: bool
    max_corrupt: int
    cache: bool | None
    num_threads: int
    num_stacks: int = 128_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageSpec:
    """A task on images.

    Attributes:
      num_classes: of a class-conditional generator; 0 without classes.
      devices: one of `devices.DEVICES`: each worker reads its rows of a mini-batch.
      publish: the answer that the final pictures show.
      family: of the networks, a key of `tf_mixed_nash.models.FAMILIES`.
      blocks: residual blocks at each resolution.
      discriminator_width: 0: `width`.
      generator: FILE.py:NAME, in place of the family's; "": none.
      discriminator: the same.
      packing: how many data the discriminator reads at once.
      held_out: the fraction of the records that no training sees; the monitor measures on them.
    """

    dataset: str
    seed: int
    card: ImageCard
    batch_size: int
    precision: str
    data: ImageData
    size: int
    channels: int
    flip: bool
    num_classes: int
    width: int
    latent_dim: int
    devices: str
    publish: str
    family: str = "dcgan"
    blocks: int = 1
    discriminator_width: int = 0
    generator_normalization: str = "batch"
    discriminator_normalization: str = "batch"
    generator: str = ""
    discriminator: str = ""
    packing: int = 1
    held_out: float = 0.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class CustomCard:
    """How samples of the user's own task are scored (configs/common.py)."""

    num_samples: int = 2_000
    nearest_k: int = 5


@dataclasses.dataclass(frozen=True, kw_only=True)
class CustomData:
    """Where a table is, and which fraction of its rows is held out (configs/common.py)."""

    path: str | None = None
    held_out: float = 0.1


@dataclasses.dataclass(frozen=True, kw_only=True)
class CustomSpec:
    """A task of the user's own.

    Attributes:
      dataset: "vectors", FILE.py:NAME, or "python": an object that no config can name.
      generator: FILE.py:NAME, or `user_models.describe` of a model; "": a perceptron.
      discriminator: the same.
      packing: how many data the discriminator reads at once.
      num_classes: of a class-conditional game; 0 without classes.
      hidden_units: widths of the generator's layers and of the discriminator's, of perceptrons.
      start: as `PlanarSpec.start`.
      fourier: as `PlanarSpec.fourier`.
      publish: the answer that the final pictures show.
    """

    dataset: str
    seed: int = 0
    batch_size: int = 64
    precision: str = "float32"
    latent_dim: int = 2
    num_classes: int = 0
    generator: Any = ""
    discriminator: Any = ""
    packing: int = 1
    hidden_units: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())
    activation: str = "relu"
    start: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    fourier: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    card: CustomCard = CustomCard()
    data: CustomData = CustomData()
    publish: str = "mixture"
