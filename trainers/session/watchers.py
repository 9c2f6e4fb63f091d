"""What looks at a run every so many mini-batches: its duality gap, and scores of its answers.

Both are off by default, and draw from streams of their own: the training is bitwise the same with
and without them, and a resumed run writes the same numbers.

    --config.duality_gap.every=3000   the gap of the last iterate; at the end that of every answer
    --config.score_every=3000         some of the scorecard of every answer that there is, on fewer
                                      samples, as score/ANSWER/METRIC; images have FIDs of fewer
                                      samples, which compare with each other only
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from tf_mixed_nash import rng
from tf_mixed_nash.errors import InputError
from tf_mixed_nash.methods import samplers, schedules
from tf_mixed_nash.metrics.nash import gan_duality_gap
from tf_mixed_nash.strategies.mixed import seed_rows, traced
from tf_mixed_nash.training.loop import Loop
from tf_mixed_nash.types import Measure, Pair
from trainers.experiment.build import Run
from trainers.experiment.settings import ANSWERS
from trainers.session import health
from trainers.tasks import image_scores
from trainers.tasks.base import SEED, Sampler
from trainers.tasks.imaging import ImageTask, draw_pixels
from trainers.tasks.kinds import MONITORED
from trainers.tasks.planar import PlanarTask
from trainers.tasks.stacked import StackedTask, mode_card

__all__ = ["Monitor", "Scores", "Watcher", "crossed", "make", "sampler"]

# Its cost grows with their square and more: 0.02 s for 500 of each side, 0.5 s for 2,000. Its bias
# grows as they become fewer: compare it with scores of this module only.
_WASSERSTEIN_SAMPLES = 500
_SAMPLES = 2_500


class Watcher(Protocol):
    """Looks at a run at the first record at or after each `every` mini-batches.

    Attributes:
      every: n >= 1.
      time_key: the name of a look's seconds in times.jsonl.
      seconds: the wall time of each look so far; the first includes tracing.
      histograms: numbers of the last look, for TensorBoard.
    """

    every: int
    time_key: str
    seconds: list[float]
    histograms: Mapping[str, np.ndarray] = MappingProxyType({})

    def look(self, loop: Loop[Run]) -> dict[str, float]:
        """What goes into the record of now."""
        ...

    def conclude(self, loop: Loop[Run]) -> tuple[dict[str, Any], str]:
        """At the end: what goes into scorecard.json, and lines for the terminal."""
        return {}, ""


def crossed(before: int, now: int, every: int) -> bool:
    """Whether a multiple of `every` lies in (before, now]; of 0 none does."""
    return every > 0 and before // every != now // every


def make(run: Run) -> list[Watcher]:
    """Those that the run's config asks for."""
    options, watchers = run.options, list[Watcher]()
    if options.duality_gap.every:
        watchers.append(Monitor(run))
    if options.score_every:
        watchers.append(Scores(run))
    if health.every(run):
        watchers.append(health.Health(run))
    return watchers


class Monitor(Watcher):
    """Measures duality gaps (`tf_mixed_nash.metrics.nash`) of a run's answers; see `Watcher`.

    Args:
      run: its options hold `duality_gap`.
    """

    time_key = "duality_gap_seconds"

    def __init__(self, run: Run):
        self._options = gap = run.options.duality_gap
        self.every, self.seconds = gap.every, list[float]()
        dtype = run.networks.theta.dtype
        adam = samplers.adam(schedules.constant(gap.step_size))
        self._gap = gan_duality_gap(
            run.game,
            Pair(adam, adam),
            gap.num_steps,
            run.task.batches("duality_gap/real", gap.num_steps, run.batch_size, dtype),
            run.task.held_out("duality_gap/evaluation", gap.num_samples, dtype),
            rng.python_seed(rng.stream(run.seed, "duality_gap")),
            regularized=gap.regularized,
        )

    def look(self, loop: Loop[Run]) -> dict[str, float]:
        """The gap of the algorithm's output now: pure strategies, or the measures of particles.

        Of a measure the response starts at a copy of its last atom.
        """
        return {"duality_gap": self._timed(*loop.latest(), None)["duality_gap"]}

    def conclude(self, loop: Loop[Run]) -> tuple[dict[str, Any], str]:
        """The gap of every answer, with the settings, and what the looks took."""
        answers, num_steps = self.answers(loop), self._options.num_steps
        lines = [
            f"duality gap  {name:<8}{values['duality_gap']:8.4f} = {values['ascended']:.4f} - "
            f"{values['descended']:.4f} (K = {num_steps})"
            for name, values in answers.items()
        ]
        seconds = np.sort(self.seconds)
        lines.append(
            f"             {len(seconds)} evaluations, {seconds.sum():.1f} s; median "
            f"{np.median(seconds):.2f} s, slowest (with tracing) {seconds[-1]:.2f} s"
        )
        card = {**dataclasses.asdict(self._options), "strategies": answers}
        return {"duality_gap": card}, "\n".join(lines)

    def answers(self, loop: Loop[Run]) -> dict[str, dict[str, float]]:
        """The gap of every answer (last, ema, mixture, further averages), with its two halves.

        last and the averages play against the last discriminator; the mixture of generators against
        that of the discriminators of the same outer steps. All responses start at the last
        iterate (for an average, theta's there), of measures at their last atoms.

        Returns:
          answer -> duality_gap, ascended F(nu, w_K), descended F(theta_K, mu). Without a
          snapshot the mixture is the last iterate.
        """
        answers, critics, mu = loop.answers(), loop.kept_critics(), loop.latest().w
        last, ema, mixture = (answers[name] for name in ANSWERS)
        start = Pair(last.atoms[-1], mu.atoms[-1])
        results = {
            "last": self._timed(last, mu, start),
            "ema": self._timed(ema, mu, Pair(ema.atoms[-1], start.w)),
        }
        if mixture is last:
            results["mixture"] = results["last"]
        elif critics:
            results["mixture"] = self._timed(mixture, critics, start)
        for name in [name for name in answers if name not in ANSWERS]:
            at = Pair(answers[name].atoms[-1], start.w)
            results[name] = self._timed(answers[name], mu, at)
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


class Scores(Watcher):
    """Scores a run's answers; see `Watcher`. At the end the scorecard scores more.

    Args:
      run: its options hold `score_every`.
    """

    time_key = "score_seconds"

    def __init__(self, run: Run):
        task = run.task
        self.every, self.seconds = run.options.score_every, list[float]()
        self._of = _scoring(task, run.options.score_samples)
        self._draw = sampler(run)

    def look(self, loop: Loop[Run]) -> dict[str, float]:
        """`score/ANSWER/METRIC` of last, ema and, once its window has begun, mixture.

        `score/ANSWER/num_samples` says of how many samples.

        What does not exist (the std_ratio of no captured mode, the scores of samples that are not
        finite) is left out.
        """
        began = time.perf_counter()
        answers = loop.answers()
        if answers["mixture"] is answers["last"]:
            del answers["mixture"]
        found = {}
        for name, measure in answers.items():
            for metric, value in self._score(measure).items():
                if not math.isnan(value):
                    found[f"score/{name}/{metric}"] = value
        self.seconds.append(time.perf_counter() - began)
        return found

    def _score(self, measure: Measure) -> dict[str, float]:
        try:
            return self._of(lambda seeds: self._draw(*measure, seeds).numpy())
        except InputError:
            raise
        except ValueError:  # not finite
            return {}


_Scoring = Callable[[Sampler], dict[str, float]]


def _scoring(task: Any, num: int | None) -> _Scoring:
    """What scores a sampler during the training, by the kind of task; num samples, if given."""
    if isinstance(task, PlanarTask):
        return _planar_scores(task, num)
    if isinstance(task, ImageTask):
        return _image_scores(task, num)
    return _custom_scores(task, num)


def _planar_scores(task: PlanarTask, num: int | None) -> _Scoring:
    capture = task.spec.card.capture_samples
    num = num or max(_SAMPLES, capture)
    capture, few = min(capture, num), min(_WASSERSTEIN_SAMPLES, num)
    reference = task.data.sample(rng.stream(SEED, "reference"), few).numpy()

    def score(sample):
        # Here, because it loads POT, which --dry_run need not wait for.
        from tf_mixed_nash.metrics.scorecard import scorecard

        samples = sample(seed_rows(SEED, num))
        card = scorecard(samples, reference, task.data, capture, few)
        found = {metric: card[metric] for metric in MONITORED["planar"] if metric in card}
        return _counted(found, num)

    return score


def _counted(scores: dict[str, float], num: int) -> dict[str, float]:
    return {**scores, "num_samples": num}


def _image_scores(task: ImageTask, num: int | None) -> _Scoring:
    num = min(num or _SAMPLES, task.spec.card.num_samples)

    def score(sample):
        images = draw_pixels(sample, SEED, num)
        card = image_scores.scorecard(images, task.real, task.features, task.spec.card)
        found = {metric: card[metric] for metric in MONITORED["images"]}
        if isinstance(task, StackedTask):
            modes = mode_card(images, task.classifier, task.law)
            found |= {metric: modes[metric] for metric in ("modes_captured", "reverse_kl")}
        return _counted(found, num)

    return score


def _custom_scores(task: Any, num: int | None) -> _Scoring:
    count: int = num or task.spec.card.num_samples

    def score(sample):
        card = task.quick(sample(seed_rows(SEED, count)))
        return _counted({metric: card[metric] for metric in MONITORED["custom"]}, count)

    return score


def sampler(run: Run) -> Callable[[Any, Any, Any], tf.Tensor]:
    """(atoms [m, d], weights [m], seeds [n, 2]) -> samples of that mixture."""
    return traced(lambda atoms, weights, seeds: run.strategy(atoms, weights).sample(seeds))
