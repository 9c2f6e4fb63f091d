"""Figures of the study, from its records alone: samples, quality over time, sweeps."""

from __future__ import annotations

import io
import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from trainers.campaigns.study.protocol import ALGORITHMS, Protocol, Records, choose
from trainers.campaigns.study.records import DIVERGED, read_samples, select
from trainers.campaigns.study.tables import METRICS, Stage
from trainers.system.files import write_atomically
from trainers.tasks import pictures

__all__ = ["draw_curves", "draw_samples", "draw_sweep", "real_points"]

_DPI = 90
_NUM_COLOURS = 96
_SIZE = 2.4  # inches of a panel of samples, of eight in a figure
# Of the curves, after the objective, which is of fewer samples there: W2 of 500 is larger.
_CURVES = ("high_quality_3sigma", "std_ratio")
# A colour of each algorithm in all figures (Okabe and Ito's, told apart by the colour-blind; the
# last four are of Tol's muted ones).
_COLOURS = ("#000000", "#e69f00", "#56b4e9", "#009e73", "#d55e00", "#cc79a7", "#0072b2", "#999999",
            "#332288", "#882255", "#44aa99", "#ddcc77")  # fmt: skip
_COLOUR = dict(zip(ALGORITHMS, _COLOURS, strict=True))


def real_points(dataset: str, count: int, seed: int = 0) -> tuple[np.ndarray, float]:
    """Real samples [count, 2] and the half width of their picture.

    As trainers.data.synthetic, which loads TensorFlow; other draws of the same law.
    """
    random = np.random.default_rng(seed)
    if dataset == "swissroll":
        t = 1.5 * math.pi * (1 + 2 * random.random(count))
        curve = np.stack([t * np.cos(t), t * np.sin(t)], 1)
        return (curve + 0.25 * random.standard_normal((count, 2))) / 7.5, 2.4
    modes = _modes(dataset)
    assert modes
    centres = modes.centres[random.integers(len(modes.centres), size=count)]
    points = centres + modes.sigma * random.standard_normal((count, 2))
    return points, 1.25 * float(np.abs(modes.centres).max())


def _modes(dataset: str) -> pictures.Modes | None:
    """Where the Gaussians are, as they are trained on; the roll has none."""
    if dataset == "gaussians8":
        angle = 2 * math.pi * np.arange(8) / 8
        return pictures.Modes(2 * np.stack([np.cos(angle), np.sin(angle)], 1) / 1.414, 0.02 / 1.414)
    if dataset == "gaussians25":
        side = 2.0 * np.arange(-2, 3)
        centres = np.stack(np.meshgrid(side, side, indexing="ij"), -1).reshape(-1, 2)
        return pictures.Modes(centres / 2.828, 0.05 / 2.828)
    return None


def draw_samples(path: Path, stage: Stage, answer: str, results: Path) -> Path | None:
    """Seed 0 of every algorithm, in the places of the paper's Figure 1; None without any.

    Below each row is the mode of the Gaussians that most samples of the last panel are near,
    enlarged, with its rings of 1 and 3 sigma.
    """
    found: dict[str, np.ndarray | None] = {}
    for name in stage.protocol.algorithms:
        for record in select(stage.runs(name), seed=0):
            samples = read_samples(results, record).get(answer)
            if samples is not None or record["status"] == DIVERGED:
                found[name] = samples
    if not found:
        return None

    def panel(name: str | None):
        if name is None:
            return None
        title = ALGORITHMS[name].title
        return title if found[name] is not None else f"{title} (diverged)", found[name]

    rows = [[panel(name) for name in row] for row in pictures.panel_order(list(found))]
    real, reach = real_points(stage.dataset, 1_000)
    window = (-reach, reach, -reach, reach)
    with tempfile.TemporaryDirectory() as folder:
        drawn = Path(folder) / "drawn.png"
        pictures.scatter(drawn, real, rows, window, _SIZE, modes=_modes(stage.dataset))
        return _few_colours(drawn, path)


def draw_curves(path: Path, stage: Stage, answer: str) -> Path | None:
    """Quality against mini-batches (above) and training seconds (below); None without curves.

    A line is the mean over seeds with a band of one standard error; the seconds are of the runs
    on one machine, which is named. A star is the mixture's value at the end.
    """
    curves = (stage.protocol.objective, *_CURVES)
    figure = Figure((4.2 * len(curves), 6.6), _DPI)
    axes = figure.subplots(2, len(curves))
    drawn = False
    for axis, row in zip(("step", "seconds"), axes, strict=True):
        for name in stage.protocol.algorithms:
            runs = stage.done(name) if axis == "step" else stage.timed(name)
            for metric, ax in zip(curves, row, strict=True):
                drawn |= _line(ax, runs, axis, answer, metric, name)
        for metric, ax in zip(curves, row, strict=True):
            _frame(ax, metric, axis, stage.real)
    if not drawn:
        return None
    axes[0][0].legend(fontsize=7)
    where = stage.main_machine
    seconds = f"seconds of {where}" if where else "no times"
    figure.suptitle(
        f"{stage.dataset}, {answer} (star: the mixture at the end)\n{seconds}", fontsize=9
    )
    return _save(figure, path)


def _line(ax, runs: Sequence[Mapping[str, Any]], axis: str, answer: str, metric: str, name: str):
    curves = [r["curve"] for r in runs if r["curve"]["scores"].get(answer, {}).get(metric)]
    if not curves:
        return False
    steps = curves[0]["step"]
    curves = [c for c in curves if c["step"] == steps]  # of one length, so that they have a mean
    y = np.array([c["scores"][answer][metric] for c in curves], float)
    x = np.array([c[axis] for c in curves], float).mean(axis=0)
    mean = y.mean(axis=0)
    ax.plot(x, mean, color=_COLOUR[name], linewidth=1.2, label=ALGORITHMS[name].title)
    if len(curves) > 1:
        spread = y.std(axis=0, ddof=1) / math.sqrt(len(curves))
        ax.fill_between(x, mean - spread, mean + spread, color=_COLOUR[name], alpha=0.2, lw=0)
    ends = [c["scores"].get("mixture", {}).get(metric, [None])[-1] for c in curves]
    ends = [e for e in ends if e is not None]
    if ends:
        ax.plot(x[-1], np.mean(ends), "*", color=_COLOUR[name], markersize=8)
    return True


def _frame(ax, metric: str, axis: str, real: Mapping[str, Any]) -> None:
    labels = {"step": "mini-batches", "seconds": "training seconds"}
    ax.set(xlabel=labels[axis], ylabel=METRICS[metric].title)
    if metric not in _CURVES:
        ax.set_yscale("log")
    elif real.get(metric) is not None:  # W2 of the curves is of fewer samples than the card's
        ax.axhline(real[metric], color="grey", linestyle=":", linewidth=1)
        ax.set_ylim(0.0, 1.05 if metric == "high_quality_3sigma" else 2.0)
    ax.grid(visible=True, which="major", alpha=0.3)


def draw_sweep(path: Path, records: Records, protocol: Protocol, dataset: str) -> Path | None:
    """The objective of the sweep against the step size; None without any run."""
    figure = Figure((6.0, 4.0), _DPI)
    ax = figure.subplots()
    for name in protocol.algorithms:
        choice = choose(protocol, dataset, name, records, partial=True)
        if choice is None or choice.step_size is None:
            continue
        tried = [(t.candidate.step_size, t.value) for t in choice.trials]
        finite = [(s, v) for s, v in tried if math.isfinite(v)]
        if finite:
            label = ALGORITHMS[name].title
            # Neighbours of a search differ in more than their step size.
            marks = "o" if protocol.trials else "o-"
            ax.loglog(*zip(*finite, strict=True), marks, ms=4, lw=1.2, color=_COLOUR[name])
            ax.plot([], [], "o-", ms=4, color=_COLOUR[name], label=label)
            ax.plot([choice.step_size], [choice.value], "o", ms=10, mfc="none", color=_COLOUR[name])
    if not ax.lines:
        return None
    real = Stage(records, protocol, dataset, "sweep").real
    name = METRICS[protocol.objective].title
    if real.get(protocol.objective):
        ax.axhline(real[protocol.objective], color="grey", linestyle=":", label="real data")
    title = f"{dataset}: best {name} of the three answers (circle: chosen; diverged: no dot)"
    ax.set(xlabel="step size", ylabel=name)
    ax.set_title(title, fontsize=9)
    ax.grid(visible=True, which="both", alpha=0.3)
    ax.legend(fontsize=7)
    return _save(figure, path)


def _save(figure: Figure, path: Path) -> Path:
    figure.tight_layout()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return _few_colours(buffer, path)


def _few_colours(picture: io.BytesIO | Path, path: Path) -> Path:
    """A palette: the figures are committed, and of a quarter of the size so."""
    with Image.open(picture) as whole:
        few = whole.convert("RGB").quantize(_NUM_COLOURS)
    return write_atomically(path, lambda temporary: few.save(temporary, optimize=True))
