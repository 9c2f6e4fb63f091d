"""Runs the run of a workdir again and compares all that it wrote, bit for bit.

    python -m trainers.replay --workdir=DIR
    python -m trainers.replay --workdir=DIR --until=3000 --output=runs/again

The run is that of DIR's config.json and, if it rolled back, recoveries.json. Compared are the
lines of metrics.jsonl, the tensors of the checkpoints that both have at the same mini-batch, the
pictures samples/step_*.png, samples/final.npz and scorecard.json. Where package versions, code,
processor or replicas are others than DIR's provenance.json says, bitwise equality is not promised;
what differs is said first. A run that has not finished is run up to its newest checkpoint.
Exit codes: 0 all is equal, 1 something differs, 2 bad input, 130 and 143 stopped by a signal.
"""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl import flags

from tf_mixed_nash.errors import InputError
from trainers.system import cli
from trainers.system.files import make_writable, write_atomically
from trainers.system.quiet import import_tensorflow
from trainers.workdir import recoveries
from trainers.workdir.checkpoints import Checkpoints

__all__ = ["DIFFERS", "Row", "compare", "replay"]

DIFFERS = 1
_METRICS, _CARD, _ARRAYS = "metrics.jsonl", "scorecard.json", "samples/final.npz"


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


def replay(
    workdir: Path,
    output: Path,
    until: int | None = None,
    data: Mapping[str, str] | None = None,
) -> tuple[int, list[Row]]:
    """Runs the run of a workdir again in another folder, and compares the two.

    Args:
      workdir: of trainers.run.
      output: a new or empty folder.
      until: compare the first so many mini-batches; all that there are by default.
      data: keys of the config's `data` that have moved, such as `path`.

    Returns:
      The exit code (0, DIFFERS, 130 or 143) and the rows; no rows if a signal stopped it.

    Raises:
      InputError: if the workdir is none or holds nothing to compare, the output is not empty, or
        the data are not there.
    """
    from trainers.experiment import settings
    from trainers.experiment.options import options_of
    from trainers.session import train

    config = settings.load_workdir_config(workdir)
    config["data"] = {**config.get("data", {}), **(data or {})}
    options = options_of(config)
    if options.devices == "multi_worker":  # one process does what many did
        config["strategy"] = "default"
    last = _last_step(workdir, options.num_batches)
    until = last if until is None else min(until, last)
    make_writable(output, "--output")
    if any(output.iterdir()):
        raise InputError(f"{output} is not empty. Give a new folder with --output.")
    for note in _other_circumstances(workdir, config):
        print(f"warning: {note}: bitwise equality is not promised.", file=sys.stderr)

    # Both before the training, which takes a folder with a config for one that it began, and reads
    # there from which steps on the run had smaller steps and other noise.
    write_atomically(output / "config.json", lambda p: p.write_text(settings.to_json(config)))
    if (workdir / recoveries.FILE).is_file():
        shutil.copy(workdir / recoveries.FILE, output / recoveries.FILE)
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        code = train.train(config, output, until)
    reached = max(Checkpoints(output / "checkpoints").steps, default=0)
    if code in (cli.STOPPED, cli.INTERRUPTED) and reached < until:
        return code, []
    rows = compare(workdir, output, reached, reached >= options.num_batches)
    if code == cli.DIVERGED:
        rows = [Row("training", f"diverges after mini-batch {reached}", False), *rows]
    return (DIFFERS if any(row.equal is False for row in rows) else cli.DONE), rows


def _last_step(workdir: Path, total: int) -> int:
    """Up to where the workdir can be compared: its end, newest checkpoint, or last record."""
    checkpoints = Checkpoints(workdir / "checkpoints")
    steps, lines = checkpoints.steps, _lines(workdir)
    if not steps and not lines:
        raise InputError(
            f"{workdir} holds nothing to compare: neither records in {_METRICS} nor checkpoints."
        )
    if (workdir / _CARD).is_file():
        return total
    return steps[-1] if steps else json.loads(lines[-1])["step"]


# What is not as it was.


def _other_circumstances(workdir: Path, config: Mapping[str, Any]) -> Iterator[str]:
    from trainers.experiment.build import task_of
    from trainers.experiment.options import options_of
    from trainers.system import devices, provenance

    manifest = _newest_manifest(workdir)
    if manifest:
        ours = {
            "replicas": devices.num_replicas(options_of(config).devices),
            "data (fingerprint)": task_of(config).state().get("fingerprint"),
        }
        there = manifest.get("data", {}).get("fingerprint")
        theirs = {"replicas": manifest.get("replicas"), "data (fingerprint)": there}
        yield from _others(theirs, ours)
    try:
        then = json.loads((workdir / provenance.FILE).read_text())
    except (OSError, ValueError):
        yield f"{workdir / provenance.FILE} is missing or cannot be read"
        return
    now = provenance.describe(config)
    yield from _others(then.get("versions", {}), now["versions"])
    code = ("commit", "diff_sha256", "untracked")
    yield from _others(
        {f"code ({k})": then.get("code", {}).get(k) for k in code},
        {f"code ({k})": now["code"].get(k) for k in code},
    )
    hardware = ("machine", "processor", "cores", "gpus")
    yield from _others(
        {k: then.get("hardware", {}).get(k) for k in hardware},
        {k: now["hardware"][k] for k in hardware},
    )
    yield from _others(then.get("environment", {}), now["environment"])
    sessions = then.get("sessions", [])
    for key in ("versions", "commit", "dirty", "hardware"):
        if any(s.get(key) != sessions[0].get(key) for s in sessions):
            yield f"the run's own {len(sessions)} sessions are not all of the same {key}"


def _others(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    for key in sorted({*then, *now}):
        if then.get(key) != now.get(key):
            yield f"other {key} ({then.get(key)} there, {now.get(key)} now)"


def _newest_manifest(workdir: Path) -> Mapping[str, Any]:
    checkpoints = Checkpoints(workdir / "checkpoints")
    for step in reversed(checkpoints.steps):
        with contextlib.suppress(InputError):
            return checkpoints.saved(step).manifest
    return {}


# Comparing.


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
    for name, read in ((_ARRAYS, _read_arrays), (_CARD, _read_card)):
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


def _lines(workdir: Path) -> list[str]:
    """The whole lines of metrics.jsonl; a kill may have cut the last one off."""
    path = workdir / _METRICS
    lines = path.read_text().splitlines(keepends=True) if path.is_file() else []
    return [line for line in lines if line.endswith("\n")]


def _compare_lines(workdir: Path, again: Path, reached: int) -> Row:
    try:
        then, now = (
            [line for line in _lines(folder) if json.loads(line)["step"] <= reached]
            for folder in (workdir, again)
        )
    except (ValueError, KeyError, TypeError) as error:
        return Row(_METRICS, f"has a line that is no record ({error})", False)
    different = [i for i, (a, b) in enumerate(zip(then, now, strict=False)) if a != b]
    what = f"{_METRICS}, {len(then)} lines"
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
    then, now = (Checkpoints(folder / "checkpoints") for folder in (workdir, again))
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
        paths = sorted((folder / "samples").glob("step_*.png"))
        return {p.name: p.read_bytes() for p in paths if int(p.stem[5:]) <= reached}

    then, now = pictures(workdir), pictures(again)
    different = [name for name in sorted({*then, *now}) if then.get(name) != now.get(name)]
    difference = None
    if different:
        where = [w for w, there in (("there", then), ("now", now)) if different[0] not in there]
        what = f"is missing {where[0]}" if where else "has other bytes"
        difference = f"{different[0]} {what}; {len(different)} pictures differ"
    return _row(f"samples/step_*.png, {len(then)} pictures", difference)


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


# The command.


@contextlib.contextmanager
def _folder(workdir: Path, output: str | None) -> Iterator[tuple[Path, list[bool]]]:
    """Where to run, and a list that something is added to if it is worth keeping."""
    keep: list[bool] = []
    if output:
        yield Path(output), keep
        return
    beside = workdir.resolve()
    try:
        folder = Path(tempfile.mkdtemp(prefix=f"{beside.name}-replay-", dir=beside.parent))
    except OSError as error:
        raise InputError(
            f"{beside.parent} cannot be written ({error.strerror}). Give a folder with --output."
        ) from None
    try:
        yield folder, keep
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


def main() -> int:
    """The command."""
    from trainers.experiment import settings

    workdir, until = Path(flags.FLAGS.workdir), flags.FLAGS.until
    settings.load_workdir_config(workdir)  # says what is wrong with it before TensorFlow loads
    if until is not None and until < 1:
        raise InputError(f"--until must be at least 1, got {until}.")
    import_tensorflow()
    moved = {"path": flags.FLAGS.data_path, "tfds_dir": flags.FLAGS.tfds_dir}
    moved = {key: value for key, value in moved.items() if value}
    with _folder(workdir, flags.FLAGS.output) as (output, keep):
        code, rows = replay(workdir, output, until, moved)
        if not rows:
            print("Stopped before the end; nothing was compared.")
            return code
        print(format_table(rows))
        if code == cli.DONE:
            print(f"Equal to {workdir}, bit for bit, in all that was compared.")
        else:
            keep.append(True)
            print(f"{sum(r.equal is False for r in rows)} differ (*). The replay is in {output}.")
    return code


if __name__ == "__main__":
    flags.DEFINE_string("workdir", None, "A workdir of trainers.run.")
    flags.DEFINE_string(
        "output", None, "A new folder for the replay; by default one beside, removed if equal."
    )
    flags.DEFINE_integer("until", None, "Only so many mini-batches of the run.")
    flags.DEFINE_string("data_path", None, "Where the data are now (config's data.path).")
    flags.DEFINE_string("tfds_dir", None, "Where TFDS data sets are now (config's data.tfds_dir).")
    flags.mark_flag_as_required("workdir")
    cli.main(main, sys.argv)
