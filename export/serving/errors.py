"""Errors that reach a client: a canonical code and one sentence, never a stack trace."""

from __future__ import annotations

import enum

__all__ = ["Code", "ServingError"]


class Code(enum.Enum):
    """gRPC's canonical codes that this server gives, with TF Serving's HTTP statuses."""

    OK = 200
    INVALID_ARGUMENT = 400
    UNAUTHENTICATED = 401
    NOT_FOUND = 404
    CANCELLED = 499
    RESOURCE_EXHAUSTED = 429
    INTERNAL = 500
    UNIMPLEMENTED = 501
    UNAVAILABLE = 503
    DEADLINE_EXCEEDED = 504

    @property
    def http(self) -> int:
        """The HTTP status."""
        return self.value


class ServingError(Exception):
    """A request that is refused or fails.

    Args:
      code: what kind.
      message: for the client; names what was expected.
    """

    def __init__(self, code: Code, message: str):
        super().__init__(message)
        self.code, self.message = code, message
