"""The image task: records of a source, DCGAN, metrics in a feature space, grids of images."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tf_mixed_nash import compile as compiling
from tf_mixed_nash import rng
from tf_mixed_nash.errors import InputError
from tf_mixed_nash.models import FAMILIES, dcgan_discriminator, dcgan_generator
from tf_mixed_nash.strategies.mixed import MixedStrategy, seed_rows
from tf_mixed_nash.training import order
from tf_mixed_nash.types import Pair
from trainers.system import devices
from trainers.system.files import save_arrays
from trainers.tasks import features, image_scores, pictures, user_models
from trainers.tasks.base import NO_STRATEGIES, SEED, Sampler, Task, atoms_of
from trainers.tasks.data import found
from trainers.tasks.data.device_feed import DEVICE_BYTES, DeviceFeed, with_classes
from trainers.tasks.data.images import Images, Prefetch, Preprocessing
from trainers.tasks.data.records import Part, shown
from trainers.tasks.data.sources import LSUN_HELP, Source, TfdsSource, open_path
from trainers.tasks.features import FeatureNetwork
from trainers.tasks.image_scores import RealStatistics
from trainers.tasks.kinds import ImageData, ImageSpec

__all__ = ["ImageFeed", "ImageTask", "draw_pixels", "interpolation", "to_pixels"]

# Bytes of uint8 pixels: of one block on the device, and of what is kept ready beside it. On a GPU a
# block is to hold a whole call of mini-batches (training/whole.py).
_BLOCK_BYTES, _BLOCK_BYTES_GPU = 2**25, 2**27
_AHEAD_BYTES = 2**26
_GRID = 64  # images in a picture of samples
_KEPT = 256  # images of each strategy in final.npz
_CHUNK = 250  # samples drawn in one call
_NEIGHBOURS = 12
_STRIPS, _STEPS = 8, 10  # interpolation.png
_CLASSES, _OF_CLASS = 20, 16  # classes.png: at most so many, and images of each
# Two for each half, the reference and the ceiling: of one there is no covariance.
_FEWEST = 4
_SOME = 0x1005E  # the order of `some_data`


class ImageFeed:
    """See `feeds.Feed`. A block is (its first m, uint8 pixels, labels)."""

    def __init__(self, images: Images, num_classes: int, dtype: tf.DType):
        self._images, self._num_classes, self._dtype = images, num_classes, dtype
        batch = images.batch_size
        self._batch_bytes = batch * int(np.prod(images.shape))
        block_bytes = _BLOCK_BYTES_GPU if compiling.on_gpu() else _BLOCK_BYTES
        self._most = max(1, block_bytes // self._batch_bytes)
        self._prefetch = Prefetch(images, max(2, _AHEAD_BYTES // self._batch_bytes))
        self.signature = (
            tf.TensorSpec([], tf.int64),
            tf.TensorSpec([None, batch, *images.shape], tf.uint8),
            tf.TensorSpec([None, batch], tf.int64),
        )

    @property
    def waited(self) -> float:
        """See `feeds.Feed`."""
        return self._prefetch.waited

    def limit(self, start, end):
        """See `feeds.Feed.limit`: blocks of at most 32 MiB, on a GPU 128."""
        return min(end, start + self._most)

    def arrays(self, start, end):
        """See `feeds.Endless`."""
        return np.int64(start), *self._prefetch.take(start, end - start)

    def block(self, start, end):
        """See `feeds.Feed.block`."""
        start, images, labels = self.arrays(start, end)
        return tf.constant(start, tf.int64), tf.constant(images), tf.constant(labels)

    def batch_at(self, block, m):
        """See `feeds.Feed.batch_at`: numbers in [-1, 1], and one-hot planes of the classes."""
        return _batch_at(block, m, self._num_classes, self._dtype)

    def close(self):
        """See `feeds.Feed.close`."""
        self._prefetch.close()


def _batch_at(block, m, num_classes, dtype):
    start, images, labels = block
    index = tf.cast(m, tf.int64) - start
    return with_classes(tf.gather(images, index), tf.gather(labels, index), num_classes, dtype)


class ImageTask(Task):
    """See `tasks.Task`.

    Args:
      spec: what it is made from. Its data are opened when first needed.
    """

    is_image = True
    columns = image_scores.COLUMNS

    def __init__(self, spec: ImageSpec):
        self.spec, self.name, self.num_classes = spec, spec.dataset, spec.num_classes
        self.preprocessing = Preprocessing(spec.size, spec.channels, spec.flip)
        self._saved: Mapping[str, Any] = {}  # of a checkpoint

    @functools.cached_property
    def _records(self) -> Source:
        return self._open(self.spec.data)

    @functools.cached_property
    def _judged_records(self) -> Source:
        card, data = self.spec.card, self.spec.data
        if card.split:
            return self._open(dataclasses.replace(data, split=card.split))
        if not card.path:
            return self._records
        try:
            return self._open(dataclasses.replace(data, path=card.path))
        except InputError as error:  # in the words of the key that it is about
            raise InputError(str(error).replace(".data.path", ".scorecard.path")) from None

    def _open(self, data: ImageData) -> Source:
        return open_source(self.name, data)

    @functools.cached_property
    def source(self) -> Source:
        """The records of the training: all but those that are held out.

        Raises:
          InputError: if they are not there or cannot be read.
        """
        kept = self._split[0]
        return self._records if kept is None else Part(self._records, kept)

    @functools.cached_property
    def _split(self) -> tuple[np.ndarray | None, np.ndarray]:
        """The records of the training (None: all), and those that it never sees."""
        total, fraction = len(self._records), self.spec.held_out
        if not fraction:
            return None, np.zeros(0, np.int64)
        seed = rng.python_seed(rng.stream(self.spec.seed, "held_out"))
        mixed = order.permutation(np.arange(total), total, seed)
        few = max(round(fraction * total), 1)
        return mixed[few:], mixed[:few]

    @functools.cached_property
    def images(self) -> Images:
        """The mini-batches of the training.

        Raises:
          InputError: as `source`; or if a class-conditional model gets other classes.
        """
        spec, data = self.spec, self.spec.data
        classes = self.source.num_classes
        if self.num_classes and classes != self.num_classes:
            raise InputError(
                f"model.conditional needs --config.image.num_classes={self.num_classes} classes, "
                f"but {self.source.name} has {self._classes_found()}. Set image.num_classes to "
                "the data's, or model.conditional=false."
            )
        images = Images(
            self.source,
            self.preprocessing,
            spec.batch_size,
            rng.python_seed(rng.stream(spec.seed, "order")),
            data.max_corrupt,
            data.cache,
            data.num_threads,
            devices.workers(spec.devices).rows(spec.batch_size),
        )
        self._take_corrupt(images)
        return images

    @functools.cached_property
    def judged(self) -> Images:
        """The images that scores compare with: the training's, or those of the scorecard's own.

        Raises:
          InputError: if they are not there or cannot be read.
        """
        spec = self.spec
        if self._judged_records is self._records:
            return self.images
        return Images(
            self._judged_records,
            self.preprocessing,
            spec.batch_size,
            self.images.seed,
            spec.data.max_corrupt,
            False,
            spec.data.num_threads,
        )

    def _classes_found(self) -> str:
        source = self.source
        if not source.num_classes:
            return "; ".join(["no labels", *source.notes])
        names = ", ".join(map(shown, (source.class_names or ())[:12]))
        return f"{source.num_classes}{f' ({names})' if names else ''}"

    def check(self):
        """See `tasks.Task.check`: opens the source, decodes a mini-batch, loads the features."""
        images = self.images
        images.batch(0)
        judged = self.judged
        if judged is not images:
            judged.batch(0)
        if (good := len(judged) - len(judged.corrupt)) < _FEWEST:
            bad = found.unreadable(judged.source, judged.corrupt) if judged.corrupt else ""
            key = "data.path" if judged is images else "scorecard.path or scorecard.split"
            raise InputError(
                f"{judged.source.name} has {good} readable images{f' ({bad})' if bad else ''}"
                f", and scores need at least {_FEWEST}: a half is compared with the other half. "
                f"Give more images with --config.{key}."
            )
        _ = self.features

    @functools.cached_property
    def found(self) -> found.Found:
        """What the data hold."""
        return found.look(self.source, self.spec.size)

    def describe(self):
        """See `tasks.Task.describe`."""
        lines = [found.text(self.source, self.found, self.spec.size)]
        if corrupt := dict(self.images.corrupt):
            lines.append(f"unreadable   {found.unreadable(self.source, corrupt)}")
        num, batch = len(self.source), self.spec.batch_size
        if num < batch:
            lines.append(f"note         a mini-batch of {batch} has some of the {num} images twice")
        judged = self.judged
        if judged is not self.images:
            lines.append(f"scores       against {len(judged):,} records of {judged.source.name}")
        if (half := len(judged) // 2) < (asked := self.spec.card.num_samples):
            lines.append(
                f"note         scores are of {half:,} images against {half:,} others, not "
                f"of {asked:,}: fewer say less, and compare with no others"
            )
        return "\n".join(lines)

    def networks(self, salt=""):
        """See `tasks.Task.networks`: of the family, or networks of the user's own."""
        shape = (self.spec.size, self.spec.size, self.spec.channels)
        make = self._dcgan if self.spec.family == "dcgan" else self._residual
        return user_models.chosen(self.spec, salt, lambda: make(salt), shape)

    def _residual(self, salt):
        spec = self.spec
        family = FAMILIES[spec.family]
        blocks = {"blocks": spec.blocks} if spec.family == "residual" else {}
        common = {"num_classes": self.num_classes, "dtype": spec.precision, **blocks}
        theta, w = user_models.seeds_of(spec.seed, salt)
        generator = family.generator(
            spec.size, spec.channels, spec.latent_dim, spec.width, seed=theta, **common
        )
        discriminator = family.discriminator(
            spec.size,
            spec.channels * spec.packing,
            spec.discriminator_width or spec.width,
            packing=spec.packing,
            seed=w,
            **common,
        )
        shape = (spec.size, spec.size, spec.channels)
        pair = Pair(generator, discriminator)
        return user_models.networks(
            pair, spec.latent_dim, self.num_classes, shape, packing=spec.packing
        )

    def _dcgan(self, salt):
        spec = self.spec

        def seed(name):
            return rng.python_seed(rng.stream(spec.seed, f"init/{name}{salt}"))

        generator = dcgan_generator(
            spec.size,
            spec.channels,
            spec.latent_dim + self.num_classes,
            spec.width,
            spec.generator_normalization,
            seed("generator"),
            spec.precision,
        )
        discriminator = dcgan_discriminator(
            spec.size,
            spec.packing * (spec.channels + self.num_classes),
            spec.discriminator_width or spec.width,
            spec.discriminator_normalization,
            seed("discriminator"),
            spec.precision,
        )
        return Pair(generator, discriminator)

    def feed(self, dtype):
        """See `tasks.Task.feed`: on a GPU the images lie on it, where they are few enough."""
        images = self.images
        kept = images.in_memory
        if kept is not None and compiling.on_gpu() and kept[0].nbytes <= DEVICE_BYTES:
            flip, size = self.preprocessing.flip, images.batch_size
            return DeviceFeed(*kept, images.seed, size, self.num_classes, dtype, flip)
        return ImageFeed(images, self.num_classes, dtype)

    def state(self):
        """See `tasks.Task.state`: the data, and the records that could not be read so far."""
        corrupt = list(self.images.corrupt.items())  # at once: other threads add to it
        names = self.source.class_names
        return {
            "fingerprint": self.source.fingerprint,
            "corrupt": {str(index): why for index, why in corrupt},
            **({"classes": list(names)} if names else {}),
        }

    def set_state(self, state):
        """See `tasks.Task.set_state`; it opens no data that are not open yet."""
        self._saved = state
        if "images" in self.__dict__:
            self._take_corrupt(self.images)

    def _take_corrupt(self, images: Images) -> None:
        # In other data other records have these numbers.
        if self._saved.get("fingerprint") == self.source.fingerprint:
            corrupt = self._saved.get("corrupt", {})
            images.corrupt.update({int(index): why for index, why in corrupt.items()})

    @property
    def class_names(self) -> list[str] | None:
        """Of the generator's classes, where they have names: the data's, or else a checkpoint's."""
        if not self.num_classes:
            return None
        names = self._saved.get("classes")
        if "source" in self.__dict__:
            names = self.source.class_names
        if not names or len(names) != self.num_classes:
            return None
        # Names of files may hold bytes that are no text, which JSON's readers refuse.
        return [name.encode("utf-8", "backslashreplace").decode() for name in names]

    def batches(self, stream, num, size, dtype):
        """See `tasks.Task.batches`: the same records in another order, kept in memory."""
        seed = rng.python_seed(rng.stream(self.spec.seed, stream))
        pixels, labels = zip(*(self.images.batch(m, seed, size) for m in range(num)), strict=True)
        block = tf.constant(0, tf.int64), tf.constant(np.stack(pixels)), tf.constant(labels)
        return lambda m: _batch_at(block, m, self.num_classes, dtype)

    @property
    def seen_by_the_monitor(self):
        """See `tasks.Task.seen_by_the_monitor`."""
        if self.spec.held_out:
            return ""
        return (
            "The duality gap is measured on images that the training sees, too: "
            "--config.image.held_out=0.05 keeps a twentieth of them for it."
        )

    def held_out(self, stream, num, dtype):
        """See `tasks.Task.held_out`: of image.held_out records that the training never sees.

        Of 0 they are records in another order, which the training has seen. Where there are fewer
        than num they are there several times.
        """
        if not len(self._split[1]):
            return self.batches(stream, 1, num, dtype)(tf.constant(0, tf.int64))
        data, seed = self.spec.data, rng.python_seed(rng.stream(self.spec.seed, stream))
        images = Images(
            Part(self._records, self._split[1]),
            self.preprocessing,
            num,
            seed,
            data.max_corrupt,
            False,
            data.num_threads,
        )
        pixels, labels = images.batch(0)
        block = tf.constant(0, tf.int64), tf.constant(pixels[None]), tf.constant(labels[None])
        return _batch_at(block, tf.constant(0, tf.int64), self.num_classes, dtype)

    def some_data(self, num, dtype):
        """See `tasks.Task.some_data`; unreadable records are passed over."""
        total = len(self.images)
        indices = order.permutation(np.arange(min(num, total)), total, _SOME)
        pixels, labels = self.images.look(indices)
        block = tf.constant(0, tf.int64), tf.constant(pixels[None]), tf.constant(labels[None])
        return _batch_at(block, tf.constant(0, tf.int64), self.num_classes, dtype), total

    def draw_step(self, path, title, sample, atoms=None):
        """See `tasks.Task.draw_step`: a grid of the samples of fixed latents."""
        pictures.grid(path, draw_pixels(sample, 0, _GRID), title=title)

    def draw_published(self, folder, strategies, samplers):
        """See `tasks.Task.draw_published`.

        published.png (a sheet of each strategy), interpolation.png (of the one that is published:
        between two samples of one generator), nearest.png (its samples above the training records
        that are nearest in feature space and in pixels).
        """
        published = self.spec.publish
        drawn = {name: draw_pixels(draw, 0, _KEPT) for name, draw in samplers.items()}
        save_arrays(folder / "final.npz", drawn)
        strips = interpolation(strategies[published], _STRIPS, _STEPS)
        title = f"{published}: between two samples of one generator, from left to right"
        pictures.grid(folder / "interpolation.png", strips, columns=_STEPS, title=title)
        if self.num_classes:
            self._draw_classes(folder / "classes.png", strategies[published])
        self._draw_nearest(folder / "nearest.png", drawn[published][:_NEIGHBOURS])
        path = folder / "published.png"
        self.draw_panels(path, [list(drawn.items())])
        return path

    def draw_panels(self, path, rows):
        """See `tasks.Task.draw_panels`: sheets of 64 images."""

        def first(panel):
            title, images = panel
            return title, None if images is None else images[:_GRID]

        some = [[panel and first(panel) for panel in row] for row in rows]
        pictures.sheets(path, some, columns=8)

    def _draw_classes(self, path, strategy: MixedStrategy):
        """A sheet of samples of each class, with its name."""
        seeds = seed_rows(0, _OF_CLASS)
        components, inputs = strategy.draw(seeds)
        latents = inputs[:, : strategy.latent_dim]
        names = self.class_names or [str(k) for k in range(self.num_classes)]
        sheets = []
        for k, name in enumerate(names[:_CLASSES]):
            of_class = strategy.with_classes(latents, tf.fill([_OF_CLASS], k))
            samples = strategy.generate(components, of_class)
            sheets.append((shown(name), to_pixels(samples.numpy())))
        rows = [sheets[start : start + 5] for start in range(0, len(sheets), 5)]
        pictures.sheets(path, rows, columns=4)

    @functools.cached_property
    def features(self) -> FeatureNetwork:
        """The feature network of the scores.

        Raises:
          InputError: if the config names none.
        """
        return features.load(self.spec.card.features, self.name, self.preprocessing.channels)

    @functools.cached_property
    def real(self) -> RealStatistics:
        """The reference of the scores, in feature space."""
        return image_scores.real_statistics(self.judged, self.features, self.spec.card.num_samples)

    def score(self, samplers, strategies=NO_STRATEGIES):
        """See `tasks.Task.score`; beside them `protocol` and `data`."""
        card = self.spec.card
        seeds = seed_rows(SEED, card.num_samples)
        cards = {
            name: image_scores.scorecard(
                draw_pixels(draw, SEED, card.num_samples),
                self.real,
                self.features,
                card,
                atoms_of(strategies, name, seeds),
            )
            for name, draw in samplers.items()
        }
        return {
            "strategies": cards,
            "real_data_ceiling": image_scores.ceiling_scorecard(self.real, card),
            "protocol": image_scores.protocol(self.judged, self.features, card),
            "data": found.facts(self.source, self.found, self.images.corrupt),
        }

    def format_table(self, scores, published=None):
        text = image_scores.format_table(scores, published, self.columns)
        if corrupt := scores["data"]["num_corrupt"]:
            text += f"\n{corrupt} of {len(self.source):,} records could not be read"
            if first := scores["data"].get("corrupt"):
                text += ": " + ", ".join(f"{name} ({why})" for name, why in first.items())
        if changed := scores["data"].get("num_changed"):
            text += f"\n{changed:,} files were changed while the run read them"
        return text

    def _draw_nearest(self, path, samples):
        """Samples, the nearest real images in feature space, and those nearest in pixels."""
        # Of few images all, which is more than the half that scores may compare with.
        total = len(self.images)
        num = min(self.spec.card.num_samples, total)
        if self.judged is self.images and len(self.real.reference) == num:
            indices, trained = self.real.indices[:num], self.real.reference
        else:
            indices = order.permutation(np.arange(num), total, _SOME)
            trained, _ = image_scores.embedded(self.images, self.features, indices)
        pixels, _ = self.images.at(indices)
        by_features = image_scores.nearest(self.features(samples)[0], trained)
        by_pixels = image_scores.nearest(samples, pixels)
        rows = [samples, pixels[by_features], pixels[by_pixels]]
        pictures.grid(
            path,
            np.concatenate(rows),
            columns=len(samples),
            title=f"{self.spec.publish}: samples, and the training images that are nearest to them",
            rows=("samples", "by features", "by pixels"),
        )

    def export_metadata(self):
        image, names = self.preprocessing._asdict(), self.class_names
        return {
            "image": {**image, "range": [-1, 1], "num_classes": self.num_classes},
            **({"class_names": names} if names else {}),
        }


def open_source(dataset: str, data: ImageData) -> Source:
    """The records of a config: those at data.path, or else a TFDS data set.

    Raises:
      InputError: if they are not there or cannot be read.
    """
    if data.path:
        return open_path(data.path, dataset)
    if dataset == "lsun":
        raise InputError(f"The LSUN config needs --config.data.path. {LSUN_HELP}")
    if dataset == "folder":
        raise InputError(
            "dataset=folder needs --config.data.path: a folder of images (sub-folders are "
            "classes), an LMDB directory, or an .npy/.npz of uint8 images."
        )
    return TfdsSource(dataset, data.split, data.tfds_dir, data.download)


def interpolation(strategy: MixedStrategy, num: int, steps: int) -> np.ndarray:
    """Great-circle paths between the latents of samples: uint8 [num * steps, S, S, C].

    Path i leads from sample 2 i of seed 0 to sample 2 i + 1, through the generator and the class
    of the first.
    """
    components, inputs = strategy.draw(seed_rows(0, 2 * num))
    ends = inputs[:, : strategy.latent_dim]
    a, b = ends[::2, None], ends[1::2, None]
    cosine = tf.reduce_sum(tf.math.l2_normalize(a, -1) * tf.math.l2_normalize(b, -1), -1)
    angle = tf.acos(tf.clip_by_value(cosine, -1.0, 1.0))[..., None]
    s = tf.linspace(0.0, 1.0, steps)[None, :, None]
    path = (tf.sin((1.0 - s) * angle) * a + tf.sin(s * angle) * b) / tf.sin(angle)
    classes = tf.repeat(inputs[::2, None, strategy.latent_dim :], steps, axis=1)
    latents = tf.concat([path, classes], axis=-1)
    latents = tf.reshape(latents, [num * steps, inputs.shape[1]])
    samples = strategy.generate(tf.repeat(components[::2], steps), latents)
    return to_pixels(samples.numpy())


def to_pixels(samples: np.ndarray) -> np.ndarray:
    """Numbers in [-1, 1], any shape, as uint8; those outside are cut off.

    Raises:
      ValueError: if they are not all finite.
    """
    if not np.isfinite(samples).all():
        raise ValueError("The samples are not all finite; they have no pixels.")
    return np.clip(np.rint((samples + 1.0) * 127.5), 0, 255).astype(np.uint8)


def draw_pixels(sample: Sampler, seed: int, num: int) -> np.ndarray:
    """Samples 0 .. num - 1 of a seed: uint8 [num, S, S, C]."""
    parts = [
        to_pixels(sample(seed_rows(seed, min(_CHUNK, num - start), start)))
        for start in range(0, num, _CHUNK)
    ]
    return np.concatenate(parts)
