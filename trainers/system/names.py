"""What can be named on a command line, read from the text of the modules that define it.

`--help` and `--list` answer before TensorFlow loads, and the registries live with the mathematics,
which loads it: so their keys are read, not imported. A test compares both.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Mapping
from pathlib import Path

import configs

__all__ = ["algorithms", "datasets", "objectives"]

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


@functools.cache
def _registry(path: str, name: str) -> dict[str, ast.expr]:
    """key -> the expression of its value, of a dict literal NAME = {...} in a module."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    for node in tree.body:
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


def datasets() -> Mapping[str, str]:
    """name -> what it is: the built-in data sets, and how one's own are called."""
    return {**{name: _DATA[name] for name in _DATA if name in configs.CONFIGS}, **_OWN_DATA}
