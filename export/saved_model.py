"""Publishes an answer of a run as a SavedModel, from any of its checkpoints.

    python -m export.saved_model --workdir=DIR --output=BASE/NAME
        [--average=last|ema|mixture|theta_bar|ema_N] [--step=MINI_BATCH|best]

BASE/NAME/<version> then holds one SavedModel, whatever the number of generators in the
mixture: each row of a request draws its component from its own key. Before a version appears it
must pass every gate of `export.verify`; it was not yet verified against
tensorflow_model_server.

| signature                    | inputs                                | output               |
|------------------------------|---------------------------------------|----------------------|
| `sample` = `serving_default` | seeds int64 [n, 2]: (seed, index)     | samples float32 [n, ...] |
| `generate`                   | latents float32 [n, D]                | samples              |
| `generate_component`         | latents, components int64 [n]         | samples              |
| `draw`                       | seeds                                 | latents, components  |

A class-conditional model draws the class of a row from its key, too: `draw` also gives labels.
Its `generate` and `generate_component` also take labels int64 [n], and it has

| `sample_class`               | seeds, labels int64 [n] in [0, k)     | samples              |

Models of images also have `sample_png`, `generate_png`, `generate_component_png` and
`sample_class_png`, with the output image_bytes, string [n]: a PNG for each row, which is many
times smaller than its floats and is what a client's 4 MB limit wants.

Row (s, i) is sample number i of seed s. On one machine its bytes do not depend on the batch
that it comes in. In `generate` the component is a hash of the row's latents.
"""

from __future__ import annotations

from pathlib import Path

from absl import flags

from export import publish
from tf_mixed_nash.errors import InputError, unknown
from trainers.system import cli, quiet

__all__: list[str] = []


def _define_flags() -> None:
    flags.DEFINE_string("workdir", None, "The folder of a finished run of trainers.run.")
    flags.DEFINE_string("output", None, "The model's folder, BASE/NAME; versions go below it.")
    flags.DEFINE_string(
        "average",
        "mixture",
        "Which answer of the run: last, ema, mixture, theta_bar (the average of the last inner "
        "chain), or ema_N, of its ema_half_lives.",
    )
    flags.DEFINE_string(
        "step",
        None,
        "The mini-batch of the checkpoint, or best (of keep_best); by default the newest.",
    )
    flags.mark_flags_as_required(["workdir", "output"])


def _run() -> None:
    f = flags.FLAGS
    base = _check_output(Path(f.output))
    workdir = Path(f.workdir)
    if not workdir.is_dir():
        raise InputError(
            f"No such workdir: {workdir}. Expected the folder that trainers.run wrote "
            "(its --workdir)."
        )
    quiet.import_tensorflow()
    from export.strategy import publish_strategy
    from trainers.answers import reading

    average = {"theta": "last"}.get(f.average, f.average)  # the paper's letter for it
    if average not in reading.AVERAGES and average not in (valid := reading.averages_of(workdir)):
        raise unknown("--average", f.average, valid)
    strategy, known = reading.load_answer(workdir, average, f.step)
    metadata = {"strategy": average, **known, **reading.export_metadata(workdir)}
    version = publish_strategy(strategy, base, metadata, isolated=True)
    print(f"Published {version}")
    print(f"Draw from it: python -m export.sample --model={base} --num=64 --output=samples.png")
    print(f"Serve it:     python -m export.serve --model_name={base.name} --model_base_path={base}")


def _check_output(base: Path) -> Path:
    if base.name.isdecimal():
        raise InputError(
            f"--output={base} ends in a number, and versions are numbered by themselves. "
            f"Give the model's folder, BASE/NAME, such as --output={base.parent}."
        )
    publish.check_writable(base)
    return base


if __name__ == "__main__":
    _define_flags()
    cli.main(_run)
