"""Tables in files: rows [n, d] of an .npy, .npz or .csv."""

from __future__ import annotations

import csv
import zipfile
from pathlib import Path

import numpy as np

from tf_mixed_nash.errors import InputError
from trainers.tasks.data import user_data
from trainers.tasks.data.user_data import ArrayData

__all__ = ["read"]

_FORMS = (
    "Expected an .npy of [n, d], an .npz with `data` (or one array) and perhaps `labels`, or a .csv"
    " of numbers, with or without a line of names."
)


def read(
    path: str | None, held_out: float = 0.1, seed: int = 0
) -> tuple[ArrayData, ArrayData | None]:
    """(training, held-out) rows of a file.

    Args:
      path: of it.
      held_out: the fraction that scores are compared with, in [0, 1); 0: none.
      seed: decides which rows.

    Raises:
      InputError: if there is no such file, or it holds something else.
    """
    if not path:
        raise InputError(
            f"dataset=vectors needs --config.data.path=FILE, a table of numbers. {_FORMS}"
        )
    file = Path(path).expanduser()
    if not file.is_file():
        raise InputError(f"There is no file {path} (--config.data.path). {_FORMS}")
    try:
        x, y = _csv(file) if file.suffix == ".csv" else _numpy(file)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} cannot be read ({error}). {_FORMS}") from None
    if x.ndim == 1:
        x = x[:, None]
    if x.ndim != 2:
        raise InputError(f"{path} holds an array of shape {list(x.shape)}. {_FORMS}")
    data = ArrayData(x, y, str(file))
    if not held_out:
        return data, None
    return data.split(held_out, user_data.order_seed(seed, "held_out"))


def _numpy(file: Path) -> tuple[np.ndarray, np.ndarray | None]:
    content = np.load(file, allow_pickle=False)
    if isinstance(content, np.ndarray):
        return content, None
    names = [n for n in content.files if n != "labels"]
    name = "data" if "data" in names else names[0] if len(names) == 1 else None
    if name is None:
        raise ValueError(f"it holds {', '.join(content.files) or 'nothing'}")
    return content[name], content["labels"] if "labels" in content.files else None


def _csv(file: Path) -> tuple[np.ndarray, None]:
    with file.open(newline="") as lines:
        rows = [row for row in csv.reader(lines) if row]
    if rows and not all(_is_number(cell) for cell in rows[0]):
        rows = rows[1:]
    for number, row in enumerate(rows, 1):
        if len(row) != len(rows[0]):
            raise ValueError(f"row {number} has {len(row)} columns, the first {len(rows[0])}")
        for cell in row:
            if not _is_number(cell):
                raise ValueError(f"row {number} holds {cell!r}, which is no number")
    return np.array([[float(cell) for cell in row] for row in rows], np.float64), None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
