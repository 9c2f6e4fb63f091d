"""Matrices whose rows never change once they are there: copied once, hashed once.

The reservoir's rows are most of a checkpoint's bytes, and most of them were in the checkpoint
before, too. Each checkpoint still writes all of them, into a file of its own: a file that
two checkpoints shared would be lost to both when it is damaged (docs/decisions/0016).
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path
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

    def write(self, path: Path) -> dict[str, Any]:
        """Writes the entries, row by row, as this machine's bytes.

        Returns:
          The file's bytes and the SHA-256 of each of its equal parts, as `files.what_is_wrong`
          checks them.
        """
        with path.open("wb", buffering=0) as file:
            for row in self.rows:
                _write_all(file, memoryview(row.value.data).cast("B"))
        return {"bytes": self.nbytes, "sha256": [row.sha256 for row in self.rows]}

    def describe(self) -> dict[str, Any]:
        """What `read` needs to know."""
        return {"shape": list(self.shape), "dtype": self.dtype.name}

    @staticmethod
    def read(path: Path, shape: Sequence[int], dtype: str) -> np.ndarray:
        """The matrix that `write` wrote, from what `describe` said.

        Raises:
          OSError: if it cannot be read.
          ValueError: if its size is another.
        """
        return np.fromfile(path, dtype).reshape(tuple(shape))


def _write_all(file: Any, content: memoryview) -> None:
    # A file without a buffer may write less than it was given.
    while content:
        content = content[file.write(content) :]
