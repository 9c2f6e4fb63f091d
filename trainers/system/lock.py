"""One trainer a workdir."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from tf_mixed_nash.errors import InputError

__all__ = ["FILE", "InUseError", "hold"]

FILE = ".lock"


class InUseError(InputError):
    """Another process holds the lock."""


@contextlib.contextmanager
def hold(workdir: Path) -> Iterator[None]:
    """Holds the workdir's lock.

    It is a lock of the kernel on an open file: gone with the process that held it, however that
    ended, and independent of clocks and of process numbers. The file's text (who holds it) is for
    the message alone.

    Args:
      workdir: a folder that exists.

    Raises:
      InUseError: if another process holds it.
      InputError: if the lock cannot be had at all.
    """
    path = workdir / FILE
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise InputError(
            f"{path} cannot be opened ({error.strerror}). Give another folder with --workdir."
        ) from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InUseError(
                f"{workdir} is in use by another trainer ({_holder(descriptor)}). Wait for it or "
                "stop it, or give another --workdir."
            ) from None
        except OSError as error:
            raise InputError(
                f"{path} cannot be locked ({error.strerror}): the file system of --workdir lacks "
                "locks. Choose a folder on another one."
            ) from None
        holder = json.dumps({"process": os.getpid(), "host": socket.gethostname()})
        # A full disk must not hinder anybody from being told so by what writes next.
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, holder.encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _holder(descriptor: int) -> str:
    try:
        holder = json.loads(os.pread(descriptor, 4096, 0))
        return f"process {holder['process']} on {holder['host']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "which has not said who it is"
