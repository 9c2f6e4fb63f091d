"""What a run writes along the way: metrics.jsonl, times.jsonl, TensorBoard, the progress bar.

metrics.jsonl holds no times, so that the same run writes the same bytes; a resumed run drops the
lines after its checkpoint and writes them again. Times go to times.jsonl, with the `step` of their
record, to TensorBoard and to the bar; `folder.records` joins the two.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

import numpy as np
import tensorflow as tf
from tensorboard.plugins.scalar.summary_v2 import scalar_pb

from trainers.system.files import write_atomically
from trainers.workdir.folder import METRICS, TENSORBOARD, TIMES, whole_lines

__all__ = ["Journal"]


class Journal:
    """The records of one session of a run. Use it as a context manager.

    Args:
      workdir: of the run.
      title: of the bar.
      step: where the session begins; later records of an earlier session are dropped.
      total: mini-batches of the run.
      silent: writes nothing, only keeps the last record (workers that are not the first).
      bar: whether progress is shown.

    Attributes:
      last: the last record; {} before the first.
      records: all so far, with those of earlier sessions.
    """

    def __init__(
        self, workdir: Path, title: str, step: int, total: int, silent: bool, bar: bool = True
    ):
        from tqdm import tqdm

        self.records: list[dict[str, Any]] = []
        self._path, self._times = workdir / METRICS, workdir / TIMES
        self._silent = silent
        self._step, self._total = step, total
        if silent:
            self._board = tf.summary.create_noop_writer()
        else:
            self._truncate(step)
            board = workdir / TENSORBOARD
            if step:
                _purge(board, step + 1)
            self._board = tf.summary.create_file_writer(str(board))
        self._bar = tqdm(
            total=total,
            initial=min(step, total),
            unit="batch",
            desc=title,
            mininterval=0.5 if sys.stderr.isatty() else 15,
            dynamic_ncols=True,
            disable=silent or not bar,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_) -> None:
        self._bar.close()
        self._board.close()

    @property
    def last(self) -> dict[str, Any]:
        """See the class."""
        return self.records[-1] if self.records else {}

    @property
    def num_records(self) -> int:
        """How many there are."""
        return len(self.records)

    def write(
        self,
        record: Mapping[str, Any],
        times: Mapping[str, float],
        histograms: Mapping[str, np.ndarray] = MappingProxyType({}),
    ) -> None:
        """Writes a record.

        Args:
          record: `step` and what else is the same in every run of this config.
          times: what is not; for times.jsonl and TensorBoard.
          histograms: numbers whose distribution TensorBoard shows.
        """
        self.records.append(dict(record))
        if self._silent:
            return
        with self._path.open("a") as file:
            file.write(json.dumps(record) + "\n")
        if times:
            with self._times.open("a") as file:
                file.write(json.dumps({"step": record["step"], **times}) + "\n")
        with self._board.as_default():
            # As `tf.summary.scalar` writes them, by one operation: each takes half a millisecond,
            # and a hundred mini-batches of small networks a hundred.
            scalars = [scalar_pb(name, float(x)) for name, x in {**record, **times}.items()]
            values = [value for each in scalars for value in each.value]
            raw = type(scalars[0])(value=values).SerializeToString()
            tf.summary.experimental.write_raw_pb(raw, step=record["step"])
            for name, values in histograms.items():
                tf.summary.histogram(name, values, step=record["step"])

    def picture(self, path: Path, step: int) -> None:
        """Shows a PNG file in TensorBoard, too."""
        if self._silent or not path.is_file():
            return
        with self._board.as_default():
            image = tf.io.decode_png(tf.io.read_file(str(path)), channels=3)
            tf.summary.image("samples", image[None], step=step)

    def show(self, step: int, text: str) -> None:
        """Moves the bar."""
        self._bar.set_postfix_str(text, refresh=False)
        self._bar.update(min(step, self._total) - self._bar.n)

    def take_over(self) -> None:
        """Writes the last record of a silent journal, unless the first worker did before it died.

        It writes each record before any worker goes on, so that no other can be missing.
        """
        record = self.last
        self._truncate(record.get("step", self._step))
        self._silent = False
        if record and self.last.get("step") != record["step"]:
            self.write(record, {})

    def sync(self) -> None:
        """Flushes metrics.jsonl to the disk: a checkpoint must not outlast its records."""
        if self._path.is_file():
            with self._path.open("rb") as file:
                os.fsync(file.fileno())

    def _truncate(self, step: int) -> None:
        """Drops the lines after `step`, and one that was cut off."""
        self.records = [json.loads(line) for line in _truncate(self._path, step)]
        _truncate(self._times, step)


def _truncate(path: Path, step: int) -> list[str]:
    """Drops the lines after `step`, and one that was cut off; returns the others."""
    kept = [x for x in whole_lines(path) if json.loads(x)["step"] <= step]
    text = "".join(kept)
    if path.is_file() and path.read_text() != text:
        write_atomically(path, lambda temporary: temporary.write_text(text))
    return kept


def _purge(board: Path, step: int) -> None:
    """Tells TensorBoard that what earlier sessions wrote from `step` on does not count."""
    from tensorboard.compat.proto.event_pb2 import Event, SessionLog
    from tensorboard.summary.writer.record_writer import RecordWriter

    # Files are read in the order of their names: this one before those of tf.summary, whose second
    # is followed by a host. TensorBoard takes the first START that it sees for the beginning of the
    # run, and drops nothing there.
    now = time.time()
    start = Event(step=step, wall_time=now, session_log=SessionLog(status=SessionLog.START))
    events = (Event(wall_time=now, file_version="brain.Event:2"), start, start)
    name = f"events.out.tfevents.{int(now):010d}.-purge"
    board.mkdir(exist_ok=True)
    with (board / name).open("wb") as file:
        writer = RecordWriter(file)
        for event in events:
            writer.write(event.SerializeToString())
