"""Runs many algorithms on one data set under the same conditions: one table, one figure.

    python -m trainers.compare --dataset=gaussians8 --algorithms=all --num_batches=12000 \\
        --seeds=0,1 --out=runs/compare8
    python -m trainers.compare --dataset=fashion_mnist --algorithms=rmsprop,adam,mirror_gan \\
        --seeds=0 --set=data.tfds_dir=DIR --timings=step.json --out=runs/fashion

Every run is a normal workdir, OUT/ALGORITHM/seedN. Finished runs are not repeated, stopped
ones are resumed. Each algorithm takes its own tuned defaults; --set=KEY=VALUE sets a
config key for all of them. Writes table.md, table.json, figure_{last,ema,mixture}.png, and
report.html, which holds all of it; figures and rows of further averages, too (ema_half_lives).
What the trainers print is in OUT/ALGORITHM/seedN.log; of one at a time it is shown, too.
--jobs runs are made side by side; on a GPU the seeds of an algorithm are one program (--together).
--budget=MINUTES stops them; the same command goes on.
--timings takes the milliseconds per mini-batch from a file of benchmarks.step: times of runs
that were made one after the other, or beside other work, cannot be compared.
Exit codes: 0 done or budget spent, 1 some runs failed, 2 bad input, 143 and 130 stopped by SIGTERM
and SIGINT, after a checkpoint of every run.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags

import configs
from tf_mixed_nash.errors import InputError, unknown
from trainers.campaigns import groups, jobs
from trainers.campaigns.cells import NO_VALUE, Cell
from trainers.system import cli
from trainers.system.files import make_writable
from trainers.system.quiet import import_tensorflow

__all__ = ["main"]


def main() -> int:
    """The command."""
    f = flags.FLAGS
    if not f.out:
        raise InputError("Say where the runs go, with --out=DIR.")
    if f.dataset not in configs.CONFIGS:
        raise unknown("data set", f.dataset, configs.CONFIGS)
    if f.budget is not None and f.budget <= 0:
        raise InputError(f"--budget must be minutes above 0, got {f.budget}.")
    seeds = _integers(f.seeds)
    import_tensorflow()
    from tf_mixed_nash.algorithms import ALGORITHMS
    from trainers.campaigns.comparison import Comparison, check, plan, write
    from trainers.experiment import settings
    from trainers.experiment.build import task_of

    names = list(ALGORITHMS) if f.algorithms == "all" else f.algorithms.split(",")
    if strange := [n for n in names if n not in ALGORITHMS]:
        raise unknown("algorithm", strange[0], ["all", *ALGORITHMS], of="some of")
    timings, out = _timings(f.timings), Path(f.out)
    items = [f"num_batches={f.num_batches}", *f.set]
    runs = plan(out, configs.address(f.dataset, f.variant), names, seeds, items)
    first = runs[names[0], seeds[0]]
    config = cli.load_config(first.config)
    settings.override(config, first.settings)
    resolved = settings.resolve(config)
    task, answers = task_of(resolved), settings.answers_of(resolved)
    make_writable(out, "--out")
    check(runs)
    for note in _unread(runs, names, seeds[0], f.set):
        print(f"warning: {note}.", file=sys.stderr)
    comparison = Comparison(list(runs.values()))
    show = f.jobs == 1
    starter = groups.Together(groups.most(f.together), f.threads, show)
    code = jobs.run(comparison, f.jobs, f.threads, f.budget, show, starter)
    if code in (cli.STOPPED, cli.INTERRUPTED):
        print("Stopped; the same command goes on where this one was.")
        return code
    if left := comparison.missing:
        print(f"{len(left)} of {len(runs)} runs are missing yet; the same command goes on.")
        return jobs.FAILED if comparison.failed else cli.DONE
    titles = {name: ALGORITHMS[name].title for name in names}
    spread = "mean ± s.e" if len(seeds) > 1 else "one seed, no spread"
    note = f"\nSeeds {f.seeds}; {f.num_batches:,} mini-batches each; {spread}.\n"
    print(write(out, task, runs, comparison.diverged, titles, note, timings, answers))
    for answer in answers:
        print(f"figure  {out / f'figure_{answer}.png'}")
    print(f"table   {out / 'table.md'}")
    print(f"report  {out / 'report.html'}")
    return cli.DONE


def _unread(runs, names: Sequence[str], seed: int, items: Sequence[str]) -> list[str]:
    """A note of each --set key that none of the algorithms reads."""
    from trainers.experiment import settings, unread

    keys = [item.partition("=")[0] for item in items]
    found: list[str] = []
    for i, name in enumerate(names):
        config = cli.load_config(runs[name, seed].config)
        settings.override(config, runs[name, seed].settings)
        idle = [k for k in keys if unread.reason(settings.resolve(config), k)]
        found = idle if i == 0 else [k for k in found if k in idle]
    return [
        f"--set={key}=... has no effect: no algorithm that is compared reads it" for key in found
    ]


def _integers(text: str) -> list[int]:
    try:
        seeds = [int(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"--seeds must be integers separated by commas, got {text!r}.") from None
    if twice := [s for s in seeds if seeds.count(s) > 1]:
        raise InputError(f"--seeds={text} has {twice[0]} twice. Give each seed once.")
    return seeds


def _timings(path: str | None) -> dict[str, Cell]:
    """Algorithm -> a table cell with its median ms per mini-batch; {} without a file."""
    if not path:
        return {}
    try:
        results = json.loads(Path(path).read_text())["results"]
        return {
            r["algorithm"]: {**NO_VALUE, "mean": r["ms_per_batch"]["median"], "count": 1}
            for r in results
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"--timings={path} is no file of benchmarks.step ({error!r}). Make one with "
            "python -m benchmarks.step --output=FILE."
        ) from None


if __name__ == "__main__":
    flags.DEFINE_string("dataset", "gaussians8", "Of a config: gaussians8, fashion_mnist, ...")
    flags.DEFINE_string("algorithms", "all", "Names separated by commas, or all.")
    flags.DEFINE_integer("num_batches", 12_000, "Mini-batches of every run.", lower_bound=1)
    flags.DEFINE_string("seeds", "0,1", "Seeds separated by commas.")
    flags.DEFINE_string("out", None, "Where the runs, the table and the figures go.")
    flags.DEFINE_string(
        "variant", "", "Config variant: tiny, or none for one network of each player."
    )
    flags.DEFINE_string("timings", None, "A file of benchmarks.step, for a column of times.")
    flags.DEFINE_integer("jobs", 1, "Runs side by side.", lower_bound=1)
    flags.DEFINE_integer(
        "together",
        0,
        "Runs of one program, alike but for seeds, step sizes and temperatures; 0: 16 on a GPU, "
        "1 on CPUs (docs/many.md).",
        lower_bound=0,
    )
    flags.DEFINE_integer("threads", 0, "Of each run; 0: TensorFlow's choice.", lower_bound=0)
    flags.DEFINE_float("budget", None, "Minutes after which the command stops; none: no limit.")
    flags.DEFINE_multi_string("set", [], "KEY=VALUE: a config key for all runs.")
    cli.main(main, sys.argv)
