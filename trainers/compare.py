"""Runs many algorithms on one data set under the same conditions: one table, one figure.

    python -m trainers.compare --dataset=gaussians8 --algorithms=all --num_batches=12000 \\
        --seeds=0,1 --out=runs/compare8
    python -m trainers.compare --dataset=fashion_mnist --algorithms=rmsprop,adam,mirror_gan \\
        --seeds=0 --set=data.tfds_dir=DIR --timings=step.json --out=runs/fashion

Every run is a normal workdir, OUT/ALGORITHM/seedN. Finished runs are not repeated, stopped
ones are resumed. Each algorithm takes its own tuned defaults; --set=KEY=VALUE sets a
config key for all of them. Writes table.md, table.json and figure_{last,ema,mixture}.png.
--timings takes the milliseconds per mini-batch from a file of benchmarks.step: times of runs
that were made one after the other, or beside other work, cannot be compared.
"""

from __future__ import annotations

import importlib
import json
import math
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import flags

from tf_mixed_nash.errors import InputError
from trainers.system import cli
from trainers.system.quiet import import_tensorflow
from trainers.tasks.tables import Column

__all__ = ["aggregate", "markdown", "panel_order"]

_STRATEGIES = ("last", "ema", "mixture")
# The paper's Figure 1, row by row; others follow in further columns.
_FIGURE_1 = (
    ("sgd", "optimistic_adam", "mirror_gan"),
    ("adam", "extra_adam", "mirror_prox_gan"),
)
# Its Figure 2; the last place is empty there.
_FIGURE_2 = (
    ("rmsprop", "adam", "mirror_gan"),
    ("extra_adam", "alt_extra_adam", "mirror_prox_gan"),
)

_NO_VALUE = {"mean": math.nan, "standard_error": math.nan, "count": 0}


def aggregate(
    cards: Sequence[Mapping[str, Any]], columns: Iterable[str]
) -> dict[str, dict[str, float]]:
    """Mean and standard error over seeds of every column; values that are
    missing or not a number are left out.

    Args:
      cards: scorecards.
      columns: the keys.

    Returns:
      column -> {"mean", "standard_error" (NaN for one seed), "count"}.
    """
    result = {}
    for key in columns:
        found = (card.get(key) for card in cards)
        values = [v for v in found if v is not None and not math.isnan(v)]
        n = len(values)
        mean = sum(values) / n if n else math.nan
        spread = math.nan
        if n > 1:
            spread = math.sqrt(sum((v - mean) ** 2 for v in values) / (n - 1) / n)
        result[key] = {"mean": mean, "standard_error": spread, "count": n}
    return result


def markdown(
    rows: Mapping[str, Mapping[str, Any]],
    titles: Mapping[str, str],
    columns: Mapping[str, Column],
) -> str:
    """The table as Markdown.

    Args:
      rows: "algorithm/strategy" -> `aggregate`'s result, or a text.
      titles: of the algorithms.
      columns: by key.
    """
    head = ["algorithm", "answer", *(c.title for c in columns.values())]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for name, row in rows.items():
        algorithm, _, strategy = name.partition("/")
        cells = [titles.get(algorithm, algorithm), strategy]
        if isinstance(row, str):
            cells += [row] + [""] * (len(columns) - 1)
        else:
            cells += [_cell(row[key], c.digits) for key, c in columns.items()]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _cell(value: Mapping[str, float], digits: int) -> str:
    if not value["count"]:
        return "-"
    text = f"{value['mean']:.{digits}f}"
    if not math.isnan(value["standard_error"]):
        text += f" ± {value['standard_error']:.{digits}f}"
    return text


def panel_order(
    algorithms: Sequence[str], places: Sequence[Sequence[str]] = _FIGURE_1
) -> list[list[str | None]]:
    """The rows of the figure: the places of the paper's, the other algorithms behind them."""
    rows: list[list[str | None]] = [[n if n in algorithms else None for n in r] for r in places]
    others = [n for n in algorithms if not any(n in row for row in places)]
    half = -(-len(others) // 2)
    for row, extra in zip(rows, (others[:half], others[half:]), strict=True):
        row += extra + [None] * (half - len(extra))
    columns = [c for c in range(len(rows[0])) if any(row[c] for row in rows)]
    return [[row[c] for c in columns] for row in rows if any(row)]


def main() -> int:
    """The command."""
    f = flags.FLAGS
    if not f.out:
        raise InputError("Say where the runs go, with --out=DIR.")
    import_tensorflow()
    from tf_mixed_nash.algorithms import ALGORITHMS
    from trainers.experiment import settings
    from trainers.experiment.build import task_of
    from trainers.system.files import make_writable, write_atomically, write_json

    datasets = _datasets()
    if f.dataset not in datasets:
        raise InputError(f"Unknown data set {f.dataset!r}. Choose one of: {', '.join(datasets)}.")
    names = list(ALGORITHMS) if f.algorithms == "all" else f.algorithms.split(",")
    unknown = [n for n in names if n not in ALGORITHMS]
    if unknown:
        raise InputError(
            f"Unknown algorithm {unknown[0]!r}. Choose 'all' or some of: {', '.join(ALGORITHMS)}."
        )
    seeds = _integers(f.seeds)
    out = Path(f.out)
    timings = _timings(f.timings)
    task = task_of(settings.resolve(_config(f, names[0], seeds[0])))
    make_writable(out, "--out")
    jobs = [(name, seed) for seed in seeds for name in names]
    commands = {job: _command(f, out, *job) for job in jobs}
    failed: dict[tuple[str, int], int] = {}
    for number, job in enumerate(jobs, 1):
        command = commands[job]
        if command is None:
            continue
        print(f"[{number}/{len(jobs)}] {job[0]}, seed {job[1]}", flush=True)
        code = subprocess.run(command, check=False).returncode
        if code == cli.DIVERGED:
            failed[job] = code
        elif code != cli.DONE:
            return code
    titles = {name: ALGORITHMS[name].title for name in names}
    columns = dict(task.columns)
    if timings:
        columns["ms_per_batch"] = Column("ms / mini-batch", 1)
    rows, scores = {}, {}
    for name in names:
        done = [_scores(out, name, s) for s in seeds if (name, s) not in failed]
        for strategy in _STRATEGIES:
            cards = [d["strategies"][strategy] for d in done]
            rows[f"{name}/{strategy}"] = aggregate(cards, task.columns) if cards else "diverged"
            scores[f"{name}/{strategy}"] = cards
            if timings and cards:
                rows[f"{name}/{strategy}"]["ms_per_batch"] = timings.get(name, _NO_VALUE)
        scores[f"{name}/real"] = [d["real_data_ceiling"] for d in done]
    real = [card for name in names for card in scores[f"{name}/real"]][:1]
    if real:
        rows["real data/"] = aggregate(real, task.columns)
        if timings:
            rows["real data/"]["ms_per_batch"] = _NO_VALUE
    note = f"\nSeeds {f.seeds}; {f.num_batches:,} mini-batches each{_spread(seeds)}.\n"
    for name, seed in failed:
        note += f"\n{titles[name]}, seed {seed}: diverged.\n"
    table = f"# {f.dataset}\n\n{markdown(rows, titles, columns)}{note}"
    write_atomically(out / "table.md", lambda p: p.write_text(table))
    write_json(out / "table.json", {"rows": rows, "scorecards": scores})
    print(table)
    for strategy in _STRATEGIES:
        print(f"figure  {_figure(out, task, names, titles, seeds[0], failed, strategy)}")
    print(f"table   {out / 'table.md'}")
    return cli.DONE


def _integers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"--seeds must be integers separated by commas, got {text!r}.") from None


def _workdir(out: Path, name: str, seed: int) -> Path:
    return out / name / f"seed{seed}"


def _datasets() -> list[str]:
    import configs

    folder = Path(configs.__path__[0])
    return sorted(p.stem.removesuffix("_mp") for p in folder.glob("*_mp.py"))


def _overrides(f, name: str, seed: int) -> list[str]:
    """KEY=VALUE of the config keys that the flags set."""
    return [f"algorithm={name}", f"seed={seed}", f"num_batches={f.num_batches}", *f.set]


def _module(f):
    return importlib.import_module(f"configs.{f.dataset}_mp")


def _config(f, name: str, seed: int):
    """The config of one run, as its command will have it."""
    from trainers.experiment import settings

    config = _module(f).get_config(f.variant or None)
    settings.override(config, _overrides(f, name, seed))
    return config


def _command(f, out: Path, name: str, seed: int) -> list[str] | None:
    """The trainers.run command of one run, or None if it is finished."""
    from trainers.experiment import settings

    flat = [f"--config.{item}" for item in _overrides(f, name, seed)]
    address = str(_module(f).__file__) + (f":{f.variant}" if f.variant else "")
    workdir = _workdir(out, name, seed)
    command = [sys.executable, "-m", "trainers.run", f"--config={address}", *flat]
    command.append(f"--workdir={workdir}")
    if not (workdir / "scorecard.json").is_file():
        return command
    ours = settings.resolve(_config(f, name, seed))
    changed = settings.differences(ours, settings.load_workdir_config(workdir))
    if changed:
        raise InputError(
            f"{workdir} holds a run of another config ({changed[0]}). Give a new --out."
        )
    return None


def _timings(path: str | None) -> dict[str, dict[str, float]]:
    """Algorithm -> a table cell with its median ms per mini-batch; {} without a file."""
    if not path:
        return {}
    try:
        results = json.loads(Path(path).read_text())["results"]
        return {
            r["algorithm"]: {**_NO_VALUE, "mean": r["ms_per_batch"]["median"], "count": 1}
            for r in results
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"--timings={path} is no file of benchmarks.step ({error!r}). Make one with "
            "python -m benchmarks.step --output=FILE."
        ) from None


def _spread(seeds: Sequence[int]) -> str:
    return "; mean ± s.e." if len(seeds) > 1 else "; one seed, no spread"


def _scores(out: Path, name: str, seed: int) -> dict[str, Any]:
    return json.loads((_workdir(out, name, seed) / "scorecard.json").read_text())


def _figure(out, task, names, titles, seed, failed, strategy) -> Path:
    """The samples of every algorithm, in the places of the paper's figure of such data."""
    import numpy as np

    def panel(name):
        if name is None:
            return None
        if (name, seed) in failed:
            return f"{titles[name]} (diverged)", None
        with np.load(_workdir(out, name, seed) / "samples" / "final.npz") as saved:
            return titles[name], saved[strategy]

    places = _FIGURE_2 if task.is_image else _FIGURE_1
    rows = [[panel(name) for name in row] for row in panel_order(names, places)]
    path = out / f"figure_{strategy}.png"
    task.draw_panels(path, rows)
    return path


if __name__ == "__main__":
    flags.DEFINE_string("dataset", "gaussians8", "Of a config: gaussians8, fashion_mnist, ...")
    flags.DEFINE_string("algorithms", "all", "Names separated by commas, or all.")
    flags.DEFINE_integer("num_batches", 12_000, "Mini-batches of every run.", lower_bound=1)
    flags.DEFINE_string("seeds", "0,1", "Seeds separated by commas.")
    flags.DEFINE_string("out", None, "Where the runs, the table and the figures go.")
    flags.DEFINE_string("variant", "", "Config variant, such as tiny.")
    flags.DEFINE_string("timings", None, "A file of benchmarks.step, for a column of times.")
    flags.DEFINE_multi_string("set", [], "KEY=VALUE: a config key for all runs.")
    cli.main(main, sys.argv)
