"""Runs many algorithms on one data set under the same conditions: one table, one figure.

    python -m trainers.compare --dataset=gaussians8 --algorithms=all --num_batches=12000 \\
        --seeds=0,1 --out=runs/compare8

Every run is a normal workdir, OUT/ALGORITHM/seedN. Finished runs are not repeated, stopped
ones are resumed. Each algorithm takes its own tuned defaults; --set=KEY=VALUE sets a
config key for all of them. Writes table.md, table.json and figure_{last,ema,mixture}.png.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import flags

from tf_mixed_nash.errors import InputError
from tf_mixed_nash.quiet import import_tensorflow
from trainers import cli

__all__ = ["aggregate", "markdown", "panel_order"]

_STRATEGIES = ("last", "ema", "mixture")
_COLUMNS = {
    "modes_captured": ("modes", 1),
    "high_quality_3sigma": ("HQ 3 sigma", 3),
    "high_quality_4sigma": ("HQ 4 sigma", 3),
    "reverse_kl": ("reverse KL", 4),
    "std_ratio": ("std ratio", 2),
    "mean_bias_sigma": ("bias / sigma", 2),
    "wasserstein2": ("W2", 3),
}
# The paper's Figure 1, row by row; others follow in further columns.
_FIGURE_1 = (
    ("sgd", "optimistic_adam", "mirror_gan"),
    ("adam", "extra_adam", "mirror_prox_gan"),
)


def aggregate(cards: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Mean and standard error over seeds of every column; not-a-number values are left out.

    Returns:
      column -> {"mean", "standard_error" (NaN for one seed), "count"}.
    """
    result = {}
    for key in _COLUMNS:
        values = [c[key] for c in cards if c[key] is not None and not math.isnan(c[key])]
        n = len(values)
        mean = sum(values) / n if n else math.nan
        spread = math.nan
        if n > 1:
            spread = math.sqrt(sum((v - mean) ** 2 for v in values) / (n - 1) / n)
        result[key] = {"mean": mean, "standard_error": spread, "count": n}
    return result


def markdown(rows: Mapping[str, Mapping[str, Any]], titles: Mapping[str, str]) -> str:
    """The table as Markdown: rows["algorithm/strategy"] -> `aggregate`'s result, or a text."""
    head = ["algorithm", "answer", *(title for title, _ in _COLUMNS.values())]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for name, row in rows.items():
        algorithm, _, strategy = name.partition("/")
        cells = [titles.get(algorithm, algorithm), strategy]
        if isinstance(row, str):
            cells += [row] + [""] * (len(_COLUMNS) - 1)
        else:
            cells += [_cell(row[key], digits) for key, (_, digits) in _COLUMNS.items()]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _cell(value: Mapping[str, float], digits: int) -> str:
    if not value["count"]:
        return "-"
    text = f"{value['mean']:.{digits}f}"
    if not math.isnan(value["standard_error"]):
        text += f" ± {value['standard_error']:.{digits}f}"
    return text


def panel_order(algorithms: Sequence[str]) -> list[list[str | None]]:
    """The rows of the figure: the paper's Figure 1 places, the others behind them."""
    rows: list[list[str | None]] = [[n if n in algorithms else None for n in r] for r in _FIGURE_1]
    others = [n for n in algorithms if not any(n in row for row in _FIGURE_1)]
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
    from trainers.data.synthetic import DATASETS
    from trainers.files import make_writable, write_atomically, write_json

    if f.dataset not in DATASETS:
        raise InputError(f"Unknown data set {f.dataset!r}. Choose one of: {', '.join(DATASETS)}.")
    names = list(ALGORITHMS) if f.algorithms == "all" else f.algorithms.split(",")
    unknown = [n for n in names if n not in ALGORITHMS]
    if unknown:
        raise InputError(
            f"Unknown algorithm {unknown[0]!r}. Choose 'all' or some of: {', '.join(ALGORITHMS)}."
        )
    seeds = _integers(f.seeds)
    out = Path(f.out)
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
    rows, scores = {}, {}
    for name in names:
        done = [_scores(out, name, s) for s in seeds if (name, s) not in failed]
        for strategy in _STRATEGIES:
            cards = [d["strategies"][strategy] for d in done]
            rows[f"{name}/{strategy}"] = aggregate(cards) if cards else "diverged"
            scores[f"{name}/{strategy}"] = cards
        scores[f"{name}/real"] = [d["real_data_ceiling"] for d in done]
    real = [card for name in names for card in scores[f"{name}/real"]][:1]
    if real:
        rows["real data/"] = aggregate(real)
    note = f"\n{len(seeds)} seeds ({f.seeds}), {f.num_batches:,} mini-batches; mean ± s.e.\n"
    for name, seed in failed:
        note += f"\n{titles[name]}, seed {seed}: diverged.\n"
    table = f"# {f.dataset}\n\n{markdown(rows, titles)}{note}"
    write_atomically(out / "table.md", lambda p: p.write_text(table))
    write_json(out / "table.json", {"rows": rows, "scorecards": scores})
    print(table)
    for strategy in _STRATEGIES:
        print(f"figure  {_figure(out, f.dataset, names, titles, seeds[0], failed, strategy)}")
    print(f"table   {out / 'table.md'}")
    return cli.DONE


def _integers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"--seeds must be integers separated by commas, got {text!r}.") from None


def _workdir(out: Path, name: str, seed: int) -> Path:
    return out / name / f"seed{seed}"


def _command(f, out: Path, name: str, seed: int) -> list[str] | None:
    """The trainers.run command of one run, or None if it is finished."""
    import importlib

    from trainers import settings

    module = importlib.import_module(f"configs.{f.dataset}_mp")
    config = module.get_config(f.variant or None)
    values = {"algorithm": name, "seed": str(seed), "num_batches": str(f.num_batches)}
    for item in f.set or []:
        key, equals, value = item.partition("=")
        if not equals:
            raise InputError(f"--set={item} is not of the form KEY=VALUE.")
        values[key] = value
    flat = [f"--config.{key}={value}" for key, value in values.items()]
    address = str(module.__file__) + (f":{f.variant}" if f.variant else "")
    workdir = _workdir(out, name, seed)
    command = [sys.executable, "-m", "trainers.run", f"--config={address}", *flat]
    command.append(f"--workdir={workdir}")
    if not (workdir / "scorecard.json").is_file():
        return command
    for key, value in values.items():
        config.update_from_flattened_dict({key: _parsed(value)})
    changed = settings.differences(settings.resolve(config), settings.load_workdir_config(workdir))
    if changed:
        raise InputError(
            f"{workdir} holds a run of another config ({changed[0]}). Give a new --out."
        )
    return None


def _parsed(value: str) -> Any:
    import ast

    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return value


def _scores(out: Path, name: str, seed: int) -> dict[str, Any]:
    return json.loads((_workdir(out, name, seed) / "scorecard.json").read_text())


def _figure(out, dataset, names, titles, seed, failed, strategy) -> Path:
    """Real blue, generated red, in the places of the paper's Figure 1."""
    import matplotlib.pyplot as plt
    import numpy as np

    from tf_mixed_nash import rng
    from trainers import pictures
    from trainers.data import synthetic
    from trainers.files import write_atomically

    data = synthetic.make(dataset)
    real = data.sample(rng.stream(seed, "picture"), 2_500).numpy()
    grid = panel_order(names)
    figure, axes = plt.subplots(
        len(grid),
        len(grid[0]),
        figsize=(2.6 * len(grid[0]), 2.8 * len(grid)),
        squeeze=False,
        dpi=110,
    )
    for row, row_axes in zip(grid, axes, strict=True):
        for name, ax in zip(row, row_axes, strict=True):
            if name is None:
                ax.axis("off")
                continue
            fake, title = np.empty((0, 2)), titles[name]
            if (name, seed) in failed:
                title += " (diverged)"
            else:
                with np.load(_workdir(out, name, seed) / "samples" / "final.npz") as saved:
                    fake = saved[strategy]
            pictures.scatter_axes(ax, real, fake, data.window, title)
    figure.tight_layout()
    path = out / f"figure_{strategy}.png"
    write_atomically(path, lambda temporary: figure.savefig(temporary))
    plt.close(figure)
    return path


if __name__ == "__main__":
    flags.DEFINE_string("dataset", "gaussians8", "gaussians8, gaussians25 or swissroll.")
    flags.DEFINE_string("algorithms", "all", "Names separated by commas, or all.")
    flags.DEFINE_integer("num_batches", 12_000, "Mini-batches of every run.", lower_bound=1)
    flags.DEFINE_string("seeds", "0,1", "Seeds separated by commas.")
    flags.DEFINE_string("out", None, "Where the runs, the table and the figures go.")
    flags.DEFINE_string("variant", "", "Config variant, such as tiny.")
    flags.DEFINE_multi_string("set", [], "KEY=VALUE: a config key for all runs.")
    cli.main(main, sys.argv)
