"""What a scheduler, a service manager or a notebook leaves of a process's surroundings."""

from __future__ import annotations

import os
import sys

__all__ = ["prepare"]


def prepare() -> None:
    """Makes the surroundings those that the commands count on; call it first.

    Closed standard streams lead to /dev/null: a file opened next would be taken for one. Text that
    a stream's encoding lacks is escaped. Pictures are drawn into files, whatever MPLBACKEND says
    (a notebook's is no backend elsewhere), and Keras runs on TensorFlow.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the smallest number that is free
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115  # for good
        elif mode == "w" and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    os.environ["MPLBACKEND"] = "Agg"
    os.environ["KERAS_BACKEND"] = "tensorflow"
