"""mixed-nash: every command of the project under one name, from any folder.

    mixed-nash run --config=gaussians8_mp --workdir=runs/g8
    mixed-nash COMMAND --help

Each is `python -m MODULE` with the same flags and exit codes. Where a folder has files called as
this project's packages (export.py, configs/, trainers/), these are not imported in their place.
"""

from __future__ import annotations

import ast
import difflib
import os
import runpy
import sys
from collections.abc import Sequence

from tf_mixed_nash import __version__, shadows

__all__ = ["COMMANDS", "main"]

COMMANDS = {
    "run": "trainers.run",
    "evaluate": "trainers.evaluate",
    "many": "trainers.many",
    "report": "trainers.report",
    "compare": "trainers.compare",
    "sweep": "trainers.sweep",
    "reproduce": "trainers.reproduce",
    "solve": "trainers.solve",
    "mixtures": "trainers.mixtures",
    "replay": "trainers.replay",
    "features": "trainers.features",
    "checkpoint": "trainers.checkpoint",
    "diagnose": "trainers.diagnose",
    "completion": "trainers.completion",
    "sample": "export.sample",
    "serve": "export.serve",
    "verify": "export.verify",
    "convert": "export.convert",
    "publish": "export.saved_model",
}
_BAD_INPUT = 2


def main(argv: Sequence[str] | None = None) -> int:
    """The command `mixed-nash`; ends with the exit code of the command that it runs.

    Args:
      argv: COMMAND and its flags, after the programme's own name; `sys.argv` by default.

    Returns:
      0 after --help and --version, 2 without a command or for an unknown one. A command that runs
      leaves by SystemExit.
    """
    given = list(sys.argv if argv is None else argv)
    name, rest = (given[1], given[2:]) if len(given) > 1 else ("", [])
    if name in ("-h", "-help", "--help", "help"):
        print(_help())
        return 0
    if name == "--version":
        print(__version__)
        return 0
    if name not in COMMANDS:
        close = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        what = f"Unknown command {name!r}.{hint}" if name else "Give a command."
        print(f"error: {what} Choose one of: {', '.join(COMMANDS)}.", file=sys.stderr)
        return _BAD_INPUT
    shadows.ours_first(with_folder=not sys.flags.safe_path)
    sys.argv = [f"{given[0]} {name}", *rest]  # the module puts its own file first
    runpy.run_module(COMMANDS[name], run_name="__main__", alter_sys=True)
    return 0


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {_first_line(module)}" for name, module in COMMANDS.items()]
    return "\n".join([(__doc__ or "").strip(), "", "Commands:", *lines])


def _first_line(module: str) -> str:
    """What a module says of itself, read from its text: importing it would take long."""
    path = os.path.join(shadows.ROOT, *module.split(".")) + ".py"
    with open(path, encoding="utf-8") as file:
        return (ast.get_docstring(ast.parse(file.read())) or "").partition("\n")[0]


if __name__ == "__main__":
    sys.exit(main())
