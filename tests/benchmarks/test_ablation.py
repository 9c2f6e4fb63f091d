"""The ablation of RMSProp and Mirror-GAN: its cells, and the effects of a record."""

import pytest

from benchmarks import ablation, studies
from benchmarks.ablation import CELLS
from trainers.experiment import settings
from trainers.system import cli


def test_every_cell_is_a_valid_config_and_the_first_is_rmsprop(tmp_path):
    cells = ablation.STUDY.stages["ablation"]
    runs = studies._jobs(cells, [0, 1], tmp_path, [], tiny=False)
    assert len(runs) == 16
    resolved = {}
    for (name, seed), job in runs.items():
        config = cli.load_config(job.config)
        settings.override(config, job.settings)
        resolved[name, seed] = settings.resolve(config)
    first, last = (CELLS[i].setting.name for i in (0, -1))
    own = resolved[first, 1]["generator"]
    assert tuple(own[key] for key in ("stability", "temperature", "damping")) == (1e-8, 0.0, 1.0)
    assert resolved[first, 1]["seed"] == 1
    own = resolved[last, 0]["generator"]
    assert tuple(own[key] for key in ("stability", "temperature", "damping")) == (1e-3, 1e-6, 0.9)
    # Those of one program differ by temperature and seed alone.
    for pair in zip(CELLS[::2], CELLS[1::2], strict=True):
        assert len({(c.stability, c.damping) for c in pair}) == 1
    assert [*runs][:2] == [(first, 0), (CELLS[1].setting.name, 0)]


def made(distance, number="law_distance"):
    def card(value):
        numbers = dict.fromkeys(ablation._COLUMNS, 1.0) | {number: value}
        return {"answers": dict.fromkeys(ablation.ANSWERS, numbers), "real": numbers}

    return {c.setting.name: {str(s): card(distance(c, s)) for s in range(5)} for c in CELLS}


def test_effects_are_those_of_the_factors():
    """lambda gains 0.2 and no other factor anything; a seed's noise is common to its cells."""

    def distance(cell, seed):
        noise = 0.3 * seed + 0.001 * ((7 * seed + len(cell.setting.name)) % 3)
        return 1.0 + noise - 0.2 * (cell.stability == "1e-3")

    found = dict(ablation.effects(made(distance), "last", "law_distance"))
    assert list(found) == [
        "lambda 1e-3 instead of 1e-8",
        "epsilon 1e-6 instead of 0.0",
        "beta 0.9 instead of 1.0",
    ]
    shown = found["lambda 1e-3 instead of 1e-8"]
    assert shown.outcome == "better"
    assert shown.gain == pytest.approx(0.2, abs=0.003)
    assert found["epsilon 1e-6 instead of 0.0"].gain == pytest.approx(0.0, abs=0.003)
    # A cell without a seed takes it from all comparisons.
    record = made(distance)
    del record[CELLS[3].setting.name]["4"]
    assert (
        dict(ablation.effects(record, "ema", "law_distance"))["beta 0.9 instead of 1.0"].pairs == 4
    )
    text = ablation.tables(record)
    assert "| lambda 1e-8, epsilon 0.0, beta 1.0 | last | 1.6" in text
    assert "| lambda 1e-3 instead of 1e-8 | last | law distance | better | +0.2" in text


def test_interactions_are_those_of_pairs_of_factors():
    """The noise does harm by 0.3 at lambda 1e-8 alone; damping does the same everywhere."""

    def distance(cell, seed):
        jitter = 0.001 * ((5 * seed + len(cell.setting.name) + seed * (cell.damping == "0.9")) % 3)
        harm = 0.3 * (cell.temperature == "1e-6" and cell.stability == "1e-8")
        return 1.0 + 0.2 * seed + jitter + harm + 0.1 * (cell.damping == "0.9")

    found = dict(ablation.interactions(made(distance), "last", "law_distance"))
    assert list(found) == [
        "what epsilon does at lambda 1e-3 instead of 1e-8",
        "what beta does at lambda 1e-3 instead of 1e-8",
        "what beta does at epsilon 1e-6 instead of 0.0",
    ]
    noise, *others = found.values()
    assert noise.outcome == "better"
    assert noise.gain == pytest.approx(0.3, abs=0.005)
    assert [e.gain for e in others] == pytest.approx([0.0, 0.0], abs=0.005)
    assert "| what epsilon does at lambda 1e-3 instead of 1e-8 | last |" in ablation.tables(
        made(distance)
    )


@pytest.mark.parametrize(
    ("number", "worse", "better", "by"),
    [
        ("high_quality_3sigma", 0.8, 0.9, 0.1),
        ("std_ratio", 1.3, 0.8, 0.1),
        ("std_ratio", 0.6, 1.1, 0.3),
    ],
)
def test_a_gain_is_one_also_where_more_is_better(number, worse, better, by):
    def value(cell, seed):
        return (better if cell.temperature == "1e-6" else worse) + 0.001 * (seed % 3)

    shown = dict(ablation.effects(made(value, number), "last", number))
    gain = shown["epsilon 1e-6 instead of 0.0"]
    assert gain.outcome == "better"
    assert gain.gain == pytest.approx(by, abs=0.005)


def wide(within, total, law=0.1):
    card = dict.fromkeys(ablation._COLUMNS, 1.0) | {"law_distance": law}
    answers = {"last": card | {"std_ratio": within**0.5}, "mixture": card}
    answers["mixture"] = card | {"std_ratio": total**0.5}
    return {"answers": {**answers, "ema": card}, "real": card}


def test_noise_and_control_are_compared_where_they_move_snapshots_apart_as_far():
    """Of the noises the one whose widths are right; of the controls the one as far apart."""
    spread = {
        ablation.NOISE[1]: (0.5, 0.7),
        ablation.NOISE[3]: (0.6, 0.9),  # between 0.3
        ablation.NOISE[5]: (0.9, 1.4),
        ablation.CONTROL[0]: (0.5, 0.6),
        ablation.CONTROL[2]: (0.9, 1.19),  # between 0.29
        ablation.CONTROL[4]: (0.6, 1.0),
    }
    runs = {
        s.name: {
            str(k): wide(*w, law=0.1 + 0.01 * k + 0.05 * (s in ablation.CONTROL)) for k in range(5)
        }
        for s, w in spread.items()
    }
    for k in range(5):  # a spread of the differences
        runs[ablation.NOISE[3].name][str(k)]["answers"]["mixture"]["law_distance"] += 1e-3 * (k % 2)
    one, two, found = ablation.at_equal_spread(runs)
    assert (one, two) == (ablation.NOISE[3], ablation.CONTROL[2])
    shown = dict(found)["law_distance"]
    assert (shown.outcome, shown.gain) == ("better", pytest.approx(0.0496, abs=1e-4))
    text = ablation.tables(runs, "window")
    assert "| no noise, step size falls to 0.2 | 0.90 | 0.29 |" in text
    assert "epsilon 1e-07, step size falls to 0.1, against no noise, step size falls to 0.2" in text
    del runs[ablation.NOISE[1].name], runs[ablation.NOISE[3].name], runs[ablation.NOISE[5].name]
    assert ablation.at_equal_spread(runs) is None


def test_the_window_has_constant_steps_and_rmsprops_preconditioner(tmp_path):
    for name, job in studies._jobs(
        ablation.STUDY.stages["window"], [3], tmp_path, [], False
    ).items():
        config = cli.load_config(job.config)
        settings.override(config, job.settings)
        own = settings.resolve(config)["generator"]
        assert (own["stability"], own["damping"]) == (1e-8, 1.0), name
        assert own["temperature_schedule"] == "constant"
        assert "until=0.75" in own["step_size_schedule"]
        assert (own["temperature"] == 0.0) == (name[0] in {s.name for s in ablation.CONTROL})
