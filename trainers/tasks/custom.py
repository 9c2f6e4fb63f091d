"""The task of the user's own: their networks, their data, rows of any shape."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tf_mixed_nash.errors import InputError
from tf_mixed_nash.models import mlp
from tf_mixed_nash.strategies.mixed import seed_rows
from tf_mixed_nash.types import Pair
from trainers.system import user_files
from trainers.system.files import save_arrays
from trainers.tasks import pictures, tables, user_models, vector_scores
from trainers.tasks.base import NO_STRATEGIES, SEED, Task, atoms_of
from trainers.tasks.data import user_data, vectors
from trainers.tasks.data.device_feed import with_classes
from trainers.tasks.data.user_data import UserData
from trainers.tasks.kinds import CustomSpec

__all__ = ["CustomTask", "load"]

_PICTURED = 2_000
_IMAGES = 64


class CustomTask(Task):
    """See `tasks.Task`.

    Args:
      spec: what the config says.
      models: salt -> Pair of Keras models, or of networks; "" first, "/j" for particle j.
      data: None where they are not at hand: then nothing can be trained or scored.
      held_out: of which scores are; without, they are rows of `data` in another order.

    Attributes:
      data: the real data.
    """

    columns = vector_scores.COLUMNS

    def __init__(
        self,
        spec: CustomSpec,
        models: Callable[[str], Pair],
        data: UserData | None,
        held_out: UserData | None = None,
    ):
        self.spec, self.name, self.num_classes = spec, spec.dataset, spec.num_classes
        self._models, self._data, self._held_out = models, data, held_out
        self.without_functions = not isinstance(data, user_data.FunctionData)

    @property
    def data(self) -> UserData:
        """The real data.

        Raises:
          InputError: if they are not at hand.
        """
        if self._data is None:
            raise InputError(
                "The data of this run are objects of a Python program, which its folder does not "
                "hold. Call MixedNashGAN.load(path, ...) and fit or evaluate with them."
            )
        return self._data

    @functools.cached_property
    def networks_(self) -> Pair:
        """The networks of the game."""
        return self._networks("")

    def _networks(self, salt: str) -> Pair:
        shape = None if self._data is None else self._data.shape
        spec, models = self.spec, self._models(salt)
        if salt:  # a function may give what it gave before
            first, seeds = self.networks_, user_models.seeds_of(self.spec.seed, salt)
            models = Pair(
                *(
                    user_models.another(model, network.model, name, seed)
                    for model, network, name, seed in zip(
                        models, first, user_models.PLAYERS, seeds, strict=True
                    )
                )
            )
        return user_models.networks(
            models, spec.latent_dim, self.num_classes, shape, packing=spec.packing
        )

    @functools.cached_property
    def shape(self) -> tuple[int, ...]:
        """Of a sample."""
        return self.networks_.theta.output_shape

    @property
    def is_image(self) -> bool:
        """Whether samples are images in [-1, 1]."""
        return len(self.shape) == 3 and self.shape[-1] in (1, 3)

    def check(self):
        """See `tasks.Task.check`: that data and models fit, and labels their range."""
        size = self.spec.batch_size
        if self.data.shape != self.shape:
            raise InputError(
                f"The generator makes {list(self.shape)} and the data are rows of "
                f"{list(self.data.shape)}. Both must have the same shape."
            )
        held_out = self._held_out
        if held_out is not None and held_out.shape != self.shape:
            raise InputError(
                f"The generator makes {list(self.shape)} and the real data that scores compare "
                f"with (validation_data) are rows of {list(held_out.shape)}. Both must have the "
                "same shape."
            )
        x, y = self.data.first(size)
        user_data.check_labels(y, self.num_classes, len(x))
        if np.issubdtype(x.dtype, np.floating) and not np.isfinite(x).all():
            raise InputError("The data hold NaN or infinity. Remove or fill them.")
        dtype = self.networks_.theta.dtype
        largest = max(-float(x.min()), float(x.max()))
        most = float(dtype.max)
        if largest > most:
            raise InputError(
                f"The data reach {largest:g}, and the networks' numbers, {dtype.name}, end at "
                f"{most:g}. Scale the data."
            )
        self.data.feed(0, size, self.num_classes, dtype).close()

    def check_scores(self):
        """See `tasks.Task.check_scores`: half of the rows, each with k neighbours in it."""
        mine = self.spec.dataset == "python" and self._held_out is None
        try:
            real, others = self._scored
        except InputError as error:
            hint = " Give others as validation_data." if mine else ""
            raise InputError(f"The real data that scores compare with: {error}{hint}") from None
        k = self.spec.card.nearest_k
        if len(real) <= k:
            raise InputError(
                f"Scores compare with half of the {'held-out' if self._held_out else 'real'} data, "
                f"each row with its {k} nearest neighbours: they need at least {2 * (k + 1)} rows, "
                f"and the halves have {min(len(real), len(others))}."
            )
        if not (np.isfinite(real).all() and np.isfinite(others).all()):
            raise InputError(
                "The real data that scores compare with hold NaN, infinity or numbers beyond "
                "float32. Remove or fill them."
            )

    def not_finite(self, first, last):
        """See `tasks.Task.not_finite`; arrays were looked at before the training."""
        if isinstance(self.data, user_data.ArrayData):
            return None
        feed = self.feed(self.networks_.theta.dtype)
        for m in range(first, last):
            x = feed.batch_at(feed.block(m, m + 1), tf.constant(m, tf.int64))
            if not bool(tf.reduce_all(tf.math.is_finite(x))):
                return m
        return None

    def out_of_reach(self):
        """See `tasks.Task.out_of_reach`."""
        x, _ = self.data.first(self.spec.batch_size)
        low, high = user_models.reach(self.networks_.theta.model)
        if x.dtype == np.uint8 and x.ndim == 4:
            least, most = -1.0, 1.0
        else:
            least, most = float(x.min()), float(x.max())
        if low - 1e-6 <= least and most <= high + 1e-6:
            return None
        return (
            f"the data lie in [{least:g}, {most:g}] and the generator's last activation reaches "
            f"[{low:g}, {high:g}] only: scale the data, or change the activation"
        )

    def networks(self, salt=""):
        """See `tasks.Task.networks`."""
        return self.networks_ if not salt else self._networks(salt)

    def feed(self, dtype):
        """See `tasks.Task.feed`."""
        seed = user_data.order_seed(self.spec.seed, "order")
        return self.data.feed(seed, self.spec.batch_size, self.num_classes, dtype)

    def state(self):
        """See `tasks.Task.state`: the data's fingerprint."""
        return {"fingerprint": None if self._data is None else self._data.fingerprint}

    def batches(self, stream, num, size, dtype):
        """See `tasks.Task.batches`."""
        x, y = self._rows(stream, num * size)
        rows = with_classes(tf.constant(x), y, self.num_classes, dtype)
        rows = tf.reshape(rows, [num, size, *rows.shape[1:]])
        return lambda m: tf.gather(rows, m)

    def held_out(self, stream, num, dtype):
        """See `tasks.Task.held_out`."""
        return self.batches(stream, 1, num, dtype)(0)

    def some_data(self, num, dtype):
        """See `tasks.Task.some_data`; of arrays how many rows there are is known."""
        data = self.data
        total = data.num_rows if isinstance(data, user_data.ArrayData) else None
        x, y = data.other(user_data.order_seed(SEED, "health"), min(num, data.num_rows or num))
        return with_classes(tf.constant(x), y, self.num_classes, dtype), total

    def _rows(self, stream: str, num: int) -> tuple[np.ndarray, np.ndarray | None]:
        source = self._held_out or self.data
        return source.other(user_data.order_seed(self.spec.seed, stream), num)

    @functools.cached_property
    def _scored(self) -> Pair:
        """Rows that scores compare with, and as many others, as the networks see them.

        Of a stream that does not depend on the run's seed: the same rows for every run.
        """
        source, num = self._held_out or self.data, self.spec.card.num_samples
        if source.num_rows is not None:
            num = min(num, source.num_rows // 2)
        x, y = source.other(user_data.order_seed(SEED, "real"), 2 * num)
        rows = self._unlabelled(x, y)
        return Pair(rows[:num], rows[num:])

    def _unlabelled(self, x, y) -> np.ndarray:
        return with_classes(tf.constant(x), y, 0, tf.float32).numpy()

    # Pictures.

    def draw_step(self, path, title, sample, atoms=None):
        """See `tasks.Task.draw_step`: a sheet of images, or pairs of columns."""
        if self.is_image:
            self._sheet(path, [[(title, sample(seed_rows(0, _IMAGES)))]])
            return
        seeds = seed_rows(0, _PICTURED)
        colours = None if atoms is None else atoms(seeds)
        pictures.pairs(path, title, self._some(), sample(seeds), colours)

    def draw_published(self, folder, strategies, samplers):
        """See `tasks.Task.draw_published`: published.png, and pairs_NAME.png of each strategy."""
        seeds = seed_rows(0, _IMAGES if self.is_image else _PICTURED)
        panels = {name: draw(seeds) for name, draw in samplers.items()}
        save_arrays(folder / "final.npz", panels)
        path = folder / "published.png"
        if self.is_image:
            return self._sheet(path, [list(panels.items())])
        for name, samples in panels.items():
            known = atoms_of(strategies, name, seeds)
            colours = known[0] if known else None
            pictures.pairs(folder / f"pairs_{name}.png", name, self._some(), samples, colours)
        pictures.pairs(path, self.spec.publish, self._some(), panels[self.spec.publish])
        return path

    def draw_panels(self, path, rows):
        """See `tasks.Task.draw_panels`: sheets of images, or the first two columns."""
        if self.is_image:
            self._sheet(path, rows)
            return
        real = vector_scores.columns_of(self._some())
        flat = [
            [
                None if p is None else (p[0], None if p[1] is None else pictures.plane(p[1]))
                for p in row
            ]
            for row in rows
        ]
        pictures.scatter(path, pictures.plane(real), flat, pictures.window(real))

    def _sheet(self, path: Path, rows: Any) -> Path:
        pixels = [
            [None if p is None else (p[0], None if p[1] is None else _pixels(p[1])) for p in row]
            for row in rows
        ]
        return pictures.sheets(path, pixels, columns=8)

    def _some(self) -> np.ndarray:
        return self._unlabelled(*self._rows("picture", _PICTURED))

    # Scores.

    def score(self, samplers, strategies=NO_STRATEGIES):
        """See `tasks.Task.score`; beside them `data`."""
        real, others = self._scored
        seeds = seed_rows(SEED, len(real))
        return {
            "strategies": {name: self.quick(draw(seeds)) for name, draw in samplers.items()},
            "real_data_ceiling": self.quick(others),
            "data": {**self.data.describe(), "held_out": self._held_out is not None},
        }

    def quick(self, samples: np.ndarray) -> dict[str, Any]:
        """The scorecard of samples.

        Raises:
          ValueError: if they are not all finite, or too few.
        """
        return vector_scores.scorecard(samples, self._scored.theta, self.spec.card.nearest_k)

    def format_table(self, scores, published=None):
        """See `tasks.Task.format_table`."""
        return tables.terminal(scores, vector_scores.COLUMNS, published)

    def export_metadata(self):
        """See `tasks.Task.export_metadata`."""
        if self.is_image:
            size, _, channels = self.shape
            image = {"size": size, "channels": channels, "flip": False}
            return {"image": {**image, "range": [-1, 1], "num_classes": self.num_classes}}
        if self.shape == (2,) and self._data is not None:
            return {"plot": {"window": list(pictures.window(self._some()))}}
        return {}


def _pixels(images: np.ndarray) -> np.ndarray:
    return np.clip(np.rint((np.nan_to_num(images) + 1.0) * 127.5), 0, 255).astype(np.uint8)


def load(spec: CustomSpec) -> CustomTask:
    """The task of a config alone: models and data of files, or the models that it describes.

    Raises:
      InputError: if a file is not there or holds something else.
    """
    data = held_out = None
    if spec.dataset == "vectors":
        data, held_out = vectors.read(spec.data.path, spec.data.held_out, spec.seed)
    elif ".py:" in spec.dataset:
        found = user_files.load_object(spec.dataset, "dataset")
        data = user_data.make(found, spec.batch_size, None)

    shape = data.shape if data else None

    def models(salt: str) -> Pair:
        seeds = user_models.seeds_of(spec.seed, salt)
        return Pair(
            _model(spec, "generator", seeds.theta, shape, bool(salt)),
            _model(spec, "discriminator", seeds.w, shape, bool(salt)),
        )

    return CustomTask(spec, models, data, held_out)


def _model(
    spec: CustomSpec, name: str, seed: int, shape: tuple[int, ...] | None, again: bool
) -> Any:
    given = getattr(spec, name)
    if isinstance(given, str) and given:
        return user_models.load(given, f"model.{name}", seed, again)
    if given:
        return user_models.from_description(given, name)
    if shape is None or len(shape) != 1:
        raise InputError(
            f"The built-in perceptrons make vectors, and the data are rows of {list(shape or ())}. "
            f"Give networks that fit them: --config.model.{name}=FILE.py:NAME."
        )
    theta = name == "generator"
    return mlp(
        spec.latent_dim if theta else shape[0] * spec.packing,
        shape[0] if theta else 1,
        spec.hidden_units[0 if theta else 1],
        spec.activation,
        seed,
        spec.precision,
        name,
        penalized=not theta,
        **(spec.start if theta else spec.fourier),
    ).model
