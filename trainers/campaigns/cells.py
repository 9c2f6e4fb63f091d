"""Means over seeds with their spread, and tables of them. Free of TensorFlow."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from trainers.tasks.tables import Column

__all__ = ["NO_VALUE", "Cell", "aggregate", "markdown", "over", "text"]

Cell = Mapping[str, float]  # mean, standard_error (NaN for one), count

NO_VALUE: dict[str, Any] = {"mean": math.nan, "standard_error": math.nan, "count": 0}


def over(values: Iterable[float | None]) -> dict[str, float]:
    """Mean and standard error of values; what is missing or not a number is left out."""
    known = [v for v in values if v is not None and not math.isnan(v)]
    if not known:
        return NO_VALUE
    n, mean = len(known), sum(known) / len(known)
    squares = sum((v - mean) ** 2 for v in known)
    spread = math.sqrt(squares / (n - 1) / n) if n > 1 else math.nan
    return {"mean": mean, "standard_error": spread, "count": n}


def aggregate(
    cards: Sequence[Mapping[str, Any]], columns: Iterable[str]
) -> dict[str, dict[str, float]]:
    """Mean and standard error over seeds of every column.

    Args:
      cards: scorecards.
      columns: the keys.

    Returns:
      column -> {"mean", "standard_error" (NaN for one seed), "count"}.
    """
    return {key: over(card.get(key) for card in cards) for key in columns}


def text(cell: Cell, digits: int) -> str:
    """Mean ± standard error; "-" without a value."""
    if not cell["count"]:
        return "-"
    mean, spread = (f"{cell[key]:.{digits}f}" for key in ("mean", "standard_error"))
    return mean if math.isnan(cell["standard_error"]) else f"{mean} ± {spread}"


def markdown(
    rows: Mapping[str, Mapping[str, Any]],
    titles: Mapping[str, str],
    columns: Mapping[str, Column],
) -> str:
    """The table as Markdown.

    Args:
      rows: "algorithm/answer" -> `aggregate`'s result, or a text.
      titles: of the algorithms.
      columns: by key.
    """
    head = ["algorithm", "answer", *(c.title for c in columns.values())]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for name, row in rows.items():
        algorithm, _, answer = name.partition("/")
        cells = [titles.get(algorithm, algorithm), answer]
        if isinstance(row, str):
            cells += [row] + [""] * (len(columns) - 1)
        else:
            cells += [text(row[key], c.digits) for key, c in columns.items()]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"
