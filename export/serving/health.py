"""Whether the server lives, and whether it serves every model."""

from __future__ import annotations

import asyncio

from export.serving.versions import Models

__all__ = ["Health"]


class Health:
    """What health checks are told.

    Args:
      models: that are served.

    Attributes:
      draining: whether the server ends, and takes no new requests.
    """

    def __init__(self, models: Models):
        self._models = models
        self._changed = asyncio.Event()
        self.draining = False

    def missing(self) -> str:
        """Why the server is not ready; empty if it is."""
        if self.draining:
            return "the server ends"
        absent = [name for name in self._models.names if not self._models.loaded(name)]
        return f"no version serves of: {', '.join(absent)}" if absent else ""

    def serves(self, name: str) -> bool | None:
        """Whether a model serves, and none of its requests would be refused; None if unknown."""
        if name not in self._models.names:
            return None
        return not self.draining and bool(self._models.loaded(name))

    def drain(self) -> None:
        """The server ends."""
        self.draining = True
        self.note_change()

    def note_change(self) -> None:
        """Wakes those who wait for a change."""
        self._changed.set()
        self._changed = asyncio.Event()

    @property
    def change(self) -> asyncio.Event:
        """It will be set by the next change."""
        return self._changed
