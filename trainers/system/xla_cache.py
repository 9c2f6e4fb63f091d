"""XLA's compiled programs, kept from start to start.

Compiling the whole loop takes most of the seconds before a run's first step. TensorFlow keeps
compiled programs in a folder if a flag names one before it is loaded, and loads what it compiled
before: the same code, hence the same bits.

    TF_MIXED_NASH_XLA_CACHE=off        nothing is kept
    TF_MIXED_NASH_XLA_CACHE=FOLDER     there, instead of in the user's cache (~/.cache)

By itself only where there is a GPU, whose runs are compiled whole. On CPUs the parts that are
compiled take no longer than to load them (docs/speed.md), and TensorFlow ends a run that cannot
write a program, as on a disk that fills up. A user who gives TensorFlow a folder in TF_XLA_FLAGS
keeps it.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.metadata
import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from tf_mixed_nash import xla_flags

__all__ = ["OFF", "VARIABLE", "keep"]

VARIABLE = "TF_MIXED_NASH_XLA_CACHE"
OFF = "off"
_FLAG = "--tf_xla_persistent_cache_directory"
# Bytes of programs: beyond them the oldest go. A program of the planar experiments has 7 MB.
_MOST = 2**30
# Bytes that must be free: TensorFlow ends a run that cannot write a program.
_ROOM = 2**27


def keep(dense: bool = False, num_batches: int = 0) -> None:
    """Asks TensorFlow, which is not loaded yet, to keep programs; does nothing where it cannot.

    Where there is a GPU it also sets XLA's flags (tf_mixed_nash/xla_flags.py), on which the
    programs depend.

    Args:
      dense: the process trains one run whose networks have no convolutions.
      num_batches: of that run.

    A folder that cannot be written to is no reason to stop: everything is then compiled anew.
    """
    if any(_gpus()):
        xla_flags.for_one_run(convolutions=not dense, num_batches=num_batches)
    given = os.environ.get("TF_XLA_FLAGS", "")
    base = _base(os.environ)
    if base is None or "tf_xla_persistent_cache" in given:
        return
    folder = base / _machine()
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            os.posix_fallocate(file.fileno(), 0, _ROOM)  # a quota counts, too
        _forget(base.glob("*/*.pb*"), _MOST)
        for path in folder.glob("*.pb"):
            if not _is_whole(path):
                path.unlink(missing_ok=True)
        os.environ["TF_XLA_FLAGS"] = f"{given} {_FLAG}={folder}".strip()


def _base(environment: Mapping[str, str]) -> Path | None:
    """The folder of all machines' programs; None: nothing is kept."""
    chosen = environment.get(VARIABLE)
    if chosen == OFF or not (chosen or any(_gpus())):
        return None
    home = environment.get("HOME")
    if not (chosen or environment.get("XDG_CACHE_HOME") or home):
        return None
    cache = environment.get("XDG_CACHE_HOME") or Path(str(home), ".cache")
    path = Path(chosen).expanduser() if chosen else Path(cache, "tf_mixed_nash", "xla")
    # TensorFlow takes its flags apart at blanks.
    return None if any(c.isspace() for c in str(path)) else path.absolute()


@functools.cache
def _machine() -> str:
    """The name of what programs are made for: TensorFlow, processor, GPUs and XLA's flags.

    TensorFlow tells programs apart by what they compute and the kind of device. A home folder may
    be that of many machines, and code for one processor is none for another.
    """
    facts = [importlib.metadata.version("tensorflow"), *_processor(), *_gpus()]
    facts += [f"{name}={os.environ.get(name, '')}" for name in ("XLA_FLAGS", "TF_XLA_FLAGS")]
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16]


def _processor() -> list[str]:
    names = ("model name", "flags", "Features", "CPU part")
    lines = _text(Path("/proc/cpuinfo")).split("\n\n")[0].splitlines()
    return [line for line in lines if line.startswith(names)]


def _gpus() -> list[str]:
    driver = Path("/proc/driver/nvidia")
    models = [_text(path) for path in sorted(driver.glob("gpus/*/information"))]
    lines = [line for text in models for line in text.splitlines() if line.startswith("Model")]
    return [_text(driver / "version"), *lines]


def _is_whole(path: Path) -> bool:
    """Whether a file is a protocol buffer to its end.

    TensorFlow renames what it has written, but does not wait for the disk: after a loss of power a
    file may be cut short, and TensorFlow ends every run that finds it.
    """
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        at = 0
        while 0 <= at < size:
            file.seek(at)
            at = _next_field(file.read(20), at)
    return size > 0 and at == size


def _next_field(head: bytes, at: int) -> int:
    """Where the field ends that begins with `head` at `at`; -1: it is none."""
    tag, first = _varint(head, 0)
    length, second = _varint(head, first)
    if not first or not second or not tag >> 3:
        return -1
    return at + second + {0: 0, 2: length}.get(tag & 7, -at - second - 1)


def _varint(data: bytes, start: int) -> tuple[int, int]:
    """(the number that begins there, where it ends); an end of 0: there is none."""
    value = 0
    for i, byte in enumerate(data[start : start + 10]):
        value |= (byte & 127) << 7 * i
        if byte < 128:
            return value, start + i + 1
    return 0, 0


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _forget(files: Iterable[Path], most: int) -> None:
    """Removes the oldest files until `most` bytes or fewer are left."""
    found = []
    for path in files:
        with contextlib.suppress(OSError):  # another process removes, too
            stat = path.stat()
            found.append((stat.st_mtime, stat.st_size, path))
    total = sum(size for _, size, _ in found)
    for _, size, path in sorted(found):
        if total <= most:
            break
        with contextlib.suppress(OSError):
            path.unlink()
        total -= size
