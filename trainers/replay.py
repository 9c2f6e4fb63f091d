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
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from absl import flags

from tf_mixed_nash.errors import InputError
from trainers.experiment import settings
from trainers.experiment.options import options_of
from trainers.system import cli
from trainers.system.files import make_writable, write_atomically
from trainers.system.quiet import import_tensorflow
from trainers.workdir import law, recoveries
from trainers.workdir.checkpoints import Checkpoints
from trainers.workdir.differences import Row, compare, format_table
from trainers.workdir.folder import CARD, CHECKPOINTS, CONFIG, METRICS, whole_lines

__all__ = ["DIFFERS", "replay"]

DIFFERS = 1


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
    from trainers.session import train

    config = settings.load_workdir_config(workdir)
    config["data"] = {**config.get("data", {}), **(data or {})}
    law.check(workdir, "A replay would be another run", "Replay runs of this version")
    config["compile"] = _way(workdir, config["compile"])
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
    write_atomically(output / CONFIG, lambda p: p.write_text(settings.to_json(config)))
    if (workdir / recoveries.FILE).is_file():
        shutil.copy(workdir / recoveries.FILE, output / recoveries.FILE)
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        code = train.train(config, output, until)
    reached = max(Checkpoints(output / CHECKPOINTS).steps, default=0)
    if code in (cli.STOPPED, cli.INTERRUPTED) and reached < until:
        return code, []
    rows = compare(workdir, output, reached, reached >= options.num_batches)
    if code == cli.DIVERGED:
        rows = [Row("training", f"diverges after mini-batch {reached}", False), *rows]
    return (DIFFERS if any(row.equal is False for row in rows) else cli.DONE), rows


def _way(workdir: Path, asked: str) -> str:
    """How the run's first session compiled its steps, whatever is the best way here."""
    from trainers.system import provenance

    try:
        then = json.loads((workdir / provenance.FILE).read_text())
        return then["sessions"][0]["compile"]["way"]
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return asked  # the file was lost


def _last_step(workdir: Path, total: int) -> int:
    """Up to where the workdir can be compared: its end, newest checkpoint, or last record."""
    checkpoints = Checkpoints(workdir / CHECKPOINTS)
    steps, records = checkpoints.steps, whole_lines(workdir / METRICS)
    if not steps and not records:
        raise InputError(
            f"{workdir} holds nothing to compare: neither records in {METRICS} nor checkpoints."
        )
    if (workdir / CARD).is_file():
        return total
    return steps[-1] if steps else json.loads(records[-1])["step"]


def _other_circumstances(workdir: Path, config: Mapping[str, Any]) -> Iterator[str]:
    from trainers.experiment.build import task_of
    from trainers.system import devices, provenance, user_files

    manifest = Checkpoints(workdir / CHECKPOINTS).newest_manifest()
    if manifest:
        ours = {
            "replicas": devices.num_replicas(options_of(config).devices),
            "data (fingerprint)": task_of(config).state().get("fingerprint"),
        }
        there = manifest.get("data", {}).get("fingerprint")
        theirs = {"replicas": manifest.get("replicas"), "data (fingerprint)": there}
        yield from _others(theirs, ours)
        if "," in (way := str(manifest.get("compile", ""))):  # see `Session.together`
            yield f"the run was one of a population ({way}), and is replayed alone"
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
    for path, facts in then.get("user_files", {}).items():
        if user_files.sha256_now(path) != facts["sha256"]:
            yield f"{path} is not as it was (edited or gone)"
    hardware = ("machine", "processor", "cores", "gpus")
    yield from _others(
        {k: then.get("hardware", {}).get(k) for k in hardware},
        {k: now["hardware"][k] for k in hardware},
    )
    yield from _others(then.get("environment", {}), now["environment"])
    sessions = then.get("sessions", [])
    for key in ("versions", "commit", "dirty", "hardware", "compile"):
        if any(s.get(key) != sessions[0].get(key) for s in sessions):
            yield f"the run's own {len(sessions)} sessions are not all of the same {key}"


def _others(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    for key in sorted({*then, *now}):
        if then.get(key) != now.get(key):
            yield f"other {key} ({then.get(key)} there, {now.get(key)} now)"


def main() -> int:
    """The command."""
    workdir, until = Path(flags.FLAGS.workdir), flags.FLAGS.until
    settings.load_workdir_config(workdir)  # says what is wrong with it before TensorFlow loads
    if until is not None and until < 1:
        raise InputError(f"--until must be at least 1, got {until}.")
    import_tensorflow()
    moved = {"path": flags.FLAGS.data_path, "tfds_dir": flags.FLAGS.tfds_dir}
    moved = {key: value for key, value in moved.items() if value}
    output = Path(flags.FLAGS.output) if flags.FLAGS.output else _new_folder_beside(workdir)
    keep = bool(flags.FLAGS.output)
    try:
        code, rows = replay(workdir, output, until, moved)
        keep |= bool(rows) and code != cli.DONE
    finally:
        if not keep:
            shutil.rmtree(output, ignore_errors=True)
    if not rows:
        print("Stopped before the end; nothing was compared.")
        return code
    print(format_table(rows))
    if code == cli.DONE:
        print(f"Equal to {workdir}, bit for bit, in all that was compared.")
    else:
        print(f"{sum(r.equal is False for r in rows)} differ (*). The replay is in {output}.")
    return code


def _new_folder_beside(workdir: Path) -> Path:
    beside = workdir.resolve()
    try:
        return Path(tempfile.mkdtemp(prefix=f"{beside.name}-replay-", dir=beside.parent))
    except OSError as error:
        raise InputError(
            f"{beside.parent} cannot be written ({error.strerror}). Give a folder with --output."
        ) from None


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
