"""The task on Stacked MNIST: how many of its thousand modes samples reach (PacGAN's protocol)."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from tf_mixed_nash.errors import InputError
from trainers.tasks import features, image_scores
from trainers.tasks.base import NO_STRATEGIES, SEED
from trainers.tasks.data.sources import TfdsSource, open_path
from trainers.tasks.data.stacked import StackedSource
from trainers.tasks.features import FeatureNetwork
from trainers.tasks.imaging import ImageTask, draw_pixels
from trainers.tasks.kinds import ImageData
from trainers.tasks.tables import Column

__all__ = ["StackedTask", "mode_card"]

# Without the classes of the features' network, which are no digits'.
_COLUMNS = {
    "modes_captured": Column("modes", 1, of="num_modes"),
    "reverse_kl": Column("reverse KL", 4, "rev. KL"),
    **{key: c for key, c in image_scores.COLUMNS.items() if key != "classes_captured"},
}


_DIGITS = 10  # that the classifier tells apart


class StackedTask(ImageTask):
    """See `ImageTask`. The records are stacks of MNIST's digits, or of those at data.path."""

    columns = _COLUMNS

    def _open(self, data: ImageData) -> StackedSource:
        digits = (
            open_path(data.path)
            if data.path
            else TfdsSource("mnist", data.split, data.tfds_dir, data.download)
        )
        stacks = StackedSource(digits, data.num_stacks)
        if (k := len(stacks.frequencies)) > _DIGITS:
            raise InputError(
                f"{digits.name} has {k} classes, and the classifier that tells the modes of stacks "
                "knows ten, the digits 0 to 9. Give digits with those labels."
            )
        return stacks

    @functools.cached_property
    def classifier(self) -> FeatureNetwork:
        """That of the digits: the committed network of MNIST."""
        return features.load("mnist", "mnist", 1)

    @property
    def law(self) -> np.ndarray:
        """Of the digits 0 to 9, [10]: in the data that scores compare with."""
        known: np.ndarray = self._judged_records.frequencies
        return np.pad(known, (0, _DIGITS - len(known)))

    def score(self, samplers, strategies=NO_STRATEGIES):
        """See `tasks.Task.score`; with the modes of samples and of real data."""
        scores = super().score(samplers, strategies)
        law, num = self.law, self.spec.card.num_samples
        for name, draw in samplers.items():
            images = draw_pixels(draw, SEED, num)
            scores["strategies"][name] |= mode_card(images, self.classifier, law)
        ceiling = self.judged.at(self.real.indices[len(self.real.reference) :])[0]
        scores["real_data_ceiling"] |= mode_card(ceiling, self.classifier, law)
        scores["protocol"]["digits"] = {
            "number": self._judged_records.num_digits,
            "classifier": "mnist",
            "sha256": self.classifier.sha256,
            **self.classifier.about,
        }
        return scores

    def format_table(self, scores, published=None):
        """See `tasks.Task.format_table`."""
        text = super().format_table(scores, published)
        digits = scores["protocol"]["digits"]
        return text + (
            f"\n{digits['number']:,} different digits; the classifier is right on "
            f"{digits['accuracy']:.1%} of its test digits"
        )


def mode_card(
    images: np.ndarray, classifier: FeatureNetwork, frequencies: np.ndarray
) -> dict[str, Any]:
    """Which modes stacked digits are of, each channel judged by the classifier.

    Args:
      images: uint8 [n, S, S, 3].
      classifier: of grey digits, with probabilities of k classes.
      frequencies: of the classes in the data, [k]; the law of a mode is their product.

    Returns:
      num_modes, those that the data have, k^3 if they have every class; modes_captured, those of
      them with at least one sample; reverse_kl, KL(samples || data) of the histograms over modes,
      in nats, infinite with a sample of a mode that the data never have. A finite number of real
      samples has a reverse KL above 0: the data's own is the ceiling.
    """
    guesses = []
    for channel in range(3):
        probabilities = classifier(images[..., channel : channel + 1])[1]
        assert probabilities is not None
        guesses.append(probabilities.argmax(1))
    a, b, c = guesses
    k = len(frequencies)
    p = np.bincount((a * k + b) * k + c, minlength=k**3) / len(images)
    q = np.einsum("i,j,k->ijk", frequencies, frequencies, frequencies).ravel()
    some, there = p > 0, q > 0
    with np.errstate(divide="ignore"):
        divergence = float((p[some] * np.log(p[some] / q[some])).sum())
    return {
        "num_modes": int(there.sum()),
        "modes_captured": int((some & there).sum()),
        "reverse_kl": divergence,
    }
