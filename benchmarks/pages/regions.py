"""Regions of a page that a command writes, between two comments that no reader sees."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

__all__ = ["names", "rendered"]

_REGION = re.compile(r"(<!-- rendered: ([^>]*?) -->\n).*?(<!-- /rendered -->)", re.DOTALL)
_BEGIN = re.compile(r"<!-- rendered: ")


def names(text: str) -> list[str]:
    """The names of a page's regions, in their order."""
    return [match[2] for match in _REGION.finditer(text)]


def rendered(text: str, regions: Mapping[str, Callable[[], str]]) -> str:
    """The page with every region as it should be.

    Args:
      text: of the page.
      regions: name -> its Markdown.

    Raises:
      ValueError: for a region of no known name, or one that does not end.
    """
    if len(_BEGIN.findall(text)) != len(names(text)):
        raise ValueError("A region begins and does not end: write <!-- /rendered --> behind it.")

    def fill(match: re.Match[str]) -> str:
        name = match[2]
        if name not in regions:
            raise ValueError(f"No region is called {name!r}. There are: {', '.join(regions)}.")
        return f"{match[1]}\n{regions[name]()}\n\n{match[3]}"

    return _REGION.sub(fill, text)
