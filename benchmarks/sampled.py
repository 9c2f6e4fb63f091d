"""Algorithms 4 and 5 on the 8 Gaussians with 64-unit nets, beside Mirror-GAN. docs/sampled.md.

    python -m benchmarks.sampled [--stages=past,best] [--seeds=0,1,2,3,4] [--budget=MIN] [--render]
    python -m benchmarks.sampled --stages=regimes --seeds=100,101

past: the paper's form, and without a past. regimes: where they had never been tried, of the
protocol docs/results/protocol_study.md. best: of the regimes, with the seeds that are reported. How
it runs: benchmarks/studies.py.
"""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

from benchmarks import studies
from benchmarks.studies import Setting, Study
from trainers.system import cli

__all__ = ["BATCHES", "STUDY", "regime"]

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


_MIRROR_GAN = _setting("mirror_gan", "Mirror-GAN", "mirror_gan")
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
STUDY = Study(
    STAGES,
    Path("docs/results/sampled.json"),
    dict.fromkeys(STAGES, studies.columns(*_COLUMNS)),
    "algorithm",
)


def main() -> int:
    """The command."""
    return studies.command(STUDY)


if __name__ == "__main__":
    studies.define_flags(STUDY, "past")
    cli.main(main, sys.argv)
