"""The compiled loop against the scheme stepped by hand."""

import dataclasses
import json
import time

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework import config as determinism

from configs import common
from tests.trainers.conftest import process, state_of, tiny
from tf_mixed_nash import rng, xla_flags
from tf_mixed_nash.algorithms import ALGORITHMS
from tf_mixed_nash.compile import WAYS
from tf_mixed_nash.errors import InputError
from tf_mixed_nash.rng import reservoir_slot
from tf_mixed_nash.training import whole
from tf_mixed_nash.training.loop import Loop
from tf_mixed_nash.training.run import num_outer_steps
from tf_mixed_nash.types import Pair
from trainers.experiment import settings
from trainers.experiment.build import build
from trainers.tasks.planar import PlanarFeed

KEYS = ("loss", "penalty", "field_norm")


def test_many_calls_look_at_the_counters_once(monkeypatch):
    """A look waits for a GPU, which then has nothing to do while the next block is made."""
    looks = []
    for name in ("step", "outer_step"):
        of = getattr(Loop, name).fget
        seen = property(lambda self, of=of, name=name: looks.append(name) or of(self))
        monkeypatch.setattr(Loop, name, seen)
    monkeypatch.setattr(PlanarFeed, "limit", lambda self, start, end: min(end, start + 2))
    loop = Loop(build(tiny("adam", num_batches=100, mixture__window=(0.9, 1.0))))
    calls, before = [], loop._call
    monkeypatch.setattr(loop, "_call", lambda *args: calls.append(args[:2]) or before(*args))
    loop.advance(7)
    assert calls == [(2, 2), (4, 2), (6, 2), (7, 1)]
    assert looks == ["step", "outer_step"]
    assert (int(loop.variables["m"]), int(loop.variables["t"])) == (7, 7)


def by_hand(config, num_steps):
    """States, outputs and logs of `num_steps` outer steps, one call of the scheme each."""
    run = build(config)
    feed = run.task.feed(run.networks.theta.dtype)
    oracle = run.oracle.with_batches(lambda m: feed.batch_at((), m))
    step = tf.function(lambda s, t, m: run.scheme.step(oracle, s, t, m), autograph=False)
    state, m, thetas, ws, logs = run.initial_state(), 0, [], [], []
    for t in range(num_steps):
        state, log = step(state, tf.constant(t, tf.int64), tf.constant(m, tf.int64))
        m += int(run.scheme.num_batches(t))
        thetas.append(run.scheme.output(state).theta.numpy())
        ws.append(run.scheme.output(state).w.numpy())
        logs.append(log)
    return run, state, m, Pair(np.stack(thetas), np.stack(ws)), logs


@pytest.mark.parametrize("algorithm", ["mirror_prox_gan", "adam", "chambolle_pock"])
def test_the_loop_is_the_scheme_stepped_by_hand(algorithm):
    config = tiny(algorithm, num_batches=16, num_inner_steps=3, inner_steps_rate=0.3)
    run, state, m, (thetas, _), logs = by_hand(config, 5)
    loop = Loop(run)
    assert loop.advance(m) is None
    assert (loop.outer_step, loop.step) == (5, m)
    mine = [v.numpy() for name, v in loop.variables.items() if name.startswith("scheme/")]
    for a, b in zip(mine, tf.nest.flatten(state), strict=True):
        # The graphs differ, and with them the order of sums.
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-6)
    means = loop.logs()
    for key in KEYS:
        by_step = [float(log.w[key]) for log in logs]
        assert means[f"{key}/w"] == pytest.approx(np.mean(by_step), rel=1e-4)
    assert loop.logs()["loss/w"] == 0.0, "the sums start anew"
    # EMA: the decay counts mini-batches.
    per_step = [int(run.scheme.num_batches(t)) for t in range(5)]
    ema = run.networks.theta.initial().numpy()
    for theta, used in zip(thetas, per_step, strict=True):
        ema += (1 - config["ema_decay"] ** used) * (theta - ema)
    np.testing.assert_allclose(loop.ema(), ema, rtol=1e-5, atol=1e-7)


def test_one_long_call_is_two_short_ones_bit_for_bit():
    run = build(tiny("mirror_gan", num_batches=20))
    one, two = Loop(run), Loop(run)
    one.advance(20)
    two.advance(7)
    two.advance(20)
    other = state_of(two)
    for name, value in state_of(one).items():
        np.testing.assert_array_equal(value, other[name], name)


def test_the_mixture_is_the_reservoir_over_the_window():
    config = tiny("sgd", num_batches=40, mixture__num_components=4, mixture__window=(0.25, 0.75))
    run, *_, (thetas, ws), _ = by_hand(config, 40)
    loop = Loop(run)
    loop.advance(10)
    assert len(loop.mixture()) == 0, "the window has not begun"
    loop.advance(12)
    np.testing.assert_allclose(loop.mixture(), thetas[10:12], rtol=1e-5, atol=1e-6)
    loop.advance(40)
    key, kept = rng.stream(config["seed"], "reservoir"), {}
    for t in range(10, 30):
        slot = int(reservoir_slot(t - 10, 4, rng.fold_in(key, t)))
        if slot >= 0:
            kept[slot] = t
    assert any(t >= 14 for t in kept.values()), "the reservoir must have replaced a snapshot"
    expected = thetas[[kept[slot] for slot in range(4)]]
    np.testing.assert_allclose(loop.mixture(), expected, rtol=1e-4, atol=1e-5)
    # Beside them the discriminators of the same steps, and the steps.
    pairs, steps = loop.mixture_pairs()
    np.testing.assert_array_equal(steps, [kept[slot] for slot in range(4)])
    np.testing.assert_array_equal(pairs.theta, loop.mixture())
    np.testing.assert_allclose(pairs.w, ws[steps], rtol=1e-4, atol=1e-5)
    assert np.abs(np.diff(ws[np.sort(steps)], axis=0)).max() > 1e-3, "steps can be told apart"


@pytest.mark.parametrize("way", settings.COMPILE)
def test_divergence_names_the_step_and_the_player(way, monkeypatch):
    monkeypatch.setattr(whole, "LENGTH", 10)
    run = build(tiny("sgd", num_batches=40, compile=way))
    loop = Loop(run)
    real = loop._feed.batch_at

    def batch_at(block, m):
        return tf.where(tf.cast(m, tf.int64) >= 13, np.nan, real(block, m))

    # Only the discriminator of a Wasserstein game reads real data.
    loop._feed.batch_at = batch_at
    assert loop.advance(10) is None
    loop.advance(12)
    began = time.process_time()
    diverged = loop.advance(13)
    assert time.process_time() - began < 2.0, "the call was compiled anew"
    assert diverged is None
    diverged = loop.advance(40)
    assert diverged is not None
    assert (diverged.step, diverged.players) == (13, ("w",))


@pytest.mark.parametrize(
    ("algorithm", "inner", "rate", "batches", "steps"),
    [
        ("mirror_gan", 1, 0.0, 10, 10),
        ("mirror_prox_gan", 1, 0.0, 11, 6),
        ("mirror_gan", 3, 0.0, 10, 4),
        # K_t = floor(2^t) up to 4: 1, 2, 4, 4 -> 1, 3, 7, 11
        ("mirror_gan", 4, 1.0, 10, 4),
        ("mirror_gan", 4, 1.0, 7, 3),
    ],
)
def test_the_number_of_outer_steps(algorithm, inner, rate, batches, steps):
    config = tiny(algorithm, num_batches=batches, num_inner_steps=inner, inner_steps_rate=rate)
    run = build(config)
    assert num_outer_steps(run.scheme, batches) == run.num_outer_steps == steps
    loop = Loop(run)
    loop.advance(batches)
    assert loop.outer_step == steps


# Compiling the two ways and two replicas of an algorithm takes 20 s.
@pytest.mark.slow
@pytest.mark.parametrize("model", ["mlp", "dcgan"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_parts_and_whole_and_two_replicas_are_the_same_run(model, algorithm):
    """To rounding, over 50 mini-batches of float64 with noise, and stopped under one way and
    resumed under the other."""
    done = process("tests.ways", model, algorithm, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    (line,) = map(json.loads, done.stdout.splitlines())
    # Of the norm: SGD moves a DCGAN by 5e-8 of it.
    assert line["moved"] > 1e-8
    bound = min(1e-10, 1e-3 * line["moved"])
    assert max(line[way] for way in ("whole", "replicas", "resumed")) < bound, line


def test_on_cpus_there_is_one_program_without_tables(monkeypatch):
    """A GPU has two, with tables: of LENGTH steps, a constant, and of fewer."""
    assert not whole.is_known(whole.LENGTH)
    sizes, made = [], whole.ahead.batches

    def batches(first, size):
        sizes.append(size)
        return made(first, size)

    monkeypatch.setattr(whole.ahead, "batches", batches)
    loop = Loop(build(tiny("sgd", num_batches=4, compile="whole")))
    assert loop._whole._rest is not None  # traced
    assert sizes == [None]
    monkeypatch.setattr(whole.compiling, "on_gpu", lambda: True)
    assert [whole.is_known(n) for n in (whole.LENGTH - 1, whole.LENGTH)] == [False, True]


@pytest.mark.slow  # one program against parts: test_law.py's and test_population.py's
def test_the_loop_as_one_program_does_the_same(monkeypatch):
    # Seven outer steps of 1, 1, 2, 2, 2, 2 and 2 mini-batches: calls of three, and a rest of one,
    # by two programs, as on a GPU.
    monkeypatch.setattr(whole, "LENGTH", 3)
    monkeypatch.setattr(whole, "is_known", lambda count: count == 3)
    keys = {"num_batches": 12, "num_inner_steps": 2, "temperature": 1e-3, "precision": "float64"}
    keys["mixture__window"] = (0.9, 1.0)  # no call ends earlier
    keys["inner_steps_rate"] = 0.5
    keys["game__penalty_every"] = 2
    loops = [Loop(build(tiny("alt_mirror_gan", compile=c, **keys))) for c in WAYS]
    start = loops[0].last().theta.numpy()
    for loop in loops:
        assert loop.advance(12) is None
    parts, one = (state_of(loop) for loop in loops)
    assert np.abs(parts["scheme/theta/z"] - start).max() > 1e-3
    for name, value in parts.items():
        np.testing.assert_allclose(one[name], value, rtol=1e-10, atol=1e-10, err_msg=name)
    assert loops[0].logs() == pytest.approx(loops[1].logs(), rel=1e-10)
    assert {"_many", "_rest"} <= loops[1]._whole.__dict__.keys()


def test_what_xla_refuses_is_run_in_parts_if_nobody_insists(monkeypatch):
    def text(self, block, m):  # XLA has no strings
        number = tf.strings.to_number(tf.strings.as_string(m))
        return tf.fill([16, 2], tf.cast(number, tf.float32) / 10.0)

    monkeypatch.setattr(PlanarFeed, "batch_at", text)
    run = build(tiny("sgd", num_batches=4))
    loops = [Loop(dataclasses.replace(run, compile=way, or_parts=way == "whole")) for way in WAYS]
    for loop in loops:
        assert loop.advance(4) is None
        assert loop.compile == "parts"
    parts, other = (state_of(loop) for loop in loops)
    np.testing.assert_array_equal(other["scheme/theta/z"], parts["scheme/theta/z"])
    assert loops[0].refused == ""
    assert "AsString" in loops[1].refused
    with pytest.raises(tf.errors.InvalidArgumentError):
        Loop(dataclasses.replace(run, compile="whole", or_parts=False)).advance(4)


def test_the_first_mini_batches_of_steps_that_grow():
    def num_batches(t):
        return 1 + t // 2

    _, first = whole.first_batches(num_batches, tf.constant(3, tf.int64), tf.constant(10, tf.int64))
    used = [1 + t // 2 for t in range(3, 3 + whole.LENGTH)]
    np.testing.assert_array_equal(first, [10 + sum(used[:i]) for i in range(whole.LENGTH + 1)])


def test_kernels_of_a_long_training_are_timed_once_before_anything_is_compiled(monkeypatch):
    """As on a GPU."""
    seen = []

    def text_of(function, stage, *arguments):
        # XLA's own work is ten seconds; what it makes of programs is test_kernels.py's.
        assert function.get_concrete_function().graph.get_operations()
        seen.append((stage, determinism.is_op_determinism_enabled()))
        return ""

    monkeypatch.setattr(whole, "text_of", text_of)
    monkeypatch.setattr(whole.compiling, "on_gpu", lambda: True)
    monkeypatch.setenv("XLA_FLAGS", "")
    run = build(tiny("sgd", compile="whole", num_batches=4))
    short, long = (
        Loop(dataclasses.replace(run, num_batches=n)) for n in (xla_flags.LONG - 1, xla_flags.LONG)
    )
    with whole.compiling.deterministic():  # as the loop calls it
        assert long._whole._rest.graph.get_operations(), "traced, and timed first"
        long._whole._time_kernels()
        assert determinism.is_op_determinism_enabled()
    assert seen == [("optimized_hlo", False)]
    assert not short._whole._timed


def test_one_program_is_of_one_device():
    config = common.planar("gaussians8", "sgd", "tiny")
    config.compile = "whole"
    with pytest.raises(InputError, match=r"2 replicas.*compile=auto, or parts"):
        settings.resolve(config, num_replicas=2)
    config.compile = "all"
    with pytest.raises(InputError, match="auto, parts, whole"):
        settings.resolve(config)
