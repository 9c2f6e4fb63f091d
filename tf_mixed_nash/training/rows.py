"""Tensors whose rows never change once they are there: copied once, hashed once.

The reservoir's rows are most of a checkpoint's bytes, and most of them were in the checkpoint
before, too.
"""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["Row", "Rows"]


class Row:
    """One row, read-only, and its SHA-256."""

    def __init__(self, value: np.ndarray):
        self.value = np.ascontiguousarray(value).view()
        self.value.flags.writeable = False

    @functools.cached_property
    def sha256(self) -> str:
        """Of its bytes, in hexadecimal digits."""
        return hashlib.sha256(self.value.data).hexdigest()


class Rows:
    """A tensor [n, ...] of rows that do not change.

    Args:
      rows: n of them.
      row_shape: of each.
      dtype: of all entries.
    """

    def __init__(self, rows: Sequence[Row], row_shape: Sequence[int], dtype: Any):
        self.rows = tuple(rows)
        self.shape = (len(self.rows), *row_shape)
        self.dtype = np.dtype(dtype)

    @property
    def nbytes(self) -> int:
        """Of all entries."""
        return math.prod(self.shape) * self.dtype.itemsize

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        values = [row.value for row in self.rows]
        matrix = np.stack(values) if values else np.empty(self.shape, self.dtype)
        return matrix if dtype is None else matrix.astype(dtype)
