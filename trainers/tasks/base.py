"""What is learned: the data, the networks that fit them, and how samples are judged and drawn.

    planar    points of the plane, MLPs, exact scorecards        (trainers/tasks/planar.py)
    images    records of a source, DCGAN, feature-space metrics  (trainers/tasks/imaging.py)

The trainer, the commands and the export know a task only by this protocol.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from tf_mixed_nash.strategies.mixed import MixedStrategy
from tf_mixed_nash.training.feeds import Feed
from tf_mixed_nash.types import Pair
from trainers.tasks.tables import Column

__all__ = ["NO_STRATEGIES", "SEED", "Panels", "Sampler", "Task", "atoms_of"]

# Scores use draws of their own, the same ones for every run: a difference between two
# runs is not a difference between two test sets.
SEED = 20190609

NO_STRATEGIES: Mapping[str, MixedStrategy] = MappingProxyType({})

# seeds int64 [n, 2] -> samples [n, ...]
Sampler = Callable[[tf.Tensor], np.ndarray]

# Rows of (title, samples; None: there are none) or None, an empty place.
Panels = Sequence[Sequence[tuple[str, np.ndarray | None] | None]]


def atoms_of(
    strategies: Mapping[str, MixedStrategy], name: str, seeds: tf.Tensor
) -> tuple[np.ndarray, np.ndarray] | None:
    """Which atom draws each row of seeds, int [n], and the atoms' weights [n'].

    None where the strategy is not known, or its measures have one atom each.
    """
    strategy = strategies.get(name)
    if strategy is None or strategy.num_particles == 1:
        return None
    return strategy.atom_of(seeds).numpy(), strategy.atom_weights().numpy()


class Task(Protocol):
    """See the module. Its classes derive from this one.

    Attributes:
      name: of the data set.
      num_classes: of a class-conditional generator; 0 without classes.
      is_image: whether samples are images.
      without_functions: whether a step reads its data without functions of the user's.
      columns: of tables, by scorecard key.
    """

    name: str
    num_classes: int
    is_image: bool
    without_functions: bool = True
    columns: Mapping[str, Column]

    def check(self) -> None:
        """Raises InputError unless the data are there and can be read."""

    def check_scores(self) -> None:
        """Raises InputError unless there are real data enough to score samples with."""

    def out_of_reach(self) -> str | None:
        """What to warn of: data that the generator's last activation cannot make."""
        return None

    def not_finite(self, first: int, last: int) -> int | None:
        """The first of the mini-batches first <= m < last that the data make not finite, if any.

        It reads them again: for a run that has diverged.
        """
        return None

    def describe(self) -> str:
        """What was found in the data, lines for the start of a run; "": nothing to say."""
        return ""

    def networks(self, salt: str = "") -> Pair:
        """The generator and the discriminator, initialised from the seed and the salt."""
        ...

    def feed(self, dtype: tf.DType) -> Feed:
        """The real mini-batches of a run."""
        ...

    def state(self) -> dict[str, Any]:
        """What a checkpoint must hold beside the loop's state, of JSON types."""
        return {}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Takes what `state` gave; {} changes nothing."""

    def batches(self, stream: str, num: int, size: int, dtype: tf.DType) -> Callable:
        """m -> mini-batch number m < num, [size, ...], of a stream apart from the training's."""
        ...

    def held_out(self, stream: str, num: int, dtype: tf.DType) -> tf.Tensor:
        """num real data [num, ...] of a stream apart from the training's."""
        ...

    @property
    def seen_by_the_monitor(self) -> str:
        """What a user is told of data that `held_out` gives and the training has; "" of others."""
        return ""

    def some_data(self, num: int, dtype: tf.DType) -> tuple[tf.Tensor, int | None]:
        """At most num different training rows [m, ...], as `feed` gives them, and how many are.

        None where their number is not known, or there is no end of them. Nothing is counted or
        kept of what cannot be read: the run stays as it is.
        """
        return self.held_out("health", num, dtype), None

    def draw_step(
        self, path: Path, title: str, sample: Sampler, atoms: Sampler | None = None
    ) -> None:
        """Writes the picture of one strategy during training.

        Args:
          path: the PNG.
          title: of it.
          sample: of the strategy.
          atoms: which atom draws each sample, int [n], of a measure of several.
        """

    def draw_published(
        self,
        folder: Path,
        strategies: Mapping[str, MixedStrategy],
        samplers: Mapping[str, Sampler],
    ) -> Path:
        """Writes the final pictures and final.npz; returns the main picture's path."""
        ...

    def draw_panels(self, path: Path, rows: Panels) -> None:
        """Writes a picture of titled sets of samples, as final.npz keeps them."""

    def score(
        self,
        samplers: Mapping[str, Sampler],
        strategies: Mapping[str, MixedStrategy] = NO_STRATEGIES,
    ) -> dict[str, Any]:
        """`strategies` (the scorecard of each sampler), `real_data_ceiling`, what else is said.

        Args:
          samplers: by name.
          strategies: of some of them. A measure of n' > 1 atoms gets scores by atom, too.
        """
        ...

    def format_table(self, scores: Mapping[str, Any], published: str | None = None) -> str:
        """`score`'s result as text: a line for each strategy, and one for real data."""
        ...

    def export_metadata(self) -> dict[str, Any]:
        """What a published model says of its samples."""
        ...
