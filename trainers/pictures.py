"""Pictures: scatter plots in the paper's style (real blue, generated red), sheets of images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from trainers.files import write_atomically

__all__ = ["grid", "save_pixels", "scatter", "scatter_axes", "sheets", "tiles"]

_DPI = 100


def scatter_axes(axes, real: np.ndarray, fake: np.ndarray, window, title: str) -> None:
    """Draws real [n, 2] and generated [m, 2] points on matplotlib axes."""
    axes.scatter(real[:, 0], real[:, 1], s=2, c="tab:blue", alpha=0.35, linewidths=0)
    axes.scatter(fake[:, 0], fake[:, 1], s=2, c="tab:red", alpha=0.35, linewidths=0)
    axes.set(xlim=window[:2], ylim=window[2:], xticks=[], yticks=[], aspect="equal")
    axes.set_title(title, fontsize=9)


def scatter(path: Path, real: np.ndarray, panels: Mapping[str, np.ndarray], window) -> Path:
    """A row of scatter pictures, one for each titled set of generated points; atomic."""
    figure, axes = plt.subplots(
        1, len(panels), figsize=(3.6 * len(panels), 3.8), dpi=_DPI, squeeze=False
    )
    for ax, (title, fake) in zip(axes[0], panels.items(), strict=True):
        scatter_axes(ax, real, fake, window, title)
    figure.tight_layout()
    write_atomically(path, lambda temporary: figure.savefig(temporary))
    plt.close(figure)
    return path


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


def sheets(path: Path, rows: Sequence[Mapping[str, np.ndarray | None]], columns: int) -> Path:
    """Titled sheets of images side by side, row by row; atomic.

    Args:
      path: the PNG.
      rows: title -> images uint8 [n, S, S, C]; an empty sheet for None.
      columns: images side by side in a sheet.
    """
    width = max(len(row) for row in rows)
    figure, axes = plt.subplots(
        len(rows), width, figsize=(3.4 * width, 3.6 * len(rows)), dpi=_DPI, squeeze=False
    )
    for row, row_axes in zip(rows, axes, strict=True):
        for ax in row_axes:
            ax.axis("off")
        for (title, images), ax in zip(row.items(), row_axes, strict=False):
            ax.set_title(title, fontsize=10)
            if images is not None:
                ax.imshow(tiles(images, columns, gap=1), interpolation="nearest")
    figure.tight_layout()
    write_atomically(path, lambda temporary: figure.savefig(temporary))
    plt.close(figure)
    return path
