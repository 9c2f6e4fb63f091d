"""Checkpoints: every variable of a loop, and the way back."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf

from trainers.loop import Loop

__all__ = ["Checkpoints"]


class Checkpoints:
    """The checkpoints of one run, in WORKDIR/checkpoints.

    Args:
      folder: where they are.
      loop: whose variables they hold.
      keep: how many to keep.
    """

    def __init__(self, folder: Path, loop: Loop, keep: int):
        self._loop = loop
        self._checkpoint = tf.train.Checkpoint(
            **{_attribute(n): v for n, v in loop.variables.items()}
        )
        self._manager = tf.train.CheckpointManager(self._checkpoint, str(folder), max_to_keep=keep)

    def save(self) -> str:
        """Writes one, named by its mini-batch; returns its path."""
        return self._manager.save(checkpoint_number=self._loop.step)

    def restore(self) -> str | None:
        """Restores the newest; returns its path, or None if there is none."""
        path = self._manager.latest_checkpoint
        if path:
            status = self._checkpoint.restore(path)
            if self._lacks_discriminators(path):
                # Written before the reservoir kept discriminators: mixture_t stays at -1 there.
                status.assert_nontrivial_match().expect_partial()
            else:
                status.assert_consumed().expect_partial()
        return path

    @staticmethod
    def _lacks_discriminators(path: str) -> bool:
        names = {name.split("/")[0] for name, _ in tf.train.list_variables(path)}
        return "mixture_t" not in names

    @property
    def latest(self) -> str | None:
        """The path of the newest checkpoint."""
        return self._manager.latest_checkpoint


def _attribute(name: str) -> str:
    return name.replace("/", "__")
