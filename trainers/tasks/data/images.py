"""From records to mini-batches of images: decoded, cropped, resized, in a fixed order.

The mini-batch at index m is a function of (seed, m) alone (`tf_mixed_nash.training.order`), so it
does not depend on how many threads read it, on how many devices split it, or on where a run was
stopped. A corrupt record is replaced by the next readable one, counted, and refused beyond
a limit.
"""

from __future__ import annotations

import threading
import time
import warnings
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from tf_mixed_nash.errors import InputError
from tf_mixed_nash.training import order
from trainers.tasks.data.decoding import Preprocessing, decode, to_unit
from trainers.tasks.data.records import Source

__all__ = ["Images", "Prefetch", "Preprocessing", "decode", "to_unit"]


class Images:
    """Mini-batches of a source.

    Args:
      source: the records.
      preprocessing: see `Preprocessing`.
      batch_size: of the global mini-batch.
      seed: of the order and the flips.
      max_corrupt: how many different unreadable records are tolerated.
      cache: decode everything once into memory: True, False, or None for "if it fits
        1 GiB".
      num_threads: that decode.
      rows: of a mini-batch of the training, that this process needs; the others stay black.

    Raises:
      InputError: if more records than `max_corrupt` cannot be read.
    """

    _CACHE_LIMIT = 2**30

    def __init__(
        self,
        source: Source,
        preprocessing: Preprocessing,
        batch_size: int,
        seed: int,
        max_corrupt: int = 100,
        cache: bool | None = None,
        num_threads: int = 4,
        rows: slice = slice(None),
    ):
        self._rows = rows
        self.source, self.preprocessing = source, preprocessing
        self.batch_size, self.seed, self.max_corrupt = batch_size, seed, max_corrupt
        self.corrupt: dict[int, str] = {}
        self._lock = threading.Lock()
        # Pillow refuses bombs, and warns of images of half that size, which are read.
        warnings.filterwarnings("ignore", message="Image size .* could be decompression bomb")
        self._pool = ThreadPoolExecutor(num_threads, thread_name_prefix="decode")
        size = len(source) * preprocessing.size**2 * preprocessing.channels
        self._cached: tuple[np.ndarray, np.ndarray] | None = None
        if size <= self._CACHE_LIMIT if cache is None else cache:
            images, labels = self.at(np.arange(len(source)))
            self._cached = (images, labels)

    def __len__(self) -> int:
        return len(self.source)

    @property
    def in_memory(self) -> tuple[np.ndarray, np.ndarray] | None:
        """All of them, (uint8 [n, S, S, C], labels int64 [n]); None where they are decoded anew.

        Also None where this process needs some rows of a mini-batch only.
        """
        every = range(self.batch_size)
        return self._cached if every[self._rows] == every else None

    @property
    def shape(self) -> tuple[int, int, int]:
        """[S, S, C] of every image."""
        size = self.preprocessing.size
        return (size, size, self.preprocessing.channels)

    def at(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The records at `indices` [k]: (uint8 [k, S, S, C], labels int64 [k], -1 for none)."""
        if self._cached is not None:
            return self._cached[0][indices], self._cached[1][indices]
        images = np.empty((len(indices), *self.shape), np.uint8)
        labels = np.empty(len(indices), np.int64)
        for i, (image, label) in enumerate(self._pool.map(self._readable, indices.tolist())):
            images[i], labels[i] = image, label
        return images, labels

    def look(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As `at`, without those that cannot be read, which are not counted."""
        if self._cached is not None:
            return self.at(indices)

        def readable(index):
            try:
                record = self.source.read(index)
                label = -1 if record.label is None else record.label
                return decode(record.image, self.preprocessing), label
            except (ValueError, OSError):
                return None

        found = [x for x in self._pool.map(readable, indices.tolist()) if x is not None]
        images = np.array([image for image, _ in found], np.uint8).reshape(-1, *self.shape)
        return images, np.array([label for _, label in found], np.int64)

    def batch(
        self, m: int, seed: int | None = None, size: int | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Mini-batch number m: (uint8 [B, S, S, C], labels int64 [B]).

        Args:
          m: at least 0.
          seed: of another order than the training's.
          size: B, where it is not the training's.
        """
        rows = self._rows if seed is None and size is None else slice(None)
        seed = self.seed if seed is None else seed
        size = size or self.batch_size
        wanted = order.records(seed, m, size, len(self))[rows]
        images, labels = self.at(wanted)
        if self.preprocessing.flip:
            mirrored = order.coin(seed, m, size)[rows]
            images[mirrored] = images[mirrored, :, ::-1]
        if len(wanted) == size:
            return images, labels
        whole, all_labels = np.zeros((size, *self.shape), np.uint8), np.full(size, -1, np.int64)
        whole[rows], all_labels[rows] = images, labels
        return whole, all_labels

    def _readable(self, index: int) -> tuple[np.ndarray, int]:
        """Record `index`, or the first readable one after it."""
        while True:
            if index not in self.corrupt:
                try:
                    record = self.source.read(index)
                    label = -1 if record.label is None else record.label
                    return decode(record.image, self.preprocessing), label
                except (ValueError, OSError) as error:
                    with self._lock:
                        self.corrupt[index] = str(error)
            self._check_corrupt()
            index = (index + 1) % len(self.source)

    def _check_corrupt(self) -> None:
        # Looked at by every thread that skips a record, or one would go round for ever.
        with self._lock:
            num = len(self.corrupt)
            index, reason = max(self.corrupt.items())  # threads come in any order
        if num > self.max_corrupt or num >= len(self.source):
            none_left = num >= len(self.source)
            raise InputError(
                f"{num} of the {len(self.source):,} records of {self.source.name} cannot be read, "
                f"the last one {self.source.where(index)} ({reason}). "
                + (
                    "None is left: check the data."
                    if none_left
                    else f"At most --config.data.max_corrupt={self.max_corrupt} are skipped: check "
                    "the data, or raise the limit."
                )
            )


class Prefetch:
    """Consecutive mini-batches, made ahead of their use by a thread.

    Args:
      images: whose mini-batches.
      ahead: how many mini-batches are kept ready, at least 1.

    Attributes:
      waited: seconds that `take` stood still, so far; those of the very first mini-batch, which
        no reader could have had ready, are left out.
    """

    def __init__(self, images: Images, ahead: int):
        self.waited = 0.0
        self._images, self._ahead = images, ahead
        self._next = 0  # the first mini-batch that is being read
        self._reading: deque[Future] = deque()
        self._reader: ThreadPoolExecutor | None = None

    def take(self, start: int, num: int) -> tuple[np.ndarray, np.ndarray]:
        """The mini-batches start .. start + num - 1: uint8 [num, B, S, S, C], int64 [num, B].

        Fast where `start` is where the last call ended; elsewhere the reader starts anew.

        Raises:
          InputError: whatever reading raised.
        """
        batches = []
        if self._reader is None or self._next != start:
            self.close()
            self._next, self._reader = start, ThreadPoolExecutor(1, "prefetch")
            batches = [self._take(self._reader)]
        began = time.perf_counter()
        while len(batches) < num:
            batches.append(self._take(self._reader))
        self.waited += time.perf_counter() - began
        images, labels = zip(*batches, strict=True)
        return np.stack(images), np.stack(labels)

    def _take(self, reader: ThreadPoolExecutor) -> tuple[np.ndarray, np.ndarray]:
        # One more than are to be ready when this one has been taken.
        while len(self._reading) <= self._ahead:
            m = self._next + len(self._reading)
            self._reading.append(reader.submit(self._images.batch, m))
        batch = self._reading[0].result()  # a second call fails alike
        self._reading.popleft()
        self._next += 1
        return batch

    def close(self) -> None:
        """Ends the thread."""
        if self._reader:
            self._reader.shutdown(cancel_futures=True)
            self._reader = None
            self._reading.clear()
