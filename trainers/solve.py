"""Solves a game for a mixed Nash equilibrium, and says how large its gap is.

    python -m trainers.solve --game=configs/games.py:rock_paper_scissors --out=runs/rps
    python -m trainers.solve --game=configs/games.py:dirac_gan --method=conic_mirror_prox,gda \\
        --out=runs/dirac
    python -m trainers.solve --game=mine.py:payoff --x_set=-1:1 --y_set=0:6.2832:periodic \\
        --out=runs/mine
    python -m trainers.solve --game=payoffs.csv --method=lp --out=runs/table

A file that ends in .csv, .npy or .json holds a table of payoffs, rows minimise and columns
maximise, or those of two players; .nfg is Gambit's. FILE.py:NAME is a game or a function
without arguments that returns one (`MatrixGame`,
`ContinuousGame`, `ArrayGame`, or a table of payoffs whose rows minimise and whose columns
maximise); or, with --x_set and --y_set, a payoff (x [d], y [e]) -> number in TensorFlow
operations; one of other operations, or without a gradient, is solved on a grid.

OUT gets solution.json (x_atoms, x_weights, y_atoms, y_weights, value, gap, ...), report.md,
gap.png (the gap over steps with fitted slopes) and strategies.png. Where --method names
several, all are drawn and the solution is that of the smallest gap.
Exit codes: 0 done, 2 bad input, 3 diverged, 4 done, but the gap is above --tolerance.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from absl import flags

from tf_mixed_nash.errors import InputError
from trainers.system import cli
from trainers.system.files import make_writable, write_atomically, write_json
from trainers.system.quiet import import_tensorflow

__all__ = ["define_flags"]

# The flags that the solvers of each kind read, beside the tolerance and the seed.
_FLAGS = {
    "matrix": ("num_steps", "step_size", "num_sampled", "noise_std"),
    "regret": ("num_steps",),
    "lp": (),
    "grid": ("num_steps", "step_size", "num_points", "refinements"),
    "particles": ("num_steps", "num_atoms", "weight_step", "position_step", "temperature"),
}


def _asked(game, valid: Mapping[str, str], asked: str | None) -> dict[str, str]:
    """The methods to run and their kinds, of the game's `valid` ones."""
    names = [name.strip() for name in asked.split(",")] if asked else list(valid)[:1]
    for name in names:
        if name not in valid:
            why = getattr(game, "not_differentiable", "")
            raise InputError(
                f"--method={name} is no method for {game.name}{f' ({why})' if why else ''}. Choose "
                f"among: {', '.join(valid)}."
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
    names = {"tolerance"}.union(*(_FLAGS[kind] for kind in kinds))
    values = {name: flags.FLAGS[name].value for name in sorted(names)}
    return {name: value for name, value in values.items() if value is not None}


_KINDS = {
    "matrix": "finite games (mirror_prox, ...)",
    "regret": "regret_matching_plus",
    "lp": "lp",
    "grid": "continuous games on a grid (grid_mirror_prox, ...)",
    "particles": "continuous games by particles (conic_mirror_prox, ...)",
}


def _finished_before(
    out: Path, command: Mapping[str, Any], fingerprint: str
) -> Mapping[str, Any] | None:
    """The solution of this command (of plain values) that `out` holds; None if it holds none."""
    path = out / "solution.json"
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text())
        before = found.get("command")
    except (json.JSONDecodeError, OSError) as error:
        raise InputError(f"{path} cannot be read ({error}). Give another --out.") from None
    if before != command:
        raise InputError(
            f"{out} holds the solution of another command ({before}). Give a new --out."
        )
    if found.get("fingerprint", fingerprint) != fingerprint:
        raise InputError(
            f"{out} holds the solution of another game: what --game={command['game']} gives was "
            "changed since. Give a new --out, or remove the old folder."
        )
    return found


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
    from tf_mixed_nash.solvers.solve import methods_of, solve
    from trainers.games import load, report

    address = flags.FLAGS.game
    if not load.is_data(address):
        file, colon, name = address.rpartition(":")
        address = f"{cli.find_file(file)}{colon}{name}"
    game = load.load_game(address, flags.FLAGS.x_set, flags.FLAGS.y_set)
    methods = _asked(game, methods_of(game), flags.FLAGS.method)
    options, names = _options(methods), list(methods)
    given = {name: flags.FLAGS[name].value for name in ("game", "seed", "x_set", "y_set")}
    command = report.plain({**given, "method": names, **options})
    fingerprint = load.fingerprint(game, address)
    if found := _finished_before(out, command, fingerprint):
        print(f"{out} holds this solution, finished: {out / 'solution.json'}")
        return _judged(found["gap"], options.get("tolerance"))
    make_writable(out, "--out")
    if why := getattr(game, "not_differentiable", ""):
        print(f"note: {game.name}: {why}; it is solved on a grid.", file=sys.stderr)
    if note := getattr(game, "note", ""):
        print(f"note: {game.name}: {note}.", file=sys.stderr)
    solutions, seconds = {}, {}
    for name in names:
        started = time.perf_counter()
        read = (*_FLAGS[methods[name]], *(("tolerance",) if methods[name] != "lp" else ()))
        mine = {key: value for key, value in options.items() if key in read}
        try:
            solutions[name] = solve(game, name, flags.FLAGS.seed, **mine)
        except FloatingPointError as error:
            print(f"error: diverged: {name} on {game.name}: {error}", file=sys.stderr)
            return cli.DIVERGED
        seconds[name] = time.perf_counter() - started
    best = min(names, key=lambda name: solutions[name].gap)
    text = report.markdown(game, solutions, seconds, best)
    write_atomically(out / "report.md", lambda path: path.write_text(text, encoding="utf-8"))
    report.draw_gaps(out / "gap.png", game, solutions)
    report.draw_strategies(out / "strategies.png", game, solutions[best])
    page = report.page(text, out)
    write_atomically(out / "report.html", lambda path: path.write_text(page, encoding="utf-8"))
    # Last: its presence says that the solution is complete.
    content = {**report.to_json(game, solutions[best]), "seconds": seconds, "command": command}
    write_json(out / "solution.json", {**content, "fingerprint": fingerprint})
    print(text)
    print(f"solution     {out / 'solution.json'}")
    print(f"pictures     {out / 'gap.png'}, {out / 'strategies.png'}")
    return _judged(solutions[best].gap, options.get("tolerance"))


def _judged(gap: float, tolerance: float | None) -> int:
    """The exit code of a solution, said where its gap is too large."""
    if tolerance is None or gap <= tolerance:
        return cli.DONE
    print(f"note: the gap {gap:.2e} is above --tolerance={tolerance:g}. Raise --num_steps.")
    return cli.MISSED


def _at_least(name: str, minimum: int) -> None:
    value = flags.FLAGS[name].value
    if value is not None and value < minimum:
        raise InputError(f"--{name} must be at least {minimum}, got {value}.")


def define_flags(values: flags.FlagValues) -> None:
    """Defines the command's flags."""
    texts = {
        "game": "FILE.py:NAME, a game, its maker, or a payoff of (x, y); or a file of payoffs: "
        ".csv, .npy, .json, .nfg.",
        "out": "The folder for solution.json, report.md, report.html and the pictures.",
        "method": "One or more, joined by commas. Finite games: mirror_prox (default), "
        "mirror_descent, chambolle_pock, ..., regret_matching_plus, lp. Continuous games: "
        "conic_mirror_prox (default), wfr, langevin, gda, ..., and those of finite games "
        "on a grid, such as grid_mirror_prox.",
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
