"""Several averages, schedules of the half-lives and of K, snapshots at low points, in the loop."""

import numpy as np
import pytest

from tests.tf_mixed_nash.training.test_loop import by_hand
from tests.trainers.conftest import state_of, tiny
from tf_mixed_nash.errors import InputError
from tf_mixed_nash.training import averages
from tf_mixed_nash.training.loop import Loop
from trainers.experiment.build import build
from trainers.session.train import check

MOVING = {
    "num_batches": 40,
    "num_inner_steps": 4,
    "inner_steps_schedule": "linear(end=0.25)",
    "ema_half_lives": (64, 640),
    "ema_schedule": "constant(warmup=0.3)",
    "step_size_schedule": "cyclical(cycles=5)",
    "mixture__when": "low_points",
    "mixture__num_components": 9,
}


def test_a_half_life_is_told_in_samples():
    (name, decay), (slow, slower) = averages.decays((320, 640), 32).items()
    assert (name, slow) == averages.names((320, 640)) == ("ema_320", "ema_640")
    assert decay**10 == pytest.approx(0.5, rel=1e-12), "320 samples are 10 mini-batches of 32"
    assert slower**20 == pytest.approx(0.5, rel=1e-12)


@pytest.fixture(scope="module")
def moved():
    """(run, loop at its end, outputs by hand, the state at mini-batch 17 or soon after)."""
    config = tiny("mirror_gan", precision="float64", **MOVING)
    loop = Loop(build(config))
    loop.advance(17)
    early = state_of(loop)
    loop.advance(40)
    run, _, m, (thetas, _), _ = by_hand(config, loop.outer_step)
    assert m == loop.step
    return run, loop, thetas, early


def test_every_average_is_its_recursion(moved):
    run, loop, thetas, _ = moved
    T, start = run.num_outer_steps, run.networks.theta.initial().numpy()
    decays = {"ema": 0.999, "ema_64": 0.5 ** (16 / 64), "ema_640": 0.5 ** (16 / 640)}
    for name, decay in decays.items():
        ema = start
        for t, theta in enumerate(thetas):
            factor = min((t + 1) / np.ceil(0.3 * T), 1.0)
            ema = ema + (1 - decay ** (int(run.scheme.num_batches(t)) / factor)) * (theta - ema)
        answer = loop.answers()[name]
        np.testing.assert_allclose(answer.atoms[0], ema, rtol=1e-9, atol=1e-12)
        assert answer.weights.numpy().tolist() == [1.0]
    assert list(loop.answers()) == ["last", "ema", "mixture", "ema_64", "ema_640"]


def test_more_averages_change_nothing_else_and_each_atom_has_its_own():
    two = {"num_batches": 4, "generator__num_particles": 2, "generator__weights": "learnt"}
    plain, more = (Loop(build(tiny("sgd", ema_half_lives=h, **two))) for h in ((), (64,)))
    for loop in (plain, more):
        loop.advance(4)
    ours, theirs = state_of(more), state_of(plain)
    assert ours.keys() - theirs.keys() == {"emas/ema_64"}
    for name, value in theirs.items():
        np.testing.assert_array_equal(ours[name], value, name)
    ema, further = (more.answers()[name] for name in ("ema", "ema_64"))
    assert further.atoms.shape == ema.atoms.shape == (2, more.run.networks.theta.dim)
    np.testing.assert_array_equal(further.weights, ema.weights)
    assert np.abs(further.atoms - ema.atoms).max() > 0


def test_inner_steps_follow_their_schedule_to_the_end_of_the_run(moved):
    run, loop, _, _ = moved
    K = [int(run.scheme.num_batches(t)) for t in range(run.num_outer_steps)]
    assert K[0] == 4
    assert sorted(K, reverse=True) == K
    assert K[-1] <= 2, "from 4 to 1"
    assert sum(K) >= 40 > sum(K[:-1])
    assert (loop.outer_step, loop.step) == (len(K), sum(K))
    assert run.most_batches == 4


def test_a_users_function_is_a_schedule_of_inner_steps(tmp_path):
    file = tmp_path / "k.py"
    file.write_text("import tensorflow as tf\n\n\ndef up(t):\n    return 1.0 + t / 2\n")
    run = build(tiny("mirror_gan", num_batches=20, inner_steps_schedule=f"{file}:up"))
    # 1, 1.5 -> 2, 2, 2.5 -> 3, 3, 4, 4, 5
    K = [int(run.scheme.num_batches(t)) for t in range(run.num_outer_steps)]
    assert K == [1, 2, 2, 3, 3, 4, 4, 5]
    assert run.most_batches == 5


def test_snapshots_are_of_the_ends_of_cycles(moved):
    run, loop, thetas, _ = moved
    T = run.num_outer_steps
    length = -(-T // 5)
    ends = [min(k * length, T) - 1 for k in range(1, 6)]
    steps = np.array([float(run.hyperparameters.theta.step_size(t)) for t in range(T)])
    assert all(steps[t] <= steps[max(t - 1, 0) : t + 1].min() for t in ends)
    pairs, when = loop.mixture_pairs()
    assert when.numpy().tolist() == ends
    np.testing.assert_allclose(pairs.theta, thetas[ends], rtol=1e-9, atol=1e-12)


def test_a_run_that_stops_goes_on_bit_for_bit(moved):
    run, loop, _, early = moved
    second = Loop(run)
    second.assign(early)
    second.advance(40)
    other = state_of(second)
    for name, value in state_of(loop).items():
        np.testing.assert_array_equal(other[name], value, name)


def test_a_window_without_an_end_is_refused():
    options = {**MOVING, "mixture__window": (0.5, 0.55), "step_size_schedule": "cyclical(cycles=2)"}
    with pytest.raises(InputError, match="none of the ends of the 2 cycles"):
        check(build(tiny("sgd", **{**options, "inner_steps_schedule": "constant"})))
