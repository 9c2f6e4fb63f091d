"""Scorecards as tables: what the columns are, and the form for terminals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

__all__ = ["Column", "number", "terminal"]


class Column(NamedTuple):
    """A column of a table of scorecards.

    Attributes:
      title: the heading.
      digits: after the point.
      short: the heading in a terminal; by default the title.
      of: the key of the number that it is out of, which a terminal shows behind a stroke.
    """

    title: str
    digits: int
    short: str = ""
    of: str = ""


def terminal(
    scores: Mapping[str, Any], columns: Mapping[str, Column], published: str | None = None
) -> str:
    """A text table: one line for each strategy, and one for real data.

    Args:
      scores: `strategies` and `real_data_ceiling`; values that are missing, None or NaN are "-".
      columns: scorecard key -> column.
      published: the strategy to mark.
    """
    rows = {**scores["strategies"], "real data": scores["real_data_ceiling"]}
    titles = (c.short or c.title for c in columns.values())
    lines = [" " * 12 + "".join(f" {title:>10}" for title in titles)]
    for name, card in rows.items():
        cells = "".join(f" {_cell(card, key, c):>10}" for key, c in columns.items())
        lines.append(f"{'*' if name == published else ' '}{name:<11}{cells}")
    if published:
        lines.append("* published")
    return "\n".join(lines)


def _cell(card: Mapping[str, Any], key: str, column: Column) -> str:
    value = card.get(key)
    if column.of and value is not None:
        return f"{value:.0f}/{card[column.of]}"
    return number(value, column.digits)


def number(value: float | None, digits: int) -> str:
    """With so many digits after the point; "-" for None and NaN."""
    return "-" if value is None or value != value else f"{value:.{digits}f}"
