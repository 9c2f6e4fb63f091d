"""The files of a workdir by name, and a run as those see it who do not train it.

    WORKDIR/config.json           the resolved config of the run
            metrics.jsonl         records, a line each; times.jsonl: their times
            checkpoints/          see checkpoints.py
            samples/              pictures of steps; final.npz: samples of every answer
            recoveries.json       rollbacks, see recoveries.py
            provenance.json       where the run comes from, see trainers/system/provenance.py
            export/generator/     the published answer
            mixture/              of trainers.mixtures
            scorecard.json        last: it marks a finished run

This module must stay free of TensorFlow.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tf_mixed_nash.errors import InputError
from trainers.experiment.settings import ANSWERS, CONFIG
from trainers.system import lock

__all__ = [
    "ANSWERS",
    "CARD",
    "CHECKPOINTS",
    "CONFIG",
    "EXPORT",
    "FINAL",
    "METRICS",
    "MIXTURE",
    "SAMPLES",
    "TENSORBOARD",
    "TIMES",
    "Watch",
    "free",
    "read_card",
    "records",
    "whole_lines",
]

CARD, METRICS, TIMES = "scorecard.json", "metrics.jsonl", "times.jsonl"
CHECKPOINTS, SAMPLES, TENSORBOARD, MIXTURE = "checkpoints", "samples", "tensorboard", "mixture"
FINAL, EXPORT = f"{SAMPLES}/final.npz", "export/generator"


def whole_lines(path: Path) -> list[str]:
    """The lines of a file, none without it; a kill may have cut the last one off."""
    lines = path.read_text().splitlines(keepends=True) if path.is_file() else []
    return [line for line in lines if line.endswith("\n")]


def records(workdir: Path) -> list[dict[str, Any]]:
    """The records of a run, each with its times where times.jsonl has them."""
    metrics, times = (
        [json.loads(line) for line in whole_lines(workdir / name)] for name in (METRICS, TIMES)
    )
    of_step = {line["step"]: line for line in times}
    return [{**of_step.get(line["step"], {}), **line} for line in metrics]


class Watch:
    """Reads the scores in a workdir's metrics.jsonl as they come."""

    def __init__(self, workdir: Path):
        self._path = workdir / METRICS
        self._seen: tuple[int, int] | None = None

    def new(self) -> Iterator[tuple[int, dict[str, dict[str, float]]]]:
        """(mini-batch, answer -> metric -> value) of every scored record, if the file changed.

        A resumed run cuts the file and writes the lines again, the same ones.
        """
        try:
            facts = self._path.stat()
        except FileNotFoundError:
            return
        if self._seen == (facts.st_size, facts.st_mtime_ns):
            return
        self._seen = facts.st_size, facts.st_mtime_ns
        for record in map(json.loads, whole_lines(self._path)):
            if scores := _scores(record):
                yield record["step"], scores


def _scores(record: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """answer -> metric -> value, from a record of metrics.jsonl; {} if it has no scores."""
    scores: dict[str, dict[str, float]] = {}
    for key, value in record.items():
        if key.startswith("score/"):
            _, answer, metric = key.split("/")
            scores.setdefault(answer, {})[metric] = value
    return scores


def free(workdir: Path) -> bool:
    """Whether no trainer works there: one whose driver died may still write its checkpoint.

    Raises:
      InputError: if the folder's lock cannot be had at all.
    """
    if not workdir.is_dir():
        return True
    with contextlib.suppress(lock.InUseError), lock.hold(workdir):
        return True
    return False


def read_card(workdir: Path) -> dict[str, Any] | None:
    """The scorecard of a finished run; None of another.

    Raises:
      InputError: if it is none.
    """
    try:
        card = json.loads((workdir / CARD).read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise _no_card(workdir, str(error)) from None
    if not isinstance(card, dict):
        raise _no_card(workdir, f"it is {card!r:.20}")
    return card


def _no_card(workdir: Path, why: str) -> InputError:
    return InputError(
        f"{workdir / CARD} is no scorecard ({why}). Remove it: the command that trained the run "
        "then scores it again."
    )
