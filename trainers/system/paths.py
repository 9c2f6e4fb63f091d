"""Paths that TensorFlow would read as patterns."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from tf_mixed_nash.errors import InputError

__all__ = ["check_name", "literal"]

# TensorFlow looks for files by patterns, and has no way to say that a name is none.
_PATTERN = set("[]*?\\")


@contextlib.contextmanager
def literal(folder: Path) -> Iterator[Path]:
    """The folder by a path that TensorFlow reads as it stands, here and in child processes.

    It is the folder's own, unless it has characters of patterns; then one below /proc, which holds
    inside the `with` block only.
    """
    if not _PATTERN & set(str(folder)):
        yield folder
        return
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield Path(f"/proc/{os.getpid()}/fd/{opened}")
    finally:
        os.close(opened)


def check_name(folder: Path, flag: str) -> None:
    """Raises InputError for a folder whose path TensorFlow cannot be told at all.

    Args:
      folder: that will be written.
      flag: that gave it, for the message.
    """
    try:
        str(folder.absolute()).encode()
    except UnicodeEncodeError:
        raise InputError(
            f"The path {os.fsencode(folder)!r} has bytes that are no UTF-8, and TensorFlow writes "
            f"no files there. Give another folder with {flag}."
        ) from None
