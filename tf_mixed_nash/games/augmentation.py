"""Augmentation that does not leak: the critic sees real and generated images alike transformed.

Zhao et al. 2020 (DiffAugment): if T(x) is random and the law of T(x) tells that of x, a generator
whose T(G(z)) has the law of T(real) has the law of the data, though the critic never sees an image
as it is; T must be differentiable, for the generator learns through it. The operations are theirs.
Karras et al. 2020 (ADA): each operation is applied to each image with a probability p < 1, which
rises while the critic is too sure of its training data: while E sign(D(real)) is above a target.

All of it is a few element-wise operations inside the compiled step. The draws are counters of a
stream of their own, so that no other draw of a run depends on them.

Why these are not Keras's layers (3.15): RandomTranslation cannot be compiled by XLA,
RandomSaturation has no gradient, and RandomBrightness clips to a range, where the gradient is 0 and
images of different brightness become alike.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from tf_mixed_nash import rng
from tf_mixed_nash.ahead import of_batch, of_key
from tf_mixed_nash.errors import InputError, unknown
from tf_mixed_nash.games.game import Shard
from tf_mixed_nash.types import PLAYERS, Pair, Player

__all__ = ["OPERATIONS", "Augmentation", "Augmented", "parse", "transformed"]

OPERATIONS = ("color", "translation", "cutout")

# Uniforms of an image: brightness, saturation, contrast, translation (2), cutout (2), and for each
# of these five whether it is applied.
_NUM = 12
_GATES = {"brightness": 7, "saturation": 8, "contrast": 9, "translation": 10, "cutout": 11}
# What the draws of a mini-batch are for: `at` of their key.
_REAL, _FAKE = 0, 1


def parse(policy: str) -> tuple[str, ...]:
    """The operations of a text such as "color,translation,cutout", in its order.

    Raises:
      InputError: for an unknown operation, or one that is there twice.
    """
    names = tuple(name.strip() for name in policy.split(",") if name.strip())
    for name in names:
        if name not in OPERATIONS:
            raise unknown("augmentation", name, OPERATIONS)
    if len(set(names)) < len(names):
        raise InputError(f"The augmentation {policy!r} names an operation twice.")
    return names


class Augmentation:
    """What is done to the images that a critic reads.

    Args:
      policy: operations of OPERATIONS, one after the other.
      seed: of the run.
      probability: p in (0, 1] with which each is applied to each image; of a target the most that
        p may become.
      factor: a schedule of the mini-batch's number, which multiplies p; None: 1.
      target: of E sign(D(real)), in (0, 1): p starts at 0 and follows it (ADA); 0: p is given.
      speed: samples in which p can go from 0 to 1.

    Raises:
      InputError: for a number out of its range.

    Example:
      >>> Augmentation(parse("color, cutout"), probability=0.5).chance(0)
      0.5
    """

    def __init__(
        self,
        policy: tuple[str, ...],
        seed: int = 0,
        probability: float = 1.0,
        factor: Callable[[Any], Any] | None = None,
        target: float = 0.0,
        speed: float = 500_000.0,
    ):
        if not 0 < probability <= 1:
            raise InputError(
                f"The augmentations' probability must be in (0, 1], got {probability}."
            )
        if not 0 <= target < 1:
            raise InputError(
                "The augmentations' target is of the mean sign of D(real), in (0, 1), or 0 for a "
                f"probability that does not follow it; got {target}."
            )
        if not speed > 0:
            raise InputError(f"The augmentations' speed is in samples, above 0; got {speed}.")
        self.policy, self.probability, self.factor = policy, probability, factor
        self.target, self.speed = target, speed
        self._streams = Pair(*(rng.stream(seed, f"augment/{player}") for player in PLAYERS))

    @property
    def adaptive(self) -> bool:
        """Whether p is a state of the training, which follows the critic."""
        return self.target > 0

    def check(self, shape: tuple[int | None, ...]) -> None:
        """Raises InputError for rows that are no images.

        Args:
          shape: of a row.
        """
        if len(shape) != 3 or None in shape[:2]:
            raise InputError(
                f"{', '.join(self.policy)} are augmentations of images [height, width, channels], "
                f"and a row here has shape {list(shape)}. Leave them out."
            )

    def chance(self, m) -> Any:
        """p on mini-batch m, of a probability that is given: a number or a tensor []."""
        if self.factor is None:
            return self.probability
        p = self.probability * tf.cast(self.factor(m), tf.float64)
        return tf.cast(tf.clip_by_value(p, 0.0, 1.0), tf.float32)

    def moved(self, p: tf.Tensor, sign: tf.Tensor, num_samples: tf.Tensor) -> tf.Tensor:
        """p after so many samples, of which the last mini-batch had this mean sign of D(real)."""
        step = tf.sign(sign - self.target) * tf.cast(num_samples, p.dtype) / self.speed
        return tf.clip_by_value(p + step, 0.0, self.probability)

    def of_field(self, player: Player, m, shard: Shard, chance: Any, num_classes: int) -> Augmented:
        """The augmentation of one field.

        Args:
          player: whose field it is.
          m: the mini-batch's number.
          shard: of it.
          chance: p, where it is a state; None: 0.
          num_classes: the last channels, which are no image.
        """
        stream = self._streams.of(player)
        key = of_batch(lambda m: rng.fold_in(stream, m), m)
        if not self.adaptive:
            chance = self.chance(m)
        return Augmented(self.policy, key, 0.0 if chance is None else chance, shard, num_classes)


class Augmented(NamedTuple):
    """See `Augmentation.of_field`."""

    policy: tuple[str, ...]
    key: tf.Tensor
    chance: Any
    shard: Shard
    num_classes: int

    def real(self, x: tf.Tensor) -> tf.Tensor:
        """Of real data [n, h, w, C (+ k)]."""
        return self._of(x[None], _REAL, 1)[0]

    def fake(self, x: tf.Tensor, terms: int = 1) -> tf.Tensor:
        """Of generated data [n, ...]; or [g, n, ...] of g generators.

        Args:
          x: the data.
          terms: parts of g that share their draws, as the terms of a signed measure do.
        """
        return self._of(x, _FAKE, terms) if x.shape.rank == 5 else self._of(x[None], _FAKE, 1)[0]

    def _of(self, x, use: int, terms: int):
        groups, rows = x.shape[0] // terms, x.shape[1]

        def draw(num):
            shape = [num, groups, _NUM]
            return of_key(lambda key: rng.uniform(key, shape, tf.float32, at=use), self.key)

        # Those of a row stay with it, however many shards there are.
        u = tf.transpose(self.shard.rows(draw, rows), [1, 0, 2])
        u = tf.reshape(tf.tile(u, [terms, 1, 1]), [-1, _NUM])
        flat: Any = tf.reshape(x, [-1, *x.shape[2:]])
        images = flat[..., : -self.num_classes] if self.num_classes else flat
        images = transformed(images, u, self.policy, self.chance)
        if self.num_classes:
            images = tf.concat([images, flat[..., -self.num_classes :]], axis=-1)
        return tf.reshape(images, x.shape)


def transformed(x: tf.Tensor, u: tf.Tensor, policy: tuple[str, ...], p: Any) -> tf.Tensor:
    """Images [n, h, w, C] after the operations of a policy; those that p leaves out change nothing.

    Args:
      x: around 0, such as in [-1, 1]: what is cut out or moved in is 0.
      u: float32 uniforms [n, 12], see the module's source.
      policy: operations.
      p: the probability of each, a number or a tensor [].
    """
    functions = {"color": _color, "translation": _translation, "cutout": _cutout}

    def column(i: int) -> tf.Tensor:
        return tf.reshape(u[:, i], [-1, 1, 1, 1])

    def on(name: str) -> tf.Tensor:
        return column(_GATES[name]) < tf.cast(p, tf.float32)

    for name in policy:
        x = functions[name](x, column, on)
    return x


def _color(x, column, on):
    """Brightness +- 1/2; saturation times 0 to 2; contrast times 1/2 to 3/2."""

    def amount(name: str, i: int, scale: float, start: float):
        value = scale * tf.cast(column(i), x.dtype) + start
        return tf.where(on(name), value, tf.zeros([], x.dtype))

    x += amount("brightness", 0, 1.0, -0.5)
    if x.shape[-1] > 1:  # grey has none
        x += amount("saturation", 1, 2.0, -1.0) * (x - tf.reduce_mean(x, -1, True))
    return x + amount("contrast", 2, 1.0, -0.5) * (x - tf.reduce_mean(x, [1, 2, 3], True))


def _translation(x, column, on):
    """By up to an eighth of the size either way, in whole pixels; zeros come in."""
    for axis, i in ((1, 3), (2, 4)):
        most = int(x.shape[axis] / 8 + 0.5)
        by = _integer(column(i), 2 * most + 1) - most
        x = _shifted(x, tf.where(on("translation"), by, 0), most, axis)
    return x


def _shifted(x, by, most: int, axis: int):
    """x moved along an axis by int32 [n, 1, 1, 1] in [-most, most].

    A shift by each binary digit of the number: exact, and its gradient adds nothing up, which a
    gather's would, and not in one order on every device.
    """
    digits = (2 * most).bit_length()
    length = x.shape[axis]
    around = [[0, 0] for _ in range(4)]
    around[axis] = [most, 2**digits - 1 - most]
    x, left = tf.pad(x, around), most - by
    for digit in range(digits):
        step = 2**digit
        rest = x.shape[axis] - step
        here, there = (_part(x, start, rest, axis) for start in (0, step))
        x = tf.where(tf.bitwise.bitwise_and(left, step) > 0, there, here)
    return _part(x, 0, length, axis)


def _part(x, start: int, length: int, axis: int):
    begin, size = [0] * 4, list(x.shape)
    begin[axis], size[axis] = start, length
    return tf.slice(x, begin, size)


def _cutout(x, column, on):
    """A box of half the size, anywhere that its middle is in the image, becomes 0."""
    inside = on("cutout")
    for axis, i in ((1, 5), (2, 6)):
        size: Any = x.shape[axis]
        box = int(size / 2 + 0.5)
        first = _integer(column(i), size + 1 - box % 2) - box // 2
        place = tf.reshape(tf.range(size), [size if a == axis else 1 for a in range(4)])
        inside &= (place >= first) & (place < first + box)
    return tf.where(inside, tf.zeros([], x.dtype), x)


def _integer(u, end: int):
    """floor(end u), uniform on 0, ..., end - 1: the same in every precision."""
    return tf.cast(u * float(end), tf.int32)
