"""The only caller of tf.distribute: how a field is evaluated on several devices.

The parameters, samplers and noise live once per process; only the field is computed on
the replicas, each on its shard of the batch, and averaged. Replicas can therefore not
drift apart, and the weight noise is drawn once (docs/decisions/0004).
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from tf_mixed_nash.games import Game, Shard
from tf_mixed_nash.types import Measure

__all__ = ["evaluator", "make_strategy", "num_replicas"]


def _devices() -> list[str]:
    kind = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
    return [device.name for device in tf.config.list_logical_devices(kind)]


def num_replicas(name: str) -> int:
    """How many replicas the strategy called `name` ("default" or "mirrored") has here."""
    return len(_devices()) if name == "mirrored" else 1


def make_strategy(name: str) -> tf.distribute.Strategy | None:
    """The strategy called `name`; None for "default", which has no overhead."""
    return tf.distribute.MirroredStrategy(_devices()) if name == "mirrored" else None


def evaluator(game: Game, strategy: tf.distribute.Strategy | None) -> Callable:
    """`game.field` on every replica's shard of the batch, averaged (see `Oracle`)."""
    if strategy is None or strategy.num_replicas_in_sync == 1:
        return game.field
    count = strategy.num_replicas_in_sync

    def evaluate(player, z, opponent, batch, key):
        size = batch.shape[0] // count

        def on_replica(z, atoms, batch, key):
            index = tf.distribute.get_replica_context().replica_id_in_sync_group
            shard = Shard(index, count)
            rows = tf.slice(
                batch, [index * size, *[0] * (batch.shape.rank - 1)], [size, *batch.shape[1:]]
            )
            return game.field(player, z, Measure(atoms, opponent.weights), rows, key, shard)

        values = strategy.run(on_replica, args=(z, opponent.atoms, batch, key))
        return tf.nest.map_structure(
            lambda value: strategy.reduce(tf.distribute.ReduceOp.MEAN, value, axis=None), values
        )

    return evaluate
