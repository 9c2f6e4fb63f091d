"""What a workdir holds, read back: its answers, metadata, provenance."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from tf_mixed_nash.errors import InputError, unknown
from tf_mixed_nash.strategies.mixed import MixedStrategy, traced
from tf_mixed_nash.training.loop import Loop
from trainers.experiment import settings
from trainers.experiment.build import Given, Run, build, task_of
from trainers.experiment.options import options_of
from trainers.system import provenance, user_files
from trainers.tasks.base import Sampler, Task
from trainers.workdir import best, recoveries
from trainers.workdir.checkpoints import Checkpoints
from trainers.workdir.folder import ANSWERS, CHECKPOINTS, read_card

__all__ = [
    "AVERAGES",
    "answers_of",
    "averages_of",
    "export_metadata",
    "load_answer",
    "load_loop",
    "metadata_of",
    "program",
    "sampler",
    "samplers",
    "scored",
    "scores_of",
]

# The words of --average: theta_bar, the average of the last inner chain, is never scored. A run may
# have further averages.
AVERAGES = (*ANSWERS, "theta_bar")


def answers_of(loop: Loop[Run], take: bool = False) -> dict[str, MixedStrategy]:
    """The answers of a run: last iterate, EMA, mixture of snapshots, and further averages.

    Before the mixture's window begins, the mixture is the last iterate. See `Loop.answers`.

    Args:
      loop: the run's.
      take: takes the snapshots out of it, which needs less memory.
    """
    answers = loop.answers(take)
    # One after the other: where normalisation layers are calibrated, atoms are copied.
    return {name: loop.run.strategy(*answers.pop(name)) for name in tuple(answers)}


def averages_of(workdir: Path) -> tuple[str, ...]:
    """AVERAGES of this run, with its further averages; AVERAGES of a folder that is no workdir."""
    if not (workdir / settings.CONFIG).is_file():
        return AVERAGES
    return (*settings.answers_of(settings.load_workdir_config(workdir)), "theta_bar")


def samplers(answers: Mapping[str, MixedStrategy]) -> dict[str, Sampler]:
    """A compiled sampler of each answer of one run, which share what is traced."""
    draw = program(next(iter(answers.values())))
    return {name: sampler(strategy, draw) for name, strategy in answers.items()}


def program(strategy: MixedStrategy) -> Callable[[Any, Any, Any], tf.Tensor]:
    """(atoms, weights, seeds) -> samples of any mixture that has all else of this one."""
    like = copy.copy(strategy)
    like.atoms = like.weights = None  # of no answer: a program holds none in memory

    def sample(atoms, weights, seeds):
        mine = copy.copy(like)
        mine.atoms, mine.weights = atoms, weights
        return mine.sample(seeds)

    return traced(sample)


def sampler(strategy: MixedStrategy, draw: Callable[[Any, Any, Any], tf.Tensor]) -> Sampler:
    """The answer's sampler, by `program` of any answer of its run."""
    return lambda seeds: draw(strategy.atoms, strategy.weights, seeds).numpy()


def load_answer(
    workdir: Path, answer: str, step: int | str | None = None
) -> tuple[MixedStrategy, dict[str, Any]]:
    """One answer of a run, from any of its checkpoints, and what is known of it.

    Args:
      workdir: of trainers.run.
      answer: one of `averages_of`.
      step: the mini-batch of the checkpoint, or "best"; None for the newest.

    Returns:
      The mixed strategy, and `average` (the answer), `step` and, where the run's scorecard is of
      this answer, `scorecard` and `real_data_ceiling`.

    Raises:
      InputError: if there is no such checkpoint or answer, or the algorithm has no theta_bar.
    """
    loop = load_loop(workdir, step)
    if answer == "theta_bar":
        theta_bar = loop.inner_average()
        atoms = theta_bar if loop.run.num_particles > 1 else theta_bar[None]
        strategy = loop.run.strategy(atoms, loop.weights().theta)
    else:
        answers = loop.answers()
        if answer not in answers:
            raise unknown("answer", answer, answers)
        strategy = loop.run.strategy(*answers[answer])
    known: dict[str, Any] = {"average": answer, "step": loop.step}
    return strategy, known | scores_of(Path(workdir), loop, answer)


def scores_of(workdir: Path, loop: Loop[Run], answer: str) -> dict[str, Any]:
    """`scored` of a workdir whose scorecard is of this answer at the loop's step; else {}.

    Also {} where the user's files were edited: it would be of other networks.
    """
    card = read_card(workdir)  # it is written at the end of a run
    if not card or loop.step < loop.run.num_batches or answer not in card["strategies"]:
        return {}
    manifest = Checkpoints(workdir / CHECKPOINTS).newest_manifest() or {}
    return {} if _edited(loop.run, manifest) else scored(card, answer)


def scored(scores: Mapping[str, Any], answer: str) -> dict[str, Any]:
    """What a published model says of its scores, from a run's scorecard."""
    known = {key: scores[key] for key in ("real_data_ceiling", "protocol") if key in scores}
    return {"scorecard": scores["strategies"][answer], **known}


def _edited(run: Run, manifest: Mapping[str, Any]) -> list[str]:
    """The user's files whose text is no longer that of a checkpoint."""
    then = manifest.get("user_files", {})
    now = {file: user_files.sha256_of(text) for file, text in run.user_texts().items()}
    return [file for file, text in now.items() if then.get(file, text) != text]


def load_loop(
    workdir: Path, step: int | str | None = None, given: Given | None = None
) -> Loop[Run]:
    """The loop of a workdir, at its newest checkpoint or that of mini-batch `step`.

    Args:
      workdir: of the run.
      step: or "best", of keep_best; None for the newest.
      given: what its config only describes, where it is at hand.

    Raises:
      InputError: if the folder is no workdir or has no (such) checkpoint, or none that is good.
    """
    workdir = Path(workdir)
    # One process reads what many may have trained.
    config = {**settings.load_workdir_config(workdir), "strategy": "default"}
    step = best.step_of(workdir, step)
    loop = Loop(build(config, recoveries.read(workdir), given))
    found = Checkpoints(workdir / CHECKPOINTS).read(step)
    if not found:
        raise InputError(
            f"{workdir} has no checkpoint yet. Let trainers.run reach its first "
            "--config.checkpoint_every."
        )
    for path, reason in found.damaged:
        print(f"warning: {path} is damaged ({reason}); {found.saved.path} is used instead.")
    loop.assign(found.tensors)
    for file in _edited(loop.run, found.saved.manifest):
        print(
            f"warning: {file} was edited since the checkpoint. What it says now is used; "
            f"{workdir / provenance.FILE} has the text that was trained.",
            file=sys.stderr,
        )
    return loop


def export_metadata(workdir: Path, task: Task | None = None) -> dict[str, Any]:
    """What a published model says of its origin, for its manifest.

    Args:
      workdir: of the run.
      task: of it, where it is at hand.
    """
    config = settings.load_workdir_config(Path(workdir))
    if task is None:
        task = task_of(config)
        # Names of classes, without opening the data, which may be elsewhere.
        manifest = Checkpoints(Path(workdir) / CHECKPOINTS).newest_manifest() or {}
        task.set_state(manifest.get("data", {}))
    return metadata_of(config, task)


def metadata_of(config: Mapping[str, Any], task: Task) -> dict[str, Any]:
    """What a published model says of its origin, for its manifest."""
    options = options_of(config)
    return {
        "config": config,
        "dataset": options.dataset,
        "algorithm": options.algorithm,
        "code": provenance.code(),
        **task.export_metadata(),
    }
