"""Real mini-batches, as the compiled loop takes them."""

from __future__ import annotations

from typing import Any, Protocol

import tensorflow as tf

__all__ = ["Feed", "of_one_length"]


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


def of_one_length(feed: Feed, num_batches: int, call: int = 1) -> Feed:
    """The feed with blocks of one length, the last filled up with zeros that nobody reads.

    XLA compiles a program anew for every shape, and a call of the loop ends where something is due.

    Args:
      feed: whose blocks are as long as its `limit` lets them.
      num_batches: the most of an outer step, by which a call may go beyond the limit.
      call: outer steps of a call whose length XLA knows, which blocks hold whole numbers of where
        they are long enough.

    Returns:
      The feed itself where its blocks have no length.
    """
    if all(spec.shape.is_fully_defined() for spec in feed.signature):
        return feed
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


_ENDLESS = 2**62  # mini-batches: beyond every limit
