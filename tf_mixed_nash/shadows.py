"""A user's files that are called as our packages: ours are imported, or it is said at once.

`python -m` puts the folder that it is started in before all that is installed, so that a user's own
export.py there would be imported in place of ours, hours later, when a run publishes. A command
moves that folder to the end of the path (`ours_first`); in a user's own script, whose folder Python
puts there as well, `check` refuses before anything is written.

This file imports nothing but what Python has loaded when it starts: it runs before anybody knows
which modules are whose.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

__all__ = ["OURS", "at_start", "check", "environment", "ours_first"]

# The top-level packages of the distribution.
OURS = ("configs", "export", "tf_mixed_nash", "trainers")
# Of those that ours import, names that a user's file may have by chance.
_THEIRS = ("absl", "keras", "matplotlib", "ml_collections", "numpy", "scipy", "tensorflow")
# In the environment of a trainer that a command starts: the folder that it is started in comes
# last in its path, not first; "" leaves it out.
_FOLDER_LAST = "MIXED_NASH_FOLDER_LAST"

_HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(_HERE)


def at_start() -> None:
    """`ours_first`, if this process is `python -m` of a module of ours and not of a user's."""
    if _module_of(sys.orig_argv[1:]).split(".")[0] in OURS:
        ours_first()


def ours_first(with_folder: bool = False) -> None:
    """Makes our packages win over files of their names in the folder of a command.

    Call it where a command starts, before it imports anything else. In a checkout, whose folder is
    ours, nothing changes. Elsewhere the folder is moved to the end of `sys.path`: a user's files
    still find the modules beside them. Where a path of another kind (PYTHONPATH, an editable
    install) would lead elsewhere, our packages are loaded from where they lie. What is not imported
    although it lies in the folder is said on stderr.

    Args:
      with_folder: puts the folder there also if it is nowhere in the path, as `python -m` does.
    """
    try:
        folder = os.getcwd()
    except OSError:  # it was removed
        return
    last = os.environ.pop(_FOLDER_LAST, None)
    if _same(folder, ROOT):
        return
    if last or with_folder or any(_is_folder(entry, folder) for entry in sys.path):
        sys.path[:] = [entry for entry in sys.path if not _is_folder(entry, folder)] + [folder]
    for name in OURS:
        if not _is_ours(name):
            os.environ[_FOLDER_LAST] = ""  # its own start has nothing to do, nor to say
            _load(name)
            os.environ.pop(_FOLDER_LAST, None)
    if last is None:  # a trainer's starter has said it
        for path in _shadows(folder):
            print(
                f"note: {path} in this folder is not imported as {_name_of(path)}: the installed "
                "one is. Rename yours if your code needs it.",
                file=sys.stderr,
            )


def check() -> None:
    """Checks that our packages are ours in this process, for Python code that will need them.

    Raises:
      InputError: if a module of the name of one of ours is another's, naming its file.
    """
    for name in OURS:
        if not _is_ours(name):
            from tf_mixed_nash.errors import InputError

            raise InputError(
                f"The module {name} of this process is {_origin(name)}, not that of "
                f"tf_mixed_nash ({os.path.join(ROOT, name)}), which publishing and workdirs need. "
                "Rename yours, or start the script from another folder."
            )


def environment() -> dict[str, str]:
    """What a trainer that this process starts needs in its environment to be ours.

    It is started by `python -m`, before anything of ours could put its path in order, so that it is
    told to leave its folder out (`PYTHONSAFEPATH`), and where we lie if Python would not know.

    Returns:
      {} in a checkout, whose folder is ours.
    """
    try:
        folder = os.getcwd()
    except OSError:
        return {}
    if _same(folder, ROOT):
        return {}
    asked = any(_is_folder(entry, folder) for entry in sys.path)
    variables = {"PYTHONSAFEPATH": "1", _FOLDER_LAST: "1" if asked else ""}
    if os.path.basename(ROOT) not in ("site-packages", "dist-packages"):
        paths = [ROOT, os.environ.get("PYTHONPATH")]
        variables["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    return variables


def _module_of(words: list[str]) -> str:
    """The module that Python is told to run by its arguments; "" if it runs something else."""
    words = list(words)
    while words and words[0].startswith("-"):
        option = words.pop(0)
        if option[:2] in ("-W", "-X"):  # with a value, in the same word or the next
            del words[: len(option) == 2]
        elif not option.startswith("--") and "m" in option:
            return option.partition("m")[2] or (words or [""])[0]
    return ""


def _same(one: str, other: str) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)


def _is_folder(entry: object, folder: str) -> bool:
    """Whether an entry of sys.path is the folder that the command is started in."""
    return isinstance(entry, str) and _same(entry or folder, folder)


def _origin(name: str) -> str | None:
    """The file (of a folder without __init__.py: the folder) that `import name` runs or has run."""
    import importlib.util

    module = sys.modules.get(name)
    try:
        spec = getattr(module, "__spec__", None) if module else importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return getattr(module, "__file__", None)
    if spec.origin:
        return spec.origin
    return next(iter(spec.submodule_search_locations or ()), None)


def _is_ours(name: str) -> bool:
    origin = _origin(name)
    return origin is not None and _same(origin, os.path.join(ROOT, name, "__init__.py"))


def _load(name: str) -> None:
    """Imports our package of this name from where it lies, whatever the path says."""
    import importlib.util

    file = os.path.join(ROOT, name, "__init__.py")
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)


def _shadows(folder: str) -> Iterator[str]:
    """What in a folder would be imported in place of ours, or of what ours import."""
    for name in (*OURS, *_THEIRS):
        for path in (f"{name}.py", os.path.join(name, "__init__.py")):
            if os.path.isfile(os.path.join(folder, path)):
                yield path


def _name_of(path: str) -> str:
    return os.path.dirname(path) or path.removesuffix(".py")
