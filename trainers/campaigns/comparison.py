"""Algorithms under the same conditions: a run for each with each seed, then a table and figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tf_mixed_nash.errors import InputError
from trainers.campaigns.cells import NO_VALUE, Cell, aggregate, markdown
from trainers.campaigns.jobs import Campaign, Ended, Job
from trainers.experiment import settings
from trainers.reports import html
from trainers.system import cli
from trainers.system.files import write_atomically, write_json
from trainers.tasks.pictures import FIGURE_1, FIGURE_2, panel_order
from trainers.tasks.tables import Column
from trainers.workdir.folder import ANSWERS, FINAL, read_card

if TYPE_CHECKING:
    from trainers.tasks.base import Task

__all__ = ["Comparison", "check", "plan", "write"]

Runs = Mapping[tuple[str, int], Job]  # by algorithm and seed


def plan(
    out: Path, config: str, algorithms: Sequence[str], seeds: Sequence[int], items: Sequence[str]
) -> Runs:
    """The runs of a comparison in their order, OUT/ALGORITHM/seedN.

    Args:
      out: the folder.
      config: FILE.py[:VARIANT].
      algorithms: their names.
      seeds: of each.
      items: KEY=VALUE for all.
    """
    return {
        (name, seed): Job(
            f"{name}, seed {seed}",
            config,
            [f"algorithm={name}", f"seed={seed}", *items],
            out / name / f"seed{seed}",
        )
        for seed in seeds
        for name in algorithms
    }


def check(runs: Runs) -> None:
    """Raises InputError if a config is not valid, or a finished run is of another one."""
    for job in runs.values():
        if read_card(job.workdir) is None:
            continue
        config = cli.load_config(job.config)
        settings.override(config, job.settings)
        there = settings.load_workdir_config(job.workdir)
        if changed := settings.differences(settings.resolve(config), there):
            raise InputError(
                f"{job.workdir} holds a run of another config ({changed[0]}). Give a new --out."
            )


class Comparison(Campaign):
    """A list of runs, each done once.

    Attributes:
      diverged, failed: those that did, in this session.
    """

    def __init__(self, jobs: Sequence[Job]):
        self._jobs = list(jobs)
        self._left = enumerate(jobs, 1)
        self.diverged: list[Job] = []
        self.failed: list[Job] = []

    @property
    def missing(self) -> list[Job]:
        """Those that have not ended."""
        return [j for j in self._jobs if j not in self.diverged and not read_card(j.workdir)]

    def next(self, running: int) -> Job | None:
        """The next one that has no scorecard."""
        for number, job in self._left:
            if read_card(job.workdir) is None:
                print(f"[{number}/{len(self._jobs)}] {job.name}", flush=True)
                return job
        return None

    def take(self, job: Job, ended: Ended) -> str:
        """Remembers what has no scorecard."""
        if ended.how in ("diverged", "failed"):
            getattr(self, ended.how).append(job)
        return f"{job.name}: {ended.how}, {ended.seconds:.0f} s"


def write(
    out: Path,
    task: Task,
    runs: Runs,
    diverged: Sequence[Job],
    titles: Mapping[str, str],
    note: str,
    times: Mapping[str, Cell],
    answers: Sequence[str] = ANSWERS,
) -> str:
    """Writes table.md, table.json, the figures and report.html; returns the table.

    Args:
      out: the folder.
      task: of all the runs.
      runs: all, each finished or diverged.
      diverged: some of them.
      titles: of the algorithms, in their order.
      note: below the table.
      times: of the algorithms, milliseconds a mini-batch; {} without that column.
      answers: of the runs.
    """
    columns = dict(task.columns)
    if times:
        columns["ms_per_batch"] = Column("ms / mini-batch", 1)

    def row(cards: Sequence[Mapping[str, Any]], name: str) -> dict[str, Any]:
        time = {"ms_per_batch": times.get(name, NO_VALUE)} if times else {}
        return {**aggregate(cards, task.columns), **time}

    rows, scores = {}, {}
    for name in titles:
        mine = [job for (n, _), job in runs.items() if n == name and job not in diverged]
        done = [card for job in mine if (card := read_card(job.workdir))]
        for answer in answers:
            cards = [d["strategies"][answer] for d in done]
            rows[f"{name}/{answer}"] = row(cards, name) if cards else "diverged"
            scores[f"{name}/{answer}"] = cards
        scores[f"{name}/real"] = [d["real_data_ceiling"] for d in done]
    real = [card for name in titles for card in scores[f"{name}/real"]][:1]
    if real:
        rows["real data/"] = row(real, "")
    for (name, seed), job in runs.items():
        note += f"\n{titles[name]}, seed {seed}: diverged.\n" if job in diverged else ""
    table = f"# {task.name}\n\n{markdown(rows, titles, columns)}{note}"
    write_atomically(out / "table.md", lambda p: p.write_text(table))
    write_json(out / "table.json", {"rows": rows, "scorecards": scores})
    figures = []
    for answer in answers:
        _draw(out / f"figure_{answer}.png", task, runs, diverged, titles, answer)
        caption = f"{task.name}, {answer}: samples of the first seed of each"
        figures.append(f"![{caption}](figure_{answer}.png)\n\n*{caption}*\n")
    page = html.from_markdown("\n".join([table, *figures]), out)
    write_atomically(out / "report.html", lambda p: p.write_text(page, encoding="utf-8"))
    return table


def _draw(path: Path, task: Task, runs: Runs, diverged, titles, answer: str) -> None:
    """The first seed's samples, in the places of the paper's figure of such data."""
    first = dict(reversed([(name, job) for (name, _), job in runs.items()]))

    def panel(name: str | None):
        if name is None:
            return None
        if first[name] in diverged:
            return f"{titles[name]} (diverged)", None
        with np.load(first[name].workdir / FINAL) as saved:
            return titles[name], saved[answer]

    places = FIGURE_2 if task.is_image else FIGURE_1
    rows = [[panel(name) for name in row] for row in panel_order(list(titles), places)]
    task.draw_panels(path, rows)
