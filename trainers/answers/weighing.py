"""Mixtures of a run's snapshots, weighed by its critics on held-out data, and pruned."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure

from export.strategy import publish_strategy
from tf_mixed_nash import rng
from tf_mixed_nash.errors import InputError
from tf_mixed_nash.metrics.scorecard import scorecard
from tf_mixed_nash.solvers.solution import Solution
from tf_mixed_nash.strategies import weights
from tf_mixed_nash.strategies.mixed import MixedStrategy, seed_rows
from tf_mixed_nash.strategies.weights import Pruned
from tf_mixed_nash.training.loop import Loop
from tf_mixed_nash.types import Pair
from trainers.answers import reading
from trainers.experiment.build import Run
from trainers.system.files import save_arrays, write_atomically, write_json
from trainers.tasks import base
from trainers.tasks.planar import PlanarTask
from trainers.workdir.folder import EXPORT

__all__ = [
    "Choice",
    "HeldOut",
    "Kept",
    "choose",
    "game_table",
    "judge",
    "kept_of",
    "measure",
    "publish",
    "report",
    "score",
    "write",
]

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

    Of particles, all atoms of all kept outer steps, those of a step one after the other: m is then
    n' times the number of steps.

    Attributes:
      pairs: Pair of theta [m, d] and w [.., e].
      t: the generators' outer steps t-hat, int64 [m].
      a: the generators' weights within their outer steps, float64 [m]: ones of points.
      num_particles: n' of the generator.
    """

    pairs: Pair
    t: np.ndarray
    a: np.ndarray
    num_particles: int

    def uniform(self, components: Sequence[int]) -> np.ndarray:
        """Weights of the mixture of whole outer steps in which all steps have the same mass."""
        return self.a[list(components)] / (len(components) / self.num_particles)


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


class Choice(NamedTuple):
    """Mixtures of the kept generators, chosen by the critics alone.

    Attributes:
      full: the solution with all components.
      path: from all components to one, see `weights.prune`.
      pruned: the smallest of them within the tolerance.
      mixtures: name -> (components, their weights), of "mixture" (uniform), "single", "weighted"
        and "pruned".
    """

    full: Solution
    path: Sequence[Pruned]
    pruned: Pruned
    mixtures: Mapping[str, tuple[Sequence[int], np.ndarray]]


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
    critics: Any = loop.kept_critics()
    n, weights = loop.run.num_particles, loop.reservoir.weights(loop.outer_step).theta
    a = np.ones(len(t)) if weights is None else np.reshape(weights, [-1]).astype(np.float64)
    theta = tf.reshape(pairs.theta, [len(a), -1])
    return Kept(Pair(theta, critics.atoms), np.repeat(t, n), a, n)


def _planar(run: Run) -> PlanarTask:
    """The run's task, whose held-out data are endless and whose samples have exact scores.

    Raises:
      InputError: for a run on images.
    """
    if not isinstance(run.task, PlanarTask):
        kind = "images" if run.task.is_image else "your own"
        raise InputError(
            f"trainers.mixtures weighs mixtures in the plane; {run.task.name} is a data set of "
            f"{kind}. Its uniform mixture is published by trainers.run and export.saved_model."
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
    game: Any = run.oracle.game
    key = rng.fold_in(rng.stream(run.seed, "mixture"), draw)
    data = _planar(run).data
    real, more_real = (
        data.sample(rng.fold_in(key, i), _REAL_PER_SAMPLE * num_samples, run.networks.theta.dtype)
        for i in (0, 1)
    )
    last, (ema, a) = loop.latest().theta, loop.answers()["ema"]
    thetas = tf.concat([kept.pairs.theta, last.atoms, ema], axis=0)
    latents = rng.normal(key, [len(thetas), num_samples, game.latent_dim], thetas.dtype, at=2)
    samples = weights.samples_of(game.generator, thetas, latents)

    def matrix(samples):
        table = weights.payoff_table(
            game.discriminator, game.objective, kept.pairs.w, real, samples
        )
        return weights.critic_game(table)

    F, m = matrix(samples), len(kept.t)
    a = np.asarray(a, np.float64)
    pure = {"last": F[:, m : m + len(a)] @ a, "ema": F[:, m + len(a) :] @ a}
    return HeldOut(F[:, :m], pure, float(matrix(more_real[None]).max()))


def choose(F: np.ndarray, tolerance: float, uniform: np.ndarray) -> Choice:
    """The mixtures of one game; no score enters.

    Args:
      F: see `HeldOut`.
      tolerance: what the pruned mixture's worst critic may gain on the best's.
      uniform: the weights [m] of the run's own mixture.
    """
    m = F.shape[1]
    full = weights.weigh(F)
    path = weights.prune(F, full, candidates=None if m <= 8 else 2)
    pruned = weights.fewest(path, tolerance)
    every = tuple(range(m))
    mixtures = {
        "mixture": (every, uniform),
        "single": ((int(np.argmin(F.max(axis=0))),), np.ones(1)),
        "weighted": (every, np.asarray(full.nu.weights)),
        "pruned": (pruned.components, pruned.weights),
    }
    return Choice(full, path, pruned, mixtures)


def judge(kept: Kept, game: HeldOut, fresh: HeldOut, choice: Choice) -> dict[str, dict[str, Any]]:
    """What the critics say of the answers and of the chosen mixtures.

    Args:
      kept: see `kept_of`.
      game: that the choice was made in.
      fresh: the same on other draws.
      choice: of `choose`.

    Returns:
      name -> num_components, worst (max_i (F p)_i), gap (worst minus the game's floor) and
      worst_fresh, of mixtures also outer_steps and weights; of "real data" only the two worsts.
    """
    floor = _floor(game, choice.full)
    entries: dict[str, dict[str, Any]] = {
        name: {
            "num_components": kept.num_particles,
            "worst": float(row.max()),
            "gap": float(row.max()) - floor,
            "worst_fresh": float(fresh.pure[name].max()),
        }
        for name, row in game.pure.items()
    }
    for name, (components, p) in choice.mixtures.items():
        value = weights.worst(game.F[:, components], p)
        entries[name] = {
            "num_components": len(components),
            "worst": value,
            "gap": value - floor,
            "worst_fresh": weights.worst(fresh.F[:, components], p),
            "outer_steps": [int(kept.t[j]) for j in components],
            "weights": [float(part) for part in p],
        }
    entries["real data"] = {"worst": game.real, "worst_fresh": fresh.real}
    return entries


def _floor(game: HeldOut, full: Solution) -> float:
    return float((full.mu.weights @ game.F).min())


def score(loop: Loop, kept: Kept, choice: Choice) -> dict[str, Any]:
    """The scores of "last", "ema" and the chosen mixtures, as of a run's scorecard."""
    answers, draw = reading.answers_of(loop), _sampler(loop.run, kept)
    samplers = reading.samplers({name: answers[name] for name in ("last", "ema")})
    for name, (components, p) in choice.mixtures.items():
        samplers[name] = functools.partial(draw, _spread(components, p, len(kept.t)))
    return loop.run.task.score(samplers, {name: answers[name] for name in ("last", "ema")})


def _strategy(run: Run, kept: Kept, p: Any) -> MixedStrategy:
    """The mixture of the kept generators with weights p [m]."""
    return run.strategy(kept.pairs.theta, tf.cast(p, tf.float32))


def _sampler(run: Run, kept: Kept) -> Callable[[Any, Any], np.ndarray]:
    """(weights p [m], seeds) -> samples of that mixture, traced once for all weights."""

    @tf.function(
        input_signature=[
            tf.TensorSpec([len(kept.t)], tf.float32),
            tf.TensorSpec([None, 2], "int64"),
        ],
        autograph=False,
    )
    def draw(p, seeds):
        return _strategy(run, kept, p).sample(seeds)

    return lambda p, seeds: draw(tf.cast(p, tf.float32), seeds).numpy()


def _spread(components: Sequence[int], p: Any, m: int) -> np.ndarray:
    """Weights p of some of the components as weights of all m."""
    spread = np.zeros(m)
    spread[list(components)] = p
    return spread


def _subsets(kept: Kept) -> dict[str, list[list[int]]]:
    """Windows of the reservoir, by t-hat, and M = 1, 2, 4, ... evenly spaced steps of each.

    The windows are parts of the span of the t-hat kept.
    """
    n = kept.num_particles
    steps = kept.t[::n]
    order = np.argsort(steps)
    t = steps[order]
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
            [
                int(order[rows[int((k + 0.5) * len(rows) / M)]]) * n + j
                for k in range(M)
                for j in range(n)
            ]
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
    F, sizes = game.F, _planar(run).spec.card
    floor = _floor(game, full)
    seeds = seed_rows(base.SEED, sizes.num_samples)
    # W2 is the slow part of a scorecard and is not reported here: 10 points of it.
    ten = np.zeros((10, 2))
    draw, m, data = _sampler(run, kept), len(kept.t), _planar(run).data
    rows = []
    for window, subsets in _subsets(kept).items():
        for subset in subsets:
            weighted = {"uniform": kept.uniform(subset)}
            if len(subset) > 1:
                weighted["weighted"] = weights.weigh_some(F, subset)
            for how, p in weighted.items():
                samples = draw(_spread(subset, p, m), seeds)
                card = scorecard(samples, ten, data, sizes.capture_samples, 10)
                value = weights.worst(F[:, subset], p)
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


def _draw_report(path: Path, rows: Sequence[Mapping[str, Any]], ceiling: Mapping[str, Any]) -> None:
    figure = Figure((4 * len(_REPORTED), 3.6), dpi=110)
    axes = figure.subplots(1, len(_REPORTED))
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
    # Of the first panel, which has the line of real data too; long enough to tell dashes.
    handles, labels = axes[0].get_legend_handles_labels()
    axes[-1].legend(handles, labels, fontsize=7, handlelength=4, loc="upper left",
                    bbox_to_anchor=(1.02, 1.0))  # fmt: skip
    figure.suptitle("Uniform and weighted mixtures of M snapshots, by window of the run", y=0.98)
    figure.tight_layout()
    write_atomically(path, figure.savefig)


def _report_table(rows: Sequence[Mapping[str, Any]]) -> str:
    lines = ["| window | t-hat | M | weights | " + " | ".join(_REPORTED.values()) + " |"]
    lines.append("|" + "---|" * (4 + len(_REPORTED)))
    for r in rows:
        cells = [r["window"], f"{r['first_step']:,}-{r['last_step']:,}", str(r["num_components"])]
        cells += [r["weights"], *(f"{r[key]:.4f}" for key in _REPORTED)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def game_table(entries: Mapping[str, Mapping[str, Any]]) -> str:
    """What `judge` found, as text."""
    titles = ("parts", "worst", "gap", "fresh worst")
    lines = [" " * 12 + "".join(f"{title:>13}" for title in titles)]
    for name, e in entries.items():
        values = [e.get(k) for k in ("num_components", "worst", "gap", "worst_fresh")]
        cells = ["-" if v is None else f"{v}" if isinstance(v, int) else f"{v:.4f}" for v in values]
        lines.append(f" {name:<11}" + "".join(f"{cell:>13}" for cell in cells))
    return "\n".join(lines)


def write(
    out: Path, arrays: Mapping[str, np.ndarray], content: Mapping[str, Any], tables: Sequence[str]
) -> None:
    """Writes weights.npz, report.png, report.md and, last, mixture.json.

    Args:
      out: the folder.
      arrays: of weights.npz.
      content: of mixture.json, with `report` and `real_data_ceiling`.
      tables: of report.md, above that of the report.
    """
    rows, both = content["report"], "\n\n".join(tables)
    save_arrays(out / "weights.npz", arrays)
    _draw_report(out / "report.png", rows, content["real_data_ceiling"])
    text = f"# {out.parent.name}\n\n```\n{both}\n```\n\n{_report_table(rows)}"
    write_atomically(out / "report.md", lambda p: p.write_text(text))
    write_json(out / "mixture.json", content)


def publish(
    workdir: Path, run: Run, kept: Kept, pruned: Pruned, content: Mapping[str, Any]
) -> Path:
    """Publishes the pruned mixture as the next version of the workdir's model; returns its folder.

    Args:
      workdir: of the run.
      run: of the workdir.
      kept: see `kept_of`.
      pruned: of `choose`.
      content: of mixture.json.
    """
    theta = tf.gather(kept.pairs.theta, pruned.components)
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
    # Atoms of its own choice: no whole measures any more.
    strategy = run.strategy(theta, tf.constant(pruned.weights, tf.float32), num_particles=1)
    return publish_strategy(strategy, workdir / EXPORT, metadata)
