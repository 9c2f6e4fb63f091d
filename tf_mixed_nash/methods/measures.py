"""A player that is a measure: n' atoms that each make the algorithm's step, and their weights.

The lifted payoff is bi-affine (paper eq. 5): against a mixed strategy mu of the opponent, what a
player's measure nu = sum_j a_j delta(z_j) should do is decided by its first variation

    V(z) = the loss of the pure strategy z against mu

alone. Each atom descends V at its own place with the algorithm's own step, undivided by a_j (a
mirror-descent or Langevin step on V, as the single network's was); the weights make the entropic
step on the V(z_j) (`prox.conic` is both at once for a fixed kind of step). docs/particles_gan.md
has the reasons.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from tf_mixed_nash import rng
from tf_mixed_nash.errors import InputError
from tf_mixed_nash.methods.prox import Move, Prox
from tf_mixed_nash.methods.schedules import Schedule
from tf_mixed_nash.types import Particles, Player

__all__ = [
    "Rebirth",
    "Weigh",
    "constant",
    "each_atom",
    "entropic",
    "finite",
    "first_variation",
    "floored",
    "mean_logs",
    "parents",
    "replaced",
]

# (log a [n'], V [n'], t) -> log a [n'], normalised.
Weigh = Callable[[tf.Tensor, tf.Tensor, Any], tf.Tensor]


def constant(log_weights: tf.Tensor, V: tf.Tensor, t) -> tf.Tensor:
    """The weights as they are."""
    return log_weights


def entropic(weight_step: Schedule, floor: float = 0.0) -> Weigh:
    """Entropic mirror descent on the simplex:  log a <- log_softmax(log a - eta_t V), floored.

    Args:
      weight_step: t -> eta_t >= 0.
      floor: delta in [0, 1), see `floored`.

    Raises:
      InputError: for a floor outside [0, 1).
    """
    if not 0.0 <= floor < 1.0:
        raise InputError(f"weight_floor (delta) must be in [0, 1), got {floor}.")

    def weigh(log_weights, V, t):
        # Not cast alone: a Python number would pass through float32.
        eta = tf.cast(tf.convert_to_tensor(weight_step(t), dtype_hint=tf.float64), V.dtype)
        return floored(tf.nn.log_softmax(log_weights - eta * V), floor)

    return weigh


def floored(log_weights: tf.Tensor, floor: float) -> tf.Tensor:
    """log((1 - delta) a + delta / n').

    Why: V is measured on a mini-batch, and a step that multiplies can only come back slowly from a
    weight next to 0, where it may be by chance. An atom that the critic never sees is not trained
    by it either: what its V says then is of no use. Mixed with the uniform law, every atom keeps
    at least delta / n' of the mass.

    Args:
      log_weights: [n'], normalised.
      floor: delta in [0, 1).
    """
    if floor == 0.0:
        return log_weights
    num: Any = log_weights.shape[0]
    least = tf.constant(math.log(floor / num), log_weights.dtype)
    kept = tf.constant(math.log1p(-floor), log_weights.dtype)
    return tf.reduce_logsumexp(
        tf.stack([log_weights + kept, tf.broadcast_to(least, [num])]), axis=0
    )


def first_variation(logs: dict[str, tf.Tensor]) -> tf.Tensor:
    """V [n'] of a field's logs: all that each atom descends, the penalty included."""
    return logs["loss"] + logs["penalty"]


def finite(log_weights: tf.Tensor, V: tf.Tensor) -> tf.Tensor:
    """Whether weights are, and the V that moved them; -inf is the logarithm of no weight."""
    lost = tf.reduce_any(tf.math.is_nan(log_weights))
    return tf.math.is_finite(tf.reduce_sum(V)) & ~lost


def mean_logs(z: Particles, logs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Logs [n'] as their means over the measure; what is a scalar stays."""
    a = tf.exp(z.log_weights)
    return {k: tf.reduce_sum(a * x) if x.shape.rank else x for k, x in logs.items()}


def each_atom(prox: Prox, weigh: Weigh = constant) -> Prox:
    """The prox step for a player that is `Particles`: for every atom, then for the weights.

    Every atom steps from its own anchor, with its own row of the field, the noise and the
    sampler's state, against the opponent's whole measure. V is that of the step's last field: at
    K_t = 1 that of the anchor, in the second half of Mirror-Prox that of the intermediate atoms.

    Args:
      prox: `prox.one_step` or `prox.langevin_mean`, which take blocks [n', d].
      weigh: the weights' step.
    """

    def step(oracle, player: Player, anchor, at, opponent, state, t, m) -> Move:
        atoms, state, logs = prox.step(
            oracle, player, anchor.atoms, at.atoms, opponent, state, t, m
        )
        V = first_variation(logs)
        log_a = weigh(anchor.log_weights, V, t)
        logs = mean_logs(at, logs)
        logs["finite"] &= finite(log_a, V)
        return Move(Particles(log_a, atoms), state, logs)

    return Prox(lambda z: prox.init(z.atoms), prox.num_batches, step)


class Rebirth(NamedTuple):
    """When an atom is given up, and where it starts again: see `parents`, `replaced`.

    Attributes:
      below: weights below it are given up; above 0 and below 1 / n'.
      noise: standard deviation of what is added to every parameter of the copy.
    """

    below: float
    noise: float


def parents(log_weights: tf.Tensor, below: float) -> tf.Tensor:
    """Whose copy each atom becomes: itself, or the heaviest one's: int32 [n'].

    Why: an atom whose weight has died costs as much as the others and adds nothing. The heaviest
    one has the most to cover; of two copies with half its mass each, one may leave a part of it to
    the other. The mixture itself changes by the noise and by the dead mass alone.
    """
    index = tf.range(log_weights.shape[0])
    heaviest = tf.argmax(log_weights, output_type=tf.int32)
    return tf.where(log_weights < math.log(below), heaviest, index)


def replaced(state: Any, parents: tf.Tensor, noise: float, key: tf.Tensor) -> Any:
    """A player's state with every row of it replaced by its parent's.

    An atom and its copies share its weight evenly. The copies, and they alone, move by the same
    normal draw in every point of the state, so that anchors and intermediates keep their distance.

    Args:
      state: a nest of `Particles`, tensors [n', ...] and scalars, as schemes keep of a player.
      parents: int32 [n'], of `parents`.
      noise: standard deviation of the draw.
      key: int32[2].
    """
    num = parents.shape[0]
    new = parents != tf.range(num)
    # How many children each row's parent has, itself included.
    shares = tf.reduce_sum(tf.cast(parents[:, None] == parents[None], tf.int32), axis=1)

    def of_particles(z: Particles) -> Particles:
        dtype = z.atoms.dtype
        log_a = tf.gather(z.log_weights, parents) - tf.math.log(tf.cast(shares, dtype))
        xi = rng.normal(key, z.atoms.shape, dtype)
        moved = tf.cast(new, dtype)[:, None] * noise * xi
        return Particles(tf.nn.log_softmax(log_a), tf.gather(z.atoms, parents) + moved)

    def of(tree):
        if isinstance(tree, Particles):
            return of_particles(tree)
        if isinstance(tree, tuple):
            parts = [of(x) for x in tree]
            return type(tree)(*parts) if hasattr(tree, "_fields") else tuple(parts)
        return tf.gather(tree, parents) if tree.shape.rank else tree

    return of(state)
