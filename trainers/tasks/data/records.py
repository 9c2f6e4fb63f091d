"""What all sources of images are: random access to records, and what is known of them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

__all__ = ["Part", "Record", "Skipped", "Source", "digest", "natural", "shown"]


class Record(NamedTuple):
    """One image: `image` is encoded bytes or uint8 [h, w] or [h, w, c]; `label` or None."""

    image: Any
    label: int | None


class Skipped(NamedTuple):
    """A file or folder that is no record: its name below the data's folder, and why."""

    name: str
    why: str


class Source(Protocol):
    """Random access to records; what all sources derive from. Reading is thread-safe.

    Attributes:
      name: for messages and reports.
      num_classes: how many labels there are, or None.
      fingerprint: changes when the data do; keys cached statistics.
      class_names: of the labels 0, 1, ..., where they have names.
      labels: int [n], where they are known without reading the records.
      skipped: what lies among the data and is no record.
      notes: what else a user should know of the data, sentences.
      changed: records that were found to be others than when the source was opened.
    """

    name: str
    num_classes: int | None
    fingerprint: str
    class_names: tuple[str, ...] | None = None
    labels: np.ndarray | None = None
    skipped: Sequence[Skipped] = ()
    notes: Sequence[str] = ()
    changed: set[int] = set()  # noqa: RUF012  # empty; sources that can tell have their own

    def __len__(self) -> int:
        """How many records there are."""
        ...

    def read(self, index: int) -> Record:
        """Record number `index`, in [0, len(self)).

        Raises:
          OSError: if it cannot be read.
        """
        ...

    def where(self, index: int) -> str:
        """Record number `index` in words, so that its owner finds it."""
        return f"record {index}"


class Part(Source):
    """Some records of a source, in their order.

    Args:
      source: of all records.
      indices: int [n] of those that are here.
    """

    def __init__(self, source: Source, indices: np.ndarray):
        self._source, self._indices = source, np.sort(indices)
        self.name, self.num_classes = source.name, source.num_classes
        self.class_names, self.skipped, self.notes = (
            source.class_names,
            source.skipped,
            source.notes,
        )
        self.labels = None if source.labels is None else source.labels[self._indices]
        self.fingerprint = digest(source.fingerprint, self._indices.tobytes())

    def __getattr__(self, name: str):
        return getattr(self._source, name)  # what a kind of source has of its own

    @property
    def changed(self):
        """See `Source`."""
        return {
            i for i, index in enumerate(self._indices.tolist()) if index in self._source.changed
        }

    def __len__(self) -> int:
        return len(self._indices)

    def read(self, index: int) -> Record:
        return self._source.read(int(self._indices[index]))

    def where(self, index: int) -> str:
        return self._source.where(int(self._indices[index]))


def digest(*parts: object) -> str:
    """16 hexadecimal digits of a hash of the parts' texts."""
    return hashlib.blake2b(repr(parts).encode(), digest_size=8).hexdigest()


def natural(name: str) -> tuple[list[Any], str]:
    """Sorts names as people count: 1, 2, 10; a2, a10."""
    parts: list[Any] = re.split("([0-9]+)", name)  # text and digits in turn
    parts[1::2] = map(int, parts[1::2])
    return parts, name


def shown(name: str) -> str:
    """A file's name for a message on one line, whatever bytes are in it."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in name)
