"""Tables of the committed records, as Markdown: what `<!-- rendered: NAME -->` stands for."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from typing import Any

from benchmarks import ablation, capacity_game, particles_study, studies
from benchmarks.pages.code import ROOT
from benchmarks.studies import markdown
from trainers.campaigns.cells import over
from trainers.campaigns.study.protocol import ALGORITHMS, PROTOCOLS, planned
from trainers.campaigns.study.records import load
from trainers.campaigns.study.tables import METRICS, Stage, show
from trainers.system import names

__all__ = ["REGIONS", "line_of", "particles", "speed", "study"]

_STUDY = ROOT / "docs/results/study"
_SHOWN = ("high_quality_3sigma", "std_ratio", "reverse_kl", "wasserstein2")
_MIRRORS = ("mirror_gan", "mirror_prox_gan")


@functools.cache
def study() -> Mapping[str, Mapping[str, Any]]:
    """The records of the study, by key."""
    return planned(PROTOCOLS["full"], load(_STUDY))


@functools.cache
def _stage(data: str, stage: str) -> Stage:
    return Stage(study(), PROTOCOLS["full"], data, stage)


@functools.cache
def _summaries(data: str, stage: str, answer: str) -> Mapping[str, Mapping[str, Any]]:
    return _stage(data, stage).summaries(answer)


def line_of(data: str, stage: str, answer: str, name: str) -> tuple[list[str], list[str]]:
    """(headings, cells) of an algorithm's answer in a stage of the study; name "": real data."""
    metrics = {key: METRICS[key] for key in _SHOWN}
    head = [f"{m.title} ({m.wish})" for m in metrics.values()]
    if not name:
        real = _stage(data, stage).real
        return head, [show(over([real.get(k)]), m) for k, m in metrics.items()]
    row = _summaries(data, stage, answer)[name]
    return head, [show(row[k], m) for k, m in metrics.items()]


def _mixtures(data: str, stage: str) -> str:
    head, rows = ["algorithm"], []
    for name, one in ALGORITHMS.items():
        titles, cells = line_of(data, stage, "mixture", name)
        head = ["algorithm", *titles]
        rows.append([f"**{one.title}**" if name in _MIRRORS else one.title, *cells])
    rows.append(["real data", *line_of(data, stage, "mixture", "")[1]])
    return markdown(head, rows)


def speed() -> str:
    """Milliseconds a mini-batch of every algorithm, from the records of benchmarks.step."""
    found = {}
    for batch in (64, 256):
        text = (ROOT / f"docs/results/step_all_{batch}.json").read_text()
        for one in json.loads(text)["results"]:
            if one["algorithm"] in names.algorithms():
                found.setdefault(one["algorithm"], {})[batch] = one["ms"]["median"]
    known = names.algorithms()
    rows = [
        [known[name][0], *(f"{found[name][b]:.1f}" if b in found[name] else "-" for b in (64, 256))]
        for name in known
        if name in found
    ]
    return markdown(["algorithm", "batch 64, ms a mini-batch", "batch 256"], rows)


def particles() -> str:
    """What several generators give beside one, of the records of benchmarks.particles_study."""
    runs = _runs(particles_study.STUDY)

    def said(name: str) -> str:
        cards = [one["answers"]["mixture"] for one in runs[name].values()]
        numbers = (
            f"{METRICS[key].title} {show(over([c.get(key) for c in cards]), METRICS[key])}"
            for key in ("high_quality_3sigma", "std_ratio", "principal_std_log", "law_distance")
        )
        return f"{', '.join(numbers)} ({len(cards)} seed{'s' * (len(cards) > 1)})"

    return (
        f"**Eight generators against one critic** (`make run`): {said('widths_8')}. One generator "
        f"with as many parameters and the same settings: {said('widths_1')} "
        "([when several help](docs/when.md))."
    )


def _runs(study: studies.Study) -> dict[str, Any]:
    return json.loads((ROOT / study.records).read_text())["runs"]


def _algorithms(prefix: str = "") -> str:
    """Name, title and source of the registry, a link to each page."""
    rows = [
        [f"[{title}]({prefix}algorithms/{name}.md)", f"`{name}`", source]
        for name, (title, source) in names.algorithms().items()
    ]
    return markdown(["algorithm", "`--config.algorithm=`", "source"], rows)


def _capacity(name: str) -> str:
    return capacity_game.tables()[name]


def _particles_stage(stage: str) -> str:
    return studies.table(particles_study.STUDY, stage, _runs(particles_study.STUDY))


def _keys() -> str:
    from trainers.system.discovery import KEYS, defaults

    rows = [[f"`{key}`", defaults()[key], meaning] for key, meaning in KEYS.items()]
    return markdown(["key", "default", "what it is"], rows)


# What may stand between the marks.
REGIONS: Mapping[str, Callable[[], str]] = {
    "algorithms": lambda: _algorithms("docs/"),
    "study gaussians8": lambda: _mixtures("gaussians8", "final"),
    "study swissroll": lambda: _mixtures("swissroll", "final"),
    "study gaussians25": lambda: _mixtures("gaussians25", "final"),
    "study gaussians25 large": lambda: _mixtures("gaussians25", "large"),
    "particles": particles,
    **{
        f"particles, {stage}": functools.partial(_particles_stage, stage)
        for stage in ("widths", "default", "ring", "seconds", "controls", "grid")
    },
    "speed of all": speed,
    "ablation": lambda: ablation.tables(_runs(ablation.STUDY)),
    **{
        f"capacity game, {name}": functools.partial(_capacity, name)
        for name in ("least", "short", "numbers", "claims", "comparisons")
    },
    "keys": _keys,
}
