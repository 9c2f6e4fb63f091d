"""What all commands share: flags, exit codes, one clear message for bad input.

Exit codes: 0 done, 2 bad input (also a place that cannot be written), 3 diverged, 4 done without
reaching the --tolerance that was asked for (trainers.solve), 130 and 143 stopped by SIGINT and
SIGTERM after a checkpoint.
This module must stay cheap to import: `--help` and errors answer before TensorFlow loads.
"""

from __future__ import annotations

import difflib
import runpy
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from absl import flags

import configs
from tf_mixed_nash.errors import InputError
from trainers.system import environment

__all__ = [
    "BAD_INPUT",
    "DIVERGED",
    "DONE",
    "INTERRUPTED",
    "MISSED",
    "STOPPED",
    "experiments",
    "fail",
    "find_config",
    "find_file",
    "flatten",
    "keys_of",
    "load_config",
    "main",
    "unknown_key",
]

DONE, BAD_INPUT, DIVERGED, MISSED, INTERRUPTED, STOPPED = 0, 2, 3, 4, 130, 143
# What other libraries call --workdir.
_FOLDERS = ("logdir", "log_dir", "output", "output_dir", "outdir", "out", "save_dir", "run_dir")


def fail(message: str) -> int:
    """Prints the message for bad input and returns the exit code."""
    print(f"error: {message}", file=sys.stderr)
    return BAD_INPUT


def main(
    run: Callable[[], int | None],
    argv: list[str] | None = None,
    more: Callable[[], str] | None = None,
) -> None:
    """Parses the flags, calls `run()`, and exits with its code (None means 0).

    Flag errors and `InputError` become one message on stderr and exit code 2.

    Args:
      run: the command.
      argv: its words; `sys.argv` by default.
      more: what `--help` says between the command's docstring and its flags.
    """
    environment.prepare()
    argv = sys.argv if argv is None else argv
    if any(arg in ("-h", "-help", "--help") for arg in argv[1:]):
        print((sys.modules["__main__"].__doc__ or "").strip())
        if more:
            print("\n" + more())
        print("\nFlags:\n" + flags.FLAGS.main_module_help())
        sys.exit(DONE)
    try:
        argv = _with_found_config(argv)
        _check_config(argv)
        _check_flags(argv)
        rest = flags.FLAGS(argv)[1:]
        if rest:
            raise InputError(f"Unexpected argument {rest[0]!r}: all options are --name=value.")
    except InputError as error:
        sys.exit(fail(str(error)))
    except Exception as error:  # absl and ml_collections raise many kinds here
        sys.exit(fail(f"{_first_line(error)} Run with --help for the flags."))
    try:
        code = run()
    except InputError as error:
        code = fail(str(error))
    except KeyboardInterrupt:
        code = INTERRUPTED
    sys.stdout.flush()
    sys.exit(code or DONE)


def experiments() -> str:
    """The config files of this folder, or else the names of the built-in ones; for messages."""
    here = sorted(p.as_posix() for p in Path("configs").glob("*_m[dp].py"))
    return ", ".join(here or configs.names())


def find_config(address: str) -> str:
    """The address FILE.py[:VARIANT] of the experiment that a user means.

    A file is itself, relative to the folder that the command is started in. Any other NAME or
    configs/NAME.py is the built-in experiment of that name; for the second, this is said.

    Args:
      address: FILE.py[:VARIANT] or NAME[:VARIANT].

    Raises:
      InputError: if there is neither, with the nearest name.
    """
    file, colon, variant = address.partition(":")
    if not Path(file).is_file() and (found := configs.builtin(file)):  # a bare name
        return f"{found}{colon}{variant}"
    if Path(found := find_file(file)).is_file():
        return f"{found}{colon}{variant}"
    close = difflib.get_close_matches(Path(file).stem, configs.names(), n=1)
    hint = f" Did you mean {close[0]}?" if close else ""
    raise InputError(f"There is no config file {file!r}.{hint} There are: {experiments()}.")


def find_file(file: str) -> str:
    """A file of the folder, or the built-in configs/NAME.py if there is no such file: this is said.

    Returns:
      The path; `file` itself if it is neither.
    """
    path = Path(file)
    if path.is_file() or path.parent != Path("configs") or path.suffix != ".py":
        return file
    if not (found := configs.builtin(path.stem)):
        return file
    print(f"note: there is no {file} here; the built-in {found} is used.", file=sys.stderr)
    return str(found)


def load_config(address: str) -> Any:
    """The config at an address of `find_config`, an unlocked or locked `ml_collections.ConfigDict`.

    Raises:
      InputError: if there is no such file, or it makes none.
    """
    file, _, variant = find_config(address).partition(":")
    try:
        get_config = runpy.run_path(file)["get_config"]
        return get_config(*([variant] if variant else []))
    except KeyError:
        raise InputError(f"{file} has no function get_config().") from None
    except Exception as error:
        raise InputError(f"{address}: {_first_line(error)}") from None


def _check_config(argv: list[str]) -> None:
    """Raises InputError for a --config flag that ml_collections would reject less clearly."""
    given = list(_flags(argv[1:]))
    address = next((value for name, value in given if name == "config"), None)
    if address is None:
        return
    keys = keys_of(load_config(address))
    for name in (name[7:] for name, _ in given if name.startswith("config.")):
        if name not in keys:
            raise unknown_key(name, keys, "--config.")


def keys_of(config: Any) -> list[str]:
    """The dotted keys of a config, sorted: what --config.KEY may be."""
    return sorted(flatten(config))


def flatten(tree: Any, prefix: str = "") -> dict[str, Any]:
    """The values of a config by dotted key.

    Args:
      tree: a `ml_collections.ConfigDict`, or a mapping of them.
      prefix: of the keys.
    """
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        name = f"{prefix}{key}"
        flat |= flatten(value, f"{name}.") if hasattr(value, "items") else {name: value}
    return flat


def unknown_key(key: str, keys: Iterable[str], flag: str) -> InputError:
    """The error of a key that is not in a config, with the nearest that is.

    Args:
      key: what was given.
      keys: of the config.
      flag: what stands before a key on the command line: "--config.", "--set=", "--search=".
    """
    keys = list(keys)
    hint = _hint(key, keys, flag)
    # There are two hundred: those of the same group, or the groups.
    group, dot, _ = key.partition(".")
    told = [k for k in keys if dot and k.startswith(f"{group}.")]
    told = told or sorted({k if "." not in k else f"{k.partition('.')[0]}.*" for k in keys})
    return InputError(
        f"Unknown config key {flag}{key}.{hint} Choose one of: {', '.join(told)}. All of them: "
        "python -m trainers.run --list."
    )


def _hint(word: str, keys: list[str], flag: str) -> str:
    """What to say of the keys that a word may mean, after a space; "" of none."""
    # Where a mistake is answered alone: who samples from a model needs no such words.
    from trainers.system import discovery

    close = word if word in keys else discovery.meant(word, keys)
    return f" Did you mean {flag}{close.replace(' or ', f' or {flag}')}?" if close else ""


def _check_flags(argv: list[str]) -> None:
    """Raises InputError for an unknown flag that is a config key without what is before one."""
    known = set(flags.FLAGS)
    if "config" not in known:
        return
    # The commands of many runs take keys by --set.
    flag = "--set=" if "set" in known else "--config."
    given = list(_flags(argv[1:]))
    address = next((value for name, value in given if name == "config"), None)
    for name, _ in given:
        own = name.partition("=")[0]
        if own in known or own.startswith("config") or own.removeprefix("no") in known:
            continue
        if own in _FOLDERS and "workdir" in known:
            raise InputError(f"Unknown flag --{own}. Did you mean --workdir?")
        if hint := _hint(own, keys_of(load_config(address or "gaussians8_mp")), flag):
            how = (
                "given by --set=KEY=VALUE."
                if flag == "--set="
                else "flags with --config. before them; --help has the keys that matter."
            )
            raise InputError(f"Unknown flag --{own}.{hint} Keys of the config are {how}")


def _with_found_config(argv: list[str]) -> list[str]:
    """The arguments with the address of a file for --config."""
    found = list(argv)
    for i, argument in enumerate(argv[1:], 1):
        if argument == "--":
            break
        name, equals, value = argument.lstrip("-").partition("=")
        if not (argument.startswith("-") and name == "config"):
            continue
        if equals:
            found[i] = f"--config={find_config(value)}"
        elif i + 1 < len(argv):
            found[i + 1] = find_config(argv[i + 1])
    return found


def _flags(arguments: list[str]) -> Iterator[tuple[str, str | None]]:
    """(name, value) of every flag, as absl reads them: -name, --name, =value or the next word."""
    for i, argument in enumerate(arguments):
        if argument == "--":
            return
        if argument.startswith("-"):
            name, equals, value = argument.lstrip("-").partition("=")
            following = arguments[i + 1] if i + 1 < len(arguments) else None
            yield name, value if equals else following


def _first_line(error: Exception) -> str:
    text = str(error).strip().splitlines()
    line = text[0] if text else type(error).__name__
    return line if line.endswith((".", "!", "?")) else line + "."
