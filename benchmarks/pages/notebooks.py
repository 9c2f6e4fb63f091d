"""Notebooks and tutorials from the percent scripts of examples/notebooks/.

A script is Python whose cells begin with `# %%`; those that begin with `# %% [markdown]` are text,
a `# ` before each line. docs/tutorials/NAME.md and examples/notebooks/NAME.ipynb are the same cells
without outputs.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.pages.code import ROOT

__all__ = ["FOLDER", "Cell", "cells", "markdown", "notebook", "pages"]

FOLDER = ROOT / "examples/notebooks"
_PIP = (
    "# On a hosted notebook, once: the files of the project, and this line.\n"
    "%pip install -q . -c constraints.txt"
)


class Cell(NamedTuple):
    """A cell: whether it is text, and its content without the marks."""

    is_text: bool
    source: str


def cells(script: str) -> list[Cell]:
    """The cells of a percent script; what stands before the first mark is no cell."""
    found = []
    for part in re.split(r"^# %%", script, flags=re.MULTILINE)[1:]:
        head, _, body = part.partition("\n")
        is_text = head.strip() == "[markdown]"
        if is_text:
            body = re.sub(r"^# ?", "", body, flags=re.MULTILINE)
        if body.strip():
            found.append(Cell(is_text, body.strip("\n")))
    return found


def notebook(script: str) -> str:
    """The .ipynb of a script (nbformat 4.5), with one cell that installs."""
    made = cells(script)
    content = [_cell(0, made[0]), _cell(1, Cell(False, _PIP))]
    content += [_cell(i, cell) for i, cell in enumerate(made[1:], 2)]
    whole = {
        "cells": content,
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


def _cell(number: int, cell: Cell) -> dict[str, Any]:
    common = {"id": f"cell-{number}", "metadata": {}, "source": cell.source.splitlines(True)}
    if cell.is_text:
        return {"cell_type": "markdown", **common}
    return {"cell_type": "code", "execution_count": None, "outputs": [], **common}


def markdown(script: str, name: str) -> str:
    """The tutorial of a script."""
    parts = [c.source if c.is_text else f"```python\n{c.source}\n```" for c in cells(script)]
    parts.insert(
        1,
        f"*As a script: [examples/notebooks/{name}.py](../../examples/notebooks/{name}.py); as a "
        f"notebook: [{name}.ipynb](../../examples/notebooks/{name}.ipynb). A test runs it with "
        "`--tiny`.*\n\n<!-- Rendered by `python -m benchmarks.pages`. -->",
    )
    return "\n\n".join(parts) + "\n"


def pages() -> dict[Path, str]:
    """Every notebook and tutorial, by their paths."""
    found = {}
    for path in sorted(FOLDER.glob("[!_]*.py")):
        script = path.read_text(encoding="utf-8")
        found[path.with_suffix(".ipynb")] = notebook(script)
        found[ROOT / f"docs/tutorials/{path.stem}.md"] = markdown(script, path.stem)
    return found
