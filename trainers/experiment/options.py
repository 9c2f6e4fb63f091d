"""A resolved config as typed values: here, and in build.py, its keys are read by name.

The config itself goes on only into config.json, manifests and provenance. What a config of an
earlier version lacks takes the default of the field.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar

from trainers.experiment.settings import FOURIER, PLAYERS, START
from trainers.tasks import kinds
from trainers.tasks.kinds import (
    CustomCard,
    CustomData,
    CustomSpec,
    ImageCard,
    ImageData,
    ImageSpec,
    PlanarCard,
    PlanarSpec,
)

__all__ = ["GapOptions", "Options", "Recovery", "options_of", "spec_of"]

T = TypeVar("T")


class Recovery(NamedTuple):
    """One rollback: from its step on, the step sizes are half and the noise is other.

    Attributes:
      step: the mini-batch that the run went back to; 0: its beginning.
      outer_step: t there.
      diverged_at: the mini-batch at which it left the finite numbers.
      players: which did.
    """

    step: int
    outer_step: int
    diverged_at: int
    players: tuple[str, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class GapOptions:
    """The config's `duality_gap`: every so many mini-batches (0: never), K steps, their size.

    With `regularized` the payoff has the game's penalties (`metrics.nash`).
    """

    every: int = 0
    num_steps: int = 100
    step_size: float = 1e-4
    num_samples: int = 4_096
    regularized: bool = True


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What sessions and commands read of a config, beside the objects of the training.

    The names are the config's keys (configs/common.py), but for `devices`, which is `strategy`.
    """

    dataset: str
    algorithm: str
    seed: int
    num_batches: int
    devices: str = "default"
    publish: str = "mixture"
    export: bool = True
    log_every: int = 100
    picture_every: int = 3_000
    film: bool = False
    checkpoint_every: int = 3_000
    keep_last: int = 3
    keep_every: int = 0
    keep_best: str = ""
    on_divergence: str = "stop"
    max_rollbacks: int = 3
    score_every: int = 0
    score_samples: int | None = None
    health_every: int | None = None
    duality_gap: GapOptions = GapOptions()


def options_of(config: Mapping[str, Any]) -> Options:
    """The options of a resolved config."""
    gap = _taken(GapOptions, config.get("duality_gap", {}))
    return _taken(Options, config, duality_gap=gap, devices=config["strategy"])


def spec_of(config: Mapping[str, Any]) -> PlanarSpec | ImageSpec | CustomSpec:
    """What the task of a resolved config is made from."""
    model, card = config["model"], config["scorecard"]
    packing = config.get("game", {}).get("packing", 1)
    if (kind := kinds.kind_of(config)) != "images":
        common = model.get("hidden_units", ())
        own = (model.get(f"{player}_hidden_units") for player in PLAYERS)
        generator, discriminator = (tuple(units or common) for units in own)
        start, fourier = (
            {key: model[key] for key in keys if key in model} for keys in (START, FOURIER)
        )
        if kind == "custom":
            return _taken(
                CustomSpec,
                {**config, **model},
                card=_taken(CustomCard, card),
                data=_taken(CustomData, config["data"]),
                hidden_units=(generator, discriminator),
                start=start,
                fourier=fourier,
                **{player: model.get(player, "") for player in PLAYERS},
                packing=packing,
            )
        return _taken(
            PlanarSpec,
            {**config, **model},
            card=_taken(PlanarCard, card),
            hidden_units=(generator, discriminator),
            start=start,
            fourier=fourier,
            **{player: model.get(player, "") for player in PLAYERS},
            packing=packing,
        )
    image = config["image"]
    return _taken(
        ImageSpec,
        {**config, **image, **model},
        card=_taken(ImageCard, card),
        data=_taken(ImageData, config["data"]),
        num_classes=image["num_classes"] if model["conditional"] else 0,
        devices=config["strategy"],
        **{player: model.get(player, "") for player in PLAYERS},
        packing=packing,
    )


def _taken(kind: type[T], mapping: Mapping[str, Any], **given: Any) -> T:
    """A dataclass of what the mapping has of its fields, and of the given ones."""
    names = {field.name for field in dataclasses.fields(kind)}  # pyright: ignore[reportArgumentType]
    return kind(**{k: v for k, v in mapping.items() if k in names} | given)
