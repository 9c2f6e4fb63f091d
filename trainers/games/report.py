"""The report of a solved game: its JSON, a table, the gap over steps, and the strategies."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from tf_mixed_nash.solvers.solution import Solution
from trainers.reports import html
from trainers.system.files import write_atomically

__all__ = ["draw_gaps", "draw_strategies", "markdown", "page", "plain", "slope", "to_json"]

_DPI = 100
# Below this a gap is rounding, and its slope says nothing.
_FLOOR = 1e-10
_ATOMS_SHOWN = 12


def to_json(game, solution: Solution) -> dict[str, Any]:
    """The content of solution.json, of plain values.

    Atoms of weight 0 are left out. Labels of pure strategies are added where the game has
    them.
    """

    def side(letter, measure, labels):
        kept = measure.weights > 0
        atoms = measure.atoms[kept]
        content = {f"{letter}_atoms": atoms.tolist(), f"{letter}_weights": measure.weights[kept]}
        if labels is not None:
            content[f"{letter}_labels"] = [labels[int(i)] for i in atoms[:, 0]]
        return content

    return plain(
        {
            **side("x", solution.nu, getattr(game, "column_labels", None)),
            **side("y", solution.mu, getattr(game, "row_labels", None)),
            "value": solution.value,
            "gap": solution.gap,
            "certificate": solution.certificate,
            "method": solution.method,
            "game": game.name,
            "history": dict(solution.history),
            "details": dict(solution.details),
            **({"payoffs": game.payoffs(solution)} if hasattr(game, "payoffs") else {}),
        }
    )


def plain(content: Any) -> Any:
    """The content as JSON reads it back: lists for arrays, numbers for NumPy's."""
    if isinstance(content, Mapping):
        return {str(k): plain(v) for k, v in content.items()}
    if isinstance(content, (list, tuple)):
        return [plain(v) for v in content]
    if hasattr(content, "tolist"):
        return plain(content.tolist())
    return content if isinstance(content, (str, int, float, bool, type(None))) else str(content)


def slope(steps: np.ndarray, gaps: np.ndarray, first: float = 0.1) -> float:
    """The exponent of steps in a least-squares fit of log gap over the end of a run.

    Args:
      steps: [k], positive.
      gaps: [k].
      first: the fit begins at this fraction of the last step whose gap is not yet rounding.

    Returns:
      The slope, NaN where fewer than 3 points are left.
    """
    steps, gaps = np.asarray(steps, float), np.asarray(gaps, float)
    usable = (steps > 0) & np.isfinite(gaps) & (gaps > _FLOOR)
    if not usable.any():
        return float("nan")
    usable &= steps >= first * steps[usable].max()
    if usable.sum() < 3:
        return float("nan")
    return float(np.polyfit(np.log(steps[usable]), np.log(gaps[usable]), 1)[0])


def markdown(game, solutions: Mapping[str, Solution], seconds: Mapping[str, float], best: str):
    """The text of report.md: one line for each method, then the atoms of the best."""
    lines = [
        f"# {game.name}",
        "",
        "| method | value | gap | slope of the gap | steps | atoms x / y | seconds |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, s in solutions.items():
        k = slope(s.history["step"], s.history["gap"])
        counts = " / ".join(str(int((m.weights > 0).sum())) for m in (s.nu, s.mu))
        lines.append(
            f"| {name}{' *' * (name == best and len(solutions) > 1)} | {_rounded(s.value)} "
            f"| {s.gap:.2e} "
            f"| {'-' if np.isnan(k) else f'{k:.2f}'} | {int(s.history['step'][-1])} | {counts} "
            f"| {seconds[name]:.1f} |"
        )
    s = solutions[best]
    lines += ["", f"Gap: {s.certificate}.", "Slope: of log gap over log steps, last decade."]
    for title, measure, labels in (
        ("x, who minimises", s.nu, getattr(game, "column_labels", None)),
        ("y, who maximises", s.mu, getattr(game, "row_labels", None)),
    ):
        lines += ["", f"## {title}", "", "| weight | atom |", "|---|---|"]
        order = np.argsort(-measure.weights, kind="stable")
        for i in order[:_ATOMS_SHOWN]:
            if measure.weights[i] > 0:
                lines.append(f"| {measure.weights[i]:.4f} | {_atom(measure.atoms[i], labels)} |")
        rest = measure.weights[order[_ATOMS_SHOWN:]]
        if (rest > 0).any():
            lines.append(f"| {rest.sum():.4f} | {int((rest > 0).sum())} others |")
    if hasattr(game, "payoffs"):
        lines += ["", "## Payoffs", "", "| player | payoff | regret |", "|---|---|---|"]
        for player, found in game.payoffs(s).items():
            lines.append(f"| {player} | {_rounded(found['payoff'])} | {found['regret']:.2e} |")
    return "\n".join(lines) + "\n"


def page(text: str, folder: Path) -> str:
    """The text of report.html: `markdown`'s text with the pictures of the folder."""
    figures = (
        ("gap.png", "The duality gap over the steps of each method"),
        ("strategies.png", "The strategies of the best"),
    )
    parts = [text, *(f"![{caption}]({name})\n\n*{caption}*\n" for name, caption in figures)]
    return html.from_markdown("\n".join(parts), folder)


def _rounded(value: float) -> str:
    """Six digits; rounding errors around 0 are 0."""
    return f"{round(value, 12) + 0.0:.6g}"


def _atom(z: np.ndarray, labels) -> str:
    if labels is not None:
        return str(labels[int(z[0])])
    return ", ".join(_rounded(v) for v in z)


def draw_gaps(path: Path, game, solutions: Mapping[str, Solution]) -> Path:
    """The gap of every method over its steps, log-log, with fitted slopes."""
    figure = Figure((5.2, 3.8), _DPI)
    axes = figure.subplots()
    for name, s in solutions.items():
        steps, gaps = np.asarray(s.history["step"], float), np.asarray(s.history["gap"], float)
        shown = (steps > 0) & (gaps > 0)
        k = slope(steps, gaps)
        label = name if np.isnan(k) else f"{name}, slope {k:.2f}"
        axes.loglog(steps[shown], gaps[shown], "o-", markersize=3, linewidth=1, label=label)
    axes.set(xlabel="steps", ylabel="duality gap", title=_plain(game.name))
    axes.grid(visible=True, which="major", alpha=0.3)
    axes.legend(fontsize=8)
    return _save(figure, path)


def draw_strategies(path: Path, game, solution: Solution) -> Path:
    """Both measures: bars of pure strategies; on sets the densities (grids) or the atoms."""
    figure = Figure((8.4, 3.4), _DPI)
    sides = (
        ("x (minimises)", solution.nu, "column_labels", "x_set"),
        ("y (maximises)", solution.mu, "row_labels", "y_set"),
    )
    for i, (axes, (title, measure, labels, box)) in enumerate(
        zip(figure.subplots(1, 2), sides, strict=True)
    ):
        own: Any = getattr(game, box, None)
        if "densities" in solution.details:
            density, widths = (np.asarray(solution.details[k][i]) for k in ("densities", "widths"))
            _draw_density(axes, measure.atoms, widths, density, own)
        else:
            _draw_measure(axes, measure, getattr(game, labels, None), own)
        axes.set_title(f"{title}", fontsize=9)
    figure.suptitle(
        f"{_plain(game.name)}: value {_rounded(solution.value)}, gap {solution.gap:.1e}",
        fontsize=10,
    )
    return _save(figure, path)


def _draw_measure(axes, measure, labels, box) -> None:
    kept = measure.weights > 0
    atoms, weights = measure.atoms[kept], measure.weights[kept]
    if box is None:
        heaviest = np.sort(np.argsort(-weights, kind="stable")[:40])
        names = [_plain(str(labels[int(i)])) if labels else str(int(i)) for i in atoms[heaviest, 0]]
        axes.bar(range(len(heaviest)), weights[heaviest])
        axes.set_xticks(range(len(heaviest)), names, rotation=90, fontsize=6)
        axes.set_ylabel("weight")
    elif box.dim == 1:
        axes.vlines(atoms[:, 0], 0.0, weights, linewidth=2)
        axes.plot(atoms[:, 0], weights, "o", markersize=3)
        axes.set_ylabel("weight")
        _frame(axes, box)
    else:  # the first two coordinates
        axes.scatter(atoms[:, 0], atoms[:, 1], s=4 + 400 * weights / weights.max(), alpha=0.5)
        _frame(axes, box)


def _draw_density(axes, centres, widths, density, box) -> None:
    """The density of every cell: steps on a line, coloured cells in the plane."""
    if box.dim == 1:
        order = np.argsort(centres[:, 0])
        edges = centres[order, 0] - widths[order, 0] / 2
        # With outlines: refined cells are narrower than a pixel.
        axes.stairs(density[order], np.append(edges, box.upper[0]), fill=True, ec="C0", lw=1)
        axes.set_ylabel("density")
    else:
        corners = centres - widths / 2
        cells = [Rectangle((c[0], c[1]), w[0], w[1]) for c, w in zip(corners, widths, strict=True)]
        drawn = axes.add_collection(PatchCollection(cells, linewidths=0))
        drawn.set_array(density)
        axes.figure.colorbar(drawn, ax=axes, label="density")
    _frame(axes, box)


def _frame(axes, box) -> None:
    """The set with a margin, so that atoms on its boundary are seen."""
    margin = 0.04 * box.width
    axes.set_xlim(box.lower[0] - margin[0], box.upper[0] + margin[0])
    axes.xaxis.set_major_locator(MaxNLocator(5))
    if box.dim == 1:
        axes.set_ylim(0.0, None)
    else:
        axes.set_ylim(box.lower[1] - margin[1], box.upper[1] + margin[1])


def _plain(text: str) -> str:
    """A user's name, in which a dollar is no formula."""
    return text.replace("$", r"\$")


def _save(figure, path: Path) -> Path:
    with warnings.catch_warnings():
        # Names may be in a script that the font lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.tight_layout()
        return write_atomically(path, figure.savefig)
