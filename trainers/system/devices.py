"""The only caller of tf.distribute: devices, workers, and how a field is evaluated on them.

The parameters, samplers and noise live once per process; only the field is computed on
the replicas, each on its rows of the global mini-batch, and averaged. Replicas can therefore not
drift apart, and the weight noise is drawn once in each process, from the same key
(docs/decisions/0004 and 0013).
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tf_mixed_nash.errors import InputError
from tf_mixed_nash.games.game import Game, Shard
from tf_mixed_nash.types import Measure

__all__ = [
    "DEVICES",
    "Workers",
    "check_tf_config",
    "evaluator",
    "first_difference",
    "make_strategy",
    "num_replicas",
    "workers",
]

# What the key `strategy` of a config may be.
DEVICES = ("default", "mirrored", "multi_worker")

_EXAMPLE = (
    '{"cluster": {"worker": ["host1:2222", "host2:2222"]}, "task": {"type": "worker", "index": 0}}'
)


class Workers(NamedTuple):
    """The processes of a run.

    Attributes:
      index: of this one.
      count: of all.
    """

    index: int = 0
    count: int = 1

    @property
    def chief(self) -> bool:
        """Whether this process writes files."""
        return self.index == 0

    def gather(self, *values: float) -> np.ndarray:
        """Numbers of every process, float64 [count, k]. All must call it, in the same order."""
        mine = np.zeros((self.count, len(values)))
        mine[self.index] = values
        return mine if self.count == 1 else _sum_over_workers(mine)

    def rows(self, size: int) -> slice:
        """The rows of a global mini-batch of `size` that this process's replicas compute on."""
        part = size // self.count
        return slice(self.index * part, (self.index + 1) * part)


def _devices() -> list[str]:
    kind = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
    return [device.name for device in tf.config.list_logical_devices(kind)]


@functools.cache  # a process takes part in one cluster, once
def make_strategy(name: str) -> tf.distribute.Strategy | None:
    """The strategy called `name`; None where there is nothing to distribute over.

    default: MirroredStrategy on all GPUs if there are two or more, else None, which has no
      overhead.
    mirrored: MirroredStrategy on all GPUs, or on all logical CPUs.
    multi_worker: MultiWorkerMirroredStrategy of the environment's TF_CONFIG. It must be made
      before TensorFlow computes anything.

    Raises:
      InputError: if TF_CONFIG is missing or wrong, or the other workers cannot be reached.
    """
    if name == "multi_worker":
        check_tf_config(text := os.environ.get("TF_CONFIG"))
        # TensorFlow reads the variable itself, and stumbles over what is harmless.
        os.environ["TF_CONFIG"] = _without_null(text or "")
        try:
            return tf.distribute.MultiWorkerMirroredStrategy()
        except (RuntimeError, tf.errors.OpError) as error:
            reason = str(error).strip().splitlines()[0]
            raise InputError(
                f"The cluster of TF_CONFIG could not be formed ({reason}). Start the same command "
                "on every host of its list, each with its own task index."
            ) from None
    if name == "mirrored" or len(tf.config.list_physical_devices("GPU")) > 1:
        return tf.distribute.MirroredStrategy(_devices())
    return None


def num_replicas(name: str) -> int:
    """How many replicas the strategy has, over all workers."""
    strategy = make_strategy(name) if name in DEVICES else None
    return strategy.num_replicas_in_sync if strategy else 1


def workers(name: str) -> Workers:
    """The processes of a run with that strategy."""
    if name != "multi_worker":
        return Workers()
    return check_tf_config(os.environ.get("TF_CONFIG"))


def check_tf_config(text: str | None) -> Workers:
    """This process's place in the cluster that TF_CONFIG describes.

    Raises:
      InputError: if the text is no such description.
    """

    def refusal(reason: str) -> InputError:
        return InputError(
            f"strategy=multi_worker reads the environment variable TF_CONFIG, which {reason}. "
            f"For the first of two machines it is {_EXAMPLE}"
        )

    if not text:
        raise refusal("is not set")
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise refusal(f"is no JSON ({error})") from None
    cluster = content.get("cluster") if isinstance(content, dict) else None
    if not isinstance(cluster, dict) or not set(cluster) <= {"chief", "worker"} or not cluster:
        raise refusal('must have "cluster" with a list "worker" and at most a "chief" beside it')
    lists = {kind: cluster.get(kind) or [] for kind in ("chief", "worker")}
    if not all(isinstance(each, list) for each in lists.values()):
        raise refusal('must have lists of addresses HOST:PORT as "worker" and "chief"')
    places = [(kind, i) for kind, each in lists.items() for i in range(len(each))]
    addresses = [a for each in lists.values() for a in each]
    if not all(isinstance(a, str) and _has_port(a) for a in addresses):
        raise refusal("must have addresses HOST:PORT")
    if len(set(addresses)) < len(addresses):
        raise refusal("names an address twice")
    task = content.get("task")
    place: Any = (task.get("type"), _index(task.get("index"))) if isinstance(task, dict) else None
    if place not in places:
        valid = ", ".join(f"{kind} {i}" for kind, i in places)
        raise refusal(f'must have a "task" that is one of: {valid}')
    return Workers(places.index(place), len(places))


def _has_port(address: str) -> bool:
    host, _, port = address.rpartition(":")
    return bool(host) and port.isdecimal() and len(port) < 6 and 0 < int(port) < 2**16


def _index(given: Any) -> Any:
    """A task's index; some schedulers write it as a text."""
    if isinstance(given, bool):
        return None
    if isinstance(given, str) and given.strip().isdecimal() and len(given) < 10:
        return int(given)
    return given


def _without_null(text: str) -> str:
    """A checked TF_CONFIG without null, and with a number as the index; else as it is."""
    content = json.loads(text)
    plain = {key: value for key, value in content.items() if value is not None}
    plain["cluster"] = {kind: each for kind, each in plain["cluster"].items() if each is not None}
    plain["task"] = {**plain["task"], "index": _index(plain["task"]["index"])}
    return text if plain == content else json.dumps(plain)


def evaluator(game: Game, strategy: tf.distribute.Strategy | None, accumulate: int = 1) -> Callable:
    """`game.field` on every replica's rows of the mini-batch, averaged (see `Oracle`).

    Args:
      game: whose field.
      strategy: see `make_strategy`.
      accumulate: a replica's rows are computed in so many parts, one after the other.
    """
    field = _accumulated(game.field, accumulate) if accumulate > 1 else game.field
    if strategy is None or strategy.num_replicas_in_sync == 1:
        return field
    count = strategy.num_replicas_in_sync

    def evaluate(player, z, opponent, batch, key, **carried):
        size = batch.shape[0] // count

        def on_replica(z, atoms, batch, key):
            index = tf.distribute.get_replica_context().replica_id_in_sync_group
            rows = _rows(batch, index * size, size)
            against, shard = Measure(atoms, opponent.weights), Shard(index, count)
            return field(player, z, against, rows, key, shard, **carried)

        values = strategy.run(on_replica, args=(z, opponent.atoms, batch, key))
        return tf.nest.map_structure(
            lambda value: strategy.reduce(tf.distribute.ReduceOp.MEAN, value, axis=None), values
        )

    return evaluate


def _rows(batch, start, size):
    shape = batch.shape[1:]
    return tf.slice(batch, [start, *[0] * len(shape)], [size, *shape])


def _accumulated(field: Callable, parts: int) -> Callable:
    """The field as the mean over `parts` equal micro-batches, computed one after the other.

    Draws are those of the whole mini-batch (`Shard`), so that without batch normalisation the
    result is that of one part but for the order of the sum.
    """

    def evaluate(player, z, opponent, batch, key, shard=Shard(), **carried):  # noqa: B008
        size = batch.shape[0] // parts

        def part(a):
            rows = _rows(batch, a * size, size)
            own = Shard(shard.index * parts + a, shard.count * parts)
            return field(player, z, opponent, rows, key, own, **carried)

        def add(a, total):
            return a + 1, tf.nest.map_structure(tf.add, total, part(a))

        _, total = tf.while_loop(
            lambda a, _: a < parts, add, (tf.constant(1), part(0)), parallel_iterations=1
        )
        return tf.nest.map_structure(lambda x: x / parts, total)

    return evaluate


@functools.cache
def _summing():
    strategy: Any = make_strategy("multi_worker")
    local = strategy.num_replicas_in_sync // workers("multi_worker").count

    @tf.function(autograph=False, reduce_retracing=True)
    def total(rows):
        each = strategy.run(tf.identity, args=(rows,))
        return strategy.reduce(tf.distribute.ReduceOp.SUM, each, axis=None) / local

    return total


def _sum_over_workers(rows: np.ndarray) -> np.ndarray:
    return _summing()(tf.constant(rows)).numpy()


def first_difference(rows: np.ndarray) -> Sequence[int]:
    """The processes whose gathered numbers are not those of the first."""
    return [i for i, row in enumerate(rows) if not np.array_equal(row, rows[0])]
