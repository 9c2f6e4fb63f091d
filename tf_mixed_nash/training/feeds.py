"""Real mini-batches, as the compiled loop takes them."""

from __future__ import annotations

from typing import Any, Protocol

import tensorflow as tf

__all__ = ["Feed"]


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
