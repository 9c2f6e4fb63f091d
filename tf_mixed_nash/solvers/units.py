"""Payoffs whose squares are no numbers any more are measured in other units."""

from __future__ import annotations

import math

import tensorflow as tf

from tf_mixed_nash.solvers.solution import Solution

__all__ = ["in_units", "unit_of"]


def unit_of(largest: float, dtype: tf.DType) -> float:
    """A power of two, in which no rounding is otherwise; 1 for payoffs of usual size.

    Args:
      largest: of the payoffs' absolute values.
      dtype: in which they are computed.
    """
    limit = 2.0**256 if dtype == tf.float64 else 2.0**32
    if not largest or 1 / limit <= largest <= limit:
        return 1.0
    return 2.0 ** (math.frexp(largest)[1] - 1)


def in_units(s: Solution, unit: float) -> Solution:
    """A solution whose payoffs were divided by the unit, as one of the game before."""
    history = {
        k: x * unit if k in ("gap", "value", "last_gap") else x for k, x in s.history.items()
    }
    return s._replace(value=s.value * unit, gap=s.gap * unit, history=history)
