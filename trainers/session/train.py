"""One run from its config to its published generator, in as many sessions as it takes."""

from __future__ import annotations

import contextlib
import errno
import math
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tf_mixed_nash.algorithms import ALGORITHMS
from tf_mixed_nash.errors import InputError
from tf_mixed_nash.strategies.mixed import MixedStrategy
from tf_mixed_nash.training.loop import Divergence, Loop
from tf_mixed_nash.types import PLAYERS
from trainers.answers import reading
from trainers.experiment import settings
from trainers.experiment.build import Run, build
from trainers.session import monitor, postmortem, scores
from trainers.session.journal import FILE as METRICS
from trainers.session.journal import Journal
from trainers.system import cli, devices, lock, provenance
from trainers.system.devices import Workers
from trainers.system.files import (
    is_temporary,
    make_writable,
    remove_temporaries,
    write_atomically,
    write_json,
)
from trainers.system.stopping import Stopped, StopRequest
from trainers.workdir import recoveries
from trainers.workdir.checkpoints import Checkpoints, Retention
from trainers.workdir.recoveries import Recovery

__all__ = ["describe", "train"]

_NAMES = {"theta": "generator", "w": "discriminator"}
# A wish to stop is looked for between compiled calls; they are cut to take about so long.
_CALL_SECONDS = 2.0
# What goes wrong with a disk, as opposed to with this program.
_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.EFBIG}


def describe(config: Mapping[str, Any]) -> str:
    """The resolved config, the model sizes and the length of the run, for --dry_run."""
    run = build(config)
    lines = [settings.to_json(config).rstrip()]
    for player in PLAYERS:
        network = run.networks.of(player)
        weighty = [x.output.shape for x in network.model.layers if hasattr(x, "kernel")]
        shapes = [network.model.input_shape, *weighty]
        widths = " -> ".join("x".join(str(n) for n in shape[1:]) for shape in shapes)
        lines.append(f"{_NAMES[player]:<14}{network.num_parameters:>10,} parameters   {widths}")
    lines.append(f"{run.num_outer_steps:,} outer steps use {config['num_batches']:,} mini-batches")
    return "\n".join(lines)


def train(config: Mapping[str, Any], workdir: Path, until: int | None = None) -> int:
    """Trains, scores and publishes; resumes where the workdir's newest good checkpoint is.

    Args:
      config: resolved.
      workdir: a new or empty folder, or that of the same config.
      until: stops after a checkpoint at the first whole step that has used so many mini-batches,
        as if it were asked to; the run stays that of the config, whose end this is not.

    Returns:
      The exit code; `cli.STOPPED` if `until` came before the end.

    Raises:
      InputError: if the workdir cannot be used, is in use by another trainer, or can no longer
        be written.
    """
    workers = devices.workers(config["strategy"])
    with StopRequest() as stop, _disk_errors(workdir):
        try:
            if _agree_to_begin(config, workdir, workers):
                if workers.chief:
                    card = workdir / "scorecard.json"
                    print(f"{workdir} holds this run, finished. Its scorecard: {card}")
                return cli.DONE
            tf.config.experimental.enable_op_determinism()
            run = build(config, recoveries.read(workdir))
            _check_window(run)
            run.task.check()
            with _prepared(config, workdir, workers), _Session(run, workdir, workers, stop) as s:
                code = s.run(until)
                return code if s.lost else _leave_together(workers, code)
        except Stopped as stopped:
            print("Stopped; the same command goes on where this one was.")
            return stopped.code


def _leave_together(workers: Workers, code: int) -> int:
    """Waits for all workers, since one that left early would end the others; the exit code."""
    try:
        workers.gather(1)
    except tf.errors.OpError:
        if workers.count == 1:
            raise
        if not workers.chief and code == cli.DONE:
            _warn("the first worker ended before the run was scored. Start all again")
            return cli.STOPPED
    return code


def _agree_to_begin(config: Mapping[str, Any], workdir: Path, workers: Workers) -> bool:
    """Whether the run is finished already; the chief looks, all know."""
    error, finished = None, False
    if workers.chief:
        try:
            finished = _finished_before(config, workdir)
        except InputError as caught:
            error = caught
    facts = workers.gather(settings.fingerprint(config), finished, error is not None)
    if error:
        raise error
    if facts[0, 2]:
        raise _refused_by_first(workdir)
    if others := devices.first_difference(facts[:, :1]):
        raise InputError(
            f"Worker {others[0]} runs another config than the first. Give all workers the same "
            "command."
        )
    return bool(facts[0, 1])


@contextlib.contextmanager
def _prepared(config: Mapping[str, Any], workdir: Path, workers: Workers) -> Iterator[None]:
    """The workdir with its folders, and its lock; the chief makes them, all wait for it."""
    with contextlib.ExitStack() as held:
        error = None
        if workers.chief:
            try:
                make_writable(workdir, "--workdir")
                held.enter_context(lock.hold(workdir))
                # First, for it marks the folder as a workdir to who comes after a kill.
                write_atomically(
                    workdir / "config.json", lambda p: p.write_text(settings.to_json(config))
                )
                for folder in ("checkpoints", "samples"):
                    (workdir / folder).mkdir(exist_ok=True)
                for folder in (workdir, workdir / "samples"):
                    remove_temporaries(folder)
            except (InputError, OSError) as caught:
                error = caught
        refused = workers.gather(error is not None)[0, 0]
        if error:
            raise error
        if refused:
            raise _refused_by_first(workdir)
        yield


def _refused_by_first(workdir: Path) -> InputError:
    return InputError(f"The first worker refused --workdir={workdir}; see its message.")


def _finished_before(config: Mapping[str, Any], workdir: Path) -> bool:
    if not (workdir / "config.json").is_file():
        if workdir.is_dir() and not all(
            p.name == lock.FILE or is_temporary(p) for p in workdir.iterdir()
        ):
            raise InputError(
                f"{workdir} is not empty and is no workdir of trainers.run: it has no config.json. "
                "Give a new folder with --workdir."
            )
        return False
    changed = settings.differences(config, settings.load_workdir_config(workdir))
    if changed:
        raise InputError(
            f"{workdir} holds a run of another config ({'; '.join(changed[:5])}"
            f"{'; ...' if len(changed) > 5 else ''}). Give a new --workdir, or the same flags."
        )
    return (workdir / "scorecard.json").is_file()


@contextlib.contextmanager
def _disk_errors(workdir: Path) -> Iterator[None]:
    """Errors of the disk as one clear message."""
    try:
        yield
    except OSError as error:
        if error.errno not in _DISK:
            raise
        raise InputError(
            f"{error.filename or workdir} could not be written or read ({error.strerror}). Free "
            "space or mend the disk; the same command resumes from the last good checkpoint."
        ) from None


def _check_window(run: Run) -> None:
    first, last = run.config["mixture"]["window"]
    if int(first * run.num_outer_steps) >= int(last * run.num_outer_steps):
        raise InputError(
            f"mixture.window ({first}, {last}) holds none of the run's {run.num_outer_steps} "
            "outer steps. Widen it or raise num_batches."
        )


class _Session:
    """This process's part of a run. Use it as a context manager.

    Args:
      run: of the config and the recoveries so far.
      workdir: prepared, and locked.
      workers: the processes.
      stop: what asks to stop.

    Attributes:
      lost: whether another worker was lost.
    """

    def __init__(self, run: Run, workdir: Path, workers: Workers, stop: StopRequest):
        self.workdir, self.workers, self.stop = workdir, workers, stop
        self.config = c = run.config
        self.lost = False
        # Spent in steps, over all sessions: without tracing, scoring, pictures, checkpoints.
        self._seconds = 0.0
        retention = Retention(c["keep_last"], c["keep_every"], c["keep_best"])
        self._checkpoints = Checkpoints(workdir / "checkpoints", retention)
        self._begin(run)

    def _begin(self, run: Run) -> None:
        self.run_, self.loop = run, Loop(run)
        self._pace, self._traced = 1, False
        self._draw = _last_sampler(run)
        self._gaps = monitor.make(run)
        self._scores = scores.make(run)

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        self.loop.close()
        self._checkpoints.close()

    def run(self, until: int | None = None) -> int:
        """Trains to the end, scores and publishes; returns the exit code. See `train`."""
        step = self._restore()
        if self.workers.chief:
            provenance.record(self.workdir, self.config, step)
        while True:
            outcome = self._train(until)
            if not isinstance(outcome, Divergence):
                break
            if not self._roll_back(outcome):
                return cli.DIVERGED
        if outcome == cli.DONE and self.workers.chief:
            with self.stop.at_once():
                self._finish()
        return outcome

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
        self.run_.task.set_state(found.saved.manifest.get("data", {}))
        self._seconds = found.saved.manifest.get("seconds", 0.0)
        if self.workers.chief:
            for path, reason in found.damaged:
                aside = self._checkpoints.set_aside(path)
                _warn(f"{path} is damaged ({reason}). It was renamed to {aside.name}")
            print(f"Resuming from {found.saved.path}")
            for note in self._notes(found.saved.manifest):
                _warn(note)
        return step

    def _notes(self, manifest: Mapping[str, Any]) -> Iterator[str]:
        """What makes this session go on otherwise than the one before would have."""
        if not manifest:
            return
        mine = self._facts()
        for key, what in (("code", "code"), ("versions", "packages"), ("replicas", "replicas")):
            if mine[key] != manifest[key]:
                yield (
                    f"the checkpoint is of other {what} ({_short(manifest[key], mine[key])}): the "
                    "run goes on, but not bit for bit as it would have"
                )
        mine, data = self.run_.task.state().get("fingerprint"), manifest["data"].get("fingerprint")
        if mine != data:
            yield f"the data are not those of the checkpoint (fingerprint {data} there, {mine} now)"
        lines = self.workdir / METRICS
        there = lines.read_bytes().count(b"\n") if lines.is_file() else 0
        if there < manifest["num_records"]:
            yield (
                f"{lines} has {there} lines where the checkpoint knows of "
                f"{manifest['num_records']}: records were lost, not by this program"
            )

    # Training.

    def _train(self, until: int | None) -> int | Divergence:
        """To the end, a stop, or a divergence."""
        config, total, loop = self.config, self.config["num_batches"], self.loop
        last = total if until is None else min(total, until)
        every = [config[k] for k in ("log_every", "picture_every", "checkpoint_every")]
        name, chief = config["algorithm"], self.workers.chief
        self._good, code = loop.tensors(reservoir=False), cli.DONE
        with Journal(self.workdir, name, loop.step, total, silent=not chief) as journal:
            while loop.step < last:
                before, started, waited = loop.step, time.perf_counter(), loop.waited
                end = min(last, *(_next(before, n) for n in every))
                try:
                    diverged, code = self._advance(end)
                except tf.errors.OpError as error:
                    if self.workers.count == 1:
                        raise
                    return self._without_others(error, journal)
                if diverged:
                    return diverged
                crossed = lambda n, before=before: before // n != loop.step // n  # noqa: E731
                ended = loop.step >= total
                if crossed(config["log_every"]) or ended:
                    seconds = time.perf_counter() - started
                    ms = seconds * 1e3 / (loop.step - before)
                    # On every worker: it starts the sums anew.
                    self._record(journal, ms, (loop.waited - waited) / seconds)
                    self._good = loop.tensors(reservoir=False)
                if chief and (crossed(config["picture_every"]) or ended):
                    self._picture()
                done = loop.step >= last
                if chief and (crossed(config["checkpoint_every"]) or done or code):
                    self._save(journal)
                if code and not ended:
                    break
            else:
                code = cli.DONE if loop.step >= total else cli.STOPPED
            self._checkpoints.wait()
        if code and chief:
            print(f"Stopped after {self._checkpoints.latest}; the same command resumes.")
        return code

    def _advance(self, until: int) -> tuple[Divergence | None, int]:
        """Goes on to `until`, or less if all are asked to stop; (divergence, exit code)."""
        loop = self.loop
        while True:
            before, began = loop.step, time.perf_counter()
            diverged = loop.advance(min(until, before + self._pace))
            elapsed = time.perf_counter() - began
            seconds = elapsed / (loop.step - before)
            codes, slowest = self.workers.gather(self.stop.code, seconds).max(axis=0)
            if self._traced:  # else its time says nothing of the next call's
                self._pace = max(1, min(4 * self._pace, int(_CALL_SECONDS / slowest)))
                self._seconds += elapsed
            self._traced = True
            if diverged or codes or loop.step >= until:
                return diverged, int(codes)

    def _record(self, journal: Journal, ms: float, waiting: float) -> None:
        loop, run = self.loop, self.run_
        before = journal.last.get("step", 0)
        t = max(loop.outer_step - 1, 0)
        record = {"step": loop.step, "outer_step": loop.outer_step, **loop.logs()}
        for player in PLAYERS:
            h = run.hyperparameters.of(player)
            record[f"step_size/{player}"] = float(h.step_size(t))
            if ALGORITHMS[self.config["algorithm"]].langevin:
                record[f"temperature/{player}"] = float(h.temperature(t))
                record[f"inner_steps/{player}"] = int(h.num_inner_steps(t))
        times = {"ms_per_batch": ms, "data_wait": waiting, "seconds": self._seconds}
        every = self._gaps.settings["every"] if self._gaps and self.workers.chief else 0
        if self._gaps and every and before // every != loop.step // every:
            record["duality_gap"] = self._gaps.last(loop)
            times["duality_gap_seconds"] = self._gaps.seconds[-1]
        if self._scores and self.workers.chief and self._scores.due(before, loop.step):
            record |= self._scores.of(loop)
            times["score_seconds"] = self._scores.seconds[-1]
        journal.write(record, times)
        journal.show(
            loop.step,
            f"{ms:.1f} ms/batch, generator {record['loss/theta']:.3f}, "
            f"discriminator {record['loss/w']:.3f}",
        )

    def _picture(self) -> None:
        title = f"{self.config['algorithm']}, last iterate, {self.loop.step:,} mini-batches"
        path = self.workdir / "samples" / f"step_{self.loop.step:08d}.png"
        self.run_.task.draw_step(path, title, self._draw(self.loop.last().theta))

    # Checkpoints.

    def _save(self, journal: Journal) -> None:
        """Begins a checkpoint of now; its records are on the disk before it is."""
        journal.sync()
        facts = {
            **self._facts(),
            "outer_step": self.loop.outer_step,
            # Every draw is a function of the seed, its stream's name and the mini-batch's number.
            "rng": {"seed": self.config["seed"], "next_batch": self.loop.step},
            "data": self.run_.task.state(),
            "num_records": journal.num_records,
            "seconds": self._seconds,
            "metrics": {k: v for k, v in journal.last.items() if math.isfinite(v)},
        }
        self._checkpoints.save(self.loop.step, self.loop.tensors(), facts)

    def _facts(self) -> dict[str, Any]:
        return {
            "config": dict(self.config),
            "code": dict(provenance.code()),
            "versions": provenance.versions(),
            "replicas": devices.num_replicas(self.config["strategy"]),
        }

    # When it goes wrong.

    def _without_others(self, error: tf.errors.OpError, journal: Journal) -> int:
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
        _warn(
            f"another worker of this run was lost ({reason.strip()}). Stopped at mini-batch "
            f"{self.loop.step}; {what}. Start the same command on every worker to resume"
        )
        return cli.STOPPED

    def _roll_back(self, diverged: Divergence) -> bool:
        """Says what happened; True if the run goes on from the last good checkpoint."""
        before = recoveries.read(self.workdir)
        number = len(before) + 1
        facts = postmortem.examine(self.loop, self._good, diverged, self._picture_of_divergence)
        self._checkpoints.wait()
        found = self._checkpoints.read()
        goes_on = (
            self.config["on_divergence"] == "rollback" and number <= (self.config["max_rollbacks"])
        )
        path = self.workdir / f"postmortem_{number}.json"
        if self.workers.chief:
            facts["checkpoint"] = str(found.saved.path) if found else None
            postmortem.write(path, facts, self.workdir)
            _report(diverged, facts["checkpoint"], path, self.config, len(before), goes_on)
        if not goes_on:
            return False
        step, outer_step = (found.saved.step, int(found.tensors["t"])) if found else (0, 0)
        new = Recovery(step, outer_step, diverged.step, diverged.players)
        if self.workers.chief:
            recoveries.append(self.workdir, before, new, {"postmortem": path.name})
        self.workers.gather(0)
        self.loop.close()
        self._begin(build(self.config, [*before, new]))
        if found:
            self.loop.assign(found.tensors)
        return True

    def _picture_of_divergence(self) -> str | None:
        if not self.workers.chief:
            return None
        path = self.workdir / "samples" / f"diverged_{self.loop.step:08d}.png"
        title = f"before mini-batch {self.loop.step:,}, which diverged"
        try:
            self.run_.task.draw_step(path, title, self._draw(self.loop.last().theta))
        except ValueError:  # samples that are not finite have no picture
            return None
        return path.relative_to(self.workdir).as_posix()

    # The end.

    def _finish(self) -> None:
        """Scores, draws and publishes. scorecard.json comes last: it marks a finished run."""
        loop, task, gaps = self.loop, self.run_.task, self._gaps
        published, step = self.config["publish"], loop.step
        gap = {}
        if gaps:
            gap = {"duality_gap": {**gaps.settings, "strategies": gaps.strategies(loop)}}
        # Scoring and publishing need as much memory as the training does; not both at once.
        self._good = {}
        strategies = reading.answers_of(loop, take=True)
        loop.release()
        samplers = {name: reading.sampler(s) for name, s in strategies.items()}
        scores = task.score(samplers)
        picture = task.draw_published(self.workdir / "samples", strategies, samplers)
        metadata = {
            **reading.export_metadata(self.workdir),
            "strategy": published,
            "average": published,
            "step": step,
            **reading.scored(scores, published),
        }
        base = self.workdir / "export" / "generator"
        strategy = [strategies[published]]  # without the others, and for one owner after another
        del strategies, samplers
        model = _published_before(base, metadata) or _publish(strategy, base, metadata)
        card = {**scores["strategies"][published], **scores, **gap}
        write_json(self.workdir / "scorecard.json", card)
        print(task.format_table(scores, published=published))
        if gaps:
            _print_gaps(gap["duality_gap"], gaps)
        print(f"picture      {picture}")
        print(f"SavedModel   {model}")
        print(
            f"sample it    python -m export.sample --model={model.parent} --num=2500 --seed=0 "
            "--output=samples.png"
        )


def _next(step: int, every: int) -> int:
    return (step // every + 1) * every


def _warn(message: str) -> None:
    print(f"warning: {message}.", file=sys.stderr)


def _short(there: Any, now: Any) -> str:
    if isinstance(there, dict) and isinstance(now, dict):
        changed = [k for k in sorted({*there, *now}) if there.get(k) != now.get(k)]
        return ", ".join(f"{k} {there.get(k)} there, {now.get(k)} now" for k in changed[:3])
    return f"{there} there, {now} now"


def _report(
    diverged: Divergence,
    checkpoint: str | None,
    path: Path,
    config: Mapping[str, Any],
    rollbacks: int,
    goes_on: bool,
) -> None:
    players = " and ".join(_NAMES[p] for p in diverged.players)
    good = checkpoint or "none yet"
    text = (
        f"diverged: the {players} left the finite numbers at mini-batch {diverged.step}. "
        f"Last good checkpoint: {good}. Post-mortem: {path}."
    )
    if goes_on:
        print(
            f"warning: {text} Rollback {rollbacks + 1} of {config['max_rollbacks']}: going on from "
            f"{checkpoint or 'the beginning'} with half the step sizes and other noise.",
            file=sys.stderr,
        )
        return
    after = f" after {rollbacks} rollbacks" if rollbacks else ""
    print(
        f"error: {text} Stopped{after}. Try a smaller --config.step_size or --config.temperature "
        "in a new workdir, or --config.on_divergence=rollback in this one.",
        file=sys.stderr,
    )


def _last_sampler(run: Run):
    """theta [d] -> a sampler of that pure strategy, traced once."""

    @tf.function(autograph=False, reduce_retracing=True)
    def draw(theta, seeds):
        return run.strategy(theta[None]).sample(seeds)

    return lambda theta: lambda seeds: draw(theta, seeds).numpy()


def _publish(strategy: list[MixedStrategy], base: Path, metadata: Mapping[str, Any]) -> Path:
    """Publishes the only element of the list, and empties it."""
    from export.strategy import publish_strategy

    # Of sessions that were killed here. Nobody else publishes a run that has not finished.
    for unfinished in base.glob(".building-*"):
        shutil.rmtree(unfinished, ignore_errors=True)
    return publish_strategy(strategy.pop(), base, metadata)


def _published_before(base: Path, metadata: Mapping[str, Any]) -> Path | None:
    """The version that a session published which was stopped before its scorecard was written."""
    from export import publish

    for number in reversed(publish.versions(base)):
        directory = base / str(number)
        with contextlib.suppress(InputError):
            manifest = publish.read_manifest(directory)
            same = all(manifest.get(k) == metadata[k] for k in ("step", "strategy"))
            if same and not settings.differences(metadata["config"], manifest["config"]):
                return directory
    return None


def _print_gaps(card: Mapping[str, Any], gaps: monitor.Monitor) -> None:
    for name, values in card["strategies"].items():
        print(
            f"duality gap  {name:<8}{values['duality_gap']:8.4f} = {values['ascended']:.4f} - "
            f"{values['descended']:.4f} (K = {card['num_steps']})"
        )
    seconds = np.sort(gaps.seconds)
    print(
        f"             {len(seconds)} evaluations, {seconds.sum():.1f} s; median "
        f"{np.median(seconds):.2f} s, slowest (with tracing) {seconds[-1]:.2f} s"
    )
