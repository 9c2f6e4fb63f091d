"""Finite games from files of data: .csv, .npy, .json and Gambit's .nfg (docs/games.md)."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from tf_mixed_nash.errors import InputError, unknown
from tf_mixed_nash.games.matrix import MatrixGame
from trainers.games.bimatrix import OTHER_TOOLS, ZeroSumBimatrix, of_pairs

__all__ = ["FORMATS", "load"]

FORMATS = (".csv", ".npy", ".json", ".nfg")
_KEYS = ("table", "A", "B", "payoffs", "row_labels", "column_labels", "players", "name")


def load(path: Path) -> MatrixGame:
    """The game of a file.

    Args:
      path: ends in one of FORMATS.

    Raises:
      InputError: for a file that cannot be read, or holds no game of zero sum.
    """
    if not path.is_file():
        raise InputError(f"--game={path}: there is no file {str(path)!r}.")
    try:
        readers = {".csv": _csv, ".npy": _npy, ".json": _json, ".nfg": _nfg}
        return readers[path.suffix.lower()](path)
    except OSError as error:
        raise InputError(f"--game={path} cannot be read ({error.strerror or error}).") from None


def _game(
    content: Any, path: Path, rows=None, columns=None, players=None, name: str = ""
) -> MatrixGame:
    """A table, rows minimise; or both players' payoffs."""
    name = name or path.name
    depth = _depth(content)
    if depth == 3:
        more = {"players": players} if players else {}
        numbers = _numbers(content, str(path))
        return of_pairs(numbers, name, row_labels=rows, column_labels=columns, **more)
    if depth != 2:
        raise InputError(
            f"--game={path} must hold a matrix of payoffs, a list of rows; it is nested "
            f"{depth} deep."
        )
    table = _numbers(content, str(path))
    return MatrixGame.from_table(table, name=name, row_labels=rows, column_labels=columns)


def _depth(content: Any) -> int:
    depth = 0
    while isinstance(content, (list, tuple)):
        depth += 1
        if not len(content):
            break
        content = content[0]
    return depth


def _numbers(content: Any, name: str) -> np.ndarray:
    """Nested lists of numbers, and of texts of numbers, as an array."""

    def read(x: Any, place: tuple[int, ...]) -> Any:
        if isinstance(x, (list, tuple)):
            parts = [read(y, (*place, i)) for i, y in enumerate(x)]
            sizes = [len(p) if isinstance(p, list) else None for p in parts]
            if odd := [i for i, size in enumerate(sizes) if size != sizes[0]]:
                raise InputError(
                    f"--game={name}: row {[*place, odd[0]]} has {_entries(sizes[odd[0]])}, the "
                    f"first of its kind {_entries(sizes[0])}. Indices count from 0."
                )
            return parts
        number = _number(x) if isinstance(x, str) else x
        if isinstance(number, bool) or not isinstance(number, (int, float)):
            raise InputError(
                f"--game={name}: entry {list(place)} is {x!r}, and no number. Indices count from 0."
            )
        try:
            return float(number)
        except OverflowError:
            raise InputError(f"--game={name}: entry {list(place)} is too large.") from None

    return np.array(read(content, ()), np.float64)


def _entries(size: int | None) -> str:
    return "no list" if size is None else f"{size} entries"


def _number(text: str) -> float | None:
    """A decimal number or a fraction; None if it is neither."""
    text = text.strip()
    try:
        return float(Fraction(text)) if "/" in text else float(text)
    except (ValueError, ZeroDivisionError, OverflowError):
        return None


# CSV.


def _csv(path: Path) -> MatrixGame:
    text = _text(path)
    lines = [x for x in text.splitlines() if x.strip() and not x.lstrip().startswith("#")]
    if lines and re.fullmatch(r"sep=.", lines[0].strip()):  # of spreadsheets
        lines = lines[1:]
    if not lines:
        raise InputError(f"--game={path} is empty. Give a row of payoffs a line.")
    delimiter = next((d for d in ";\t," if any(d in _unquoted(x) for x in lines)), " ")
    if delimiter == " ":
        rows = [line.split() for line in lines]
    else:
        rows = list(csv.reader(io.StringIO("\n".join(lines)), delimiter=delimiter))
    cells = [[cell.strip() for cell in row] for row in rows]
    if all(len(row) > 1 and row[-1] == "" for row in cells):
        cells = [row[:-1] for row in cells]  # a delimiter at the end of each line
    comma = delimiter in ";\t"

    def read(cell: str) -> Any:
        # Where columns are not told by commas, these are of decimal fractions.
        if (number := _number(cell.replace(",", ".") if comma else cell)) is not None:
            return number
        pair = [_number(x) for x in re.split(r"[,;|]", cell.strip("()[]"))]
        return pair if len(pair) == 2 and None not in pair else None

    columns, rows_named = None, False
    first = cells[0]
    short = len(cells) > 1 and len(first) == len(cells[1]) - 1
    if short or first[0] == "" or any(c and read(c) is None for c in first[1:]) or (
        read(first[0]) is None and len(cells) > 1 and read(cells[1][0]) is not None
    ):  # fmt: skip
        rows_named = short or first[0] == ""
        columns, cells = first, cells[1:]
    rows_named = rows_named or any(read(row[0]) is None and row[0] for row in cells if row)
    labels = [row[0] for row in cells] if rows_named else None
    if rows_named:
        cells = [row[1:] for row in cells]
        columns = columns if columns is None or short else columns[1:]
    width = len(columns) if columns is not None else len(cells[0]) if cells else 0
    table = []
    for i, row in enumerate(cells):
        if len(row) != width:
            raise InputError(
                f"--game={path}: row {i + 1} of the payoffs has {len(row)} entries, expected "
                f"{width}."
            )
        values = [read(cell) for cell in row]
        if None in values:
            j = values.index(None)
            raise InputError(
                f"--game={path}: row {i + 1}, column {j + 1} of the payoffs is {row[j]!r}, and no "
                "number."
            )
        table.append(values)
    if not table:
        raise InputError(f"--game={path} has no row of payoffs.")
    return _game(table, path, labels, columns)


def _text(path: Path) -> str:
    content = path.read_bytes()
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return content.decode("utf-16")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252", "replace")


def _unquoted(line: str) -> str:
    return re.sub(r'"[^"]*"|\([^)]*\)', "", line)


# NumPy and JSON.


def _npy(path: Path) -> MatrixGame:
    try:
        content = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise InputError(f"--game={path} is no NumPy array of numbers ({error}).") from None
    if not isinstance(content, np.ndarray) or content.dtype.kind not in "biuf":
        kind = content.dtype if isinstance(content, np.ndarray) else "an archive"
        raise InputError(f"--game={path} must be an array of real numbers, got {kind}.")
    if content.ndim == 3:
        return of_pairs(content, path.name)
    return MatrixGame.from_table(content.astype(np.float64), name=path.name)


def _json(path: Path) -> MatrixGame:
    try:
        content = json.loads(_text(path))
    except (ValueError, RecursionError) as error:
        raise InputError(f"--game={path} is no JSON ({error}).") from None
    if not isinstance(content, dict):
        return _game(content, path)
    if strange := sorted(set(content) - set(_KEYS)):
        raise InputError(f"--game={path}: {unknown('key', strange[0], _KEYS, of='some of')}")
    name = str(content.get("name", path.name))
    labels = {}
    for key in ("row_labels", "column_labels", "players"):
        given = content.get(key)
        if given is not None and not isinstance(given, list):
            raise InputError(f"--game={path}: {key} must be a list, got {given!r}.")
        labels[key] = given and [str(x) for x in given]
    rows, columns, players = labels.values()
    kinds = [keys for keys in (("table",), ("A", "B"), ("payoffs",)) if set(keys) & set(content)]
    if len(kinds) != 1 or not set(kinds[0]) <= set(content):
        raise InputError(
            f'--game={path} must have "table" (rows minimise), "A" and "B" (two players\' '
            'payoffs), or "payoffs" (a matrix of pairs).'
        )
    if kinds[0] == ("A", "B"):
        A, B = (_numbers(content[key], f"{path}: {key}") for key in kinds[0])
        more = {"players": players} if players else {}
        return ZeroSumBimatrix(A, B, name, rows, columns, **more)
    return _game(content[kinds[0][0]], path, rows, columns, players, name)


# Gambit's strategic games: https://gambitproject.readthedocs.io, formats.


def _nfg(path: Path) -> MatrixGame:
    tokens = _Tokens(path)
    if tokens.take() != "NFG" or tokens.take() != "1":
        raise InputError(f'--game={path} is no file of Gambit: it does not begin with "NFG 1".')
    if tokens.take() not in ("R", "D"):
        raise tokens.wrong("R or D")
    title = tokens.text("a title")
    players = [tokens.text("a player's name") for _ in tokens.braces()]
    if len(players) != 2:
        raise InputError(
            f"--game={path} is a game of {len(players)} players, and two are solved here. "
            f"{OTHER_TOOLS}."
        )
    labels: list[list[str] | None] = []
    counts = []
    for _ in tokens.braces():
        if tokens.next == "{":
            named = [tokens.text("a strategy's name") for _ in tokens.braces()]
            labels.append(named)
            counts.append(len(named))
        else:
            labels.append(None)
            counts.append(tokens.whole(1))
    if len(counts) != 2:
        raise tokens.wrong("the strategies of two players")
    if tokens.next and tokens.next.startswith('"'):
        tokens.take()  # a comment
    m, n = counts
    if tokens.next == "{":
        outcomes = [(0.0, 0.0)]  # number 0 is without payoffs
        for _ in tokens.braces():
            for _ in tokens.braces():
                if tokens.next and tokens.next.startswith('"'):
                    tokens.take()
                outcomes.append((tokens.number(), tokens.number()))
        numbers = [tokens.whole(0) for _ in range(m * n)]
        if bad := [k for k in numbers if k >= len(outcomes)]:
            raise tokens.wrong(f"an outcome of at most {len(outcomes) - 1}, not {bad[0]}")
        pairs = [outcomes[k] for k in numbers]
    else:
        pairs = [(tokens.number(), tokens.number()) for _ in range(m * n)]
    if tokens.next is not None:
        raise tokens.wrong(f"the end after {m} x {n} profiles")
    # The first player's strategy changes first.
    A, B = np.array(pairs).reshape(n, m, 2).transpose(2, 1, 0)
    names = [p or f"player {i}" for i, p in enumerate(players, 1)]
    if len(set(names)) < 2:
        names = ["player 1", "player 2"]
    return ZeroSumBimatrix(A, B, title or path.name, labels[0], labels[1], names)


class _Tokens:
    """The words of a file of Gambit's, one after the other."""

    def __init__(self, path: Path):
        self._path = path
        self._words = re.findall(r'"(?:\\.|[^"\\])*"|[{}]|[^\s{}",]+', _text(path))
        self._at = 0

    @property
    def next(self) -> str | None:
        """The next word; None at the end."""
        return self._words[self._at] if self._at < len(self._words) else None

    def take(self) -> str | None:
        """The next word, which is gone then."""
        word = self.next
        self._at += 1
        return word

    def wrong(self, expected: str) -> InputError:
        """The error of another word than the one that was taken last."""
        found = self._words[self._at - 1] if 0 < self._at <= len(self._words) else "its end"
        return InputError(
            f"--game={self._path}: word {self._at} is {found!r}, expected {expected}. The format "
            "is Gambit's .nfg."
        )

    def braces(self) -> Iterator[None]:
        """Goes through { ... }, as long as there is something inside."""
        if self.take() != "{":
            raise self.wrong("{")
        while self.next != "}":
            if self.next is None:
                self.take()
                raise self.wrong("}")
            yield
        self.take()

    def text(self, what: str) -> str:
        """A text in quotes."""
        word = self.take()
        if word is None or not word.startswith('"'):
            raise self.wrong(what)
        return re.sub(r"\\(.)", r"\1", word[1:-1])

    def number(self) -> float:
        """A payoff."""
        value = _number(self.take() or "")
        if value is None or not math.isfinite(value):
            raise self.wrong("a payoff")
        return value

    def whole(self, least: int) -> int:
        """A whole number of at least `least`."""
        word = self.take() or ""
        if not word.isdecimal() or int(word) < least:
            raise self.wrong(f"a whole number of at least {least}")
        return int(word)
