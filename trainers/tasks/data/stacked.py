"""Stacked MNIST: three digits as the channels of one image, a thousand modes (Metz et al. 2017)."""

from __future__ import annotations

import numpy as np

from tf_mixed_nash.errors import InputError
from trainers.tasks.data.images import Preprocessing, decode
from trainers.tasks.data.records import Record, Source, digest

__all__ = ["SIZE", "StackedSource"]

SIZE = 28  # pixels


class StackedSource(Source):
    """Stacks of three digits, drawn uniformly and with repetition from labelled ones.

    Which digits make stack i is a function of (seed, i). Its label is 100 a + 10 b + c of the
    digits' classes a, b, c, red first.

    Args:
      digits: grey images with labels.
      num: how many stacks.
      seed: of the draws; not the run's, so that all runs have the same stacks.

    Attributes:
      frequencies: of the digits' classes, float64 [k]: the law of each channel.

    Raises:
      InputError: if the digits have no labels, or one cannot be read.
    """

    def __init__(self, digits: Source, num: int, seed: int = 0):
        if digits.num_classes is None:
            raise InputError(
                f"{digits.name} has no labels, which tell the modes of stacked digits. Give MNIST "
                "from TFDS, or an .npz with `images` and `labels`."
            )
        k, to = digits.num_classes, Preprocessing(SIZE, 1)
        records = [digits.read(i) for i in range(len(digits))]
        try:
            images = [decode(record.image, to)[..., 0] for record in records]
        except ValueError as error:
            raise InputError(f"A digit of {digits.name} cannot be read ({error}).") from None
        self._images = np.stack(images)
        self._labels = np.array([record.label for record in records], np.int64)
        self.frequencies = np.bincount(self._labels, minlength=k) / len(records)
        # 64 bits of a documented generator, modulo the number: off by 1e-15 of a frequency.
        words = np.random.SeedSequence(seed).generate_state(3 * num, np.uint64)
        self._chosen = (words % len(records)).astype(np.int64).reshape(num, 3)
        self.num_classes: int | None = k**3
        self.num_digits = len(records)
        self.name = f"{num:,} stacks of {len(records):,} digits of {digits.name}"
        self.fingerprint = digest(digits.fingerprint, num, seed)

    def __len__(self) -> int:
        return len(self._chosen)

    def read(self, index: int) -> Record:
        """Stack number `index`: uint8 [28, 28, 3], and its label."""
        chosen = self._chosen[index]
        a, b, c = (int(x) for x in self._labels[chosen])
        k = len(self.frequencies)
        return Record(np.moveaxis(self._images[chosen], 0, -1), (a * k + b) * k + c)
