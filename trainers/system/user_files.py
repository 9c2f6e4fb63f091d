"""Objects in a user's Python files: FILE.py:NAME.

A file may import modules that lie beside it, as a script may. Their texts are part of where a run
comes from (`texts`): those of its own files, whatever else the process has loaded.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import importlib.util
import inspect
import itertools
import sys
import types
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from tf_mixed_nash.errors import InputError

__all__ = [
    "fingerprint_of_code",
    "load_function",
    "load_object",
    "sha256_now",
    "sha256_of",
    "texts",
]

_OURS = ("tf_mixed_nash", "trainers", "export", "configs", "benchmarks", "tests")
# File -> itself and the modules beside it that it was seen to import when it was run.
_parts: dict[Path, set[Path]] = {}
# Folders at the end of sys.path for imports inside functions, the newest first.
_after: list[str] = []


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
        raise InputError(
            f"{what}={address}: there is no file {file!r}. If a run was trained with it, put it "
            "back: provenance.json in the run's folder has its text (user_files)."
        )
    # Of a name that no import finds: a user's export.py must not become our package.
    own_name = f"user_file_{path.stem}"
    spec = importlib.util.spec_from_file_location(own_name, path)
    if spec is None or spec.loader is None:
        raise InputError(f"{what}={address}: {file!r} is not a Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[own_name] = module  # dataclasses look their module up there
    resolved = path.resolve()
    _forget_others(resolved.parent)
    before = {*sys.modules}
    try:
        with _beside(resolved.parent):
            spec.loader.exec_module(module)
    except Exception as error:
        raise InputError(f"{what}={address}: running the file failed with {error!r}.") from error
    # Those that it loaded are not all named by an import.
    own = _imported(resolved, [resolved.parent], sys.modules.keys() - before)
    _parts.setdefault(resolved, set()).update(own)
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
        if text in _after or text not in sys.path:
            _after[:] = dict.fromkeys([text, *_after])
            sys.path[:] = [*(p for p in sys.path if p not in _after), *_after]


def texts(files: Iterable[Path], script: Path | None = None) -> dict[str, str]:
    """Path -> text of files of a run, and of the modules beside them that they import.

    Args:
      files: that its config names, resolved.
      script: the program that trains it, without what it imports; None: a command of ours.
    """
    files = [*files]
    found = {script} if script else set[Path]()
    for path in files:
        found |= _parts.get(path, set()) | _imported(path, {p.parent for p in files})
    return {str(path): path.read_text() for path in sorted(found) if path.is_file()}


def _imported(path: Path, folders: Iterable[Path], more: Iterable[str] = ()) -> set[Path]:
    """A file, and the modules in the folders that it imports, as far as they are loaded.

    Args:
      path: of the file.
      folders: where modules are the user's.
      more: names of modules that count as imported by it.
    """
    found, left = {path}, [(path, "", {*more})]
    while left:
        file, package, names = left.pop()
        for name in names | {*_names(file, package)}:
            module = sys.modules.get(name)
            own = _file_of(module)
            if own is None or own in found or name.split(".")[0] in _OURS:
                continue
            if "site-packages" not in own.parts and any(own.is_relative_to(f) for f in folders):
                found.add(own)
                left.append((own, getattr(module, "__package__", None) or "", set()))
    return found


def _names(path: Path, package: str) -> Iterator[str]:
    """The modules that the imports in a file may mean: of a.b, a as well; of a, b from a, too."""
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return  # gone, or edited since it was run
    for node in ast.walk(tree):
        found = []
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            above = parts[: len(parts) + 1 - node.level] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            found = [f"{base}.{alias.name}" for alias in node.names]
        for name in found:
            yield from itertools.accumulate(name.split("."), "{}.{}".format)


def _file_of(module: Any) -> Path | None:
    """The Python file of a module; None of one without."""
    file = getattr(module, "__file__", None)
    return Path(file).resolve() if file and file.endswith(".py") else None


def _forget_others(folder: Path) -> None:
    """Forgets modules of other users' folders that have the names of modules of this one.

    What a file imports lies beside it, whatever an earlier run of the process has imported.
    """
    others = {path.parent for path in _parts} - {folder}
    there = {path.stem for path in folder.glob("*.py")}
    there |= {path.parent.name for path in folder.glob("*/__init__.py")}
    for name in (there & sys.modules.keys()) - {*_OURS, "__main__"}:
        file = _file_of(sys.modules[name])
        if file and (file.parent.parent if file.stem == "__init__" else file.parent) in others:
            for own in [n for n in sys.modules if n == name or n.startswith(f"{name}.")]:
                del sys.modules[own]


def sha256_now(path: str) -> str | None:
    """Of the text of a file as it is now; None if it is gone."""
    try:
        return sha256_of(Path(path).read_text())
    except OSError:
        return None


def sha256_of(text: str) -> str:
    """In hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()


def fingerprint_of_code(function: Any) -> str:
    """Of a function's source or, where there is none, of its code; and of what it closes over."""
    return hashlib.blake2b("\n".join(_code(function, set())).encode(), digest_size=8).hexdigest()


def _code(function: Any, seen: set[int]) -> Iterator[str]:
    function = getattr(function, "python_function", function)  # of a tf.function
    seen.add(id(function))
    try:
        yield inspect.getsource(function)
    except (OSError, TypeError):
        code = getattr(function, "__code__", None)
        yield from _instructions(code) if code else [repr(type(function))]
    for cell in getattr(function, "__closure__", None) or ():
        with contextlib.suppress(ValueError):  # empty so far
            value = cell.cell_contents
            if isinstance(value, (bool, int, float, str)):
                yield repr(value)
            elif isinstance(value, types.FunctionType) and id(value) not in seen:
                yield from _code(value, seen)


def _instructions(code: types.CodeType) -> Iterator[str]:
    yield f"{code.co_code.hex()} {code.co_names}"
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _instructions(constant)
        else:  # a set has no order of its own
            own = sorted(map(repr, constant)) if isinstance(constant, frozenset) else constant
            yield repr(own)
