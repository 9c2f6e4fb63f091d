"""What a sweep writes of its trials: best.json, trials.json, a table, a line for each."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainers.campaigns.search.space import Objective
from trainers.reports import html
from trainers.system.files import write_atomically, write_json

if TYPE_CHECKING:
    from trainers.campaigns.search.plan import Plan
    from trainers.campaigns.search.spec import Trial

__all__ = ["best", "progress", "table", "write"]


def best(trials: Sequence[Trial], objective: Objective) -> Trial | None:
    """The best trial, of equal ones the first; None if none has a value."""
    values = [(trial.value, trial) for trial in trials if trial.value is not None]
    return objective.best(values)[1] if values else None


def write(output: Path, trials: Sequence[Trial], plan: Plan, trainer: Sequence[str]) -> None:
    """Writes trials.json and report.html, and best.json once there is one."""
    write_json(output / "trials.json", [_facts(trial) for trial in trials])
    head, rows = _rows(trials, plan.objective)
    blocks: list[html.Block] = [html.Table(head, rows, "Trials, the best first")]
    if top := best(trials, plan.objective):
        job = plan.job("", top.params, top.workdir, trainer)
        content = {
            "study": plan.study_name,
            "objective": plan.looked_for,
            "value": top.value,
            "strategy": top.answer,
            "trial": top.number,
            "workdir": str(top.workdir),
            "params": top.params,
            "command": shlex.join(job.command()),
        }
        write_json(output / "best.json", content)
        blocks += [html.Text("The run of the best:"), html.Code(content["command"])]
    page = html.page(f"Sweep {plan.study_name}", [html.Text(_looked_for(plan)), *blocks], [])
    write_atomically(output / "report.html", lambda path: path.write_text(page, encoding="utf-8"))


def _looked_for(plan: Plan) -> str:
    way = "largest" if plan.objective.maximize else "smallest"
    return f"Looked for: the {way} `{plan.objective.metric}` of an answer."


def _facts(trial: Trial) -> dict[str, Any]:
    return {
        "number": trial.number,
        "params": trial.params,
        "state": trial.state,
        "value": trial.value,
        "strategy": trial.answer,
        "workdir": str(trial.workdir),
        "seconds": trial.seconds,
        "scores": trial.scores,
    }


def progress(trial: Trial, trials: Sequence[Trial], plan: Plan) -> str:
    """A line for a trial that has ended."""
    ended = sum(t.state != "running" for t in trials)
    result = trial.state
    if trial.value is not None:
        result = f"{plan.objective.metric} {trial.value:.4g} ({trial.answer})"
    top = best(trials, plan.objective)
    record = f"; best {top.value:.4g} (trial {top.number})" if top else ""
    return (
        f"[{ended}/{max(plan.limit, len(trials))}] trial {trial.number}: {result}, "
        f"{_params(trial.params)}, {trial.seconds:.0f} s{record}"
    )


def _rows(trials: Sequence[Trial], objective: Objective) -> tuple[list[str], list[list[str]]]:
    """(headings, cells), the best first, those without a value last."""
    valued = [t for t in trials if t.value is not None]
    valued.sort(key=lambda t: -t.value if objective.maximize else t.value)  # pyright: ignore
    others = [t for t in trials if t.value is None]
    keys = list(dict.fromkeys(key for t in trials for key in t.params))
    head = ["trial", "state", objective.metric, "answer", *keys, "seconds"]
    rows = []
    for t in [*valued, *others]:
        value = "-" if t.value is None else f"{t.value:.4f}"
        params = [_text(t.params[key]) if key in t.params else "-" for key in keys]
        rows.append([str(t.number), t.state, value, t.answer or "-", *params, f"{t.seconds:.0f}"])
    return head, rows


def table(trials: Sequence[Trial], objective: Objective) -> str:
    """The trials as text, the best first, those without a value last."""
    head, rows = _rows(trials, objective)
    rows = [head, *rows]
    widths = [max(len(row[c]) for row in rows) for c in range(len(head))]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    )


def _params(params: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={_text(value)}" for key, value in params.items())


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
