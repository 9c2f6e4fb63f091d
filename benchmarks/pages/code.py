"""Pieces of our source, found by name in its text: nothing is imported to show it."""

from __future__ import annotations

import ast
import functools
from pathlib import Path

__all__ = ["ROOT", "Piece", "attributes_of", "names_in", "piece", "pieces_of"]

ROOT = Path(__file__).parents[2]
ALGORITHMS = "tf_mixed_nash/algorithms.py"
_METHODS = "tf_mixed_nash/methods"
# How algorithms.py calls the modules that it takes its parts from.
_MODULES = {name: f"{_METHODS}/{name}.py" for name in ("samplers", "schemes", "sampled")}
# Names that it imports from prox.py.
_PROX = ("one_step", "langevin_mean", "langevin_atoms")


class Piece:
    """A function or class of a file.

    Args:
      path: from the root.
      name: of the definition, at the top level.

    Attributes:
      text: its source, whole.
      line: its first.
    """

    def __init__(self, path: str, name: str):
        self.path, self.name = path, name
        text, nodes = _module(path)
        self.node = nodes[name]
        self.line = self.node.lineno
        self.text = "\n".join(text.splitlines()[self.line - 1 : self.node.end_lineno])

    @property
    def doc(self) -> str:
        """Its docstring."""
        return ast.get_docstring(self.node) or ""


@functools.cache
def _module(path: str) -> tuple[str, dict[str, ast.FunctionDef | ast.ClassDef]]:
    text = (ROOT / path).read_text(encoding="utf-8")
    body = ast.parse(text).body
    return text, {n.name: n for n in body if isinstance(n, (ast.FunctionDef, ast.ClassDef))}


@functools.cache
def piece(path: str, name: str) -> Piece:
    """The piece of that name.

    Raises:
      KeyError: if the file defines none.
    """
    return Piece(path, name)


def names_in(path: str) -> tuple[str, ...]:
    """The names that a file defines at its top level, in their order."""
    return tuple(_module(path)[1])


def pieces_of(algorithm: str) -> tuple[list[Piece], set[str]]:
    """What an algorithm of the registry is composed of.

    Args:
      algorithm: the name of its function in algorithms.py.

    Returns:
      Its pieces: its own function, the helpers of algorithms.py, then schemes, prox steps and
      samplers of methods/; and the hyperparameters that they read.
    """
    ours, theirs, keys = dict[str, Piece](), dict[str, Piece](), set[str]()
    left = [algorithm]
    while left:
        name = left.pop(0)
        if name in ours:
            continue
        ours[name] = one = piece(ALGORITHMS, name)
        keys |= attributes_of(one.node, "h")
        for node in ast.walk(one.node):
            if isinstance(node, ast.Name) and node.id in _PROX:
                theirs[node.id] = piece(f"{_METHODS}/prox.py", node.id)
            elif isinstance(node, ast.Name) and node.id in names_in(ALGORITHMS):
                left.append(node.id)
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                path = _MODULES.get(node.value.id)
                if path and node.attr in names_in(path):
                    theirs[node.attr] = piece(path, node.attr)
    common = ("_both", "_weigh", "_rebirth", "Hyperparameters")  # of every algorithm alike
    keys -= {"theta", "w", *_PARTICLES}
    parts = sorted(theirs.values(), key=lambda p: (_ORDER.index(Path(p.path).stem), p.line))
    return [p for name, p in ours.items() if name not in common] + parts, keys


_ORDER = ("schemes", "sampled", "prox", "samplers")
_PARTICLES = ("num_particles", "weights", "weight_step", "weight_floor", "rebirth_below")
_PARTICLES += ("rebirth_noise",)


def attributes_of(node: ast.AST, name: str) -> set[str]:
    """The attributes of a variable of that name that are read in a piece."""
    return {
        n.attr
        for n in ast.walk(node)
        if isinstance(n, ast.Attribute) and isinstance(n.value, ast.Name) and n.value.id == name
    }
