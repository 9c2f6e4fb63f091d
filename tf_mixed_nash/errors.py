"""Errors that are the user's to fix."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

__all__ = ["InputError", "extra"]


class InputError(ValueError):
    """Bad input: what happened, what was expected, how to fix it. Commands exit with 2.

    Example:
      >>> try:
      ...     Box(1.0, 0.0)
      ... except InputError as error:
      ...     print(str(error).partition(":")[0])
      A strategy set must not be empty or flat
    """


@contextlib.contextmanager
def extra(name: str, what: str) -> Iterator[None]:
    """Around imports of packages that only an extra of the distribution installs.

    Args:
      name: of the extra, as in pip install 'tf_mixed_nash[NAME]'.
      what: needs them, to begin a sentence: "LMDB data", "trainers.reproduce".

    Raises:
      InputError: if a package is missing, naming it and the extra.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise InputError(
            f"{what} needs the package {error.name}. Install the extra: pip install "
            f"'tf_mixed_nash[{name}]'."
        ) from None
