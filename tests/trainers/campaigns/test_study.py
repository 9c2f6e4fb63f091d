"""The study: what is run, what is kept of it, and what the report says."""

import dataclasses
import itertools
import json
import math
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from configs import common, tuned
from tests.trainers.conftest import ROOT
from tf_mixed_nash.errors import InputError
from trainers.campaigns import jobs
from trainers.campaigns.groups import side_by_side
from trainers.campaigns.study import claims as study_claims
from trainers.campaigns.study import protocol as study_protocol
from trainers.campaigns.study import records as study_results
from trainers.campaigns.study import report
from trainers.campaigns.study import runs as study_runs
from trainers.campaigns.study import tables as study_tables
from trainers.campaigns.study.candidates import Log, OneOf, Uniform
from trainers.campaigns.study.figures import real_points
from trainers.campaigns.study.protocol import (
    ALGORITHMS,
    PROTOCOLS,
    Planned,
    Trial,
    choose,
    missing,
    plan,
    ready,
)
from trainers.campaigns.study.runs import Options, estimate, run_study
from trainers.campaigns.study.tables import METRICS, Stage, clear_best, steps_to, values_of
from trainers.experiment import settings
from trainers.tasks.data import synthetic
from trainers.workdir.folder import ANSWERS

FULL, TINY, NARROW = (PROTOCOLS[name] for name in ("full", "tiny", "narrow"))
CARD = {
    "num_modes": 8,
    "modes_captured": 8,
    "high_quality_3sigma": 0.9,
    "high_quality_4sigma": 0.95,
    "std_ratio": 0.8,
    "mean_bias_sigma": 0.3,
    "reverse_kl": 0.01,
    "wasserstein2": 0.3,
}
HARDWARE = {"processor": "P", "cores": 2, "gpus": [], "machine": "x86_64"}


def record(run, status="done", seconds=10.0, hardware=(HARDWARE,), curve=(), **scores):
    """A record as `harvest` makes it; `scores` are metrics of all answers or of ANSWER__METRIC."""
    cards = {}
    if status == "done":
        plain = {k: v for k, v in scores.items() if "__" not in k}
        cards = {a: {**CARD, **plain} for a in ANSWERS}
        for name, value in scores.items():
            if "__" in name:
                answer, metric = name.split("__")
                cards[answer][metric] = value
    values = list(curve)
    return {
        "key": run.key, "protocol": run.protocol, "dataset": run.dataset, "stage": run.stage,
        "algorithm": run.algorithm, "seed": run.seed, "step_size": run.step_size,
        "batch_size": run.settings["batch_size"], "num_batches": run.settings["num_batches"],
        "status": status, "diverged_at": None if status == "done" else 7, "scorecards": cards,
        "real_data_ceiling": {**CARD, "wasserstein2": 0.2171, "std_ratio": 1.0} if cards else {},
        "seconds": seconds, "wall_seconds": seconds + 5.0,
        "curve": {
            "step": [100 * (i + 1) for i in range(len(values))],
            "seconds": [1.5 * (i + 1) for i in range(len(values))],
            "scores": {"last": {"wasserstein2": values}} if values else {},
        },
        "settings": run.settings, "config": {}, "jobs": 2, "threads": 1,
        "hardware": list(hardware), "versions": {"python": "3.11"}, "commits": ["a" * 40],
        "dirty": False, "time": "2026-01-01T00:00:00+00:00", "sessions": 1, "command": "python -m",
    }  # fmt: skip


def swept(protocol, dataset, values):
    """Records of sweeps: algorithm -> an objective for each step size, None for a divergence."""
    records = {}
    for name, row in values.items():
        for step, value in zip(protocol.steps_of(name), row, strict=True):
            run = Planned(protocol.name, dataset, "sweep", name, 0, step)
            made = record(run, "diverged") if value is None else record(run, wasserstein2=value)
            records[run.key] = made
    return records


def finals(protocol, dataset, name, rows, stage="final"):
    """Records of the chosen step size, one a seed; None for a divergence."""
    step = choose(protocol, dataset, name, swept(protocol, dataset, {name: middle(protocol)}))
    records = {}
    for seed, row in zip(protocol.seeds_of(stage), rows, strict=False):
        run = Planned(protocol.name, dataset, stage, name, seed, step.step_size)
        records[run.key] = record(run, "diverged") if row is None else record(run, **row)
    return records


def middle(protocol):
    """Objectives whose best is inside the grid if it has an inside."""
    return [0.5 + abs(i - protocol.points // 2) for i in range(protocol.points)]


def studied(protocol, dataset, rows):
    """Sweeps of all algorithms, and the final runs of `rows` (algorithm -> a row for each seed)."""
    records = swept(protocol, dataset, {a: middle(protocol) for a in protocol.algorithms})
    for name, each in rows.items():
        records |= finals(protocol, dataset, name, each)
    return records


def finals_of_8(records):
    """The stage of the final runs on the 8 Gaussians."""
    return Stage(records, FULL, "gaussians8", "final")


# The protocol.


def test_every_algorithm_gets_the_same_number_of_step_sizes_around_its_centre():
    for protocol in (p for p in PROTOCOLS.values() if not p.trials):
        for name in protocol.algorithms:
            steps = protocol.steps_of(name)
            assert len(steps) == protocol.points
            assert list(steps) == sorted(set(steps))
            centre = ALGORITHMS[name].centre
            assert math.exp(np.log(steps).mean()) == pytest.approx(centre, rel=0.03)
            ratios = np.divide(steps[1:], steps[:-1])
            np.testing.assert_allclose(ratios, protocol.ratio, rtol=0.05)  # two digits each
    assert len(FULL.seeds) >= 3


def test_the_order_makes_a_partial_study_useful():
    runs = plan(FULL)
    where = {(r.dataset, r.stage, r.algorithm, r.seed, r.step_size): i for i, r in enumerate(runs)}
    assert len(where) == len(runs) == 3 * 8 * (5 + 3) + 8
    finals_of_8 = [r for r in runs if (r.dataset, r.stage) == ("gaussians8", "final")]
    assert [r.seed for r in finals_of_8] == [0] * 8 + [1] * 8 + [2] * 8
    order = list(dict.fromkeys((r.dataset, r.stage) for r in runs))
    sets = ("gaussians25", "gaussians8", "swissroll")
    assert order == [(d, s) for d in sets for s in ("sweep", "final")] + [("gaussians25", "large")]
    assert {r.dataset for r in plan(FULL, "figure1")} == {"gaussians25"}
    assert not any(r.stage == "large" for r in plan(FULL, "figure6"))
    with pytest.raises(InputError, match="figure1, figure6, all"):
        plan(FULL, "figure3")


def test_the_key_is_of_what_determines_the_result(monkeypatch):
    run = Planned("full", "gaussians8", "final", "mirror_gan", 0, 1e-3)
    others = [
        dataclasses.replace(run, **{k: v})
        for k, v in {
            "dataset": "swissroll", "stage": "large", "algorithm": "adam", "seed": 1,
            "step_size": 2e-3, "protocol": "short",
        }.items()
    ]  # fmt: skip
    assert len({r.key for r in (run, *others)}) == 7
    assert run.key == dataclasses.replace(run).key
    before = run.key
    # Tuning the defaults of a config changes no run of the study; changing the study does.
    monkeypatch.setitem(tuned.TUNED["mirror_gan"], "temperature", 1.0)
    assert run.key == before
    monkeypatch.setitem(study_protocol._LANGEVIN, "temperature", 1e-5)
    study_protocol._key.cache_clear()
    assert run.key != before
    monkeypatch.undo()
    study_protocol._key.cache_clear()
    assert run.key == before


@pytest.mark.parametrize("name", list(ALGORITHMS))
def test_the_settings_are_config_keys_and_pin_the_hyperparameters(name):
    run = Planned("full", "gaussians8", "final", name, 1, 1e-3)
    config = common.planar("gaussians8", "mirror_prox_gan")
    items = study_runs.job(run, Path("x")).settings
    settings.override(config, items)
    resolved = settings.resolve(config)
    assert resolved["num_batches"] == FULL.batches
    unpinned = {"history", "history_batch", "history_capacity", "num_chains", "mirror_step"}
    unpinned |= {"step_size_rate", "temperature_rate"}  # of the exponential schedule
    unpinned |= {"num_particles", "weights", "weight_step", "weight_floor"}  # one network each
    unpinned |= {"rebirth_below", "rebirth_noise"}
    later = study_protocol.LATER  # pinned, and in no key
    assert {k: resolved["generator"][k] for k in later} == later
    assert not later.keys() & run.settings.keys()
    unpinned |= later.keys()
    for key, value in resolved["generator"].items():
        if key in run.settings:
            assert value == run.settings[key] == resolved["discriminator"][key]
        elif name in ("mirror_gan", "mirror_prox_gan") and not key.startswith("decay_"):
            assert key in unpinned, f"{key} of {name} would follow the tuned defaults"


# The search.


@pytest.mark.parametrize("name", list(ALGORITHMS))
def test_a_search_covers_its_ranges_with_every_choice_of_the_rest(name):
    ranges, trials = ALGORITHMS[name].ranges, NARROW.candidates(name)
    assert trials == NARROW.candidates(name)
    assert len(trials) == NARROW.trials == 30
    assert len(set(trials)) == 30
    low, high = ranges["step_size"]
    for block in (trials[i : i + NARROW.block] for i in range(0, 30, NARROW.block)):
        steps = [t.step_size for t in block]
        parts = np.floor(10 * np.log(np.divide(steps, low)) / math.log(high / low))
        assert sorted(parts) == list(range(10)), "one step size in each tenth of the range"
        rest = {tuple(m for m in t.more if m[0] != "temperature") for t in block}
        assert len(rest) == 1, "one program"
    # First its own settings, then all that the protocol has of it.
    assert {k for t in trials[:10] for k, _ in t.more} <= {"temperature"}
    assert all({k for k, _ in t.more} == ranges.keys() - {"step_size"} for t in trials[10:])
    for key, value in (m for t in trials for m in t.more):
        allowed = ranges[key]
        assert value in allowed.values if hasattr(allowed, "values") else (
            allowed.low <= value <= allowed.high
        )  # fmt: skip


def test_quantiles_of_ranges():
    assert [Log(1e-4, 1e-2).at(u) for u in (0.0, 0.5, 1.0)] == [1e-4, 1e-3, 1e-2]
    assert [Uniform(0.5, 1.0).at(u) for u in (0.0, 0.5, 1.0)] == [0.5, 0.75, 1.0]
    assert [OneOf(("a", "b")).at(u) for u in (0.0, 0.49, 0.5, 1.0)] == ["a", "a", "b", "b"]


def test_algorithms_of_one_kind_have_the_same_ranges_and_other_draws():
    by_kind = {}
    for name, algorithm in ALGORITHMS.items():
        by_kind.setdefault(tuple(algorithm.ranges), set()).add(name)
    assert sorted(map(len, by_kind.values())) == [1, 1, 5, 5]
    assert NARROW.candidates("adam") != NARROW.candidates("extra_adam")


def searched(name, values):
    """Records of a search, one value a trial; None for a divergence."""
    records = {}
    for candidate, value in zip(NARROW.candidates(name), values, strict=True):
        run = Planned.trial(NARROW, "gaussians8", name, candidate)
        made = record(run, "diverged") if value is None else record(run, law_distance=value)
        records[run.key] = made
    return records


def test_the_best_trials_run_again_and_the_mean_decides():
    values = [0.5 + i / 100 for i in range(30)]
    values[7], values[11], values[20], values[29], values[3] = 0.1, 0.2, 0.3, 0.4, None
    records = searched("mirror_gan", values)
    trials = NARROW.candidates("mirror_gan")
    again = [r for r in ready(NARROW, "all", records) if r.stage == "again"]
    assert [(r.seed, r.rank, r.step_size, r.more) for r in again] == [
        (101, rank, *trials[i]) for rank, i in enumerate((7, 11, 20, 29, 0))
    ]
    assert choose(NARROW, "gaussians8", "mirror_gan", records) is None, "its best run again first"
    assert not [r for r in ready(NARROW, "all", records) if r.stage == "final"]
    early = choose(NARROW, "gaussians8", "mirror_gan", records, partial=True)
    assert early.best == Trial(trials[7], (0.1,))
    for run, value in zip(again, (0.9, 0.15, 0.2, None, 0.1), strict=True):
        made = record(run, "diverged") if value is None else record(run, law_distance=value)
        records[run.key] = made
    choice = choose(NARROW, "gaussians8", "mirror_gan", records)
    assert choice.best == Trial(trials[11], (0.2, 0.15))
    assert choice.value == pytest.approx(0.175)
    assert choice.trials[29].values == (0.4, math.inf)
    finals = [r for r in ready(NARROW, "all", records) if r.stage == "final"]
    assert [(r.seed, r.step_size, r.more) for r in finals] == [
        (seed, *trials[11]) for seed in NARROW.seeds
    ]
    assert finals[0].settings.items() >= dict(trials[11].more).items()
    assert not [r for r in missing(NARROW, "all", records) if r.algorithm == "mirror_gan"
                and r.dataset == "gaussians8" and r.stage in ("sweep", "again")]  # fmt: skip


def test_of_few_that_did_not_diverge_few_run_again():
    records = searched("sgd", [0.3, 0.2] + [None] * 28)
    again = [r for r in missing(NARROW, "all", records)
             if (r.dataset, r.algorithm, r.stage) == ("gaussians8", "sgd", "again")]  # fmt: skip
    assert [r.rank for r in again] == [0, 1]
    records |= searched("adam", [None] * 30)
    assert choose(NARROW, "gaussians8", "adam", records).best is None
    assert not [r for r in missing(NARROW, "all", records)
                if (r.dataset, r.algorithm) == ("gaussians8", "adam")]  # fmt: skip


@pytest.mark.parametrize(
    ("part", "end"), [(0.05, "lowest"), (0.11, ""), (0.89, ""), (0.95, "highest")]
)
def test_a_best_near_an_end_of_the_searched_range_is_said(part, end):
    assert study_protocol._end(NARROW, "adam", 1e-4 * 100**part) == end


def test_runs_of_a_searched_protocol_publish_no_model():
    trial = NARROW.candidates("rmsprop")[12]
    run = Planned.trial(NARROW, "gaussians8", "rmsprop", trial)
    assert "export=False" in study_runs.job(run, Path("x")).settings
    config = common.planar("gaussians8", "mirror_prox_gan")
    settings.override(config, study_runs.job(run, Path("x")).settings)
    player = settings.resolve(config)["generator"]
    assert player.items() >= dict(trial.more).items()
    final = Planned("narrow", "gaussians8", "final", "rmsprop", 0, *trial)
    assert "export=False" in study_runs.job(final, Path("x")).settings
    before = Planned("full", "gaussians8", "final", "rmsprop", 0, 1e-3)
    assert not [x for x in study_runs.job(before, Path("x")).settings if x.startswith("export")]


def test_several_together_take_runs_of_one_program_after_each_other(tmp_path):
    """The final runs of an algorithm are one population, though the plan goes seed by seed."""
    records = {
        **searched("adam", [0.1] + [0.2 + i for i in range(29)]),
        **searched("rmsprop", [0.1] + [0.2 + i for i in range(29)]),
    }
    for r in list(ready(NARROW, "all", records)):
        if r.stage == "again" and r.dataset == "gaussians8":
            records[r.key] = record(r, law_distance=0.1 + (r.rank or 0))
    finals = [r for r in ready(NARROW, "all", records) if r.stage == "final"]
    assert [(r.algorithm, r.seed) for r in finals[:3]] == [("adam", 0), ("rmsprop", 0), ("adam", 1)]
    for together, expected in ((1, ["adam", "rmsprop"] * 2), (5, ["adam"] * 4)):
        o = Options("all", NARROW, tmp_path, tmp_path, stages=("final",), together=together)
        study = study_runs.Study(o)
        study._records = records
        names = [study.next(i).name.split()[2].rstrip(",") for i in range(4)]
        assert names == expected
    trials = missing(NARROW, "all", {})[:20]  # two blocks, each of one program
    mixed = [r for pair in zip(trials[:10], trials[10:], strict=True) for r in pair]
    assert side_by_side(mixed, study_runs._program) == trials


# The choice.


def test_the_sweep_takes_the_least_w2_of_the_three_answers():
    steps = FULL.steps_of("adam")
    records = {}
    for step, values in zip(
        steps, [(0.9, 0.8, 0.7), (0.6, 0.5, 0.4), (0.9, 0.39, 0.9), (1, 1, 1), None], strict=True
    ):
        run = Planned("full", "gaussians8", "sweep", "adam", 0, step)
        if values is None:
            records[run.key] = record(run, "diverged")
        else:
            last, ema, mixture = values
            records[run.key] = record(
                run, last__wasserstein2=last, ema__wasserstein2=ema, mixture__wasserstein2=mixture
            )
    choice = choose(FULL, "gaussians8", "adam", records)
    assert choice.step_size == steps[2]
    assert choice.value == 0.39
    assert choice.at_end == ""
    assert [t.value for t in choice.trials] == [0.7, 0.4, 0.39, 1, math.inf]
    del records[next(iter(records))]
    assert choose(FULL, "gaussians8", "adam", records) is None
    assert choose(FULL, "gaussians8", "adam", records, partial=True).value == 0.39


@pytest.mark.parametrize(
    ("row", "index", "end"),
    [
        ([1.0, 2.0, 3.0, 4.0, 5.0], 0, "lowest"),
        ([3.0, 3.0, 3.0, 2.0, 1.0], 4, "highest"),
        ([3.0, 3.0, 3.0, 1.0, None], 3, ""),
        ([3.0, 1.0, 1.0, 2.0, 2.0], 1, ""),
    ],
)
def test_a_best_at_an_end_is_said(row, index, end):
    choice = choose(FULL, "gaussians8", "adam", swept(FULL, "gaussians8", {"adam": row}))
    assert choice.step_size == FULL.steps_of("adam")[index]
    assert choice.at_end == end


def test_where_all_step_sizes_diverge_no_final_run_is_missing():
    records = swept(FULL, "gaussians8", {"sgd": [None] * 5})
    assert choose(FULL, "gaussians8", "sgd", records).step_size is None
    left = [r for r in missing(FULL, "all", records) if r.dataset == "gaussians8"]
    assert not any(r.algorithm == "sgd" for r in left)
    assert sum(r.algorithm == "adam" for r in left) == 5 + 3


def test_a_final_run_is_ready_once_its_own_sweep_is_there():
    records = swept(FULL, "gaussians8", {"adam": middle(FULL)})
    found = [r for r in ready(FULL, "all", records) if r.stage == "final"]
    assert [(r.algorithm, r.seed) for r in found] == [("adam", 0), ("adam", 1), ("adam", 2)]
    assert {r.step_size for r in found} == {FULL.steps_of("adam")[2]}


# Statistics, against values computed by hand.


def seeds(*values):
    return dict(enumerate(values))


def test_bold_needs_all_seeds_and_to_be_better_than_every_other():
    low = METRICS["wasserstein2"]
    sides = {"a": seeds(0.9, 1.0, 1.1), "b": seeds(1.9, 2.01, 2.1), "c": {}}
    assert clear_best(sides, low, 3) == "a"
    assert clear_best({**sides, "d": seeds(0.95, 1.05, 1.0)}, low, 3) is None
    # Better than the next one and not, by the noise of the third, than that: it is not clear.
    assert clear_best({**sides, "d": seeds(1.2, 9.0, 1.3)}, low, 3) is None
    assert clear_best({**sides, "d": seeds(1.95)}, low, 3) == "a", "one seed is no rival"
    assert clear_best({**sides, "a": seeds(0.9, 1.0)}, low, 3) is None, "a seed is missing"
    assert clear_best({**sides, "a": seeds(0.1, 0.1, math.inf)}, low, 3) != "a", "one diverged"
    assert clear_best({"a": seeds(1.0), "b": seeds(2.0)}, low, 1) is None, "one seed"
    assert clear_best({"a": seeds(0.9, 1.0, 1.1)}, low, 3) is None, "nothing to be better than"
    near = METRICS["std_ratio"]
    sides = {"a": seeds(0.98, 1.02, 1.01), "b": seeds(1.5, 0.5, 1.52)}
    assert clear_best(sides, near, 3) == "a", "errors of two signs are errors"


def test_the_numbers_of_seeds_are_those_that_there_are():
    made = studied(FULL, "gaussians8", {"adam": [{"std_ratio": 0.9}, {"std_ratio": None}, None]})
    stage = finals_of_8(made)
    assert values_of(stage.done("adam"), "ema", "std_ratio") == {0: 0.9}
    assert values_of(stage.done("adam"), "ema", "law_distance") == {}
    assert values_of(stage.runs("adam"), "ema", "std_ratio") == {0: 0.9, 2: math.inf}, "diverged"


def test_who_diverged_in_a_seed_is_not_judged_by_the_others():
    """One of three seeds is lost, and the two that are left are twice as good."""
    some = [None, {"wasserstein2": 0.10}, {"wasserstein2": 0.11}]
    all_of = [{"wasserstein2": x} for x in (0.2, 0.201, 0.199)]
    made = studied(FULL, "gaussians8", {"mirror_gan": some, "adam": all_of})
    verdicts = [v for c in study_claims.claims(made, FULL) for v in c.verdicts]
    known = [v for v in verdicts if v.text.startswith("Mirror-GAN 0.1050") and "Adam 0.2" in v.text]
    assert len(known) == 2, "of last iterates and of mixtures"
    for one in known:
        assert one.outcome == "undecided"
        assert "0.1050 ± 0.0050 (1 of 3 without a number) against Adam 0.2000" in one.text
        assert "ranks" in one.by


def test_a_quality_table_by_hand():
    rows = {
        "adam": [{"wasserstein2": w} for w in (0.3, 0.4, 0.5)],
        "mirror_gan": [{"wasserstein2": w} for w in (0.11, 0.22, 0.33)],
        "sgd": [{"wasserstein2": 0.1}, None, None],
    }
    records = studied(FULL, "gaussians8", rows)
    table = study_tables.quality_table(finals_of_8(records), "ema")
    by_name = {row[0]: dict(zip(table.head, row, strict=True)) for row in table.rows}
    assert list(by_name) == ["SGD", "Adam", "Mirror-GAN", "real data"]
    column = "W2 (lower)"
    # s.e. of (0.3, 0.4, 0.5): 0.1 / sqrt(3) = 0.0577.
    assert by_name["Adam"][column] == "0.4000 ± 0.0577"
    assert by_name["Mirror-GAN"][column] == "0.2200 ± 0.0635"
    assert by_name["SGD"][column] == "0.1000", "the only one that did not diverge: not bold"
    assert by_name["SGD"]["seeds"] == "3, 2 diverged"
    assert by_name["real data"][column] == "0.2171"
    del rows["sgd"]
    table = study_tables.quality_table(
        Stage(studied(FULL, "gaussians8", rows), FULL, "gaussians8", "final"), "ema"
    )
    assert dict(zip(table.head, table.rows[1], strict=True))[column] == "**0.2200 ± 0.0635**"
    rows["adam"] = [{"std_ratio": None}, {"std_ratio": 0.5}]
    table = study_tables.quality_table(
        Stage(studied(FULL, "gaussians8", rows), FULL, "gaussians8", "final"), "last"
    )
    first = dict(zip(table.head, table.rows[0], strict=True))
    assert first["seeds"] == "2 of 3"
    assert first["std ratio (near 1)"] == "0.500 (1 of 2)"


def test_the_real_data_are_the_stages_own():
    records = studied(FULL, "gaussians25", {})
    for seed, stage in ((0, "final"), (0, "large")):
        run = Planned("full", "gaussians25", stage, "adam", seed, FULL.steps_of("adam")[2])
        records[run.key] = record(run)
        records[run.key]["real_data_ceiling"]["wasserstein2"] = {"final": 0.18, "large": 0.2}[stage]
    for stage, value in (("final", "0.1800"), ("large", "0.2000")):
        table = study_tables.quality_table(Stage(records, FULL, "gaussians25", stage), "last")
        assert table.rows[-1][0] == "real data"
        assert table.rows[-1][-1] == value
    assert Stage(records, FULL, "swissroll", "large").real == {}


def test_results_of_a_step_size_that_is_no_longer_chosen_do_not_count():
    records = swept(FULL, "gaussians8", {"adam": middle(FULL)})
    stale = Planned("full", "gaussians8", "final", "adam", 0, 0.5)
    records[stale.key] = record(stale)
    assert study_tables.quality_table(finals_of_8(records), "last") is None
    assert stale.key not in study_protocol.planned(FULL, records)


def test_times_are_of_one_machine():
    records = studied(
        FULL,
        "gaussians8",
        {
            "adam": [{"seconds": s, "curve": (0.9, 0.6, 0.5 + s / 1e3)} for s in (120, 132, 144)],
            "mirror_gan": [
                {"seconds": 240, "curve": (0.5, 0.5, 0.5)},
                {"seconds": 264, "curve": (0.9, 0.5, 0.9)},
                {"seconds": 9, "curve": (0.9, 0.5, 0.5), "hardware": [{**HARDWARE, "cores": 64}]},
            ],
        },
    )
    table = study_tables.speed_table(finals_of_8(records))
    # Adam's worst seed ends at 0.5 + 0.144; all its seeds are there at the second score.
    assert "W2 = 0.6440" in table.note
    assert "2 cores, 2 runs side by side with 1 thread each" in table.note
    by_name = {row[0]: row[1:] for row in table.rows}
    # 120, 132, 144 s for 12,000 mini-batches: 11 ms, s.e. 1 / sqrt(3).
    assert by_name["Adam"] == ["11.00 ± 0.58", "200 ± 0", "3.0 ± 0.0"]
    adams = finals_of_8(records).done("adam")
    assert steps_to(adams, 0.6440001, "step") == {0: 200, 1: 200, 2: 200}
    never = {"last": {"wasserstein2": [0.9, 0.8, 0.7]}}
    late = {**adams[1], "curve": {**adams[1]["curve"], "scores": never}}
    assert steps_to([adams[0], late, adams[2]], 0.65, "step") == {}, "one never got there"
    # Two of its three runs are on that machine: 20 and 22 ms, s.e. 1. It got there after 100, 200
    # and 200 mini-batches, s.e. 33; in 1.5 and 3.0 seconds, s.e. 0.75.
    assert by_name["Mirror-GAN"] == ["21.00 ± 1.00", "167 ± 33", "2.2 ± 0.8"]
    mixed = [HARDWARE, {**HARDWARE, "cores": 4}]
    assert study_results.machine(record(plan(FULL)[0], hardware=mixed)) == "several machines"


# Claims.


def outcomes(records, measure):
    found = [c for c in study_claims.claims(records, FULL) if c.measure.startswith(measure)]
    assert len(found) == 1
    return found[0]


def test_claims_are_what_the_numbers_say():
    rows = {
        "adam": [{"last__mean_bias_sigma": v} for v in (0.5, 0.6, 0.71)],
        "optimistic_adam": [{"last__mean_bias_sigma": v} for v in (0.0, 0.1, 0.21)],
        "extra_adam": [None, None, None],
        "mirror_gan": [{"last__mean_bias_sigma": v} for v in (0.1, 0.2, 0.3)],
    }
    claim = outcomes(studied(FULL, "gaussians8", rows), "bias / sigma, last")
    known = [v for v in claim.verdicts if v.outcome != "no data"]
    assert [(v.text.split(" against ")[1].split(" ")[0], v.outcome) for v in known] == [
        ("Adam", "held"),
        ("Optimistic", "opposite"),
        ("Extra-Adam", "held"),  # diverged
    ]
    assert "Mirror-GAN 0.200 ± 0.058 against Adam 0.603 ± 0.061" in known[0].text
    assert known[0].by.startswith("+0.403 [+0.")
    assert "paired t" in known[0].by
    assert claim.summary.startswith(
        "**does not hold**; of 3 comparisons: held in 2, the opposite in 1; 15 more"
    )
    assert claim.summary.endswith("held throughout in 0 of 1 data sets")


def test_a_claim_with_one_seed_is_a_direction_and_without_runs_untested():
    rows = {
        "adam": [{"last__mean_bias_sigma": 0.5}],
        "mirror_gan": [{"last__mean_bias_sigma": 0.1}],
        "mirror_prox_gan": [{"last__mean_bias_sigma": 0.9}],
    }
    claim = outcomes(studied(FULL, "gaussians8", rows), "bias / sigma, last")
    assert claim.summary.startswith(
        "**undecided**; of 2 comparisons: in its direction in 1 (one seed), against it in 1 (one "
        "seed);"
    )
    assert "held throughout" not in claim.summary
    assert outcomes({}, "std ratio, mixture").summary == "not tested: the runs are missing"


def test_a_claim_of_which_every_comparison_holds_holds():
    rows = {a: [{"last__std_ratio": v} for v in (0.5, 0.61, 0.55)] for a in ("adam", "extra_adam")}
    rows |= {a: [{"last__std_ratio": v} for v in (0.97, 1.04, 0.99)] for a in ("mirror_gan",)}
    claim = outcomes(studied(FULL, "gaussians8", rows), "std ratio, last")
    assert claim.summary.startswith("**holds**; of 2 comparisons: held in 2;")
    # Of one seed fewer there is no evidence that is corrected for two.
    rows["mirror_gan"] = rows["mirror_gan"][:2]
    claim = outcomes(studied(FULL, "gaussians8", rows), "std ratio, last")
    assert claim.summary.startswith("**undecided**; of 2 comparisons: undecided in 2;")


def test_comparable_excludes_the_margin_and_divergence_is_worse():
    rows = {
        "adam": [{"wasserstein2": v} for v in (0.3, 0.31, 0.3)],
        "extra_adam": [{"wasserstein2": v} for v in (0.2, 0.3, 0.4)],
        "sgd": [{"wasserstein2": v} for v in (0.01, 0.021, 0.03)],
        "mirror_gan": [{"wasserstein2": v} for v in (0.31, 0.319, 0.311)],
        "mirror_prox_gan": [None, None, None],
    }
    claim = outcomes(studied(FULL, "gaussians8", rows), "W2, last; comparable: not worse by 0.03")
    known = {v.text: v.outcome for v in claim.verdicts if v.outcome != "no data"}
    assert sorted(known.values()) == ["held", *["opposite"] * 4, "undecided"]
    # A mean that is larger by 0.01 is not worse; a spread that hides it shows nothing.
    held = next(t for t, o in known.items() if o == "held")
    assert held == "Mirror-GAN 0.3133 ± 0.0028 against Adam 0.3033 ± 0.0033"
    assert known["Mirror-GAN 0.3133 ± 0.0028 against Extra-Adam 0.3000 ± 0.0577"] == "undecided"


def test_mixtures_are_asked_of_their_own_networks_and_of_rmsprops():
    """Runs of one seed are compared with themselves: no other pairing decides these numbers."""
    seeds = ((0.3, 0.21), (0.6, 0.51), (0.9, 0.815))
    nearer = [{"last__wasserstein2": a, "mixture__wasserstein2": b} for a, b in seeds]
    farther = [{"last__wasserstein2": b, "mixture__wasserstein2": a} for a, b in seeds]
    best = [{"mixture__wasserstein2": v} for v in (0.1, 0.12, 0.11)]
    records = studied(FULL, "gaussians8", {"rmsprop": farther, "adam": nearer, "mirror_gan": best})
    last, ema, noise = study_claims.questions(records, FULL)
    assert last.measure == "W2, mixture against last"
    assert ema.measure == "W2, mixture against ema"
    known = {v.text.split(" mixture ")[0]: v for v in last.verdicts if v.outcome != "no data"}
    assert known["Adam"].outcome == "held"
    assert known["Adam"].text == "Adam mixture 0.5117 ± 0.1747 against Adam last 0.6000 ± 0.1732"
    assert known["Adam"].gain == pytest.approx(0.265 / 3)
    assert known["RMSProp"].outcome == "opposite"
    assert known["RMSProp"].gain == pytest.approx(-0.265 / 3)
    assert len(noise.verdicts) == len(FULL.datasets) * 2, "of the full protocol's two Mirrors"
    (only,) = (v for v in noise.verdicts if v.outcome != "no data")
    assert only.text.startswith("Mirror-GAN 0.1100 ± 0.0058 against RMSProp 0.6000")
    # EMAs are at 0.3 in all runs: Mirror-GAN's mixture alone is nearer; RMSProp's is farther.
    table = study_claims.in_time([last, ema, noise], "final")
    assert table is not None
    assert table.rows == [("gaussians8", "2 of 3", "2", "1 of 3", "1", "1")]
    assert study_claims.in_time(study_claims.questions({}, FULL), "final") is None


def test_the_new_protocol_chooses_by_the_judge_and_the_old_one_as_it_did():
    judged = PROTOCOLS["judged"]
    assert len(judged.seeds_of("final")) == len(judged.seeds_of("large")) == 5
    assert judged.sweep_batches == judged.batches
    run = Planned("judged", "gaussians8", "sweep", "adam", 0, 1e-3)
    made = record(run, wasserstein2=0.1, last__law_distance=0.5, ema__law_distance=0.2)
    assert study_protocol.objective(made) == 0.2
    assert study_protocol.objective({**made, "protocol": "full"}) == 0.1
    # Of one config, apart from its length: a record of the one is none of the other.
    assert run.key != dataclasses.replace(run, protocol="full").key


# The report.


def fabricated(tmp_path):
    """A folder of records with samples, a part of a full study."""
    rng = np.random.default_rng(0)
    rows = {
        a: [
            {"wasserstein2": 0.2 + rng.random(), "curve": tuple(rng.random(3)), "seconds": 200.0}
            for _ in range(3)
        ]
        for a in ("adam", "mirror_gan", "mirror_prox_gan")
    }
    records = studied(FULL, "gaussians8", {**rows, "sgd": [None] * 3})
    for made in records.values():
        run = Planned(
            *(made[k] for k in ("protocol", "dataset", "stage", "algorithm", "seed")),
            made["step_size"],
        )
        workdir = tmp_path / "workdir"
        (workdir / "samples").mkdir(parents=True, exist_ok=True)
        samples = {a: rng.standard_normal((1500, 2)) for a in ANSWERS}
        np.savez(workdir / "samples" / "final.npz", **samples)
        study_results.add(tmp_path / "results", run, made, workdir)
    return tmp_path / "results", records


def test_the_report_has_every_number_and_needs_nothing_else(tmp_path):
    results, records = fabricated(tmp_path)
    assert study_results.load(results) == json.loads(json.dumps(records))
    readme, page = (p.read_text() for p in report.render(FULL, results))
    finals = finals_of_8(study_results.load(results))
    tables = [study_tables.quality_table(finals, a) for a in ANSWERS]
    for table in [*tables, study_tables.speed_table(finals)]:
        assert table is not None
        assert table.markdown() in readme
        assert f"<caption>{table.title}</caption>" in page
    rows = [line.strip("|").split("|") for line in readme.splitlines() if line.startswith("|")]
    cells = {c.strip() for row in rows for c in row if re.search(r"\d", c)}
    assert len(cells) > 50
    for text in cells:
        bold = re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", text)
        assert re.search(rf"<t[dh][^>]*>{re.escape(bold)}</t[dh]>", page)
    assert "<script" not in page
    assert not re.search(r"(src|href)=\"(?!data:image/(?:png|webp);base64,)", page)
    assert (
        len(re.findall("data:image/(?:png|webp);base64,", page))
        == len(list(results.glob("*.png")))
        == 4
    )
    # Who cannot see a picture reads its caption instead.
    shown = re.findall(r'<img alt="([^"]+)"[^>]*><figcaption>(.+)</figcaption></figure>', page)
    assert len(shown) == 4
    assert all(alt == caption for alt, caption in shown)
    for name in re.findall(r"\]\(([^)]+\.png)\)", readme):
        assert (results / name).is_file()
    total = len(plan(FULL))
    assert f"{len(records)} of {total} runs are done; 3 diverged." in readme
    for what in ("gaussians8 final: 12", "gaussians25 sweep: 40"):
        assert what in readme
    assert "SGD (diverged)" in page
    took = sum(r["seconds"] for r in records.values()) / 3_600
    whole = sum(r["wall_seconds"] for r in records.values()) / 3_600
    assert f"- Hours: {took:.1f} of training and {whole:.1f} with starts" in readme


def test_the_same_records_give_the_same_files(tmp_path):
    results, _ = fabricated(tmp_path)
    report.render(FULL, results)
    before = {p.name: p.read_bytes() for p in results.iterdir() if p.is_file()}
    report.render(FULL, results)
    assert {p.name: p.read_bytes() for p in results.iterdir() if p.is_file()} == before


def test_other_protocols_are_marked_and_kept_apart(tmp_path):
    results, _ = fabricated(tmp_path)
    readme, _ = report.render(PROTOCOLS["short"], results)
    text = readme.read_text()
    assert "(short protocol)" in text
    assert "It ranks nothing" in text
    assert "0 of " in text
    assert "0.9000" not in text


def test_samples_are_kept_small_and_come_back(tmp_path):
    results, records = fabricated(tmp_path)
    made = next(r for r in records.values() if r["stage"] == "final" and r["status"] == "done")
    samples = study_results.read_samples(results, made)
    assert {v.shape for v in samples.values()} == {(study_results.NUM_SAMPLES, 2)}
    with np.load(tmp_path / "workdir" / "samples" / "final.npz") as saved:
        assert saved["last"].shape == (1500, 2)
    diverged = next(r for r in records.values() if r["status"] == "diverged")
    assert study_results.read_samples(results, diverged) == {}
    sizes = [p.stat().st_size for p in (results / "runs").rglob("*.*")]
    assert max(sizes) < 20_000


def test_a_damaged_record_is_named(tmp_path):
    results, _ = fabricated(tmp_path)
    path = next((results / "runs").rglob("*.json"))
    path.write_text(path.read_text()[:40])
    with pytest.raises(InputError, match=f"{path.name} is no record"):
        study_results.load(results)


@pytest.mark.parametrize("dataset", FULL.datasets)
def test_the_blue_points_are_of_the_real_law(dataset):
    points, reach = real_points(dataset, 4_000)
    data = synthetic.make(dataset)
    index, offset = data.nearest_mode(points)
    counts = np.bincount(index, minlength=data.num_modes)
    # Multinomial: each within 5 standard deviations of its mean.
    mean = 4_000 / data.num_modes
    assert np.abs(counts - mean).max() < 5 * math.sqrt(mean)
    assert offset.std() == pytest.approx(data.sigma, rel=0.1)
    assert reach == pytest.approx(data.window[1], rel=0.05)


def test_curves_are_thinned_with_their_ends():
    assert study_results.thin(3, 5) == [0, 1, 2]
    assert study_results.thin(101, 5) == [0, 25, 50, 75, 100]


# Running, with a trainer that only pretends.

TRAINER = textwrap.dedent(
    """
    import json, os, pathlib, signal, sys, time
    facts = json.loads(sys.argv[1])
    folder, settings = pathlib.Path(facts["workdir"]), facts["settings"]
    with open(facts["calls"], "a") as file:
        threads = [os.environ[k] for k in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS")]
        file.write(json.dumps({"key": facts["key"], "threads": "".join(threads)}) + "\\n")
    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    (folder / "samples").mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"dataset": facts["dataset"], **settings}))
    hardware = {"host": "h", "processor": "P", "cores": 2, "gpus": [], "machine": "m"}
    session = {"time": "t", "hardware": hardware, "commit": "c" * 40, "dirty": False}
    path = folder / "provenance.json"
    before = json.loads(path.read_text())["sessions"] if path.exists() else []
    path.write_text(json.dumps({"versions": {"python": "3"}, "sessions": [*before, session]}))
    mode = facts["mode"]
    if mode == "sleep" and not (folder / "stopped").exists():
        def stop(*_):
            (folder / "stopped").touch()
            sys.exit(143)
        signal.signal(signal.SIGTERM, stop)
        (folder / "ready").touch()
        time.sleep(60)
    if mode == "diverge":
        (folder / "postmortem_1.json").write_text(json.dumps({"step": 5}))
        sys.exit(3)
    if mode == "infinite":
        print("ValueError: The samples are not all finite; there is no scorecard of them.")
        sys.exit(1)
    if mode == "crash":
        print("boom")
        sys.exit(1)
    if mode == "refuse":
        print("error: no such key")
        sys.exit(2)
    n = settings["num_batches"]
    scores = {"score/last/wasserstein2": 0.5, "score/ema/wasserstein2": 0.4}
    rows = [{"step": n // 2, **scores}, {"step": n, **scores, "score/mixture/wasserstein2": 0.3}]
    times = [{"step": r["step"], "seconds": r["step"] / 100} for r in rows]
    for name, lines in (("metrics", rows), ("times", times)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(r) + "\\n" for r in lines))
    card = {**facts["card"], "wasserstein2": settings["step_size"]}
    scorecard = {"strategies": dict.fromkeys(("last", "ema", "mixture"), card)}
    scorecard["real_data_ceiling"] = facts["card"]
    (folder / "scorecard.json").write_text(json.dumps(scorecard))
    """
)


@pytest.fixture
def trainer(tmp_path, monkeypatch):
    """Pretended runs: `mode` decides what a run does; returns (options, keys that were begun)."""
    script, calls = tmp_path / "trainer.py", tmp_path / "calls.jsonl"
    script.write_text(TRAINER)
    calls.touch()

    class Fake:
        options = Options("all", TINY, tmp_path / "runs", tmp_path / "results")
        mode = staticmethod(lambda run: "finish")

        @staticmethod
        def calls():
            return [json.loads(line) for line in calls.read_text().splitlines()]

    real = study_runs.job

    def made(run, workdir, compile):
        assert compile == Fake.options.compile
        facts = {
            "workdir": str(workdir), "settings": run.settings, "dataset": run.dataset,
            "key": run.key, "mode": Fake.mode(run), "calls": str(calls), "card": CARD,
        }  # fmt: skip
        trainer = (sys.executable, "-S", str(script), json.dumps(facts))
        return real(run, workdir, compile)._replace(trainer=trainer)

    monkeypatch.setattr(study_runs, "job", made)
    monkeypatch.setattr(jobs, "_POLL_SECONDS", 0.01)
    return Fake


def test_the_study_runs_once_and_keeps_what_matters(trainer):
    o = trainer.options
    assert run_study(o) == 0
    records = study_results.load(o.results)
    assert missing(TINY, "all", records) == []
    assert len(trainer.calls()) == len(records) == len(plan(TINY)) == 8
    assert {c["threads"] for c in trainer.calls()} == {"11"}
    made = next(r for r in records.values() if r["stage"] == "final")
    # W2 is the step size in these runs, so that the lowest is chosen.
    assert made["step_size"] == TINY.steps_of(made["algorithm"])[0]
    assert made["scorecards"]["ema"]["wasserstein2"] == made["step_size"]
    assert made["curve"]["step"] == [4, 8]
    assert made["curve"]["seconds"] == [0.04, 0.08]
    assert made["curve"]["scores"]["mixture"]["wasserstein2"] == [None, 0.3]
    assert made["seconds"] == 0.08
    assert made["wall_seconds"] > 0
    workdir = o.runs / "tiny" / made["dataset"] / "final" / made["algorithm"] / made["key"]
    assert (workdir / "scorecard.json").is_file()
    assert not (workdir / "checkpoints").exists()
    # On another machine, without the workdirs, nothing is done again.
    elsewhere = dataclasses.replace(o, runs=o.runs.with_name("elsewhere"))
    assert run_study(elsewhere) == 0
    assert len(trainer.calls()) == 8
    # A record that is removed is done again, alone.
    next((o.results / "runs").rglob(f"{made['key']}.json")).unlink()
    assert run_study(dataclasses.replace(elsewhere, keep_workdirs=True)) == 0
    assert [c["key"] for c in trainer.calls()[8:]] == [made["key"]]
    assert (elsewhere.runs / workdir.relative_to(o.runs) / "checkpoints").is_dir()


def test_machines_share_a_study(trainer):
    o = trainer.options
    sweep = dataclasses.replace(o, stages=("sweep",))
    assert run_study(sweep) == 0
    assert {r["stage"] for r in study_results.load(o.results).values()} == {"sweep"}
    other = dataclasses.replace(o, datasets=("swissroll",), runs=o.runs.with_name("other"))
    assert run_study(other) == 0, "nothing to do there"
    assert len(trainer.calls()) == 4
    assert run_study(dataclasses.replace(o, stages=("final", "large"))) == 0
    assert missing(TINY, "all", study_results.load(o.results)) == []


def test_shares_make_the_whole(tmp_path):
    whole = plan(FULL)
    of_all = Options("all", FULL, tmp_path, tmp_path)
    small = ("gaussians8", "swissroll")
    shares = [
        dataclasses.replace(of_all, datasets=("gaussians25",)),
        dataclasses.replace(of_all, datasets=small, stages=("sweep",)),
        dataclasses.replace(of_all, datasets=small, stages=("final", "large")),
    ]
    runs = [share.of_this_session(whole) for share in shares]
    assert [len(r) for r in runs] == [40 + 24 + 8, 80, 48]
    assert sorted(map(str, itertools.chain(*runs))) == sorted(map(str, whole))
    assert of_all.of_this_session(whole) == whole


def test_how_it_is_compiled_is_in_the_command_and_not_in_the_key():
    run = Planned("full", "gaussians25", "large", "adam", 0, 1e-3)
    plain = study_runs.command(run, Path("w"))
    assert not any("--config.compile" in part for part in plain)
    whole = study_runs.command(run, Path("w"), "whole")
    assert set(whole) - set(plain) == {"--config.compile=whole"}
    assert "compile" not in run.settings


def test_a_diverged_run_is_a_result(trainer):
    top = TINY.steps_of("adam")[1]
    trainer.mode = staticmethod(
        lambda run: "diverge" if (run.algorithm, run.step_size) == ("adam", top) else "finish"
    )
    assert run_study(trainer.options) == 0
    records = study_results.load(trainer.options.results)
    (lost,) = study_results.select(records.values(), status="diverged")
    assert (lost["algorithm"], lost["step_size"]) == ("adam", top)
    assert lost["diverged_at"] == 5
    assert lost["scorecards"] == {}
    assert run_study(trainer.options) == 0
    assert len(trainer.calls()) == 8


def test_samples_that_are_not_finite_are_a_divergence_and_no_crash(trainer):
    trainer.mode = staticmethod(
        lambda run: "infinite" if run.algorithm == "mirror_gan" else "finish"
    )
    assert run_study(trainer.options) == 0
    records = study_results.load(trainer.options.results)
    lost = study_results.select(records.values(), status="diverged")
    assert [r["algorithm"] for r in lost] == ["mirror_gan"] * 2
    assert choose(TINY, "gaussians8", "mirror_gan", records).step_size is None
    assert missing(TINY, "all", records) == []
    readme, _ = report.render(TINY, trainer.options.results)
    assert "| diverged | diverged | all diverged |" in readme.read_text()


def test_a_budget_stops_the_runs_and_the_next_session_resumes_them(trainer):
    trainer.mode = staticmethod(lambda run: "sleep")
    began = time.monotonic()
    assert run_study(dataclasses.replace(trainer.options, budget=0.5 / 60)) == 0
    assert time.monotonic() - began < 20
    assert study_results.load(trainer.options.results) == {}
    # Which of two processes writes first is chance.
    first = [run.key for run in missing(TINY, "all", {})[:2]]
    assert sorted(c["key"] for c in trainer.calls()) == sorted(first), "two side by side"
    one = dataclasses.replace(trainer.options, jobs=1, budget=0.5 / 60)
    assert run_study(one) == 0
    calls = [c["key"] for c in trainer.calls()]
    assert calls[2] == first[0], "the first in the order is resumed first"
    records = study_results.load(one.results)
    assert first[0] in records
    assert records[first[0]]["wall_seconds"] is None, "its sessions' times are not one time"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_cleanly(trainer, tmp_path, number):
    trainer.mode = staticmethod(lambda run: "sleep")
    script = tmp_path / "session.py"
    script.write_text(
        "import json, sys\n"
        "from trainers.campaigns.study import runs as study_runs\n"
        "from trainers.campaigns.study.protocol import PROTOCOLS\n"
        "from pathlib import Path\n"
        f"trainer = {str(tmp_path / 'trainer.py')!r}\n"
        "real = study_runs.job\n"
        "def made(run, workdir, compile):\n"
        "    facts = {'workdir': str(workdir), 'settings': run.settings, 'dataset': run.dataset,\n"
        f"        'key': run.key, 'mode': 'sleep', 'calls': {str(tmp_path / 'calls.jsonl')!r}}}\n"
        "    fake = (sys.executable, '-S', trainer, json.dumps(facts))\n"
        "    return real(run, workdir, compile)._replace(trainer=fake)\n"
        "study_runs.job = made\n"
        f"o = study_runs.Options('all', PROTOCOLS['tiny'], Path({str(tmp_path / 'runs')!r}),\n"
        f"    Path({str(tmp_path / 'results')!r}))\n"
        "sys.exit(study_runs.run_study(o))\n"
    )
    process = subprocess.Popen(
        [sys.executable, script], env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    deadline = time.monotonic() + 30
    while len(list((tmp_path / "runs").rglob("ready"))) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(number)
    assert process.wait(30) == {signal.SIGTERM: 143, signal.SIGINT: 130}[number]
    assert len(list((tmp_path / "runs").rglob("stopped"))) == 2, "both were asked to stop"


def test_crashes_are_told_and_end_the_session_after_some(trainer, capfd):
    trainer.mode = staticmethod(
        lambda run: "crash" if run.seed == 1 and run.algorithm == "adam" else "finish"
    )
    assert run_study(trainer.options) == study_runs.FAILED
    assert "failed: exit code 1, boom (log: " in capfd.readouterr().err
    assert len(missing(TINY, "all", study_results.load(trainer.options.results))) == 1
    trainer.mode = staticmethod(lambda run: "finish")
    assert run_study(trainer.options) == 0
    for path in (trainer.options.results / "runs").rglob("*.json"):
        path.unlink()
    trainer.mode = staticmethod(lambda run: "crash")
    before = len(trainer.calls())
    other = dataclasses.replace(trainer.options, runs=trainer.options.runs / "new")
    assert run_study(other) == study_runs.FAILED
    assert 3 <= len(trainer.calls()) - before <= 4


def test_a_refused_command_ends_the_study(trainer):
    trainer.mode = staticmethod(lambda run: "refuse")
    with pytest.raises(InputError, match="could not be run: no such key"):
        run_study(trainer.options)


def test_a_workdir_of_another_run_is_not_harvested(trainer, monkeypatch):
    run = ready(TINY, "all", {})[0]
    assert run_study(dataclasses.replace(trainer.options, keep_workdirs=True)) == 0
    workdir = trainer.options.runs / "tiny" / run.path
    facts = {"status": "done", "jobs": 2, "threads": 1, "wall_seconds": 1.0, "command": ["x"]}
    assert study_results.harvest(run, workdir, facts)["key"] == run.key
    config = json.loads((workdir / "config.json").read_text())
    (workdir / "config.json").write_text(json.dumps({**config, "ema_decay": 0.5}))
    with pytest.raises(InputError, match=r"ema_decay=0\.5 where the study has 0\.999"):
        study_results.harvest(run, workdir, facts)


def test_one_session_a_folder(trainer):
    from trainers.system import lock

    trainer.options.runs.mkdir()
    with lock.hold(trainer.options.runs), pytest.raises(InputError, match="in use"):
        run_study(trainer.options)


def test_the_estimate_is_of_the_missing_runs():
    o = Options("all", FULL, ROOT, ROOT)
    first = estimate(o, {})
    assert first.runs == len(plan(FULL)) == 200
    assert 8 < first.hours < 12, "about ten hours"
    # 40 sweeps and 24 final runs of the 8 Gaussians, at 22 ms and 20 s beside, two at a time.
    hours = 40 * (6_000 * 0.022 + 20) / 3600 / 2
    assert first.by_stage["gaussians8", "sweep"] == (40, pytest.approx(hours))
    records = studied(FULL, "gaussians8", {})
    for r in records.values():
        r["seconds"], r["wall_seconds"] = 60.0, 67.0  # 10 ms a mini-batch, 7 s beside
    later = estimate(o, records)
    assert later.runs == 160
    assert ("gaussians8", "sweep") not in later.by_stage
    hours = 24 * (12_000 * 0.010 + 7) / 3600 / 2
    assert later.by_stage["gaussians8", "final"] == (24, pytest.approx(hours))
