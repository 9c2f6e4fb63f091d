"""Algorithms 4 and 5 on the 8 Gaussians with 64-unit nets, beside Mirror-GAN. docs/sampled.md.

    python -m benchmarks.sampled [--seeds=0,1,2] [--budget=MIN] [--render]      # past
    python -m benchmarks.sampled --stages=regimes --seeds=100,101
    python -m benchmarks.sampled --stages=best --seeds=0,1,2,3,4

past: the paper's form, and without a past. regimes: where they had never been tried, of the
protocol docs/results/protocol_study.md. best: of these the one of each algorithm with the least law
distance, with the seeds that are reported. How it runs:
benchmarks/studies.py.
"""

from __future__ import annotations

import itertools
import statistics
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks import former, studies
from benchmarks.studies import Setting, Study
from trainers.system import cli

__all__ = ["BATCHES", "STAGES", "best", "regime", "study"]

BATCHES = 12_000
_CONFIG = "configs/gaussians8_mp.py:pure"
_UNITS = "(64,64,64)"
_SAME = (f"model.hidden_units={_UNITS}", f"num_batches={BATCHES}", "compile=whole")

# The paper's random index over the whole run, and a reservoir for what does not fit.
_PAPER = ("num_inner_steps=10", "history=reservoir", "history_capacity=200")
_PAPER += ("mixture.window=(0.0,1.0)",)
_WITHOUT_MEMORY = ("num_inner_steps=1", "history=window", "history_capacity=1")

# algorithm -> (its title, mini-batches of an inner step of both players)
_ALGORITHMS = {"sample_md": ("Algorithm 4", 1), "sample_mp": ("Algorithm 5", 2)}
_WINDOWS = _INNER_STEPS = (1, 10, 50)
_TUNED_EPSILON = 1e-6  # Mirror-GAN's


def _setting(name: str, title: str, algorithm: str, items: tuple[str, ...] = ()) -> Setting:
    return Setting(name, title, _CONFIG, (f"algorithm={algorithm}", *items, *_SAME))


def regime(algorithm: str, window: int, inner_steps: int, prefix: str = "regime") -> Setting:
    """eta = 1 / sqrt(T), epsilon = N eta times Mirror-GAN's, a Gaussian mu_1, a past of N.

    The chains then sample at Mirror-GAN's temperature whatever the past's length (paper eq. 8;
    `tf_mixed_nash.methods.prox.langevin_atoms`).

    Args:
      algorithm: sample_md or sample_mp.
      window: N, strategies of the opponent's past.
      inner_steps: K.
      prefix: of the setting's name.
    """
    title, phases = _ALGORITHMS[algorithm]
    T = BATCHES // (phases * inner_steps)
    eta = T**-0.5
    items = (
        f"num_inner_steps={inner_steps}",
        *("history=window", f"history_capacity={window}"),
        *(f"mirror_step={eta!r}", f"temperature={window * eta * _TUNED_EPSILON!r}"),
        "prior_std=0.3",
    )
    name = f"{prefix}_{algorithm}_N{window}_K{inner_steps}"
    return _setting(name, f"{title}, N = {window}, K = {inner_steps}", algorithm, items)


_MIRROR_GAN = _setting("mirror_gan", "Mirror-GAN", "mirror_gan", former.items("mirror_gan"))
STAGES: dict[str, list[Setting]] = {
    "past": [
        _MIRROR_GAN,
        _setting("md", "Algorithm 4, past of 200, K = 10", "sample_md", _PAPER),
        _setting("mp", "Algorithm 5, past of 200, K = 10", "sample_mp", _PAPER),
        _setting("md_window1", "Algorithm 4, window 1, K = 1", "sample_md", _WITHOUT_MEMORY),
        _setting("mp_window1", "Algorithm 5, window 1, K = 1", "sample_mp", _WITHOUT_MEMORY),
    ],
    "regimes": [
        regime(algorithm, window, inner_steps)
        for algorithm, window, inner_steps in itertools.product(_ALGORITHMS, _WINDOWS, _INNER_STEPS)
    ],
}
_COLUMNS = ("law_distance", "high_quality_3sigma", "std_ratio", "reverse_kl", "modes_captured")
_RECORDS = Path("docs/results/sampled.json")
_SEEDS = ("100", "101")  # of the regimes, none of them reported


def best(runs: Mapping[str, Mapping[str, Any]]) -> list[Setting]:
    """Of each algorithm the regime whose best answers have the least mean law distance.

    Args:
      runs: setting's name -> seed -> its record, of all regimes that did not diverge.
    """
    found = []
    for algorithm in _ALGORITHMS:
        means: dict[tuple[int, int], float] = {}
        for window, inner_steps in itertools.product(_WINDOWS, _INNER_STEPS):
            mine = runs.get(regime(algorithm, window, inner_steps).name, {})
            if set(_SEEDS) <= set(mine):
                each = (studies.least(mine[seed], "law_distance") for seed in _SEEDS)
                means[window, inner_steps] = statistics.fmean(each)
        if means:
            found.append(regime(algorithm, *min(means, key=means.__getitem__), prefix="best"))
    return found


def study(runs: Mapping[str, Mapping[str, Any]]) -> Study:
    """All stages.

    Args:
      runs: as for `best`.
    """
    stages = {**STAGES, "best": best(runs)}
    columns = dict.fromkeys(stages, studies.columns(*_COLUMNS))
    return Study(stages, _RECORDS, columns, "algorithm")


def main() -> int:
    """The command."""
    return studies.command(study(studies.runs_of(_RECORDS)))


if __name__ == "__main__":
    studies.define_flags(study({}), "past")
    cli.main(main, sys.argv)
