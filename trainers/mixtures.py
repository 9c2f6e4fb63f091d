"""Better mixtures of a finished run: weights chosen on held-out data, pruned, compared.

    python -m trainers.mixtures --workdir=runs/gaussians8_mp
    python -m trainers.mixtures --workdir=runs/gaussians8_mp --tolerance=0.02 --publish

The weights are the equilibrium of the game of the run's kept generators against its kept
discriminators (tf_mixed_nash/strategies/weights.py), on real data and latents that neither the
training nor the scorecard uses; no score enters the choice. Writes mixture/{mixture.json,
report.md, report.png, weights.npz} in the workdir. --publish publishes the pruned mixture as the
next version of WORKDIR/export/generator.
"""

from __future__ import annotations

import functools
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from absl import flags

from tf_mixed_nash.errors import InputError
from trainers.system import cli
from trainers.system.quiet import import_tensorflow

if TYPE_CHECKING:
    import numpy as np

    from tf_mixed_nash.solvers.solution import Solution
    from tf_mixed_nash.strategies.mixed import MixedStrategy
    from tf_mixed_nash.strategies.weights import Pruned
    from tf_mixed_nash.training.loop import Loop
    from tf_mixed_nash.types import Pair
    from trainers.experiment.build import Run
    from trainers.tasks.planar import PlanarTask

__all__ = ["HeldOut", "Kept", "kept_of", "measure", "report"]

# Real data for the payoffs, as a multiple of the samples of each component: they are shared
# by all payoffs of a discriminator, and cost little.
_REAL_PER_SAMPLE = 8
_REPORTED = {
    "high_quality_3sigma": "HQ 3s",
    "std_ratio": "std ratio",
    "reverse_kl": "rev. KL",
    "gap": "gap",
}


class Kept(NamedTuple):
    """The reservoir of a run, in its order, so that its samples are those of scorecard.json.

    Attributes:
      pairs: Pair of theta [m, d] and w [m, e].
      t: the outer steps t-hat, int64 [m].
    """

    pairs: Pair
    t: np.ndarray


class HeldOut(NamedTuple):
    """The critics' game on one set of held-out draws.

    Attributes:
      F: float64 [n', m], components of the reservoir.
      pure: name -> [n'], the payoffs of single strategies ("last", "ema").
      real: max_i of the payoffs of fresh real data in place of generated: the sampling floor.
    """

    F: np.ndarray
    pure: Mapping[str, np.ndarray]
    real: float


def kept_of(loop: Loop, workdir: Path) -> Kept:
    """The snapshots of both players.

    Raises:
      InputError: if there is none, or the checkpoint is older than the kept discriminators.
    """
    pairs, t = loop.mixture_pairs()
    t = t.numpy()
    if not len(t):
        first = loop.run.window[0]
        raise InputError(
            f"{workdir} has kept no snapshot yet: its mixture.window begins at {first:g} of the "
            f"run, and it is at mini-batch {loop.step:,}. Let trainers.run go on."
        )
    if (t < 0).any():
        raise InputError(
            f"{workdir}: {int((t < 0).sum())} of the {len(t)} snapshots have no discriminator; "
            "the checkpoint was written before runs kept them. Train anew into another workdir "
            "(the same seed gives the same generators)."
        )
    return Kept(pairs, t)


def _planar(run: Run) -> PlanarTask:
    """The run's task, whose held-out data are endless and whose samples have exact scores.

    Raises:
      InputError: for a run on images.
    """
    from trainers.tasks.planar import PlanarTask

    if not isinstance(run.task, PlanarTask):
        raise InputError(
            f"trainers.mixtures weighs mixtures in the plane; {run.task.name} is a data set of "
            "images. Its uniform mixture is published by trainers.run and export.saved_model."
        )
    return run.task


def measure(run: Run, loop: Loop, kept: Kept, num_samples: int, draw: int) -> HeldOut:
    """The critics' game on held-out draws number `draw`, of streams of their own.

    Args:
      run: of the workdir.
      loop: at its checkpoint.
      kept: see `kept_of`.
      num_samples: N of every component; 8 N of real data.
      draw: 0 for choosing weights, 1 for checking them on fresh draws.
    """
    import tensorflow as tf

    from tf_mixed_nash import rng
    from tf_mixed_nash.strategies import weights as mixtures

    game: Any = run.oracle.game
    key = rng.fold_in(rng.stream(run.seed, "mixture"), draw)
    data = _planar(run).data
    real, more_real = (
        data.sample(rng.fold_in(key, i), _REAL_PER_SAMPLE * num_samples, run.networks.theta.dtype)
        for i in (0, 1)
    )
    thetas = tf.concat([kept.pairs.theta, loop.last().theta[None], loop.ema()[None]], axis=0)
    latents = tf.random.stateless_normal(
        [len(thetas), num_samples, game.latent_dim],
        rng.fold_in(key, 2),
        dtype=thetas.dtype,
        alg="philox",
    )
    samples = mixtures.samples_of(game.generator, thetas, latents)

    def matrix(samples):
        table = mixtures.payoff_table(
            game.discriminator, game.objective, kept.pairs.w, real, samples
        )
        return mixtures.critic_game(table)

    F, m = matrix(samples), len(kept.t)
    pure = {"last": F[:, m], "ema": F[:, m + 1]}
    return HeldOut(F[:, :m], pure, float(matrix(more_real[None]).max()))


def _strategy(run: Run, kept: Kept, weights: Any) -> MixedStrategy:
    """The mixture of the kept generators with weights [m]."""
    import tensorflow as tf

    return run.strategy(kept.pairs.theta, tf.cast(weights, tf.float32))


def _sampler(run: Run, kept: Kept) -> Callable[[Any, Any], np.ndarray]:
    """(weights [m], seeds) -> samples of that mixture, traced once for all weights."""
    import tensorflow as tf

    @tf.function(
        input_signature=[
            tf.TensorSpec([len(kept.t)], tf.float32),
            tf.TensorSpec([None, 2], "int64"),
        ],
        autograph=False,
    )
    def draw(weights, seeds):
        return _strategy(run, kept, weights).sample(seeds)

    return lambda weights, seeds: draw(tf.cast(weights, tf.float32), seeds).numpy()


def _spread(components: Sequence[int], weights: Any, m: int) -> np.ndarray:
    """Weights of some of the components as weights of all m."""
    import numpy as np

    p = np.zeros(m)
    p[list(components)] = weights
    return p


def _subsets(kept: Kept) -> dict[str, list[list[int]]]:
    """Windows of the reservoir, by t-hat, and M = 1, 2, 4, ... evenly spaced of each.

    The windows are parts of the span of the t-hat kept.
    """
    import numpy as np

    order = np.argsort(kept.t)
    t = kept.t[order]
    part = (t - t[0]) / max(t[-1] - t[0], 1)
    windows = {
        "all": part >= 0,
        "last half": part >= 0.5,
        "last quarter": part >= 0.75,
        "first half": part < 0.5,
    }
    subsets = {}
    for name, inside in windows.items():
        rows = np.flatnonzero(inside)
        if not len(rows):
            continue
        sizes = [2**k for k in range(len(rows).bit_length()) if 2**k < len(rows)] + [len(rows)]
        subsets[name] = [
            # The middles of M equal parts; M distinct rows, as M <= len(rows).
            [int(order[rows[int((k + 0.5) * len(rows) / M)]]) for k in range(M)]
            for M in sizes
        ]
    return subsets


def report(run: Run, kept: Kept, game: HeldOut, full: Solution) -> list[dict[str, Any]]:
    """How the uniform and the weighted mixture move with the window and M.

    Args:
      run: of the workdir.
      kept: see `kept_of`.
      game: on the draws that choose weights.
      full: the solution with all components.

    Returns:
      One dict for each window, M and weighting: window, first_step and last_step (outer
      steps), num_components, weights ("uniform" or "weighted"), high_quality_3sigma,
      std_ratio, reverse_kl, worst (max_i (F p)_i) and gap (worst minus the full game's floor).
    """
    import numpy as np

    from tf_mixed_nash.metrics.scorecard import scorecard
    from tf_mixed_nash.strategies import weights as mixtures
    from tf_mixed_nash.strategies.mixed import seed_rows
    from trainers.tasks import base

    F, sizes = game.F, _planar(run).spec.card
    floor = float((full.mu.weights @ F).min())
    seeds = seed_rows(base.SEED, sizes.num_samples)
    # W2 is the slow part of a scorecard and is not reported here: 10 points of it.
    ten = np.zeros((10, 2))
    draw, m, data = _sampler(run, kept), len(kept.t), _planar(run).data
    rows = []
    for window, subsets in _subsets(kept).items():
        for subset in subsets:
            p = {"uniform": np.full(len(subset), 1.0 / len(subset))}
            if len(subset) > 1:
                p["weighted"] = mixtures.weigh_some(F, subset)
            for how, weights in p.items():
                samples = draw(_spread(subset, weights, m), seeds)
                card = scorecard(samples, ten, data, sizes.capture_samples, 10)
                value = mixtures.worst(F[:, subset], weights)
                rows.append(
                    {
                        "window": window,
                        "first_step": int(kept.t[subset].min()),
                        "last_step": int(kept.t[subset].max()),
                        "num_components": len(subset),
                        "weights": how,
                        **{k: card[k] for k in _REPORTED if k != "gap"},
                        "worst": value,
                        "gap": value - floor,
                    }
                )
    return rows


def _picture(path: Path, rows: Sequence[Mapping[str, Any]], ceiling: Mapping[str, Any]) -> Path:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    from trainers.system.files import write_atomically

    figure, axes = plt.subplots(1, len(_REPORTED), figsize=(4 * len(_REPORTED), 3.6), dpi=110)
    windows = list(dict.fromkeys(row["window"] for row in rows))
    for ax, (key, title) in zip(axes, _REPORTED.items(), strict=True):
        for color, window in enumerate(windows):
            for how, style in (("uniform", "--"), ("weighted", "-")):
                line = [r for r in rows if (r["window"], r["weights"]) == (window, how)]
                if line:
                    x = [r["num_components"] for r in line]
                    label = f"{window}, {how}"
                    y = [r[key] for r in line]
                    ax.plot(x, y, style, color=f"C{color}", marker="o", markersize=3, label=label)
        if key in ceiling:
            ax.axhline(ceiling[key], color="k", linewidth=0.8, label="real data")
        most = max(r["num_components"] for r in rows)
        ax.set(title=title, xlabel="components M", xlim=(0.9, 1.1 * most))
        ax.set_xscale("log", base=2)
    axes[-1].legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.02, 1.0))
    figure.tight_layout()
    write_atomically(path, lambda temporary: figure.savefig(temporary))
    plt.close(figure)
    return path


def _markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    lines = ["| window | t-hat | M | weights | " + " | ".join(_REPORTED.values()) + " |"]
    lines.append("|" + "---|" * (4 + len(_REPORTED)))
    for r in rows:
        cells = [r["window"], f"{r['first_step']:,}-{r['last_step']:,}", str(r["num_components"])]
        cells += [r["weights"], *(f"{r[key]:.4f}" for key in _REPORTED)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _game_table(entries: Mapping[str, Mapping[str, Any]]) -> str:
    titles = ("parts", "worst", "gap", "fresh worst")
    lines = [" " * 12 + "".join(f"{title:>13}" for title in titles)]
    for name, e in entries.items():
        values = [e.get(k) for k in ("num_components", "worst", "gap", "worst_fresh")]
        cells = ["-" if v is None else f"{v}" if isinstance(v, int) else f"{v:.4f}" for v in values]
        lines.append(f" {name:<11}" + "".join(f"{cell:>13}" for cell in cells))
    return "\n".join(lines)


def _run() -> int:
    f = flags.FLAGS
    if not f.workdir:
        raise InputError("Say which run, with --workdir=DIR (a finished run of trainers.run).")
    if not (math.isfinite(f.tolerance) and f.tolerance >= 0):
        raise InputError(f"--tolerance must be at least 0 and finite, got {f.tolerance}.")
    if f.num_samples < 2:
        raise InputError(f"--num_samples must be at least 2, got {f.num_samples}.")
    workdir = Path(f.workdir)
    if not workdir.is_dir():
        raise InputError(f"No such workdir: {workdir}. Expected a folder of trainers.run.")
    import_tensorflow()
    import tensorflow as tf

    from trainers.answers import reading

    tf.config.experimental.enable_op_determinism()
    loop = reading.load_loop(workdir)
    if not (workdir / "scorecard.json").is_file():
        raise InputError(
            f"{workdir} is not finished: it has no scorecard.json. The command of trainers.run "
            "that began it resumes it."
        )
    return _better(workdir, loop, f.num_samples, f.tolerance, f.publish)


def _better(workdir: Path, loop: Loop, num_samples: int, tolerance: float, publish: bool) -> int:
    import numpy as np

    from tf_mixed_nash.strategies import weights as mixtures
    from trainers.answers import reading
    from trainers.system.files import make_writable, write_atomically, write_json

    run = loop.run
    kept = kept_of(loop, workdir)
    out = workdir / "mixture"
    make_writable(out, "--workdir")
    m, began = len(kept.t), time.perf_counter()
    game, fresh = (measure(run, loop, kept, num_samples, draw) for draw in (0, 1))
    seconds = time.perf_counter() - began
    F = game.F
    full = mixtures.weigh(F)
    path = mixtures.prune(F, full, candidates=None if m <= 8 else 2)
    pruned = mixtures.fewest(path, tolerance)
    single = int(np.argmin(F.max(axis=0)))
    floor = float((full.mu.weights @ F).min())
    chosen = {
        "mixture": (tuple(range(m)), np.full(m, 1.0 / m)),
        "single": ((single,), np.ones(1)),
        "weighted": (tuple(range(m)), np.asarray(full.nu.weights)),
        "pruned": (pruned.components, pruned.weights),
    }
    entries: dict[str, dict[str, Any]] = {
        name: {
            "num_components": 1,
            "worst": float(row.max()),
            "gap": float(row.max()) - floor,
            "worst_fresh": float(fresh.pure[name].max()),
        }
        for name, row in game.pure.items()
    }
    for name, (components, weights) in chosen.items():
        value = mixtures.worst(F[:, components], weights)
        entries[name] = {
            "num_components": len(components),
            "worst": value,
            "gap": value - floor,
            "worst_fresh": mixtures.worst(fresh.F[:, components], weights),
            "outer_steps": [int(kept.t[j]) for j in components],
            "weights": [float(p) for p in weights],
        }
    entries["real data"] = {"worst": game.real, "worst_fresh": fresh.real}

    # Only now are samples scored: no score has entered the choice.
    strategies, draw = reading.answers_of(loop), _sampler(run, kept)
    samplers = {name: reading.sampler(strategies[name]) for name in game.pure}
    for name, (components, weights) in chosen.items():
        samplers[name] = functools.partial(draw, _spread(components, weights, m))
    scores = run.task.score(samplers)
    rows = report(run, kept, game, full)
    content = {
        "step": loop.step,
        "num_samples": num_samples,
        "tolerance": tolerance,
        "value": full.value,
        "certified_gap": full.gap,
        "seconds_of_payoffs": round(seconds, 1),
        "game": entries,
        "path": [
            {"num_components": len(o.components), "worst": o.worst, "gap": o.gap} for o in path
        ],
        **scores,
        "report": rows,
    }
    table = run.task.format_table(scores)
    write_atomically(
        out / "weights.npz",
        lambda p: np.savez_compressed(
            p, F=F, fresh=fresh.F, t=kept.t, p=full.nu.weights, q=full.mu.weights
        ),
    )
    _picture(out / "report.png", rows, scores["real_data_ceiling"])
    text = f"# {workdir.name}\n\n```\n{table}\n\n{_game_table(entries)}\n```\n\n{_markdown(rows)}"
    write_atomically(out / "report.md", lambda p: p.write_text(text))
    write_json(out / "mixture.json", content)
    print(table)
    print(_game_table(entries))
    unit = "standard deviations of a critic" if len(F) > m else "the discriminator's loss"
    print(
        f"worst: max_i (F p)_i over {len(F)} critics, in {unit}; value {full.value:.4f}, "
        f"certified gap {full.gap:.1e}; payoffs took {seconds:.0f} s"
    )
    print(f"pruned       {m} -> {len(pruned.components)} components within {tolerance:g}")
    print(f"report       {out / 'report.md'}, {out / 'report.png'}, {out / 'mixture.json'}")
    if publish:
        print(f"SavedModel   {_publish(workdir, run, kept, pruned, content)}")
    return cli.DONE


def _publish(
    workdir: Path, run: Run, kept: Kept, pruned: Pruned, content: Mapping[str, Any]
) -> Path:
    import tensorflow as tf

    from export.saved_model import publish_strategy
    from tf_mixed_nash.types import Pair
    from trainers.answers import reading

    thetas, ws = (tf.gather(z, pruned.components) for z in kept.pairs)
    few = Kept(Pair(thetas, ws), kept.t[list(pruned.components)])
    metadata = {
        **reading.export_metadata(workdir),
        "strategy": "weighted",
        "step": content["step"],
        "scorecard": content["strategies"]["pruned"],
        "mixture": {
            **{k: content[k] for k in ("num_samples", "tolerance", "value", "certified_gap")},
            **content["game"]["pruned"],
        },
    }
    strategy = _strategy(run, few, pruned.weights)
    return publish_strategy(strategy, workdir / "export" / "generator", metadata)


if __name__ == "__main__":
    flags.DEFINE_string("workdir", None, "The folder of a finished run of trainers.run.")
    flags.DEFINE_integer("num_samples", 2_048, "Held-out samples of every component.")
    flags.DEFINE_float(
        "tolerance", 0.01, "The pruned mixture's worst critic may gain so much on the best's."
    )
    flags.DEFINE_bool("publish", False, "Publish the pruned mixture as the next version.")
    cli.main(_run, sys.argv)
