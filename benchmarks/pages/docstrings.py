"""An extension of Griffe: our docstrings say `Example:`, which it knows as `Examples:`."""

from __future__ import annotations

import re
from typing import Any

import griffe

__all__ = ["Examples"]


class Examples(griffe.Extension):
    """Makes a section of doctests of what stands below `Example:`."""

    def on_instance(self, *, obj: Any, **_: Any) -> None:
        """See `griffe.Extension`."""
        if obj.docstring:
            obj.docstring.value = re.sub(r"(?m)^Example:$", "Examples:", obj.docstring.value)
