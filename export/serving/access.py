"""The access log: a line of JSON for each request."""

from __future__ import annotations

import datetime
import json
import sys
from pathlib import Path
from typing import Any

from tf_mixed_nash.errors import InputError

__all__ = ["AccessLog"]


class AccessLog:
    """Writes lines of JSON.

    Args:
      target: a file that is appended to, "-" for stderr, "" for none.

    Raises:
      InputError: if the file cannot be opened.
    """

    def __init__(self, target: str):
        self._file = sys.stderr if target == "-" else None
        if target in ("", "-"):
            return
        try:
            self._file = Path(target).open("a", buffering=1)  # noqa: SIM115  # until close()
        except OSError as error:
            raise InputError(f"--access_log={target} cannot be written ({error}).") from None

    @property
    def on(self) -> bool:
        """Whether lines go anywhere."""
        return self._file is not None

    def write(self, seconds: float, **facts: Any) -> None:
        """Writes a line: the time, the milliseconds, and what else is known."""
        if self._file is None:
            return
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        line = json.dumps({"time": now, "ms": round(1000 * seconds, 3), **facts})
        try:
            self._file.write(line + "\n")
        except OSError:  # a full disk must not fail requests
            self._file = None

    def close(self) -> None:
        """Closes the file."""
        if self._file not in (None, sys.stderr):
            self._file.close()
