"""The judge against fakes, in small: a few draws of a few samples see the large faults."""

import numpy as np
import pytest

from benchmarks import judge


def test_the_objective_ranks_real_data_first_and_w2_does_not():
    """Collapsed modes, bridges, anisotropy, a lost mode: at 1,500 samples, five draws of each."""
    few = (
        *("every mode a point", "35 % on bridges", "anisotropic, 0.6 and 1.35 sigma"),
        *("the lightest mode lost", "masses swapped, or 0.8 and 1.2 of them"),
        *("half of the modes 0.75 sigma, half 1.2", "rings of the right variance"),
    )
    rows = judge.rows_of("gaussians8", 1_500, 5, 0, 1, fakes=few)
    assert [r.fake for r in rows] == [name for name in judge.FAKES if name in few]
    for row in rows:
        assert row.preferred["law_distance"] == 1.0, row
        real, fake = row.means["law_distance"]
        assert fake > real + 0.01
    # What each part sees, and what it cannot.
    points = rows[0].preferred
    assert points["shape_distance"] == 1.0
    assert points["bridge_mass"] == 0.5
    (bridges,) = (r for r in rows if r.fake == "35 % on bridges")
    assert bridges.preferred["bridge_mass"] == 1.0
    text = judge.table(rows)
    assert text.count("\n") == 2 + len(few)
    assert "| gaussians8 | 1,500 | every mode a point | 1.00 |" in text
    assert judge.fooled(rows) == [], "none of the study's number of samples"
    study = rows[0]._replace(samples=judge.STUDY_SAMPLES)
    assert judge.fooled([study]) == []
    blind = study._replace(preferred={"law_distance": 0.9})
    assert judge.fooled([study, blind]) == [blind]


def test_a_fake_has_its_fault_alone():
    for name in judge.SETS:
        made = judge._Set(name)
        assert made.masses.sum() == pytest.approx(1.0)
        for fake in judge.FAKES.values():
            if name in fake.sets:
                d = made.draw(60, fake.masses(made.masses), np.random.default_rng(0))
                assert fake.samples(d, made.data.sigma).shape == (60, 2)
    masses = np.array([0.5, 0.1, 0.4])
    assert judge._lost(masses).tolist() == [0.5, 0.0, 0.4]
    assert judge._half_missing(masses).tolist() == [0.5, 0.1, 0.2]
    assert sorted(judge._swapped(masses).tolist()) == [0.1, 0.4, 0.5]
    assert judge._swapped(masses).tolist() == [0.5, 0.4, 0.1]
    # The ring has both coordinates' variance, the roll is the data's, offsets are N(0, sigma^2).
    made, roll = judge._Set("gaussians8"), judge._Set("swissroll").data
    d, sigma = made.draw(20_000, made.masses, np.random.default_rng(1)), made.data.sigma
    np.testing.assert_allclose(((judge._ring(d, sigma) - d.centre) ** 2).sum(1), 2 * sigma**2)
    assert d.offset.std() == pytest.approx(sigma, rel=0.02)
    part = np.linspace(0.0, 1.0, len(roll._curve))
    np.testing.assert_allclose(judge._on_the_roll(part), roll._curve)


def test_equal_numbers_prefer_nobody():
    assert judge.preferred([1.0, 1.0], [1.0, 2.0]) == 0.75
    assert judge.preferred([0.0], [0.0]) == 0.5


def test_what_is_said_of_failures_is_so():
    """A displaced mode costs more than a lost one, and everything is far above real data."""
    lines = [line.split(" | ") for line in judge.failures().splitlines()[2:]]
    distance = {cells[0].removeprefix("| "): float(cells[1]) for cells in lines}
    assert distance["real data"] < 0.01
    assert min(x for title, x in distance.items() if title != "real data") > 1.0
    assert distance["N(0, I)"] < distance["by 4.5 sigma, narrow"] < distance["by 4.9 sigma, narrow"]
