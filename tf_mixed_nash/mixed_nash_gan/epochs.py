"""Keras's callbacks on our loop: an epoch is a number of mini-batches."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tf_mixed_nash.compile import as_before
from tf_mixed_nash.errors import InputError
from tf_mixed_nash.training.loop import Loop

__all__ = ["Epochs", "checked", "logs_of"]

# Keras's callbacks that work on what a game has not, and what does the same here.
_INSTEAD: Mapping[str, str] = {
    "LearningRateScheduler": "compile(step_size=lambda t: ...) or compile(step_size_schedule=...)",
    "ReduceLROnPlateau": 'compile(step_size_schedule=...), or fit(on_divergence="rollback")',
    "BackupAndRestore": "fit(workdir=...), which goes on after a kill bit for bit",
    "SwapEMAWeights": 'the answer "ema": sample(answer="ema"), generator("ema")',
}


def checked(callbacks: Any) -> Sequence[keras.callbacks.Callback]:
    """The callbacks, one or several.

    Raises:
      InputError: for what is none, or needs an optimizer or one model's weights.
    """
    if callbacks is None:
        return ()
    found = list(callbacks) if isinstance(callbacks, list | tuple) else [callbacks]
    for one in found:
        if not isinstance(one, keras.callbacks.Callback):
            raise InputError(
                "callbacks must be a list of keras.callbacks.Callback, got "
                f"{type(one).__name__} {one!r:.80}."
            )
        for name, instead in _INSTEAD.items():
            if isinstance(one, getattr(keras.callbacks, name)):
                raise InputError(
                    f"keras.callbacks.{name} needs one model with an optimizer, which a game of "
                    f"two players has not. Use {instead}."
                )
    return found


def logs_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """What callbacks see of a record: its entries, and `loss`, the sum of both players' losses.

    Keras's callbacks look for `loss`. In a game it need not fall; that it is finite matters.
    """
    return {"loss": record["loss/theta"] + record["loss/w"], **record}


class _Model:
    """What stands for the model before callbacks.

    Attributes:
      stop_training: set to True by a callback that wants to end the training.
      optimizer: None; the scheme moves the parameters.
      layers: none.
      train_function: none that Keras could draw.
      history: of the callback that Keras adds.
      restored: what `set_weights` got after a session, whose files stay as they are.
    """

    optimizer = None
    layers = ()
    train_function = None

    def __init__(self, save: Callable[[Loop, Path], None]):
        self.stop_training, self.history = False, None
        self.restored: dict[str, Any] | None = None
        self.loop: Loop | None = None
        self._save = save

    def save(self, filepath: str, overwrite: bool = True) -> None:
        """Writes the whole game of now as `MixedNashGAN.save` does: a folder of that name."""
        assert self.loop is not None
        self._save(self.loop, Path(filepath))

    def save_weights(self, filepath: str, overwrite: bool = True) -> None:
        """The same: the weights of a game are its state."""
        self.save(filepath)

    def get_weights(self) -> list[Any]:
        """The whole state, as one entry."""
        assert self.loop is not None
        return [self.loop.tensors()]

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Takes what `get_weights` gave; after a session for the game in memory alone."""
        state = {name: np.asarray(x) for name, x in weights[0].items()}
        if self.loop is None:
            self.restored = state
        else:
            self.loop.assign(state)


class Epochs:
    """Callbacks that are called once an epoch.

    Between two calls the mini-batches of an epoch are computed in compiled calls, so that
    `on_train_batch_begin` and `on_train_batch_end` are called once an epoch, too, with the index
    of its last mini-batch and the means over the epoch.

    Args:
      callbacks: `keras.callbacks.Callback`s.
      steps: mini-batches of an epoch.
      num_batches: of the whole training.
      save: writes the game of a loop to a path.

    Attributes:
      history: the `keras.callbacks.History`.
      model: what the callbacks take for the model.
      records: of the whole run, once it ended.
    """

    def __init__(
        self,
        callbacks: Sequence[keras.callbacks.Callback],
        steps: int,
        num_batches: int,
        save: Callable[[Loop, Path], None],
    ):
        self._steps, self._num_batches = steps, num_batches
        self._records: list[Mapping[str, Any]] = []
        self.records: Sequence[Mapping[str, Any]] = ()
        self._started = False
        self.model: Any = _Model(save)
        self.history = keras.callbacks.History()
        params = {"epochs": -(-num_batches // steps), "steps": steps, "verbose": 0}
        self._list = keras.callbacks.CallbackList(
            [*callbacks, self.history], False, False, self.model, **params
        )

    def start(self, step: int) -> None:
        """Before the training, which begins after `step` mini-batches."""
        self._started = True
        with as_before():
            self._list.on_train_begin()
            self._list.on_epoch_begin(step // self._steps)

    def observe(self, loop: Loop, record: Mapping[str, Any]) -> bool:
        """At the end of an epoch; True if a callback wants to end the training."""
        self._records.append(dict(record))
        self.model.loop, step = loop, record["step"]
        logs = logs_of(record)
        with as_before():
            self._batch((step - 1) % self._steps, logs)
            self._list.on_epoch_end((step - 1) // self._steps, logs)
            if step < self._num_batches and not self.model.stop_training:
                self._list.on_epoch_begin(step // self._steps)
        return self.model.stop_training

    def diverged(self, step: int) -> bool:
        """Tells the callbacks of a mini-batch that is not finite; True if one stops for it."""
        with as_before():
            self._batch((step - 1) % self._steps, {"loss": float("nan")})
        return self.model.stop_training

    def _batch(self, index: int, logs: Mapping[str, Any]) -> None:
        self._list.on_train_batch_begin(index)
        self._list.on_train_batch_end(index, dict(logs))

    def end(self, loop: Loop | None) -> None:
        """At the end of the training. Keras's own history would make all numbers floats."""
        self.model.loop = loop
        if self._started:
            with as_before():
                self._list.on_train_end()
        self.whole(self._records)

    def whole(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Takes the records of the whole run into the history, those of earlier sessions too."""
        self.records = records
        self.history.history, self.history.epoch = {}, []
        for record in records:
            self.history.epoch.append((record["step"] - 1) // self._steps)
            for key, value in logs_of(record).items():
                self.history.history.setdefault(key, []).append(value)
