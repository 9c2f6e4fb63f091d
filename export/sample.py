"""Draws from a published model: a picture, or the samples as a NumPy file or a table.

    python -m export.sample --model=BASE/NAME --num=64 --seed=0 --output=samples.png
    python -m export.sample --model=BASE/NAME/3 --num=10000 --seed=0 --output=samples.npy
    python -m export.sample --model=BASE/NAME --num=1000 --seed=0 --output=samples.csv

--model is a model's folder (its newest version is used) or one version. "n samples of seed s"
are the same samples whatever n: a larger --num adds to them. Needs TensorFlow, NumPy and
matplotlib, and neither Keras nor this project's models.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from export import publish, runtime
from tf_mixed_nash.errors import InputError
from trainers.system import cli
from trainers.system.files import write_atomically

__all__ = ["draw", "draw_picture", "write_samples"]

_CHUNK = 1024
_SUFFIXES = (".png", ".npy", ".csv")
_SIDE = 512  # pixels of a picture of images, at least
_REACH = 5.0  # sigma around the enlarged mode


def draw(model: runtime.ServedModel, signature: str, seed: int, num: int) -> np.ndarray:
    """The first `num` samples of `seed`: float32 [num, ...].

    Args:
      model: a loaded version.
      signature: one that takes only `seeds`, such as "sample".
      seed: an integer in [-2**63, 2**63).
      num: at least 1; drawn in chunks.

    Raises:
      InputError: if the model has no such signature.
    """
    choices = sorted(
        name
        for name, inputs in model.signatures.items()
        if inputs.keys() == {"seeds"} and "samples" in model.outputs[name]
    )
    if signature not in choices:
        raise InputError(
            f"Unknown signature {signature!r}. Those of this model that draw by seed: "
            f"{', '.join(choices) or 'none'}."
        )
    chunks = []
    for start in range(0, num, _CHUNK):
        index = np.arange(start, min(start + _CHUNK, num), dtype=np.int64)
        seeds = np.stack([np.full_like(index, seed), index], axis=1)
        chunks.append(model.run(signature, {"seeds": seeds})["samples"])
    return np.concatenate(chunks)


def draw_picture(samples: np.ndarray, plot: Mapping[str, Any], path: Path) -> None:
    """Writes a PNG: points of the plane as a scatter plot, images as a square of images.

    A square of images is at least 512 pixels wide, in whole multiples of their own.

    Args:
      samples: float32 [n, 2], or [n, height, width, channels] with values in [-1, 1] and 1 or
        3 channels.
      plot: for points, `window` [xmin, xmax, ymin, ymax], `modes` [[x, y], ...] and `sigma`, their
        standard deviation, each of them optional. With all of them the mode that most samples are
        near is shown enlarged beside them, with its rings of 1 and 3 sigma.
      path: the file.

    Raises:
      InputError: for samples of another shape.
    """
    if samples.ndim == 2 and samples.shape[1] == 2:
        _draw_points(samples, plot, path)
    elif samples.ndim == 4 and samples.shape[3] in (1, 3):
        _draw_images(samples, path)
    else:
        raise InputError(
            f"Samples of shape {list(samples.shape[1:])} have no picture: only points [2] and "
            "images [height, width, 1 or 3] do. Write --output=samples.npy instead."
        )


def _draw_points(samples: np.ndarray, plot: Mapping[str, Any], path: Path) -> None:
    from matplotlib.figure import Figure

    modes, sigma = np.array(plot.get("modes") or np.empty([0, 2])), float(plot.get("sigma") or 0)
    close = len(modes) > 0 and sigma > 0
    figure = Figure(figsize=(11 if close else 5.5, 5.5), dpi=100, layout="constrained")
    axes = figure.add_subplot(1, 1 + close, 1, aspect="equal")
    # Many points: smaller and paler, so that the density shows.
    size, alpha = (9, 1.0) if len(samples) <= 1000 else (2, 0.3)
    axes.scatter(*samples.T, s=size, alpha=alpha, color="tab:red", linewidths=0, label="samples")
    if len(modes):
        axes.scatter(*modes.T, s=60, color="black", marker="+", label="real modes")
        axes.legend(loc="upper right")
    if window := plot.get("window"):
        axes.set(xlim=window[:2], ylim=window[2:])
    if close:
        _draw_mode(figure.add_subplot(1, 2, 2, aspect="equal"), samples, modes, sigma)
    # Without the name of the software, the same samples give the same file.
    figure.savefig(path, format="png", metadata={"Software": None})


def _draw_mode(axes, samples: np.ndarray, modes: np.ndarray, sigma: float) -> None:
    """The mode that most samples are near, of equal ones the first; the spread in it is seen."""
    from matplotlib.patches import Circle

    away = np.linalg.norm(samples[:, None] - modes[None], axis=2)
    x, y = modes[(away < _REACH * sigma).sum(axis=0).argmax()]
    axes.scatter(*samples.T, s=9, color="tab:red", linewidths=0)
    for k in (1, 3):
        axes.add_patch(Circle((x, y), k * sigma, fill=False, linestyle="--"))
    reach = _REACH * sigma
    axes.set(xlim=(x - reach, x + reach), ylim=(y - reach, y + reach))
    axes.set_title("one mode, enlarged: rings of 1 and 3 sigma of the data")


def _draw_images(samples: np.ndarray, path: Path) -> None:
    from matplotlib.image import imsave

    n, height, width, _ = samples.shape
    columns = int(np.ceil(np.sqrt(n)))
    rows = -(-n // columns)
    cells = np.zeros((rows * columns, height, width, 3), np.float32)
    cells[:n] = np.clip((samples + 1) / 2, 0, 1)  # a single channel fills all three
    grid = cells.reshape(rows, columns, height, width, 3).swapaxes(1, 2)
    grid = grid.reshape(rows * height, columns * width, 3)
    scale = max(1, -(-_SIDE // (columns * width)))
    grid = grid.repeat(scale, axis=0).repeat(scale, axis=1)
    imsave(path, grid, format="png", metadata={"Software": ""})


def write_samples(samples: np.ndarray, plot: Mapping[str, Any], output: Path) -> None:
    """Writes the picture (.png) or the samples (.npy, .csv), whole or not at all.

    A .csv has a line for each sample, without a heading, and the digits that float32 has; samples
    of several axes are written as one row each.

    Raises:
      InputError: as `draw_picture`, or if the file cannot be written.
    """

    def write(path: Path) -> None:
        if output.suffix == ".npy":
            np.save(path, samples)
        elif output.suffix == ".csv":
            np.savetxt(path, samples.reshape(len(samples), -1), fmt="%.9g", delimiter=",")
        else:
            draw_picture(samples, plot, path)

    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(output, write)
    except OSError as error:
        raise InputError(f"{output} could not be written: {error}.") from None


def _define_flags() -> None:
    flags.DEFINE_string("model", None, "The model's folder BASE/NAME, or one of its versions.")
    flags.DEFINE_integer("num", 64, "How many samples; at least 1.")
    flags.DEFINE_integer("seed", 0, "Which samples.")
    flags.DEFINE_string(
        "output", None, "The file to write: .png (a picture), .npy (float32) or .csv."
    )
    flags.DEFINE_string("signature", "sample", "The signature to call; it takes only seeds.")
    flags.mark_flags_as_required(["model", "output"])


def _run() -> None:
    f = flags.FLAGS
    output = Path(f.output)
    if f.num < 1:
        raise InputError(f"--num must be at least 1, got {f.num}.")
    if not -(2**63) <= f.seed < 2**63:
        raise InputError(f"--seed must be in [-2**63, 2**63), got {f.seed}.")
    if output.suffix not in _SUFFIXES:
        raise InputError(
            f"Unknown kind of file {output.name!r}. --output must end in one of: "
            f"{', '.join(_SUFFIXES)}."
        )
    if output.is_dir():
        raise InputError(f"--output={output} is a folder. Give the name of a file in it.")
    publish.check_writable(output.parent)
    version = publish.find_version(Path(f.model))
    manifest = publish.read_manifest(version)
    with runtime.ServedModel(version) as model:
        samples = draw(model, f.signature, f.seed, f.num)
    write_samples(samples, manifest.get("plot") or {}, output)
    print(f"{f.num} samples of {version}: {output}")


if __name__ == "__main__":
    _define_flags()
    cli.main(_run)
