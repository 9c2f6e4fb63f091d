"""What a sweep is asked for, and what it tells of its trials."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["PRUNERS", "SAMPLERS", "Spec", "Trial"]

SAMPLERS = ("tpe", "grid", "random")
PRUNERS = ("median", "hyperband", "none")


@dataclass(frozen=True)
class Spec:
    """A sweep; each field is the flag of its name.

    Attributes:
      config: configs/NAME.py[:tiny].
      output: the sweep's folder.
      search: KEY=KIND:... each (`space`).
      num_trials: of the study in the end, those of earlier sessions included; pruned, diverged
        and failed ones count. A grid ends with its last point.
      algorithm: instead of the config's.
      storage: URL of Optuna's; None: OUTPUT/sweep.db.
      study: its name there; None: CONFIG-ALGORITHM.
      sampler: one of SAMPLERS.
      pruner: one of PRUNERS.
      objective: min|max:ANSWER/METRIC; None: min:best/law_distance in the plane, energy_distance
        of data of the user's own, fid of images.
      jobs: trials at once.
      threads: of each; 0 leaves them to TensorFlow.
      seed: of the sampler, which with it is a function of the trials before. The runs' own is
        set=("seed=1",).
      together: trials of one program at most (docs/many.md); 0: 16 on a GPU, for a grid and random
        search without pruning, else 1.
      set: KEY=VALUE each, for all runs.
    """

    config: str
    output: str | Path
    search: Sequence[str]
    num_trials: int
    algorithm: str | None = None
    storage: str | None = None
    study: str | None = None
    sampler: str = "tpe"
    pruner: str = "median"
    objective: str | None = None
    jobs: int = 1
    threads: int = 2
    seed: int = 0
    together: int = 0
    set: Sequence[str] = ()


@dataclass(frozen=True)
class Trial:
    """What became of a trial.

    Attributes:
      number: in the study, from 0.
      params: config key -> value.
      state: complete, pruned, diverged, failed, or running (elsewhere).
      value: of the objective; None unless complete.
      workdir: of trainers.run; on another machine perhaps.
      scorecard: of the workdir, where it is finished and can be read here; else None.
      answer: which has the value.
      seconds: that the trainer ran, over all sessions.
      scores: answer -> metric -> value; of a trial that did not finish, the last ones.
    """

    number: int
    params: dict[str, Any]
    state: str
    value: float | None
    workdir: Path
    scorecard: dict[str, Any] | None
    answer: str | None = None
    seconds: float = 0.0
    scores: dict[str, dict[str, Any]] | None = None
