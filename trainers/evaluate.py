"""Scores a workdir or an exported model, beside fresh real samples.

python -m trainers.evaluate --workdir=DIR [--step=MINI_BATCH|best]
python -m trainers.evaluate --model=BASE/NAME [--dataset=gaussians8]
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from export import publish
from tf_mixed_nash.errors import InputError
from trainers.system import cli
from trainers.system.files import make_writable, write_json
from trainers.system.paths import literal
from trainers.system.quiet import import_tensorflow

if TYPE_CHECKING:
    from trainers.tasks.base import Task


def _model_task(version: Path, dataset: str | None) -> Task:
    """The task that a published model was trained on, or the planar one called `dataset`."""
    from trainers.experiment.build import task_of
    from trainers.experiment.options import spec_of
    from trainers.tasks.kinds import PlanarCard, PlanarSpec

    config = publish.read_manifest(version).get("config")
    if dataset:
        return task_of(PlanarSpec(dataset=dataset))
    if not config:
        raise InputError(f"{version} does not say its data set. Give it with --dataset.")
    spec = spec_of(config)
    if isinstance(spec, PlanarSpec):  # whatever the run's own scorecard took
        spec = dataclasses.replace(spec, card=PlanarCard())
    return task_of(spec)


def _score_model(model: Path, dataset: str | None) -> tuple[Task, dict]:
    import tensorflow as tf

    version = publish.find_version(model)
    task = _model_task(version, dataset)
    with literal(version) as plain:
        loaded = tf.saved_model.load(str(plain))
    sample = loaded.signatures["serving_default"]
    return task, task.score({"model": lambda seeds: sample(seeds=seeds)["samples"].numpy()})


def main() -> int:
    """The command."""
    workdir, model, output = flags.FLAGS.workdir, flags.FLAGS.model, flags.FLAGS.output
    if bool(workdir) == bool(model):
        raise InputError("Give one of --workdir=DIR and --model=BASE/NAME.")
    if model and flags.FLAGS.step:
        raise InputError("--step is of a workdir's checkpoints. Leave it out with --model.")
    if output:
        make_writable(Path(output).resolve().parent, "--output")
    import_tensorflow()
    from trainers.answers import reading

    if workdir:
        loop = reading.load_loop(Path(workdir), flags.FLAGS.step)
        task, published = loop.run.task, loop.run.options.publish
        answers = reading.answers_of(loop)
        samplers = {name: reading.sampler(s) for name, s in answers.items()}
        scores = task.score(samplers, answers)
        card = scores["strategies"][published]
    else:
        task, scores = _score_model(Path(model), flags.FLAGS.dataset)
        card, published = scores["strategies"]["model"], None
    print(task.format_table(scores, published))
    if output:
        write_json(Path(output), {**card, **scores})
        print(f"wrote {output}")
    return cli.DONE


if __name__ == "__main__":
    flags.DEFINE_string("workdir", None, "A workdir of trainers.run: scores its newest checkpoint.")
    flags.DEFINE_string("step", None, "The mini-batch of its checkpoint, or best (of keep_best).")
    flags.DEFINE_string("model", None, "An exported model: BASE/NAME or BASE/NAME/VERSION.")
    flags.DEFINE_string("dataset", None, "The data set, where the model does not say it.")
    flags.DEFINE_string("output", None, "Also write the scores to this JSON file.")
    cli.main(main, sys.argv)
