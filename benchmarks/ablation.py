"""RMSProp and Mirror-GAN differ in three things: which of them does what? 2 x 2 x 2 cells.

    python -m benchmarks.ablation [--seeds=0,1,2,3,4] [--together=10] [--budget=MIN] [--render]

Mirror-GAN with lambda 1e-8 or 1e-3, epsilon 0 or the default, beta 1 or 0.9, on the 8 Gaussians
with short networks; (1e-8, 0, 1) is RMSProp. The protocol is docs/results/protocol_study.md. Runs
are ordinary workdirs, OUT/CELL/seedN; finished ones are not repeated, stopped ones resumed. What
ended goes into docs/results/ablation.json; --render prints the tables from there alone. --tiny
makes every run tiny, for a test of the command.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from absl import flags

from benchmarks.given import integers
from tf_mixed_nash.errors import InputError
from trainers.campaigns import cells, evidence, groups, jobs
from trainers.campaigns.comparison import Comparison
from trainers.campaigns.jobs import Job
from trainers.system import cli
from trainers.system.files import make_writable, write_json
from trainers.tasks.tables import Column
from trainers.workdir.folder import ANSWERS, read_card

__all__ = ["CELLS", "RECORDS", "Cell", "effects", "tables"]

RECORDS = Path("docs/results/ablation.json")
_UNITS = "(64,64,64)"
_EPSILON = "1e-6"


class Cell(NamedTuple):
    """One of the eight.

    Attributes:
      stability: lambda.
      temperature: epsilon.
      damping: beta.
    """

    stability: str
    temperature: str
    damping: str

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"lambda{self.stability}_epsilon{self.temperature}_beta{self.damping}"


# In this order one program has both temperatures of a pair.
CELLS = [
    Cell(stability, temperature, damping)
    for stability, damping, temperature in itertools.product(
        ("1e-8", "1e-3"), ("1.0", "0.9"), ("0.0", _EPSILON)
    )
]
# What a factor is, and its two values: (RMSProp's, Mirror-GAN's).
_FACTORS = {
    "stability": ("lambda", "1e-8", "1e-3"),
    "temperature": ("epsilon", "0.0", _EPSILON),
    "damping": ("beta", "1.0", "0.9"),
}


class _Number(NamedTuple):
    column: Column
    distance: Callable[[float], float]


_NUMBERS = {
    "law_distance": _Number(Column("law distance", 3), abs),
    "high_quality_3sigma": _Number(Column("HQ 3 sigma", 3), lambda x: 1.0 - x),
    "std_ratio": _Number(Column("std ratio", 2), lambda x: abs(x - 1.0)),
    "modes_captured": _Number(Column("modes", 1), lambda x: -x),
}
# Effects are tested of these.
_JUDGED = ("law_distance", "high_quality_3sigma", "std_ratio")


def _jobs(seeds: Sequence[int], out: Path, num_batches: int, tiny: bool) -> dict:
    """(cell's name, seed) -> Job, those of one program one after the other."""
    size = [] if tiny else [f"num_batches={num_batches}", f"model.generator_hidden_units={_UNITS}"]
    size += [] if tiny else [f"model.discriminator_hidden_units={_UNITS}"]
    runs = {}
    for pair, seed, cell in itertools.product(range(0, len(CELLS), 2), seeds, range(2)):
        one = CELLS[pair + cell]
        items = [f"{key}={value}" for key, value in one._asdict().items()]
        runs[one.name, seed] = Job(
            f"{one.name}, seed {seed}",
            f"configs/gaussians8_mp.py:{'tiny' if tiny else 'pure'}",
            ["algorithm=mirror_gan", *items, *size, "compile=whole", f"seed={seed}"],
            out / one.name / f"seed{seed}",
        )
    return runs


def _values(record: Mapping[str, Any], cell: Cell, answer: str, number: str) -> dict[int, float]:
    runs = record["runs"].get(cell.name, {})
    return {int(seed): one[answer][number] for seed, one in runs.items()}


def effects(record: Mapping[str, Any], answer: str, number: str) -> list[tuple[str, Any]]:
    """(what, evidence) of each factor: Mirror-GAN's value against RMSProp's.

    Over the four settings of the other two: a seed's number is its mean over these, so that the
    seeds are the pairs; of seeds that all eight cells have. Holm's correction over the three.
    """
    distance = _NUMBERS[number].distance
    values = {cell: _values(record, cell, answer, number) for cell in CELLS}
    seeds = sorted(set.intersection(*(set(v) for v in values.values())))
    found = []
    for factor, (letter, rmsprop, mirror) in _FACTORS.items():

        def mean(value: str, factor=factor) -> dict[int, float]:
            mine = [c for c in CELLS if getattr(c, factor) == value]
            return {s: sum(distance(values[c][s]) for c in mine) / len(mine) for s in seeds}

        shown = evidence.weigh(mean(mirror), mean(rmsprop), abs)
        found.append((f"{letter} {mirror} instead of {rmsprop}", shown))
    judged = evidence.judged([e for _, e in found])
    return [(what, e) for (what, _), e in zip(found, judged, strict=True)]


def _line(parts: Sequence[str]) -> str:
    return "| " + " | ".join(parts) + " |"


def tables(record: Mapping[str, Any]) -> str:
    """Markdown: the cells, mean ± standard error, then the effects, if all cells have a seed."""
    head = ["lambda", "epsilon", "beta", "answer", *(n.column.title for n in _NUMBERS.values())]
    lines = [_line([*head, "seeds"]), "|" + "---|" * (len(head) + 1)]
    for cell, answer in itertools.product(CELLS, ANSWERS):
        cards = [one[answer] for one in record["runs"].get(cell.name, {}).values()]
        if cards:
            row = cells.aggregate(cards, {k: n.column for k, n in _NUMBERS.items()})
            text = [cells.text(row[k], n.column.digits) for k, n in _NUMBERS.items()]
            lines.append(_line([*cell, answer, *text, str(len(cards))]))
    shown = []
    for answer, number in itertools.product(ANSWERS, _JUDGED):
        column = _NUMBERS[number].column
        for what, e in effects(record, answer, number):
            if e.outcome != "no data":
                told = evidence.gains(e, column.digits)
                shown.append(_line([what, answer, column.title, e.outcome, told]))
    if shown:
        lines += ["", _line(["effect", "answer", "number", "", "gain"]), "|" + "---|" * 5, *shown]
    return "\n".join(lines)


def main() -> int:
    """The command."""
    f = flags.FLAGS
    seeds = integers("seeds", f.seeds, least=0)
    if f.budget is not None and f.budget <= 0:
        raise InputError(f"--budget must be minutes above 0, got {f.budget}.")
    path, code = Path(f.records), cli.DONE
    record = json.loads(path.read_text()) if path.is_file() else {"runs": {}}
    if not f.render:
        out = Path(f.out)
        make_writable(out, "--out")
        make_writable(path.parent, "--records")
        runs = _jobs(seeds, out, f.num_batches, f.tiny)
        todo = {k: j for k, j in runs.items() if str(k[1]) not in record["runs"].get(k[0], {})}
        starter = groups.Together(f.together, f.threads)
        code = jobs.run(
            Comparison(list(todo.values())), f.jobs, f.threads, f.budget, starter=starter
        )
        for (name, seed), job in todo.items():
            if (card := read_card(job.workdir)) is not None:
                answers = card["strategies"]
                kept = {a: {k: answers[a][k] for k in _NUMBERS} for a in ANSWERS}
                record["runs"].setdefault(name, {})[str(seed)] = kept
        write_json(path, record)
    print(tables(record))
    return code


if __name__ == "__main__":
    flags.DEFINE_list("seeds", ["0", "1", "2", "3", "4"], "Seeds separated by commas.")
    flags.DEFINE_string("out", "runs/ablation", "Where the runs go.")
    flags.DEFINE_string("records", str(RECORDS), "The file of what ended.")
    flags.DEFINE_integer("num_batches", 12_000, "Mini-batches of every run.", lower_bound=1)
    flags.DEFINE_integer("jobs", 1, "Programs side by side.", lower_bound=1)
    flags.DEFINE_integer("together", 10, "Runs of one program.", lower_bound=1)
    flags.DEFINE_integer("threads", 1, "Of each program; 0: TensorFlow's choice.", lower_bound=0)
    flags.DEFINE_float("budget", None, "Minutes after which the command stops; none: no limit.")
    flags.DEFINE_bool("render", False, "Only prints the tables of what ended.")
    flags.DEFINE_bool("tiny", False, "Two steps of small networks, for a test.")
    cli.main(main, sys.argv)
