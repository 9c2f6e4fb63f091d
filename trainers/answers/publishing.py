"""The end of a run: its answers scored, drawn and published."""

from __future__ import annotations

import contextlib
import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from export import publish
from export.strategy import publish_strategy
from tf_mixed_nash.errors import InputError
from tf_mixed_nash.memory import give_back
from tf_mixed_nash.training.loop import Loop
from trainers.answers import reading
from trainers.experiment import settings
from trainers.experiment.build import Run
from trainers.system.files import write_json
from trainers.workdir.folder import CARD, EXPORT, SAMPLES

__all__ = ["finish", "later"]


def finish(loop: Loop[Run], workdir: Path, more: Mapping[str, Any], said: str) -> None:
    """Scores, draws and publishes. scorecard.json comes last: it marks a finished run.

    Args:
      loop: at the end of its training; of it, only `close` may be used afterwards.
      workdir: of the run.
      more: what else goes into scorecard.json.
      said: what else is printed, below the scores.
    """
    task, published, step = loop.run.task, loop.run.options.publish, loop.step
    # Scoring and publishing need as much memory as the training does; not both at once.
    strategies = reading.answers_of(loop, take=True)
    loop.release()
    give_back()
    samplers = reading.samplers(strategies)
    scores = task.score(samplers, strategies)
    picture = task.draw_published(workdir / SAMPLES, strategies, samplers)
    lines = [f"picture      {picture}"]
    if loop.run.options.export:
        del samplers
        give_back()
        metadata = {
            **reading.export_metadata(workdir, task),
            "strategy": published,
            "average": published,
            "step": step,
            **reading.scored(scores, published),
        }
        lines += _published(strategies, workdir / EXPORT, metadata)
    else:
        lines.append(f"no model     {later(workdir)}")
    write_json(workdir / CARD, {**scores["strategies"][published], **scores, **more})
    print(task.format_table(scores, published=published))
    if said:
        print(said)
    print("\n".join(lines))


def later(workdir: Path) -> str:
    """How a run without a model gets one."""
    where = shlex.quote(str(workdir))
    return f"python -m export.saved_model --workdir={where} --output=MODELS makes one."


def _published(
    strategies: dict[str, Any], base: Path, metadata: Mapping[str, Any]
) -> tuple[str, str]:
    """Publishes one of the strategies, and lets go of all; what is said of the model."""
    model = _published_before(base, metadata)
    if not model:
        # Of sessions that were killed here. Nobody else publishes a run that has not finished.
        for unfinished in base.glob(".building-*"):
            shutil.rmtree(unfinished, ignore_errors=True)
        for other in strategies.keys() - {metadata["strategy"]}:
            del strategies[other]
        # Its only owner from here on, which may let go of it.
        model = publish_strategy(strategies.pop(metadata["strategy"]), base, metadata)
    return (
        f"SavedModel   {model}",
        f"sample it    python -m export.sample --model={shlex.quote(str(model.parent))} --num=2500 "
        "--seed=0 --output=samples.png",
    )


def _published_before(base: Path, metadata: Mapping[str, Any]) -> Path | None:
    """The version that a session published which was stopped before its scorecard was written."""
    for number in reversed(publish.versions(base)):
        directory = base / str(number)
        with contextlib.suppress(InputError):
            manifest = publish.read_manifest(directory)
            same = all(manifest.get(k) == metadata[k] for k in ("step", "strategy"))
            if same and not settings.differences(metadata["config"], manifest["config"]):
                return directory
    return None
