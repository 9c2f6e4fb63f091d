"""SIGTERM and SIGINT: a wish to stop that is granted at the next whole step."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from typing import Self

from trainers.system import cli

__all__ = ["StopRequest", "Stopped"]

_CODES = {signal.SIGTERM: cli.STOPPED, signal.SIGINT: cli.INTERRUPTED}


class Stopped(BaseException):
    """The wish, where there is no step to wait for.

    Attributes:
      code: the exit code.
    """

    def __init__(self, code: int):
        super().__init__(code)
        self.code = code


class StopRequest:
    """Notes SIGTERM and SIGINT while it is entered; the loop looks between its compiled calls.

    A second SIGINT ends the process at once, as Python does (KeyboardInterrupt).

    Attributes:
      code: the exit code that was asked for; 0 while there is no request.
    """

    def __init__(self):
        self.code = 0
        self._at_once = False
        self._before = {}

    def __enter__(self) -> Self:
        # Only the main thread may take signals; elsewhere (in a notebook's) they stay as they are.
        with contextlib.suppress(ValueError):
            self._before = {s: signal.signal(s, self._note) for s in _CODES}
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number, _) -> None:
        if self.code and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.code = _CODES[number]
        if self._at_once:
            raise Stopped(self.code)

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """Inside, a request raises Stopped: for work that is done again or not at all.

        Raises:
          Stopped: also for a request that came before.
        """
        self._at_once = True
        try:
            if self.code:
                raise Stopped(self.code)
            yield
        finally:
            self._at_once = False
