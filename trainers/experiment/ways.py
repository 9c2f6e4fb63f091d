"""How the steps of a run are compiled where its config leaves it to us: `compile=auto`.

The two ways are the same run but for rounding (docs/decisions/0023), so that a session may choose
by the machine it is on. The choice is made once, by a rule from what was measured, and is kept in
provenance.json with its reason.
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from trainers.system import devices

__all__ = ["Choice", "choose"]


class Choice(NamedTuple):
    """How the steps are compiled.

    Attributes:
      asked: config.compile: auto, parts or whole.
      way: parts or whole.
      reason: why.
    """

    asked: str
    way: str
    reason: str


def choose(asked: str, strategy: str) -> Choice:
    """The way of a run on this machine.

    Args:
      asked: the config's `compile`.
      strategy: the config's.
    """
    if asked != "auto":
        return Choice(asked, asked, "the config says so")
    replicas = devices.num_replicas(strategy)
    if replicas > 1:
        return Choice(
            asked, "parts", f"one XLA program is of one device, and this run has {replicas}"
        )
    if tf.config.list_logical_devices("GPU"):
        return Choice(asked, "whole", "on a GPU a step of single kernels waits for their launches")
    return Choice(asked, "parts", "on CPUs one program gains less than compiling it takes")
