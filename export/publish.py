"""Version folders that appear whole or not at all. Files only: no TensorFlow.

    <base>/<int version>/           what a server reads
    <base>/.building-<version>-*    being written; no server looks at dotted names
    <base>/.last-version            the lock of publishers, and the highest number ever given

A server that finds a half-written version loads it "successfully" and then fails every
request (SERVING.md, trap 5), and a server never reads a version number twice. So a version is
built in a dotted sibling on the same filesystem, flushed to the disk, and renamed to a number
that was never used before.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from tf_mixed_nash import __version__
from tf_mixed_nash.errors import InputError
from trainers.system.files import describe_files, sync, sync_tree, what_is_wrong, write_json
from trainers.system.paths import check_name

__all__ = [
    "ARCHITECTURE",
    "GOLDEN",
    "MANIFEST",
    "MAX_VERSION",
    "check_writable",
    "find_version",
    "next_version",
    "publish",
    "read_manifest",
    "version_paths",
    "versions",
    "write_manifest",
]

MANIFEST = "manifest.json"
# In assets.extra, the folder that TF Serving leaves to others: seeds and samples of 8 rows.
GOLDEN = "assets.extra/golden.npz"
# There too: the generator's layers, as Keras writes them (`export.keras_model`).
ARCHITECTURE = "assets.extra/generator.json"

# A version is an int64 in every protocol.
MAX_VERSION = 2**63 - 1

_LAST_VERSION = ".last-version"
_BUILDING = ".building-"


def versions(base: Path) -> list[int]:
    """The version numbers in a model's folder, sorted; [] if it does not exist.

    Every child whose name is a whole number up to 2^63 - 1 counts, whatever is in it.
    """
    return sorted(version_paths(base))


def next_version(base: Path) -> int:
    """The number that the next version will get, from 1.

    It is greater than every version that is there and, by the record in `.last-version`, than
    every one that was published here and removed. Other names are ignored.
    """
    return 1 + max([0, *versions(base), _last_version(base)])


def publish(base: Path, write: Callable[[Path], None], version: int | None = None) -> Path:
    """Publishes one version: all of it, or on any exception nothing.

    Publishers may race, from threads or processes of one machine: each gets its own number.

    Args:
      base: the model's folder; made if needed.
      write: fills the empty folder that it is given. It runs without a lock, and must leave
        no open files.
      version: the number, not below `next_version(base)`; None chooses that one.

    Returns:
      base/<version>.

    Raises:
      InputError: if the version exists or may have existed, or base cannot be written.
      Exception: whatever `write` raises.
    """
    check_writable(base)
    created = [p for p in (base, *base.parents) if not p.exists()]
    # Not tempfile.mkdtemp: its mode 0700 would survive the rename, and a server that runs as
    # another user could not read the version.
    building = base / f"{_BUILDING}{_choose(base, version)}-{secrets.token_hex(4)}"
    try:
        building.mkdir(parents=True)
        write(building)
        sync_tree(building)
        with _lock(base) as record:
            final = _choose(base, version)
            record(final)
            _rename_to_new(building, base / str(final))
            try:
                sync(base)
            except BaseException:
                # Nobody may find a version that was reported not to be there. A server that has
                # loaded it goes back to the one before.
                os.rename(base / str(final), building)
                raise
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        for folder in created:
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise
    return base / str(final)


def write_manifest(directory: Path, extra: Mapping[str, Any]) -> dict[str, Any]:
    """Writes manifest.json: what is in a version folder and where it came from.

    Call it last: it lists every file below `directory` with its size and SHA-256.

    Args:
      directory: the folder, otherwise complete.
      extra: more entries, of JSON types; NaN becomes null.

    Returns:
      The manifest: `files`, `versions` (of TensorFlow, Keras and this package; None if not
      installed) and the entries of `extra`.

    Raises:
      ValueError: if extra has a key of the manifest's own, or an infinite number.
    """
    own = {
        "files": describe_files(directory, but=MANIFEST),
        "versions": {
            "tensorflow": _installed("tensorflow", "tensorflow-cpu", "tf-nightly"),
            "keras": _installed("keras", "keras-nightly"),
            "tf_mixed_nash": __version__,
        },
    }
    if clash := own.keys() & extra.keys():
        raise ValueError(f"extra must not hold the manifest's own keys {sorted(clash)}.")
    manifest = {**own, **extra}
    write_json(directory / MANIFEST, manifest)
    return manifest


def read_manifest(directory: Path) -> dict[str, Any]:
    """The manifest of a version folder, after checking every file that it lists.

    Raises:
      InputError: if the folder has no manifest, or a file is missing, short or changed.
    """
    advice = "Publish it anew (python -m export.saved_model), or choose another version."
    try:
        manifest = json.loads((directory / MANIFEST).read_text())
        files = manifest["files"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{directory} is not a published version, or only part of one: its {MANIFEST} is "
            f"missing or unreadable ({type(error).__name__}). {advice}"
        ) from None
    if wrong := what_is_wrong(directory, files):
        raise InputError(f"{directory} is half-written or damaged: {wrong}. {advice}")
    return manifest


def find_version(model: Path) -> Path:
    """The version folder that a user means by `model`.

    Args:
      model: a version folder, or a model's folder, which means its newest version.

    Raises:
      InputError: if there is none, with those that there are.
    """
    if (model / "saved_model.pb").is_file():
        return model
    if found := version_paths(model):
        return found[max(found)]
    if _is_version(model.name) and (siblings := versions(model.parent)):
        what = "is not a SavedModel" if model.exists() else "does not exist"
        others = ", ".join(str(v) for v in siblings if str(v) != model.name) or "none"
        raise InputError(f"Version {model} {what}. Other versions there: {others}.")
    if not model.exists():
        raise InputError(
            f"No such model: {model}. Expected a folder made by python -m export.saved_model "
            "--output=BASE/NAME, or one of its versions."
        )
    if not model.is_dir():
        raise InputError(f"{model} is a file. Expected the folder of a published model.")
    unfinished = sum(p.name.startswith(_BUILDING) for p in model.iterdir())
    hint = f" ({unfinished} unfinished {_BUILDING}* folders are ignored)" if unfinished else ""
    raise InputError(
        f"{model} holds no published version: neither a saved_model.pb nor folders named by a "
        f"number{hint}. Publish one with python -m export.saved_model --output={model}."
    )


def check_writable(folder: Path) -> None:
    """Raises InputError unless `folder` is, or can be made, a folder to write to."""
    check_name(folder, "--output")
    place = next(p for p in (folder, *folder.absolute().parents) if os.path.lexists(p))
    if not place.is_dir():
        raise InputError(f"{folder} cannot be a folder: {place} is a file. Choose another place.")
    if not os.access(place, os.W_OK | os.X_OK):
        raise InputError(f"{folder} cannot be written: no permission in {place}.")


def _is_version(name: str) -> bool:
    return name.isascii() and name.isdecimal() and len(name) <= 255 and int(name) <= MAX_VERSION


def version_paths(base: Path) -> dict[int, Path]:
    """The version numbers in a model's folder -> their folders; {} if it does not exist.

    As TensorFlow Serving reads them: 007 is version 7, unless there is a 7, and what is no int64 is
    no version.
    """
    if not base.is_dir():
        return {}
    paths = sorted(p for p in base.iterdir() if _is_version(p.name))  # 007 comes before 7
    return {int(p.name): p for p in paths}


def _choose(base: Path, version: int | None) -> int:
    """The number of the new version, if it may be used now."""
    free = next_version(base)
    if max(free, version or 0) > MAX_VERSION:
        raise InputError(
            f"The next version of {base} would be above 2^63 - 1, which no server reads. Remove "
            "the folder with the largest number, or publish elsewhere."
        )
    if version is None:
        return free
    if version in versions(base):
        raise InputError(
            f"{base} already has a version {version}, and a version is never replaced. The next "
            f"free one is {free}."
        )
    if version < free:
        raise InputError(
            f"Version {version} of {base} may have been used before: versions only grow, and the "
            f"next free one is {free}."
        )
    return version


def _rename_to_new(source: Path, target: Path) -> None:
    try:
        # Renaming a folder onto one with files in it fails, so even a publisher that does not
        # know our lock is not overwritten.
        os.rename(source, target)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise InputError(f"{target} appeared meanwhile; it was left as it is.") from None
        raise


def _last_version(base: Path) -> int:
    try:
        text = (base / _LAST_VERSION).read_text()
    except FileNotFoundError:
        return 0
    return int(text) if _is_version(text.strip()) else 0


@contextlib.contextmanager
def _lock(base: Path) -> Iterator[Callable[[int], None]]:
    """Holds the publishers' lock on base; yields the function that records a version."""
    # A lock of the kernel: gone with the process that held it, however it ended.
    descriptor = os.open(base / _LAST_VERSION, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)

        def record(version: int) -> None:
            # Over the old number, which is never longer: a full disk must not lose it.
            text = f"{version}\n".encode()
            os.pwrite(descriptor, text, 0)
            os.ftruncate(descriptor, len(text))
            os.fsync(descriptor)

        yield record
    finally:
        os.close(descriptor)


def _installed(*distributions: str) -> str | None:
    for name in distributions:
        with contextlib.suppress(metadata.PackageNotFoundError):
            return metadata.version(name)
    return None
