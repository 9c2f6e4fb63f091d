"""Keys that somebody asked for, and that nothing of the run reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tf_mixed_nash import algorithms
from trainers.experiment.settings import PLAYERS

__all__ = ["unread"]

_PENALTIES = ("gradient_penalty", "r1", "r2", "penalty")
# Of the built-in networks of either player, or of one of them.
_BUILT_IN = {
    "hidden_units": PLAYERS,
    "activation": PLAYERS,
    "width": PLAYERS,
    "family": PLAYERS,
    "generator_hidden_units": ("generator",),
    "start_scale": ("generator",),
    "start_spread": ("generator",),
    "generator_normalization": ("generator",),
    "discriminator_hidden_units": ("discriminator",),
    "fourier_features": ("discriminator",),
    "fourier_highest": ("discriminator",),
    "discriminator_width": ("discriminator",),
    "discriminator_normalization": ("discriminator",),
}


def unread(config: Mapping[str, Any], given: Iterable[str]) -> list[str]:
    """A warning for each key that has no effect, without a full stop.

    No error: a command may train several algorithms with the same options.

    Args:
      config: resolved.
      given: keys, such as "temperature", "generator.temperature" or "game.penalty_every".
    """
    reasons = {key: _reason(config, key) for key in given}
    return [f"--config.{key} has no effect: {why}" for key, why in reasons.items() if why]


def _reason(config: Mapping[str, Any], key: str) -> str:
    *above, last = key.split(".")
    if not above or above[0] in PLAYERS:
        return _of_players(config, above or list(PLAYERS), last)
    several = any(config[p]["num_particles"] > 1 for p in PLAYERS)
    if above == ["particles"] and not several:
        return "it is of several particles, and there is one: set num_particles"
    if above == ["chambolle_pock"] and config["algorithm"] != "chambolle_pock":
        return f"it is of chambolle_pock, and the algorithm is {config['algorithm']}"
    if above == ["duality_gap"] and last != "every" and not config["duality_gap"]["every"]:
        return "the gap is off: set duality_gap.every"
    if above == ["game"]:
        return _of_game(config["game"], last)
    if above == ["model"] and last in _BUILT_IN:
        model = config["model"]
        if all(model.get(player) for player in _BUILT_IN[last]):
            return (
                "it is of the built-in networks, and model.generator or .discriminator replace them"
            )
    return ""


def _of_players(config: Mapping[str, Any], players: list[str], last: str) -> str:
    several = any(config[p]["num_particles"] > 1 for p in players)
    if why := algorithms.unread(config["algorithm"], last, several):
        return why
    schedule = f"{last.removesuffix('_rate')}_schedule"
    if last in ("step_size_rate", "temperature_rate") and not any(
        config[p][schedule].startswith("exponential") for p in players
    ):
        return f"it is of {schedule}=exponential"
    rate = f"{last.removesuffix('_schedule')}_rate"
    if last in ("step_size_schedule", "temperature_schedule") and all(
        config[p][last].startswith("exponential") and not config[p][rate] for p in players
    ):
        return f"exponential falls by {rate}, which is 0: set it"
    return ""


def _of_game(game: Mapping[str, Any], last: str) -> str:
    if last in ("penalty_every", "penalty_schedule") and not any(game[k] for k in _PENALTIES):
        return f"there is no penalty: set one of {', '.join(f'game.{k}' for k in _PENALTIES)}"
    if last.startswith("augment_") and not game["augment"]:
        return "nothing is augmented: set game.augment, such as color,translation,cutout"
    return ""
