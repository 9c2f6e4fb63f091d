"""Divergence: the post-mortem, and going back with half the step sizes and other noise."""

import json
import re

import numpy as np
import pytest
import tensorflow as tf

from tests.trainers.conftest import FEW_SCORED, interrupted, tiny
from tf_mixed_nash.errors import InputError
from tf_mixed_nash.methods import schedules
from tf_mixed_nash.methods.oracle import Oracle
from trainers.answers import reading
from trainers.experiment import settings
from trainers.experiment.options import Recovery
from trainers.session import train
from trainers.workdir import recoveries as recovery
from trainers.workdir.checkpoints import Checkpoints

pytestmark = pytest.mark.usefixtures("without_publishing", "quick_samplers", "quick_pictures")

CONFIG = {
    "num_batches": 120,
    "log_every": 10,
    "picture_every": 40,
    "checkpoint_every": 20,
    "step_size": 2e-3,
    "step_size_schedule": "constant",
    "temperature": 1e-4,
    **FEW_SCORED,
}
BAD = {0: 33, 1: 71}


@pytest.fixture
def unlucky(monkeypatch):
    """The generator's field is no number on mini-batch 33, and after one rollback on 71."""
    field = Oracle.field

    def bad_field(self, player, z, opponent, m):
        g, logs = field(self, player, z, opponent, m)
        at = BAD.get(len(self._noise_restarts), -1)
        if player == "theta":
            bad = tf.cast(m, tf.int64) == at
            g = tf.where(bad, tf.constant(np.nan, g.dtype), g)
            logs = {**logs, "loss": tf.where(bad, tf.constant(np.inf, g.dtype), logs["loss"])}
        return g, logs

    monkeypatch.setattr(Oracle, "field", bad_field)


def lines(workdir):
    return [json.loads(x) for x in (workdir / "metrics.jsonl").read_text().splitlines()]


def test_the_post_mortem_names_step_player_norms_and_pictures(unlucky, tmp_path, capsys):
    config = tiny("mirror_gan", **CONFIG)
    assert train.train(config, tmp_path / "run") == 3
    message = capsys.readouterr().err
    assert "the generator left the finite numbers at mini-batch" in message
    facts = json.loads((tmp_path / "run" / "postmortem_1.json").read_text())
    step = facts["step"]
    assert step == 33
    assert f"mini-batch {step}." in message
    assert facts["players"] == ["theta"]
    assert facts["reproduced"] is True
    # The step before was finite, the step itself was not.
    for player in ("theta", "w"):
        before, after = facts["before"][player], facts["after"][player]
        assert before["not_finite"] == 0
        assert 0 < before["max_abs"] <= before["norm"] < np.inf
        assert (after["not_finite"] > 0) == (player == "theta")
    assert facts["scalars"]["loss/theta"] == "inf"
    assert np.isfinite(facts["scalars"]["loss/w"])
    assert (tmp_path / "run" / facts["picture"]).is_file()
    assert [r["step"] for r in facts["last_records"]] == [10, 20, 30]
    # The checkpoint before it is good, and is the one named.
    assert facts["checkpoint"].endswith("step_00000020")
    assert facts["checkpoint"] in message
    loop = reading.load_loop(tmp_path / "run")
    assert loop.step == 20
    assert np.isfinite(loop.last().theta).all()
    # The norm before is that of the same run, taken to that step by another path.
    loop.advance(step)
    assert facts["before"]["theta"]["norm"] == pytest.approx(
        np.linalg.norm(loop.last().theta.numpy().astype(float)), rel=1e-6
    )
    assert not (tmp_path / "run" / "scorecard.json").exists()


def interrupted_after_a_rollback(config, workdir):
    """Two sessions: the first ends after the first rollback."""
    with interrupted(lambda loop, _: loop.step >= 50 and loop.run.oracle._noise_restarts):
        train.train(config, workdir)
    assert len(recovery.read(workdir)) == 1
    assert train.train(config, workdir) == 0


def test_rollback_goes_on_with_half_the_step_size_and_ends(unlucky, tmp_path, capsys):
    """In two sessions: the second takes the first one's recovery over."""
    workdir = tmp_path / "run"
    config = tiny("mirror_gan", on_divergence="rollback", **CONFIG)
    interrupted_after_a_rollback(config, workdir)
    message = capsys.readouterr().err
    assert "Rollback 2 of 3" in message
    entries = json.loads((workdir / "recoveries.json").read_text())
    assert [(e["step"], e["diverged_at"]) for e in entries] == [(20, 33), (60, 71)]
    assert [(e["step_size_factor"], e["noise_key"]) for e in entries] == [(0.5, 1), (0.25, 2)]
    assert all((workdir / e["postmortem"]).is_file() for e in entries)
    for record in lines(workdir):
        count = sum(e["step"] < record["step"] for e in entries)
        assert record["step_size/theta"] == pytest.approx(2e-3 * 0.5**count)
    steps = [x["step"] for x in lines(workdir)]
    assert steps == list(range(10, 121, 10)), "no line twice, none missing"
    assert (workdir / "scorecard.json").is_file()


# The noise and the steps after a rollback are functions of the recoveries (the tests below), a
# resumed run of its checkpoint (test_checkpoints.py).
@pytest.mark.slow
def test_a_run_is_a_function_of_its_config_and_its_recoveries(unlucky, tmp_path):
    """Interrupted after the rollback, the same bits."""
    config = tiny("mirror_gan", on_divergence="rollback", **CONFIG)
    workdir, again = tmp_path / "run", tmp_path / "again"
    assert train.train(config, workdir) == 0
    interrupted_after_a_rollback(config, again)
    assert lines(again) == lines(workdir)
    assert recovery.read(again) == recovery.read(workdir)
    ours, theirs = (Checkpoints(w / "checkpoints").read().tensors for w in (again, workdir))
    for name, value in ours.items():
        np.testing.assert_array_equal(value, theirs[name], name)


@pytest.mark.slow
def test_a_run_that_stopped_goes_on_when_rollback_is_asked_for(unlucky, tmp_path):
    workdir = tmp_path / "run"
    assert train.train(tiny("mirror_gan", **CONFIG), workdir) == 3
    assert train.train(tiny("mirror_gan", on_divergence="rollback", **CONFIG), workdir) == 0
    assert len(recovery.read(workdir)) == 2


def test_at_most_so_many_rollbacks(tmp_path, capsys):
    config = tiny(
        "sgd",
        num_batches=40,
        step_size=1e30,
        on_divergence="rollback",
        max_rollbacks=2,
        log_every=10,
        checkpoint_every=10,
    )
    assert train.train(config, tmp_path / "run") == 3
    err = capsys.readouterr().err
    assert "Rollback 2 of 2" in err
    assert "Stopped after 2 rollbacks" in err
    recoveries = recovery.read(tmp_path / "run")
    assert [r.step for r in recoveries] == [0, 0], "there was no checkpoint: from the beginning"
    assert len(list((tmp_path / "run").glob("postmortem_*.json"))) == 3


def test_each_recovery_halves_the_step_size_from_its_step_on():
    schedule = schedules.reduced(schedules.linear(1.0, 10), [4, 2, 4])
    values = [float(schedule(t)) for t in range(7)]
    factors = [1, 1, 0.5, 0.5, 0.125, 0.125, 0.125]
    np.testing.assert_allclose(values, [(1 - t / 10) * f for t, f in enumerate(factors)])
    constant = schedules.constant(0.3)
    assert schedules.reduced(constant, []) is constant
    zero = schedules.constant(0.0)
    assert schedules.reduced(zero, [1]) is zero, "the compiled step drops what is 0"


class NoGame:
    def field(self, *arguments):
        raise AssertionError("not called")


def test_noise_has_another_key_from_each_restart_on_and_the_same_before():
    z = tf.zeros([512])
    plain, cut = Oracle(NoGame(), seed=5), Oracle(NoGame(), seed=5, noise_restarts=[3, 7])
    for player in ("theta", "w"):
        drawn = [cut.noise(player, z, m).numpy() for m in range(9)]
        for m in range(9):
            same = np.array_equal(drawn[m], plain.noise(player, z, m))
            assert same == (m < 3), m
    # Three keys: three streams that agree nowhere.
    first = plain.noise("w", z, 8).numpy()
    second = Oracle(NoGame(), seed=5, noise_restarts=[3]).noise("w", z, 8).numpy()
    third = cut.noise("w", z, 8).numpy()
    for a, b in ((first, second), (second, third), (first, third)):
        assert abs(np.corrcoef(a, b)[0, 1]) < 5 / np.sqrt(512)


def test_a_damaged_record_of_recoveries_is_an_error(tmp_path):
    new = Recovery(20, 10, 33, ("w",))
    recovery.append(tmp_path, [], new, {"note": "x"})
    recovery.append(tmp_path, [new], new, {})
    assert recovery.read(tmp_path) == [
        Recovery(20, 10, 33, ["w"]),
        Recovery(20, 10, 33, ["w"]),
    ]
    (tmp_path / recovery.FILE).write_text('[{"step": 3}]')
    with pytest.raises(InputError, match="restore it from a backup"):
        recovery.read(tmp_path)


def test_what_follows_a_divergence_is_no_other_run():
    a, b = tiny(), tiny(on_divergence="rollback", max_rollbacks=1, keep_last=9)
    assert settings.differences(a, b) == []
    with pytest.raises(InputError, match=r"on_divergence 'retry'\. Choose one of: stop, rollback"):
        tiny(on_divergence="retry")
    for best, says in (
        ("min:fid", "Unknown key of keep_best 'fid'. Choose one of: loss/theta, loss/w, "),
        ("min:last/rvrse_kl", "Did you mean 'reverse_kl'? Choose one of: loss/theta, loss/w, "),
        ("min:best/reverse_kl", "a score also of one answer, as last/KEY (last, ema, mixture)"),
        ("min:last/loss/w", "Unknown key of keep_best 'last/loss/w'"),
        ("reverse_kl", "keep_best must be min:KEY or max:KEY, such as min:loss/w, got 'rever"),
    ):
        with pytest.raises(InputError, match=re.escape(says)):
            tiny(keep_best=best, score_every=5)
    assert tiny(keep_best="max:last/reverse_kl", score_every=5)["keep_best"]
    with pytest.raises(InputError, match=r"duality_gap\.every"):
        tiny(keep_best="min:duality_gap")
