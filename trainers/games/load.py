"""A game from a user's file."""

from __future__ import annotations

import inspect
from typing import Any

from tf_mixed_nash.errors import InputError
from tf_mixed_nash.games.boxes import Box
from tf_mixed_nash.games.continuous import ArrayGame, ContinuousGame
from tf_mixed_nash.games.matrix import MatrixGame
from tf_mixed_nash.solvers.solve import AnyGame
from trainers.system.user_files import load_object

__all__ = ["load_game", "parse_set"]


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


def load_game(address: str, x_set: str | None = None, y_set: str | None = None) -> AnyGame:
    """The game at FILE.py:NAME; see `trainers.solve` for what may be there.

    Returns:
      A `MatrixGame`, a `ContinuousGame` or an `ArrayGame`.

    Raises:
      InputError: if there is no such thing, or it is not a game.
    """
    games = (MatrixGame, ContinuousGame, ArrayGame)
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
    if hasattr(found, "__array__") or isinstance(found, (list, tuple)):
        return MatrixGame.from_table(found, name=name)
    raise InputError(
        f"--game={address} is no game: {found!r}. Give a MatrixGame, a ContinuousGame, a table "
        "of payoffs (rows minimise, columns maximise), a function without arguments that "
        "returns one of them, or a payoff (x, y) -> number with --x_set and --y_set."
    )
