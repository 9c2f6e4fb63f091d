"""When do several generators help? The runs of docs/results/particles.md, and its tables.

    python -m benchmarks.particles_study [--stages=default,ring,...|all] [--render]
        [--seeds=0,1,2,3,4] [--jobs=2] [--threads=1] [--budget=MIN]

The protocol is at the head of that page; how it runs, benchmarks/studies.py.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks import former, studies
from benchmarks.studies import Setting, Study
from trainers.campaigns import evidence
from trainers.campaigns.study.tables import METRICS, Metric
from trainers.system import cli

__all__ = ["CRITIC_WIDTHS", "ONE_OF_25", "STAGES", "STUDY", "WIDTHS", "WIDTHS_OF_25"]
__all__ += ["compared", "reached"]

_MAKE_RUN = "configs/gaussians8_mp.py"
_MODES_25, _MODES_25_MD = "configs/gaussians25_mp.py", "configs/gaussians25_md.py"
_RING, _ROLL = "configs/gaussians8_mp.py:pure", "configs/swissroll_mp.py:pure"
_GRID, _FASHION = "configs/gaussians25_md.py:pure", "configs/fashion_mnist_mp.py:pure"
# Widths of n' generators of three layers that have as many parameters together as one of 512 units:
# 528 k, to 1 per cent.
WIDTHS = {1: 512, 2: 361, 4: 256, 8: 180, 16: 127}
# The same beside eight of 64 units, which `make run` trains: 69 k.
SMALL_WIDTHS = {1: 184, 2: 130, 4: 91, 8: 64, 16: 45}
# Eight critics of two layers that have as many parameters together as its one of 128 units: 42 k.
CRITIC_WIDTHS = {1: 128, 8: 24}
# One generator with as many parameters as the 25 of 64 units of the other default: 216 k; and some.
ONE_OF_25 = 328
WIDTHS_OF_25 = {1: ONE_OF_25, 2: 231, 4: 163, 8: 115, 16: 81, 25: 64}


# What several generators have by default, for one.
_SAME = ("step_size=1.5e-3", "stability=1e-6", "temperature=1e-9")
# Where snapshots began when these were run.
_WINDOW = "mixture.window=(0.87,1.0)"
_THIRD = ("num_batches=18000", _WINDOW)


def _particles(num: int, units: int | None = None) -> tuple[str, ...]:
    w = units or WIDTHS[num]
    widths = f"model.generator_hidden_units=({w},{w},{w})"
    return (f"generator.num_particles={num}", widths)


def _like_make_run(name: str, title: str, num: int, *items: str) -> Setting:
    """What differs from `make run` is n', at as many parameters, and a third of the length."""
    return Setting(
        name, title, _MAKE_RUN, (*_particles(num, SMALL_WIDTHS[num]), *(items or _SAME), *_THIRD)
    )


def _of(config: str, prefix: str, nums: Iterable[int]) -> Iterator[Setting]:
    for num in nums:
        title = f"{num} x {WIDTHS[num]}"
        own = former.items(_DEFAULT[config]) if num == 1 else ()
        yield Setting(f"{prefix}_{num}", title, config, (*_particles(num), *own))


def _earlier(name: str, title: str, *items: str) -> Setting:
    """`make run` when its snapshots began after 0.87 of it, and what differs."""
    return Setting(f"make_run_{name}", title, _MAKE_RUN, (*items, _WINDOW))


def _eight(name: str, title: str, *items: str) -> Setting:
    """Eight of 64 units as `make run` has them, a third of the length, and what differs."""
    return Setting(f"eight_{name}", title, _MAKE_RUN, (*items, *_THIRD))


# One generator as configs/tuned.py had it.
_DEFAULT = {_RING: "mirror_prox_gan", _ROLL: "mirror_prox_gan", _GRID: "alt_mirror_gan"}
_ONE = (*_particles(1), *former.items("mirror_prox_gan"))
_LEARNT = ("generator.weights=learnt",)
_MASSES = ("dataset=gaussians25_unbalanced",)
# The single generator's mini-batches in the seconds of four, by the measured ratio of their costs
# (docs/particles_gan.md).
_LONGER = 15_000
_FOUR = Setting("", "", _RING, _particles(4))
# What `make run` trained before docs/results/best_default.md.
_THIN_EIGHT = (
    *_particles(8),
    *("particles.batch=thin", *_THIRD),
)

_MADE = Setting("make_run_8", "8 x 64 (`make run`)", _MAKE_RUN)
_EARLIER = _earlier("8_earlier", "8 x 64, snapshots after 0.87 of it")

STAGES: dict[str, list[Setting]] = {
    "make_run": [
        _MADE,
        _EARLIER,
        _earlier("1", "1 x 184, the same settings", *_particles(1, 184), *_SAME),
        # The seconds of eight on two cores, where a mini-batch of theirs costs 1.96 of the single
        # one's (benchmarks.scaling --axes=particles).
        _earlier(
            "1_longer",
            "1 x 184, the same settings, 108,000 mini-batches",
            *(*_particles(1, 184), *_SAME, "num_batches=108000"),
        ),
        _earlier("mirror_gan", "8 x 64, Mirror-GAN", "algorithm=mirror_gan"),
        # What of Mirror-Prox-GAN does it: without its second phase, its damping, its noise.
        _earlier(
            "mirror_gan_same",
            "8 x 64, Mirror-GAN, step size of Mirror-Prox-GAN",
            *("algorithm=mirror_gan", "step_size=1.5e-3"),
        ),
        _earlier("undamped", "8 x 64, beta = 1", "damping=1.0"),
        _earlier("noiseless", "8 x 64, epsilon = 0", "temperature=0.0"),
        _earlier("adam", "8 x 64, Adam", "algorithm=adam"),
        _earlier("rmsprop", "8 x 64, RMSProp", "algorithm=rmsprop"),
        _earlier(
            "rmsprop_same",
            "8 x 64, RMSProp, step size and lambda of Mirror-Prox-GAN",
            *("algorithm=rmsprop", "step_size=1.5e-3", "stability=1e-6"),
        ),
    ],
    "window": [_MADE, _EARLIER],
    "modes_25": [
        Setting("modes_25_25", "25 x 64 (`gaussians25_mp`)", _MODES_25),
        Setting("modes_25_md", "25 x 64, alternated Mirror-GAN (`gaussians25_md`)", _MODES_25_MD),
        Setting(
            "modes_25_1",
            f"1 x {ONE_OF_25}, the same settings",
            _MODES_25,
            (*_particles(1, ONE_OF_25), *_SAME),
        ),
    ],
    # What differs from the default is n', at as many parameters, and a third of the length.
    "widths_25": [
        Setting(
            f"widths_25_{num}",
            f"{num} x {width}",
            _MODES_25,
            (*_particles(num, width), *_SAME, "num_batches=20000"),
        )
        for num, width in WIDTHS_OF_25.items()
    ],
    "unbalanced": [
        Setting("unbalanced_learnt", "25 x 64, learnt weights", _MODES_25, (*_MASSES, *_LEARNT)),
        Setting("unbalanced_uniform", "25 x 64, uniform weights", _MODES_25, _MASSES),
    ],
    "default": [
        Setting("default_8", "8 x 180, thin, 18,000 mini-batches", _RING, _THIN_EIGHT),
        Setting(
            "default_1",
            "1 x 512, 18,000 mini-batches",
            _RING,
            (*_ONE, *_THIRD),
        ),
        # One network with the step size, lambda and epsilon of several: what is theirs alone.
        Setting(
            "same_1",
            "1 x 512, 18,000 mini-batches, hyperparameters of several",
            _RING,
            (
                *_particles(1),
                *_THIRD,
                *("step_size=1.5e-3", "stability=1e-6", "temperature=1e-9"),
            ),
        ),
        Setting("pure_1", "1 x 512, 12,000 mini-batches (`:pure`)", _RING, _ONE),
    ],
    "widths": [
        *(
            _like_make_run(f"widths_{num}", f"{num} x {width}", num)
            for num, width in SMALL_WIDTHS.items()
        ),
        _like_make_run(
            "widths_1_wide",
            "1 x 184, from a wide start",
            1,
            *("step_size=1.5e-3", "stability=1e-6", "temperature=1e-9"),
            *("model.start_scale=1.0", "model.start_spread=0.0"),
        ),
        # The seconds of eight: a mini-batch of theirs costs less than 4/3 of the single one's
        # (benchmarks.scaling --axes=particles).
        _like_make_run("widths_1_longer", "1 x 184, 24,000 mini-batches", 1).with_items(
            "num_batches=24000"
        ),
        *(
            _like_make_run(f"widths_{name}", f"8 x 64, {title}", 8, f"algorithm={name}")
            for name, title in (
                ("rmsprop", "RMSProp"),
                ("adam", "Adam"),
                ("mirror_gan", "Mirror-GAN"),
            )
        ),
    ],
    "eight": [
        _eight("learnt", "8 x 64, learnt weights", *_LEARNT),
        _eight("full", "8 x 64, whole mini-batches for each", "particles.batch=full"),
        _eight("pool", "1 x 64 (one of a pool)", *_particles(1, 64), *_SAME),
        _eight(
            "critics",
            "1 x 184 against 8 critics of as many parameters together",
            *_particles(1, 184),
            *_SAME,
            *(
                "discriminator.num_particles=8",
                "model.discriminator_hidden_units=({0},{0})".format(CRITIC_WIDTHS[8]),
            ),
        ),
    ],
    "ring": list(_of(_RING, "ring", WIDTHS)),
    "seconds": [
        Setting(
            "seconds_1",
            f"1 x 512, {_LONGER:,} mini-batches",
            _RING,
            (*_ONE, f"num_batches={_LONGER}"),
        )
    ],
    "controls": [
        _FOUR._replace(name=f"control_{name}", title=f"4 x 256, {title}").with_items(*items)
        for name, title, items in (
            ("rmsprop", "RMSProp", ("algorithm=rmsprop",)),
            ("adam", "Adam", ("algorithm=adam",)),
            ("mirror_gan", "Mirror-GAN", ("algorithm=mirror_gan",)),
            ("learnt", "learnt weights", _LEARNT),
            ("full", "whole mini-batches for each", ("particles.batch=full",)),
            ("thin", "a quarter of a mini-batch for each", ("particles.batch=thin",)),
        )
    ]
    + [
        Setting(
            "control_critics",
            "1 x 512 against 4 critics x 256",
            _RING,
            (
                "discriminator.num_particles=4",
                "model.discriminator_hidden_units=(256,256,256)",
            ),
        ),
        *(
            Setting(
                f"control_{name}_1",
                f"1 x 512, {title}",
                _RING,
                (f"algorithm={name}", *former.items(name)),
            )
            for name, title in (("rmsprop", "RMSProp"), ("mirror_gan", "Mirror-GAN"))
        ),
    ],
    # n' independent trainings of the small network: their pool has the means of their HQ, and these
    # are the parts.
    "pool": [Setting("pool_256", "1 x 256 (one of a pool)", _RING, _particles(1, 256))],
    "roll": list(_of(_ROLL, "roll", WIDTHS)),
    "grid": list(_of(_GRID, "grid", (1, 4, 8, 16))),
    "fashion": [
        Setting("fashion_1", "1 generator of width 32", _FASHION, ("model.width=32",)),
        Setting(
            "fashion_4",
            "4 generators of width 16",
            _FASHION,
            ("model.width=16", "generator.num_particles=4"),
        ),
        Setting("fashion_narrow", "1 generator of width 16", _FASHION, ("model.width=16",)),
    ],
}
_COLUMNS = ("modes_captured", "high_quality_3sigma", "reverse_kl", "std_ratio", "wasserstein2")
_COLUMNS += ("specialisation",)
_OF_THE_LAW = ("make_run", "window", "modes_25", "widths_25", "unbalanced")
_OF_THE_LAW += ("widths", "eight", "roll")
_LAW = ("principal_std_log", "law_distance")
_IMAGES = ("fid", "recall", "coverage", "classes_captured", "specialisation")
_BY_SEED = ("make_run", "widths", "eight", "widths_25")
_JUDGED = ("high_quality_3sigma", "law_distance", "principal_std_log")
_OF_MASSES = ("modes_captured", "mode_kl", "law_distance")
_OF_IMAGES = ("fid", "recall", "coverage")
# By stage: the numbers, and what is compared with its controls; paired where networks and draws
# are the same.
_COMPARED: dict[str, tuple[tuple[str, ...], str, dict[str, bool]]] = {
    "make_run": (
        _JUDGED,
        "make_run_8_earlier",
        {
            "make_run_1": False,
            "make_run_1_longer": False,
            **dict.fromkeys(
                (
                    *("make_run_mirror_gan", "make_run_mirror_gan_same"),
                    *("make_run_undamped", "make_run_noiseless"),
                    *("make_run_adam", "make_run_rmsprop", "make_run_rmsprop_same"),
                ),
                True,
            ),
        },
    ),
    "window": (_JUDGED, "make_run_8", {"make_run_8_earlier": True}),
    "modes_25": (_JUDGED, "modes_25_25", {"modes_25_1": False, "modes_25_md": True}),
    "widths_25": (
        _JUDGED,
        "widths_25_1",
        dict.fromkeys((f"widths_25_{num}" for num in WIDTHS_OF_25 if num > 1), False),
    ),
    "roll": (
        _JUDGED,
        "roll_1",
        dict.fromkeys((f"roll_{num}" for num in WIDTHS if num > 1), False),
    ),
    "widths": (
        _JUDGED,
        "widths_1",
        dict.fromkeys((f"widths_{num}" for num in SMALL_WIDTHS if num > 1), False),
    ),
    "unbalanced": (_OF_MASSES, "unbalanced_learnt", {"unbalanced_uniform": True}),
    "fashion": (_OF_IMAGES, "fashion_4", {"fashion_1": False}),
}
_METRICS = {
    **METRICS,
    "fid": Metric("FID", 2, operator.pos, "lower", 0.0),
    "recall": Metric("recall", 3, operator.neg, "higher", 0.0),
    "coverage": Metric("coverage", 3, operator.neg, "higher", 0.0),
}


def compared(runs: Mapping[str, Mapping[str, Any]], stage: str = "make_run") -> str:
    """Markdown: the published mixture of a stage's first setting against its controls; "" of none.

    Holm's correction over the controls of each number.
    """
    titles = {s.name: s.title for s in STAGES[stage]}
    judged, first, controls = _COMPARED[stage]

    def values(name: str, number: str) -> dict[int, float]:
        mine = runs.get(name, {})
        return {int(seed): one["answers"]["mixture"][number] for seed, one in mine.items()}

    rows = []
    for number in judged:
        metric = _METRICS[number]
        family = [
            evidence.weigh(values(first, number), values(name, number), metric.distance, pair)
            for name, pair in controls.items()
        ]
        for name, e in zip(controls, evidence.judged(family), strict=True):
            if e.outcome != "no data":
                told = evidence.gains(e, metric.digits)
                rows.append([f"{titles[first]} against {titles[name]}", metric.title])
                rows[-1] += [e.outcome, told]
    return studies.markdown(["comparison", "number", "", "gain"], rows) if rows else ""


# What we reach for on the 8 and the 25 Gaussians.
_TARGET = 0.97


def reached(stage: str, runs: Mapping[str, Mapping[str, Any]]) -> str:
    """Markdown: which seeds of a stage have a published mixture with HQ 3 sigma 0.97; or "".

    Args:
      stage: its name.
      runs: setting's name -> seed -> its record.
    """
    rows = []
    for s in STAGES[stage]:
        mine = runs.get(s.name, {})
        hqs = [mine[seed]["answers"]["mixture"]["high_quality_3sigma"] for seed in sorted(mine)]
        if hqs:
            count = sum(hq >= _TARGET for hq in hqs)
            rows.append([s.title, f"{count} of {len(hqs)}", ", ".join(f"{hq:.4f}" for hq in hqs)])
    head = ["generators", f"seeds with HQ 3 sigma >= {_TARGET}", "HQ 3 sigma of each"]
    return studies.markdown(head, rows) if rows else ""


def _more(runs: Mapping[str, Mapping[str, Any]]) -> str:
    return "\n\n".join(
        [
            *(compared(runs, stage) for stage in _COMPARED),
            *(reached(stage, runs) for stage in _BY_SEED),
        ]
    )


STUDY = Study(
    STAGES,
    Path("docs/results/particles.json"),
    {
        **dict.fromkeys(STAGES, studies.columns(*_COLUMNS)),
        **dict.fromkeys(_OF_THE_LAW, studies.columns(*_COLUMNS, *_LAW)),
        "unbalanced": studies.columns(*_COLUMNS, "mode_kl", *_LAW),
        "fashion": studies.columns(*_IMAGES),
    },
    "generators",
    atoms=True,
    more=_more,
)


def main() -> int:
    """The command."""
    return studies.command(STUDY)


if __name__ == "__main__":
    studies.define_flags(STUDY, "default")
    cli.main(main, sys.argv)
