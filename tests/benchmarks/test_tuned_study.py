"""How tuned defaults are chosen and checked, and the study of unequal masses."""

import math

import pytest

from benchmarks import studies, tuned_study, unbalanced_study
from benchmarks.former import FORMER
from benchmarks.tuned_study import DATASETS
from configs import tuned
from trainers.campaigns.study.protocol import ALGORITHMS, LATER, PROTOCOLS, Planned
from trainers.experiment import settings
from trainers.system import cli

NARROW = PROTOCOLS["narrow"]
TRIALS = NARROW.candidates("adam")


def record(run, distance):
    """Of a run whose mixture is best; None: it diverged."""
    cards = {"last": {"law_distance": 9.0}, "mixture": {"law_distance": distance}}
    return {"protocol": "narrow", "scorecards": {} if distance is None else cards}


def swept(distance, seconds=lambda data, i: None):
    """Records of Adam's whole sweeps: distance(data set, number of the trial)."""
    found = {}
    for data in DATASETS:
        first = {c: distance(data, i) for i, c in enumerate(TRIALS)}
        for c, value in first.items():
            run = Planned.trial(NARROW, data, "adam", c)
            found[run.key] = record(run, value)
        ranked = sorted(first, key=lambda c: math.inf if first[c] is None else first[c])
        for rank, c in enumerate(ranked[: NARROW.again]):
            again = Planned("narrow", data, "again", "adam", 101, *c, rank=rank)
            value = seconds(data, TRIALS.index(c))
            found[again.key] = record(again, first[c] if value is None else value)
    return found


def test_the_default_is_the_trial_with_the_least_mean_regret():
    """Number 3 is never the best, number 7 is it twice and very bad on the third data set."""

    def distance(data, i):
        if i == 3:
            return 0.25 if data == "swissroll" else 0.2
        if i == 9:
            return 0.2 if data == "swissroll" else 3.0
        if i == 7:
            return 4.0 if data == "swissroll" else 0.1
        return None if i == 11 else 1.0 + i / 100

    found = tuned_study.chosen(swept(distance))
    assert list(found) == ["adam"]
    assert found["adam"].candidate == TRIALS[3]
    assert found["adam"].regrets == {
        "gaussians8": pytest.approx(math.log(2)),
        "gaussians25": pytest.approx(math.log(2)),
        "swissroll": pytest.approx(math.log(1.25)),
    }
    assert found["adam"].candidate.settings["step_size"] == TRIALS[3].step_size
    # What ran with both seeds counts with their mean.
    worse = tuned_study.chosen(swept(distance, lambda data, i: 60.0 if i == 3 else None))
    assert worse["adam"].candidate != TRIALS[3]


def test_nothing_is_chosen_of_a_sweep_that_is_not_whole():
    records = swept(lambda data, i: 1.0 + i)
    del records[Planned.trial(NARROW, "swissroll", "adam", TRIALS[29]).key]
    assert tuned_study.chosen(records) == {}


def runs_of(new, former, seeds=5, wide=(8, 8)):
    """Of each data set: the law distances new(data, seed), former(data, seed); None: diverged.

    wide: the modes of the new and the former with 3 x 512 units.
    """

    def one(value):
        cards = {"last": value + 1.0, "ema": None, "mixture": value}
        return {"answers": {k: {"law_distance": v} for k, v in cards.items()}}

    modes = {
        f"wide_adam_{which}": {"0": {"answers": {"mixture": {"modes_captured": n}}}}
        for which, n in zip(("new", "former"), wide, strict=True)
        if n is not None
    }
    return modes | {
        f"{data}_adam_{which}": {
            str(s): one(value(data, s)) for s in range(seeds) if value(data, s) is not None
        }
        for data in DATASETS
        for which, value in (("new", new), ("former", former))
    }


def test_a_new_default_is_taken_if_nothing_decides_against_it_and_its_mean_is_less():
    def about(value):
        return lambda data, seed: value * (1.0 + 0.01 * seed * (1 + (seed * value) % 0.1))

    better = tuned_study.verdicts(runs_of(about(0.1), about(0.2)))["adam"]
    assert better.takes
    assert better.gain == pytest.approx(math.log(2), abs=0.01)
    assert not tuned_study.verdicts(runs_of(about(0.2), about(0.1)))["adam"].takes

    def mixed(data, seed):
        return about(0.3 if data == "swissroll" else 0.02)(data, seed)

    one_against = tuned_study.verdicts(runs_of(mixed, about(0.2)))["adam"]
    assert one_against.gain > 1.0
    assert one_against.each["swissroll"].outcome == "worse"
    assert not one_against.takes
    assert tuned_study.verdicts({}) == {}
    for wide, keeps in (((7, 8), False), ((8, 7), True), ((None, 8), False), ((None, None), None)):
        found = tuned_study.verdicts(runs_of(about(0.1), about(0.2), wide=wide))["adam"]
        assert found.wide is keeps
        assert found.takes == bool(keeps), wide


def test_the_tables_have_both_law_distances():
    made = runs_of(lambda data, seed: 0.1 + 0.01 * seed, lambda data, seed: 0.2 + 0.02 * seed)
    pair = "| 0.240, 0.120 " * 3
    assert f"| Adam {pair}|" in tuned_study.tables(made)


def test_a_run_that_diverged_is_the_worst_of_its_comparison():
    def often(data, seed):
        return 0.1 + 0.001 * seed if seed == 0 else None

    found = tuned_study.verdicts(runs_of(often, lambda data, seed: 0.2 + 0.001 * seed))["adam"]
    assert not found.takes
    assert found.each["gaussians8"].test == "ranks"


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_setting_is_valid_and_pins_what_the_defaults_would_choose(name, tmp_path):
    found = {name: tuned_study.Chosen(NARROW.candidates(name)[15], dict.fromkeys(DATASETS, 0.0))}
    study = tuned_study.study(found)
    wide = study.stages.pop("wide")
    assert all("model.hidden_units=(512,512,512)" in s.items for s in wide)
    for stage, pair in study.stages.items():
        former, new = pair
        assert "model.hidden_units=(64,64,64)" in new.items
        for setting, own in ((former, FORMER[name]), (new, found[name].candidate.settings)):
            config = cli.load_config(setting.config)
            settings.override(config, setting.items)
            resolved = settings.resolve(config)
            assert resolved["dataset"] == stage
            assert (resolved["num_batches"], resolved["batch_size"]) == (12_000, 64)
            for key, value in own.items():
                kept = resolved["generator"][key]
                if isinstance(value, str):  # a schedule, written without blanks
                    assert kept.replace(" ", "") == value.replace(" ", "")
                else:
                    assert kept == value, key
        keys = {i.partition("=")[0] for i in former.items}
        assert keys == {i.partition("=")[0] for i in new.items}
        assert {*ALGORITHMS[name].ranges} <= keys


def test_the_defaults_are_those_of_the_check():
    """Of one network on vectors: what was chosen where its check takes it, what was before else."""
    found = tuned_study.chosen(studies.paper_study())
    judged = tuned_study.verdicts(studies.runs_of(tuned_study.RECORDS))
    assert {*found} == {*FORMER}
    for name, before in FORMER.items():
        own = ALGORITHMS[name].settings
        takes = name in judged and judged[name].takes
        expected = {**LATER, **own, **found[name].candidate.settings} if takes else before
        assert tuned.defaults(name) == {**tuned.ANY, **expected}, name


def test_unequal_masses_take_what_the_sweep_of_equal_ones_chose():
    records = swept(lambda data, i: 0.1 if i == (4 if data == "gaussians25" else 5) else 1.0 + i)
    (setting,) = unbalanced_study.study(records).stages["unbalanced"]
    config = cli.load_config(setting.config)
    settings.override(config, setting.items)
    resolved = settings.resolve(config)
    assert (setting.name, resolved["dataset"]) == ("adam", "gaussians25_unbalanced")
    assert resolved["generator"]["step_size"] == TRIALS[4].step_size
    assert (resolved["num_batches"], resolved["batch_size"]) == (20_000, 256)
    assert unbalanced_study.study({}).stages["unbalanced"] == []


def test_unequal_masses_are_compared_with_rmsprop_and_what_diverged_is_the_worst():
    def runs(name, *values):
        return {
            name: {
                str(seed): {"answers": {"mixture": {"law_distance": v, "mode_kl": 0.1}}}
                for seed, v in enumerate(values)
                if v is not None
            }
        }

    made = runs("rmsprop", 0.30, 0.31, 0.29, 0.33, 0.30)
    made |= runs("chambolle_pock", 0.20, 0.21, 0.20, 0.22, 0.19)
    made |= runs("sgd", None, 0.1, None, None, 0.1)
    found = dict(unbalanced_study.compared(made, "law_distance"))
    assert list(found) == ["sgd", "chambolle_pock"]  # in the registry's order, itself left out
    assert found["chambolle_pock"].outcome == "better"
    assert found["chambolle_pock"].test == "paired t"
    assert found["sgd"].test == "ranks"
    assert found["sgd"].outcome == "undecided"
    assert "| Chambolle-Pock | law distance | better | +0.1020 " in unbalanced_study.tables(made)
    assert unbalanced_study.tables({}) == ""


def test_jobs_of_one_program_stand_together(tmp_path):
    """Seed after seed else; those of one kind may differ in seeds, step sizes and temperatures."""
    found = {"adam": tuned_study.Chosen(TRIALS[15], dict.fromkeys(DATASETS, 0.0))}
    stage = tuned_study.study(found).stages["gaussians8"]
    jobs = studies._jobs(stage, [0, 1], tmp_path, [], tiny=False)
    former, new = (s.name for s in stage)
    assert list(jobs) == [(former, 0), (new, 0), (former, 1), (new, 1)]
    assert list(studies._by_kind(jobs)) == [(former, 0), (former, 1), (new, 0), (new, 1)]
