"""One run from its config to its published generator."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tf_mixed_nash.algorithms import ALGORITHMS
from tf_mixed_nash.errors import InputError
from tf_mixed_nash.types import PLAYERS
from trainers import artifacts, cli, distribute, monitor, settings
from trainers.build import Run, build
from trainers.checkpoint import Checkpoints
from trainers.distribute import Workers
from trainers.files import make_writable, write_atomically, write_json
from trainers.loop import Divergence, Loop

__all__ = ["describe", "train"]

_NAMES = {"theta": "generator", "w": "discriminator"}


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


def train(config: Mapping[str, Any], workdir: Path) -> int:
    """Trains, scores and publishes; resumes where the workdir's checkpoint is.

    Args:
      config: resolved.
      workdir: a new or empty folder, or that of the same config.

    Returns:
      The exit code.

    Raises:
      InputError: if the workdir cannot be used.
    """
    workers = distribute.workers(config["strategy"])
    if _agree_to_begin(config, workdir, workers):
        if workers.chief:
            card = workdir / "scorecard.json"
            print(f"{workdir} holds this run, finished. Its scorecard: {card}")
        return cli.DONE
    tf.config.experimental.enable_op_determinism()
    run = build(config)
    _check_window(run)
    run.task.check()
    loop = Loop(run)
    if workers.chief:
        _prepare(config, workdir)
    workers.gather(0)  # the others find the folders made
    checkpoints = Checkpoints(workdir / "checkpoints", loop, config["keep_checkpoints"])
    restored = checkpoints.restore()
    steps = workers.gather(loop.step)
    if others := distribute.first_difference(steps):
        raise InputError(
            f"Worker {others[0]} resumes at mini-batch {steps[others[0], 0]:.0f}, the first at "
            f"{steps[0, 0]:.0f}. All workers must see the same --workdir: use a shared folder."
        )
    if workers.chief:
        if restored:
            print(f"Resuming from {restored}")
        else:
            write_json(workdir / "provenance.json", artifacts.provenance(config))
    gaps = monitor.make(run)
    try:
        code = _loop(run, loop, checkpoints, workdir, gaps, workers)
    finally:
        loop.close()
    if code == cli.DONE and workers.chief:
        code = _finish(run, loop, workdir, gaps)
    workers.gather(1)  # a worker that left early would end the chief
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
        raise InputError(f"The first worker refused --workdir={workdir}; see its message.")
    if others := distribute.first_difference(facts[:, :1]):
        raise InputError(
            f"Worker {others[0]} runs another config than the first. Give all workers the same "
            "command."
        )
    return bool(facts[0, 1])


def _prepare(config: Mapping[str, Any], workdir: Path) -> None:
    make_writable(workdir, "--workdir")
    for folder in ("checkpoints", "samples"):
        (workdir / folder).mkdir(exist_ok=True)
    write_atomically(workdir / "config.json", lambda p: p.write_text(settings.to_json(config)))


def _finished_before(config: Mapping[str, Any], workdir: Path) -> bool:
    if not (workdir / "config.json").is_file():
        if workdir.is_dir() and any(workdir.iterdir()):
            raise InputError(
                f"{workdir} is not empty and is no workdir of trainers.run. Give a new folder "
                "with --workdir."
            )
        return False
    changed = settings.differences(config, settings.load_workdir_config(workdir))
    if changed:
        raise InputError(
            f"{workdir} holds a run of another config ({'; '.join(changed[:5])}"
            f"{'; ...' if len(changed) > 5 else ''}). Give a new --workdir, or the same flags."
        )
    return (workdir / "scorecard.json").is_file()


def _check_window(run: Run) -> None:
    first, last = run.config["mixture"]["window"]
    if int(first * run.num_outer_steps) >= int(last * run.num_outer_steps):
        raise InputError(
            f"mixture.window ({first}, {last}) holds none of the run's {run.num_outer_steps} "
            "outer steps. Widen it or raise num_batches."
        )


class _StopRequest:
    """Whether SIGTERM came; the loop looks between its compiled calls."""

    def __enter__(self):
        self.came = False
        self._before = signal.signal(signal.SIGTERM, self._note)
        return self

    def _note(self, *_):
        self.came = True

    def __exit__(self, *_):
        signal.signal(signal.SIGTERM, self._before)


def _loop(
    run: Run,
    loop: Loop,
    checkpoints: Checkpoints,
    workdir: Path,
    gaps: monitor.Monitor | None,
    workers: Workers,
) -> int:
    from tqdm import tqdm

    config, total = run.config, run.config["num_batches"]
    draw = _last_sampler(run)
    if workers.chief:
        _truncate_metrics(workdir / "metrics.jsonl", loop.step)
        board = tf.summary.create_file_writer(str(workdir / "tensorboard"))
    else:
        board = tf.summary.create_noop_writer()
    bar = tqdm(
        total=total,
        initial=loop.step,
        unit="batch",
        desc=config["algorithm"],
        mininterval=0.5 if sys.stderr.isatty() else 15,
        dynamic_ncols=True,
        disable=not workers.chief,
    )
    with bar, board.as_default(), _StopRequest() as stop:
        while loop.step < total:
            before, started, waited = loop.step, time.perf_counter(), loop.waited
            diverged = loop.advance(min(_next(before, config["log_every"]), total))
            stopped = workers.gather(stop.came)[:, 0].any()
            if diverged:
                bar.close()
                return _report(diverged, checkpoints, workdir) if workers.chief else cli.DIVERGED
            if not workers.chief:
                loop.logs()  # starts the sums anew, as on the chief
                if stopped and loop.step < total:
                    return cli.STOPPED
                continue
            seconds = time.perf_counter() - started
            ms = seconds * 1e3 / (loop.step - before)
            crossed = lambda every, before=before: before // every != loop.step // every  # noqa: E731
            record, times = _record(run, loop), {"ms_per_batch": ms}
            times["data_wait"] = (loop.waited - waited) / seconds
            if gaps and crossed(gaps.settings["every"]):
                record["duality_gap"] = gaps.last(loop)
                times["duality_gap_seconds"] = gaps.seconds[-1]
            _append(workdir / "metrics.jsonl", record)
            for name, value in {**record, **times}.items():
                tf.summary.scalar(name, value, step=loop.step)
            bar.set_postfix_str(
                f"{ms:.1f} ms/batch, generator {record['loss/theta']:.3f}, "
                f"discriminator {record['loss/w']:.3f}",
                refresh=False,
            )
            bar.update(min(loop.step, total) - bar.n)
            if crossed(config["picture_every"]) or loop.step >= total:
                _picture(run, loop, draw, workdir)
            if crossed(config["checkpoint_every"]) or loop.step >= total or stopped:
                checkpoints.save()
            if stopped and loop.step < total:
                bar.close()
                print(f"Stopped by SIGTERM after {checkpoints.latest}; the same command resumes.")
                return cli.STOPPED
    return cli.DONE


def _next(step: int, every: int) -> int:
    return (step // every + 1) * every


def _record(run: Run, loop: Loop) -> dict[str, Any]:
    t = max(loop.outer_step - 1, 0)
    record = {"step": loop.step, "outer_step": loop.outer_step, **loop.logs()}
    for player in PLAYERS:
        h = run.hyperparameters.of(player)
        record[f"step_size/{player}"] = float(h.step_size(t))
        if ALGORITHMS[run.config["algorithm"]].langevin:
            record[f"temperature/{player}"] = float(h.temperature(t))
            record[f"inner_steps/{player}"] = int(h.num_inner_steps(t))
    return record


def _append(path: Path, record: Mapping[str, Any]) -> None:
    with path.open("a") as file:
        file.write(json.dumps(record) + "\n")


def _truncate_metrics(path: Path, step: int) -> None:
    """Drops the lines after `step`, which a resumed run will write again."""
    if path.is_file():
        lines = path.read_text().splitlines(keepends=True)
        kept = [x for x in lines if x.endswith("\n") and json.loads(x)["step"] <= step]
        write_atomically(path, lambda temporary: temporary.write_text("".join(kept)))


def _report(diverged: Divergence, checkpoints: Checkpoints, workdir: Path) -> int:
    players = " and ".join(_NAMES[p] for p in diverged.players)
    good = checkpoints.latest or "none yet"
    print(
        f"error: diverged: the {players} left the finite numbers at mini-batch "
        f"{diverged.step}. Last good checkpoint: {good}. Try a smaller --config.step_size or "
        f"--config.temperature in a new workdir ({workdir} keeps the evidence).",
        file=sys.stderr,
    )
    return cli.DIVERGED


def _last_sampler(run: Run):
    """theta [d] -> a sampler of that pure strategy, traced once."""

    @tf.function(autograph=False, reduce_retracing=True)
    def draw(theta, seeds):
        return run.strategy(theta[None]).sample(seeds)

    return lambda theta: lambda seeds: draw(theta, seeds).numpy()


def _picture(run: Run, loop: Loop, draw, workdir: Path) -> None:
    title = f"{run.config['algorithm']}, last iterate, {loop.step:,} mini-batches"
    path = workdir / "samples" / f"step_{loop.step:08d}.png"
    run.task.draw_step(path, title, draw(loop.last().theta))


def _finish(run: Run, loop: Loop, workdir: Path, gaps: monitor.Monitor | None) -> int:
    """Scores, draws and publishes. scorecard.json comes last: it marks a finished run."""
    from export.saved_model import publish_strategy

    publish = run.config["publish"]
    strategies = artifacts.strategies_of(loop)
    samplers = {name: artifacts.sampler(s) for name, s in strategies.items()}
    scores = run.task.score(samplers)
    picture = run.task.draw_published(workdir / "samples", strategies, samplers)
    metadata = {
        **artifacts.export_metadata(workdir),
        "strategy": publish,
        "average": {"last": "theta"}.get(publish, publish),
        "step": loop.step,
        **artifacts.scored(scores, publish),
    }
    model = publish_strategy(strategies[publish], workdir / "export" / "generator", metadata)
    gap = _gaps(gaps, loop)
    write_json(workdir / "scorecard.json", {**scores["strategies"][publish], **scores, **gap})
    print(run.task.format_table(scores, published=publish))
    if gaps:
        _print_gaps(gap["duality_gap"], gaps)
    print(f"picture      {picture}")
    print(f"SavedModel   {model}")
    print("sample it    ", end="")
    print(
        f"python -m export.sample --model={model.parent} --num=2500 --seed=0 --output=samples.png"
    )
    return cli.DONE


def _gaps(gaps: monitor.Monitor | None, loop: Loop) -> dict[str, Any]:
    """The scorecard's key `duality_gap`; nothing where the monitor is off."""
    if not gaps:
        return {}
    return {"duality_gap": {**gaps.settings, "strategies": gaps.strategies(loop)}}


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
