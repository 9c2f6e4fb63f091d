"""Hyperparameters that somebody asked for, and that the algorithm does not read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tf_mixed_nash import algorithms
from trainers.experiment.settings import PLAYERS

__all__ = ["unread"]


def unread(config: Mapping[str, Any], given: Iterable[str]) -> list[str]:
    """A warning for each key that has no effect, without a full stop.

    No error: a command may train several algorithms with the same options.

    Args:
      config: resolved.
      given: keys, such as "temperature" or "generator.temperature".
    """
    name, notes = config["algorithm"], []
    for key in given:
        *player, last = key.split(".")
        if player and tuple(player) not in {(p,) for p in PLAYERS}:
            continue
        of = player or PLAYERS
        several = any(config[p]["num_particles"] > 1 for p in of)
        if why := algorithms.unread(name, last, several):
            notes.append(f"--config.{key} has no effect: {why}")
    return notes
