"""A run's folder as others see it who do not train: its files, its scores, whether it is in use.

This module must stay free of TensorFlow.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trainers.system import lock

__all__ = ["ANSWERS", "CARD", "METRICS", "Watch", "free", "read_card"]

ANSWERS = ("last", "ema", "mixture")
CARD, METRICS = "scorecard.json", "metrics.jsonl"


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
            if self._seen == (facts.st_size, facts.st_mtime_ns):
                return
            lines = self._path.read_text().splitlines(keepends=True)
        except FileNotFoundError:
            return
        self._seen = facts.st_size, facts.st_mtime_ns
        for line in lines:
            record = json.loads(line) if line.endswith("\n") else {}
            if scores := _scores(record):
                yield record["step"], scores


def _scores(record: dict[str, Any]) -> dict[str, dict[str, float]]:
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
    """The scorecard of a finished run; None of another."""
    with contextlib.suppress(FileNotFoundError):
        return json.loads((workdir / CARD).read_text())
    return None
