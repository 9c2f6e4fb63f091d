"""The duality-gap monitor: off by default, and it disturbs nothing when on."""

import json

import numpy as np
import pytest

from tests.trainers.conftest import FEW_SCORED, command, state_of, tiny, tiny_images
from tf_mixed_nash.errors import InputError
from tf_mixed_nash.metrics.scorecard import KEYS
from tf_mixed_nash.training.loop import Loop
from trainers.answers import reading
from trainers.experiment.build import build
from trainers.session import train, watchers

pytestmark = pytest.mark.usefixtures("without_publishing", "quick_pictures")

SETTINGS = {"every": 4, "num_steps": 3, "step_size": 1e-2, "num_samples": 64}


def config(every, **more):
    flat = {f"duality_gap__{key}": value for key, value in SETTINGS.items()}
    flat |= {"duality_gap__every": every, **FEW_SCORED}
    return tiny("mirror_gan", num_batches=12, **flat | more)


def lines(workdir):
    return [json.loads(x) for x in (workdir / "metrics.jsonl").read_text().splitlines()]


def state(workdir):
    return state_of(reading.load_loop(workdir))


@pytest.fixture(scope="module")
def runs(without_publishing, tmp_path_factory):
    """Workdirs of the same run with the monitor off and on."""
    folder = tmp_path_factory.mktemp("monitor")
    with pytest.MonkeyPatch.context() as patch:
        # Off means that not even its objects are made.
        patch.setattr(watchers, "Monitor", None)
        assert train.train(config(0), folder / "off") == 0
    assert train.train(config(4), folder / "on") == 0
    return folder / "off", folder / "on"


def test_the_run_is_bitwise_the_same_with_and_without_it(runs):
    off, on = (state(workdir) for workdir in runs)
    assert off.keys() == on.keys()
    for name in off:
        np.testing.assert_array_equal(off[name], on[name], name)
    # Step 12 is a log step of both; without the gap the lines agree.
    without = [{k: v for k, v in x.items() if k != "duality_gap"} for x in lines(runs[1])]
    assert lines(runs[0]) == without


def test_the_gap_is_in_the_metrics_at_its_steps_and_on_the_scorecard(runs):
    off, on = runs
    assert [x["step"] for x in lines(on) if "duality_gap" in x] == [4, 8, 12]
    assert not [x for x in lines(off) if "duality_gap" in x]
    card = json.loads((off / "scorecard.json").read_text())
    assert set(card) == {*KEYS, "strategies", "real_data_ceiling"}
    card = json.loads((on / "scorecard.json").read_text())["duality_gap"]
    assert {k: card[k] for k in SETTINGS} == SETTINGS
    assert set(card["strategies"]) == {"last", "ema", "mixture"}
    for values in card["strategies"].values():
        assert values["duality_gap"] == pytest.approx(values["ascended"] - values["descended"])
    assert card["strategies"]["last"]["duality_gap"] == lines(on)[-1]["duality_gap"]
    gaps = [x["duality_gap"] for x in lines(on) if "duality_gap" in x]
    assert all(gap > 0 for gap in gaps), "three steps from an early iterate improve both"
    assert len(set(gaps)) == 3, "the point has moved"


def test_the_mixtures_gap_is_against_the_kept_discriminators(runs):
    loop = reading.load_loop(runs[1])
    gaps = watchers.Monitor(build(config(4)))
    mixture = gaps.answers(loop)["mixture"]
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
def test_resuming_gives_the_same_gaps(runs, tmp_path):
    whole, workdir = Loop.advance, tmp_path / "run"

    def interrupted(self, until):
        if until > 6:
            raise KeyboardInterrupt
        return whole(self, until)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Loop, "advance", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train.train(config(4), workdir)
    assert [x["step"] for x in lines(workdir)] == [2, 4, 6]
    assert train.train(config(4), workdir) == 0
    assert lines(workdir) == lines(runs[1])


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
    old = {k: v for k, v in config(0).items() if k != "duality_gap"}
    assert settings.differences(config(0), old) == []
    run = build({**old})
    assert watchers.make(run) == []


def conditional(tmp_path):
    """The loop of a class-conditional run on images, after two steps."""
    pixels = np.random.default_rng(0).integers(0, 256, (32, 28, 28), np.uint8)
    np.savez(tmp_path / "data.npz", images=pixels, labels=np.arange(32) % 3)
    gap = {f"duality_gap__{key}": value for key, value in {**SETTINGS, "every": 2}.items()}
    config = tiny_images("mirror_gan", data__path=str(tmp_path / "data.npz"),
                         model__conditional=True, ema_half_lives=(64,), **gap)  # fmt: skip
    loop = Loop(build(config))
    assert loop.advance(2) is None
    return loop


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
