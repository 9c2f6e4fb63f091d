"""What can be named on a command line, read from the text of the modules that define it.

`--help` and `--list` answer before TensorFlow loads, and the registries live with the mathematics,
which loads it: so their keys are read, not imported. A test compares both.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import configs

__all__ = ["Family", "algorithms", "datasets", "families", "objectives"]

ROOT = Path(__file__).parents[2]
_OWN_DATA = {
    "vectors": "a table of your own, with data.path",
    "folder": "a folder of images, with data.path (a config of images)",
    "FILE.py:NAME": "data of a Python file",
}
_DATA = {
    "gaussians8": "8 Gaussians on a circle",
    "gaussians25": "25 Gaussians on a grid",
    "gaussians25_unbalanced": "the same with masses from 0.18 to 0.0018",
    "swissroll": "the Swiss roll",
    "mnist": "digits, 32 pixels",
    "fashion_mnist": "clothes, 32 pixels",
    "cifar10": "32 pixels, colour",
    "stacked_mnist": "three digits as one image, a thousand modes",
    "lsun": "LSUN's LMDB, 64 pixels",
}


class Family(NamedTuple):
    """A family of networks for images.

    Attributes:
      title: in words.
      models: how its generator and its discriminator are made as Keras models, after
        "tf_mixed_nash.models.".
      sizes: in pixels.
    """

    title: str
    models: tuple[str, str]
    sizes: tuple[int, ...]


@functools.cache
def _body(path: str) -> list[ast.stmt]:
    """The statements of a module."""
    return ast.parse((ROOT / path).read_text(encoding="utf-8")).body


def _registry(path: str, name: str) -> dict[Any, ast.expr]:
    """key -> the expression of its value, of a dict literal NAME = {...} in a module."""
    for node in _body(path):
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(t, ast.Name) and t.id == name for t in targets):
            value = getattr(node, "value", None)
            if isinstance(value, ast.Dict):
                pairs = zip(value.keys, value.values, strict=True)
                return {ast.literal_eval(k): v for k, v in pairs if k is not None}
    raise LookupError(f"{path} defines no dict {name}")


# How the registry marks where an algorithm comes from, in words.
_MARKS = (("[P] ", "the paper, "), ("[C] ", ""), (" [D]", ""), ("[D] ", "after "), ('"', ""))


def algorithms() -> Mapping[str, tuple[str, str]]:
    """name -> (title, source) of `tf_mixed_nash.algorithms.ALGORITHMS`, in its order.

    The marks of the source are words here: "the paper, Algorithm 3".
    """

    def source(text: str) -> str:
        for mark, words in _MARKS:
            text = text.replace(mark, words)
        return text

    found = _registry("tf_mixed_nash/algorithms.py", "ALGORITHMS")
    return {
        name: (ast.literal_eval(entry.args[0]), source(ast.literal_eval(entry.args[1])))
        for name, entry in found.items()
        if isinstance(entry, ast.Call)
    }


def objectives() -> tuple[str, ...]:
    """The names of `tf_mixed_nash.games.objectives.OBJECTIVES`, in its order."""
    return tuple(_registry("tf_mixed_nash/games/objectives.py", "OBJECTIVES"))


def families() -> Mapping[str, Family]:
    """name -> what it is, of `tf_mixed_nash.models.FAMILIES`, in its order."""
    found = _registry("tf_mixed_nash/models/families.py", "FAMILIES")
    return {name: _family(entry) for name, entry in found.items() if isinstance(entry, ast.Call)}


def _family(entry: ast.Call) -> Family:
    title, *others = entry.args
    generator, discriminator, sizes = map(_place, others)
    models = (_model(*generator), _model(*discriminator))
    return Family(ast.literal_eval(title), models, tuple(_registry(*sizes)))


def _place(expression: Any) -> tuple[str, str]:
    """(file, name) of MODULE.NAME, of tf_mixed_nash.models."""
    return f"tf_mixed_nash/models/{expression.value.id}.py", expression.attr


def _model(path: str, name: str) -> str:
    """How a function of a module gives a Keras model: NAME(...), or .model of the Network."""
    (made,) = (x for x in _body(path) if isinstance(x, ast.FunctionDef) and x.name == name)
    of_network = isinstance(made.returns, ast.Name) and made.returns.id == "Network"
    return f"{name}(...){'.model' if of_network else ''}"


def datasets() -> Mapping[str, str]:
    """name -> what it is: the built-in data sets, and how one's own are called."""
    return {**{name: _DATA[name] for name in _DATA if name in configs.CONFIGS}, **_OWN_DATA}
