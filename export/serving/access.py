"""The access log: a line of JSON for each request."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

from export.serving.lines import Lines
from tf_mixed_nash.errors import InputError

__all__ = ["AccessLog"]


class AccessLog:
    """Writes lines of JSON, and never waits: see Lines.

    Args:
      target: a file that is appended to, "-" for stderr, "" for none.
      stderr: what writes to stderr; None where "-" is to open it.

    Raises:
      InputError: if the file cannot be opened.
    """

    def __init__(self, target: str, stderr: Lines | None = None):
        self._lines = self._own = None
        self._said = 0
        if target == "-" and stderr is not None:
            self._lines = stderr
        elif target:
            try:
                self._lines = self._own = Lines(2 if target == "-" else Path(target))
            except OSError as error:
                raise InputError(f"--access_log={target} cannot be written ({error}).") from None

    @property
    def on(self) -> bool:
        """Whether lines go anywhere."""
        return self._lines is not None

    @property
    def lost(self) -> int:
        """How many lines were dropped, since they could not be written."""
        return self._lines.lost if self._lines else 0

    def write(self, seconds: float, **facts: Any) -> None:
        """Writes a line: the time, the milliseconds, and what else is known.

        After lines were dropped the next one says how many: `lost`, since the start.
        """
        if self._lines is None:
            return
        if self._lines.lost != self._said:
            self._said = self._lines.lost
            facts["lost"] = self._said
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        self._lines.write(json.dumps({"time": now, "ms": round(1000 * seconds, 3), **facts}))

    def reopen(self) -> None:
        """Opens the file anew by its name, after it was moved away."""
        if self._own:
            self._own.reopen()

    def close(self) -> None:
        """Writes what waits, if that takes no longer than a second, and closes the file."""
        if self._own:
            self._own.close()
