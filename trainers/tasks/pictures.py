"""Pictures: scatter plots in the paper's style (real blue, generated red), sheets of images."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle

from trainers.system.files import write_atomically

if TYPE_CHECKING:
    from trainers.tasks.base import Panels

__all__ = [
    "FIGURE_1",
    "FIGURE_2",
    "Modes",
    "film",
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

_DPI = 150  # a panel of a scatter plot is 540 pixels wide
_SIDE = 512  # pixels of a grid of images, at least
_REACH = 5.0  # sigma around the enlarged mode
_PAUSE, _END = 120, 2_000  # milliseconds of a picture of a film, and of its last
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


class Modes(NamedTuple):
    """The modes of a distribution in the plane, of which one is shown enlarged.

    Attributes:
      centres: [k, 2].
      sigma: the standard deviation of each.
    """

    centres: np.ndarray
    sigma: float

    def fullest(self, samples: np.ndarray) -> int:
        """The mode with most of the samples [m, 2] nearby, of equal ones the first."""
        away = np.linalg.norm(samples[:, None] - self.centres[None], axis=2)
        return int((away < _REACH * self.sigma).sum(axis=0).argmax())


def scatter(
    path: Path,
    real: np.ndarray,
    rows: Panels,
    window,
    size: float = 3.6,
    atoms: Mapping[str, np.ndarray] = MappingProxyType({}),
    modes: Modes | None = None,
) -> Path:
    """Scatter plots, row by row; atomic.

    Args:
      path: the PNG.
      real: [n, 2], in each of them.
      rows: see `tasks.Panels`; samples [m, 2].
      window: (xmin, xmax, ymin, ymax).
      size: width of one in inches.
      atoms: by title, who drew each sample, int [m]; their colours. The real data are grey then.
      modes: shows one of them enlarged with its rings of 1 and 3 sigma, beside a single panel or
        below each of a row: the spread within a mode cannot be seen at full scale. It is the one
        with most samples of the last panel, in all of them the same.
    """
    close = _enlarged(rows, modes) if modes else None
    if close:
        rows = _with_close_ups(rows, close)

    def draw(ax, title, fake):
        if close and title in close:
            draw_close(ax, close[title], fake)
            return
        points(ax, title, fake, 2)
        ax.set(xlim=window[:2], ylim=window[2:], xticks=[], yticks=[], aspect="equal")

    def draw_close(ax, of, fake):
        assert modes
        centre, reach = modes.centres[of.mode], _REACH * modes.sigma
        points(ax, of.title, fake, 6)
        for k in (1, 3):
            ax.add_patch(Circle(tuple(centre), k * modes.sigma, fill=False, lw=0.8, ls="--"))
        (x, y) = centre
        ax.set(xlim=(x - reach, x + reach), ylim=(y - reach, y + reach), aspect="equal")
        ax.set(xticks=[], yticks=[])

    def points(ax, title, fake, s):
        atom = atoms.get(title)
        own = "tab:red" if atom is None else [_ATOMS[j % len(_ATOMS)] for j in atom]
        behind = "tab:blue" if atom is None else "0.7"
        for points, colour in ((real, behind), (fake, own)):
            if points is not None:
                ax.scatter(*points.T, s=s, c=colour, alpha=0.35, linewidths=0)

    shown = {name: f"mode {of.mode}: 1 and 3 sigma" for name, of in (close or {}).items()}
    coloured = any(panel and panel[0] in atoms for row in rows for panel in row)
    return _panels(path, rows, size, draw, _legend(coloured), shown)


class _CloseUp(NamedTuple):
    """An enlarged panel: the title of the one that it is of, and the mode."""

    title: str
    mode: int


def _enlarged(rows: Panels, modes: Modes) -> dict[str, _CloseUp]:
    """Title of an enlarged panel -> what it is of."""
    some = [panel for row in rows for panel in row if panel and panel[1] is not None]
    if not some:
        return {}
    mode = modes.fullest(np.asarray(some[-1][1]))
    return {f"{title}, enlarged": _CloseUp(title, mode) for title, _ in some}


def _with_close_ups(rows: Panels, close: Mapping[str, _CloseUp]) -> Panels:
    """The rows with an enlarged panel beside a single one, or below each."""
    names = {of.title: title for title, of in close.items()}
    found = []
    for row in rows:
        below = [
            panel and ((names[panel[0]], panel[1]) if panel[0] in names else None) for panel in row
        ]
        found += [[*row, *below]] if len(row) == 1 else [row, below]
    return found


def _legend(coloured: bool) -> list[Line2D]:
    """What the colours mean."""
    kinds = (
        [("0.7", "real"), ("tab:red", "generated, a colour for each generator")]
        if coloured
        else [("tab:blue", "real"), ("tab:red", "generated")]
    )
    return [Line2D([], [], marker="o", ls="", ms=4, color=c, label=label) for c, label in kinds]


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


def _panels(
    path: Path,
    rows: Panels,
    size: float,
    draw,
    legend: Sequence[Line2D] = (),
    shown: Mapping[str, str] = MappingProxyType({}),
) -> Path:
    width = max(len(row) for row in rows)
    room = 0.3 if legend else 0.0
    figure = Figure((size * width, (size + 0.2) * len(rows) + room), _DPI)
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
            ax.set_title(shown.get(title, title).replace("$", r"\$"), fontsize=9)
    with warnings.catch_warnings():
        # A name may be in a script that the font lacks: boxes, and no reason to say more.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.tight_layout(rect=(0.0, room / figure.get_figheight(), 1.0, 1.0))
        if legend:
            figure.legend(handles=legend, loc="lower center", ncols=2, fontsize=8, frameon=False)
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


def save_pixels(
    path: Path, sheet: np.ndarray, scale: int = 1, title: str = "", rows: Sequence[str] = ()
) -> Path:
    """Writes uint8 [H, W, 3] as a PNG; atomic.

    Args:
      path: the PNG.
      sheet: the pixels.
      scale: each is so many times as large.
      title: above them; "": none.
      rows: what each of as many equally high rows of the sheet shows, on their left.
    """
    from PIL import Image, ImageDraw, ImageFont

    picture = Image.fromarray(sheet.repeat(scale, axis=0).repeat(scale, axis=1))
    if title or rows:
        font = ImageFont.load_default(size=14)
        left = 12 + int(max(map(font.getlength, rows))) if rows else 0
        top = 26 if title else 0
        width = max(left + picture.width, 12 + int(font.getlength(title)))
        whole = Image.new("RGB", (width, top + picture.height), "white")
        whole.paste(picture, (left, top))
        pen = ImageDraw.Draw(whole)
        pen.text((6, 5), title, "black", font)
        for i, text in enumerate(rows):
            middle = top + (i + 0.5) * picture.height / len(rows)
            pen.text((6, middle), text, "black", font, anchor="lm")
        picture = whole
    return write_atomically(path, picture.save)


def grid(
    path: Path,
    images: np.ndarray,
    columns: int | None = None,
    title: str = "",
    rows: Sequence[str] = (),
) -> Path:
    """Writes images uint8 [n, S, S, C] as a square sheet, or with so many columns; atomic.

    It is at least 512 pixels wide, in whole multiples of the images' own. `title` and `rows`: see
    `save_pixels`.
    """
    columns = columns or int(np.ceil(np.sqrt(len(images))))
    sheet = tiles(images, columns)
    return save_pixels(path, sheet, max(1, -(-_SIDE // sheet.shape[1])), title, rows)


def film(path: Path, frames: Sequence[Path]) -> Path:
    """Pictures of one size as a GIF that begins again; atomic.

    Args:
      path: the GIF.
      frames: the pictures, at least one, in their order.
    """
    from PIL import Image

    # One palette for all, so that a colour is the same throughout.
    with Image.open(frames[-1]) as last:
        palette = last.convert("RGB").quantize(128)

    def read(frame: Path):
        with Image.open(frame) as picture:
            return picture.convert("RGB").quantize(palette=palette, dither=Image.Dither.NONE)

    def save(temporary: Path) -> None:
        first, rest = read(frames[0]), (read(frame) for frame in frames[1:])
        pauses = [_PAUSE] * (len(frames) - 1) + [_END]
        first.save(
            *(temporary, "GIF"),
            save_all=True,
            append_images=rest,
            duration=pauses if len(frames) > 1 else _END,
            loop=0,
            disposal=1,
        )

    return write_atomically(path, save)
