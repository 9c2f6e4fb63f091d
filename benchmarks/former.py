"""The defaults of one network of each player before docs/results/tuned.md, pinned.

Studies that were run with them say so in their settings: configs/tuned.py follows what the sweeps
chose, and the command of a number must not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["FORMER", "items"]

# What none of them set: as configs/tuned.py has it for any algorithm.
_ANY = {
    "step_size_schedule": "linear",
    "rms_correction": False,
    "prior_std": 0.0,
    "weight_decay": 0.0,
}
_MIRROR = {"step_size": 1e-3, "temperature": 1e-6, "stability": 1e-3, "damping": 0.9}
FORMER: Mapping[str, Mapping[str, float]] = {
    "sgd": {"step_size": 1e-3},
    "rmsprop": {"step_size": 1e-3, "stability": 1e-8},
    "adam": {"step_size": 2e-3, "stability": 1e-8},
    "optimistic_adam": {"step_size": 1e-3, "stability": 1e-8},
    "extra_adam": {"step_size": 2e-3, "stability": 1e-8},
    "alt_extra_adam": {"step_size": 2e-3, "stability": 1e-8},
    "past_extra_adam": {"step_size": 2e-3, "stability": 1e-8},
    "mirror_gan": _MIRROR,
    "mirror_prox_gan": _MIRROR,
    "alt_mirror_gan": {**_MIRROR, "step_size": 2e-3},
    "alt_mirror_prox_gan": _MIRROR,
    "chambolle_pock": _MIRROR,
}


def items(algorithm: str) -> tuple[str, ...]:
    """KEY=VALUE of all that a later default may change.

    Args:
      algorithm: of FORMER.
    """
    every: dict[str, Any] = {**_ANY, **FORMER[algorithm]}
    return tuple(f"{key}={value}" for key, value in every.items())
