"""Memory that a process no longer needs, given back to the system."""

from __future__ import annotations

import contextlib
import ctypes
import gc

__all__ = ["give_back"]


def give_back() -> None:
    """Frees what only refers to itself, and lets the C library return its free pages.

    For where one large thing takes the place of another: glibc keeps freed pages in the middle of
    its heap. Elsewhere than with glibc only the former.
    """
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
