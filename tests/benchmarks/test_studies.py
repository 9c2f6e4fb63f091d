"""Studies: their settings are valid, and their tables are of their records."""

import json

import pytest

from benchmarks import modern_study, particles_study, studies
from benchmarks.particles_study import CRITIC_WIDTHS, ONE_OF_25, SMALL_WIDTHS, WIDTHS
from tests.trainers.conftest import command
from trainers.experiment import settings
from trainers.system import cli


def parameters(units: int) -> int:
    """Of three layers of `units` from two numbers to two."""
    return 2 * units + units + 2 * (units * units + units) + 2 * units + 2


@pytest.mark.parametrize(
    ("widths", "one"), [(WIDTHS, 512), (SMALL_WIDTHS, 184), ({25: 64}, ONE_OF_25)]
)
def test_equal_parameters(widths, one):
    for num, width in widths.items():
        assert num * parameters(width) == pytest.approx(parameters(one), rel=0.0127), num


def test_critics_of_equal_parameters():
    """Of two layers, behind two numbers and the sines and cosines of each at 48 frequencies."""
    one, eight = (n * (195 * w + (w + 1) * w + w + 1) for n, w in CRITIC_WIDTHS.items())
    assert eight == pytest.approx(one, rel=0.03)


STUDIES = {"particles": particles_study.STUDY, "modern": modern_study.STUDY}
SETTINGS = {
    s.name: s for study in STUDIES.values() for stage in study.stages.values() for s in stage
}


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS)
def test_every_setting_is_a_valid_config(setting):
    config = cli.load_config(setting.config)
    settings.override(config, setting.items)
    settings.resolve(config)


@pytest.mark.parametrize("study", STUDIES.values(), ids=STUDIES)
def test_names_are_unique_and_stages_have_columns(study):
    names = [s.name for stage in study.stages.values() for s in stage]
    assert len(set(names)) == len(names)
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
    assert studies.modes_by_atom([{"modes": [95, 6, 0, 4]}, {}]) == [2, 0]


def test_tiny_runs_are_tiny(tmp_path):
    setting = STUDIES["particles"].stages["ring"][0]
    (full,) = studies._jobs([setting], [3], tmp_path, ["log_every=9"], tiny=False).values()
    (tiny,) = studies._jobs([setting], [3], tmp_path, ["log_every=9"], tiny=True).values()
    assert full.settings == [*setting.items, "seed=3", "log_every=9"]
    assert tiny.settings == ["generator.num_particles=1", "seed=3", "log_every=9"]
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
    made = {"make_run_8": runs(*eight), "make_run_rmsprop": runs(*eight)}
    made["make_run_1"] = runs(*(hq - 0.06 for hq in eight))
    one, rmsprop = particles_study.compared(made).splitlines()[2:4]
    assert "1 x 184" in one
    assert "| HQ 3 sigma | better | +0.060 [" in one
    assert "Welch" in one
    assert "RMSProp | HQ 3 sigma | undecided | +0.000" in rmsprop
    assert particles_study.compared({}) == ""


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


def test_an_unknown_stage_is_refused():
    done = command("benchmarks.particles_study", "--stages=rings")
    assert done.returncode == 2
    assert "Unknown stage 'rings'. Choose some of: make_run, modes_25, unbalanced," in done.stderr


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
