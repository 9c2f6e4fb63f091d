"""One session of a run: from its newest checkpoint to the end, a stop, or a divergence."""

from __future__ import annotations

import contextlib
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tf_mixed_nash import rng
from tf_mixed_nash.algorithms import ALGORITHMS
from tf_mixed_nash.errors import InputError
from tf_mixed_nash.memory import give_back
from tf_mixed_nash.training.loop import Divergence, Loop
from tf_mixed_nash.types import PLAYERS
from trainers.answers import publishing
from trainers.experiment.build import Given, Run, build
from trainers.session import divergence, watchers
from trainers.session.film import Film
from trainers.session.journal import Journal
from trainers.session.watchers import crossed
from trainers.system import cli, devices, lock, provenance, user_files
from trainers.system.devices import Workers
from trainers.system.stopping import StopRequest
from trainers.workdir import best, findings
from trainers.workdir.checkpoints import Checkpoints, Retention
from trainers.workdir.folder import CHECKPOINTS, METRICS, SAMPLES, whole_lines

__all__ = [
    "CALL_SECONDS",
    "Hooks",
    "Session",
    "Stretch",
    "facts_of",
    "functions_of",
    "next_after",
    "other_functions",
    "record_of",
    "warn",
]

# A wish to stop is looked for between compiled calls; they are cut to take about so long.
CALL_SECONDS = 2.0


class Stretch(NamedTuple):
    """What was trained between two places where something is due.

    Attributes:
      before: the mini-batch at its beginning.
      now: that at its end.
      ms: a mini-batch's milliseconds.
      waiting: the part of the time in which the steps stood still for data.
      diverged: where it left the finite numbers, if it did.
      code: the exit code of who asked to stop; 0: nobody.
      lost: the error by which another worker was found to be lost.
    """

    before: int
    now: int
    ms: float
    waiting: float
    diverged: Divergence | None
    code: int
    lost: tf.errors.OpError | None

    def crossed(self, every: int) -> bool:
        return crossed(self.before, self.now, every)


class Hooks(NamedTuple):
    """What a program that trains wants beside the files.

    Attributes:
      observe: called with the loop and each record after it was written; True ends the session
        after a checkpoint, as if it were asked to stop.
      begin: called with the mini-batch at which this session begins, before it trains.
      bar: whether progress is shown.
    """

    observe: Callable[[Loop[Run], Mapping[str, Any]], bool] | None = None
    begin: Callable[[int], None] | None = None
    bar: bool = True


class Session:
    """This process's part of a run. Use it as a context manager.

    Args:
      run: of the config and the recoveries so far.
      workdir: prepared, and locked.
      workers: the processes.
      stop: what asks to stop.
      hooks: of the program that trains.
      beginning: of a warm start, for provenance.json.

    Attributes:
      loop: of the run.
      lost: whether another worker was lost.
      together: how many runs one program trains, this one among them (together.py).
    """

    def __init__(
        self,
        run: Run,
        workdir: Path,
        workers: Workers,
        stop: StopRequest,
        hooks: Hooks = Hooks(),  # noqa: B008 - immutable
        beginning: Mapping[str, Any] | None = None,
    ):
        self._hooks, self._beginning = hooks, beginning
        self.workdir, self.workers, self.stop = workdir, workers, stop
        self.lost, self.together = False, 1
        # Spent in steps, over all sessions: without tracing, scoring, pictures, checkpoints.
        self._seconds = 0.0
        o = run.options
        retention = Retention(o.keep_last, o.keep_every, o.keep_best)
        self._checkpoints = Checkpoints(workdir / CHECKPOINTS, retention)
        self._best = best.Best.of(run.config)
        self._found: list[findings.Finding] = []
        self._begin(run)

    def _begin(self, run: Run) -> None:
        self.loop = Loop(run)
        self._pace, self._traced = 1, False
        self._sampler = watchers.sampler(run)
        self._watchers = watchers.make(run) if self.workers.chief else []
        filmed = self.workers.chief and run.options.film
        self._film = Film(run, self.workdir) if filmed else None

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        self.loop.close()
        self._checkpoints.close()

    def run(self, until: int | None = None) -> int:
        """Trains to the end, scores and publishes; returns the exit code. See `train.train`."""
        step = self.begin()
        if self._hooks.begin:
            self._hooks.begin(step)
        return self.go_on(until)

    def begin(self, say: bool = True) -> int:
        """Takes the newest checkpoint, and records the session; returns its mini-batch.

        Args:
          say: how the steps are compiled; where the run begins, what else is known of its config.
        """
        step = self._restore()
        if self.workers.chief:
            run = self.loop.run
            more = {"init_from": self._beginning} if self._beginning else {}
            choice, texts = run.choice._asdict(), run.user_texts()
            provenance.record(self.workdir, run.config, step, choice, texts, more)
            if say:
                print(f"compile={run.compile}: {run.choice.reason}.")
                if not step:
                    self._print_notes()
        return step

    def _print_notes(self) -> None:
        run = self.loop.run
        seen = run.task.seen_by_the_monitor if run.options.duality_gap.every else ""
        for note in filter(None, (run.game.regularizers.note, seen)):
            print(note)

    def go_on(self, until: int | None = None) -> int:
        """`run` from where the loop stands."""
        code, diverged = self.train(until)
        while diverged and self.roll_back(diverged):
            code, diverged = self.train(until)
        if code == cli.DONE and self.workers.chief:
            with self.stop.at_once():
                self._finish()
        return code

    # Where it begins.

    def _restore(self) -> int:
        """Takes the newest good checkpoint, if there is one; returns its mini-batch."""
        if self.workers.chief:
            self._checkpoints.clean()
        found = self._checkpoints.read()
        step = found.saved.step if found else 0
        steps = self.workers.gather(step)
        if others := devices.first_difference(steps):
            raise InputError(
                f"Worker {others[0]} resumes at mini-batch {steps[others[0], 0]:.0f}, the first at "
                f"{steps[0, 0]:.0f}. All workers must see the same --workdir: use a shared folder."
            )
        if not found:
            return 0
        self.loop.assign(found.tensors)
        self.loop.run.task.set_state(found.saved.manifest.get("data", {}))
        self._seconds = found.saved.manifest.get("seconds", 0.0)
        if self.workers.chief:
            for path, reason in found.damaged:
                aside = self._checkpoints.set_aside(path)
                warn(f"{path} is damaged ({reason}). It was renamed to {aside.name}")
            print(f"Resuming from {found.saved.path}")
            for note in self._notes(found.saved.manifest):
                warn(note)
        return step

    @property
    def _way(self) -> str:
        """How the steps are compiled: what makes another rounding."""
        number = f", {self.together} runs" if self.together > 1 else ""
        return f"{self.loop.compile}{number}"

    def _notes(self, manifest: Mapping[str, Any]) -> Iterator[str]:
        """What makes this session go on otherwise than the one before would have."""
        if not manifest:
            return
        mine = _circumstances(self.loop.run, self._way)
        for key, what in (
            ("code", "code"),
            ("versions", "packages"),
            ("replicas", "replicas"),
            ("compile", "ways of compiling"),
        ):
            if mine[key] != manifest[key]:
                yield (
                    f"the checkpoint is of other {what} ({_short(manifest[key], mine[key])}): the "
                    "run goes on, but not bit for bit as it would have"
                )
        for path, now in mine.get("user_files", {}).items():
            if manifest.get("user_files", {}).get(path, now) != now:
                yield (
                    f"{path} was edited since the checkpoint: the run goes on with what it says "
                    "now (provenance.json has both texts)"
                )
        for what in other_functions(manifest, mine):
            yield f"{what} is another function than that of the checkpoint: the run goes on with it"
        mine = self.loop.run.task.state().get("fingerprint")
        data = manifest["data"].get("fingerprint")
        if mine != data:
            yield f"the data are not those of the checkpoint (fingerprint {data} there, {mine} now)"
        lines = self.workdir / METRICS
        there = len(whole_lines(lines))
        if there < manifest["num_records"]:
            yield (
                f"{lines} has {there} lines where the checkpoint knows of "
                f"{manifest['num_records']}: records were lost, not by this program"
            )

    # Training.

    def train(self, until: int | None, say: bool = True) -> tuple[int, Divergence | None]:
        """To the end, `until`, a stop, or a divergence; (exit code, divergence).

        Args:
          until: a mini-batch.
          say: that it stopped before the end.
        """
        total = self.loop.run.num_batches
        last, code = total if until is None else min(total, until), cli.DONE
        with self.journal() as journal:
            for stretch in self._stretches(last):
                if stretch.lost:
                    self._without_others(stretch.lost, journal)
                    return cli.STOPPED, None
                if stretch.diverged:
                    return cli.DIVERGED, stretch.diverged
                code = stretch.code
                if self.take(journal, stretch, last):
                    break
            self.settle()
        if self.loop.step >= total:
            return cli.DONE, None
        if self.workers.chief and say:
            print(f"Stopped after {self._checkpoints.latest}; the same command resumes.")
        return code or cli.STOPPED, None

    def journal(self) -> Journal:
        """Of the session from here on, where the run is finite."""
        loop = self.loop
        self._good = loop.tensors(reservoir=False)
        total, silent = loop.run.num_batches, not self.workers.chief
        name, bar = loop.run.algorithm, self._hooks.bar
        journal = Journal(self.workdir, name, loop.step, total, silent, bar)
        self._found = findings.find(journal.records, total)
        return journal

    def take(self, journal: Journal, stretch: Stretch, last: int) -> bool:
        """Writes what is due at the end of a stretch.

        Args:
          journal: of the session.
          stretch: that was trained, and is finite.
          last: where the training ends.

        Returns:
          Whether the program that trains wishes to stop.
        """
        loop, chief = self.loop, self.workers.chief
        total, every = loop.run.num_batches, loop.run.options
        ended, wished = stretch.now >= total, False
        if stretch.crossed(every.log_every) or ended:
            # On every worker: it starts the sums anew.
            self._record(journal, stretch)
            self._good = loop.tensors(reservoir=False)
            if self._hooks.observe:
                wished = self._hooks.observe(loop, journal.last)
        if chief and (stretch.crossed(every.picture_every) or ended):
            journal.picture(self._picture(), loop.step)
        stops = stretch.code or wished or stretch.now >= last
        due = stretch.crossed(every.checkpoint_every) or self._is_best(journal)
        if chief and (due or stops):
            self._save(journal)
        return wished

    def spend(self, seconds: float) -> None:
        """Adds to the seconds spent in steps what others measured."""
        self._seconds += seconds

    def settle(self) -> None:
        """Waits for the checkpoint that is being written."""
        self._checkpoints.wait()

    def _stretches(self, last: int) -> Iterator[Stretch]:
        """Trains to `last`, or less if it ends before; each stretch to where something is due."""
        loop, o = self.loop, self.loop.run.options
        while loop.step < last:
            before, began, waited = loop.step, time.perf_counter(), loop.waited
            due = (
                next_after(before, n) for n in (o.log_every, o.picture_every, o.checkpoint_every)
            )
            diverged, code, lost = None, 0, None
            try:
                diverged, code = self._advance(min(last, *due))
            except tf.errors.OpError as error:
                if self.workers.count == 1:
                    raise
                lost = error
            seconds, now = time.perf_counter() - began, loop.step
            ms, waiting = seconds * 1e3 / max(now - before, 1), (loop.waited - waited) / seconds
            yield Stretch(before, now, ms, waiting, diverged, code, lost)
            if code:
                return

    def _advance(self, until: int) -> tuple[Divergence | None, int]:
        """Goes on to `until`, or less if all are asked to stop; (divergence, exit code)."""
        loop = self.loop
        while True:
            before, began = loop.step, time.perf_counter()
            diverged = loop.advance(min(until, before + self._pace))
            elapsed = time.perf_counter() - began
            seconds = elapsed / (loop.step - before)
            codes, slowest = self.workers.gather(self.stop.code, seconds).max(axis=0)
            if not self._traced and loop.refused:
                self._say_refused()
            if self._traced:  # else its time says nothing of the next call's
                self._pace = max(1, min(4 * self._pace, int(CALL_SECONDS / slowest)))
                self._seconds += elapsed
            self._traced = True
            if diverged or codes or loop.step >= until:
                return diverged, int(codes)

    def _say_refused(self) -> None:
        """XLA did not compile the steps whole: said, and recorded."""
        run, reason = self.loop.run, f"XLA refused: {self.loop.refused}"
        if self.workers.chief:
            warn(f"compile={self.loop.compile}, because {reason}")
            choice = run.choice._replace(way=self.loop.compile, reason=reason)
            provenance.correct(self.workdir, choice._asdict())

    def _record(self, journal: Journal, stretch: Stretch) -> None:
        loop = self.loop
        before, histograms = journal.last.get("step", 0), dict[str, Any]()
        record = record_of(loop)
        times = {"ms_per_batch": stretch.ms, "data_wait": stretch.waiting, "seconds": self._seconds}
        for watcher in self._watchers:
            if crossed(before, loop.step, watcher.every):
                looked = watcher.look(loop)
                record |= looked
                if looked:
                    times[watcher.time_key] = watcher.seconds[-1]
                    histograms |= watcher.histograms
        if findings.looked([record]):
            self._found = findings.find([*journal.records, record], loop.run.num_batches)
            record |= findings.entries(self._found)
        journal.write(record, times, histograms)
        if self._film:
            self._film.look(loop, before)
        journal.show(
            loop.step,
            f"{stretch.ms:.1f} ms/batch, generator {record['loss/theta']:.3f}, "
            f"discriminator {record['loss/w']:.3f}"
            + "".join(f", {text}" for text in self._notable(journal) if text),
        )

    def _notable(self, journal: Journal) -> tuple[str, str]:
        """The newest scores, and the names of the findings."""
        return best.said(journal.records, self.loop.run.options), findings.said(self._found)

    def _is_best(self, journal: Journal) -> bool:
        """Whether the record of now holds a better score than all before: a checkpoint is due."""
        is_new = journal.last.get("step") == self.loop.step
        return bool(self._best) and is_new and self._best.beats(journal.records)

    def _picture(self) -> Path:
        give_back()  # what is drawn needs as much as a step
        run, step = self.loop.run, self.loop.step
        title = f"{run.algorithm}, last iterate, {step:,} mini-batches"
        path = self.workdir / SAMPLES / f"step_{step:08d}.png"
        self._draw(path, title)
        return path

    def _draw(self, path: Path, title: str) -> None:
        several, task = self.loop.run.num_particles > 1, self.loop.run.task
        task.draw_step(path, title, self._last, self._atoms if several else None)

    def _last(self, seeds: tf.Tensor) -> np.ndarray:
        """Samples of the last iterate."""
        atoms, weights = self.loop.latest().theta
        return self._sampler(atoms, weights, seeds).numpy()

    def _atoms(self, seeds: tf.Tensor) -> np.ndarray:
        """Which atom draws each of them."""
        return self.loop.run.strategy(*self.loop.latest().theta).atom_of(seeds).numpy()

    # Checkpoints.

    def _save(self, journal: Journal) -> None:
        """Begins a checkpoint of now; its records are on the disk before it is."""
        journal.sync()
        metrics = {k: v for k, v in journal.last.items() if math.isfinite(v)}
        if self._best and journal.last.get("step") == self.loop.step:
            metrics |= self._best.entry(journal.last)
        facts = facts_of(self.loop, journal.num_records, self._seconds, metrics)
        facts["compile"] = self._way
        self._checkpoints.save(self.loop.step, self.loop.tensors(), facts)

    # When it goes wrong.

    def _without_others(self, error: tf.errors.OpError, journal: Journal) -> None:
        """Another worker was lost: a checkpoint of the last whole call, and the way to go on."""
        self.lost = True
        lines = [line for line in error.message.splitlines() if line.strip()]
        reason = next((x for x in lines if "rror:" not in x[-7:]), type(error).__name__)[:200]
        what = "the first worker writes a checkpoint"
        with contextlib.ExitStack() as held:
            writes = self.workers.chief
            # All workers have the same state, bit for bit. Who can lock the workdir is the first
            # to find that its holder, the chief, is the one that was lost.
            with contextlib.suppress(InputError):
                if not self.workers.chief:
                    held.enter_context(lock.hold(self.workdir))
                    journal.take_over()
                    writes = self.loop.step not in self._checkpoints.steps
            if writes:
                self._save(journal)
                self._checkpoints.wait()
                what = f"a checkpoint was written: {self._checkpoints.latest}"
        warn(
            f"another worker of this run was lost ({reason.strip()}). Stopped at mini-batch "
            f"{self.loop.step}; {what}. Start the same command on every worker to resume"
        )

    def roll_back(self, diverged: Divergence) -> bool:
        """Says what happened; True if the run goes on from the last good checkpoint."""
        draw = self._picture_of_divergence if self.workers.chief else lambda: None
        facts = divergence.examine(self.loop, self._good, diverged, draw)
        self._checkpoints.wait()
        found = self._checkpoints.read()
        config, chief = self.loop.run.config, self.workers.chief
        recoveries = divergence.decide(self.loop.run, self.workdir, diverged, facts, found, chief)
        if recoveries is None:
            return False
        self.workers.gather(0)
        self.loop.close()
        run = self.loop.run
        self._begin(build(config, recoveries, run.given, run.start))
        if found:
            self.loop.assign(found.tensors)
        return True

    def _picture_of_divergence(self) -> str | None:
        path = self.workdir / SAMPLES / f"diverged_{self.loop.step:08d}.png"
        title = f"before mini-batch {self.loop.step:,}, which diverged"
        try:
            self._draw(path, title)
        except ValueError:  # samples that are not finite have no picture
            return None
        return path.relative_to(self.workdir).as_posix()

    # The end.

    def _finish(self) -> None:
        ends = [watcher.conclude(self.loop) for watcher in self._watchers]
        self._good = {}  # gives its memory back
        if self._film and (film := self._film.finish()):
            ends.append(({}, f"film         {film}"))
        ends.append(self._conclusion())
        entries = {key: value for more, _ in ends for key, value in more.items()}
        said = "\n".join(text for _, text in ends if text)
        publishing.finish(self.loop, self.workdir, entries, said)

    def _conclusion(self) -> tuple[dict[str, Any], str]:
        """What its records say of the whole run, for scorecard.json and for the terminal."""
        records, more = findings.read(self.workdir), dict[str, Any]()
        lines = findings.lines(self._found)
        if findings.looked(records):
            more["health"] = [f.facts for f in self._found]
        if self._best and (found := self._best.of_records(records)):
            more["best"] = found._asdict()
            lines += [
                f"best         {found}",
                "             publish it: python -m export.saved_model --step=best "
                f"--workdir={self.workdir} --output=models/best",
            ]
        return more, "\n".join(lines)


def record_of(loop: Loop[Run]) -> dict[str, Any]:
    """What is known of now, for metrics.jsonl; it starts the means of `Loop.logs` anew."""
    run, t = loop.run, max(loop.outer_step - 1, 0)
    record = {"step": loop.step, "outer_step": loop.outer_step, **loop.logs()}
    for player in PLAYERS:
        h = run.hyperparameters.of(player)
        record[f"step_size/{player}"] = float(h.step_size(t))
        if ALGORITHMS[run.algorithm].langevin:
            record[f"temperature/{player}"] = float(h.temperature(t))
            record[f"inner_steps/{player}"] = int(h.num_inner_steps(t))
    if (p := loop.augment_probability()) is not None:
        record["augment_probability"] = p
    return record


def facts_of(
    loop: Loop[Run],
    num_records: int = 0,
    seconds: float = 0.0,
    metrics: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """What the manifest of a checkpoint of now says.

    Args:
      loop: of the run.
      num_records: lines of metrics.jsonl.
      seconds: spent in steps so far.
      metrics: of the last record, finite.
    """
    return {
        **_circumstances(loop.run, loop.compile),
        "outer_step": loop.outer_step,
        # Every draw is a function of the seed, its stream's name and the mini-batch's number.
        "rng": {"seed": loop.run.seed, "next_batch": loop.step, "draws": rng.LAW},
        "data": loop.run.task.state(),
        "num_records": num_records,
        "seconds": seconds,
        "metrics": dict(metrics or {}),
    }


def other_functions(there: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Which functions of a Python program differ in two manifests, as far as both know them."""
    known, mine = there.get("functions", {}), now.get("functions", {})
    return [f"the {name}" for name in known.keys() & mine.keys() if known[name] != mine[name]]


def functions_of(given: Given | None) -> dict[str, str]:
    """Name -> fingerprint of the functions that a Python program gave."""
    if given is None:
        return {}
    found = {"objective": given.objective, "penalty": given.penalty}
    found |= {f"{key} of the {player}": f for (player, key), f in given.schedules.items()}
    return {n: user_files.fingerprint_of_code(f) for n, f in found.items() if f is not None}


def _circumstances(run: Run, compile: str) -> dict[str, Any]:
    files = {path: user_files.sha256_of(text) for path, text in run.user_texts().items()}
    functions = functions_of(run.given)
    return {
        "config": dict(run.config),
        "code": dict(provenance.code()),
        "versions": provenance.versions(),
        "replicas": devices.num_replicas(run.options.devices),
        "compile": compile,
        **({"user_files": files} if files else {}),
        **({"functions": functions} if functions else {}),
    }


def warn(message: str) -> None:
    """Prints a warning; the message has no full stop."""
    print(f"warning: {message}.", file=sys.stderr)


def next_after(step: int, every: int) -> int:
    """The first multiple of `every` after `step`; of 0 none: a step that is never reached."""
    return (step // every + 1) * every if every else sys.maxsize


def _short(there: Any, now: Any) -> str:
    if isinstance(there, dict) and isinstance(now, dict):
        changed = [k for k in sorted({*there, *now}) if there.get(k) != now.get(k)]
        return ", ".join(f"{k} {there.get(k)} there, {now.get(k)} now" for k in changed[:3])
    return f"{there} there, {now} now"
