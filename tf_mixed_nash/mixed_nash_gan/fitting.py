"""What `fit` does with a built run: trains, calls the callbacks, says how it ended."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tf_mixed_nash.mixed_nash_gan import memory
from tf_mixed_nash.mixed_nash_gan.configuration import PLAYERS
from tf_mixed_nash.mixed_nash_gan.epochs import Epochs
from tf_mixed_nash.training.loop import Loop
from trainers.answers import reading
from trainers.experiment.build import Given, Run
from trainers.session import divergence
from trainers.session.session import Hooks
from trainers.session.train import train
from trainers.system import cli
from trainers.workdir import findings, folder

__all__ = ["in_folder", "in_memory", "warn_of_findings"]

# Takes the trained loop, and how it is read from the disk: what is None is not known (yet).
Keep = Callable[[Loop[Run] | None, Callable[[], Loop[Run]] | None], None]


def in_memory(run: Run, epochs: Epochs, bar: bool, keep: Keep) -> None:
    """A whole run that touches no files.

    Args:
      run: built, at its beginning.
      epochs: the callbacks.
      bar: whether progress and lines are shown.
      keep: takes the trained loop, also of a training that ends early.

    Raises:
      FloatingPointError: if a player left the finite numbers and no callback stopped for it.
      KeyboardInterrupt: after SIGINT.
      SystemExit: after SIGTERM.
    """
    if bar and (note := run.game.regularizers.note):
        print(note)
    loop = Loop(run)
    epochs.start(0)
    code, diverged = memory.train(loop, epochs.observe, bar)
    loop.close()
    keep(loop, None)
    if diverged:
        stopped = epochs.diverged(diverged.step)
        epochs.end(loop)
        if not stopped:
            names = " and ".join(PLAYERS[p == "w"] for p in diverged.players)
            text = f"The {names} left the finite numbers at mini-batch {diverged.step}"
            bad = divergence.data_not_finite(run, diverged)
            raise FloatingPointError(
                f"{text}. Choose a smaller step_size or temperature; a workdir would hold a "
                "post-mortem."
                if bad is None
                else f"{text}: {divergence.of_data(bad)}."
            )
        return
    epochs.end(loop)
    _raise_for(code)


def in_folder(
    config: dict[str, Any], workdir: Path, given: Given, epochs: Epochs, bar: bool, keep: Keep
) -> None:
    """A whole run with all that `trainers.run` writes, or what is left of one.

    Args:
      config: resolved.
      workdir: new, empty, or of the same run.
      given: the models, data and functions that the config only describes.
      epochs: the callbacks.
      bar: whether progress and lines are shown.
      keep: takes how the trained loop is read, and the loop itself where a callback restored one.

    Raises:
      InputError: for a workdir that holds something else, before anything is written.
      FloatingPointError: if a player left the finite numbers and no callback stopped for it.
      KeyboardInterrupt: after SIGINT, with a checkpoint.
      SystemExit: after SIGTERM, with a checkpoint.
    """
    main = getattr(sys.modules["__main__"], "__file__", None)
    if main and "site-packages" not in main:
        given = dataclasses.replace(given, script=Path(main).resolve())
    said = contextlib.nullcontext() if bar else contextlib.redirect_stdout(io.StringIO())
    with said:
        code = train(config, workdir, None, given, Hooks(epochs.observe, epochs.start, bar))

    def reopened() -> Loop[Run]:
        return reading.load_loop(workdir, None, given)

    keep(None, reopened)
    if code == cli.DIVERGED:
        last = max((int(p.stem[11:]) for p in workdir.glob("postmortem_*.json")), default=1)
        path = workdir / f"postmortem_{last}.json"
        facts = json.loads(path.read_text())
        step, bad = facts["step"], facts.get("data_not_finite")
        stopped = epochs.diverged(step)
        epochs.end(None)
        epochs.whole([_untimed(r) for r in folder.records(workdir)])
        if not stopped:
            text = f"The run left the finite numbers at mini-batch {step}: "
            raise FloatingPointError(
                f"{text}see {path}. Choose a smaller step_size or temperature, or "
                'on_divergence="rollback".'
                if bad is None
                else f"{text}{divergence.of_data(bad)} (see {path})."
            )
        return
    epochs.end(None)
    if restored := epochs.model.restored:
        loop = reopened()
        loop.assign(restored)
        keep(loop, reopened)
    epochs.whole([_untimed(r) for r in folder.records(workdir)])
    _raise_for(0 if epochs.model.stop_training else code)


def warn_of_findings(records: Sequence[Mapping[str, Any]], num_batches: int) -> None:
    """What the health monitor found at its last look, as one warning."""
    found = findings.find(records, num_batches) if findings.looked(records) else []
    if found:
        text = "\n".join(["This training looks ill:", *findings.lines(found)])
        warnings.warn(f"{text}\n(docs/diagnosis.md; health_every=0 looks no more)", stacklevel=4)


def _raise_for(code: int) -> None:
    if code == cli.INTERRUPTED:
        raise KeyboardInterrupt
    if code == cli.STOPPED:
        raise SystemExit(code)


def _untimed(record: Mapping[str, Any]) -> dict[str, Any]:
    """Without what differs from one run to the same again."""
    times = ("ms_per_batch", "data_wait", "seconds", "score_seconds", "duality_gap_seconds")
    times += ("health_seconds",)
    return {k: v for k, v in record.items() if k not in times}
