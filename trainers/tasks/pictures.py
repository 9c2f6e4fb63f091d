"""Pictures: scatter plots in the paper's style (real blue, generated red), sheets of images."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from trainers.system.files import write_atomically

if TYPE_CHECKING:
    from trainers.tasks.base import Panels

__all__ = [
    "FIGURE_1",
    "FIGURE_2",
    "grid",
    "pairs",
    "panel_order",
    "plane",
    "save_pixels",
    "scatter",
    "sheets",
    "tiles",
    "window",
]

_DPI = 100
_PAIRED = 6  # columns of a pair plot
# Of atoms, in turn.
_ATOMS = (
    *("tab:red", "tab:green", "tab:purple", "tab:orange", "tab:cyan"),
    *("tab:brown", "tab:pink", "tab:olive", "tab:blue", "black"),
)
# The paper's Figure 1, row by row; others follow in further columns.
FIGURE_1 = (
    ("sgd", "optimistic_adam", "mirror_gan"),
    ("adam", "extra_adam", "mirror_prox_gan"),
)
# Its Figure 2; the last place is empty there.
FIGURE_2 = (
    ("rmsprop", "adam", "mirror_gan"),
    ("extra_adam", "alt_extra_adam", "mirror_prox_gan"),
)


def panel_order(
    algorithms: Sequence[str], places: Sequence[Sequence[str]] = FIGURE_1
) -> list[list[str | None]]:
    """The rows of the figure: the places of the paper's, the other algorithms behind them."""
    rows: list[list[str | None]] = [[n if n in algorithms else None for n in r] for r in places]
    others = [n for n in algorithms if not any(n in row for row in places)]
    half = -(-len(others) // 2)
    for row, extra in zip(rows, (others[:half], others[half:]), strict=True):
        row += extra + [None] * (half - len(extra))
    columns = [c for c in range(len(rows[0])) if any(row[c] for row in rows)]
    return [[row[c] for c in columns] for row in rows if any(row)]


def scatter(
    path: Path,
    real: np.ndarray,
    rows: Panels,
    window,
    size: float = 3.6,
    atoms: Mapping[str, np.ndarray] = MappingProxyType({}),
) -> Path:
    """Scatter plots, row by row; atomic.

    Args:
      path: the PNG.
      real: [n, 2], in each of them.
      rows: see `tasks.Panels`; samples [m, 2].
      window: (xmin, xmax, ymin, ymax).
      size: width of one in inches.
      atoms: by title, who drew each sample, int [m]; their colours. The real data are grey then.
    """

    def draw(ax, title, fake):
        atom = atoms.get(title)
        own = "tab:red" if atom is None else [_ATOMS[j % len(_ATOMS)] for j in atom]
        behind = "tab:blue" if atom is None else "0.7"
        for points, colour in ((real, behind), (fake, own)):
            if points is not None:
                ax.scatter(*points.T, s=2, c=colour, alpha=0.35, linewidths=0)
        ax.set(xlim=window[:2], ylim=window[2:], xticks=[], yticks=[], aspect="equal")

    return _panels(path, rows, size, draw)


def sheets(path: Path, rows: Panels, columns: int) -> Path:
    """Sheets of images, row by row; atomic.

    Args:
      path: the PNG.
      rows: see `tasks.Panels`; samples uint8 [n, S, S, C].
      columns: images side by side in a sheet.
    """

    def draw(ax, title, images):
        ax.axis("off")
        if images is not None:
            ax.imshow(tiles(images, columns, gap=1), interpolation="nearest")

    return _panels(path, rows, 3.4, draw)


def _panels(path: Path, rows: Panels, size: float, draw) -> Path:
    width = max(len(row) for row in rows)
    figure = Figure((size * width, (size + 0.2) * len(rows)), _DPI)
    axes = figure.subplots(len(rows), width, squeeze=False)
    for row, row_axes in zip(rows, axes, strict=True):
        padded = [*row, *[None] * (width - len(row))]
        for panel, ax in zip(padded, row_axes, strict=True):
            if panel is None:
                ax.axis("off")
                continue
            title, samples = panel
            draw(ax, title, samples)
            # A name of the user's may have dollars, which are no formula.
            ax.set_title(title.replace("$", r"\$"), fontsize=9)
    with warnings.catch_warnings():
        # A name may be in a script that the font lacks: boxes, and no reason to say more.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.tight_layout()
        return write_atomically(path, figure.savefig)


def plane(rows: np.ndarray) -> np.ndarray:
    """The first two columns of rows [n, ...]; of one column, twice the same: [n, 2]."""
    flat = np.asarray(rows).reshape(len(rows), -1)
    return flat[:, :2] if flat.shape[1] > 1 else flat[:, [0, 0]]


def window(rows: np.ndarray) -> tuple[float, float, float, float]:
    """(xmin, xmax, ymin, ymax) around the first two columns of real rows [n, ...]."""
    points = plane(rows)
    low, high = points.min(axis=0), points.max(axis=0)
    room = 0.1 * np.maximum(high - low, 1e-6)
    (x0, y0), (x1, y1) = low - room, high + room
    return float(x0), float(x1), float(y0), float(y1)


def pairs(
    path: Path,
    title: str,
    real: np.ndarray,
    fake: np.ndarray,
    atoms: np.ndarray | None = None,
) -> Path:
    """A pair plot of at most six columns: histograms on the diagonal, scatter below; atomic.

    Args:
      path: the PNG.
      title: of the figure.
      real: [n, ...], blue; grey where the fake have colours.
      fake: [m, ...], red, or the colour of their atom.
      atoms: who drew each fake row, int [m].

    Rows that are not finite are left out.
    """
    x, y = (
        np.asarray(rows, np.float64).reshape(len(rows), -1)[:, :_PAIRED] for rows in (real, fake)
    )
    finite = np.isfinite(y).all(axis=1)
    y, atoms = y[finite], None if atoms is None else np.asarray(atoms)[finite]
    d = x.shape[1]
    own = "tab:red" if atoms is None else [_ATOMS[j % len(_ATOMS)] for j in atoms]
    behind = "tab:blue" if atoms is None else "0.7"
    low, high = x.min(axis=0), x.max(axis=0)
    room = 0.1 * np.maximum(high - low, 1e-6)
    low, high = low - room, high + room
    figure = Figure((max(1.6 * d, 3.6), max(1.6 * d, 3.6) + 0.3), _DPI)
    axes = figure.subplots(d, d, squeeze=False)
    for i in range(d):
        for j in range(d):
            ax = axes[i, j]
            if j > i:
                ax.axis("off")
            elif i == j:
                bins = np.linspace(low[i], high[i], 41)
                for rows, colour in ((x, behind), (y, "tab:red")):
                    if len(rows):
                        ax.hist(rows[:, i], bins, density=True, histtype="step", color=colour)
                ax.set(xlim=(low[i], high[i]), xticks=[], yticks=[])
                ax.set_ylabel(str(i), fontsize=7)
            else:
                for rows, colour in ((x, behind), (y, own)):
                    ax.scatter(rows[:, j], rows[:, i], s=1, c=colour, alpha=0.35, linewidths=0)
                ax.set(xlim=(low[j], high[j]), ylim=(low[i], high[i]), xticks=[], yticks=[])
    figure.suptitle(title, fontsize=9)
    figure.tight_layout()
    return write_atomically(path, figure.savefig)


def tiles(images: np.ndarray, columns: int, gap: int = 2) -> np.ndarray:
    """Images uint8 [n, S, S, C] side by side, row by row: uint8 [H, W, 3], white between them."""
    n, size = images.shape[:2]
    rows = -(-n // columns)
    sheet = np.full((rows * (size + gap) + gap, columns * (size + gap) + gap, 3), 255, np.uint8)
    for i, image in enumerate(images):
        top, left = (gap + (size + gap) * k for k in divmod(i, columns))
        sheet[top : top + size, left : left + size] = image  # one channel fills all three
    return sheet


def save_pixels(path: Path, sheet: np.ndarray, scale: int = 1) -> Path:
    """Writes uint8 [H, W, 3] as a PNG, each pixel `scale` times as large; atomic."""
    from PIL import Image

    large = sheet.repeat(scale, axis=0).repeat(scale, axis=1)
    return write_atomically(path, lambda temporary: Image.fromarray(large).save(temporary))


def grid(path: Path, images: np.ndarray, columns: int | None = None) -> Path:
    """Writes images uint8 [n, S, S, C] as a square sheet, or with so many columns; atomic."""
    columns = columns or int(np.ceil(np.sqrt(len(images))))
    return save_pixels(path, tiles(images, columns), scale=max(1, 64 // images.shape[1]))
