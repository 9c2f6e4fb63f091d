"""What is said of arguments: the one that was meant, and those of configs in our words."""

from __future__ import annotations

import functools
import inspect
import numbers
import re
from collections.abc import Callable
from typing import Any

from tf_mixed_nash.errors import InputError
from trainers.system import discovery

__all__ = ["answered", "in_python", "meant", "whole"]

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


def whole(name: str, value: Any, minimum: int, beside: str = "") -> int:
    """The value of an argument that is an integer.

    Args:
      name: of the argument.
      value: that was given.
      minimum: the least that is valid.
      beside: what else is valid, for the message: "0 (without classes) or ".

    Raises:
      InputError: for anything else.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < minimum:
        raise InputError(f"{name} must be {beside}an integer of at least {minimum}, got {value!r}.")
    return int(value)


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
    # A word alone is a key before "=", at the beginning, and behind "Unknown".
    words = "|".join(word for word in _ARGUMENTS if "." not in word)
    alone = rf"\b(?:{words})(?==)|(?:^|(?<=Unknown ))(?:{words})\b"
    keys = rf"\b(?:{_GROUPS})\.\w+|{alone}"
    return re.sub(keys, lambda found: argument(found[0]), message)


def answered(method: Callable) -> Callable:
    """The method, whose unknown keyword arguments raise InputError instead of TypeError.

    The message names the argument that was meant, of this method or of another answered one.
    """
    name = method.__name__
    _KNOWN[name] = own = tuple(inspect.signature(method).parameters)[1:]

    @functools.wraps(method)
    def call(self, *args, **given):
        if unknown := next((word for word in given if word not in own), None):
            raise InputError(f"{_shown(name)}{unknown}=...) is not known.{_hint(name, unknown)}")
        return method(self, *args, **given)

    return call


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
