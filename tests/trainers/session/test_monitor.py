"""The duality-gap monitor: off by default, and it disturbs nothing when on."""

import json

import numpy as np
import pytest

from tests.trainers.conftest import command, tiny, tiny_images
from tests.trainers.session.conftest import GAP, WATCHED, lines, watched_config
from tf_mixed_nash.errors import InputError
from tf_mixed_nash.training.loop import Loop
from trainers.answers import reading
from trainers.experiment.build import build
from trainers.session import watchers

pytestmark = pytest.mark.usefixtures("without_publishing", "quick_pictures")


def config(every):
    return watched_config(**{**WATCHED, "duality_gap__every": every})


def test_the_gap_is_in_the_metrics_at_its_steps_and_on_the_scorecard(watched):
    on = watched.on
    assert [x["step"] for x in lines(on) if "duality_gap" in x] == [4, 8, 12]
    card = json.loads((on / "scorecard.json").read_text())["duality_gap"]
    assert {k: card[k] for k in GAP} == GAP
    assert set(card["strategies"]) == {"last", "ema", "mixture"}
    for values in card["strategies"].values():
        assert values["duality_gap"] == pytest.approx(values["ascended"] - values["descended"])
    assert card["strategies"]["last"]["duality_gap"] == lines(on)[-1]["duality_gap"]
    gaps = [x["duality_gap"] for x in lines(on) if "duality_gap" in x]
    assert all(gap > 0 for gap in gaps), "three steps from an early iterate improve both"
    assert len(set(gaps)) == 3, "the point has moved"


def test_the_mixtures_gap_is_against_the_kept_discriminators(watched):
    loop = reading.load_loop(watched.on)
    card = json.loads((watched.on / "scorecard.json").read_text())
    mixture = card["duality_gap"]["strategies"]["mixture"]
    # K = 0 in closed form: F(nu, w) - F(theta, mu), over the evaluation's draws.
    zero = watchers.Monitor(_with_steps(0))
    start = zero.answers(loop)["mixture"]
    payoff = zero._gap._payoff
    kept, _ = loop.mixture_pairs()
    theta, w = loop.last()
    ascended = np.mean([float(payoff(z, w)) for z in kept.theta])
    descended = np.mean([float(payoff(theta, z)) for z in kept.w])
    assert start["ascended"] == pytest.approx(ascended, rel=1e-5)
    assert start["descended"] == pytest.approx(descended, rel=1e-5)
    assert mixture["ascended"] > start["ascended"]
    assert mixture["descended"] < start["descended"]


def _with_steps(num_steps):
    changed = config(4)
    changed["duality_gap"]["num_steps"] = num_steps
    return build(changed)


@pytest.mark.slow
def test_a_run_with_the_monitor_on_through_the_command(tmp_path):
    done = command(
        "trainers.run",
        "--config=configs/gaussians8_mp.py:tiny",
        "--config.duality_gap.every=2",
        f"--workdir={tmp_path / 'run'}",
    )
    assert done.returncode == 0, done.stderr
    assert "duality gap  mixture" in done.stdout
    assert "evaluations" in done.stdout, "its cost is stated"
    assert [x["step"] for x in lines(tmp_path / "run") if "duality_gap" in x] == [2, 4]


@pytest.mark.parametrize(
    ("key", "value"), [("every", -1), ("num_steps", 0), ("step_size", 0.0), ("num_samples", 0)]
)
def test_bad_settings_are_refused(key, value):
    with pytest.raises(InputError, match=rf"duality_gap\.{key}"):
        tiny(**{f"duality_gap__{key}": value})


def test_the_monitor_may_be_turned_on_for_a_workdir_that_began_without_it():
    from trainers.experiment import settings

    assert settings.differences(config(0), config(4)) == []
    off = watched_config()
    old = {k: v for k, v in off.items() if k != "duality_gap"}
    assert settings.differences(off, old) == []
    run = build({**old})
    assert watchers.make(run) == []


def conditional(tmp_path):
    """The loop of a class-conditional run on images, after two steps."""
    pixels = np.random.default_rng(0).integers(0, 256, (32, 28, 28), np.uint8)
    np.savez(tmp_path / "data.npz", images=pixels, labels=np.arange(32) % 3)
    gap = {f"duality_gap__{key}": value for key, value in {**GAP, "every": 2}.items()}
    config = tiny_images("mirror_gan", data__path=str(tmp_path / "data.npz"),
                         model__conditional=True, ema_half_lives=(64,), **gap)  # fmt: skip
    loop = Loop(build(config))
    assert loop.advance(2) is None
    return loop


@pytest.mark.slow  # the gap of a conditional game is test_nash.py's, its log the tests' above
def test_a_conditional_run_on_images_logs_the_gap_of_its_answers(tmp_path):
    """Real data then end with the planes of their classes, which generated data must have, too."""
    loop = conditional(tmp_path)
    (monitor,) = watchers.make(loop.run)
    record = monitor.look(loop)
    assert np.isfinite(record["duality_gap"])
    # A further average plays by itself, and its response starts there.
    played = []
    monitor._timed = lambda nu, mu, start: played.append((nu, start)) or {}
    assert [*monitor.answers(loop)] == ["last", "ema", "mixture", "ema_64"]
    nu, start = played[-1]
    average = loop.answers()["ema_64"].atoms
    np.testing.assert_array_equal(nu.atoms, average)
    np.testing.assert_array_equal(start.theta, average[-1])
    assert not np.array_equal(average, loop.answers()["ema"].atoms)


# The last iterate's, above, is through the same code; the mixture's in the plane, too.
@pytest.mark.slow
def test_a_conditional_run_on_images_concludes_with_the_gaps_of_its_answers(tmp_path):
    loop = conditional(tmp_path)
    (monitor,) = watchers.make(loop.run)
    answers, said = monitor.conclude(loop)
    assert "duality gap" in said
    assert [*answers["duality_gap"]["strategies"]] == ["last", "ema", "mixture", "ema_64"]
    for values in answers["duality_gap"]["strategies"].values():
        assert np.isfinite(values["duality_gap"])
