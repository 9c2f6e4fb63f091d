"""Pictures: scatter plots in the paper's style (real blue, generated red), sheets of images."""

from __future__ import annotations

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
    "panel_order",
    "save_pixels",
    "scatter",
    "sheets",
    "tiles",
]

_DPI = 100
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
            ax.set_title(title, fontsize=9)
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
