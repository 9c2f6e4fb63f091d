"""Findings are functions of the records: three looks must agree, and each has its evidence."""

import json

import pytest

from trainers.workdir import findings as sut

GOOD = {
    "diversity": 0.95, "kinds": 10.0, "num_kinds": 10.0, "duplicates": 0.0, "distance": 0.1,
    "d_real": 1.0, "d_fake": -1.0, "d_spread": 1.0, "separation": 0.9, "pull/theta": 0.5,
    "pull/w": 0.3, "growth/theta": 2.0, "growth/w": 2.0, "memorised": 0.0, "by_chance": 0.0,
    "known": 1.0,
}  # fmt: skip
ILL = {
    "collapsed_samples": {"diversity": 0.1},
    "lost_modes": {"kinds": 4.0},
    "duplicates": {"duplicates": 0.5},
    "memorised_data": {"memorised": 0.5},
    "discriminator_overfits/w": {"separation": 0.999, "distance": 0.01},
    "discriminator_saturated/w": {"pull/w": 1e-3},
    "generator_without_signal/theta": {"pull/theta": 1e-3},
    "discriminator_dead/w": {"d_spread": 1e-5},
    "discriminator_left_behind/w": {"separation": 0.02},
    "exploding_parameters/theta": {"growth/theta": 80.0},
    "exploding_parameters/w": {"growth/w": 80.0},
}


def look(step, **measures):
    return {"step": step, **{f"health/{k}": v for k, v in {**GOOD, **measures}.items()}}


def keys(records, total=100):
    return [f.key.removeprefix("finding/") for f in sut.find(records, total)]


def test_a_good_run_has_none():
    assert keys([look(step) for step in range(10, 101, 10)]) == []


@pytest.mark.parametrize("name", ILL)
def test_each_ill_measure_is_one_finding(name):
    records = [look(step, **ILL[name]) for step in range(70, 101, 10)]
    assert keys(records) == [name]
    (found,) = sut.find(records, 100)
    assert found.since == 70
    assert found.helps == sut.HELP[name.partition("/")[0]]
    assert found.evidence
    assert not found.evidence.endswith(".")


def test_three_looks_must_agree():
    bad = ILL["duplicates"]
    assert keys([look(60), look(80, **bad), look(100, **bad)]) == []
    assert keys([look(60, **bad), look(70, **bad), look(80, **bad), look(100)]) == []
    records = [look(40, **bad), look(50), *(look(s, **bad) for s in (60, 70, 80))]
    (found,) = sut.find(records, 100)
    assert found.since == 60


def test_samples_are_not_judged_at_the_beginning_and_parameters_are():
    records = [look(step, **ILL["lost_modes"], **ILL["discriminator_dead/w"]) for step in (1, 2, 3)]
    assert keys(records) == ["discriminator_dead/w"]


def test_a_discriminator_that_cannot_tell_equal_laws_apart_is_not_dead():
    same = {**ILL["discriminator_dead/w"], "distance": 0.001}
    assert keys([look(s, **same) for s in (70, 80, 90)]) == []


def test_of_many_training_rows_a_part_is_known():
    few = {"memorised": 0.04, "known": 0.1}
    assert keys([look(s, **few) for s in (70, 80, 90)]) == ["memorised_data"]
    assert keys([look(s, memorised=0.04) for s in (70, 80, 90)]) == []
    # In the plane a third of the rows lie so by chance.
    assert keys([look(s, memorised=0.3, by_chance=0.11) for s in (70, 80, 90)]) == []


def test_a_discriminator_that_is_right_of_many_rows_or_of_bad_samples_does_not_overfit():
    right = {"separation": 1.0}
    for more in ({"distance": 0.01, "known": 0.1}, {"distance": 0.3}):
        assert keys([look(s, **right, **more) for s in (70, 80, 90)]) == []


def test_a_look_that_measured_less_is_no_finding():
    records = [{"step": s, "health/diversity": 1.0} for s in (70, 80, 90)]
    assert keys(records) == []


def fields(*values):
    return [{"step": i, "field_norm/theta": v, "field_norm/w": 1.0} for i, v in enumerate(values)]


def test_fields_that_explode_or_vanish_are_found_in_any_records():
    assert keys(fields(*[1.0] * 40)) == []
    assert keys(fields(*[1.0] * 30, *[1e5] * 6)) == ["exploding_field/theta"]
    assert keys(fields(*[1.0] * 30, *[1e-5] * 6)) == ["vanishing_field/theta"]
    assert keys(fields(*[1.0] * 30, 1e5, *[1.0] * 5)) == []  # one record
    assert keys(fields(*[1.0] * 5, *[1e5] * 6)) == []  # too few to know


def test_what_records_and_the_terminal_say():
    records = [look(s, **ILL["duplicates"], **ILL["exploding_parameters/w"]) for s in (70, 80, 90)]
    found = sut.find(records, 100)
    assert sut.entries(found) == {"finding/duplicates": 1.0, "finding/exploding_parameters/w": 1.0}
    assert sut.said(found) == "duplicates, exploding_parameters/w"
    first, second, *_ = sut.lines(found)
    assert "50% of the last iterate's samples" in first
    assert "since 70" in first
    assert sut.HELP["duplicates"] in second


def test_post_mortems_are_findings(tmp_path):
    facts = {"step": 1200, "players": ["w"]}
    (tmp_path / "postmortem_1.json").write_text(json.dumps(facts))
    (found,) = sut.diverged(tmp_path)
    assert found.name == "diverged"
    assert "discriminator left the finite numbers at mini-batch 1,200" in found.evidence
