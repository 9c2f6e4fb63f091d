"""Games whose payoff is a function that TensorFlow can differentiate, without data."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from tf_mixed_nash.games.game import Shard

__all__ = ["BilinearGame", "FunctionGame"]


class FunctionGame:
    """The game of a differentiable payoff F(theta [d], w [e]) -> scalar, without data.

    Args:
      payoff: F; theta descends it, w ascends it.

    Example:
      >>> game = FunctionGame(lambda theta, w: tf.reduce_sum(theta * w))
      >>> mu = Measure(tf.constant([[2.0]]), tf.constant([1.0]))
      >>> g, logs = game.field("theta", tf.constant([3.0]), mu)
      >>> g.numpy().tolist(), float(logs["loss"])
      ([2.0], 6.0)
    """

    def __init__(self, payoff: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]):
        self.payoff = payoff

    def field(self, player, z, opponent, batch=None, key=None, shard=Shard()):  # noqa: B008
        """See `Game.field`; batch, key and shard are not used."""
        if z.shape.rank == 2:
            each = [self.field(player, x, opponent, batch, key, shard) for x in tf.unstack(z)]
            return tf.nest.map_structure(lambda *rows: tf.stack(rows), *each)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(z)
            value = tf.zeros([], z.dtype)
            for a, atom in opponent.terms():
                value += a * (self.payoff(z, atom) if player == "theta" else self.payoff(atom, z))
            loss = value if player == "theta" else -value
        g = tape.gradient(loss, z)
        return g, {"loss": loss, "penalty": tf.zeros([], z.dtype)}

    def project(self, player, z):
        """The identity."""
        return z


class BilinearGame(FunctionGame):
    """F(theta, w) = theta^T A w + <b, theta> + <c, w>.

    Args:
      matrix: A [d, e].
      b: [d] or 0.
      c: [e] or 0.
    """

    def __init__(self, matrix, b=0.0, c=0.0):
        def payoff(theta, w):
            linear = tf.reduce_sum(b * theta) + tf.reduce_sum(c * w)
            return tf.tensordot(theta, tf.linalg.matvec(matrix, w), 1) + linear

        super().__init__(payoff)
