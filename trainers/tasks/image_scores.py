"""The scorecard of generated images against real ones, in the space of a feature network.

The protocol (docs/image_metrics.md): n records drawn once from the training data, or from others
that the config names, are the reference, n others the ceiling, which is scored as if it were
generated; n samples of each strategy. Every figure depends on the feature network, on n and on
the resize, which scorecard.json says; figures of another protocol cannot be compared.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.spatial.distance import cdist

from tf_mixed_nash.metrics import distances
from tf_mixed_nash.metrics.scorecard import by_atom
from tf_mixed_nash.training import order
from trainers.system.files import save_arrays
from trainers.tasks import tables
from trainers.tasks.data.images import Images
from trainers.tasks.features import FeatureNetwork
from trainers.tasks.kinds import ImageCard
from trainers.tasks.tables import Column

__all__ = [
    "COLUMNS",
    "PROTOCOL",
    "RealStatistics",
    "cache_folder",
    "cache_key",
    "ceiling_scorecard",
    "embedded",
    "format_table",
    "nearest",
    "protocol",
    "real_statistics",
    "scorecard",
]

# Counts up when the same data and network would give other figures.
PROTOCOL = 1
_ORDER_KEY = 0x5EED
# Of tables, by scorecard key.
COLUMNS = {
    "fid": Column("FID", 2),
    "kid": Column("KID", 4),
    "precision": Column("precision", 3),
    "recall": Column("recall", 3),
    "density": Column("density", 3),
    "coverage": Column("coverage", 3),
    "classes_captured": Column("classes", 0, of="num_classes"),
}


class RealStatistics(NamedTuple):
    """Real images as a feature network sees them.

    Attributes:
      indices: int64 [2 n], the records: the reference, then the ceiling.
      reference: features float32 [n, d].
      ceiling: features float32 [n, d] of other records.
      reference_classes: the network's guesses int64 [n]; [0] without classes.
      ceiling_probabilities: float32 [n, k]; [0, 0] without classes.
    """

    indices: np.ndarray
    reference: np.ndarray
    ceiling: np.ndarray
    reference_classes: np.ndarray
    ceiling_probabilities: np.ndarray


def cache_folder() -> Path:
    """$XDG_CACHE_HOME/tf_mixed_nash/real_statistics, by default below ~/.cache.

    Of a user without a home, as containers have them, below the folder of temporary files.
    """
    base = os.environ.get("XDG_CACHE_HOME") or ""
    # A relative one is to be ignored (XDG Base Directory Specification).
    if not os.path.isabs(base):
        try:
            base = Path.home() / ".cache"
        except RuntimeError:
            base = Path(tempfile.gettempdir()) / f"tf_mixed_nash-{os.getuid()}"
    return Path(base) / "tf_mixed_nash" / "real_statistics"


def cache_key(images: Images, features: FeatureNetwork, num: int) -> str:
    """A name that differs wherever the statistics may."""
    unflipped = images.preprocessing._replace(flip=False)
    parts = [PROTOCOL, images.source.fingerprint, list(unflipped), len(images), num]
    parts += [features.sha256, features.size, features.channels]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def real_statistics(
    images: Images, features: FeatureNetwork, num: int, cache: Path | None = None
) -> RealStatistics:
    """The statistics of 2 n records, n = num or half of the data, kept for the next time.

    Args:
      images: the training data, or those that scores compare with in their place.
      features: the network.
      num: n, at least 2.
      cache: the folder; None is `cache_folder()`. One that cannot be written is done without.

    Raises:
      InputError: if too many records cannot be read.
    """
    path = (cache or cache_folder()) / f"{cache_key(images, features, num)}.npz"
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as saved:
            return RealStatistics(*(saved[name] for name in RealStatistics._fields))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        pass  # not there yet, or damaged: computed anew
    n = min(num, len(images) // 2)
    indices = order.permutation(np.arange(2 * n), len(images), _ORDER_KEY)
    rows, probabilities = embedded(images, features, indices)
    none = np.zeros((0, 0), np.float32)
    statistics = RealStatistics(
        indices,
        rows[:n],
        rows[n:],
        np.zeros(0, np.int64) if probabilities is None else probabilities[:n].argmax(1),
        none if probabilities is None else probabilities[n:],
    )
    if images.source.changed:
        return statistics  # of other data than the key says
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_arrays(path, statistics._asdict())
    except OSError:
        pass  # a read-only home: computed again the next time
    return statistics


def embedded(
    images: Images, features: FeatureNetwork, indices: np.ndarray
) -> tuple[np.ndarray, np.ndarray | None]:
    """The records at `indices` [k] as the network sees them, k at least 1.

    Returns:
      Features float32 [k, d], and of a network with classes their probabilities [k, c].
    """
    # In parts: 20,000 images of 128 pixels would be a gigabyte.
    split = np.array_split(indices, -(-len(indices) // 1000))
    parts = [features(images.at(part)[0]) for part in split]
    rows, probabilities = zip(*parts, strict=True)
    if probabilities[0] is None:
        return np.concatenate(rows), None
    return np.concatenate(rows), np.concatenate(probabilities)


def scorecard(
    fake: np.ndarray,
    real: RealStatistics,
    features: FeatureNetwork,
    card: ImageCard,
    atoms: tuple[np.ndarray, np.ndarray] | None = None,
) -> dict[str, Any]:
    """The scorecard of generated images.

    Args:
      fake: uint8 [n, S, S, C].
      real: the reference.
      features: the network that made it.
      card: of how many samples and subsets.
      atoms: who drew each image, int [n], and the weights [n'], of a measure of several atoms.

    Returns:
      fid, kid, kid_std (over subsets), precision, recall, density, coverage, num_samples,
      num_real; of a network with k classes also num_classes, classes_captured (classes that at
      least 0.1 % of the samples are taken for), class_entropy (of the histogram of guesses, nats),
      class_kl (of that histogram from the real one's, nats) and mean_confidence. With atoms and
      classes those of `by_atom` (metrics/scorecard.py), the counts as "classes".
    """
    seen, probabilities = features(fake)
    scores = _card(seen, probabilities, real, card)
    if atoms is not None and probabilities is not None:
        scores |= by_atom(probabilities.argmax(1), *atoms, probabilities.shape[1], "classes")
    return scores


def ceiling_scorecard(real: RealStatistics, card: ImageCard) -> dict[str, Any]:
    """The scorecard of other real images in place of generated ones."""
    p = real.ceiling_probabilities
    return _card(real.ceiling, p if p.size else None, real, card)


def _card(seen, probabilities, real: RealStatistics, card: ImageCard) -> dict[str, Any]:
    kid, kid_std = distances.kernel_distance(
        real.reference, seen, card.kid_subsets, card.kid_subset_size
    )
    some = card.prdc_samples
    k = min(card.nearest_k, len(real.reference) - 1, len(seen) - 1)
    return {
        "fid": distances.frechet_distance(
            distances.moments(real.reference), distances.moments(seen)
        ),
        "kid": kid,
        "kid_std": kid_std,
        **distances.prdc(real.reference[:some], seen[:some], k),
        "num_samples": len(seen),
        "num_real": len(real.reference),
        **({} if probabilities is None else _coverage(probabilities, real.reference_classes)),
    }


def _coverage(probabilities: np.ndarray, real_classes: np.ndarray) -> dict[str, Any]:
    num_classes = probabilities.shape[1]
    p = np.bincount(probabilities.argmax(1), minlength=num_classes) / len(probabilities)
    # One pseudo-count, or a class that the reference lacks would make the divergence infinite.
    q = np.bincount(real_classes, minlength=num_classes) + 1.0
    q /= q.sum()
    some = p > 0
    return {
        "num_classes": num_classes,
        "classes_captured": int((p >= 1e-3).sum()),
        "class_entropy": float(-(p[some] * np.log(p[some])).sum()),
        "class_kl": float((p[some] * np.log(p[some] / q[some])).sum()),
        "mean_confidence": float(probabilities.max(1).mean()),
    }


def protocol(images: Images, features: FeatureNetwork, card: ImageCard) -> dict[str, Any]:
    """What the figures depend on, for scorecard.json."""
    return {
        "version": PROTOCOL,
        "feature_network": features.name,
        "sha256": features.sha256,
        **features.about,
        "resize": f"centre square, Lanczos with antialiasing, to {features.size} px, "
        f"{features.channels} channels",
        "real_data": images.source.name,
        "real_fingerprint": images.source.fingerprint,
        **{k: v for k, v in dataclasses.asdict(card).items() if k != "features" and v != ""},
    }


def nearest(queries: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """The Euclidean nearest row of candidates [m, ...] for each of queries [n, ...]: int64 [n]."""
    x, y = (z.reshape(len(z), -1).astype(np.float64) for z in (queries, candidates))
    return cdist(x, y).argmin(axis=1)


def format_table(
    scores: Mapping[str, Any],
    published: str | None = None,
    columns: Mapping[str, Column] = COLUMNS,
) -> str:
    """`tables.terminal`, and what the figures depend on."""
    text = tables.terminal(scores, columns, published)
    network, num = scores["protocol"], scores["real_data_ceiling"]["num_real"]
    return text + (
        f"\nfeatures of {network['feature_network']} ({network['sha256'][:12]}), "
        f"{num:,} real images"
    )
