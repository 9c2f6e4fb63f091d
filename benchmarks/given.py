"""What a command was given in a flag that is a list."""

from __future__ import annotations

from collections.abc import Sequence

from tf_mixed_nash.errors import InputError

__all__ = ["integers"]


def integers(flag: str, given: Sequence[str], least: int = 1) -> list[int]:
    """Whole numbers from `least` on, which is 0 or 1.

    Raises:
      InputError: for anything else.
    """
    for text in given:
        if not (text.isascii() and text.isdecimal()) or int(text) < least:
            above = " above 0" if least else ", such as 0,1,2"
            raise InputError(f"--{flag}={text}: give whole numbers{above}.")
    return [int(text) for text in given]
