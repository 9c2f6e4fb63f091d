"""How many of a CPU's cores one operation of a training may use: half of them.

The two players' fields do not wait for each other, so that a step is two chains of operations side
by side. TensorFlow by default cuts every operation into as many pieces as there are cores, which
the two chains then take from each other; and of a product of 64 rows a piece is too small
(docs/decisions/0032). More than two cores have not been tried.
"""

from __future__ import annotations

import os

__all__ = ["VARIABLE", "for_training", "side_by_side"]

# TensorFlow's, read when it first computes something.
VARIABLE = "TF_NUM_INTRAOP_THREADS"


def for_training() -> None:
    """Asks TensorFlow for it, before it is loaded; does nothing if the user chose otherwise."""
    os.environ.setdefault(VARIABLE, str(max(1, _cores() // 2)))


def side_by_side() -> int:
    """How many operations keep all cores busy."""
    given = os.environ.get(VARIABLE, "").strip()
    return max(1, _cores() // int(given)) if given.isdecimal() and int(given) else 1


def _cores() -> int:
    return len(os.sched_getaffinity(0))
