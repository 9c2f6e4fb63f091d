"""A run that left the finite numbers: why, as far as its last mini-batches show it, and what next.

The state at the last record was finite. From there the mini-batches are run again, up to the one
that failed (every draw is a function of the seed and the mini-batch's number): before it the
players' norms and a picture are taken, then it is run alone. With on_divergence=rollback the run
goes on from the last good checkpoint, with half the step sizes and other noise.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tf_mixed_nash.training.loop import Divergence, Loop
from tf_mixed_nash.types import PLAYERS
from trainers.experiment.build import Run
from trainers.experiment.options import Recovery
from trainers.system.files import write_json
from trainers.workdir import recoveries
from trainers.workdir.checkpoints import Checkpoint
from trainers.workdir.folder import METRICS, SAMPLES, whole_lines

__all__ = ["NAMES", "data_not_finite", "decide", "examine", "of_data"]

NAMES = {"theta": "generator", "w": "discriminator"}
_RECORDS = 5


def examine(
    loop: Loop, good: Mapping[str, Any], diverged: Divergence, draw: Callable[[], str | None]
) -> dict[str, Any]:
    """What happened, from the state at the last record. Changes the loop's state.

    Args:
      loop: that diverged.
      good: from `Loop.tensors`, when it was last finite.
      diverged: where.
      draw: makes a picture of the loop's last iterate and returns its name, or None.

    Returns:
      `picture`, `step`, `players`; `before` and `after`, for each player the Euclidean norm and
      the greatest absolute value of its output's finite entries and how many are not finite;
      `scalars` of the mini-batch; `reproduced`, whether it failed again; `data_not_finite`, the
      mini-batch whose data are not, where there is one.
    """
    loop.assign(good)
    loop.logs()
    again = loop.advance(diverged.step) if diverged.step > loop.step else None
    facts: dict[str, Any] = {
        "step": diverged.step,
        "players": list(diverged.players),
        "before": _norms(loop),
        "picture": draw(),
    }
    if again is None:
        loop.logs()
        again = loop.advance(loop.step + 1)
        facts["scalars"] = {k: _number(v) for k, v in loop.logs().items()}
    facts["after"] = _norms(loop)
    facts["reproduced"] = again == diverged
    if (m := data_not_finite(loop.run, diverged)) is not None:
        facts["data_not_finite"] = m
    return facts


def data_not_finite(run: Run, diverged: Divergence) -> int | None:
    """Which mini-batch of the step that diverged holds data that are not finite; None: none."""
    end = min(diverged.step + run.most_batches, run.num_batches)
    return run.task.not_finite(diverged.step, max(end, diverged.step + 1))


def of_data(m: int) -> str:
    """What is said of such a mini-batch."""
    return (
        f"the data of mini-batch {m} hold NaN, infinity or numbers beyond the networks': remove or "
        "fill them"
    )


def decide(
    run: Run,
    workdir: Path,
    diverged: Divergence,
    facts: Mapping[str, Any],
    found: Checkpoint | None,
    chief: bool,
) -> Sequence[Recovery] | None:
    """Whether the run goes on; the chief says and records what happened.

    Args:
      run: that diverged.
      workdir: of it.
      diverged: where.
      facts: from `examine`, for postmortem_N.json.
      found: the last good checkpoint.
      chief: whether this process writes files.

    Returns:
      The recoveries to go on with, from `found` or else from the beginning; None if it ends here.
    """
    before, options = recoveries.read(workdir), run.options
    number, bad = len(before) + 1, facts.get("data_not_finite")
    # The same data would end the run again, whatever its step sizes.
    goes_on = (
        bad is None and options.on_divergence == "rollback" and number <= options.max_rollbacks
    )
    path = workdir / f"postmortem_{number}.json"
    if chief:
        checkpoint = str(found.saved.path) if found else None
        _write(path, {**facts, "checkpoint": checkpoint}, workdir)
        players = " and ".join(NAMES[p] for p in diverged.players)
        text = (
            f"diverged: the {players} left the finite numbers at mini-batch {diverged.step}. "
            f"Last good checkpoint: {checkpoint or 'none yet'}. Post-mortem: {path}."
        )
        after = f" after {len(before)} rollbacks" if before else ""
        rolls = options.on_divergence == "rollback"
        rollback = "" if rolls else ", or --config.on_divergence=rollback in this one"
        print(
            f"warning: {text} Rollback {number} of {options.max_rollbacks}: going on from "
            f"{checkpoint or 'the beginning'} with half the step sizes and other noise."
            if goes_on
            else f"error: {text} Stopped{after}: {of_data(bad)}, in a new workdir."
            if bad is not None
            else f"error: {text} Stopped{after}. Try a smaller --config.step_size or "
            f"--config.temperature in a new workdir{rollback}.",
            file=sys.stderr,
        )
    if not goes_on:
        return None
    step, outer_step = (found.saved.step, int(found.tensors["t"])) if found else (0, 0)
    new = Recovery(step, outer_step, diverged.step, diverged.players)
    if chief:
        recoveries.append(workdir, before, new, {"postmortem": path.name})
    return [*before, new]


def _write(path: Path, facts: Mapping[str, Any], workdir: Path) -> None:
    """Writes the facts, with the last records and pictures of the workdir."""
    lines = whole_lines(workdir / METRICS)[-_RECORDS:]
    records = [{k: _number(v) for k, v in json.loads(line).items()} for line in lines]
    pictures = sorted((workdir / SAMPLES).glob("step_*.png"))[-2:]
    shown = [p.relative_to(workdir).as_posix() for p in pictures]
    write_json(path, {**facts, "last_records": records, "last_pictures": shown})


def _norms(loop: Loop) -> dict[str, dict[str, Any]]:
    norms = {}
    for player in PLAYERS:
        z = np.asarray(loop.last().of(player), np.float64)
        finite = z[np.isfinite(z)]
        largest = float(np.abs(finite).max(initial=0.0))
        scale = largest if largest > 1e150 else 1.0  # whose square would not be finite
        norms[player] = {
            "norm": _number(scale * float(np.linalg.norm(finite / scale))),
            "max_abs": largest,
            "not_finite": int(z.size - finite.size),
        }
    return norms


def _number(value: float) -> float | str:
    # JSON has no infinity, and `write_json` makes NaN null.
    return value if np.isfinite(value) else repr(float(value))
