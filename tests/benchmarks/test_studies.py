"""Studies: their settings are valid, and their tables are of their records."""

import json

import pytest

from benchmarks import ablation, mixtures_study, modern_study, particles_study, sampled, studies
from benchmarks.pages import tables
from benchmarks.pages.code import ROOT
from benchmarks.particles_study import CRITIC_WIDTHS, SMALL_WIDTHS, WIDTHS, WIDTHS_OF_25
from tests.trainers.conftest import command
from trainers.campaigns.jobs import Ended, Job
from trainers.experiment import settings
from trainers.system import cli


def parameters(units: int) -> int:
    """Of three layers of `units` from two numbers to two."""
    return 2 * units + units + 2 * (units * units + units) + 2 * units + 2


@pytest.mark.parametrize(
    ("widths", "one"), [(WIDTHS, 512), (SMALL_WIDTHS, 184), (WIDTHS_OF_25, 328)]
)
def test_equal_parameters(widths, one):
    for num, width in widths.items():
        assert num * parameters(width) == pytest.approx(parameters(one), rel=0.0127), num


def test_critics_of_equal_parameters():
    """Of two layers, behind two numbers and the sines and cosines of each at 48 frequencies."""
    one, eight = (n * (195 * w + (w + 1) * w + w + 1) for n, w in CRITIC_WIDTHS.items())
    assert eight == pytest.approx(one, rel=0.03)


STUDIES = {
    "particles": particles_study.STUDY,
    "modern": modern_study.STUDY,
    "mixtures": mixtures_study.STUDY,
    "ablation": ablation.STUDY,
    "sampled": sampled.study({}),
}
SETTINGS = {
    s.name: s for study in STUDIES.values() for stage in study.stages.values() for s in stage
}


RECORDS = {
    name: seeds
    for study in STUDIES.values()
    for name, seeds in json.loads((ROOT / study.records).read_text())["runs"].items()
}


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS)
def test_every_setting_is_a_valid_config_and_that_of_its_records(setting):
    """Defaults may change, and a number's command must not: then the setting says what it was."""
    config = cli.load_config(setting.config)
    settings.override(config, setting.items)
    now = settings.flatten(json.loads(settings.to_json(settings.resolve(config))))
    for seed, one in RECORDS.get(setting.name, {}).items():
        then = settings.flatten(one["config"])
        then.pop("compile", None)  # both ways are one run, but for rounding
        assert then == {key: now.get(key) for key in then}, seed


@pytest.mark.parametrize("study", STUDIES.values(), ids=STUDIES)
def test_names_are_unique_and_stages_have_columns(study):
    every = {s for stage in study.stages.values() for s in stage}  # some are in two stages
    assert len({s.name for s in every}) == len(every)
    assert all(len({s.name for s in stage}) == len(stage) for stage in study.stages.values())
    assert {*study.columns} == {*study.stages}


def card(hq, **more):
    return {"modes_captured": 8, "num_modes": 8, "high_quality_3sigma": hq, "reverse_kl": 0.001,
            "std_ratio": 1.0, "wasserstein2": 0.2, **more}  # fmt: skip


def test_a_table_is_of_the_records(tmp_path):
    runs = {
        "ring_4": {
            seed: {
                "answers": {
                    "last": card(hq, specialisation=0.5, modes_by_atom=[2, 3, 4, 8]),
                    "ema": card(hq),
                    "mixture": card(hq),
                },
                "real": card(0.989),
                "seconds": seconds,
                "config": {"num_batches": 12_000},
            }
            for seed, hq, seconds in (("0", 0.97, 12.0), ("1", 0.99, 36.0))
        }
    }
    path = tmp_path / "records.json"
    path.write_text(json.dumps({"runs": runs}))
    done = command("benchmarks.particles_study", "--render", f"--records={path}", "--stages=ring")
    assert done.returncode == 0, done.stderr
    row = "| 4 x 256 | last | 8.0 ± 0.0 | 0.980 ± 0.010 | 0.0010 ± 0.0000 | 1.000 ± 0.000 | "
    assert row + "0.2000 ± 0.0000 | 0.50 ± 0.00 | 2-8, median 3.5 | 2.0 | 2 |" in done.stdout
    assert "| real data |  | 8.0 | 0.989 |" in done.stdout


def test_modes_of_an_atom_are_those_with_a_twentieth_of_its_good_samples():
    atoms = [{"modes": [95, 6, 0, 4]}, {}, {"classes": [50, 40, 6, 4]}]
    assert studies.modes_by_atom(atoms) == [2, 0, 3]


def test_tiny_runs_are_tiny(tmp_path):
    setting = STUDIES["particles"].stages["ring"][1]
    (full,) = studies._jobs([setting], [3], tmp_path, ["log_every=9"], tiny=False).values()
    (tiny,) = studies._jobs([setting], [3], tmp_path, ["log_every=9"], tiny=True).values()
    assert full.settings == [*setting.items, "seed=3", "export=False", "log_every=9"]
    assert tiny.settings == ["generator.num_particles=2", "seed=3", "export=False", "log_every=9"]
    begun = setting.with_items("init_from={out}/source/seed{seed}")
    (full_begun,) = studies._jobs([begun], [3], tmp_path, [], tiny=False).values()
    assert f"init_from={tmp_path}/source/seed3" in full_begun.settings
    assert (full.config, tiny.config) == tuple(
        f"configs/gaussians8_mp.py:{v}" for v in ("pure", "tiny")
    )


def test_comparisons_are_of_the_seeds():
    """One generator is worse by 0.06 of HQ; RMSProp's runs are the same, seed for seed."""

    def runs(*hqs):
        shown = dict.fromkeys(particles_study._JUDGED, 0.1)
        return {
            str(seed): {"answers": {"mixture": shown | {"high_quality_3sigma": hq}}}
            for seed, hq in enumerate(hqs)
        }

    eight = (0.98, 0.99, 0.97, 0.99, 0.98)
    made = {"make_run_8_earlier": runs(*eight), "make_run_rmsprop": runs(*eight)}
    made["make_run_1"] = runs(*(hq - 0.06 for hq in eight))
    one, rmsprop = particles_study.compared(made).splitlines()[2:4]
    assert "1 x 184" in one
    assert "| HQ 3 sigma | better | +0.060 [" in one
    assert "Welch" in one
    assert "RMSProp | HQ 3 sigma | undecided | +0.000" in rmsprop
    assert particles_study.compared({}) == ""
    made = {"modes_25_25": runs(*eight), "modes_25_1": runs(*(hq - 0.06 for hq in eight))}
    (line, *_) = particles_study.compared(made, "modes_25").splitlines()[2:]
    assert "against 1 x 328, the same settings | HQ 3 sigma | better | +0.060 [" in line


def test_who_reaches_the_target_is_told_by_seed():
    runs = {
        "eight_full": {
            str(seed): {"answers": {"last": card(0.1), "mixture": card(hq)}}
            for seed, hq in enumerate((0.9699, 0.97, 0.99))
        }
    }
    (row,) = particles_study.reached("eight", runs).splitlines()[2:]
    assert row == "| 8 x 64, whole mini-batches for each | 2 of 3 | 0.9699, 0.9700, 0.9900 |"
    assert particles_study.reached("widths", runs) == ""


def test_widths_mode_by_mode_are_in_the_records_and_in_the_table():
    found = RECORDS["make_run_8"]
    assert set(found) >= set("01234")
    lines = tables.seeds("make_run_8").splitlines()
    assert lines[0].endswith("| widths of its modes | of the last iterate's |")
    for line, seed in zip(lines[2:], sorted(found, key=int), strict=False):
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        own = [found[seed]["answers"][answer]["by_mode"] for answer in ("mixture", "last")]
        assert cells[0] == seed
        for cell, each in zip(cells[-2:], own, strict=True):
            assert len(each["narrowest"]) == 8
            least, most = map(float, cell.split(" to "))
            assert least == pytest.approx(min(each["narrowest"]), abs=0.005)
            assert most == pytest.approx(max(each["widest"]), abs=0.005)
    assert "widths" not in tables.seeds("modes_25_25")  # its records are of before


def test_an_unknown_stage_is_refused():
    done = command("benchmarks.particles_study", "--stages=rings")
    assert done.returncode == 2
    assert (
        "Unknown stage 'rings'. Did you mean 'ring'? Choose some of: make_run, window, modes_25,"
        in done.stderr
    )


def test_a_record_is_written_when_its_run_ends(tmp_path, monkeypatch):
    """A session that is cut off loses the run that it was at, and none before."""
    monkeypatch.setattr(studies, "_record", lambda job: {"of": job.name})
    path = tmp_path / "records.json"
    todo = {
        (name, seed): Job(f"{name}, seed {seed}", "c.py", [], tmp_path / name / str(seed))
        for seed in (2, 0, 1)
        for name in ("a", "b")
    }

    def end(name, seed):
        todo[name, seed].workdir.mkdir(parents=True)
        (todo[name, seed].workdir / "scorecard.json").write_text("{}")

    end("b", 2)  # and was cut off before its record
    campaign = studies._Recorded(todo, {"runs": {"a": {"10": {"of": "an earlier one"}}}}, path)
    end("a", 0)
    assert campaign.take(todo["a", 0], Ended("done", 1.0, "")) == "a, seed 0: done, 1 s"
    campaign.take(todo["a", 1], Ended("diverged", 1.0, ""))
    assert json.loads(path.read_text())["runs"] == {
        "a": {"0": {"of": "a, seed 0"}, "10": {"of": "an earlier one"}},
        "b": {"2": {"of": "b, seed 2"}},
    }
    assert list(json.loads(path.read_text())["runs"]["a"]) == ["0", "10"], "by number"
    assert [job.name for job in campaign.diverged] == ["a, seed 1"]


@pytest.mark.slow
def test_it_records_what_ended_and_does_not_repeat_it(tmp_path):
    flags = ["--tiny", "--stages=pool", "--seeds=0", "--jobs=1"]
    flags += [f"--out={tmp_path / 'runs'}", f"--records={tmp_path / 'records.json'}"]
    assert command("benchmarks.particles_study", *flags).returncode == 0
    records = json.loads((tmp_path / "records.json").read_text())
    assert records["runs"]["pool_256"]["0"]["answers"]["mixture"]["num_modes"] == 8
    again = command("benchmarks.particles_study", *flags)
    assert again.returncode == 0
    assert "pool_256, seed 0: done" not in again.stdout


def weighed(**more):
    scores = {"high_quality_3sigma": 0.9, "std_ratio": 0.5, "reverse_kl": 0.001}
    game = {"num_components": 30, "worst": 0.204, "gap": 0.068, "worst_fresh": 0.215}
    return {
        "game": {"mixture": game, "last": {"num_components": 1, "worst": 0.1}},
        "strategies": {"mixture": {**scores, "std_ratio": 0.98}, "last": scores},
        "real": {**scores, "high_quality_3sigma": 0.989},
        "report": [
            {"window": "all", "num_components": m, "weights": how, **scores, **own}
            for m, how, own in (
                (4, "uniform", {"gap": 0.3, "high_quality_3sigma": 0.8, "std_ratio": 0.98}),
                (4, "weighted", {"gap": 0.1}),
                (1, "uniform", {"gap": 0.4}),
            )
        ],
        "monitored": [{"answer": "ema", "step": 12_000, "gap": 0.009}],
        **more,
    }


def test_what_weighing_gave_is_told_by_seed_and_window():
    runs = {
        "mixtures_ring": {"10": {"weighed": weighed()}, "2": {"weighed": weighed()}, "3": {}},
        "mixtures_wide": {"0": {"weighed": weighed()}},
    }
    lines = mixtures_study.weighed(runs).splitlines()[2:]
    assert [line.split(" | ")[0] for line in lines] == 6 * ["| 2"] + 6 * ["| 10"] + ["| "]
    assert lines[0] == "| 2 | last | 1 | 0.100 | - | - | 0.900 | 0.50 | 0.0010 |"
    uniform = (
        "| **uniform mixture** (published) | 30 | 0.204 | 0.068 | 0.215 | 0.900 | 0.98 | 0.0010 |"
    )
    assert lines[2] == f"| 2 {uniform}"
    assert lines[-1] == "|  | real data | - | - | - | - | 0.989 | 0.50 | 0.0010 |"
    (window,) = mixtures_study.windows(runs).splitlines()[2:]
    assert window == "| all | 4 | 0.800 / 0.900 | 0.98 / 0.50 | 0.300 / 0.100 |", (
        "one has no weights"
    )
    assert mixtures_study.monitored(runs).endswith("| ema | 12,000 | 0.009 |")
    for said in (mixtures_study.windows({}), mixtures_study.weighed({})):
        assert said.startswith("Not run yet")


@pytest.mark.slow
def test_runs_are_weighed_once(tmp_path):
    """Other tests have `trainers.mixtures` and the tables; here the way from one to the other."""
    flags = (f"--out={tmp_path / 'runs'}", f"--records={tmp_path / 'records.json'}", "--tiny",
             "--seeds=0", "--stages=wide", "--num_samples=20", f"--figure={tmp_path / 'f.png'}",
             "--set=mixture.num_components=5", "--set=duality_gap.every=1")  # fmt: skip
    done = command("benchmarks.mixtures_study", *flags)
    assert done.returncode == 0, done.stderr
    kept = json.loads((tmp_path / "records.json").read_text())["runs"]["mixtures_wide"]["0"]
    assert kept["weighed"]["num_samples"] == 20
    answers = [line["answer"] for line in kept["weighed"]["monitored"]]
    assert answers == ["last", "last", "ema", "mixture"]
    assert (tmp_path / "f.png").stat().st_size > 10_000
    before = (tmp_path / "records.json").read_bytes()
    again = command("benchmarks.mixtures_study", *flags)
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "records.json").read_bytes() == before
    assert "| **uniform mixture** (published)" not in again.stdout, "that is of the other stages"
