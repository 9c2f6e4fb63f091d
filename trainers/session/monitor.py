"""The duality-gap monitor of a run: its settings, its held-out data, its cost.

Off by default; `--config.duality_gap.every=3000` measures the gap of the last iterate at the
first log step at or after every 3,000 mini-batches, and at the end that of every strategy. All
its draws come from streams of its own, so that the training's are the same with and without it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from tf_mixed_nash import rng
from tf_mixed_nash.methods import samplers, schedules
from tf_mixed_nash.metrics.nash import gan_duality_gap
from tf_mixed_nash.training.loop import Loop
from tf_mixed_nash.types import Measure, Pair
from trainers.experiment.build import Run

__all__ = ["Monitor", "make"]


def make(run: Run) -> Monitor | None:
    """The monitor of a run; None if its config has `duality_gap.every` = 0 or, old, none."""
    every = run.config.get("duality_gap", {}).get("every", 0)
    return Monitor(run) if every else None


class Monitor:
    """Measures duality gaps (`tf_mixed_nash.metrics.nash`) of a run's strategies.

    Args:
      run: its config holds `duality_gap`: every, num_steps (K), step_size, num_samples.

    Attributes:
      settings: the config's `duality_gap`.
      seconds: the wall time of each evaluation so far; the first includes tracing.
    """

    def __init__(self, run: Run):
        self.settings: Mapping[str, Any] = run.config["duality_gap"]
        self.seconds: list[float] = []
        seed, batch_size = run.config["seed"], run.config["batch_size"]
        dtype = run.networks.theta.dtype
        adam = samplers.adam(schedules.constant(self.settings["step_size"]))

        batch_at = run.task.batches(
            "duality_gap/real", self.settings["num_steps"], batch_size, dtype
        )
        real = run.task.held_out("duality_gap/evaluation", self.settings["num_samples"], dtype)
        self._gap = gan_duality_gap(
            run.oracle.game,  # pyright: ignore[reportArgumentType]
            Pair(adam, adam),
            self.settings["num_steps"],
            batch_at,
            real,
            rng.python_seed(rng.stream(seed, "duality_gap")),
        )

    def last(self, loop: Loop) -> float:
        """The gap of the algorithm's output now, as a pair of pure strategies."""
        theta, w = loop.last()
        return self._timed(_pure(theta), _pure(w), None)["duality_gap"]

    def strategies(self, loop: Loop) -> dict[str, dict[str, float]]:
        """The gap of every strategy of `folder.ANSWERS`, with its two halves.

        last and ema play against the last discriminator; the mixture of generators against
        that of the discriminators of the same outer steps. All responses start at the last
        iterate (for ema, theta's at the average).

        Returns:
          strategy -> duality_gap, ascended F(nu, w_K), descended F(theta_K, mu). Without a
          snapshot the mixture is the last iterate.
        """
        theta, w = loop.last()
        ema, last = loop.ema(), Pair(theta, w)
        results = {
            "last": self._timed(_pure(theta), _pure(w), last),
            "ema": self._timed(_pure(ema), _pure(w), Pair(ema, w)),
        }
        kept, steps = loop.mixture_pairs()
        t = steps.numpy()
        if len(t) and (t >= 0).all():
            results["mixture"] = self._timed(_uniform(kept.theta), _uniform(kept.w), last)
        elif not len(t):
            results["mixture"] = results["last"]
        return results

    def _timed(self, nu, mu, start):
        began = time.perf_counter()
        result = self._gap(nu, mu, start)
        values = {
            "duality_gap": float(result.gap),
            "ascended": float(result.ascended),
            "descended": float(result.descended),
        }
        self.seconds.append(time.perf_counter() - began)
        return values


def _pure(z: tf.Tensor) -> Measure:
    return _uniform(z[None])


def _uniform(atoms: tf.Tensor) -> Measure:
    count = len(atoms)
    return Measure(atoms, tf.fill([count], tf.constant(1.0 / count, atoms.dtype)))
