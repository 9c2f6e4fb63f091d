"""Errors that are the user's to fix."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Iterable, Iterator
from typing import Any

__all__ = ["InputError", "extra", "unknown"]


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


def unknown(
    what: str, given: Any, choices: Iterable[Any], more: str = "", of: str = "one of"
) -> InputError:
    """The error of a word that is none of the choices, with the nearest that is.

    Args:
      what: it should be: "algorithm"; or a flag, "--format".
      given: the word.
      choices: all that there are, in the order in which they are told.
      more: what else can be done, after the choices.
      of: "one of", or "some of".

    Example:
      >>> print(unknown("method", "mirror-prox", ["sgd", "mirror_prox"]))
      Unknown method 'mirror-prox'. Did you mean 'mirror_prox'? Choose one of: sgd, mirror_prox.
    """
    names = [str(choice) for choice in choices]
    near = difflib.get_close_matches(str(given).strip().lower(), names, 1)
    said = f"{what}={given}" if what.startswith("--") else f"{what} {given!r}"
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return InputError(f"Unknown {said}.{hint} Choose {of}: {', '.join(names)}{more}.")
