"""A game from a user's file, of Python or of data, and what tells it from others."""

from __future__ import annotations

import hashlib
import inspect
import json
from pathlib import Path
from typing import Any

import numpy as np

from tf_mixed_nash.errors import InputError
from tf_mixed_nash.games.boxes import Box
from tf_mixed_nash.games.continuous import ArrayGame, ContinuousGame
from tf_mixed_nash.games.matrix import MatrixGame
from tf_mixed_nash.solvers.solve import AnyGame
from trainers.games import bimatrix, tables
from trainers.system import user_files
from trainers.system.user_files import load_object

__all__ = ["fingerprint", "is_data", "load_game", "parse_set"]


def is_data(address: str) -> bool:
    """Whether an address is that of a file of data: DIR/NAME.csv, ..."""
    return Path(address).suffix.lower() in tables.FORMATS


def fingerprint(game: AnyGame, address: str) -> str:
    """Of what a game is: its payoffs, or the text of the files that it was made by.

    Args:
      game: that was loaded.
      address: from where.
    """
    content: list[Any] = [getattr(game, "row_labels", None), getattr(game, "column_labels", None)]
    if isinstance(game, MatrixGame):
        for x in (game.payoff.numpy(), game.offset.numpy()):
            content += [list(x.shape), hashlib.sha256(np.ascontiguousarray(x).data).hexdigest()]
    else:
        sets = (game.x_set, game.y_set)
        content += [[s.lower.tolist(), s.upper.tolist(), s.periodic.tolist()] for s in sets]
        file = Path(address.rpartition(":")[0]).resolve()
        content += sorted(
            [str(Path(path).relative_to(file.parent)), user_files.sha256_of(text)]
            for path, text in user_files.texts([file]).items()
        )
    return hashlib.sha256(json.dumps(content, default=str).encode()).hexdigest()[:32]


def parse_set(text: str, flag: str) -> Box:
    """The box "lower:upper[:periodic],...", one part for each coordinate.

    Raises:
      InputError: for a text of another form, and for what `Box` refuses.
    """
    lower, upper, periodic = [], [], []
    for part in text.split(","):
        words = part.strip().split(":")
        try:
            if len(words) not in (2, 3) or words[2:] not in ([], ["periodic"]):
                raise ValueError
            lower.append(float(words[0]))
            upper.append(float(words[1]))
        except ValueError:
            raise InputError(
                f"--{flag}={text}: {part!r} is no interval. Write lower:upper or "
                "lower:upper:periodic for each coordinate, joined by commas, such as -1:1,0:2."
            ) from None
        periodic.append(len(words) == 3)
    return Box(lower, upper, periodic)


def _rank(x: Any) -> int | None:
    """Of an array or nested lists of numbers; None of anything else."""
    try:
        return np.asarray(x, np.float64).ndim
    except (TypeError, ValueError):
        return None


def load_game(address: str, x_set: str | None = None, y_set: str | None = None) -> AnyGame:
    """The game at FILE.py:NAME, or of a file of data; see `trainers.solve` for what may be there.

    Returns:
      A `MatrixGame`, a `ContinuousGame` or an `ArrayGame`.

    Raises:
      InputError: if there is no such thing, or it is not a game.
    """
    games = (MatrixGame, ContinuousGame, ArrayGame)
    if is_data(address):
        if x_set or y_set:
            raise InputError(f"--x_set and --y_set go with a payoff (x, y); {address} is a table.")
        return tables.load(Path(address))
    if not address.rpartition(":")[0] and Path(address).is_file():
        raise InputError(
            f"--game={address}: the form is FILE.py:NAME, or a file that ends in "
            f"{', '.join(tables.FORMATS)}."
        )
    found: Any = load_object(address, "--game")
    name = address.rpartition(":")[2]
    parameters = []
    if callable(found) and not isinstance(found, games):
        parameters = [
            p.name
            for p in inspect.signature(found).parameters.values()
            if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
        ]
        if len(parameters) == 2:
            if not (x_set and y_set):
                raise InputError(
                    f"--game={address} is a payoff of two arguments, so its strategy sets are "
                    "needed: give --x_set and --y_set, such as --x_set=-1:1 --y_set=-1:1."
                )
            payoff: Any = found
            return ContinuousGame(
                payoff, parse_set(x_set, "x_set"), parse_set(y_set, "y_set"), name=name
            )
        if len(parameters) == 0:
            try:
                found = found()
            except InputError:
                raise
            except Exception as error:
                raise InputError(f"--game={address}: calling it failed with {error!r}.") from error
    if x_set or y_set:
        raise InputError(
            f"--x_set and --y_set go with a payoff of two arguments (x, y); {address} is not one."
        )
    if isinstance(found, games):
        return found
    if isinstance(found, tuple) and len(found) == 2 and all(_rank(part) == 2 for part in found):
        return bimatrix.ZeroSumBimatrix(*found, name=name)
    if _rank(found) == 3:
        return bimatrix.of_pairs(found, name)
    if hasattr(found, "__array__") or isinstance(found, (list, tuple)):
        return MatrixGame.from_table(found, name=name)
    raise InputError(
        f"--game={address} is no game: {found!r}. Give a MatrixGame, a ContinuousGame, a table "
        "of payoffs (rows minimise, columns maximise), a function without arguments that "
        "returns one of them, or a payoff (x, y) -> number with --x_set and --y_set."
    )
