"""What two workdirs of one run hold, compared bit for bit."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tf_mixed_nash.errors import InputError
from trainers.workdir import recoveries
from trainers.workdir.checkpoints import Checkpoints
from trainers.workdir.folder import CARD, CHECKPOINTS, FINAL, METRICS, SAMPLES, whole_lines

__all__ = ["Row", "compare", "first_difference", "format_table"]


class Row(NamedTuple):
    """One line of the comparison.

    Attributes:
      what: was compared.
      result: "equal", what differs first, or why it was not compared.
      equal: None if it was not compared.
    """

    what: str
    result: str
    equal: bool | None


def compare(workdir: Path, again: Path, reached: int, ended: bool) -> list[Row]:
    """Compares what two workdirs hold of one run.

    Args:
      workdir: the first.
      again: the other; messages call it "now".
      reached: mini-batches that both have done.
      ended: whether those are all of the run, so that both may have been scored.
    """
    rows = [_compare_lines(workdir, again, reached), *_compare_recoveries(workdir, again)]
    rows += _compare_checkpoints(workdir, again, reached)
    rows.append(_compare_pictures(workdir, again, reached))
    for name, read in ((FINAL, _read_arrays), (CARD, _read_card)):
        if not ended or not (workdir / name).is_file():
            why = "not compared: of the end of the run" if not ended else "not compared: not there"
            rows.append(Row(name, why, None))
            continue
        try:
            difference = first_difference(read(workdir / name), read(again / name))
        except (OSError, ValueError) as error:
            difference = f"cannot be read: {error}"
        rows.append(_row(name, difference))
    return rows


def _row(what: str, difference: str | None) -> Row:
    return Row(what, difference or "equal", difference is None)


def _compare_lines(workdir: Path, again: Path, reached: int) -> Row:
    try:
        then, now = (
            [line for line in whole_lines(folder / METRICS) if json.loads(line)["step"] <= reached]
            for folder in (workdir, again)
        )
    except (ValueError, KeyError, TypeError) as error:
        return Row(METRICS, f"has a line that is no record ({error})", False)
    different = [i for i, (a, b) in enumerate(zip(then, now, strict=False)) if a != b]
    what = f"{METRICS}, {len(then)} lines"
    if different:
        i = different[0]
        first = first_difference(json.loads(then[i]), json.loads(now[i])) or "is written otherwise"
        return Row(what, f"line {i + 1}: {first}; {len(different)} lines differ", False)
    return _row(what, None if len(then) == len(now) else f"{len(now)} lines now")


def _compare_recoveries(workdir: Path, again: Path) -> list[Row]:
    then, now = recoveries.read(workdir), recoveries.read(again)
    if not then and not now:
        return []
    difference = None if then == now else f"{len(now)} rollbacks now"
    return [_row(f"{recoveries.FILE}, {len(then)} rollbacks", difference)]


def _compare_checkpoints(workdir: Path, again: Path, reached: int) -> Iterator[Row]:
    then, now = (Checkpoints(folder / CHECKPOINTS) for folder in (workdir, again))
    both = sorted({*then.steps} & {*now.steps})
    for step in both:
        what = f"checkpoint {step:,}"
        try:
            theirs, ours = (x.tensors if (x := c.read(step)) else {} for c in (then, now))
        except InputError as error:
            yield Row(what, str(error), False)
            continue
        yield _row(f"{what}, {len(theirs)} tensors", first_difference(theirs, ours))
    # Written when the run was stopped, or no longer there in the other.
    if alone := [f"{s:,}" for s in then.steps if s not in both and s <= reached]:
        yield Row("other checkpoints", f"not compared: {', '.join(alone)} not made now", None)
    if not both:
        yield Row("checkpoints", "not compared: none of the same mini-batch", None)


def _compare_pictures(workdir: Path, again: Path, reached: int) -> Row:
    def pictures(folder: Path) -> dict[str, bytes]:
        paths = sorted((folder / SAMPLES).glob("step_*.png"))
        return {p.name: p.read_bytes() for p in paths if int(p.stem[5:]) <= reached}

    then, now = pictures(workdir), pictures(again)
    different = [name for name in sorted({*then, *now}) if then.get(name) != now.get(name)]
    difference = None
    if different:
        where = [w for w, there in (("there", then), ("now", now)) if different[0] not in there]
        what = f"is missing {where[0]}" if where else "has other bytes"
        difference = f"{different[0]} {what}; {len(different)} pictures differ"
    return _row(f"{SAMPLES}/step_*.png, {len(then)} pictures", difference)


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def _read_card(path: Path) -> dict[str, Any]:
    card = json.loads(path.read_text())
    # Where the data lie (what they are, their fingerprints say), and how many unreadable records
    # were met, also by reading ahead and by computing statistics that are kept for the next run.
    for part, key in (("data", "name"), ("data", "num_corrupt"), ("protocol", "real_data")):
        card.get(part, {}).pop(key, None)
    return card


def first_difference(then: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """The first entry, by name, in which two mappings of arrays or JSON differ; None if none."""
    then, now = dict(_flat(then)), dict(_flat(now))
    different = [k for k in sorted({*then, *now}) if not _same(then.get(k), now.get(k))]
    if not different:
        return None
    name = different[0]
    more = f" ({len(different)} of {len(then)} entries differ)" if len(different) > 1 else ""
    return f"{name} {_how(then.get(name), now.get(name))}{more}"


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, (np.ndarray, np.generic)) and isinstance(b, (np.ndarray, np.generic)):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    return repr(a) == repr(b)  # NaN is NaN, and 0.0 is not -0.0


def _how(then: Any, now: Any) -> str:
    if not (isinstance(then, np.ndarray) and isinstance(now, np.ndarray)):
        return f"{_short(then)} there, {_short(now)} now"
    if then.dtype != now.dtype or then.shape != now.shape:
        return f"{then.dtype} {list(then.shape)} there, {now.dtype} {list(now.shape)} now"
    try:
        apart = np.abs(then.astype(np.float64) - now.astype(np.float64))
    except (TypeError, ValueError):
        return "has other bytes"
    count = int(np.count_nonzero(~(apart == 0)))
    return f"differs by up to {np.max(apart):.3g} in {count:,} of {then.size:,} numbers"


def _short(value: Any) -> str:
    text = "nothing" if value is None else str(value)
    return text if len(text) <= 40 else text[:37] + "..."


def format_table(rows: Sequence[Row]) -> str:
    """The rows as text, those that differ marked."""
    width = max(len(row.what) for row in rows)
    marks = {True: " ", False: "*", None: " "}
    return "\n".join(f"{marks[r.equal]} {r.what:<{width}}  {r.result}" for r in rows)
