"""The film of a run: last iterate and mixture side by side, a picture every so many mini-batches.

    --config.film=true        samples/film/, and samples/film.gif at the end

Off by default. It changes nothing of what is trained; a resumed run draws what came after its
checkpoint again, the same pictures.
"""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf

from tf_mixed_nash.strategies.mixed import seed_rows
from tf_mixed_nash.training.loop import Loop
from tf_mixed_nash.types import Measure
from trainers.experiment.build import Run
from trainers.session import watchers
from trainers.tasks import pictures
from trainers.tasks.imaging import ImageTask, to_pixels
from trainers.workdir.folder import SAMPLES

__all__ = ["FILM", "Film"]

FILM = f"{SAMPLES}/film.gif"
_PICTURES = 60  # of a film, about
_SAMPLES = {True: 64, False: 2_500}  # of a picture, by whether they are images


class Film:
    """Draws a run from time to time.

    Args:
      run: whose options ask for a film.
      workdir: of the run.
    """

    def __init__(self, run: Run, workdir: Path):
        self._task, self._folder = run.task, workdir / SAMPLES / "film"
        self._output = workdir / FILM
        self._every = max(1, run.num_batches // _PICTURES)
        self._sampler = watchers.sampler(run)

    def look(self, loop: Loop[Run], before: int) -> None:
        """Draws now, if a picture is due since the mini-batch `before`."""
        step = loop.step
        if not watchers.crossed(before, step, self._every) and step < loop.run.num_batches:
            return
        answers = loop.answers()
        seeds = seed_rows(0, _SAMPLES[self._task.is_image])
        begun = answers["mixture"] is not answers["last"]
        panels = [
            (f"last, {step:,} mini-batches", self._draw(answers["last"], seeds)),
            ("mixture", self._draw(answers["mixture"], seeds))
            if begun
            else ("mixture: its window has not begun", None),
        ]
        self._folder.mkdir(parents=True, exist_ok=True)
        self._task.draw_panels(self._folder / f"step_{step:08d}.png", [panels])

    def finish(self) -> Path | None:
        """Writes the film of all pictures; its path, None without a picture."""
        frames = sorted(self._folder.glob("step_*.png"))
        return pictures.film(self._output, frames) if frames else None

    def _draw(self, measure: Measure, seeds: tf.Tensor):
        samples = self._sampler(*measure, seeds).numpy()
        return to_pixels(samples) if isinstance(self._task, ImageTask) else samples
