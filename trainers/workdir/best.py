"""keep_best by a score: which record of a run is the best, and where its checkpoint is.

    --config.keep_best=min:fid                the published answer's (before the mixture's window
                                              has begun that is the last iterate's)
    --config.keep_best=max:ema/recall         another answer's

This module must stay free of TensorFlow.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tf_mixed_nash.errors import InputError
from trainers.experiment import settings
from trainers.experiment.options import Options, options_of
from trainers.workdir.checkpoints import Checkpoints, Retention
from trainers.workdir.folder import CHECKPOINTS

__all__ = ["Best", "Found", "said", "step_of"]

_SHOWN = ("fid", "kid", "modes_captured")  # of progress


class Found(NamedTuple):
    """The best record of a run.

    Attributes:
      metric: by which, such as "fid".
      answer: of the run.
      value: of the metric.
      num_samples: that were scored.
      step: the mini-batch.
    """

    metric: str
    answer: str
    value: float
    num_samples: int
    step: int

    def __str__(self) -> str:
        return (
            f"{self.metric} {self.value:.4g} of {self.answer} ({self.num_samples:,} samples) at "
            f"mini-batch {self.step:,}"
        )


class Best(NamedTuple):
    """What keep_best asks for, where that is a score.

    Attributes:
      text: of the config, "min:fid".
      lowest: whether low is good.
      metric: see `Found`.
      answer: the same.
    """

    text: str
    lowest: bool
    metric: str
    answer: str

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Best | None:
        """Of a resolved config; None where keep_best is none, or no score."""
        return cls.of_options(options_of(config))

    @classmethod
    def of_options(cls, options: Options) -> Best | None:
        """`of`, of a config's options."""
        kind, _, key = options.keep_best.partition(":")
        answer, _, metric = key.rpartition("/")
        if not key or key in settings.METRICS:
            return None
        return cls(options.keep_best, kind == "min", metric, answer or options.publish)

    def score(self, record: Mapping[str, Any]) -> Found | None:
        """Of a record; None if it has none."""
        answer = self.answer
        if answer == "mixture" and not any(k.startswith("score/mixture/") for k in record):
            answer = "last"
        value = record.get(f"score/{answer}/{self.metric}")
        if value is None:
            return None
        num = int(record.get(f"score/{answer}/num_samples", 0))
        return Found(self.metric, answer, value, num, record["step"])

    def of_records(self, records: Sequence[Mapping[str, Any]]) -> Found | None:
        """The best of several, the later of equal ones; None if none is scored."""
        scores = [x for r in records if (x := self.score(r))]
        sign = 1.0 if self.lowest else -1.0
        return min(scores, key=lambda x: (sign * x.value, -x.step), default=None)

    def beats(self, records: Sequence[Mapping[str, Any]]) -> bool:
        """Whether the last one is scored, and better than all before it."""
        if not records or not (now := self.score(records[-1])):
            return False
        return self.of_records(records) == now

    def entry(self, record: Mapping[str, Any]) -> dict[str, float]:
        """What the manifest of a checkpoint of this record says, for `Retention.best`."""
        found = self.score(record)
        return {self.text.partition(":")[2]: found.value} if found else {}


def said(records: Sequence[Mapping[str, Any]], options: Options) -> str:
    """The newest of what keep_best is by and of the published answer's scores; "" without any.

    One line, for progress: of the scores FID, KID and modes where they are among them, and of
    neither these nor keep_best's the first.
    """
    entry, scores, newest = "", "", records[::-1]
    key = options.keep_best.partition(":")[2]
    # The losses are in the line already.
    if key in settings.METRICS and not key.startswith("loss/"):
        entry = next((f"{key} {r[key]:.4g}" for r in newest if key in r), "")
    if options.score_every:
        best = Best.of_options(options)
        texts = (_scores_said(r, options.publish, best) for r in newest)
        scores = next(filter(None, texts), "")
    return ", ".join(filter(None, (entry, scores)))


def _scores_said(record: Mapping[str, Any], publish: str, best: Best | None) -> str:
    """Of one record, for `said`; before the mixture's window the last iterate's."""
    name = publish if _scores_of(record, publish) else "last"
    scores = _scores_of(record, name)
    found = best and best.score(record)
    shown = {(found.answer, found.metric): found.value} if found else {}
    shown |= {(name, k): scores[k] for k in _SHOWN if k in scores}
    shown = shown or {(name, k): v for k, v in [*scores.items()][:1]}
    parts = []
    for answer, group in itertools.groupby(shown.items(), lambda item: item[0][0]):
        parts.append(f"{answer} " + ", ".join(f"{key[1]} {v:.4g}" for key, v in group))
    num = record.get(f"score/{name}/num_samples")
    return ", ".join(parts) + (f" ({num:,.0f})" if num and parts else "")


def _scores_of(record: Mapping[str, Any], answer: str) -> dict[str, float]:
    """metric -> value of an answer, in the record's order; {} if it is not scored there."""
    head = f"score/{answer}/"
    found = {k.removeprefix(head): v for k, v in record.items() if k.startswith(head)}
    found.pop("num_samples", None)
    return found


def step_of(workdir: Path, step: str | int | None) -> int | None:
    """The mini-batch of a checkpoint that a user names.

    Args:
      workdir: of the run.
      step: a number, its text, "best", or None: the newest.

    Returns:
      None for the newest.

    Raises:
      InputError: for another text, or if the run kept no best one.
    """
    if step is None or step == "":
        return None
    if str(step).isdecimal():
        return int(step)
    if step != "best":
        raise InputError(f"--step={step} is neither a mini-batch nor 'best'. Give one of them.")
    options = options_of(settings.load_workdir_config(workdir))
    checkpoints = Checkpoints(workdir / CHECKPOINTS, Retention(best=options.keep_best))
    found = checkpoints.best
    if found is None:
        raise InputError(
            f"{workdir} has no best checkpoint: the run had --config.keep_best="
            f"{options.keep_best!r}. Set it to min:METRIC or max:METRIC before training, or give "
            f"--step=MINI_BATCH; there are {', '.join(map(str, checkpoints.steps)) or 'none'}."
        )
    return found
