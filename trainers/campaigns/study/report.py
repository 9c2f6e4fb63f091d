"""The report of the study: README.md and one self-contained report.html, from the records alone."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from trainers.campaigns.study.claims import Claim, claims
from trainers.campaigns.study.figures import draw_curves, draw_samples, draw_sweep
from trainers.campaigns.study.protocol import (
    ALGORITHMS,
    Protocol,
    Records,
    choose,
    missing,
    plan,
    planned,
)
from trainers.campaigns.study.records import DIVERGED, load, machine
from trainers.campaigns.study.tables import SPREAD, Stage, Table, quality_table, speed_table
from trainers.system.files import write_atomically
from trainers.workdir.folder import ANSWERS

__all__ = ["Figure", "Heading", "Text", "blocks", "render", "to_html", "to_markdown"]


class Heading(NamedTuple):
    """A heading.

    Attributes:
      level: 1 the title, 2 a section, 3 a part of it.
    """

    level: int
    text: str


class Text(NamedTuple):
    """A paragraph; "- " at its beginning makes it an item, "    " a line of code."""

    text: str


class Figure(NamedTuple):
    """A picture that lies in the folder of the report."""

    path: Path
    caption: str


Block = Heading | Text | Figure | Table


def render(protocol: Protocol, results: Path) -> list[Path]:
    """Writes figures, README.md and report.html into the folder of the records.

    Returns:
      README.md and report.html.
    """
    records = load(results)
    results.mkdir(parents=True, exist_ok=True)
    content = list(blocks(protocol, records, results))
    texts = {"README.md": to_markdown(content), "report.html": to_html(content)}
    return [
        write_atomically(results / name, lambda p, text=text: p.write_text(text))
        for name, text in texts.items()
    ]


def blocks(protocol: Protocol, records: Records, results: Path) -> Iterator[Block]:
    """The content of the report, with its figures drawn."""
    mine = planned(protocol, records)
    yield Heading(1, f"The paper's study with numbers ({protocol.name} protocol)")
    if protocol.note:
        yield Text(f"**{protocol.note}**")
    yield from _state(protocol, mine)
    yield from _claims(protocol, mine)
    for data in protocol.datasets:
        yield Heading(2, data)
        yield from _stage(Stage(mine, protocol, data, "final"), results)
        if data in protocol.large_datasets:
            yield from _stage(Stage(mine, protocol, data, "large"), results)
        yield from _sweep(protocol, mine, results, data)
    yield from _figure_2()
    yield from _protocol(protocol)
    yield from _origin(mine)
    yield from _comparisons(protocol, mine)


def _state(protocol: Protocol, records: Records) -> Iterator[Block]:
    left, total = missing(protocol, "all", records), len(plan(protocol))
    yield Heading(2, "What is there")
    diverged = sum(r["status"] == DIVERGED for r in records.values())
    yield Text(f"{total - len(left)} of {total} runs are done; {diverged} diverged.")
    if not left:
        return
    counts: dict[tuple[str, str], int] = {}
    for run in left:
        counts[run.dataset, run.stage] = counts.get((run.dataset, run.stage), 0) + 1
    parts = ", ".join(f"{d} {s}: {n}" for (d, s), n in counts.items())
    yield Text(
        f"**Missing yet**: {len(left)} runs ({parts}). Tables and claims are of what is there."
    )


# Claims.


def _claims(protocol: Protocol, records: Records) -> Iterator[Block]:
    yield Heading(2, "Which claims of the paper held")
    yield Text(
        "Computed from the runs. A comparison is decided if the two means differ by more than "
        f"{SPREAD:g} combined standard errors over the seeds; with one seed there is no spread, "
        "and only the direction is told. The paper judged by eye. `last` is what it shows; the "
        "mixture is what its theory is about."
    )
    head = ("claim", "where", "measured by", "what the runs say")
    for title, found in _judged(protocol, records):
        yield Table(title, head, [(c.text, c.source, c.measure, c.summary) for c in found])
    yield Text("Every comparison is at the end.")


def _judged(protocol: Protocol, records: Records) -> Iterator[tuple[str, Sequence[Claim]]]:
    """The claims by stage, with a title."""
    for stage in ("final", "large"):
        if sets := protocol.sets_of(stage):
            title = f"{', '.join(sets)}: {_stage_title(protocol, stage)}"
            yield title, claims(records, protocol, stage)


def _comparisons(protocol: Protocol, records: Records) -> Iterator[Block]:
    yield Heading(2, "Every comparison")
    head = ("measured by", "data set", "comparison", "the claim")
    for title, found in _judged(protocol, records):
        rows = [(c.measure, v.dataset, v.text, v.outcome) for c in found for v in c.verdicts]
        rows = list(dict.fromkeys(r for r in rows if r[3] != "no data"))
        yield Table(title, head, rows) if rows else Text(f"{title}: no runs yet.")


# Data sets.


def _stage(stage: Stage, results: Path) -> Iterator[Block]:
    data, name = stage.dataset, stage.name
    yield Heading(3, _stage_title(stage.protocol, name))
    if not any(stage.runs(a) for a in stage.protocol.algorithms):
        yield Text("No run of it is done yet.")
        return
    yield Text(
        "Mean ± standard error over seeds. Bold: better than the next algorithm's same answer by "
        f"more than {SPREAD:g} combined standard errors, all seeds done. Real data are fresh "
        "samples in the place of generated ones; a W2 near theirs is as good as can be told."
    )
    for answer in ANSWERS:
        table = quality_table(stage, answer)
        if table:
            yield table
    for answer in ("last", "mixture"):
        path = results / f"samples_{data}_{name}_{answer}.png"
        if draw_samples(path, stage, answer, results):
            yield Figure(
                path,
                f"{data}, {answer}, seed 0: real data blue, generated red; in the places of the "
                "paper's Figure 1, others behind.",
            )
    table = speed_table(stage)
    if table:
        yield table
    for answer in ("last", "ema"):
        path = results / f"curves_{data}_{name}_{answer}.png"
        if draw_curves(path, stage, answer):
            yield Figure(
                path,
                f"{data}, {answer}: quality against mini-batches and training seconds (without "
                "scoring, pictures, checkpoints). W2 of 500 samples, larger than the tables' of "
                "2,000. Dotted: real data.",
            )


def _stage_title(protocol: Protocol, stage: str) -> str:
    large = stage == "large"
    seeds = len(protocol.seeds_of(stage))
    return (
        f"Batch {protocol.large_batch_size if large else protocol.batch_size}, "
        f"{protocol.length(stage):,} mini-batches, "
        f"{protocol.large_precision if large else protocol.precision}, "
        f"{'one seed' if seeds == 1 else f'{seeds} seeds'}"
    )


def _sweep(protocol: Protocol, records: Records, results: Path, data: str) -> Iterator[Block]:
    yield Heading(3, f"Step sizes: {protocol.sweep_batches:,} mini-batches each, seed 0")
    rows = []
    for name in protocol.algorithms:
        choice = choose(protocol, data, name, records, partial=True)
        if choice is None:
            continue
        grid = protocol.steps_of(name)
        values = dict(choice.points)
        texts = [_value(values.get(s)) for s in grid]
        whole = len(choice.points) == len(grid)
        chosen = "all diverged" if choice.step_size is None else f"{choice.step_size:g}"
        end = f"yes, the {choice.at_end}" if choice.at_end else "no"
        ends = [chosen, end] if whole else ["not yet", ""]
        swept = f"{grid[0]:g} to {grid[-1]:g}"
        rows.append((ALGORITHMS[name].title, swept, *texts, *ends))
    if not rows:
        yield Text("No run of it is done yet.")
        return
    head = ["algorithm", "range", *(f"point {i + 1}" for i in range(protocol.points))]
    yield Table(
        f"W2 by step size, {data}",
        [*head, "chosen", "at an end of the range"],
        rows,
        "The least W2 of the three answers. Where the best is at an end of the range, a better "
        "step size may lie outside.",
    )
    path = results / f"sweep_{data}.png"
    if draw_sweep(path, records, protocol, data):
        yield Figure(path, f"{data}: the sweep.")


def _value(value: float | None) -> str:
    if value is None:
        return "-"
    return "diverged" if value == float("inf") else f"{value:.4f}"


def _figure_2() -> Iterator[Block]:
    yield Heading(2, "Figure 2 (LSUN bedrooms)")
    yield Text(
        "Not tested here: it needs LSUN, which is not on this machine, and days of a GPU. Its "
        "claim (RMSProp, Alternated Extra-Adam and Mirror-GAN learn, Adam and Extra-Adam fail) is "
        "neither "
        "confirmed nor refuted. The same six algorithms on Fashion-MNIST, one seed, step sizes "
        "hardly swept: docs/results/fashion_mnist.md. With LSUN:"
    )
    yield Text(
        "    python -m trainers.compare --dataset=lsun --set=data.path=LMDB --num_batches=100000 "
        "--algorithms=rmsprop,adam,mirror_gan,extra_adam,alt_extra_adam --seeds=0 --out=runs/lsun"
    )


# How it was done.


def _protocol(protocol: Protocol) -> Iterator[Block]:
    p = protocol
    yield Heading(2, "Protocol")
    for text in (
        f"Data sets: {', '.join(p.datasets)}. Algorithms: "
        f"{', '.join(ALGORITHMS[a].title for a in p.algorithms)}.",
        f"Step sizes: {p.points} for each algorithm on each data set, a factor of {p.ratio:.3g} "
        f"apart around {_centres(p)}; {p.sweep_batches:,} mini-batches of {p.batch_size}, seed 0. "
        "The best has the least W2 of last iterate, EMA and mixture; the objective is the same "
        "for all.",
        f"Then {p.batches:,} mini-batches of {p.batch_size} with seeds "
        f"{', '.join(map(str, p.seeds))}, in {p.precision}.",
        *(
            [
                f"Then {p.large_batches:,} mini-batches of {p.large_batch_size} on "
                f"{', '.join(p.large_datasets)}, seed 0, in {p.large_precision}, with the step "
                f"size chosen at {p.batch_size}."
            ]
            if p.large_datasets
            else []
        ),
        "The same for all: linear decay of the step size to 0, mixture of "
        f"{p.settings['mixture.num_components']} snapshots of the window "
        f"{p.settings['mixture.window']}, EMA of decay {p.settings['ema_decay']} per mini-batch, "
        f"MLPs of {p.settings['model.hidden_units']}, WGAN with penalty "
        f"{p.settings['game.gradient_penalty']}. Mirror: temperature and damping are not swept.",
        "Thin: one seed chooses the step size, at a shorter length than it is used for; W2 of "
        "2,000 samples has a floor, the real data's own.",
    ):
        yield Text(f"- {text}")


def _centres(protocol: Protocol) -> str:
    by_centre: dict[float, list[str]] = {}
    for name in protocol.algorithms:
        by_centre.setdefault(ALGORITHMS[name].centre, []).append(ALGORITHMS[name].title)
    several = len(by_centre) > 1
    return " and ".join(
        f"{c:g}" + (f" ({', '.join(names)})" if several else "") for c, names in by_centre.items()
    )


def _origin(records: Records) -> Iterator[Block]:
    yield Heading(2, "Machines, versions, commands")
    if not records:
        yield Text("No runs yet.")
    for what, counts in (
        ("Machine", _count(machine(r) for r in records.values())),
        ("Commit", _count(c for r in records.values() for c in map(_commit, r["commits"]))),
        ("Versions", _count(_versions(r["versions"]) for r in records.values())),
    ):
        for text, count in counts.items():
            yield Text(f"- {what}: {text} ({count} runs)")
    dirty = sum(bool(r["dirty"]) for r in records.values())
    if dirty:
        yield Text(
            f"- {dirty} runs were made while files of the checkout differed from the commit."
        )
    yield Text("Each record in `runs/` has the command of its run. All of it:")
    yield Text("    python -m trainers.reproduce all")
    if records:
        example = next(iter(records.values()))
        yield Text(f"One run: {example['dataset']}, {example['stage']}, {example['algorithm']}:")
        yield Text(f"    {example['command']}")


def _count(texts) -> dict[str, int]:
    counts: dict[str, int] = {}
    for text in texts:
        counts[text] = counts.get(text, 0) + 1
    return counts


def _commit(commit: str | None) -> str:
    return (commit or "unknown")[:12]


def _versions(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{k} {v}" for k, v in versions.items())


# Forms.


def to_markdown(content: Sequence[Block]) -> str:
    """The report for GitHub; figures by their file names."""
    text = "\n\n".join(_markdown(b) for b in content) + "\n"
    return re.sub(r"(?m)^(- .*)\n\n(?=- )", r"\1\n", text)


def _markdown(block: Block) -> str:
    if isinstance(block, Heading):
        return f"{'#' * block.level} {block.text}"
    if isinstance(block, Figure):
        return f"![{block.caption}]({block.path.name})\n\n*{block.caption}*"
    if isinstance(block, Text):
        return block.text
    rows = [block.head, ["---"] * len(block.head), *block.rows]
    lines = ["| " + " | ".join(c.replace("|", "\\|") for c in row) + " |" for row in rows]
    note = [f"\n{block.note}"] if block.note else []
    return "\n".join([f"**{block.title}**\n", *lines, *note])


# Cells of numbers and names, which are not broken into lines.
_SHORT = 30
_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem;
  color: #1b1b1b; background: #fff; }
table { border-collapse: collapse; font-size: 0.85rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding: 0.4rem 0; }
th, td { border-bottom: 1px solid #ccc; padding: 0.25rem 0.6rem; text-align: left;
  vertical-align: top; }
.short td { white-space: nowrap; }
.wide { overflow-x: auto; margin: 1rem 0; }
.note, figcaption { font-size: 0.85rem; color: #555; }
figure { margin: 1.5rem 0; }
img { max-width: 100%; background: #fff; border-radius: 4px; }
pre { overflow-x: auto; padding: 0.6rem; background: #f2f2f2; border-radius: 4px; }
@media (prefers-color-scheme: dark) {
  body { color: #ddd; background: #161616; }
  th, td { border-color: #444; }
  .note, figcaption { color: #aaa; }
  pre { background: #262626; }
}
"""


def to_html(content: Sequence[Block]) -> str:
    """The report as one file that needs no other: pictures are inside, there are no scripts."""
    title = next((b.text for b in content if isinstance(b, Heading)), "Report")
    body = "\n".join(_html(b) for b in content)
    body = re.sub(r"</li>\n<li>", "</li><li>", body)
    body = re.sub(r"(<li>.*</li>)", r"<ul>\1</ul>", body)
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n{body}\n"
        "</body>\n</html>\n"
    )


def _html(block: Block) -> str:
    if isinstance(block, Heading):
        return f"<h{block.level}>{_inline(block.text)}</h{block.level}>"
    if isinstance(block, Figure):
        data = base64.b64encode(block.path.read_bytes()).decode()
        text = html.escape(block.caption, quote=True)
        image = f'<img alt="{text}" src="data:image/png;base64,{data}">'
        return f"<figure>{image}<figcaption>{text}</figcaption></figure>"
    if isinstance(block, Text):
        if block.text.startswith("    "):
            return f"<pre><code>{html.escape(block.text.strip())}</code></pre>"
        if block.text.startswith("- "):
            return f"<li>{_inline(block.text[2:])}</li>"
        return f"<p>{_inline(block.text)}</p>"
    return _html_table(block)


def _html_table(table: Table) -> str:
    head = "".join(f'<th scope="col">{_inline(c)}</th>' for c in table.head)
    rows = "\n".join(
        "<tr>" + "".join(f"<td>{_inline(c)}</td>" for c in row) + "</tr>" for row in table.rows
    )
    note = f'<p class="note">{_inline(table.note)}</p>' if table.note else ""
    short = max((len(c) for row in table.rows for c in row), default=0) <= _SHORT
    kind = ' class="short"' if short else ""
    return (
        f'<div class="wide"><table{kind}><caption>{_inline(table.title)}</caption>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody></table>{note}</div>"
    )


def _inline(text: str) -> str:
    """Escaped, with **bold** and `code`."""
    escaped = html.escape(text, quote=False)
    escaped = re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", escaped)
    return re.sub(r"`(.+?)`", r"<code>\1</code>", escaped)
