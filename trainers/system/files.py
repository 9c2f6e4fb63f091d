"""Files and folders that are never half-written."""

from __future__ import annotations

import hashlib
import json
import os
import re
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tf_mixed_nash.errors import InputError
from trainers.system.paths import check_name

__all__ = [
    "describe_files",
    "is_temporary",
    "make_writable",
    "remove_temporaries",
    "save_arrays",
    "sha256",
    "sync",
    "sync_tree",
    "what_is_wrong",
    "without_nan",
    "write_atomically",
    "write_json",
]

_TEMPORARY = re.compile(r"\..+-[0-9a-f]{8}(\.\w+)?")


def write_atomically(path: Path, write: Callable[[Path], Any]) -> Path:
    """Calls write(temporary path with the same suffix), then renames it to `path`.

    After it returns the file outlasts a loss of power; before, there is the old one or none.
    """
    temporary = path.with_name(f".{path.stem}-{uuid.uuid4().hex[:8]}{path.suffix}")
    try:
        write(temporary)
        sync(temporary)
        os.replace(temporary, path)
        sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def is_temporary(path: Path) -> bool:
    """Whether this module gave a file its name before it had its own."""
    return bool(_TEMPORARY.fullmatch(path.name))


def remove_temporaries(folder: Path) -> None:
    """Removes what processes that were killed left in a folder. Nobody may be writing there."""
    for path in folder.iterdir():
        if is_temporary(path) and path.is_file():
            path.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> Path:
    """Writes JSON with two-space indents, atomically; NaN becomes null."""
    text = json.dumps(without_nan(content), indent=2, allow_nan=False) + "\n"
    return write_atomically(path, lambda temporary: temporary.write_text(text))


def without_nan(content: Any) -> Any:
    """The content as `write_json` writes it: lists for tuples, None for NaN."""
    if isinstance(content, dict):
        return {key: without_nan(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [without_nan(value) for value in content]
    return None if isinstance(content, float) and content != content else content


def save_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> Path:
    """Writes named arrays as a compressed .npz, atomically."""

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)

    return write_atomically(path, write)


def sync(path: Path) -> None:
    """Flushes a file's content, or a folder's names, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(directory: Path) -> None:
    """Flushes a folder and all that is below it."""
    for path in (*directory.rglob("*"), directory):
        sync(path)


def sha256(path: Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def describe_files(directory: Path, but: str) -> dict[str, dict[str, Any]]:
    """Bytes and SHA-256 of every file below a folder but one, by relative name, sorted."""
    paths = sorted(p for p in directory.rglob("*") if p.is_file() and p != directory / but)
    return {
        p.relative_to(directory).as_posix(): {"bytes": p.stat().st_size, "sha256": sha256(p)}
        for p in paths
    }


def what_is_wrong(directory: Path, files: Mapping[str, Mapping[str, Any]]) -> str | None:
    """How a folder's files differ from `describe_files` of before; None if they do not.

    A list of SHA-256 in place of one is of so many equal parts of the file (`Rows`).
    """
    for name, facts in files.items():
        path = directory / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != facts["bytes"]:
            return f"{name} has {path.stat().st_size} bytes instead of {facts['bytes']}"
        known = facts["sha256"]
        now = sha256(path) if isinstance(known, str) else _sha256_of_parts(path, len(known))
        if now != known:
            return f"{name} was changed afterwards (its SHA-256 differs)"
    return None


def _sha256_of_parts(path: Path, count: int) -> list[str]:
    size = path.stat().st_size // max(count, 1)
    with open(path, "rb") as file:
        return [hashlib.sha256(file.read(size)).hexdigest() for _ in range(count)]


def check_file(path: Path, flag: str) -> None:
    """Makes the folder of a file that is to be written, and checks that it can be.

    Raises:
      InputError: if not, naming the flag to change.
    """
    make_writable(path.resolve().parent, flag)
    if path.is_dir():
        raise InputError(f"{flag}={path} is a folder. Give a file, such as {path / 'NAME'}.")


def make_writable(folder: Path, flag: str) -> None:
    """Makes the folder if needed, and checks that files can be made in it.

    Raises:
      InputError: if not, naming the flag to change.
    """
    check_name(folder, flag)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe-{uuid.uuid4().hex[:8]}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise InputError(
            f"{folder} cannot be written ({error.strerror}). Give another folder with {flag}."
        ) from None
