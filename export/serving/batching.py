"""Micro-batching: requests that wait at the same time run as one.

A row costs little more among 64 than alone: a session's run has a fixed cost, and a published
network computes whole groups of rows. Requests for the same version and signature wait in one
queue; a free thread takes all that wait, up to a batch's rows. A batch that is not full waits while
one of its queue runs: TensorFlow uses all cores for one batch, and two halves cost more than a
whole. After a batch of several requests the next one waits for as many as are under way to come
again, at most for the time that the batch took: a full batch costs hardly more than half a one.
Under light load a request so runs at once and alone, under heavy load batches fill by themselves.

A request of more rows than a batch is admitted whole or refused whole, and runs in slices: each
batch takes a share of every request that waits, so that a large one holds up nobody. A request
whose client left, or whose time is up, is not computed any further.

Outputs do not depend on the batch (`export.verify`, gate "seeds"), so nothing can leak from one
request into another.
"""

from __future__ import annotations

import asyncio
import collections
import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from export.serving.config import Batching
from export.serving.errors import Code, ServingError

__all__ = ["Scheduler"]

_SWEEP_SECONDS = 0.02
# Networks compute whole groups of 8 rows (`export.rounding`): smaller slices cost as much.
_GROUP = 8
# Of the seconds for a row, what a batch changes. Their number is that of models and signatures.
_NEWEST, _MOST_PACES = 0.2, 256
_LARGE = 2**18  # bytes that are copied on a thread

Arrays = Mapping[str, np.ndarray]
Run = Callable[[Arrays], Arrays]


class _Task:
    """A request: the rows that wait are the last `left` ones."""

    __slots__ = ("deadline", "future", "inputs", "left", "missing", "parts", "queued", "rows")

    def __init__(self, inputs: Arrays, rows: int, deadline: float):
        self.inputs, self.rows, self.deadline = inputs, rows, deadline
        self.queued = time.monotonic()  # since when it waits for its next slice
        self.left = self.missing = rows  # rows that wait, and that are not answered
        self.parts: dict[int, Arrays] = {}  # first row -> outputs
        self.future: asyncio.Future = asyncio.get_running_loop().create_future()

    def slice(self, rows: int) -> _Slice:
        """Takes the next rows."""
        start = self.rows - self.left
        self.left -= rows
        return _Slice(self, start, rows)


class _Slice:
    """Consecutive rows of a request."""

    __slots__ = ("inputs", "rows", "start", "task")

    def __init__(self, task: _Task, start: int, rows: int):
        self.task, self.start, self.rows = task, start, rows
        self.inputs = task.inputs
        if rows < task.rows:
            self.inputs = {n: v[start : start + rows] for n, v in task.inputs.items()}

    def done(self, result: Any) -> None:
        """Takes the outputs of these rows, or the exception that they raised."""
        task = self.task
        if task.future.done():
            return
        if isinstance(result, BaseException):
            task.future.set_exception(result)
            return
        task.parts[self.start] = result
        task.missing -= self.rows
        if not task.missing:
            task.future.set_result([task.parts[start] for start in sorted(task.parts)])


class _Fill(NamedTuple):
    """What the next batch of a queue waits for: so many rows, or until then."""

    rows: int
    until: float


class _Queue:
    """What waits for one version and signature. Tasks that are over have no rows left."""

    __slots__ = ("rows", "run", "tasks")

    def __init__(self, run: Run):
        self.run, self.rows = run, 0
        self.tasks: collections.deque[_Task] = collections.deque()

    def first(self) -> _Task:
        """The request that waits for the longest time."""
        while not self.tasks[0].left:
            self.tasks.popleft()
        return self.tasks[0]


class Scheduler:
    """Runs batches of all queues on a few threads.

    Args:
      batching: how requests are joined; where it is not enabled each runs by itself.
      on_batch: called with (rows, requests) of every batch that is run.
    """

    def __init__(self, batching: Batching, on_batch: Callable[[int, int], None] | None = None):
        self.batching = batching
        self._on_batch = on_batch or (lambda rows, requests: None)
        self._threads = ThreadPoolExecutor(batching.num_batch_threads, "batch")
        self._free = batching.num_batch_threads
        self._queues: dict[tuple, _Queue] = {}  # none is empty
        self._running: collections.Counter[tuple] = collections.Counter()
        self._paces: dict[tuple, float] = {}  # seconds for a row of full batches, by queue
        self._fills: dict[tuple, _Fill] = {}  # none for a queue whose batch runs
        self._waiting: asyncio.TimerHandle | None = None
        self._open: set[_Task] = set()
        self._sweep: asyncio.TimerHandle | None = None
        self._limit = batching.max_enqueued_batches * batching.max_batch_size
        self.queued_rows = 0

    async def submit(
        self, key: tuple, run: Run, inputs: Arrays, rows: int, deadline: float
    ) -> Arrays:
        """Runs inputs, joined with others of the same key.

        Args:
          key: of the version and signature.
          run: calls that signature with joined inputs; every output has as many rows. It is
            called on a thread.
          inputs: arrays of `rows` rows.
          rows: any number; where batching is enabled at most max_batch_size run at once.
          deadline: on the clock of time.monotonic.

        Returns:
          The outputs of these rows.

        Raises:
          ServingError: RESOURCE_EXHAUSTED if too many rows wait, or more than can be run before the
            deadline; DEADLINE_EXCEEDED.
          Exception: what `run` raises for these inputs alone.
        """
        self.check_room(rows, deadline)
        task = _Task(inputs, rows, deadline)
        queue = self._queues.get(key)
        if queue is None:
            queue = self._queues[key] = _Queue(run)
        queue.tasks.append(task)
        queue.rows += rows
        self.queued_rows += rows
        self._open.add(task)
        try:
            self._watch()
            self._dispatch()
            parts = await task.future
        finally:
            self._open.discard(task)
            if task.left:
                self._drop(key, queue, task)
        if len(parts) == 1:
            return parts[0]
        if sum(x.nbytes for part in parts for x in part.values()) > _LARGE:
            return await asyncio.get_running_loop().run_in_executor(None, _join, parts)
        return _join(parts)

    def check_room(self, rows: int = 1, deadline: float | None = None) -> None:
        """Raises ServingError if a request of so many rows would be refused now.

        Where nothing waits, any is taken.
        """
        if not self.queued_rows:
            return
        wait = 0.0
        for key, queue in self._queues.items():
            wait += queue.rows * self._paces.get(key, 0.0)
        if self.queued_rows + rows > self._limit:
            raise ServingError(
                Code.RESOURCE_EXHAUSTED,
                f"The queue is full: {self.queued_rows} rows wait, the limit is {self._limit}. "
                "Try again later.",
                retry_after=wait / 2,
            )
        if deadline is not None and wait > (time_left := deadline - time.monotonic()):
            # It would be computed for nothing, and so would those that come after it.
            raise ServingError(
                Code.RESOURCE_EXHAUSTED,
                f"The queue is full: {self.queued_rows} rows wait, which take {wait:.1f} s, and "
                f"the request has {max(0.0, time_left):.1f} s. Try again later.",
                retry_after=wait / 2,
            )

    def _drop(self, key: tuple, queue: _Queue, task: _Task) -> None:
        """Forgets the rows of a request that is over before all of them ran."""
        queue.rows -= task.left
        self.queued_rows -= task.left
        task.left = 0
        if not queue.rows and self._queues.get(key) is queue:
            del self._queues[key]

    def _watch(self) -> None:
        """Fails the requests whose time is up, now and again while there are any.

        One timer for all: a timer for each request took a tenth of the event loop's time.
        """
        if self._sweep is None and self._open:
            self._sweep = asyncio.get_running_loop().call_later(_SWEEP_SECONDS, self._end_late)

    def _end_late(self) -> None:
        self._sweep = None
        now = time.monotonic()
        for task in [task for task in self._open if task.deadline <= now]:
            if not task.future.done():
                task.future.set_exception(_too_late())
        self._watch()

    def close(self) -> None:
        """Ends the threads once their batches are done."""
        self._threads.shutdown(wait=False)

    def _dispatch(self) -> None:
        while self._free and (key := self._ready()):
            queue = self._queues[key]
            slices = self._take(key, queue)
            self._fills.pop(key, None)
            if slices:
                self._free -= 1
                self._running[key] += 1
                batch = asyncio.ensure_future(self._run(key, queue.run, slices))
                batch.add_done_callback(lambda _: None)

    def _ready(self) -> tuple | None:
        """The queue whose first request waits for the longest time, if it may run now."""
        now, wait = time.monotonic(), self.batching.batch_timeout_micros * 1e-6
        due = []
        for key, queue in self._queues.items():
            full = queue.rows >= self.batching.max_batch_size
            if self.batching.enabled and not full and self._running[key]:
                continue
            first = queue.first().queued
            at = first if full else first + wait
            fill = self._fills.get(key)
            if fill and not full and queue.rows < fill.rows:
                at = max(at, fill.until)
            due.append((at, key))
        if not due:
            return None
        at, key = min(due, key=lambda x: x[0])
        if at <= now or not self.batching.enabled:
            return key
        if self._waiting:
            self._waiting.cancel()
        self._waiting = asyncio.get_running_loop().call_later(at - now, self._dispatch)
        return None

    def _take(self, key: tuple, queue: _Queue) -> list[_Slice]:
        """The next batch: requests as they came, of each large one a share."""
        most = self.batching.max_batch_size
        taken: list[_Slice] = []
        room = most
        share = max(_GROUP, most // max(1, len(queue.tasks)) // _GROUP * _GROUP)
        now = time.monotonic()
        while queue.rows:
            task = queue.first()
            if task.future.done() or task.deadline <= now:  # its client left, or its time was up
                if not task.future.done():
                    task.future.set_exception(_too_late())
                self._drop(key, queue, task)
                continue
            size = task.left
            if self.batching.enabled and task.rows > most:
                size = min(size, share, room)
            # A last slice smaller than a group is left to the next batch.
            if taken and (size > room or size < min(_GROUP, task.left)):
                break
            taken.append(task.slice(size))
            room -= size
            queue.rows -= size
            self.queued_rows -= size
            queue.tasks.popleft()
            if task.left:
                task.queued = now
                queue.tasks.append(task)
            if room <= 0 or not self.batching.enabled:
                break
        if not queue.rows and self._queues.get(key) is queue:
            del self._queues[key]
        return taken

    async def _run(self, key: tuple, run: Run, slices: list[_Slice]) -> None:
        loop = asyncio.get_running_loop()
        rows, requests = sum(part.rows for part in slices), len({part.task for part in slices})
        self._on_batch(rows, requests)
        beside, began = self.batching.num_batch_threads - self._free, time.monotonic()
        try:
            results = await loop.run_in_executor(self._threads, _run_joined, run, slices)
        finally:
            self._free += 1
            self._running[key] -= 1
            if not self._running[key]:
                del self._running[key]
        # Rows of small batches cost more than those of full ones, which a long queue has.
        if 2 * rows >= self.batching.max_batch_size:
            self._note_pace(key, (time.monotonic() - began) / rows / beside)
        self._note_fill(key, rows, requests, time.monotonic() - began)
        for part, result in zip(slices, results, strict=True):
            part.done(result)
        self._dispatch()

    def _note_fill(self, key: tuple, rows: int, requests: int, seconds: float) -> None:
        """Lets the next batch wait for those who were answered, and ask again at once if ever."""
        if not self.batching.enabled or requests < 2 or self._running[key]:
            return
        if len(self._fills) >= _MOST_PACES:  # of versions that are gone
            self._fills.clear()
        waiting = self._queues[key].rows if key in self._queues else 0
        self._fills[key] = _Fill(rows + waiting, time.monotonic() + seconds)

    def _note_pace(self, key: tuple, seconds: float) -> None:
        before = self._paces.get(key)
        if before is None and len(self._paces) >= _MOST_PACES:
            self._paces.clear()
        pace = seconds if before is None else before + _NEWEST * (seconds - before)
        self._paces[key] = pace


def _run_joined(run: Run, slices: list[_Slice]) -> list:
    """The outputs of each slice, or the exception that it alone raises."""
    if len(slices) == 1:
        return [_attempt(lambda: run(slices[0].inputs))]
    # What cannot be joined, rows of a size that a model leaves open, fails here and is halved, too.
    outputs = _attempt(lambda: run(_join([part.inputs for part in slices])))
    if isinstance(outputs, Exception):
        # One request's bad values must not fail the others, nor make each of them run alone.
        half = len(slices) // 2
        return [*_run_joined(run, slices[:half]), *_run_joined(run, slices[half:])]
    edges = np.cumsum([0, *(part.rows for part in slices)])
    return [
        {name: value[a:b] for name, value in outputs.items()} for a, b in itertools.pairwise(edges)
    ]


def _join(parts: Sequence[Arrays]) -> dict[str, np.ndarray]:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _attempt(run: Callable[[], Arrays]) -> Arrays | Exception:
    try:
        return run()
    except Exception as error:  # of a model, of any kind: who asked gets it
        return error


def _too_late() -> ServingError:
    return ServingError(Code.DEADLINE_EXCEEDED, "The request's time was up before it was answered.")
