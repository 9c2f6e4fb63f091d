"""A training that touches no files."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from tqdm import tqdm

from tf_mixed_nash.compile import deterministic
from tf_mixed_nash.training.loop import Divergence, Loop
from trainers.experiment.build import Run
from trainers.session import watchers
from trainers.session.session import record_of
from trainers.session.watchers import crossed
from trainers.system.stopping import StopRequest
from trainers.workdir import findings

__all__ = ["train"]

# A wish to stop is looked for between compiled calls; they are cut to take about so long.
_CALL_SECONDS = 1.0


def train(
    loop: Loop[Run], observe: Callable[[Loop[Run], Mapping[str, Any]], bool], bar: bool
) -> tuple[int, Divergence | None]:
    """Trains to the end, a wish to stop, or a divergence; the records of `trainers.run`.

    Args:
      loop: at its beginning; its training goes on from where it is.
      observe: called with the loop and each record; True ends the training.
      bar: whether progress is shown.

    Returns:
      (signal's exit code or 0, divergence or None).
    """
    run, every = loop.run, loop.run.options.log_every
    looks = watchers.make(run)
    pace, traced, records = 1, False, list[Mapping[str, Any]]()
    progress = tqdm(
        total=run.num_batches,
        unit="batch",
        desc=run.algorithm,
        mininterval=0.5 if sys.stderr.isatty() else 15,
        dynamic_ncols=True,
        disable=not bar,
    )
    with progress, StopRequest() as stop, deterministic():
        while loop.step < run.num_batches:
            before = loop.step
            due = min((before // every + 1) * every, run.num_batches)
            while loop.step < due:
                now, began = loop.step, time.perf_counter()
                diverged = loop.advance(min(due, now + pace))
                if diverged:
                    return 0, diverged
                seconds = (time.perf_counter() - began) / (loop.step - now)
                if traced:  # else its time says nothing of the next call's
                    pace = max(1, min(4 * pace, int(_CALL_SECONDS / seconds)))
                traced = True
                progress.update(min(loop.step, run.num_batches) - progress.n)
                if stop.code:
                    return stop.code, None
            record = record_of(loop)
            for watcher in looks:
                if crossed(before, loop.step, watcher.every):
                    record |= watcher.look(loop)
            if findings.looked([record]):
                record |= findings.entries(findings.find([*records, record], run.num_batches))
            records.append(record)
            progress.set_postfix_str(
                f"generator {record['loss/theta']:.3f}, discriminator {record['loss/w']:.3f}",
                refresh=False,
            )
            if observe(loop, record):
                return 0, None
    return 0, None
