"""What more GPUs may gain, on paper: from measured steps of one GPU and the bytes of the gradients.

    python -m benchmarks.gpus [--models=dcgan64,mlp] [--gpus=1,2,4,8,16,32,64] [--rows=256]
        [--gigabytes_inside=300] [--gigabytes_between=40] [--microseconds=20] [--node=8]
        [--way=parts]

No run of several GPUs is behind this. A mini-batch of both players takes, on each of G GPUs,

    step(rows) = a + b rows          one GPU's, through the two measured points of MEASURED
    reduce     = 2 (G - 1) / G bytes / bandwidth + 2 log2(G) latency          of each player

`reduce`: each GPU sends and receives 2 (G - 1) / G of a player's gradient, one vector; nothing of
it is hidden behind the gradients, because the vector is ready only at their end. Updates and noise
are computed by every process for itself. Inside a node of --node GPUs the bandwidth is that of the
links between them, beyond it that of the network.

weak: --rows on every GPU, so that the mini-batch grows. strong: --rows in all.
"""

from __future__ import annotations

import math
import sys
from typing import Any, NamedTuple

from absl import flags

from benchmarks.given import integers
from benchmarks.step import MODELS
from tf_mixed_nash.errors import InputError
from trainers.system import cli
from trainers.system.quiet import import_tensorflow

__all__ = ["MEASURED", "Links", "reduce_ms", "scaling", "step_ms"]

# Milliseconds of a mini-batch of both players, Mirror-GAN in float32 (TF32), one H100, at 64 and
# 256 rows: the only points that were measured (docs/gpu.md).
MEASURED = {
    ("mlp", "parts"): (2.59, 2.59),
    ("mlp", "whole"): (0.238, 0.307),
    ("dcgan64", "parts"): (8.93, 20.06),
}
_ROWS = (64, 256)


class Links(NamedTuple):
    """What joins the GPUs.

    Attributes:
      inside: bytes a second of a GPU in a node.
      between: bytes a second of a GPU between nodes.
      latency: seconds of one message.
      node: GPUs of a node.
    """

    inside: float = 300e9
    between: float = 40e9
    latency: float = 20e-6
    node: int = 8


def step_ms(model: str, way: str, rows: float) -> float:
    """One GPU's milliseconds for so many rows, on the line through the measured points.

    Args:
      model: mlp or dcgan64.
      way: parts or whole.
      rows: of one GPU; below the first point its time, for launches do not get fewer.
    """
    first, last = MEASURED[model, way]
    slope = (last - first) / (_ROWS[1] - _ROWS[0])
    return first + slope * max(rows - _ROWS[0], 0.0)


def reduce_ms(gradients: tuple[int, int], gpus: int, links: Links) -> float:
    """Milliseconds to add up both players' gradients.

    Args:
      gradients: bytes of each player's.
      gpus: G.
      links: between them.
    """
    bandwidth = links.inside if gpus <= links.node else links.between
    part = 2.0 * (gpus - 1) / gpus
    messages = 2.0 * math.ceil(math.log2(gpus)) if gpus > 1 else 0.0
    return 1e3 * sum(part * size / bandwidth + messages * links.latency for size in gradients)


def scaling(
    model: str, way: str, gradients: tuple[int, int], gpus: int, rows: int, links: Links
) -> dict[str, float]:
    """A row of the table.

    Returns:
      `reduce`, and for a mini-batch that grows with the GPUs (`weak`) or does not (`strong`) the
      milliseconds and the samples a second, as a multiple of one GPU's.
    """
    reduced = reduce_ms(gradients, gpus, links)
    alone = step_ms(model, way, rows)
    weak = step_ms(model, way, rows) + reduced
    strong = step_ms(model, way, rows / gpus) + reduced
    return {
        "reduce": reduced,
        "weak": weak,
        "weak_gain": gpus * alone / weak,
        "strong": strong,
        "strong_gain": alone / strong,
    }


def gradient_bytes(model: str) -> tuple[int, int]:
    """Of the generator's and the discriminator's gradient in float32."""
    import importlib

    from trainers.experiment import settings
    from trainers.experiment.build import task_of

    work = MODELS[model]
    name = "gaussians8_md" if work.model == "mlp" else "lsun_md"
    config = importlib.import_module(f"configs.{name}").get_config()
    if work.model == "mlp":
        config.model.hidden_units = (work.width,) * 3
    else:
        config.model.width, config.image.size = work.width, work.size
        config.image.channels, config.data.path = work.channels, "none"
    theta, w = task_of(settings.resolve(config)).networks()
    return 4 * theta.dim, 4 * w.dim


def main() -> int:
    """The command."""
    f = flags.FLAGS
    for model in f.models:
        if (model, f.way) not in MEASURED:
            known = ", ".join(f"--models={m} --way={w}" for m, w in MEASURED)
            raise InputError(
                f"No step of {model} was measured with --way={f.way}. Choose: {known}."
            )
    several = integers("gpus", f.gpus)
    import_tensorflow()
    links = Links(
        1e9 * f.gigabytes_inside, 1e9 * f.gigabytes_between, 1e-6 * f.microseconds, f.node
    )
    for model in f.models:
        gradients: Any = gradient_bytes(model)
        mega = " and ".join(f"{size / 1e6:.1f}" for size in gradients)
        print(f"\n{model}, {f.way}: gradients of {mega} MB; on paper, of one H100's measured steps")
        print("        reduce  |  rows of each GPU: weak   |  rows in all: strong")
        print("GPUs        ms  |      rows      ms   gain  |      ms   gain")
        for gpus in several:
            row = scaling(model, f.way, gradients, gpus, f.rows, links)
            print(
                f"{gpus:>4}{row['reduce']:>10.3f}  |{gpus * f.rows:>10}{row['weak']:>8.2f}"
                f"{row['weak_gain']:>7.1f}  |{row['strong']:>8.2f}{row['strong_gain']:>7.2f}"
            )
    return cli.DONE


if __name__ == "__main__":
    defaults = Links()
    flags.DEFINE_list("models", ["dcgan64", "mlp"], "Of dcgan64, mlp.")
    flags.DEFINE_enum("way", "parts", ["parts", "whole"], "Several replicas are parts today.")
    flags.DEFINE_list("gpus", ["1", "2", "4", "8", "16", "32", "64"], "Their numbers.")
    flags.DEFINE_integer("rows", 256, "Of every GPU (weak), or of all (strong).", lower_bound=1)
    flags.DEFINE_float("gigabytes_inside", defaults.inside / 1e9, "A second, of a GPU in a node.")
    flags.DEFINE_float("gigabytes_between", defaults.between / 1e9, "A second, between nodes.")
    flags.DEFINE_float("microseconds", defaults.latency * 1e6, "Of one message.")
    flags.DEFINE_integer("node", defaults.node, "GPUs of a node.", lower_bound=1)
    cli.main(main, sys.argv)
