"""Objects in a user's Python files: FILE.py:NAME.

A file may import modules that lie beside it, as a script may. Their texts are part of where a run
comes from (`texts`).
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tf_mixed_nash.errors import InputError

__all__ = ["load_function", "load_object", "remember", "sha256_now", "sha256_of", "texts"]

_OURS = ("tf_mixed_nash", "trainers", "export", "configs", "benchmarks", "tests")
# Of the files that were run, and of what else was given.
_files: set[Path] = set()
_folders: set[Path] = set()


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
    # Of a name that no import finds: a user's export.py must not become our package.
    own_name = f"user_file_{path.stem}"
    spec = importlib.util.spec_from_file_location(own_name, path)
    if spec is None or spec.loader is None:
        raise InputError(f"{what}={address}: {file!r} is not a Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[own_name] = module  # dataclasses look their module up there
    _files.add(path.resolve())
    _folders.add(path.resolve().parent)
    try:
        with _beside(path.resolve().parent):
            spec.loader.exec_module(module)
    except Exception as error:
        raise InputError(f"{what}={address}: running the file failed with {error!r}.") from error
    if not hasattr(module, name):
        found = [
            n
            for n, v in vars(module).items()
            if callable(v) and not n.startswith("_") and getattr(v, "__module__", "") == own_name
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


@contextlib.contextmanager
def _beside(folder: Path) -> Iterator[None]:
    """Modules of a folder can be imported: inside before all others, afterwards after them."""
    text = str(folder)
    sys.path.insert(0, text)
    try:
        yield
    finally:
        sys.path.remove(text)
        if text not in sys.path:
            sys.path.append(text)  # for imports inside functions


def remember(path: Path) -> None:
    """Counts a file among the user's, such as the script that trains."""
    _files.add(path.resolve())


def texts() -> dict[str, str]:
    """Path -> text of the user's files so far, and of the modules beside them that they import."""
    found = set(_files)
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if not file or name.split(".")[0] in _OURS or "site-packages" in file:
            continue
        path = Path(file).resolve()
        if path.suffix == ".py" and any(path.is_relative_to(f) for f in _folders):
            found.add(path)
    return {str(path): path.read_text() for path in sorted(found) if path.is_file()}


def sha256_now(path: str) -> str | None:
    """Of the text of a file as it is now; None if it is gone."""
    try:
        return sha256_of(Path(path).read_text())
    except OSError:
        return None


def sha256_of(text: str) -> str:
    """In hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()
