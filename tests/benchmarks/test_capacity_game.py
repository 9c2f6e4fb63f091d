"""The decisive experiment: its record against its bounds, its choices, tables and verdicts."""

import json
import math

import numpy as np
import pytest

from benchmarks import capacity_game, kernel_means
from benchmarks.capacity_game import ANSWERS, RECORD, SETTINGS, Setting
from benchmarks.pages.code import ROOT
from tests.trainers.conftest import command

ONE, MANY = Setting("rmsprop"), Setting("rmsprop", 25)


@pytest.fixture(scope="module")
def record():
    """What is committed."""
    return json.loads((ROOT / RECORD).read_text())


def gaps(record, setting):
    runs = record["settings"][setting.name]
    cards = [*runs["sweep"].values(), *runs["runs"].values()]
    return [
        (card, answer) for card in cards for answer in ANSWERS if card[answer]["gap"] is not None
    ]


def test_no_mixture_that_was_trained_is_below_the_bounds(record):
    """Nor is a single generator below the best one that descents found."""
    least = record["least"]
    assert 0.0 <= least["programme"]["bound"] <= least["programme"]["mmd"] < 2e-4
    pure = min(least["1 uniform"])
    assert max(least["1 uniform"]) < pure + 1e-4, "every descent ends there"
    for setting in SETTINGS:
        for card, answer in gaps(record, setting):
            assert least["programme"]["bound"] <= card[answer]["weighed"]
            assert card[answer]["weighed"] <= card[answer]["gap"] + 1e-3
            if setting.num_particles == 1 and answer != "mixture":
                assert card[answer]["gap"] > pure - 1e-5
    for pool in record["pool"].values():
        assert pool["last"]["gap"] > min(least["5 uniform"]) - 1e-5


def test_the_record_s_gaps_are_those_of_its_generators(record):
    for setting, answer in ((ONE, "last"), (ONE, "mixture"), (MANY, "last")):
        for key, kept in record["generators"][setting.name].items():
            rows = np.asarray(kept[answer])
            weights = rows[:, 0] / rows[:, 0].sum()
            model = capacity_game.normals_of(rows[:, 1:], weights)
            found = kernel_means.mmd(model, capacity_game.law(), capacity_game.widths())
            said = record["settings"][setting.name]["runs"][key][answer]["gap"]
            assert found == pytest.approx(said, abs=1e-3)


def test_every_setting_has_its_seeds(record):
    assert {s.name for s in SETTINGS} == set(record["settings"])
    for setting in SETTINGS:
        for answer in ANSWERS:
            for number in ("gap", "law_distance"):
                values = capacity_game._values(record, setting, answer, number)
                assert sorted(values) == [0, 1, 2, 3, 4]


def card(gap, law_distance=None):
    distance = gap if law_distance is None else law_distance
    one = {"gap": gap, "weighed": gap, "law_distance": distance, "modes": 25.0, "hq": 0.5}
    return dict.fromkeys(ANSWERS, one)


def test_each_number_has_the_step_size_that_is_best_for_it():
    sweep = {
        "0.001": card(0.3, 2.0),
        "0.01": card(0.2, 3.0),
        "0.1": card(None),
        "1": card(math.nan),
    }
    assert capacity_game.chosen(sweep, "last", "gap") == "0.01"
    assert capacity_game.chosen(sweep, "last", "weighed") == "0.01"
    for number in ("law_distance", "hq", "modes"):
        assert capacity_game.chosen(sweep, "last", number) == "0.001"


def made(one, many):
    """A record of two settings and two step sizes, gaps by seed."""

    def of(values):
        runs = {f"0.01/{i}": card(v) for i, v in enumerate(values)}
        runs |= {f"0.001/{i}": card(9.0) for i in range(len(values))}
        return {"sweep": {"0.01": card(0.1), "0.001": card(0.2)}, "runs": runs}

    return {"settings": {ONE.name: of(one), MANY.name: of(many)}}


def test_the_verdict_says_who_is_better_and_who_not_worse():
    one = [0.251, 0.252, 0.253, 0.254, 0.255]

    def outcome(many, claim):
        rows = capacity_game.verdicts(made(one, many))
        (found,) = [v for v in rows if v.claim == claim and v.number == "gap"]
        return found.evidence.outcome

    ahead, same, behind = ([x + d for x in one] for d in (-0.05, -0.001, 0.05))
    assert outcome(ahead, capacity_game.BETTER) == "better"
    assert outcome(ahead, capacity_game.NOT_WORSE) == "worse"
    assert outcome(same, capacity_game.BETTER) == "undecided"
    assert outcome(same, capacity_game.NOT_WORSE) == "better", "within the margin"
    assert outcome(behind, capacity_game.BETTER) == "worse"
    # A run that diverged is the worse side, and no number is left out.
    lost = made(one, ahead)
    lost["settings"][MANY.name]["runs"]["0.01/2"] = card(None)
    assert capacity_game._values(lost, MANY, "last", "gap")[2] == math.inf


def test_tables_are_of_the_record():
    tables = capacity_game.tables(made([0.25, 0.27], [0.1, 0.2]))
    # Student's interval of two: 12.706 * 0.01414 / sqrt(2).
    assert (
        "| RMSProp | last | 0.2600 ± 0.1271 | 0.2600 ± 0.1271 | 0.26 ± 0.13 |" in tables["numbers"]
    )
    assert "| RMSProp, 25 particles | mixture | 0.1500 ± " in tables["numbers"]
    told = "RMSProp's time mixture against RMSProp, 25 particles, last | **undecided**"
    assert told in tables["comparisons"]
    assert "particles | exact gap | 1 | - | - | 1 |" in tables["claims"]
    assert tables["least"] == "Not computed yet."


def test_what_generators_are_worth():
    """The law itself has no gap, and real data's law distance; a generator far away has neither."""
    law = capacity_game.law()
    sigma = math.sqrt(law.covariances[0, 0, 0])
    theta = np.concatenate([law.means, np.tile([sigma, 0.0, 0.0, sigma], (25, 1))], axis=1)
    good = capacity_game.score(theta, law.weights, seed=0)
    assert good["gap"] < 1e-6
    assert good["modes"] == 25
    assert good["hq"] == pytest.approx(0.989, abs=0.005)
    assert good["law_distance"] < 0.005
    # Half of the modes: the gap by its weights, and nothing that weights can mend.
    half = capacity_game.score(theta[:12], np.full(12, 1 / 12), seed=0)
    assert half["gap"] > 0.1
    assert half["modes"] == 12
    unequal = np.where(np.arange(25) < 5, 0.16, 0.01)
    swayed = capacity_game.score(theta, unequal, seed=0)
    assert swayed["gap"] > 0.1 > swayed["weighed"]
    assert math.isnan(capacity_game.score(theta * np.nan, law.weights, seed=0)["gap"])


@pytest.mark.slow  # of five seconds, four are imports; names that are unknown: test_studies.py
def test_bad_input_is_refused(tmp_path):
    done = command("benchmarks.capacity_game", "--settings=sgd", f"--record={tmp_path / 'r.json'}")
    assert done.returncode == 2
    assert "Unknown setting 'sgd'. Choose some of: rmsprop_1_uniform," in done.stderr


@pytest.mark.slow
def test_it_records_what_ended_and_does_not_repeat_it(tmp_path):
    path, picture = tmp_path / "record.json", tmp_path / "picture.png"
    done = command("benchmarks.capacity_game", "--render", f"--record={tmp_path / 'r.json'}")
    assert done.returncode == 2
    assert "--render needs a record" in done.stderr
    options = ["--tiny", "--seeds=0,1", "--settings=rmsprop_1_uniform,rmsprop_25_uniform"]
    options += [f"--record={path}", f"--picture={picture}"]
    done = command("benchmarks.capacity_game", *options, timeout=600)
    assert done.returncode == 0, done.stderr
    found = json.loads(path.read_text())
    assert set(found["settings"]) == {ONE.name, MANY.name}
    assert len(found["settings"][ONE.name]["sweep"]) == 8
    assert set(found["pool"]) == {"0", "1"}
    assert "No picture: its settings have not all been run." in done.stdout
    rendered = command("benchmarks.capacity_game", "--render", f"--picture={picture}")
    assert rendered.returncode == 0, rendered.stderr
    assert picture.stat().st_size > 10_000
    # Without a part of it, that part is made again, and no other.
    key, numbers = found["settings"][ONE.name]["runs"].popitem()
    path.write_text(json.dumps(found))
    again = command("benchmarks.capacity_game", *options, timeout=600)
    assert again.returncode == 0, again.stderr
    assert f"rmsprop_1_uniform: {key}\n" in again.stdout
    assert "rmsprop_25_uniform: " not in again.stdout
    made = json.loads(path.read_text())["settings"][ONE.name]["runs"][key]
    # Beside fewer runs it is rounded otherwise, and in forty steps at a large step size that grows.
    assert made["last"]["gap"] == pytest.approx(numbers["last"]["gap"], abs=0.1)
