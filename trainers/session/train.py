"""One run from its config to its published generator, in as many sessions as it takes."""

from __future__ import annotations

import contextlib
import errno
import math
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from tf_mixed_nash.compile import deterministic
from tf_mixed_nash.errors import InputError
from tf_mixed_nash.games.checks import check_answers
from tf_mixed_nash.games.gan import check_penalty
from tf_mixed_nash.games.objectives import check_objective
from tf_mixed_nash.models.cloning import is_graph
from tf_mixed_nash.types import PLAYERS, Pair
from trainers.answers import publishing
from trainers.experiment import settings
from trainers.experiment.build import Given, Run, build, check_schedules
from trainers.experiment.options import options_of
from trainers.session import start
from trainers.session.divergence import NAMES
from trainers.session.session import Hooks, Session, warn
from trainers.system import cli, devices, lock
from trainers.system.devices import Workers
from trainers.system.files import is_temporary, make_writable, remove_temporaries, write_atomically
from trainers.system.stopping import Stopped, StopRequest
from trainers.tasks import user_models
from trainers.workdir import law, recoveries
from trainers.workdir.folder import CARD, CHECKPOINTS, CONFIG, EXPORT, SAMPLES

__all__ = ["already", "check", "describe", "disk_errors", "finished_before", "prepared", "train"]

# What goes wrong with a disk, as opposed to with this program.
_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.EFBIG}


def describe(config: Mapping[str, Any]) -> str:
    """The resolved config, the model sizes and the length of the run, for --dry_run."""
    begin = start.read(config)
    run = build(config, start=begin and begin.give)
    _check_memory(run)
    check_schedules(run)
    lines = [settings.to_json(config).rstrip()]
    for player in PLAYERS:
        network = run.networks.of(player)
        layers = network.model.layers if is_graph(network.model) else []
        weighty = [x.output.shape[1:] for x in layers if hasattr(x, "kernel")]
        shapes = [network.input_shape, *(weighty or [network.output_shape])]
        widths = " -> ".join("x".join(str(n) for n in shape) for shape in shapes)
        num = run.hyperparameters.of(player).num_particles
        several = f", {num} particles" if num > 1 else ""
        size = f"{network.num_parameters:>10,} parameters   {widths}{several}"
        lines.append(f"{NAMES[player]:<14}{size}")
    if begin:
        lines.append(begin.text())
    lines.append(f"{run.num_outer_steps:,} outer steps use {run.num_batches:,} mini-batches")
    return "\n".join(lines)


def train(
    config: Mapping[str, Any],
    workdir: Path,
    until: int | None = None,
    given: Given | None = None,
    hooks: Hooks = Hooks(),  # noqa: B008 - immutable
) -> int:
    """Trains, scores and publishes; resumes where the workdir's newest good checkpoint is.

    Args:
      config: resolved.
      workdir: a new or empty folder, or that of the same config.
      until: stops after a checkpoint at the first whole step that has used so many mini-batches,
        as if it were asked to; the run stays that of the config, whose end this is not.
      given: what the config only describes.
      hooks: of the program that trains.

    Returns:
      The exit code; `cli.STOPPED` if `until` came before the end.

    Raises:
      InputError: if the workdir cannot be used, is in use by another trainer, or can no longer
        be written.
    """
    config, note = start.kept(config, workdir)
    workers = devices.workers(options_of(config).devices)
    with StopRequest() as stop, disk_errors(workdir):
        try:
            if _agree_to_begin(config, workdir, workers):
                if workers.chief:
                    if note:
                        warn(note)
                    print(already(workdir))
                return cli.DONE
            with deterministic():
                begin = None if start.has_begun(workdir) else start.read(config)
                run = build(config, recoveries.read(workdir), given, begin and begin.give)
                check(run)
                run.task.check_scores()
                if workers.chief:
                    for said in (run.task.describe(), begin.text() if begin else ""):
                        if said:
                            print(said)
                    for said in (note, *(_odd(run) if given is None else ())):
                        if said:
                            warn(said)
                with (
                    prepared(config, workdir, workers),
                    Session(run, workdir, workers, stop, hooks, begin and begin.facts) as s,
                ):
                    code = s.run(until)
                    return code if s.lost else _leave_together(workers, code)
        except Stopped as stopped:
            print("Stopped; the same command goes on where this one was.")
            return stopped.code


def already(workdir: Path) -> str:
    """What is said of a run that is finished."""
    said = f"{workdir} holds this run, finished. Its scorecard: {workdir / CARD}"
    if not (workdir / EXPORT).exists():
        said += f"\nIt has no model. {publishing.later(workdir)}"
    return said


def _odd(run: Run) -> Iterator[str | None]:
    """Last layers of the user's networks that hardly fit; `MixedNashGAN` warns of them itself."""
    model = run.config["model"]
    if model.get("discriminator"):
        yield user_models.squashed(run.networks.w.model, run.config["game"]["objective"])
    if model.get("generator"):
        yield run.task.out_of_reach()


def check(run: Run) -> None:
    """Raises InputError for a run that cannot be trained to its end."""
    _check_window(run)
    _check_memory(run)
    check_schedules(run)
    w = run.networks.w
    check_answers(w, run.game.objective)
    check_objective(run.game.objective, run.batch_size, w.output_shape, w.dtype)
    if (own := run.game.regularizers.own) is not None:
        check_penalty(own, w, [n or 1 for n in w.input_shape])
    run.task.check()


def _leave_together(workers: Workers, code: int) -> int:
    """Waits for all workers, since one that left early would end the others; the exit code."""
    try:
        workers.gather(1)
    except tf.errors.OpError:
        if workers.count == 1:
            raise
        if not workers.chief and code == cli.DONE:
            warn("the first worker ended before the run was scored. Start all again")
            return cli.STOPPED
    return code


def _agree_to_begin(config: Mapping[str, Any], workdir: Path, workers: Workers) -> bool:
    """Whether the run is finished already; the chief looks, all know."""
    finished = _on_chief(workers, workdir, lambda: finished_before(config, workdir))
    if others := devices.first_difference(workers.gather(settings.fingerprint(config))):
        raise InputError(
            f"Worker {others[0]} runs another config than the first. Give all workers the same "
            "command."
        )
    return finished


@contextlib.contextmanager
def prepared(config: Mapping[str, Any], workdir: Path, workers: Workers) -> Iterator[None]:
    """The workdir with its folders, and its lock; the chief makes them, all wait for it."""
    with contextlib.ExitStack() as held:

        def prepare() -> bool:
            make_writable(workdir, "--workdir")
            held.enter_context(lock.hold(workdir))
            # First, for it marks the folder as a workdir to who comes after a kill.
            write_atomically(workdir / CONFIG, lambda p: p.write_text(settings.to_json(config)))
            for folder in (CHECKPOINTS, SAMPLES):
                (workdir / folder).mkdir(exist_ok=True)
            for folder in (workdir, workdir / SAMPLES):
                remove_temporaries(folder)
            return True

        _on_chief(workers, workdir, prepare)
        yield


def _on_chief(workers: Workers, workdir: Path, do: Callable[[], bool]) -> bool:
    """What `do` returns, which the chief alone calls; where it fails, all end with an error."""
    error, answer = None, False
    if workers.chief:
        try:
            answer = do()
        except (InputError, OSError) as caught:
            error = caught
    answers = workers.gather(answer, error is not None)
    if error:
        raise error
    if answers[0, 1]:
        raise InputError(f"The first worker refused --workdir={workdir}; see its message.")
    return bool(answers[0, 0])


def finished_before(config: Mapping[str, Any], workdir: Path) -> bool:
    """Whether the workdir holds this run, finished.

    Raises:
      InputError: if it holds something else, or a run that cannot be resumed.
    """
    if not (workdir / CONFIG).is_file():
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
            f"{workdir} holds a run of another config "
            f"({'; '.join(_shortened(c) for c in changed[:5])}"
            f"{'; ...' if len(changed) > 5 else ''}). Give a new --workdir, or the same flags."
        )
    if (workdir / CARD).is_file():
        return True
    law.check(workdir, "It cannot be resumed", "Give a new --workdir")
    return False


def _shortened(text: str, most: int = 300) -> str:
    """Its ends: the description of a model is pages."""
    return text if len(text) <= most else f"{text[: most // 2]} ... {text[-most // 2 :]}"


@contextlib.contextmanager
def disk_errors(workdir: Path) -> Iterator[None]:
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


def _check_memory(run: Run) -> None:
    """Refuses more particles than this machine has memory for, by what they need at the least."""
    num = Pair(*(h.num_particles for h in run.hyperparameters))
    if max(num) == 1:
        return
    points = Pair(
        *(
            tf.TensorSpec([n, network.dim] if n > 1 else [network.dim], network.dtype)
            for n, network in zip(num, run.networks, strict=True)
        )
    )
    init = tf.function(run.scheme.init, autograph=False).get_concrete_function(*points)
    state = sum(map(_bytes, tf.nest.flatten(init.structured_outputs)))
    output = sum(map(_bytes, points))
    # A step's new state beside the old one, with averages and the anchor; a field; snapshots.
    averages = 1 + len(run.ema_half_lives)
    need = (
        2 * (state + (1 + averages) * _bytes(points.theta)) + output + run.num_components * output
    )
    have = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if need > have:
        raise InputError(
            f"{num.theta:,} generators and {num.w:,} discriminators need at least "
            f"{need / 1e9:,.1f} GB of memory with {run.num_components} snapshots, and this machine "
            f"has {have / 1e9:,.1f} GB. Choose a smaller num_particles, fewer "
            "mixture.num_components or smaller networks."
        )


def _bytes(spec: Any) -> int:
    return math.prod(spec.shape) * spec.dtype.size


def _check_window(run: Run) -> None:
    (first, last), kept = run.window, run.kept_steps
    among = run.kept_among
    if among is not None and not any(kept[0] <= t < kept[1] for t in among):
        raise InputError(
            f"mixture.window ({first}, {last}) holds none of the ends of the {len(among)} cycles "
            "of the step size (mixture.when=low_points). Widen it."
        )
    if kept[0] >= kept[1]:
        raise InputError(
            f"mixture.window ({first}, {last}) holds none of the run's {run.num_outer_steps} "
            "outer steps. Widen it or raise num_batches."
        )
