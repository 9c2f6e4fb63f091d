"""Every algorithm of the registry against its NumPy transcription, step by step."""

import dataclasses
import itertools

import numpy as np
import pytest

from tests import helpers
from tests.helpers import CASE_IDS, CASES, assert_close
from tests.oracles import algorithms as oracles
from tf_mixed_nash.algorithms import ALGORITHMS, Hyperparameters, build
from tf_mixed_nash.methods.oracle import Oracle
from tf_mixed_nash.methods.schedules import constant
from tf_mixed_nash.types import Pair

NUM_STEPS = 6

# (growing K_t, preconditioned); the gradient methods read neither.
SETTINGS = {"growing-rms": (True, True), "constant-identity": (False, False)}

# One of each scheme, and of each way in which its players take turns.
THREE_STEPS = (
    "adam", "extra_adam", "alt_extra_adam", "past_extra_adam", "mirror_gan", "alt_mirror_prox_gan",
    "chambolle_pock", "sample_md",
)  # fmt: skip


def trajectories():
    for (name, options), label in zip(CASES, CASE_IDS, strict=True):
        settings = SETTINGS if ALGORITHMS[name].langevin else {"": (True, True)}
        for (setting, values), steps in itertools.product(settings.items(), (1, 3)):
            # Each setting with one discriminator step; the first with three as well, but for
            # algorithms that only differ from one of these in their sampler or extrapolation.
            rare = steps == 3 and (setting != next(iter(settings)) or label not in THREE_STEPS)
            marks = pytest.mark.slow if rare else ()
            case = (name, options, *values, steps)
            yield pytest.param(*case, id=f"{label}-{setting}-{steps}", marks=marks)


def assert_same_trajectory(actual, desired):
    assert len(actual) == len(desired) == NUM_STEPS
    for ours, theirs in zip(actual, desired, strict=True):
        for player in ("theta", "w"):
            assert_close(ours[player], theirs[player])


@pytest.mark.parametrize(
    ("name", "options", "growing", "preconditioned", "discriminator_steps"), list(trajectories())
)
def test_trajectory_on_a_nonlinear_game(
    name, options, growing, preconditioned, discriminator_steps
):
    box = 0.95  # |w| <= box binds in a part of the coordinates
    ours, theirs = helpers.hyperparameters(growing, preconditioned)
    oracle = Oracle(helpers.StochasticGame(box), helpers.StochasticGame.batch_at, seed=3)
    scheme = build(name, ours, discriminator_steps, **options)
    actual, _ = helpers.run(scheme, oracle, helpers.payoff_start(), NUM_STEPS)

    start = {p: z.numpy() for p, z in helpers.payoff_start()._asdict().items()}
    desired = oracles.trajectory(
        name,
        helpers.payoff_problem(oracle, box),
        theirs,
        start,
        NUM_STEPS,
        discriminator_steps,
        **options,
    )
    assert_same_trajectory(actual, desired)
    assert np.all(np.abs(desired[-1]["theta"] - start["theta"]) > 1e-3)


# How each scheme passes on the pull towards 0, and each sampler has it.
PULLED = ("rmsprop", "past_extra_adam", "mirror_gan", "sample_md")


@pytest.mark.parametrize(
    ("name", "preconditioned"),
    [
        *((name, True) for name in PULLED),
        pytest.param("sample_md", False, marks=pytest.mark.slow),
        *(
            pytest.param(name, True, marks=pytest.mark.slow)
            for name in ALGORITHMS
            if name not in PULLED
        ),
    ],
)
def test_trajectory_with_a_prior_and_a_corrected_start(name, preconditioned):
    ours, theirs = helpers.hyperparameters(growing=True, preconditioned=preconditioned)
    more = {"theta": (0.7, 0.03), "w": (1.3, 0.05)}
    ours = Pair(
        *(
            dataclasses.replace(
                ours.of(p), rms_correction=True, prior_std=s, weight_decay=c, mirror_step=1.7
            )
            for p, (s, c) in more.items()
        )
    )
    theirs = {
        p: theirs[p]._replace(corrected=True, s=s, c=c, eta=1.7) for p, (s, c) in more.items()
    }
    box = 0.95
    oracle = Oracle(helpers.StochasticGame(box), helpers.StochasticGame.batch_at, seed=3)
    actual, _ = helpers.run(build(name, ours), oracle, helpers.payoff_start(), NUM_STEPS)
    start = {p: z.numpy() for p, z in helpers.payoff_start()._asdict().items()}
    problem = helpers.payoff_problem(oracle, box)
    assert_same_trajectory(actual, oracles.trajectory(name, problem, theirs, start, NUM_STEPS))


@pytest.mark.parametrize(("name", "options"), CASES, ids=CASE_IDS)
def test_trajectory_of_a_gan(name, options):
    penalties = {"gradient_penalty": 0.7, "r1": 0.3}
    game = helpers.small_gan("nonsaturating", weight_clip=1.2, **penalties)
    oracle = helpers.gan_oracle(game)
    start = helpers.gan_start(game)
    ours, theirs = helpers.hyperparameters(growing=True, preconditioned=True)
    actual, _ = helpers.run(build(name, ours, **options), oracle, start, NUM_STEPS)

    problem = helpers.gan_problem(game, oracle, "nonsaturating", **penalties)
    arrays = {p: z.numpy() for p, z in start._asdict().items()}
    desired = oracles.trajectory(name, problem, theirs, arrays, NUM_STEPS, **options)
    assert_same_trajectory(actual, desired)


def test_the_transcriptions_cover_the_registry():
    assert list(oracles.ALGORITHMS) == list(ALGORITHMS)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda h: build("adamw", h), r"'adamw'\. Did you mean 'adam'\? Choose one of: sgd, "),
        (lambda h: build("sgd", h, discriminator_steps=0), "must be at least 1, got 0"),
        (lambda h: build("chambolle_pock", h, extrapolate="both"), "measure, parameters"),
        (lambda h: Hyperparameters(preconditioner="adam"), "Choose one of: rms, none"),
        (lambda h: Hyperparameters(prior_std=-1.0), "prior_std must be at least 0, got -1.0"),
        (lambda h: build("mirror_gan", Pair(h.theta, Hyperparameters(damping=0.0))), "got 0.0"),
        (lambda h: build("mirror_gan", Pair(h.theta, Hyperparameters(damping=1.1))), "got 1.1"),
    ],
)
def test_errors_say_what_is_allowed(make, message):
    h = Hyperparameters(step_size=constant(0.1))
    with pytest.raises(ValueError, match=message):
        make(Pair(h, h))
