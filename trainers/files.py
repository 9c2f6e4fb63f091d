"""Files that are never half-written."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tf_mixed_nash.errors import InputError

__all__ = ["make_writable", "save_arrays", "write_atomically", "write_json"]


def write_atomically(path: Path, write: Callable[[Path], Any]) -> Path:
    """Calls write(temporary path with the same suffix), then renames it to `path`."""
    temporary = path.with_name(f".{path.stem}-{uuid.uuid4().hex[:8]}{path.suffix}")
    try:
        write(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def write_json(path: Path, content: Any) -> Path:
    """Writes JSON with two-space indents, atomically; NaN becomes null."""
    text = json.dumps(_without_nan(content), indent=2, allow_nan=False) + "\n"
    return write_atomically(path, lambda temporary: temporary.write_text(text))


def _without_nan(content):
    if isinstance(content, dict):
        return {key: _without_nan(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_without_nan(value) for value in content]
    return None if isinstance(content, float) and content != content else content


def save_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> Path:
    """Writes named arrays as a compressed .npz, atomically."""

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)

    return write_atomically(path, write)


def make_writable(folder: Path, flag: str) -> None:
    """Makes the folder if needed, and checks that files can be made in it.

    Raises:
      InputError: if not, naming the flag to change.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe-{uuid.uuid4().hex[:8]}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise InputError(
            f"{folder} cannot be written ({error.strerror}). Give another folder with {flag}."
        ) from None
