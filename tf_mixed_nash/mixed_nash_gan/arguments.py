"""Unknown keyword arguments answered with the one that was meant, also in others' words."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from tf_mixed_nash.errors import InputError
from trainers.system import discovery

__all__ = ["answered", "meant"]

# Where else an argument may belong: method -> its arguments, of those that are `answered`.
_KNOWN: dict[str, tuple[str, ...]] = {}


def meant(word: str, words: Any) -> str:
    """The nearest of the words, or the one that other libraries call so; "" without any."""
    known = list(words)
    last = [key.rpartition(".")[2] for key in discovery.SYNONYMS.get(word, ())]
    if found := next((key for key in last if key in known), ""):
        return found
    return discovery.meant(word, known)


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
