"""Micro-batching: requests that wait at the same time run as one.

A row costs little more among 64 than alone: a session's run has a fixed cost, and a published
network computes whole groups of rows. Requests for the same version and signature wait in one
queue; a free thread takes all that wait, up to a batch's rows. A batch that is not full waits while
one of its queue runs: TensorFlow uses all cores for one batch, and two halves cost more than a
whole. Under light load a request so runs at once and alone, under heavy load batches fill by
themselves.

Outputs do not depend on the batch (`export.verify`, gate "seeds"), so nothing can leak from one
request into another.
"""

from __future__ import annotations

import asyncio
import collections
import itertools
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from export.serving.config import Batching
from export.serving.errors import Code, ServingError

__all__ = ["Scheduler"]

_SWEEP_SECONDS = 0.02

Arrays = Mapping[str, np.ndarray]
Run = Callable[[Arrays], Arrays]


class _Task:
    __slots__ = ("deadline", "enqueued", "future", "inputs", "rows")

    def __init__(self, inputs: Arrays, rows: int, deadline: float):
        self.inputs, self.rows, self.deadline = inputs, rows, deadline
        self.enqueued = time.monotonic()
        self.future: asyncio.Future = asyncio.get_running_loop().create_future()


class _Queue:
    """What waits for one version and signature."""

    __slots__ = ("rows", "run", "tasks")

    def __init__(self, run: Run):
        self.run, self.rows = run, 0
        self.tasks: collections.deque[_Task] = collections.deque()


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
        self._waiting: asyncio.TimerHandle | None = None
        self._open: set[_Task] = set()
        self._sweep: asyncio.TimerHandle | None = None
        self._limit = batching.max_enqueued_batches * batching.max_batch_size
        self.queued_rows = 0

    async def submit(self, key: tuple, run: Run, inputs: Arrays, rows: int, deadline: float):
        """Runs inputs, joined with others of the same key.

        Args:
          key: of the version and signature.
          run: calls that signature with joined inputs; every output has as many rows. It is
            called on a thread.
          inputs: arrays of `rows` rows.
          rows: at most max_batch_size where batching is enabled.
          deadline: on the clock of time.monotonic.

        Returns:
          The outputs of these rows.

        Raises:
          ServingError: RESOURCE_EXHAUSTED if too many rows wait, DEADLINE_EXCEEDED.
          Exception: what `run` raises for these inputs alone.
        """
        if self.queued_rows + rows > self._limit:
            raise ServingError(
                Code.RESOURCE_EXHAUSTED,
                f"The queue is full: {self.queued_rows} rows wait, the limit is {self._limit}. "
                "Try again later.",
            )
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
            return await task.future
        finally:
            self._open.discard(task)

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
            tasks = self._take(queue)
            if tasks:
                self._free -= 1
                self._running[key] += 1
                batch = asyncio.ensure_future(self._run(key, queue.run, tasks))
                batch.add_done_callback(lambda _: None)
            if not queue.tasks:
                del self._queues[key]

    def _ready(self) -> tuple | None:
        """The queue whose first request came first, if it may run now."""
        now, wait = time.monotonic(), self.batching.batch_timeout_micros * 1e-6
        due = []
        for key, queue in self._queues.items():
            full = queue.rows >= self.batching.max_batch_size
            if self.batching.enabled and not full and self._running[key]:
                continue
            first = queue.tasks[0].enqueued
            at = first if full else first + wait
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

    def _take(self, queue: _Queue) -> list[_Task]:
        tasks, taken, rows = queue.tasks, [], 0
        now = time.monotonic()
        while tasks:
            task = tasks[0]
            if task.future.done():  # its client left, or its time was up
                pass
            elif task.deadline <= now:
                task.future.set_exception(_too_late())
            elif taken and rows + task.rows > self.batching.max_batch_size:
                break
            else:
                taken.append(task)
                rows += task.rows
            tasks.popleft()
            queue.rows -= task.rows
            self.queued_rows -= task.rows
            if taken and not self.batching.enabled:
                break
        return taken

    async def _run(self, key: tuple, run: Run, tasks: list[_Task]) -> None:
        loop = asyncio.get_running_loop()
        self._on_batch(sum(task.rows for task in tasks), len(tasks))
        try:
            results = await loop.run_in_executor(self._threads, _run_joined, run, tasks)
        finally:
            self._free += 1
            self._running[key] -= 1
            if not self._running[key]:
                del self._running[key]
        for task, result in zip(tasks, results, strict=True):
            if task.future.done():
                continue
            if isinstance(result, BaseException):
                task.future.set_exception(result)
            else:
                task.future.set_result(result)
        self._dispatch()


def _run_joined(run: Run, tasks: list[_Task]) -> list:
    """The outputs of each task, or the exception that it alone raises."""
    if len(tasks) == 1:
        return [_attempt(run, tasks[0].inputs)]
    joined = {
        name: np.concatenate([task.inputs[name] for task in tasks]) for name in tasks[0].inputs
    }
    outputs = _attempt(run, joined)
    if isinstance(outputs, BaseException):
        # One request's bad values must not fail the others.
        return [_attempt(run, task.inputs) for task in tasks]
    edges = np.cumsum([0, *(task.rows for task in tasks)])
    return [
        {name: value[a:b] for name, value in outputs.items()} for a, b in itertools.pairwise(edges)
    ]


def _attempt(run: Run, inputs: Arrays):
    try:
        return run(inputs)
    except Exception as error:
        return error


def _too_late() -> ServingError:
    return ServingError(Code.DEADLINE_EXCEEDED, "The request's time was up before it was answered.")
