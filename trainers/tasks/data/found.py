"""What a set of images holds: what a run says at its start, and scorecard.json keeps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from trainers.tasks.data.decoding import header
from trainers.tasks.data.folders import first_of, foremost
from trainers.tasks.data.records import Source, shown

__all__ = ["Found", "facts", "look", "text", "unreadable"]

# Records that are opened to see their sizes and modes, evenly over the set.
_LOOKED_AT = 512
_CLASSES_SHOWN = 12
_NAMED = 3


class Found(NamedTuple):
    """What was found.

    Attributes:
      looked_at: how many records were opened.
      smallest, largest: (width, height) of those with the fewest and the most pixels; None if
        no record could be opened.
      small: how many of them are smaller than the images of the run.
      modes: how many of them are of each of Pillow's modes.
      animated: how many of them move.
      classes: name -> records, in the order of the labels; None without classes, or without
        names and counts.
    """

    looked_at: int
    smallest: tuple[int, int] | None
    largest: tuple[int, int] | None
    small: int
    modes: dict[str, int]
    animated: int
    classes: dict[str, int | None] | None


def look(source: Source, size: int) -> Found:
    """Opens some records of a source, without decoding them.

    Args:
      source: the records.
      size: of the images of the run, for `Found.small`.
    """
    num = len(source)
    some = np.unique(np.linspace(0, num - 1, min(num, _LOOKED_AT)).astype(int)).tolist()
    seen = [one for one in (_header(source, index) for index in some) if one]
    sizes = sorted((one.size for one in seen), key=lambda s: (s[0] * s[1], s))
    modes = Counter(one.mode for one in seen)
    return Found(
        looked_at=len(some),
        smallest=sizes[0] if sizes else None,
        largest=sizes[-1] if sizes else None,
        small=sum(min(s) < size for s in sizes),
        modes=dict(sorted(modes.items(), key=lambda item: (-item[1], item[0]))),
        animated=sum(one.animated for one in seen),
        classes=_classes(source),
    )


def _header(source: Source, index: int):
    try:
        return header(source.read(index).image)
    except OSError:
        return None


def _classes(source: Source) -> dict[str, int | None] | None:
    if not source.num_classes:
        return None
    names = source.class_names or tuple(map(str, range(source.num_classes)))
    if source.labels is None:
        return dict.fromkeys(names) if source.class_names else None
    counts = np.bincount(source.labels, minlength=len(names)).tolist()
    return dict(zip(names, counts, strict=True))


def text(source: Source, found: Found, size: int) -> str:
    """Lines for the start of a run."""
    num = len(source)
    parts = [f"{num:,} images{_in_classes(source, found)}"]
    if found.smallest and found.largest:
        low, high = ("{} x {}".format(*s) for s in (found.smallest, found.largest))
        parts.append(low if low == high else f"{low} to {high}")
        parts.append(", ".join(f"{mode} {n:,}" for mode, n in found.modes.items()))
    if found.small:
        parts.append(f"{found.small:,} smaller than {size} pixels, which are enlarged")
    if found.animated:
        parts.append(f"{found.animated:,} animated, of which the first picture counts")
    if found.looked_at < num:
        parts.append(f"sizes and modes of {found.looked_at:,} of them")
    lines = [f"data         {shown(source.name)}: {'; '.join(parts)}"]
    if source.skipped:
        lines.append(f"skipped      {len(source.skipped):,}: {first_of(source.skipped)}")
    lines += [f"note         {note}" for note in source.notes]
    return "\n".join(lines)


def _in_classes(source: Source, found: Found) -> str:
    if not source.num_classes:
        return ", no classes"
    if not found.classes:
        return f" in {source.num_classes:,} classes"
    shown_ = [
        shown(name) if n is None else f"{shown(name)} ({n:,})"
        for name, n in list(found.classes.items())[:_CLASSES_SHOWN]
    ]
    more = len(found.classes) - len(shown_)
    rest = f", and {more:,} more" if more else ""
    return f" in {len(found.classes):,} classes, {', '.join(shown_)}{rest}"


def unreadable(source: Source, corrupt: Mapping[int, str]) -> str:
    """The records that could not be read, in words: how many of how many, the first with why."""
    first = sorted(corrupt.items())[:_NAMED]
    named = ", ".join(f"{source.where(i)} ({why})" for i, why in first)
    more = f", and {len(corrupt) - _NAMED:,} more" if len(corrupt) > _NAMED else ""
    return f"{len(corrupt):,} of {len(source):,} records could not be read: {named}{more}"


def facts(source: Source, found: Found, corrupt: Mapping[int, str]) -> dict[str, Any]:
    """What scorecard.json keeps under `data`, of JSON types."""
    first = sorted(corrupt.items())[:_NAMED]
    return {
        "name": source.name,
        "num_records": len(source),
        "num_corrupt": len(corrupt),
        "fingerprint": source.fingerprint,
        "corrupt": {source.where(index): why for index, why in first},
        "num_changed": len(source.changed),
        "classes": found.classes,
        "looked_at": found.looked_at,
        "smallest": found.smallest and list(found.smallest),
        "largest": found.largest and list(found.largest),
        "num_small": found.small,
        "num_animated": found.animated,
        "modes": found.modes,
        "num_skipped": len(source.skipped),
        "skipped": {shown(s.name): s.why for s in foremost(source.skipped)[:_NAMED]},
        "notes": list(source.notes),
    }
