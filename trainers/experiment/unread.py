"""Keys that somebody asked for, and that nothing of the run reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tf_mixed_nash import algorithms
from trainers.experiment.build import PYTHON
from trainers.experiment.settings import PLAYERS

__all__ = ["reason", "unread"]

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
    reasons = {key: reason(config, key) for key in given}
    return [f"--config.{key} has no effect: {why}" for key, why in reasons.items() if why]


def reason(config: Mapping[str, Any], key: str) -> str:
    """Why a key of a resolved config has no effect; "" if it has one."""
    *above, last = key.split(".")
    if last == "score_samples" and not config["score_every"]:
        return "nothing is scored on the way: set score_every"
    if last == "max_rollbacks" and config["on_divergence"] != "rollback":
        return "it is of on_divergence=rollback"
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
        return _of_game(config["game"], last, config["num_batches"])
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
    schedule = f"{last.removeprefix('num_')}_schedule"
    if last in ("step_size", "temperature", "decay_2", "num_inner_steps") and all(
        _is_own(config[p].get(schedule, "")) for p in players
    ):
        return f"{schedule}={config[players[0]][schedule]} replaces it"
    if last not in ("temperature_schedule", "inner_steps_schedule") or any(
        config[p][last] == "constant" or _is_own(config[p][last]) for p in players
    ):
        return ""
    if last == "temperature_schedule":
        return "" if any(config[p]["temperature"] for p in players) else "the temperature is 0"
    once = all(config[p]["num_inner_steps"] == 1 for p in players)
    return "num_inner_steps (K) is 1, and K_t is never less" if once else ""


def _is_own(schedule: str) -> bool:
    """Whether it is a function of the user's."""
    return ".py:" in schedule or schedule.startswith(PYTHON)


def _of_game(game: Mapping[str, Any], last: str, num_batches: int) -> str:
    if last in ("penalty_every", "penalty_schedule") and not any(game[k] for k in _PENALTIES):
        return f"there is no penalty: set one of {', '.join(f'game.{k}' for k in _PENALTIES)}"
    if last == "penalty_every" and game[last] >= num_batches > 1:
        return f"of {num_batches:,} mini-batches those of the first outer step alone have a penalty"
    if last == "augment_speed" and game["augment"] and not game["augment_target"]:
        return "it is of a probability that follows the discriminator: set game.augment_target"
    if last.startswith("augment_") and not game["augment"]:
        return "nothing is augmented: set game.augment, such as color,translation,cutout"
    return ""
