"""Solves a game to a certified mixed Nash equilibrium.

    python -m trainers.solve --game=configs/games.py:rock_paper_scissors --out=runs/rps
    python -m trainers.solve --game=configs/games.py:dirac_gan --method=conic_mirror_prox,gda \\
        --out=runs/dirac
    python -m trainers.solve --game=mine.py:payoff --x_set=-1:1 --y_set=0:6.2832:periodic \\
        --out=runs/mine

FILE.py:NAME is a game or a function without arguments that returns one (`MatrixGame`,
`ContinuousGame`, `ArrayGame`, or a table of payoffs whose rows minimise and whose columns
maximise); or, with --x_set and --y_set, a payoff (x [d], y [e]) -> number in TensorFlow
operations.

OUT gets solution.json (x_atoms, x_weights, y_atoms, y_weights, value, gap, ...), report.md,
gap.png (the gap over steps with fitted slopes) and strategies.png. Where --method names
several, all are drawn and the solution is that of the smallest gap.
Exit codes: 0 done, 2 bad input, 3 diverged.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

from tf_mixed_nash.errors import InputError
from trainers.system import cli
from trainers.system.quiet import import_tensorflow

if TYPE_CHECKING:
    from tf_mixed_nash.games.boxes import Box
    from tf_mixed_nash.solvers.solution import Solution

__all__ = ["define_flags", "load_game", "methods_of", "parse_set", "solve_by", "to_json"]

_GRID = "grid_"
# The flags that the solvers of each kind of game read, beside num_steps, tolerance and seed.
_FLAGS = {
    "matrix": ("step_size", "num_sampled", "noise_std"),
    "grid": ("step_size", "num_points", "refinements"),
    "particles": ("num_atoms", "weight_step", "position_step", "temperature"),
}


def methods_of(game) -> dict[str, str]:
    """The methods for a game: name -> "matrix", "grid" or "particles"; the default comes first."""
    from tf_mixed_nash.games.continuous import ArrayGame
    from tf_mixed_nash.games.matrix import MatrixGame
    from tf_mixed_nash.solvers import particles, theory

    if isinstance(game, MatrixGame):
        first, found = "mirror_prox", dict.fromkeys(theory.METHODS, "matrix")
    else:
        first, found = _GRID + "mirror_prox", {_GRID + name: "grid" for name in theory.METHODS}
        if not isinstance(game, ArrayGame):  # whose payoff is in NumPy, without a gradient
            first = "conic_mirror_prox"
            found = {**dict.fromkeys(particles.METHODS, "particles"), **found}
    return {first: found[first], **found}


def parse_set(text: str, flag: str) -> Box:
    """The box "lower:upper[:periodic],...", one part for each coordinate.

    Raises:
      InputError: for a text of another form, and for what `Box` refuses.
    """
    from tf_mixed_nash.games.boxes import Box

    lower, upper, periodic = [], [], []
    for part in text.split(","):
        words = part.strip().split(":")
        try:
            if len(words) not in (2, 3) or words[2:] not in ([], ["periodic"]):
                raise ValueError
            lower.append(float(words[0]))
            upper.append(float(words[1]))
        except ValueError:
            raise InputError(
                f"--{flag}={text}: {part!r} is no interval. Write lower:upper or "
                "lower:upper:periodic for each coordinate, joined by commas, such as -1:1,0:2."
            ) from None
        periodic.append(len(words) == 3)
    return Box(lower, upper, periodic)


def load_game(address: str, x_set: str | None = None, y_set: str | None = None) -> Any:
    """The game at FILE.py:NAME; see the module's docstring for what may be there.

    Returns:
      A `MatrixGame`, a `ContinuousGame` or an `ArrayGame`.

    Raises:
      InputError: if there is no such thing, or it is not a game.
    """
    import inspect

    from tf_mixed_nash.games.continuous import ArrayGame, ContinuousGame
    from tf_mixed_nash.games.matrix import MatrixGame
    from trainers.system.user_files import load_object

    games = (MatrixGame, ContinuousGame, ArrayGame)
    found: Any = load_object(address, "--game")
    name = address.rpartition(":")[2]
    parameters = []
    if callable(found) and not isinstance(found, games):
        parameters = [
            p.name
            for p in inspect.signature(found).parameters.values()
            if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
        ]
        if len(parameters) == 2:
            if not (x_set and y_set):
                raise InputError(
                    f"--game={address} is a payoff of two arguments, so its strategy sets are "
                    "needed: give --x_set and --y_set, such as --x_set=-1:1 --y_set=-1:1."
                )
            payoff: Any = found
            return ContinuousGame(
                payoff, parse_set(x_set, "x_set"), parse_set(y_set, "y_set"), name=name
            )
        if len(parameters) == 0:
            try:
                found = found()
            except InputError:
                raise
            except Exception as error:
                raise InputError(f"--game={address}: calling it failed with {error!r}.") from error
    if x_set or y_set:
        raise InputError(
            f"--x_set and --y_set go with a payoff of two arguments (x, y); {address} is not one."
        )
    if isinstance(found, games):
        return found
    if hasattr(found, "__array__") or isinstance(found, (list, tuple)):
        return MatrixGame.from_table(found, name=name)
    raise InputError(
        f"--game={address} is no game: {found!r}. Give a MatrixGame, a ContinuousGame, a table "
        "of payoffs (rows minimise, columns maximise), a function without arguments that "
        "returns one of them, or a payoff (x, y) -> number with --x_set and --y_set."
    )


def _methods(game, asked: str | None) -> dict[str, str]:
    """The methods to run and their kinds, checked against the game."""
    valid = methods_of(game)
    names = [name.strip() for name in asked.split(",")] if asked else list(valid)[:1]
    for name in names:
        if name not in valid:
            raise InputError(
                f"--method={name} is no method for {game.name}. Choose among: {', '.join(valid)}."
            )
    return {name: valid[name] for name in names}


def _options(methods: Mapping[str, str]) -> dict[str, Any]:
    """The flags that were given, by name, checked against the methods."""
    kinds = set(methods.values())
    for name in sorted(set().union(*_FLAGS.values())):
        readers = [kind for kind in _FLAGS if name in _FLAGS[kind]]
        if flags.FLAGS[name].value is not None and not kinds & set(readers):
            raise InputError(
                f"--{name} is not read by {', '.join(methods)}. It belongs to the methods for "
                f"{' and '.join(_KINDS[kind] for kind in readers)}."
            )
    names = {"num_steps", "tolerance"}.union(*(_FLAGS[kind] for kind in kinds))
    values = {name: flags.FLAGS[name].value for name in sorted(names)}
    return {name: value for name, value in values.items() if value is not None}


_KINDS = {
    "matrix": "finite games",
    "grid": "continuous games on a grid (grid_mirror_prox, ...)",
    "particles": "continuous games by particles (conic_mirror_prox, ...)",
}


def solve_by(game, name: str, kind: str, options: Mapping[str, Any], seed: int) -> Solution:
    """The game solved by one method with the given flags (`methods_of`, `_FLAGS`)."""
    from tf_mixed_nash.solvers import grid, matrix, particles, theory

    read = ("num_steps", "tolerance", *_FLAGS[kind])
    mine = {key: value for key, value in options.items() if key in read}
    if kind == "particles":
        return particles.solve(game, name, seed=seed, **mine)
    method = name.removeprefix(_GRID)
    # Mirror descent's best constant step depends on the horizon, and its gap then shows no
    # rate on the way; steps like 1 / sqrt(t) show it.
    if theory.METHODS[method].descent and "step_size" not in mine:
        mine["anytime"] = True
    if kind == "grid":
        return grid.solve(game, method=method, **mine)
    return matrix.solve(game, method, seed=seed, **mine)


def to_json(game, solution: Solution) -> dict[str, Any]:
    """The content of solution.json, of plain values.

    Atoms of weight 0 are left out. Labels of pure strategies are added where the game has
    them.
    """

    def side(letter, measure, labels):
        kept = measure.weights > 0
        atoms = measure.atoms[kept]
        content = {f"{letter}_atoms": atoms.tolist(), f"{letter}_weights": measure.weights[kept]}
        if labels is not None:
            content[f"{letter}_labels"] = [labels[int(i)] for i in atoms[:, 0]]
        return content

    return _plain(
        {
            **side("x", solution.nu, getattr(game, "column_labels", None)),
            **side("y", solution.mu, getattr(game, "row_labels", None)),
            "value": solution.value,
            "gap": solution.gap,
            "certificate": solution.certificate,
            "method": solution.method,
            "game": game.name,
            "history": dict(solution.history),
            "details": dict(solution.details),
        }
    )


def _plain(content: Any) -> Any:
    if isinstance(content, Mapping):
        return {str(k): _plain(v) for k, v in content.items()}
    if isinstance(content, (list, tuple)):
        return [_plain(v) for v in content]
    if hasattr(content, "tolist"):
        return _plain(content.tolist())
    return content if isinstance(content, (str, int, float, bool, type(None))) else str(content)


def _finished_before(out: Path, command: Mapping[str, Any]) -> bool:
    path = out / "solution.json"
    if not path.is_file():
        return False
    try:
        before = json.loads(path.read_text()).get("command")
    except (json.JSONDecodeError, OSError) as error:
        raise InputError(f"{path} cannot be read ({error}). Give another --out.") from None
    if before != _plain(command):
        raise InputError(
            f"{out} holds the solution of another command ({before}). Give a new --out."
        )
    return True


def main() -> int:
    """The command."""
    if not flags.FLAGS.game or not flags.FLAGS.out:
        raise InputError("Give a game and a folder: --game=FILE.py:NAME --out=DIR.")
    out = Path(flags.FLAGS.out)
    for name in ("num_steps", "num_points", "num_atoms", "num_sampled"):
        _at_least(name, 1)
    for name in ("refinements", "noise_std", "temperature"):
        _at_least(name, 0)
    for name in ("step_size", "tolerance", "weight_step", "position_step"):
        value = flags.FLAGS[name].value
        if value is not None and not (math.isfinite(value) and value > 0):
            raise InputError(f"--{name} must be a positive number, got {value}.")
    import_tensorflow()
    from trainers.games import report as solve_report
    from trainers.system.files import make_writable, write_atomically, write_json

    game = load_game(flags.FLAGS.game, flags.FLAGS.x_set, flags.FLAGS.y_set)
    methods = _methods(game, flags.FLAGS.method)
    options, names = _options(methods), list(methods)
    command = {
        "game": flags.FLAGS.game,
        "method": names,
        "seed": flags.FLAGS.seed,
        "x_set": flags.FLAGS.x_set,
        "y_set": flags.FLAGS.y_set,
        **options,
    }
    if _finished_before(out, command):
        print(f"{out} holds this solution, finished: {out / 'solution.json'}")
        return cli.DONE
    make_writable(out, "--out")
    solutions, seconds = {}, {}
    for name in names:
        started = time.perf_counter()
        try:
            solutions[name] = solve_by(game, name, methods[name], options, flags.FLAGS.seed)
        except FloatingPointError as error:
            print(f"error: diverged: {name} on {game.name}: {error}", file=sys.stderr)
            return cli.DIVERGED
        seconds[name] = time.perf_counter() - started
    best = min(names, key=lambda name: solutions[name].gap)
    report = solve_report.markdown(game, solutions, seconds, best)
    write_atomically(out / "report.md", lambda path: path.write_text(report))
    solve_report.draw_gaps(out / "gap.png", game, solutions)
    solve_report.draw_strategies(out / "strategies.png", game, solutions[best])
    # Last: its presence says that the solution is complete.
    content = {**to_json(game, solutions[best]), "seconds": seconds, "command": _plain(command)}
    write_json(out / "solution.json", content)
    print(report)
    print(f"solution     {out / 'solution.json'}")
    print(f"pictures     {out / 'gap.png'}, {out / 'strategies.png'}")
    tolerance = options.get("tolerance")
    if tolerance is not None and solutions[best].gap > tolerance:
        print(
            f"note: the gap {solutions[best].gap:.2e} is above --tolerance={tolerance:g}. "
            "Raise --num_steps.",
        )
    return cli.DONE


def _at_least(name: str, minimum: int) -> None:
    value = flags.FLAGS[name].value
    if value is not None and value < minimum:
        raise InputError(f"--{name} must be at least {minimum}, got {value}.")


def define_flags(values: flags.FlagValues) -> None:
    """Defines the command's flags."""
    texts = {
        "game": "FILE.py:NAME, a game, its maker, or a payoff of (x, y).",
        "out": "The folder for solution.json, report.md and the pictures.",
        "method": "One or more, joined by commas. Finite games: mirror_prox (default), "
        "mirror_descent, chambolle_pock, ... Continuous games: conic_mirror_prox (default), wfr, "
        "langevin, gda, ..., and those of finite games on a grid, such as grid_mirror_prox.",
        "x_set": "X of a payoff: lower:upper[:periodic],...",
        "y_set": "Y of a payoff: lower:upper[:periodic],...",
    }
    for name, text in texts.items():
        flags.DEFINE_string(name, None, text, flag_values=values)
    integers = {
        "num_steps": "Steps of the method; its own default otherwise.",
        "num_sampled": "Estimate payoffs from so many sampled strategies.",
        "num_points": "Points of the grid along each coordinate.",
        "refinements": "How often the grid is refined around its atoms.",
        "num_atoms": "Particles of each player.",
    }
    for name, text in integers.items():
        flags.DEFINE_integer(name, None, text, flag_values=values)
    flags.DEFINE_integer("seed", 0, "Of everything random.", flag_values=values)
    numbers = {
        "step_size": "The mirror step eta of finite and gridded games; the theory's otherwise.",
        "weight_step": "The mirror step eta of the particles' weights.",
        "position_step": "The step gamma of the particles' positions.",
        "temperature": "The temperature epsilon of the particles' noise.",
        "noise_std": "Standard deviation of noise on every payoff.",
        "tolerance": "Stop once the gap is at most this.",
    }
    for name, text in numbers.items():
        flags.DEFINE_float(name, None, text, flag_values=values)


if __name__ == "__main__":
    define_flags(flags.FLAGS)
    cli.main(main, sys.argv)
