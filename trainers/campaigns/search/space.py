"""What a sweep searches and what it looks for: its flags, read and checked."""

from __future__ import annotations

import ast
import itertools
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tf_mixed_nash.errors import InputError
from trainers.workdir.folder import ANSWERS

__all__ = [
    "KINDS",
    "Objective",
    "Search",
    "grid",
    "parse_objective",
    "parse_searches",
]

KINDS = ("log", "linear", "int", "logint", "grid")
_FORMS = (
    "KEY=log:LOW:HIGH, KEY=linear:LOW:HIGH, KEY=int:LOW:HIGH, KEY=logint:LOW:HIGH or "
    "KEY=grid:VALUE,VALUE,..."
)


class Search(NamedTuple):
    """The values that one config key may take.

    Attributes:
      key: dotted, as in --config.KEY.
      kind: one of KINDS.
      bounds: (low, high), both included; () for grid.
      choices: the values of a grid, of tuples their texts; () for the others.
    """

    key: str
    kind: str
    bounds: tuple[float, ...] = ()
    choices: tuple[Any, ...] = ()

    def suggest(self, trial: Any) -> Any:
        """The value in an Optuna trial; the same one whenever it is asked again."""
        if self.kind == "grid":
            return trial.suggest_categorical(self.key, self.choices)
        low, high = self.bounds
        if self.kind in ("int", "logint"):
            return trial.suggest_int(self.key, low, high, log=self.kind == "logint")
        return trial.suggest_float(self.key, low, high, log=self.kind == "log")

    def points(self) -> tuple[Any, ...]:
        """Every value.

        Raises:
          InputError: if there are infinitely many.
        """
        if self.kind == "grid":
            return self.choices
        if self.kind in ("int", "logint"):
            return tuple(range(int(self.bounds[0]), int(self.bounds[1]) + 1))
        raise InputError(
            f"--sampler=grid cannot enumerate --search={self.key}={self.kind}:.... Give its values "
            f"with --search={self.key}=grid:VALUE,VALUE,..., or choose --sampler=tpe or random."
        )

    def extremes(self) -> tuple[Any, ...]:
        """Values between which the others lie, or all."""
        return tuple(map(_value, self.choices)) or self.bounds


class Objective(NamedTuple):
    """What is sought.

    Attributes:
      maximize: or minimise.
      answer: last, ema, mixture, a further average, or best: of all, in each trial.
      metric: a key of the scorecard.
    """

    maximize: bool
    answer: str
    metric: str

    @property
    def direction(self) -> str:
        """For Optuna."""
        return "maximize" if self.maximize else "minimize"

    @property
    def worst(self) -> float:
        """What a run without a value is worth: +inf or -inf."""
        return -math.inf if self.maximize else math.inf

    def best(self, values: Sequence[tuple[float, Any]]) -> tuple[float, Any]:
        """The first best of some (value, what it belongs to)."""
        return (max if self.maximize else min)(values, key=lambda pair: pair[0])

    def of(self, scores: Mapping[str, Mapping[str, Any]]) -> tuple[float, str] | None:
        """(value, answer that has it), or None if no answer has one.

        Args:
          scores: answer -> metric -> value; None and NaN are no values.
        """
        names = dict.fromkeys([*ANSWERS, *scores]) if self.answer == "best" else (self.answer,)
        found = ((scores.get(name, {}).get(self.metric), name) for name in names)
        values = [(float(v), name) for v, name in found if v is not None and math.isfinite(v)]
        return self.best(values) if values else None


def parse_objective(text: str, further: Sequence[str] = ()) -> Objective:
    """Reads min|max:ANSWER/METRIC.

    Args:
      text: of the flag.
      further: answers of the trials beside last, ema and mixture.

    Raises:
      InputError: for another form.
    """
    match, answers = re.fullmatch(r"(min|max):(\w+)/(\w+)", text), (*ANSWERS, *further, "best")
    if not match or match[2] not in answers:
        raise InputError(
            f"--objective={text} is not of the form min:ANSWER/METRIC or max:ANSWER/METRIC. "
            f"ANSWER is one of {', '.join(answers)}; METRIC a key of scorecard.json, "
            "such as wasserstein2."
        )
    return Objective(match[1] == "max", match[2], match[3])


def parse_searches(texts: Sequence[str]) -> tuple[Search, ...]:
    """Reads the --search flags.

    Raises:
      InputError: for another form than KEY=KIND:..., for empty ranges, or if a key comes twice.
    """
    if not texts:
        raise InputError(f"Say what to search, with --search={_FORMS}.")
    found = tuple(_parse_search(text) for text in texts)
    keys = [search.key for search in found]
    if twice := [key for key in keys if keys.count(key) > 1]:
        raise InputError(f"--search={twice[0]}=... is given twice. Give one for each key.")
    return found


def _parse_search(text: str) -> Search:
    match = re.fullmatch(r"([\w.]+)=(\w+):(.+)", text)
    if not match or match[2] not in KINDS:
        raise InputError(f"--search={text} is not of the form {_FORMS}.")
    key, kind, rest = match.groups()
    if kind == "grid":
        choices = tuple(_literal(part) for part in _split(rest, text))
        if len(set(choices)) < len(choices):
            raise InputError(f"--search={text}: a value comes twice.")
        return Search(key, kind, choices=choices)
    number = int if kind in ("int", "logint") else float
    try:
        low, high = (number(part) for part in rest.split(":"))
    except ValueError:
        what = "integers" if number is int else "numbers"
        raise InputError(f"--search={text}: {kind} needs two {what}, LOW:HIGH.") from None
    if not low < high or not math.isfinite(high - low):
        raise InputError(f"--search={text}: LOW must be below HIGH, both finite.")
    if kind in ("log", "logint") and low <= 0:
        raise InputError(f"--search={text}: the bounds of {kind} must be above 0.")
    return Search(key, kind, bounds=(low, high))


def _literal(text: str) -> Any:
    try:
        value = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError):
        return text.strip()
    if isinstance(value, (tuple, list)):
        return repr(tuple(value))  # Optuna's storages keep no tuples
    return value if isinstance(value, (bool, int, float, str)) else text.strip()


def _value(choice: Any) -> Any:
    """What a choice means to a config."""
    if isinstance(choice, str) and choice.startswith("("):
        try:
            return ast.literal_eval(choice)
        except (ValueError, SyntaxError):
            return choice
    return choice


def _split(rest: str, text: str) -> list[str]:
    """The values of a grid: at commas outside brackets and quotes."""
    parts, depth, quote = [""], 0, ""
    for c in rest:
        if quote or c in "'\"":
            quote = "" if c == quote else quote or c
        elif c in "([{":
            depth += 1
        elif c in ")]}":
            depth -= 1
        if c == "," and not depth and not quote:
            parts.append("")
        else:
            parts[-1] += c
        if depth < 0:
            break
    if depth or quote:
        raise InputError(
            f"--search={text}: brackets or quotes do not close. A grid of tuples is "
            "KEY=grid:(512,512),(256,256)."
        )
    return parts


def grid(searches: Sequence[Search]) -> list[dict[str, Any]]:
    """Every combination of the values, the last key's changing first.

    Raises:
      InputError: if a search has infinitely many.
    """
    values = itertools.product(*(search.points() for search in searches))
    keys = [search.key for search in searches]
    return [dict(zip(keys, point, strict=True)) for point in values]
