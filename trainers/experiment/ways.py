"""How the steps of a run are compiled where its config leaves it to us: `compile=auto`.

The two ways are the same run but for rounding (docs/decisions/0023), so that a session may choose
by the machine it is on. The choice is made once, by a rule from what was measured and not by a
measurement at the start, so that the same command is the same run, bit for bit; it is kept in
provenance.json with its reason. On CPUs one program takes half the time of parts where layers are
small, and more where they are large (docs/decisions/0031 and 0032).
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from trainers.experiment.sizes import LONG, SMALL
from trainers.system import devices

__all__ = ["LONG", "SMALL", "Choice", "choose"]


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


def choose(asked: str, strategy: str, num_batches: int, products: int | None) -> Choice:
    """The way of a run on this machine.

    Args:
      asked: the config's `compile`.
      strategy: the config's.
      num_batches: of the run.
      products: weights times the rows that read them in a mini-batch, of both players together;
        None where a step is more than products of matrices and what we wrote ourselves.
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
    if products is None:
        return Choice(
            asked,
            "parts",
            "on CPUs one program is for dense layers and data and functions of our own",
        )
    size = f"{products / 1e6:.3g} million products of weights and rows a mini-batch"
    if products > SMALL:
        return Choice(asked, "parts", f"on CPUs one program gains nothing with {size}")
    if num_batches < LONG:
        return Choice(
            asked,
            "parts",
            f"on CPUs one program takes longer to compile than it saves in {num_batches:,} "
            "mini-batches",
        )
    return Choice(asked, "whole", f"on CPUs one program is faster with {size}")
