"""Scores during a run: some of the scorecard, on fewer samples, at some records of metrics.jsonl.

Off by default; `--config.score_every=3000` scores every strategy that there is at the first record
at or after each 3,000 mini-batches, as `score/STRATEGY/METRIC`. The samples are functions of fixed
seeds, so that the training is bitwise the same with and without them, and a resumed run writes
the same scores. Data in the plane only.
"""

from __future__ import annotations

import math
import time

import tensorflow as tf

from tf_mixed_nash import rng
from tf_mixed_nash.strategies.mixed import seed_rows
from tf_mixed_nash.training.loop import Loop
from trainers.experiment.build import Run
from trainers.experiment.settings import SCORES
from trainers.tasks.base import SEED
from trainers.tasks.planar import PlanarTask

__all__ = ["Scores", "make"]

# Its cost grows with their square and more: 0.02 s for 500 of each side, 0.5 s for 2,000. Its bias
# grows as they become fewer: compare it with scores of this module only.
_WASSERSTEIN_SAMPLES = 500
_SAMPLES = 2_500


def make(run: Run) -> Scores | None:
    """The scores of a run; None if its config has `score_every` = 0 or, old, none."""
    return Scores(run) if run.config.get("score_every", 0) else None


class Scores:
    """Scores a run's strategies.

    Args:
      run: of data in the plane; its config holds `score_every` and `scorecard`.

    Attributes:
      every: mini-batches between two scorings.
      seconds: the wall time of each scoring so far; the first includes tracing.
    """

    def __init__(self, run: Run):
        task = run.task
        assert isinstance(task, PlanarTask)  # settings.resolve has refused the others
        self.every: int = run.config["score_every"]
        self.seconds: list[float] = []
        self._data = task.data
        self._num = max(_SAMPLES, run.config["scorecard"]["capture_samples"])
        self._capture: int = run.config["scorecard"]["capture_samples"]
        key = rng.stream(SEED, "reference")
        self._reference = task.data.sample(key, _WASSERSTEIN_SAMPLES).numpy()
        self._draw = _sampler(run)

    def due(self, before: int, now: int) -> bool:
        """Whether a record at mini-batch `now` is to be scored, the last one being at `before`."""
        return before // self.every != now // self.every

    def of(self, loop: Loop) -> dict[str, float]:
        """`score/STRATEGY/METRIC` of last, ema and, once its window has begun, mixture.

        What does not exist (the std_ratio of no captured mode, the scores of samples that are not
        finite) is left out.
        """
        began = time.perf_counter()
        atoms = {"last": loop.last().theta[None], "ema": loop.ema()[None]}
        if len(mixture := loop.mixture()):
            atoms["mixture"] = mixture
        found = {}
        for name, points in atoms.items():
            for metric, value in self._score(points).items():
                if not math.isnan(value):
                    found[f"score/{name}/{metric}"] = value
        self.seconds.append(time.perf_counter() - began)
        return found

    def _score(self, atoms: tf.Tensor) -> dict[str, float]:
        # Here, because it loads POT, which --dry_run need not wait for.
        from tf_mixed_nash.metrics.scorecard import scorecard

        samples = self._draw(atoms, seed_rows(SEED, self._num)).numpy()
        try:
            card = scorecard(
                samples, self._reference, self._data, self._capture, _WASSERSTEIN_SAMPLES
            )
        except ValueError:  # not finite
            return {}
        return {metric: card[metric] for metric in SCORES}


def _sampler(run: Run):
    """(atoms [m, d], seeds) -> samples of their uniform mixture; traced once for each m."""

    @tf.function(autograph=False)
    def draw(atoms, seeds):
        return run.strategy(atoms).sample(seeds)

    return draw
