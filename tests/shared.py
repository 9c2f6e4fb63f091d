"""What takes long to make and is only read: made once for all of pytest-xdist's processes."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any


def shared_folder(factory: Any, name: str, make: Callable[[Path], Any]) -> Path:
    """The folder `name` of this test session, filled by the first process that asks for it.

    Args:
      factory: the fixture tmp_path_factory.
      name: of the folder.
      make: fills the folder, which exists.
    """
    root = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent  # each worker's own folder lies in the session's
    folder, done = root / name, root / f"{name}.done"
    with open(root / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            folder.mkdir()
            make(folder)
            done.touch()
    return folder
