"""Scores a workdir or an exported model, beside fresh real samples.

python -m trainers.evaluate --workdir=DIR [--step=MINI_BATCH|best]
python -m trainers.evaluate --model=BASE/NAME [--dataset=gaussians8]

With --intervals=100, in the plane, every number has a 95 % interval: of these samples of this
generator (half a minute an answer). Another seed of the training is another matter.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

from export import publish
from tf_mixed_nash.errors import InputError
from tf_mixed_nash.metrics import law
from trainers.system import cli
from trainers.system.files import check_file, write_json
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


def _with_intervals(task: Task, replicates: int) -> Task:
    """The task, whose scorecards have intervals."""
    from trainers.tasks.planar import PlanarTask

    if not replicates:
        return task
    if not isinstance(task, PlanarTask):
        raise InputError(
            f"--intervals={replicates} is of data in the plane; {task.name} is not. Leave it out."
        )
    card = dataclasses.replace(task.spec.card, replicates=replicates)
    return PlanarTask(dataclasses.replace(task.spec, card=card))


def _lines(scores: Mapping[str, Any], digits: int = 4) -> Iterator[str]:
    """The intervals of every answer, a line a number."""
    rows = {**scores["strategies"], "real data": scores["real_data_ceiling"]}
    for name, card in rows.items():
        for key, (low, high) in card.get("intervals", {}).items():
            ends = f"[{low:.{digits}f}, {high:.{digits}f}]"
            yield f" {name:<11}{key:<21}{card[key]:>9.{digits}f} {ends}"


def _score_model(model: Path, dataset: str | None, replicates: int) -> tuple[Task, dict]:
    import tensorflow as tf

    version = publish.find_version(model)
    task = _with_intervals(_model_task(version, dataset), replicates)
    with literal(version) as plain:
        loaded = tf.saved_model.load(str(plain))
    sample = loaded.signatures["serving_default"]
    return task, task.score({"model": lambda seeds: sample(seeds=seeds)["samples"].numpy()})


def main() -> int:
    """The command."""
    workdir, model, output = flags.FLAGS.workdir, flags.FLAGS.model, flags.FLAGS.output
    if bool(workdir) == bool(model):
        raise InputError("Give one of --workdir=DIR and --model=BASE/NAME.")
    replicates = flags.FLAGS.intervals
    if model and flags.FLAGS.step:
        raise InputError("--step is of a workdir's checkpoints. Leave it out with --model.")
    if workdir and flags.FLAGS.dataset:
        raise InputError("--dataset is of a --model that does not say its own. Leave it out.")
    if replicates and replicates < law.FEWEST_REPLICATES:
        raise InputError(
            f"--intervals={replicates} halves have no 95 % interval. Give at least "
            f"{law.FEWEST_REPLICATES}, such as 100, or 0 for none."
        )
    if output:
        check_file(Path(output), "--output")
    import_tensorflow()
    from trainers.answers import reading

    if workdir:
        loop = reading.load_loop(Path(workdir), flags.FLAGS.step)
        task, published = loop.run.task, loop.run.options.publish
        task = _with_intervals(task, replicates)
        answers = reading.answers_of(loop)
        scores = task.score(reading.samplers(answers), answers)
        card = scores["strategies"][published]
    else:
        task, scores = _score_model(Path(model), flags.FLAGS.dataset, replicates)
        card, published = scores["strategies"]["model"], None
    print("\n".join([task.format_table(scores, published), *_lines(scores)]))
    if output:
        write_json(Path(output), {**card, **scores})
        print(f"wrote {output}")
    return cli.DONE


if __name__ == "__main__":
    flags.DEFINE_string("workdir", None, "A workdir of trainers.run: scores its newest checkpoint.")
    flags.DEFINE_string("step", None, "The mini-batch of its checkpoint, or best (of keep_best).")
    flags.DEFINE_string("model", None, "An exported model: BASE/NAME or BASE/NAME/VERSION.")
    flags.DEFINE_string("dataset", None, "The data set, where the model does not say it.")
    flags.DEFINE_integer(
        "intervals", 0, "Halves of the samples that are scored for intervals; 0: none.", 0
    )
    flags.DEFINE_string("output", None, "Also write the scores to this JSON file.")
    cli.main(main, sys.argv)
