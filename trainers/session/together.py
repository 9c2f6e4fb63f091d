"""Many runs in one process: a population, trained by one program, each in a workdir of its own.

Every run has a `Session`, as alone: its journal, checkpoints, pictures, scores and published model.
Only the steps are made for all at once (tf_mixed_nash/training/population.py). What a kill or a
stop leaves are workdirs like any others: the same command goes on with all of them, `trainers.run`
with one. Runs that a kill left behind the others are trained alone until they have caught up; one
that diverges leaves, and what becomes of it is decided, as for a run alone, when the others have
ended.
"""

from __future__ import annotations

import contextlib
import dataclasses
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from tf_mixed_nash.compile import deterministic
from tf_mixed_nash.errors import InputError
from tf_mixed_nash.training.loop import Divergence, Loop
from tf_mixed_nash.training.population import Population
from trainers.experiment import population
from trainers.experiment.build import build
from trainers.session import train
from trainers.session.session import CALL_SECONDS, Hooks, Session, Stretch, next_after, warn
from trainers.system import cli
from trainers.system.devices import Workers
from trainers.system.stopping import Stopped, StopRequest
from trainers.workdir import recoveries

__all__ = ["Member", "Outcome", "train_together"]

_FAILED = 1


class Member(NamedTuple):
    """A run that should be there.

    Attributes:
      config: resolved.
      workdir: a new or empty folder, or that of the same config.
    """

    config: Mapping[str, Any]
    workdir: Path


class Outcome(NamedTuple):
    """How a run ended.

    Attributes:
      how: done, diverged, failed, or stopped: the same command goes on.
      said: the error of a run that failed; else "".
    """

    how: str
    said: str = ""


def train_together(members: Sequence[Member]) -> tuple[int, list[Outcome]]:
    """Trains, scores and publishes all; resumes each where its newest good checkpoint is.

    Returns:
      (exit code: done, diverged if a run did, failed (1), or that of a signal; how each ended).

    Raises:
      InputError: if they cannot be one population, or a workdir cannot be used; before anything is
        written.
    """
    with StopRequest() as stop, deterministic(), contextlib.ExitStack() as held:
        try:
            group = _Group(members, stop, held)
            group.run()
        except Stopped as stopped:
            print("Stopped; the same command goes on where this one was.")
            return stopped.code, [Outcome("stopped") for _ in members]
        return group.code, group.outcomes


class _Group:
    """The runs that are not finished yet."""

    def __init__(self, members: Sequence[Member], stop: StopRequest, held: contextlib.ExitStack):
        self.stop = stop
        self._outcomes: dict[int, Outcome] = {}
        left = []
        for i, (config, workdir) in enumerate(members):
            with train.disk_errors(workdir):
                if train.finished_before(config, workdir):
                    print(train.already(workdir))
                    self._outcomes[i] = Outcome("done")
                else:
                    left.append(i)
        self._members = members
        self._left = {
            i: build(members[i].config, recoveries.read(members[i].workdir)) for i in left
        }
        runs = list(self._left.values())
        if len(runs) > 1:
            population.check(runs)
        for run in runs:
            train.check(run)
            run.task.check_scores()
        if runs and (said := runs[0].task.describe()):
            print(said)
        self._sessions = {i: self._session(i, held) for i in left}

    def _session(self, i: int, held: contextlib.ExitStack) -> Session:
        member, workers, run = self._members[i], Workers(), self._left[i]
        held.enter_context(train.disk_errors(member.workdir))
        held.enter_context(train.prepared(member.config, member.workdir, workers))
        others = len(self._left) - 1
        if others:
            reason = f"{run.choice.reason}; with {others} more runs in one program"
            run = dataclasses.replace(run, choice=run.choice._replace(reason=reason))
        session = Session(run, member.workdir, workers, self.stop, Hooks(bar=False))
        session.together = len(self._left)
        return held.enter_context(session)

    @property
    def outcomes(self) -> list[Outcome]:
        """Of all members, in their order."""
        return [self._outcomes.get(i, Outcome("stopped")) for i in range(len(self._members))]

    @property
    def code(self) -> int:
        """The exit code."""
        ways = {outcome.how for outcome in self.outcomes}
        if "stopped" in ways:
            return self.stop.code or cli.STOPPED
        if "failed" in ways:
            return _FAILED
        return cli.DIVERGED if "diverged" in ways else cli.DONE

    def run(self) -> None:
        """All to their ends, or to where a signal stopped them."""
        sessions = self._sessions
        if not sessions:
            return
        steps = {i: session.begin(say=False) for i, session in sessions.items()}
        first = next(iter(sessions.values())).loop.run
        print(f"{len(sessions)} runs, compile={first.compile}: {first.choice.reason}.")
        # After a rollback the step sizes and the noise are others.
        own = {i for i in sessions if recoveries.read(self._members[i].workdir)}
        together = {i: session for i, session in sessions.items() if i not in own}
        diverged = self._catch_up(together, steps)
        if len(together) - len(diverged) > 1 and not self.stop.code:
            ready = {i: session for i, session in together.items() if i not in diverged}
            diverged |= _Together(ready, self.stop).train()
        for i, session in sessions.items():
            if not self.stop.code:
                self._outcomes[i] = self._alone(i, session, diverged.get(i))
        if self.stop.code:
            print("Stopped after a checkpoint of every run; the same command resumes.")

    def _catch_up(self, together: Mapping[int, Session], steps: Mapping[int, int]):
        """Trains those behind up to the others; which of them diverged."""
        diverged: dict[int, Divergence] = {}
        front = max((steps[i] for i in together), default=0)
        for i, session in together.items():
            if steps[i] < front and not self.stop.code:
                print(f"{session.workdir} goes on alone from mini-batch {steps[i]} to {front}.")
                _, at = session.train(front, say=False)
                if at:
                    diverged[i] = at
        return diverged

    def _alone(self, i: int, session: Session, diverged: Divergence | None) -> Outcome:
        """What is left for the run itself: its scores, or what follows a divergence."""
        try:
            if diverged and not session.roll_back(diverged):
                return Outcome("diverged")
            code = session.go_on()
        except InputError as error:
            return self._failed(session, str(error))
        except ValueError as error:  # such as samples that are not finite
            return self._failed(session, f"{type(error).__name__}: {error}")
        del self._left[i]
        session.loop.release()
        ways = {cli.DONE: "done", cli.DIVERGED: "diverged"}
        return Outcome(ways.get(code, "stopped"))

    def _failed(self, session: Session, said: str) -> Outcome:
        print(f"error: {session.workdir}: {said}", file=sys.stderr)
        return Outcome("failed", said)


class _Together:
    """The part of the training that is one program's.

    Args:
      sessions: at the same mini-batch.
      stop: what asks to stop.
    """

    def __init__(self, sessions: Mapping[int, Session], stop: StopRequest):
        self._sessions, self._stop = dict(sessions), stop
        loops = [session.loop for session in sessions.values()]
        self._population = Population(loops, population.template([loop.run for loop in loops]))
        self._run = loops[0].run
        self._pace, self._traced = 1, False

    def train(self) -> dict[int, Divergence]:
        """To the end or a stop; the runs that diverged, by number, and where."""
        lost: dict[int, Divergence] = {}
        total, title = self._run.num_batches, f"{len(self._sessions)} x {self._run.algorithm}"
        with contextlib.ExitStack() as stack:
            journals = {i: stack.enter_context(s.journal()) for i, s in self._sessions.items()}
            bar = stack.enter_context(
                tqdm(
                    total=total,
                    initial=self._population.step,
                    unit="batch",
                    desc=title,
                    mininterval=0.5 if sys.stderr.isatty() else 15,
                    dynamic_ncols=True,
                )
            )
            for stretch, ends in self._stretches(total):
                for i, end in ends.items():
                    if end:
                        lost[i] = end
                        self._leave(i, end)
                    elif i not in lost:
                        self._sessions[i].take(journals[i], stretch, total)
                bar.update(min(stretch.now, total) - bar.n)
                if len(lost) == len(self._sessions):
                    break
            for i in self._sessions.keys() - lost.keys():
                self._sessions[i].settle()
        self._population.release()
        return lost

    def _stretches(self, total: int) -> Iterator[tuple[Stretch, dict[int, Divergence | None]]]:
        """See `Session._stretches`; each with where the runs diverged that did in it."""
        o, size = self._run.options, len(self._sessions)
        while (before := self._population.step) < total:
            waited, began = self._waited, time.perf_counter()
            due = (
                next_after(before, n) for n in (o.log_every, o.picture_every, o.checkpoint_every)
            )
            ends, code = self._advance(min(total, *due))
            seconds, now = time.perf_counter() - began, self._population.step
            # A run's part of the time, which all together took.
            ms = seconds * 1e3 / max(now - before, 1) / size
            waiting = (self._waited - waited) / seconds
            yield Stretch(before, now, ms, waiting, None, code, None), ends
            if code:
                return

    def _advance(self, until: int) -> tuple[dict[int, Divergence | None], int]:
        """Goes on to `until`, or less if asked to stop; (where runs diverged, exit code)."""
        together = self._population
        while True:
            before, began = together.step, time.perf_counter()
            found = together.advance(min(until, before + self._pace))
            elapsed = time.perf_counter() - began
            if not self._traced and together.refused:
                warn(f"compile={together.compile}, because XLA refused: {together.refused}")
            if self._traced:  # else its time says nothing of the next call's
                slowest = elapsed / (together.step - before)
                self._pace = max(1, min(4 * self._pace, int(CALL_SECONDS / slowest)))
                for session in self._sessions.values():
                    session.spend(elapsed / len(self._sessions))
            self._traced = True
            ends = dict(zip(self._sessions, found, strict=True))
            if any(ends.values()) or self._stop.code or together.step >= until:
                return ends, self._stop.code

    @property
    def _waited(self) -> float:
        return sum(loop.waited for loop in self._population.loops)

    def _leave(self, i: int, end: Divergence) -> None:
        """The run's place in the program goes on without it, so that nothing is compiled anew."""
        session = self._sessions[i]
        warn(
            f"{session.workdir} left the finite numbers at mini-batch {end.step}; the others go on"
        )
        ghost = session.loop
        self._population.leave(ghost)
        session.loop = Loop(ghost.run)
        session.loop.assign(ghost.tensors())
