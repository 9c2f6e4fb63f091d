"""Matrices whose rows never change once they are there: copied once, hashed once.

The reservoir's rows are most of a checkpoint's bytes, and most of them were in the checkpoint
before, too.
"""

from __future__ import annotations

import functools
import hashlib
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
    """A matrix [n, d] of rows that do not change.

    Args:
      rows: n of them.
      num_columns: d.
      dtype: of all entries.
    """

    def __init__(self, rows: Sequence[Row], num_columns: int, dtype: Any):
        self.rows = tuple(rows)
        self.shape = (len(self.rows), num_columns)
        self.dtype = np.dtype(dtype)

    @property
    def nbytes(self) -> int:
        """Of all entries."""
        return self.shape[0] * self.shape[1] * self.dtype.itemsize

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        values = [row.value for row in self.rows]
        matrix = np.stack(values) if values else np.empty(self.shape, self.dtype)
        return matrix if dtype is None else matrix.astype(dtype)
