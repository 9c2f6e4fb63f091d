"""A folder of images as people have them: docs/images.md has the rule of each thing found there."""

from __future__ import annotations

import errno
import functools
import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tf_mixed_nash.errors import InputError
from trainers.tasks.data.decoding import is_image
from trainers.tasks.data.records import Record, Skipped, Source, digest, natural, shown

__all__ = ["FolderSource", "first_of", "foremost"]

# Files of these endings are records unseen, damaged ones too; others are looked into.
_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
# What operating systems, file servers and editors leave, in lower case.
_SYSTEM = {
    *("__macosx", "__pycache__", "@eadir", "#recycle", "$recycle.bin", "lost+found"),
    *("system volume information", "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"),
}
# Sets of up to so many bytes are hashed whole; of larger ones a few files.
_HASHED_BYTES = 4 * 2**30
_HASHED_FILES = 256
_SPLITS = {"train", "training", "test", "testing", "val", "valid", "validation", "dev"}


class _File(NamedTuple):
    """A record: its path below the folder, by its parts; bytes; time of its last change."""

    parts: tuple[str, ...]
    size: int
    changed: int


class FolderSource(Source):
    """Image files of a folder, in sorted order; its sub-folders, if any, are the classes.

    Links are followed. Hidden and system names are skipped. The classes are in natural order:
    1, 2, 10. The fingerprint is of names and contents: of every byte of sets of up to 4 GiB; of
    larger ones of 256 files, and of the size and time of change of all.

    Args:
      path: the folder.

    Raises:
      InputError: if the folder is missing, holds no images, or a folder in it cannot be read.
    """

    def __init__(self, path: Path):
        if not path.is_dir():
            raise InputError(f"There is no folder {path}. Give one with --config.data.path.")
        found = list(_walk(path))
        self.skipped = [f for f in found if isinstance(f, Skipped)]
        files = sorted(f for f in found if isinstance(f, _File))
        if not files:
            skipped = f" Skipped: {first_of(self.skipped)}." if self.skipped else ""
            raise InputError(
                f"{path} holds no images.{skipped} Expected files ending in "
                f"{', '.join(_SUFFIXES)} in it or in its sub-folders, or an LMDB directory "
                "(data.mdb)."
            )
        self.name, self._path = str(path), path
        self._files = ["/".join(f.parts) for f in files]
        # Not Python's tuples: of a million files.
        self._stats = np.array([(f.size, f.changed) for f in files], np.int64)
        self.num_classes: int | None = None
        self.changed = set()
        self._sort_into_classes([f.parts for f in files])
        self.fingerprint = self._fingerprint()

    def _sort_into_classes(self, parts: list[tuple[str, ...]]) -> None:
        loose = [p[0] for p in parts if len(p) == 1]
        names = sorted({p[0] for p in parts if len(p) > 1}, key=natural)
        if names and not loose:
            number = {name: i for i, name in enumerate(names)}
            self.labels = np.array([number[p[0]] for p in parts])
            self.class_names, self.num_classes = tuple(names), len(names)
            without = sorted(e.name for e in os.scandir(self._path) if e.is_dir())
            empty = [n for n in without if n not in number and not _is_hidden(n)]
            notes = [f"no class, since without images: {_few(empty)}"] if empty else []
            if {n.lower() for n in names} <= _SPLITS and len(names) > 1:
                notes.append(
                    f"{_few(names)} look like parts of a data set, not like classes: to train on "
                    f"one, give --config.data.path={self._path / names[0]}"
                )
            self.notes = notes
        elif names:
            self.notes = [
                f"{len(loose):,} images lie beside the {len(names):,} sub-folders ({_few(loose)}), "
                "so there are no classes"
            ]

    def _fingerprint(self) -> str:
        total, num = int(self._stats[:, 0].sum()), len(self._files)
        with ThreadPoolExecutor(4, "fingerprint") as pool:
            if total <= _HASHED_BYTES:
                return digest(list(zip(self._files, pool.map(self._hash, range(num)), strict=True)))
            some = np.unique(np.linspace(0, num - 1, _HASHED_FILES).astype(int)).tolist()
            contents = list(pool.map(self._hash, some))
        return digest(self._files, self._stats.tobytes(), contents)

    def _hash(self, index: int) -> str:
        try:
            with open(self._path / self._files[index], "rb") as file:
                return hashlib.file_digest(
                    file, functools.partial(hashlib.blake2b, digest_size=16)
                ).hexdigest()
        except OSError as error:
            return f"unreadable ({error.errno})"

    def __len__(self) -> int:
        return len(self._files)

    def read(self, index: int) -> Record:
        label = None if self.labels is None else int(self.labels[index])
        with open(self._path / self._files[index], "rb") as file:
            now = os.fstat(file.fileno())
            if (now.st_size, now.st_mtime_ns) != tuple(self._stats[index]):
                self.changed.add(index)
            return Record(file.read(), label)

    def where(self, index: int) -> str:
        """The file's path below the folder."""
        return shown(self._files[index])


def foremost(skipped: Iterable[Skipped]) -> list[Skipped]:
    """In the order of their names, but first what is not usually skipped."""
    return sorted(skipped, key=lambda s: s.why in ("hidden", "of the system"))


def first_of(skipped: Iterable[Skipped], num: int = 3) -> str:
    """The first names, each with its reason."""
    order = foremost(skipped)
    more = f", and {len(order) - num:,} more" if len(order) > num else ""
    return ", ".join(f"{shown(s.name)} ({s.why})" for s in order[:num]) + more


def _few(names: list[str], num: int = 3) -> str:
    return ", ".join(map(shown, names[:num])) + (", ..." if len(names) > num else "")


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() in _SYSTEM


def _walk(root: Path) -> Iterator[_File | Skipped]:
    """The files below a folder, links followed; and what is skipped."""

    def enter(folder: Path, parts: tuple[str, ...], above: frozenset[tuple[int, int]]):
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            raise InputError(
                f"{shown(str(folder))} cannot be read ({error.strerror}), so that its images would "
                "be missing. Make it readable, or move it out of the data's folder."
            ) from None
        for entry in entries:
            here = (*parts, entry.name)
            if entry.name.startswith("."):
                yield Skipped("/".join(here), "hidden")
            elif _is_hidden(entry.name):
                yield Skipped("/".join(here), "of the system")
            else:
                yield from look(entry, here, above)

    def look(entry: os.DirEntry[str], parts: tuple[str, ...], above: frozenset[tuple[int, int]]):
        name = "/".join(parts)
        try:
            info = entry.stat()
        except OSError as error:
            why = {errno.ENOENT: "a link to nothing", errno.ELOOP: "a link to itself"}
            yield Skipped(name, why.get(error.errno or 0, str(error.strerror)))
            return
        if stat.S_ISDIR(info.st_mode):
            folder = (info.st_dev, info.st_ino)
            if folder in above:
                yield Skipped(name, "a link to a folder that it lies in")
            else:
                yield from enter(root.joinpath(*parts), parts, above | {folder})
        elif not stat.S_ISREG(info.st_mode):
            yield Skipped(name, "no regular file")
        elif entry.name.lower().endswith(_SUFFIXES) or is_image(root.joinpath(*parts)):
            yield _File(parts, info.st_size, info.st_mtime_ns)
        else:
            yield Skipped(name, "no image")

    info = root.stat()
    yield from enter(root, (), frozenset({(info.st_dev, info.st_ino)}))
