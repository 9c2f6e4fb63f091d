"""Games: the descent direction of a player against a measure over the opponent.

The payoff is F(theta, w); theta descends it and w ascends it (paper eq. 3). Lifted to
mixed strategies the payoff is bi-affine (paper eq. 4, 5), so a player's field is linear in
the opponent's measure, whatever F is:

    field(player, z, sum_j a_j delta(z_j)) = sum_j a_j * (+-) grad_player F(z, z_j)

Signs and real data live in games and nowhere else. All fields are to be *descended*.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import tensorflow as tf

from tf_mixed_nash.types import Measure, Player

__all__ = ["Game", "Shard"]


class Shard(NamedTuple):
    """Which part of a mini-batch a call sees: number `index` of `count` equal ones.

    The draws are those of the whole mini-batch, cut to the shard's rows, so that the sum
    over the shards does not depend on how many there are.
    """

    index: Any = 0
    count: int = 1

    def rows(self, draw: Callable[[int], tf.Tensor], num: int) -> tf.Tensor:
        """The shard's `num` rows of draw(all rows)."""
        if self.count == 1:
            return draw(num)
        whole = draw(num * self.count)
        begin = [self.index * num, *[0] * (whole.shape.rank - 1)]
        return tf.slice(whole, begin, [num, *whole.shape[1:]])


class Game(Protocol):
    """What a scheme needs to know of a game."""

    def field(
        self,
        player: Player,
        z: tf.Tensor,
        opponent: Measure,
        batch: Any,
        key: tf.Tensor,
        shard: Shard = Shard(),  # noqa: B008 - immutable
    ) -> tuple[Any, dict[str, tf.Tensor]]:
        """The stochastic descent direction.

        A game whose players' networks keep something from step to step takes `states`, too (see
        `GanGame.field`).

        Args:
          player: whose turn it is.
          z: [d], the player's parameters; or a block [n', d], of which every row's field is
            wanted. The logs then are [n'], too.
          opponent: the measure it plays against.
          batch: real data (GANs), or None.
          key: int32[2], of the latents and other draws.
          shard: which part of the mini-batch `batch` is.

        Returns:
          (g [d], or in the form of z; scalars to log, among them "loss" and "penalty").
        """
        ...
        ...

    def project(self, player: Player, z: tf.Tensor) -> tf.Tensor:
        """The nearest point of the player's parameter set (all of R^d unless clipped)."""
        ...
        ...
