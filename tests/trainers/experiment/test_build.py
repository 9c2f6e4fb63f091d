"""What a config's numbers become: schedules, penalties and packs of a run."""

import contextlib

import numpy as np
import pytest
import tensorflow as tf

from tests.trainers.conftest import tiny, tiny_images
from tf_mixed_nash.errors import InputError
from tf_mixed_nash.training.loop import Loop
from trainers.experiment.build import Given, build, check_schedules, task_of

FILE = """
import tensorflow as tf

def falling(t):
    return 1e-3 / (1.0 + t)

def negative(t):
    return -1.0

def eager(t):
    return float(t)  # no graph can

def penalty(critic, real, fake, key):
    return 0.5 * tf.reduce_mean(critic(real) ** 2) + 0.0 * tf.reduce_mean(critic(fake))
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(FILE)
    return path


def test_schedules_of_both_players_and_of_the_second_moment(file):
    run = build(
        tiny(
            "adam",
            num_batches=8,
            generator__step_size_schedule=f"{file}:falling",
            discriminator__step_size=0.5,
            discriminator__step_size_schedule="cyclical(cycles=2)",
            decay_2=0.9,
            decay_2_schedule="linear(end=1.1)",
        )
    )
    theta, w = run.hyperparameters
    assert float(theta.step_size(tf.constant(3, tf.int64))) == pytest.approx(1e-3 / 4)
    assert [float(w.step_size(t)) for t in (0, 2, 4)] == pytest.approx([0.5, 0.25, 0.5])
    assert float(theta.decay_2(0)) == 0.9
    assert float(theta.decay_2(8)) == pytest.approx(0.99)
    assert Loop(run).advance(4) is None
    assert build(tiny("adam")).hyperparameters.theta.decay_2 == 0.9, "a number, as before"


def test_a_schedule_of_ones_own_must_be_a_number_of_at_least_0(file):
    for name, says in (
        ("negative", "must be at least 0; of t = 0 it is -1.0"),
        ("eager", "it failed with"),
        ("falling()", "no 'falling"),
    ):
        with pytest.raises(InputError, match=says):
            build(tiny("adam", step_size_schedule=f"{file}:{name}"))


@pytest.mark.parametrize("algorithm", ["adam", "mirror_prox_gan"])
def test_a_run_with_all_of_it_trains(file, algorithm):
    game = {
        "game__objective": "relativistic",
        "game__gradient_penalty": 0.0,
        "game__r1": 0.1,
        "game__r2": 0.1,
        "game__penalty": f"{file}:penalty",
        "game__penalty_every": 2,
        "game__penalty_schedule": "cosine(end=0.1)",
        "game__packing": 2,
    }
    loop = Loop(build(tiny(algorithm, num_batches=8, **game)))
    assert loop.run.networks.w.input_shape == (4,)
    assert loop.advance(4) is None
    assert loop.logs()["penalty/w"] > 0
    assert np.isfinite(loop.last().theta).all()


@pytest.mark.parametrize(
    ("algorithm", "per_step", "moving", "inner_steps"),
    [
        ("mirror_prox_gan", 2, {"inner_steps_rate": 0.5}, [1, 1, 2, 3]),
        ("mirror_gan", 2, {"inner_steps_schedule": "linear(end=0.3)", "discriminator_steps": 2},
         [3, 3, 2, 2, 2, 1]),
    ],
)  # fmt: skip
def test_penalties_are_of_every_nth_outer_step_however_long_it_is(
    algorithm, per_step, moving, inner_steps
):
    """All of an outer step's mini-batches have them, or none, also where K_t moves."""
    count = tf.Variable(tf.constant(0))

    def counting(critic, real, fake, key):
        count.assign_add(1)
        return tf.reduce_mean(critic(real) ** 2)

    config = tiny(algorithm, num_batches=per_step * sum(inner_steps), num_inner_steps=3,
                  game__penalty_every=2, **moving)  # fmt: skip
    run = build(config, given=Given(task=task_of(config), penalty=counting))
    loop, seen, K = Loop(run), [], run.hyperparameters.w.num_inner_steps
    for t in range(len(inner_steps)):
        before = int(count)
        assert loop.advance(loop.step + 1) is None
        seen.append(int(count) - before)
        assert loop.outer_step == t + 1
    assert [int(K(tf.constant(t, tf.int64))) for t in range(len(inner_steps))] == inner_steps
    assert seen == [per_step * k * (t % 2 == 0) for t, k in enumerate(inner_steps)]


def test_packs_of_labelled_images_train():
    config = tiny_images("adam", model__conditional=True, game__packing=2, game__r1=0.1,
                         game__r2=0.1, model__discriminator_normalization="layer")  # fmt: skip
    networks = build(config).networks
    assert networks.w.input_shape == (28, 28, 2 * (1 + 3))


@pytest.mark.parametrize("family", ["dcgan", "residual", "wgan_gp"])
def test_the_discriminator_has_its_own_width(family):
    def sizes(width):
        networks = build(
            tiny_images(
                "adam", model__family=family, model__width=4, model__discriminator_width=width
            )
        ).networks
        return networks.theta.num_parameters, networks.w.num_parameters

    same, half = sizes(0), sizes(2)
    assert same[0] == half[0]
    assert sizes(4) == same
    assert half[1] < same[1] / 2


FUNCTIONS = """
import tensorflow as tf
def falls(t): return 1.0 - t / 8.0
def lost(t): return tf.sqrt(8.0 - t)
def good(t): return 0.5 / (1.0 + t)
"""


@pytest.mark.parametrize(
    ("key", "name", "says"),
    [
        (
            "step_size_schedule",
            "falls",
            r"generator\.step_size_schedule=.*:falls must be at least 0",
        ),
        ("discriminator__temperature_schedule", "lost", r"discriminator\.temp.*:lost .* it is nan"),
        (
            "inner_steps_schedule",
            "falls",
            r"generator\.inner_steps_schedule=.*:falls must be at le",
        ),
        ("game__penalty_schedule", "falls", r"game\.penalty_schedule=.*:falls must be at least 0"),
        ("ema_schedule", "lost", r"ema_schedule=.*:lost must be at least 0 at every t of the run"),
        ("ema_schedule", "good", ""),
        ("step_size_schedule", "good", ""),
    ],
)
def test_schedules_of_ones_own_are_looked_at_before_the_training(key, name, says, tmp_path):
    (tmp_path / "mine.py").write_text(FUNCTIONS)
    changes = {key: f"{tmp_path}/mine.py:{name}", "num_batches": 40, "game__r1": 0.1}
    if not key.endswith("inner_steps_schedule"):
        changes["num_inner_steps"] = 1
    run = build(tiny("mirror_gan", **changes))
    with pytest.raises(InputError, match=says) if says else contextlib.nullcontext():
        check_schedules(run)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"decay_2": 0.9, "decay_2_schedule": "cosine(end=1.2)"}, r"decay_2_sch.* in \[0, 1\)"),
        ({"decay_2": 0.9, "decay_2_schedule": "cosine(end=1.1)"}, ""),
        ({"step_size_schedule": "cyclical(cycles=90)"}, "has 90 cycles in the 40 steps of the run"),
        ({"step_size_schedule": "cyclical(cycles=40)"}, ""),
    ],
)
def test_a_schedule_that_leaves_its_range_is_refused(changes, says):
    run = build(tiny("adam", num_batches=40, **changes))
    with pytest.raises(InputError, match=says) if says else contextlib.nullcontext():
        check_schedules(run)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"step_size_schedule": "exponential"}, "by generator.step_size_rate, which is 0, or to"),
        ({"game__penalty_schedule": "exponential"}, "falls by no rate, or to an end. Give one"),
        (
            {"ema_schedule": "exponential(warmup=0.1)"},
            "ema_schedule=exponential.* falls by no rate",
        ),
        (
            {"step_size_schedule": "exponential(end=0.1)", "step_size_rate": 0.1},
            "which is 0.1, or to an end. Give one of both",
        ),
    ],
)
def test_an_exponential_falls_by_something(changes, says):
    with pytest.raises(InputError, match=says):
        tiny("adam", **changes)
