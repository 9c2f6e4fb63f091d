"""Arguments as strangers give them: in others' words, as NumPy's numbers, of another kind."""

from __future__ import annotations

import contextlib
import functools
import inspect
import numbers
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tf_mixed_nash.errors import InputError
from trainers.system import discovery

__all__ = ["answered", "as_path", "in_python", "integer", "meant", "own", "several"]

# Keys of configs that an argument is not called after: elsewhere it is their last part.
_ARGUMENTS = {
    "compile": "xla",
    "log_every": "steps_per_epoch",
    "particles.batch": "particle_batch",
    "particles.latents": "particle_latents",
    "strategy": "devices",
}
_GROUPS = "game|model|mixture|particles|chambolle_pock"

# Where else an argument may belong: method -> its arguments, of those that are `answered`.
_KNOWN: dict[str, tuple[str, ...]] = {}


def meant(word: str, words: Any) -> str:
    """The nearest of the words, or the one that other libraries call so; "" without any."""
    known = list(words)
    last = [key.rpartition(".")[2] for key in discovery.SYNONYMS.get(word, ())]
    if found := next((key for key in last if key in known), ""):
        return found
    return discovery.meant(word, known)


def in_python(message: str) -> str:
    """A message about keys and flags of a config, in the words of our arguments."""

    def argument(key: str) -> str:
        return _ARGUMENTS.get(key) or key.rpartition(".")[2]

    def flag(found: re.Match) -> str:
        key, value = found.groups()
        if value and not re.fullmatch(r"[\d.]+|True|False|None", value):
            value = f'"{value}"'
        return argument(key) + (f"={value}" if value else "")

    message = re.sub(r"--config\.([\w.]+)(?:=([\w,]*\w))?", flag, message)
    message = message.replace("--workdir", "workdir").replace(
        "the same flags", "the same arguments"
    )
    # A word alone is a key before "=", at the beginning, and behind "Unknown".
    words = "|".join(word for word in _ARGUMENTS if "." not in word)
    alone = rf"\b(?:{words})(?==)|(?:^|(?<=Unknown ))(?:{words})\b(?!\()"
    keys = rf"\b(?:{_GROUPS})\.\w+|{alone}"
    return re.sub(keys, lambda found: argument(found[0]), message)


def answered(method: Callable) -> Callable:
    """The method, whose unknown keyword arguments raise InputError instead of TypeError.

    The message names the argument that was meant, of this method or of another answered one.
    Numbers of NumPy and TensorFlow are taken as Python's, and what a config says of its keys is
    said of the arguments.
    """
    name = method.__name__
    _KNOWN[name] = own = tuple(inspect.signature(method).parameters)[1:]

    @functools.wraps(method)
    def call(self, *args, **given):
        if unknown := next((word for word in given if word not in own), None):
            raise InputError(f"{_shown(name)}{unknown}=...) is not known.{_hint(name, unknown)}")
        with _in_our_words():
            return method(self, *map(_plain, args), **{k: _plain(v) for k, v in given.items()})

    return call


@contextlib.contextmanager
def _in_our_words() -> Iterator[None]:
    try:
        yield
    except InputError as error:
        error.args = (in_python(str(error)),)
        raise


def _plain(value: Any) -> Any:
    """Python's number for one of NumPy or TensorFlow; of a mapping for its values."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, tf.Tensor) and value.shape.rank == 0 and hasattr(value, "numpy"):
        return _plain(value.numpy())
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return value


def integer(name: str, value: Any, least: int, most: int | None = None, beside: str = "") -> int:
    """The value of an argument that is an integer, of Python or NumPy.

    Args:
      name: of the argument.
      value: that was given.
      least: valid.
      most: valid; None: no bound.
      beside: what else is valid, for the message: "0 (without classes) or ".

    Raises:
      InputError: for anything else.
    """
    if (
        isinstance(value, bool)
        or not isinstance(value, numbers.Integral)
        or int(value) < least
        or (most is not None and int(value) > most)
    ):
        known = f"of at least {least}" if most is None else f"in [{least}, {most}]"
        raise InputError(f"{name} must be {beside}an integer {known}, got {value!r}.")
    return int(value)


def as_path(name: str, value: Any) -> Path:
    """The path.

    Raises:
      InputError: for what is none, or is empty.
    """
    if not isinstance(value, str | os.PathLike) or not os.fspath(value):
        raise InputError(f"{name} must be the path of a folder, got {value!r}.")
    return Path(value)


def several(name: str, value: Any, what: str, count: int | None = None) -> Sequence[Any]:
    """The list or tuple.

    Args:
      name: of the argument.
      value: as given.
      what: it should be, in words.
      count: of its entries, if it is fixed.

    Raises:
      InputError: for another kind of value, or another number of entries.
    """
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if not isinstance(value, list | tuple) or (count is not None and len(value) != count):
        raise InputError(f"{name} must be {what}, got {value!r}.")
    return value


def own(name: str, value: Any) -> Mapping[str, Any]:
    """One player's hyperparameters.

    Raises:
      InputError: for what is no mapping.
    """
    if value is not None and not isinstance(value, Mapping):
        raise InputError(f'{name} must be a mapping such as {{"step_size": 1e-3}}, got {value!r}.')
    return value or {}


def _hint(name: str, word: str) -> str:
    others = {n: words for n, words in _KNOWN.items() if n != name}
    if close := meant(word, _KNOWN[name]):
        return f" Did you mean {close!r}?"
    for other, words in others.items():
        if close := meant(word, words):
            return f" Did you mean {_shown(other)}{close}=...)?"
    return f" Choose among: {', '.join(_KNOWN[name])}."


def _shown(name: str) -> str:
    return "MixedNashGAN(" if name == "__init__" else f"{name}("
