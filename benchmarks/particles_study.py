"""When do several generators help? The runs of docs/results/particles.md, and its tables.

    python -m benchmarks.particles_study [--stages=default,ring,...|all] [--render]
        [--seeds=0,1,2,3,4] [--jobs=2] [--threads=1] [--budget=MIN]

The protocol is at the head of that page. Runs are ordinary workdirs, OUT/SETTING/seedN, seed after
seed; finished ones are not repeated, stopped ones are resumed. What ended goes into
docs/results/particles.json, which is committed: runs of other sessions are kept, and --render
prints the tables from there alone. --tiny makes every run tiny, for a test of the command.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from absl import flags

from tf_mixed_nash.errors import InputError
from trainers.campaigns import cells, jobs
from trainers.campaigns.comparison import Comparison
from trainers.campaigns.jobs import Job
from trainers.system import cli
from trainers.system.files import make_writable, write_json
from trainers.tasks.tables import Column
from trainers.workdir.folder import ANSWERS, read_card, records

__all__ = ["STAGES", "WIDTHS", "Setting", "config_of", "modes_by_atom"]

RECORDS = Path("docs/results/particles.json")
# Widths of n' generators of three layers that have as many parameters together as one of 512 units:
# 528 k, to 1 per cent.
WIDTHS = {1: 512, 2: 361, 4: 256, 8: 180, 16: 127}


class Setting(NamedTuple):
    """One line of a table: what is run with every seed.

    Attributes:
      name: of its folder.
      title: in the table.
      dataset: of its config.
      items: KEY=VALUE each.
    """

    name: str
    title: str
    dataset: str
    items: tuple[str, ...] = ()

    def with_items(self, *items: str) -> Setting:
        """The same with more items."""
        return self._replace(items=(*self.items, *items))


def _particles(num: int, units: int | None = None) -> tuple[str, ...]:
    w = units or WIDTHS[num]
    widths = f"model.generator_hidden_units=({w},{w},{w})"
    return (f"generator.num_particles={num}", widths)


def _of(dataset: str, prefix: str, nums: Iterable[int]) -> Iterator[Setting]:
    for num in nums:
        title = f"{num} x {WIDTHS[num]}"
        yield Setting(f"{prefix}_{num}", title, dataset, _particles(num))


_LEARNT = ("generator.weights=learnt",)
# The single generator's mini-batches in the seconds of four, by the measured ratio of their costs
# (docs/particles_gan.md).
_LONGER = 15_000
_FOUR = Setting("", "", "gaussians8", _particles(4))
# What `make run` trained before docs/results/best_default.md.
_THIN_EIGHT = (
    *_particles(8),
    *("particles.batch=thin", "num_batches=18000", "mixture.window=(0.87,1.0)"),
)

STAGES: dict[str, list[Setting]] = {
    "default": [
        Setting("default_8", "8 x 180, thin, 18,000 mini-batches", "gaussians8", _THIN_EIGHT),
        Setting(
            "default_1",
            "1 x 512, 18,000 mini-batches",
            "gaussians8",
            (*_particles(1), "num_batches=18000", "mixture.window=(0.87,1.0)"),
        ),
        # One network with the step size, lambda and epsilon of several: what is theirs alone.
        Setting(
            "same_1",
            "1 x 512, 18,000 mini-batches, hyperparameters of several",
            "gaussians8",
            (
                *_particles(1),
                *("num_batches=18000", "mixture.window=(0.87,1.0)"),
                *("step_size=1.5e-3", "stability=1e-6", "temperature=1e-9"),
            ),
        ),
        Setting("pure_1", "1 x 512, 12,000 mini-batches (`:pure`)", "gaussians8", _particles(1)),
    ],
    "ring": list(_of("gaussians8", "ring", WIDTHS)),
    "seconds": [
        Setting(
            "seconds_1",
            f"1 x 512, {_LONGER:,} mini-batches",
            "gaussians8",
            (*_particles(1), f"num_batches={_LONGER}"),
        )
    ],
    "controls": [
        _FOUR._replace(name=f"control_{name}", title=f"4 x 256, {title}").with_items(*items)
        for name, title, items in (
            ("rmsprop", "RMSProp", ("algorithm=rmsprop",)),
            ("adam", "Adam", ("algorithm=adam",)),
            ("mirror_gan", "Mirror-GAN", ("algorithm=mirror_gan",)),
            ("learnt", "learnt weights", _LEARNT),
            ("full", "whole mini-batches for each", ("particles.batch=full",)),
            ("thin", "a quarter of a mini-batch for each", ("particles.batch=thin",)),
        )
    ]
    + [
        Setting(
            "control_critics",
            "1 x 512 against 4 critics x 256",
            "gaussians8",
            (
                "discriminator.num_particles=4",
                "model.discriminator_hidden_units=(256,256,256)",
            ),
        ),
        Setting("control_rmsprop_1", "1 x 512, RMSProp", "gaussians8", ("algorithm=rmsprop",)),
        Setting(
            "control_mirror_gan_1", "1 x 512, Mirror-GAN", "gaussians8", ("algorithm=mirror_gan",)
        ),
    ],
    # n' independent trainings of the small network: their pool has the means of their HQ, and these
    # are the parts.
    "pool": [Setting("pool_256", "1 x 256 (one of a pool)", "gaussians8", _particles(1, 256))],
    "roll": list(_of("swissroll", "roll", (1, 4, 16))),
    "grid": list(_of("gaussians25", "grid", (1, 4, 8, 16))),
    "fashion": [
        Setting("fashion_1", "1 generator of width 32", "fashion_mnist", ("model.width=32",)),
        Setting(
            "fashion_4",
            "4 generators of width 16",
            "fashion_mnist",
            ("model.width=16", "generator.num_particles=4"),
        ),
    ],
}
_ALGORITHMS = {"gaussians8": "mp", "swissroll": "mp", "gaussians25": "md", "fashion_mnist": "mp"}


def config_of(dataset: str, variant: str) -> str:
    """FILE.py[:VARIANT] of a data set."""
    name = f"configs/{dataset}_{_ALGORITHMS[dataset]}.py"
    return f"{name}:{variant}" if variant else name


def _jobs(stages: Sequence[str], seeds: Sequence[int], out: Path, extra: Sequence[str]) -> dict:
    """(setting's name, seed) -> Job, seed after seed."""
    variant = "tiny" if flags.FLAGS.tiny else ""
    return {
        (s.name, seed): Job(
            f"{s.name}, seed {seed}",
            config_of(s.dataset, variant or "pure"),
            [*(i for i in s.items if not (variant and _is_size(i))), f"seed={seed}", *extra],
            out / s.name / f"seed{seed}",
        )
        for seed in seeds
        for stage in stages
        for s in STAGES[stage]
    }


def _is_size(item: str) -> bool:
    return item.startswith(("num_batches=", "model."))


# What a run's numbers depend on, resolved; defaults may change.
_DETERMINES = (
    "algorithm",
    "num_batches",
    "batch_size",
    "game",
    "mixture",
    "particles",
    "ema_decay",
)
_DETERMINES += ("model", "generator", "discriminator", "precision", "compile")


def _record(job: Job) -> dict[str, Any]:
    """What is kept of a finished run."""
    card = read_card(job.workdir)
    assert card is not None
    last = records(job.workdir)[-1]
    session = json.loads((job.workdir / "provenance.json").read_text())["sessions"][-1]
    config = json.loads((job.workdir / "config.json").read_text())
    answers = {}
    for answer in ANSWERS:
        own = dict(card["strategies"][answer])
        if own.pop("atoms", None):
            own["modes_by_atom"] = modes_by_atom(card["strategies"][answer]["atoms"])
        answers[answer] = own
    return {
        "settings": list(job.settings),
        "config": {key: config[key] for key in _DETERMINES},
        "answers": answers,
        "real": card["real_data_ceiling"],
        "seconds": last.get("seconds"),
        "commit": session["commit"],
        "draws": session.get("draws", 1),  # which law of them (docs/decisions/0023)
        "hardware": {k: session["hardware"][k] for k in ("processor", "cores", "gpus")},
    }


def modes_by_atom(atoms: Sequence[Mapping[str, Any]]) -> list[int]:
    """How many modes each atom covers: of these with a twentieth of its good samples or more."""
    counts = []
    for atom in atoms:
        modes = atom.get("modes", ())
        counts.append(sum(n >= 0.05 * max(sum(modes), 1) for n in modes))
    return counts


def _load(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text()) if path.is_file() else {"runs": {}}


_COLUMNS = {
    "modes_captured": Column("modes", 1),
    "high_quality_3sigma": Column("HQ 3 sigma", 3),
    "reverse_kl": Column("reverse KL", 4),
    "std_ratio": Column("std ratio", 2),
    "wasserstein2": Column("W2", 3),
    "specialisation": Column("specialisation", 2),
}
_IMAGE_COLUMNS = {
    "fid": Column("FID", 2),
    "recall": Column("recall", 3),
    "coverage": Column("coverage", 3),
    "classes_captured": Column("classes", 1),
    "specialisation": Column("specialisation", 2),
}


def _table(stage: str, runs: Mapping[str, Mapping[str, Any]]) -> str:
    """Markdown: a line for each setting and answer, means ± standard errors over seeds."""
    columns = _IMAGE_COLUMNS if stage == "fashion" else _COLUMNS
    head = [
        "generators",
        "answer",
        *(c.title for c in columns.values()),
        "modes of an atom",
        "seeds",
    ]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    real: list[Mapping[str, Any]] = []
    for s in STAGES[stage]:
        mine = runs.get(s.name, {})
        real += [one["real"] for one in mine.values()]
        for answer in ANSWERS if mine else ():
            cards = [one["answers"][answer] for one in mine.values()]
            row = cells.aggregate(cards, columns)
            text = [cells.text(row[key], c.digits) for key, c in columns.items()]
            lines.append(
                "| " + " | ".join([s.title, answer, *text, _spread(cards), str(len(cards))]) + " |"
            )
    if real:
        row = cells.aggregate(real[:1], columns)
        text = [cells.text(row[key], c.digits) for key, c in columns.items()]
        lines.append("| " + " | ".join(["real data", "", *text, "", ""]) + " |")
    return "\n".join(lines)


def _spread(cards: Sequence[Mapping[str, Any]]) -> str:
    counts = [n for card in cards for n in card.get("modes_by_atom", ())]
    if not counts:
        return "-"
    return f"{min(counts)}-{max(counts)}, median {statistics.median(counts):g}"


def main() -> int:
    """The command."""
    f = flags.FLAGS
    stages = f.stages.split(",") if f.stages != "all" else list(STAGES)
    if unknown := [s for s in stages if s not in STAGES]:
        raise InputError(f"Unknown stage {unknown[0]!r}. Choose some of: {', '.join(STAGES)}.")
    try:
        seeds = [int(s) for s in f.seeds.split(",")]
    except ValueError:
        raise InputError(
            f"--seeds must be integers separated by commas, got {f.seeds!r}."
        ) from None
    path, code = Path(f.records), cli.DONE
    known = _load(path)
    if not f.render:
        out = Path(f.out)
        make_writable(out, "--out")
        runs = _jobs(stages, seeds, out, f.set)
        # Runs that an earlier session recorded need not be here any more.
        todo = {k: j for k, j in runs.items() if str(k[1]) not in known["runs"].get(k[0], {})}
        code = jobs.run(Comparison(list(todo.values())), f.jobs, f.threads, f.budget)
        for (name, seed), job in todo.items():
            if read_card(job.workdir) is not None:
                known["runs"].setdefault(name, {})[str(seed)] = _record(job)
        write_json(path, known)
    for stage in stages:
        print(f"\n### {stage}\n\n{_table(stage, known['runs'])}")
    return code


if __name__ == "__main__":
    flags.DEFINE_string("stages", "default", "Some of the stages, separated by commas, or all.")
    flags.DEFINE_string("seeds", "0,1,2,3,4", "Seeds separated by commas.")
    flags.DEFINE_string("out", "runs/particles_study", "Where the runs go.")
    flags.DEFINE_string("records", str(RECORDS), "The file of what ended.")
    flags.DEFINE_integer("jobs", 2, "Runs side by side.", lower_bound=1)
    flags.DEFINE_integer("threads", 1, "Of each run; 0: TensorFlow's choice.", lower_bound=0)
    flags.DEFINE_float("budget", None, "Minutes after which the command stops; none: no limit.")
    flags.DEFINE_bool("render", False, "Only prints the tables of what ended.")
    flags.DEFINE_bool("tiny", False, "Two steps of small networks, for a test.")
    flags.DEFINE_multi_string("set", [], "KEY=VALUE: a config key for all runs.")
    cli.main(main, sys.argv)
