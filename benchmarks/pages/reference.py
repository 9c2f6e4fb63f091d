"""docs/reference/: which names a page documents. Their text is that of the docstrings."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

from benchmarks.pages.code import ROOT
from tf_mixed_nash import __main__ as commands

__all__ = ["modules", "pages", "public"]

_MADE = "<!-- Rendered by `python -m benchmarks.pages`. -->"
# The pages of the library, in the order of the map in CONTRIBUTING.md.
_ROOMS = {
    "ground": (
        "The ground",
        (
            "types",
            "errors",
            "compile",
            "across",
            "ahead",
            "memory",
            "rng",
            "latents",
            "shadows",
            "xla_flags",
        ),
    ),
    "models": ("Models", ("models",)),
    "games": ("Games", ("games",)),
    "methods": ("Methods", ("algorithms", "methods", "optimizers")),
    "solvers": ("Solvers", ("solvers",)),
    "metrics": ("Metrics", ("metrics",)),
    "strategies": ("Strategies", ("strategies",)),
    "training": ("Training", ("training",)),
    "mixed_nash_gan": ("MixedNashGAN, inside", ("mixed_nash_gan",)),
}
_SKIPPED = {"tf_mixed_nash", "tf_mixed_nash.__main__"}  # public.md and commands.md


@functools.cache
def _body(path: Path) -> list[ast.stmt]:
    return ast.parse(path.read_text(encoding="utf-8")).body


def modules() -> dict[str, Path]:
    """Every module of the library with public names, by its dotted name."""
    found = {}
    for path in sorted((ROOT / "tf_mixed_nash").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        if name not in _SKIPPED and public(path):
            found[name] = path
    return found


def public(path: Path) -> list[str]:
    """The names of a module's __all__."""
    for node in _body(path):
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return list(ast.literal_eval(node.value))
    return []


def pages() -> dict[Path, str]:
    """All of them, by their paths."""
    folder = ROOT / "docs/reference"
    return {
        folder / "public.md": _public(),
        folder / "commands.md": _commands(),
        **{folder / f"{name}.md": _room(name) for name in _ROOMS},
    }


def _public() -> str:
    names = sorted(public(ROOT / "tf_mixed_nash/__init__.py"), key=str.lower)
    parts = [
        "# Public names",
        _MADE,
        "`from tf_mixed_nash import NAME`. They are loaded when they are first used, so that the "
        "import of the package does not wait for TensorFlow. Each has an example that a test runs.",
        *(f"::: tf_mixed_nash.{name}" for name in names),
    ]
    return "\n\n".join(parts) + "\n"


def _room(name: str) -> str:
    title, tops = _ROOMS[name]
    parts = [f"# {title}", _MADE]
    for module, path in modules().items():
        if module.split(".")[1] in tops and _defines(path):
            parts += [f"::: {module}"]
    return "\n\n".join(parts) + "\n"


def _defines(path: Path) -> bool:
    """Whether a file has definitions of its own; a package's face that only imports has none."""
    body = _body(path)
    defined = {n.name for n in body if isinstance(n, (ast.FunctionDef, ast.ClassDef))}
    for node in body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            defined.add(node.target.id)
        elif isinstance(node, ast.Assign):
            defined |= {n.id for n in node.targets if isinstance(n, ast.Name)}
    return bool(defined & set(public(path)))


def _commands() -> str:
    parts = [
        "# Commands",
        _MADE,
        "`mixed-nash COMMAND` and `python -m MODULE` are the same. `--help` of each lists its "
        "flags; that of `run` also what can be chosen. Exit codes: 0 done, 2 bad input, "
        "3 diverged, 4 a game solved with a gap above `--tolerance`, 143 and 130 stopped after a "
        "checkpoint.",
    ]
    for name, module, text in _docstrings():
        parts += [f"## {name}", f"`python -m {module}`", f"```text\n{text}\n```"]
    return "\n\n".join(parts) + "\n"


def _docstrings() -> Iterator[tuple[str, str, str]]:
    for name, module in commands.COMMANDS.items():
        path = ROOT.joinpath(*module.split(".")).with_suffix(".py")
        yield name, module, ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
