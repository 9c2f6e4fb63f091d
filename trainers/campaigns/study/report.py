"""The report of the study: README.md and one self-contained report.html, from the records alone."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from trainers.campaigns.study.claims import Claim, claims, in_time, questions
from trainers.campaigns.study.figures import draw_curves, draw_samples, draw_sweep
from trainers.campaigns.study.protocol import (
    ALGORITHMS,
    Protocol,
    Records,
    Trial,
    choose,
    missing,
    plan,
    planned,
)
from trainers.campaigns.study.records import DIVERGED, load, machine
from trainers.campaigns.study.tables import (
    METRICS,
    Stage,
    Table,
    quality_table,
    speed_table,
)
from trainers.reports import html
from trainers.system.files import write_atomically
from trainers.workdir.folder import ANSWERS

__all__ = ["render"]

_HERE = Path(__file__).parent

Judged = Sequence[tuple[str, Sequence[Claim]]]  # the claims by stage, with a title


def render(protocol: Protocol, results: Path) -> list[Path]:
    """Writes figures, README.md and report.html into the folder of the records.

    Returns:
      README.md and report.html.
    """
    records = load(results)
    results.mkdir(parents=True, exist_ok=True)
    text = "\n\n".join(_blocks(protocol, records, results)) + "\n"
    page = html.from_markdown(text, results)
    return [
        write_atomically(results / "README.md", lambda p: p.write_text(text)),
        write_atomically(results / "report.html", lambda p: p.write_text(page)),
    ]


def _blocks(protocol: Protocol, records: Records, results: Path) -> Iterator[str]:
    """The content of the report, as pieces of Markdown; draws its figures."""
    mine = planned(protocol, records)
    judged, asked = (
        [
            (f"{', '.join(sets)}: {_stage_title(protocol, stage)}", ask(mine, protocol, stage))
            for stage in ("final", "large")
            if (sets := protocol.sets_of(stage))
        ]
        for ask in (claims, questions)
    )
    yield f"# The paper's study with numbers ({protocol.name} protocol)"
    if protocol.note:
        yield f"**{protocol.note}**"
    yield from _state(protocol, mine)
    yield from _claims(judged)
    yield from _questions(asked)
    for data in protocol.datasets:
        yield f"## {data}"
        yield from _stage(Stage(mine, protocol, data, "final"), results)
        if data in protocol.large_datasets:
            yield from _stage(Stage(mine, protocol, data, "large"), results)
        yield from _sweep(protocol, mine, results, data)
    yield (_HERE / "figure_2.md").read_text().strip()
    yield from _protocol(protocol)
    yield from _origin(mine)
    yield from _comparisons([*judged, *asked])


def _state(protocol: Protocol, records: Records) -> Iterator[str]:
    left, total = missing(protocol, "all", records), len(plan(protocol))
    yield "## What is there"
    diverged = sum(r["status"] == DIVERGED for r in records.values())
    yield f"{total - len(left)} of {total} runs are done; {diverged} diverged."
    if earlier := sum(r.get("draws", 1) == 1 for r in records.values()):
        yield (
            f"{earlier} of them are of the earlier draws (before decision 0023): the same seeds "
            "give other runs now, of the same law."
        )
    if left:
        counts = Counter(f"{run.dataset} {run.stage}" for run in left)
        parts = ", ".join(f"{what}: {n}" for what, n in counts.items())
        yield (
            f"**Missing yet**: {len(left)} runs ({parts}). Tables and claims are of what is there."
        )


# Claims.


def _claims(judged: Judged) -> Iterator[str]:
    yield "## Which claims of the paper held"
    yield (
        "Computed from the runs. A comparison is decided at 5 % by a paired t test, since the runs "
        "of a seed share their initial networks and data, with Holm's correction for the "
        "comparisons of the claim; not worse is a margin that is excluded. With one seed there is "
        "no spread, and only the direction is told. A claim holds if every comparison does. The "
        "paper judged by eye. `last` is what it shows; the mixture is what its theory is about."
    )
    yield from _summaries("claim", judged)
    yield "Every comparison is at the end."


def _questions(asked: Judged) -> Iterator[str]:
    yield "## When does a mixture in time help?"
    yield (
        "The same tests. Last iterate and EMA are one network, the mixture 30 of the same run; "
        "RMSProp has none of the paper's noise."
    )
    yield from _summaries("statement", asked)
    for title, found in asked:
        if table := in_time(found, title):
            yield table.markdown()


def _summaries(what: str, judged: Judged) -> Iterator[str]:
    for title, found in judged:
        rows = [(c.text, c.source, c.measure, c.summary) for c in found]
        head = (what, "where", "measured by", "what the runs say")
        yield Table(title, head, rows).markdown()


def _comparisons(judged: Judged) -> Iterator[str]:
    yield "## Every comparison"
    head = ("measured by", "data set", "comparison", "the claim", "better by (95 % interval)")
    for title, found in judged:
        rows = [(c.measure, v.dataset, v.text, v.outcome, v.by) for c in found for v in c.verdicts]
        rows = list(dict.fromkeys(r for r in rows if r[3] != "no data"))
        yield Table(title, head, rows).markdown() if rows else f"{title}: no runs yet."


# Data sets.


def _stage(stage: Stage, results: Path) -> Iterator[str]:
    data, name = stage.dataset, stage.name
    yield f"### {_stage_title(stage.protocol, name)}"
    if not any(stage.runs(a) for a in stage.protocol.algorithms):
        yield "No run of it is done yet."
        return
    yield (
        "Mean ± standard error over seeds. Bold: better than every other algorithm's same answer "
        "by a paired t test at 5 %, with Holm's correction, all seeds done. Real data are fresh "
        "samples in the place of generated ones; a number near theirs is as good as can be told."
    )
    for answer in ANSWERS:
        if table := quality_table(stage, answer):
            yield table.markdown()
    for answer in ("last", "mixture"):
        path = results / f"samples_{data}_{name}_{answer}.png"
        if draw_samples(path, stage, answer, results):
            yield _figure(
                path,
                f"{data}, {answer}, seed 0: real data blue, generated red; in the places of the "
                "paper's Figure 1, others behind.",
            )
    if table := speed_table(stage):
        yield table.markdown()
    for answer in ("last", "ema"):
        path = results / f"curves_{data}_{name}_{answer}.png"
        if draw_curves(path, stage, answer):
            yield _figure(
                path,
                f"{data}, {answer}: quality against mini-batches and training seconds (without "
                "scoring, pictures, checkpoints). W2 is of 500 samples, larger than the tables' of "
                "2,000. Dotted: real data.",
            )


def _figure(path: Path, caption: str) -> str:
    return f"![{caption}]({path.name})\n\n*{caption}*"


def _stage_title(protocol: Protocol, stage: str) -> str:
    large = stage == "large"
    seeds = len(protocol.seeds_of(stage))
    return (
        f"Batch {protocol.large_batch_size if large else protocol.batch_size}, "
        f"{protocol.length(stage):,} mini-batches, "
        f"{protocol.large_precision if large else protocol.precision}, "
        f"{'one seed' if seeds == 1 else f'{seeds} seeds'}"
    )


def _sweep(protocol: Protocol, records: Records, results: Path, data: str) -> Iterator[str]:
    (seed,) = protocol.seeds_of("sweep")
    what = "Hyperparameters" if protocol.trials else "Step sizes"
    yield f"### {what}: {protocol.sweep_batches:,} mini-batches each, seed {seed}"
    table = (_search_table if protocol.trials else _grid_table)(protocol, records, data)
    if table is None:
        yield "No run of it is done yet."
        return
    yield table.markdown()
    path = results / f"sweep_{data}.png"
    if draw_sweep(path, records, protocol, data):
        yield _figure(path, f"{data}: the sweep.")


def _grid_table(protocol: Protocol, records: Records, data: str) -> Table | None:
    rows = []
    for name in protocol.algorithms:
        choice = choose(protocol, data, name, records, partial=True)
        if choice is None:
            continue
        grid = protocol.steps_of(name)
        values = {t.candidate.step_size: t.value for t in choice.trials}
        ends = ("not yet", "")
        if len(values) == len(grid):
            chosen = "all diverged" if choice.step_size is None else f"{choice.step_size:g}"
            ends = (chosen, f"yes, the {choice.at_end}" if choice.at_end else "no")
        texts = (_value(values.get(s)) for s in grid)
        rows.append((ALGORITHMS[name].title, f"{grid[0]:g} to {grid[-1]:g}", *texts, *ends))
    if not rows:
        return None
    head = ["algorithm", "range", *(f"point {i + 1}" for i in range(protocol.points))]
    return Table(
        f"{METRICS[protocol.objective].title} by step size, {data}",
        [*head, "chosen", "at an end of the range"],
        rows,
        f"The least {METRICS[protocol.objective].title} of the three answers. Where the best is at "
        "an end of the range, a better "
        "step size may lie outside.",
    )


def _search_table(protocol: Protocol, records: Records, data: str) -> Table | None:
    """Of each algorithm its own settings, the best trial, and how the others did."""
    title = METRICS[protocol.objective].title
    rows = []
    for name in protocol.algorithms:
        choice = choose(protocol, data, name, records, partial=True)
        if choice is None:
            continue
        finite = sorted(t.values[0] for t in choice.trials if math.isfinite(t.values[0]))
        own = [t for t in choice.trials[: protocol.block] if math.isfinite(t.value)]
        rows.append(
            (
                ALGORITHMS[name].title,
                f"{len(choice.trials)} of {protocol.trials}",
                str(len(choice.trials) - len(finite)),
                _value(statistics.median(finite)) if finite else "-",
                _best(min(own, key=lambda t: t.values[0]) if own else None, first=True),
                _best(choice.best),
                choice.at_end or "no",
            )
        )
    if not rows:
        return None
    head = ("algorithm", "trials", "diverged", "median", "best with its own settings", "chosen")
    return Table(
        f"{title} of the search, {data}",
        (*head, "at an end of the step sizes"),
        rows,
        f"The least {title} of the three answers; of the chosen one the mean of "
        f"{len(protocol.sweep_seeds)} seeds. Its own settings: the first {protocol.block} trials, "
        "in which step size and temperature alone are drawn.",
    )


def _best(trial: Trial | None, first: bool = False) -> str:
    if trial is None:
        return "all diverged"
    return f"{_value(trial.values[0] if first else trial.value)}: {trial.candidate}"


def _value(value: float | None) -> str:
    if value is None:
        return "-"
    return "diverged" if value == float("inf") else f"{value:.4f}"


# How it was done.


def _protocol(protocol: Protocol) -> Iterator[str]:
    p = protocol
    yield "## Protocol"
    texts = (
        f"Data sets: {', '.join(p.datasets)}. Algorithms: "
        f"{', '.join(ALGORITHMS[a].title for a in p.algorithms)}.",
        _tuning(p),
        f"The best has the least {METRICS[p.objective].title} of last iterate, EMA and mixture; "
        "the objective is the same for all.",
        f"Then {p.batches:,} mini-batches of {p.batch_size} with seeds "
        f"{', '.join(map(str, p.seeds))}, in {p.precision}.",
        p.large_datasets
        and f"Then {p.large_batches:,} mini-batches of {p.large_batch_size} on "
        f"{', '.join(p.large_datasets)}, seeds {', '.join(map(str, p.large_seeds))}, in "
        f"{p.large_precision}, with what was chosen at {p.batch_size}.",
        f"The same for all: {'' if p.trials else 'linear decay of the step size to 0, '}mixture of "
        f"{p.settings['mixture.num_components']} snapshots of the window "
        f"{p.settings['mixture.window']}, EMA of decay {p.settings['ema_decay']} per mini-batch, "
        f"MLPs of {p.settings['model.hidden_units']}, WGAN with penalty "
        f"{p.settings['game.gradient_penalty']}."
        + ("" if p.trials else " Mirror: temperature and damping are not swept."),
        ""
        if p.trials
        else "Thin: one seed chooses the step size, at a shorter length than it is used for; W2 of "
        "2,000 samples has a floor, the real data's own.",
    )
    yield "\n".join(f"- {text}" for text in texts if text)


def _tuning(p: Protocol) -> str:
    length = f"{p.sweep_batches:,} mini-batches of {p.batch_size}"
    if not p.trials:
        return (
            f"Step sizes: {p.points} for each algorithm on each data set, a factor of "
            f"{p.ratio:.3g} apart around {_centres(p)}; {length}, seed 0."
        )
    return (
        f"{p.trials} trials of each algorithm on each data set, a random search over all of its "
        f"hyperparameters (`ALGORITHMS` in trainers/campaigns/study/protocol.py has the ranges); "
        f"{length}, seed {p.sweep_seeds[0]}; the best {p.again} again with seed "
        f"{', '.join(map(str, p.sweep_seeds[1:]))}, and the mean decides."
    )


def _centres(protocol: Protocol) -> str:
    by_centre: dict[float, list[str]] = {}
    for name in protocol.algorithms:
        by_centre.setdefault(ALGORITHMS[name].centre, []).append(ALGORITHMS[name].title)
    several = len(by_centre) > 1
    return " and ".join(
        f"{c:g}" + (f" ({', '.join(names)})" if several else "") for c, names in by_centre.items()
    )


def _hours(records: Records) -> str:
    """What the runs took, in words; those of one program share its wall time."""
    training, wall = (
        sum(r[what] or 0.0 for r in records.values()) / 3_600
        for what in ("seconds", "wall_seconds")
    )
    return (
        f"Hours: {training:.1f} of training and {wall:.1f} with starts, tracing, scores and "
        f"pictures, summed over {len(records)} runs."
    )


def _origin(records: Records) -> Iterator[str]:
    yield "## Machines, versions, commands"
    if not records:
        yield "No runs yet."
    runs = records.values()
    commits = (commit or "unknown" for r in runs for commit in r["commits"])
    lines = [
        f"- {what}: {text} ({count} runs)"
        for what, texts in (
            ("Machine", map(machine, runs)),
            ("Commit", (commit[:12] for commit in commits)),
            ("Versions", (", ".join(f"{k} {v}" for k, v in r["versions"].items()) for r in runs)),
        )
        for text, count in Counter(texts).items()
    ]
    if dirty := sum(bool(r["dirty"]) for r in runs):
        lines.append(
            f"- {dirty} runs were made while files of the checkout differed from the commit."
        )
    if lines:
        yield "\n".join([*lines, f"- {_hours(records)}"])
    yield "Each record in `runs/` has the command of its run. All of it:"
    protocol = next((r["protocol"] for r in records.values()), "narrow")
    which = f"all --protocol={protocol} --together=10 --compile=whole"
    yield f"    python -m trainers.reproduce {which}"
    if records:
        example = next(iter(runs))
        yield f"One run: {example['dataset']}, {example['stage']}, {example['algorithm']}:"
        yield f"    {example['command']}"
