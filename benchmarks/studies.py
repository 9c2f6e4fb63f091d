"""Settings, each run with every seed, and the tables of what ended: what our studies share.

A study's command is `command(study)` with the flags of `define_flags`. Runs are ordinary workdirs,
OUT/SETTING/seedN, seed after seed; finished ones are not repeated, stopped ones are resumed. What
ended goes into the study's file of records, which is committed: runs of other sessions are kept,
and --render prints the tables from there alone.
"""

from __future__ import annotations

import functools
import json
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from absl import flags

from benchmarks.given import integers
from benchmarks.pages.code import ROOT
from tf_mixed_nash.errors import InputError, unknown
from trainers.campaigns import cells, evidence, groups, jobs
from trainers.campaigns.comparison import Comparison
from trainers.campaigns.evidence import Evidence
from trainers.campaigns.jobs import Ended, Job
from trainers.campaigns.study.protocol import PROTOCOLS, Records, planned
from trainers.campaigns.study.records import load
from trainers.campaigns.study.tables import METRICS
from trainers.system import cli
from trainers.system.files import make_writable, without_nan, write_atomically
from trainers.tasks.tables import Column
from trainers.workdir.folder import ANSWERS, read_card, records

__all__ = [
    "Setting",
    "Study",
    "columns",
    "command",
    "define_flags",
    "least",
    "markdown",
    "modes_by_atom",
    "paper_study",
    "runs_of",
    "save",
    "table",
]


class Setting(NamedTuple):
    """One line of a table: what is run with every seed.

    Attributes:
      name: of its folder.
      title: in the table.
      config: FILE.py[:VARIANT].
      items: KEY=VALUE each; {out} and {seed} are where the runs go and whose run it is, where a run
        begins at another's networks.
    """

    name: str
    title: str
    config: str
    items: tuple[str, ...] = ()

    def with_items(self, *items: str) -> Setting:
        """The same with more items."""
        return self._replace(items=(*self.items, *items))


class Study(NamedTuple):
    """What is run, and what is shown of it.

    Attributes:
      stages: name -> settings, of a table each.
      records: the file of what ended.
      columns: stage -> key of a scorecard's answer -> column.
      heading: of the first column.
      atoms: whether tables have the modes of each atom.
      more: of all runs, setting's name -> seed -> record: what stands below the tables.
    """

    stages: Mapping[str, Sequence[Setting]]
    records: Path
    columns: Mapping[str, Mapping[str, Column]]
    heading: str
    atoms: bool = False
    more: Callable[[Mapping[str, Mapping[str, Any]]], str] | None = None


# Beside METRICS.
_MORE = {
    "specialisation": Column("specialisation", 2),
    "fid": Column("FID", 2),
    "kid": Column("KID", 4),
    "recall": Column("recall", 3),
    "coverage": Column("coverage", 3),
    "classes_captured": Column("classes", 1),
    "rarest_mode_mass": Column("mass of the rarest mode", 4),
}


def columns(*keys: str) -> dict[str, Column]:
    """The columns of these numbers of a scorecard, the same in every study."""
    return {k: _MORE.get(k) or Column(METRICS[k].title, METRICS[k].digits) for k in keys}


# The numbers are what is kept.
_OWN = ("export=False",)


def _jobs(
    settings: Sequence[Setting], seeds: Sequence[int], out: Path, extra: Sequence[str], tiny: bool
) -> dict[tuple[str, int], Job]:
    """(setting's name, seed) -> Job, seed after seed."""
    return {
        (s.name, seed): Job(
            f"{s.name}, seed {seed}",
            f"{s.config.partition(':')[0]}:tiny" if tiny else s.config,
            [*_items(s, seed, out, tiny), f"seed={seed}", *_OWN, *extra],
            out / s.name / f"seed{seed}",
        )
        for seed in seeds
        for s in settings
    }


def _items(setting: Setting, seed: int, out: Path, tiny: bool) -> list[str]:
    kept = (item for item in setting.items if not (tiny and _is_size(item)))
    return [item.replace("{out}", str(out)).replace("{seed}", str(seed)) for item in kept]


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
    answers, by_mode = {}, card.get("by_mode", {})
    for answer in ANSWERS:
        own = dict(card["strategies"][answer])
        if own.pop("atoms", None):
            own["modes_by_atom"] = modes_by_atom(card["strategies"][answer]["atoms"])
        if answer in by_mode:
            own["by_mode"] = by_mode[answer]
        answers[answer] = own
    return {
        "settings": list(job.settings),
        "config": {key: config[key] for key in _DETERMINES},
        "answers": answers,
        "real": {
            **card["real_data_ceiling"],
            **({"by_mode": by_mode["real_data"]} if by_mode else {}),
        },
        "seconds": last.get("seconds"),
        "commit": session["commit"],
        "draws": session.get("draws", 1),  # which law of them (docs/decisions/0023)
        "hardware": {k: session["hardware"][k] for k in ("processor", "cores", "gpus")},
    }


def modes_by_atom(atoms: Sequence[Mapping[str, Any]]) -> list[int]:
    """How many modes, or classes of images, each atom covers.

    Modes with a twentieth of its good samples or more, classes with a twentieth of all.
    """
    counts = []
    for atom in atoms:
        modes = atom.get("modes") or atom.get("classes", ())
        counts.append(sum(n >= 0.05 * max(sum(modes), 1) for n in modes))
    return counts


def save(path: Path, known: Mapping[str, Any]) -> None:
    """Writes the records, a run a line, so that a change shows the runs that it is about.

    Args:
      path: of the file.
      known: its content, {"runs": setting's name -> seed -> record}.
    """
    settings = []
    for name, seeds in known["runs"].items():
        ordered = sorted(seeds.items(), key=lambda seed: int(seed[0]))
        runs = (f"  {json.dumps(s)}: {json.dumps(without_nan(one))}" for s, one in ordered)
        settings.append(f" {json.dumps(name)}: {{\n" + ",\n".join(runs) + "\n }")
    text = '{"runs": {\n' + ",\n".join(settings) + "\n}}\n"
    write_atomically(path, lambda temporary: temporary.write_text(text))


def _load(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text()) if path.is_file() else {"runs": {}}


def runs_of(path: Path) -> dict[str, Any]:
    """Setting's name -> seed -> record, of a study's file in this checkout; {} without one."""
    return _load(ROOT / path)["runs"]


def least(one: Mapping[str, Any], number: str) -> float:
    """The least of a record's answers by a number of their scorecards."""
    values = (answer[number] for answer in one["answers"].values())
    return min(v for v in values if v is not None)


def table(study: Study, stage: str, runs: Mapping[str, Mapping[str, Any]]) -> str:
    """Markdown: a line for each setting and answer, means ± standard errors over seeds.

    "ms" is the median time of a mini-batch, of runs beside others on machines that were shared.

    Args:
      study: of the stage.
      stage: its name.
      runs: setting's name -> seed -> its record.
    """
    columns = study.columns[stage]
    head = [study.heading, "answer", *(c.title for c in columns.values())]
    head += ["modes of an atom"] * study.atoms + ["ms", "seeds"]
    lines: list[list[str]] = []
    real: list[Mapping[str, Any]] = []
    for s in study.stages[stage]:
        mine = runs.get(s.name, {})
        real += [one["real"] for one in mine.values()]
        for answer in ANSWERS if mine else ():
            cards = [one["answers"][answer] for one in mine.values()]
            row = cells.aggregate(cards, columns)
            text = [cells.text(row[key], c.digits) for key, c in columns.items()]
            text += [_spread(cards)] * study.atoms + [_cost(mine.values()), str(len(cards))]
            lines.append([s.title, answer, *text])
    if real:
        row = cells.aggregate(real[:1], columns)
        text = [cells.text(row[key], c.digits) for key, c in columns.items()]
        text += [""] * study.atoms + ["", ""]
        lines.append(["real data", "", *text])
    return markdown(head, lines)


def judged(found: Sequence[tuple[str, Evidence]]) -> list[tuple[str, Evidence]]:
    """(what, evidence) of comparisons that are read together, each decided by Holm's correction."""
    outcomes = evidence.judged([e for _, e in found])
    return [(what, e) for (what, _), e in zip(found, outcomes, strict=True)]


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of texts."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _spread(cards: Sequence[Mapping[str, Any]]) -> str:
    counts = [n for card in cards for n in card.get("modes_by_atom", ())]
    if not counts:
        return "-"
    return f"{min(counts)}-{max(counts)}, median {statistics.median(counts):g}"


def _cost(mine: Iterable[Mapping[str, Any]]) -> str:
    each = [1e3 * s / one["config"]["num_batches"] for one in mine if (s := one.get("seconds"))]
    return f"{statistics.median(each):.1f}" if each else "-"


class _Recorded(Comparison):
    """Runs whose records are written as they end: a session that is cut off loses none.

    Args:
      todo: (setting's name, seed) -> its job.
      known: the content of the file, to which they are added.
      path: of the file.
    """

    def __init__(self, todo: Mapping[tuple[str, int], Job], known: dict[str, Any], path: Path):
        super().__init__(list(todo.values()))
        self._names = {job.workdir: where for where, job in todo.items()}
        self._known, self._path = known, path
        # Of a session that was cut off between a run's end and its record.
        for job in todo.values():
            self._add(job)

    def take(self, job: Job, ended: Ended) -> str:
        """Writes the record of what has a scorecard."""
        self._add(job)
        return super().take(job, ended)

    def _add(self, job: Job) -> None:
        if read_card(job.workdir) is not None:
            name, seed = self._names[job.workdir]
            self._known["runs"].setdefault(name, {})[str(seed)] = _record(job)
            save(self._path, self._known)


@functools.cache
def paper_study() -> Records:
    """The committed records of the paper's study, by key."""
    return planned(PROTOCOLS["narrow"], load(ROOT / "docs/results/study_narrow"))


def _by_kind(todo: Mapping[tuple[str, int], Job]) -> dict[tuple[str, int], Job]:
    """Jobs that may be one program stand together."""
    order = groups.side_by_side(todo, lambda where: groups.kind_of(todo[where]) or where)
    return {where: todo[where] for where in order}


def command(study: Study) -> int:
    """Runs what is missing, writes the records, prints the tables; an exit code.

    Raises:
      InputError: for an unknown stage, seeds that are none, or folders that cannot be written.
    """
    f = flags.FLAGS
    stages = f.stages.split(",") if f.stages != "all" else list(study.stages)
    if strange := [s for s in stages if s not in study.stages]:
        raise unknown("stage", strange[0], study.stages, of="some of")
    seeds = integers("seeds", f.seeds, least=0)
    if f.budget is not None and f.budget <= 0:
        raise InputError(f"--budget must be minutes above 0, got {f.budget}.")
    path, code = Path(f.records), cli.DONE
    known = _load(path)
    if not f.render:
        out = Path(f.out)
        make_writable(out, "--out")
        settings = [s for stage in stages for s in study.stages[stage]]
        runs = _jobs(settings, seeds, out, f.set, f.tiny)
        # Runs that an earlier session recorded need not be here any more.
        todo = {k: j for k, j in runs.items() if str(k[1]) not in known["runs"].get(k[0], {})}
        if f.together > 1:
            todo = _by_kind(todo)
        starter = groups.Together(f.together, f.threads)
        campaign = _Recorded(todo, known, path)
        code = jobs.run(campaign, f.jobs, f.threads, f.budget, starter=starter)
    for stage in stages:
        print(f"\n### {stage}\n\n{table(study, stage, known['runs'])}")
    if study.more:
        print(f"\n{study.more(known['runs'])}")
    return code


def define_flags(study: Study, stages: str) -> None:
    """The flags of a study's command.

    Args:
      study: whose file of records is the default.
      stages: the default.
    """
    flags.DEFINE_string("stages", stages, "Some of the stages, separated by commas, or all.")
    flags.DEFINE_list("seeds", ["0", "1", "2", "3", "4"], "Of the runs.")
    flags.DEFINE_string("out", f"runs/{study.records.stem}_study", "Where the runs go.")
    flags.DEFINE_string("records", str(study.records), "The file of what ended.")
    flags.DEFINE_integer("together", 1, "Runs of one program (docs/many.md).", lower_bound=1)
    flags.DEFINE_integer("jobs", 2, "Runs side by side.", lower_bound=1)
    flags.DEFINE_integer("threads", 1, "Of each run; 0: TensorFlow's choice.", lower_bound=0)
    flags.DEFINE_float("budget", None, "Minutes after which the command stops; none: no limit.")
    flags.DEFINE_bool("render", False, "Only prints the tables of what ended.")
    flags.DEFINE_bool("tiny", False, "Two steps of small networks, for a test.")
    flags.DEFINE_multi_string("set", [], "KEY=VALUE: a config key for all runs.")
