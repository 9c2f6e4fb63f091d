"""Checkpoints: every variable of a loop, and the way back."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf

from tf_mixed_nash.errors import InputError
from trainers.loop import Loop

__all__ = ["Checkpoints"]

# Variables that checkpoints of earlier versions lack.
_LATER = frozenset({"mixture_w", "mixture_t", "anchor"})


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

    def restore(self, step: int | None = None) -> str | None:
        """Restores the newest, or that of mini-batch `step`.

        Returns:
          Its path, or None if there is none at all.

        Raises:
          InputError: if there is none of that mini-batch; says which there are.
        """
        path = self._manager.latest_checkpoint
        if path and step is not None:
            if step not in self.steps:
                raise InputError(
                    f"There is no checkpoint of mini-batch {step}. There are: "
                    f"{', '.join(map(str, self.steps))}."
                )
            path = self._path(step)
        if path:
            status = self._checkpoint.restore(path)
            there = {name.split("/")[0] for name, _ in tf.train.list_variables(path)}
            lacking = {n for n in self._loop.variables if _attribute(n) not in there}
            # Written by an earlier version: discriminators stay out of the mixture (mixture_t is
            # -1), and there is no theta_bar.
            self._loop.lacking = frozenset(lacking & _LATER)
            if lacking and lacking <= _LATER:
                status.assert_nontrivial_match().expect_partial()
            else:
                status.assert_consumed().expect_partial()
        return path

    @property
    def steps(self) -> list[int]:
        """The mini-batches of the checkpoints that are kept, ascending."""
        return sorted(int(p.rsplit("-", 1)[1]) for p in self._manager.checkpoints)

    def _path(self, step: int) -> str:
        return next(p for p in self._manager.checkpoints if p.endswith(f"-{step}"))

    @property
    def latest(self) -> str | None:
        """The path of the newest checkpoint."""
        return self._manager.latest_checkpoint


def _attribute(name: str) -> str:
    return name.replace("/", "__")
