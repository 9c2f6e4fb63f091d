"""Who imports whom: the rooms of the code, the arrows between them, and what goes the wrong way.

    python -m tests.architecture

ORDER names the rooms. A room imports only rooms above it, not those beside it on its line; inside
a room files import each other without a circle. Every import in the text counts, also one inside a
function or under TYPE_CHECKING. Exit code 1 if an arrow goes upward or there is a circle.
"""

from __future__ import annotations

import ast
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
# A room is a package or a module; a module belongs to the longest name that it begins with.
ORDER = (
    (
        (
            "tf_mixed_nash.errors",
            "tf_mixed_nash.compile",
            "tf_mixed_nash.ahead",
            "tf_mixed_nash.xla_flags",
            "tf_mixed_nash.memory",
        )
    ),
    ("tf_mixed_nash.types", "tf_mixed_nash.shadows", "tf_mixed_nash.across"),
    ("tf_mixed_nash.rng", "tf_mixed_nash.latents"),
    ("tf_mixed_nash.models",),
    ("tf_mixed_nash.games",),
    ("tf_mixed_nash.methods",),
    (
        "tf_mixed_nash.algorithms",
        "tf_mixed_nash.metrics",
        "tf_mixed_nash.optimizers",
        "tf_mixed_nash.solvers",
    ),
    ("tf_mixed_nash.strategies",),
    ("tf_mixed_nash.training",),
    ("tf_mixed_nash",),  # the public names
    ("configs",),
    ("trainers.system",),
    ("trainers.reports",),
    ("trainers.tasks", "trainers.games"),
    ("trainers.experiment",),
    ("trainers.workdir",),
    ("export",),
    ("trainers.answers",),
    ("trainers.session",),
    ("tf_mixed_nash.mixed_nash_gan",),  # it drives a session
    ("trainers.campaigns",),
    ("trainers",),  # the commands
    ("benchmarks",),
)
# Beside the order: publishing knows nothing of trainings, and campaigns reach runs by processes.
NEVER = {
    "export": ("trainers.tasks", "trainers.games", "trainers.experiment", "trainers.workdir"),
    "trainers.campaigns": ("trainers.session",),
}
# The one command of a lower room: it publishes an answer of a workdir. The public names are those
# of the library but for one, which is looked up when it is first used.
EXCEPTIONS = {
    ("export.saved_model", "trainers.answers"),
    ("tf_mixed_nash", "tf_mixed_nash.mixed_nash_gan"),
}

_LEVEL = {room: level for level, rooms in enumerate(ORDER) for room in rooms}
_TOPS = sorted({room.split(".")[0] for room in _LEVEL})


class Import(NamedTuple):
    """One import of a module of ours.

    Attributes:
      source: the module with the statement.
      target: the module that it loads.
      line: of the statement.
    """

    source: str
    target: str
    line: int


def room_of(module: str) -> str:
    """The room of a module."""
    parts = module.split(".")
    return next(name for k in range(len(parts), 0, -1) if (name := ".".join(parts[:k])) in _LEVEL)


def modules(root: Path = ROOT) -> dict[str, Path]:
    """name -> file, of all modules of the rooms."""
    found = {}
    for path in (p for top in _TOPS for p in sorted((root / top).rglob("*.py"))):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(name: str, text: str, known: Iterable[str]) -> Iterator[Import]:
    """What a module imports of the `known` modules."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            # `from a import b` loads the module a.b if there is one; else b is a name in a.
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            targets = [t if t in known else node.module for t in whole]
        else:
            continue
        for target in dict.fromkeys(targets):
            if target in known:
                yield Import(name, target, node.lineno)


def lazy_imports(text: str) -> int:
    """How many import statements stand inside functions."""
    statements = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            inner = (n for n in ast.walk(node) if isinstance(n, (ast.Import, ast.ImportFrom)))
            statements |= {n.lineno for n in inner}
    return len(statements)


def is_upward(one: Import) -> bool:
    """Whether an import does not go to a room above its own, and is no exception."""
    source, target = room_of(one.source), room_of(one.target)
    if source == target or (one.source, target) in EXCEPTIONS:
        return False
    return _LEVEL[target] >= _LEVEL[source] or target in NEVER.get(source, ())


def circles(arrows: Iterable[tuple[str, str]]) -> list[list[str]]:
    """The sets of names that reach each other, each sorted (strongly connected components)."""
    follow: dict[str, set[str]] = {}
    for source, target in arrows:
        follow.setdefault(source, set()).add(target)
        follow.setdefault(target, set())
    reached = {name: _reachable(name, follow) for name in follow}
    found = {
        tuple(sorted(other for other in reached[name] if name in reached[other]))
        for name in follow
        if name in reached[name]
    }
    return sorted(list(names) for names in found)


def _reachable(name: str, follow: Mapping[str, set[str]]) -> set[str]:
    """All that arrows from a name lead to, itself only around a circle."""
    seen, new = set(), set(follow[name])
    while new:
        seen |= new
        new = {after for one in new for after in follow[one]} - seen
    return seen


def main() -> int:
    """Prints the picture; 1 if something is wrong."""
    files = modules()
    texts = {name: path.read_text() for name, path in files.items()}
    found = [one for name, text in texts.items() for one in imports(name, text, files)]
    upward = [one for one in found if is_upward(one)]
    ordinary = [one for one in found if (one.source, room_of(one.target)) not in EXCEPTIONS]
    between = Counter(
        (room_of(one.source), room_of(one.target))
        for one in ordinary
        if room_of(one.source) != room_of(one.target)
    )
    lazy = {room: 0 for rooms in ORDER for room in rooms}
    for name, text in texts.items():
        lazy[room_of(name)] += lazy_imports(text)
    count, lines = Counter(map(room_of, files)), Counter()
    for name, text in texts.items():
        lines[room_of(name)] += text.count("\n")

    print(f"{'room':<32}{'files':>6}{'lines':>7}{'lazy':>6}  imports (how often)")
    for room in (room for rooms in ORDER for room in rooms if count[room]):
        to = ", ".join(f"{b} {n}" for (a, b), n in sorted(between.items()) if a == room)
        print(f"{room:<32}{count[room]:>6}{lines[room]:>7}{lazy[room]:>6}  {to or '-'}")
    print(f"\n{sum(lazy.values())} imports inside functions (lazy)")
    for one in found:
        if (one.source, room_of(one.target)) in EXCEPTIONS:
            print(f"exception: {one.source}:{one.line} -> {one.target}")
    print(f"{len(upward)} upward arrows")
    for one in upward:
        print(f"  {one.source}:{one.line} -> {one.target}")
    wrong = bool(upward)
    pairs = [(one.source, one.target) for one in ordinary]
    for what, arrows in (("files", pairs), ("rooms", between)):
        rings = circles((a, b) for a, b in arrows if a != b)
        wrong |= bool(rings)
        print(f"{len(rings)} circles between {what}")
        for names in rings:
            print("  " + ", ".join(names))
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main())
