"""What is small and what is long, for a CPU, and a guess from a config before TensorFlow is loaded.

On CPUs one XLA program is for long trainings of small networks (docs/decisions/0031), whose loops
it cuts into pieces itself; the single operations of all others get half of the cores each
(docs/decisions/0032), which must be known before TensorFlow starts.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from trainers.tasks.kinds import program_of

__all__ = ["LONG", "SMALL", "likely_one_program"]

# Mini-batches: one program takes 3 to 11 seconds of a CPU longer to compile, and saves a fifth of a
# millisecond to three of each (python -m benchmarks.compile, docs/decisions/0031).
LONG = 30_000
# Multiplications of a mini-batch, see `ways.choose`: above it the products take most of the time,
# of which one program's are slower than operations of half the cores each.
SMALL = 3_000_000


def likely_one_program(config: Mapping[str, Any]) -> bool:
    """Whether `ways.choose` will say "whole" on a CPU, as far as an unchecked config tells.

    Where it errs the steps are a little slower than they might be, and the same.
    """
    dense, num_batches = program_of(config)
    if config["compile"] != "auto" or not dense or num_batches < LONG:
        return config["compile"] == "whole"
    try:
        return config["batch_size"] * sum(_hidden(config)) <= SMALL
    except (KeyError, TypeError):  # it is refused later, with a reason
        return False


def _hidden(config: Mapping[str, Any]):
    """Of each player: the weights between its hidden layers, which are most of them."""
    model = config["model"]
    for player in ("generator", "discriminator"):
        units = model[f"{player}_hidden_units"] or model["hidden_units"]
        atoms = config[player].get("num_particles") or config.get("num_particles") or 1
        if player == "generator" and config["particles"]["batch"] == "thin":
            atoms = 1  # they share the rows
        yield atoms * sum(a * b for a, b in itertools.pairwise(units))
