"""Objects in a user's Python files: FILE.py:NAME."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tf_mixed_nash.errors import InputError

__all__ = ["load_function", "load_object"]


def load_object(address: str, what: str) -> Any:
    """What FILE.py calls NAME, for the address FILE.py:NAME.

    Args:
      address: FILE.py:NAME.
      what: the flag or key that gave it, for messages.

    Raises:
      InputError: if there is no such file or name, or the file fails to run.
    """
    file, _, name = address.rpartition(":")
    path = Path(file)
    if not file:
        raise InputError(f"{what}={address}: the form is FILE.py:NAME.")
    if not path.is_file():
        raise InputError(f"{what}={address}: there is no file {file!r}.")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise InputError(f"{what}={address}: {file!r} is not a Python file.")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise InputError(f"{what}={address}: running the file failed with {error!r}.") from error
    if not hasattr(module, name):
        found = [
            n
            for n, v in vars(module).items()
            if callable(v) and not n.startswith("_") and getattr(v, "__module__", "") == path.stem
        ]
        raise InputError(
            f"{what}={address}: there is no {name!r} in the file. It has: {', '.join(found)}."
        )
    return getattr(module, name)


def load_function(address: str, what: str) -> Callable:
    """The Python function at FILE.py:NAME.

    Raises:
      InputError: if there is none; see `load_object`.
    """
    function = load_object(address, what)
    if not callable(function):
        raise InputError(f"{what}={address} must be a function, got {function!r}.")
    return function
