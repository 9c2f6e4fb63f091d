"""Real mini-batches, as the compiled loop takes them."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol, runtime_checkable

import numpy as np
import tensorflow as tf

__all__ = ["Endless", "Feed", "of_one_length"]


class Feed(Protocol):
    """What the loop needs of them."""

    @property
    def signature(self) -> tuple[tf.TensorSpec, ...]:
        """The specs of a block's tensors."""
        ...

    @property
    def waited(self) -> float:
        """Seconds that `block` stood still for data, so far."""
        ...

    def limit(self, start: int, end: int) -> int:
        """How far a block that begins at mini-batch `start` may reach: in (start, end]."""
        ...

    def block(self, start: int, end: int) -> tuple[Any, ...]:
        """Tensors from which `batch_at` takes the mini-batches start <= m < end."""
        ...

    def batch_at(self, block: tuple[tf.Tensor, ...], m: tf.Tensor) -> tf.Tensor:
        """Mini-batch number m of the block, in a graph: [B, ...] of the parameters' dtype."""
        ...

    def close(self) -> None:
        """Ends the threads that read."""


@runtime_checkable
class Endless(Feed, Protocol):
    """A feed that has every mini-batch, and may read it before anyone asks for it."""

    def arrays(self, start: int, end: int) -> tuple[np.ndarray, ...]:
        """What `block` makes its tensors of; it may be called in a thread, one at a time."""
        ...


def of_one_length(feed: Feed, num_batches: int, call: int = 1) -> Feed:
    """The feed with blocks of one length, the last filled up with zeros that nobody reads.

    XLA compiles a program anew for every shape, and a call of the loop ends where something is due.

    Args:
      feed: whose blocks are as long as its `limit` lets them.
      num_batches: the most of an outer step, by which a call may go beyond the limit.
      call: outer steps of a call whose length XLA knows, which blocks hold whole numbers of where
        they are long enough.

    Returns:
      The feed itself where its blocks have no length. Of one that is `Endless`, a thread reads the
      next block while a device works on one.
    """
    if all(spec.shape.is_fully_defined() for spec in feed.signature):
        return feed
    if isinstance(feed, Endless):
        return _Ahead(feed, num_batches, call * num_batches)
    return _OneLength(feed, num_batches, call * num_batches)


class _OneLength:
    """See `of_one_length`."""

    def __init__(self, feed: Feed, num_batches: int, call: int):
        self._feed = feed
        most = feed.limit(0, _ENDLESS)
        self._length = most // call * call or max(most, num_batches)
        self._most = self._length - num_batches + 1

    @property
    def signature(self) -> tuple[tf.TensorSpec, ...]:
        """See `Feed.signature`."""
        return tuple(
            spec
            if spec.shape.is_fully_defined()
            else tf.TensorSpec([self._length, *spec.shape[1:]], spec.dtype)
            for spec in self._feed.signature
        )

    @property
    def waited(self) -> float:
        """See `Feed.waited`."""
        return self._feed.waited

    def limit(self, start: int, end: int) -> int:
        """See `Feed.limit`."""
        return min(self._feed.limit(start, end), start + self._most)

    def block(self, start: int, end: int) -> tuple[Any, ...]:
        """See `Feed.block`."""
        given = zip(self._feed.block(start, end), self._feed.signature, strict=True)
        return tuple(x if spec.shape.is_fully_defined() else self._filled(x) for x, spec in given)

    def _filled(self, x: tf.Tensor) -> tf.Tensor:
        missing = self._length - int(x.shape[0])  # pyright: ignore[reportArgumentType]
        return tf.concat([x, tf.zeros([missing, *x.shape[1:]], x.dtype)], axis=0) if missing else x

    def batch_at(self, block: tuple[tf.Tensor, ...], m: tf.Tensor) -> tf.Tensor:
        """See `Feed.batch_at`."""
        return self._feed.batch_at(block, m)

    def close(self) -> None:
        """See `Feed.close`."""
        self._feed.close()


class _Ahead(_OneLength):
    """Blocks that are used up before the next is taken, which a thread has read by then.

    Reading and stacking the images of a block takes a GPU's time for dozens of steps. Tensors are
    made where they are asked for: the thread has none.
    """

    def __init__(self, feed: Endless, num_batches: int, call: int):
        super().__init__(feed, num_batches, call)
        self._arrays, self._num_batches, self._waited = feed.arrays, num_batches, 0.0
        self._now: tuple[int, tuple[Any, ...]] | None = None  # where it starts, and it
        self._next: tuple[int, Future] | None = None
        self._reader = ThreadPoolExecutor(1, "blocks")

    @property
    def waited(self) -> float:
        """See `Feed.waited`; without the first block, which nobody could have had ready."""
        return self._waited

    def _left(self, start: int) -> int:
        """Mini-batches from `start` on in the block that is there; at most 0: none."""
        if self._now is None or start < self._now[0]:
            return 0
        return self._now[0] + self._length - start

    def limit(self, start: int, end: int) -> int:
        """See `Feed.limit`."""
        if (left := self._left(start)) < self._num_batches:  # an outer step needs a new block
            return super().limit(start, end)
        return min(end, start + left - self._num_batches + 1)

    def block(self, start: int, end: int) -> tuple[Any, ...]:
        """See `Feed.block`."""
        if self._now is None or self._left(start) < end - start:
            specs = self._feed.signature
            began, first = time.perf_counter(), self._now is None
            arrays = self._read(start)
            self._waited += 0.0 if first else time.perf_counter() - began
            tensors = (tf.constant(x, s.dtype) for x, s in zip(arrays, specs, strict=True))
            self._now = start, tuple(tensors)
            following = start + self._length
            self._next = following, self._reader.submit(self._all, following)
        return self._now[1]

    def _all(self, start: int) -> tuple[np.ndarray, ...]:
        return self._arrays(start, start + self._length)

    def _read(self, start: int) -> tuple[np.ndarray, ...]:
        """What the thread has read, or what is read now."""
        ready, self._next = self._next, None
        if ready is not None and ready[0] == start:
            return ready[1].result()
        if ready is not None and not ready[1].cancel():
            ready[1].exception()  # the feed serves one at a time
        return self._all(start)

    def close(self) -> None:
        """See `Feed.close`."""
        if self._next is not None:
            self._next[1].cancel()
        self._feed.close()  # what the thread waits for ends
        self._reader.shutdown()
        self._feed.close()


_ENDLESS = 2**62  # mini-batches: beyond every limit
