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
