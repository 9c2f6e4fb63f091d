"""Lines to a file, a pipe or a terminal, by a thread of their own: nobody ever waits for them.

A pipe that nobody reads, a disk that is full or a FIFO without a reader would stop whoever writes
to it. Here that is a thread that nothing else depends on. What it cannot get rid of is dropped,
beyond a number of lines, and counted; it goes on when it can.
"""

from __future__ import annotations

import collections
import contextlib
import logging
import os
import select
import stat
import threading
import time
from pathlib import Path

__all__ = ["LineHandler", "Lines"]

_MOST_LINES = 10_000
_MOST_BYTES = 2**16  # of one write
_LOOK_SECONDS = 1.0  # between two looks whether the file was moved away
_FLUSH_SECONDS = 1.0
_AGAIN_SECONDS = 0.1


class Lines:
    """Takes lines and writes them when it can.

    Args:
      target: a path, or a descriptor that stays open.

    Attributes:
      lost: lines that were dropped.

    Raises:
      OSError: if the file cannot be opened. A FIFO may be without a reader.
    """

    def __init__(self, target: Path | int):
        self._path = target if isinstance(target, Path) else None
        self._file = target if isinstance(target, int) else None
        self._waiting: collections.deque[bytes] = collections.deque()
        self._wake = threading.Event()
        self._busy = self._reopen = self._closed = False
        self._looked = time.monotonic()
        self._half = False  # the last line was written in part
        self.lost = 0
        if self._path is not None and not _is_fifo(self._path):
            self._file = self._open()
        self._thread = threading.Thread(target=self._run, name="lines", daemon=True)
        self._thread.start()

    def write(self, line: str) -> None:
        """Takes a line, without its end."""
        if len(self._waiting) >= _MOST_LINES or self._closed:
            self.lost += 1
            return
        self._waiting.append(line.encode("utf-8", "backslashreplace") + b"\n")
        if not self._wake.is_set():
            self._wake.set()

    def reopen(self) -> None:
        """Opens the file anew, by its name, before the next line."""
        self._reopen = True
        self._wake.set()

    def flush(self, seconds: float = _FLUSH_SECONDS) -> bool:
        """Waits until all lines are written, not longer; returns whether they are."""
        end = time.monotonic() + seconds
        while (self._waiting or self._busy) and time.monotonic() < end:
            time.sleep(0.002)
        return not (self._waiting or self._busy)

    def close(self) -> None:
        """Takes no more lines, and gives those that wait a second."""
        self.flush()
        self._closed = True
        self._wake.set()
        self._thread.join(_FLUSH_SECONDS / 10)

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            while self._waiting and not self._closed:
                if not self._write_some():  # a full disk, or nobody at the other end
                    time.sleep(_AGAIN_SECONDS)
            if self._closed:
                if self._path is not None:
                    self._shut()
                return

    def _write_some(self) -> bool:
        """Writes what waits, up to 64 kB; returns whether all of that was written."""
        self._busy = True  # before lines are taken: see flush
        try:
            self._look()
            if self._file is None:
                return False
            lines, size = [], 0
            while self._waiting and size < _MOST_BYTES:
                lines.append(self._waiting.popleft())
                size += len(lines[-1])
            done = self._write_bytes(b"".join(lines))
            if done < size:
                self._keep(lines, done)
            return done == size
        except OSError:
            return False
        finally:
            self._busy = False

    def _write_bytes(self, data: bytes) -> int:
        """Writes to the file; returns how many bytes it took."""
        assert self._file is not None
        done = 0
        try:
            if self._half:  # what there is of a line is none
                os.write(self._file, b"\n")
                self._half = False
            while done < len(data):
                try:
                    done += os.write(self._file, data[done:])
                except BlockingIOError:
                    if self._closed:
                        break
                    _wait_for_room(self._file)
        except OSError:
            if self._path is not None:
                self._shut()  # by its name it may be another one soon
        return done

    def _keep(self, lines: list[bytes], done: int) -> None:
        """Puts lines back that were not written; one that was written in part is lost."""
        for i, line in enumerate(lines):
            if done < len(line):
                if done > 0:
                    self._half = True
                    self.lost += 1
                    i += 1
                self._waiting.extendleft(reversed(lines[i:]))
                return
            done -= len(line)

    def _look(self) -> None:
        """Opens the file again if it was moved away, if told to, or if it could not be opened."""
        now = time.monotonic()
        late = now - self._looked > _LOOK_SECONDS
        if self._path is None or not (self._file is None or self._reopen or late):
            return
        self._looked = now
        if self._file is not None and not self._reopen and _is_at(self._file, self._path):
            return
        try:
            new = self._open()
        except OSError:
            if self._file is None:
                raise
            return  # rather the file that was moved away than none
        self._reopen = False
        self._shut()
        self._file = new

    def _open(self) -> int:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        assert self._path is not None
        if _is_fifo(self._path):  # without a reader it would block, or fail so
            flags |= os.O_NONBLOCK
        return os.open(self._path, flags, 0o644)

    def _shut(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            with contextlib.suppress(OSError):
                os.close(file)


class LineHandler(logging.Handler):
    """A handler of `logging` that writes to Lines."""

    def __init__(self, lines: Lines):
        super().__init__()
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._lines.write(self.format(record))
        except Exception:
            self.handleError(record)


def _wait_for_room(file: int) -> None:
    """A fifth of a second, or less; `select` itself knows no descriptor above 1,023."""
    room = select.poll()
    room.register(file, select.POLLOUT)
    room.poll(200)


def _is_fifo(path: Path) -> bool:
    try:
        return stat.S_ISFIFO(path.stat().st_mode)
    except OSError:
        return False


def _is_at(file: int, path: Path) -> bool:
    """Whether the path still leads to the open file."""
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except OSError:
        return False
