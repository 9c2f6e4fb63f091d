"""Scatter pictures in the paper's style: real blue, generated red, over a fixed window."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from trainers.files import write_atomically

__all__ = ["scatter", "scatter_axes"]

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
