"""Errors that reach a client: a canonical code and one sentence, never a stack trace."""

from __future__ import annotations

import enum

__all__ = ["Code", "ServingError"]


class Code(enum.Enum):
    """gRPC's canonical codes that this server gives, with TF Serving's HTTP statuses."""

    OK = 200
    INVALID_ARGUMENT = 400
    UNAUTHENTICATED = 401
    PERMISSION_DENIED = 403
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


# What a request named may be megabytes long, and gRPC carries messages in a header of 8 kB, in
# which a character may take twelve.
_LONGEST = 500


class ServingError(Exception):
    """A request that is refused or fails.

    Args:
      code: what kind.
      message: for the client; names what was expected. It is cut to 500 characters.
      http: the HTTP status, where it is not the code's.
      retry_after: seconds after which the same request may be answered; None where asking again
        is of no use.
    """

    def __init__(
        self,
        code: Code,
        message: str,
        http: int | None = None,
        retry_after: float | None = None,
    ):
        if len(message) > _LONGEST:
            message = f"{message[: _LONGEST - 3]}..."
        super().__init__(message)
        self.code, self.message = code, message
        self.http = code.http if http is None else http
        self.retry_after = retry_after
