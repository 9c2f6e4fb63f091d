"""Why a run left the finite numbers, as far as its last mini-batches show it.

The state at the last record was finite. From there the mini-batches are run again, up to the one
that failed (every draw is a function of the seed and the mini-batch's number): before it the
players' norms and a picture are taken, then it is run alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tf_mixed_nash.training.loop import Divergence, Loop
from tf_mixed_nash.types import PLAYERS
from trainers.session.journal import FILE as METRICS
from trainers.system.files import write_json

__all__ = ["examine", "write"]

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
      `scalars` of the mini-batch; `reproduced`, whether it failed again.
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
    return facts


def write(path: Path, facts: Mapping[str, Any], workdir: Path) -> None:
    """Writes the facts, with the last records and pictures of the workdir."""
    records = []
    if (workdir / METRICS).is_file():
        lines = (workdir / METRICS).read_text().splitlines()
        records = [json.loads(line) for line in lines[-_RECORDS:]]
    pictures = sorted((workdir / "samples").glob("step_*.png"))[-2:]
    shown = [p.relative_to(workdir).as_posix() for p in pictures]
    write_json(path, {**facts, "last_records": records, "last_pictures": shown})


def _norms(loop: Loop) -> dict[str, dict[str, Any]]:
    norms = {}
    for player in PLAYERS:
        z = np.asarray(loop.last().of(player), np.float64)
        finite = z[np.isfinite(z)]
        norms[player] = {
            "norm": float(np.linalg.norm(finite)),
            "max_abs": float(np.abs(finite).max(initial=0.0)),
            "not_finite": int(z.size - finite.size),
        }
    return norms


def _number(value: float) -> float | str:
    # JSON has no infinity, and `write_json` makes NaN null.
    return value if np.isfinite(value) else repr(float(value))
