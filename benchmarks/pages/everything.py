"""All that is rendered, by path: what it is and what it should be."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from benchmarks.pages import algorithms, notebooks, reference, regions
from benchmarks.pages.code import ROOT
from benchmarks.pages.tables import REGIONS as OF_RECORDS

__all__ = ["REGIONS", "ROOT", "pages", "stale", "with_regions"]

# What may stand between the marks of a page.
REGIONS = {**OF_RECORDS, "algorithms overview": algorithms.overview}


def with_regions() -> Iterator[Path]:
    """README.md and the pages of docs/ that have a region."""
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        if "<!-- rendered: " in path.read_text(encoding="utf-8"):
            yield path


def pages() -> dict[Path, str]:
    """Every file that is rendered, whole or in regions, as it should be."""
    algorithms.check_names()
    whole = {**algorithms.pages(), **reference.pages(), **notebooks.pages()}
    mixed = {
        path: regions.rendered(path.read_text(encoding="utf-8"), REGIONS)
        for path in with_regions()
        if path not in whole
    }
    return {**whole, **mixed}


def stale() -> dict[Path, str]:
    """Those that are not as they should be, and what they should be."""
    return {
        path: text
        for path, text in pages().items()
        if not path.is_file() or path.read_text(encoding="utf-8") != text
    }
