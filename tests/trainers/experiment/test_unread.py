"""Hyperparameters without an effect are told, and no others."""

import pytest

from tests.trainers.conftest import command, tiny
from tf_mixed_nash.algorithms import ALGORITHMS
from trainers.experiment.unread import unread


@pytest.mark.parametrize(
    ("algorithm", "key", "said"),
    [
        ("sgd", "temperature", "sgd does not read it; mirror_gan"),
        ("sgd", "temperature_schedule", "sgd does not read it"),
        ("sgd", "generator.decay_1", "adam, optimistic_adam"),
        ("rmsprop", "inner_steps_rate", "does not read it"),
        ("adam", "discriminator.rms_decay", "Its own are step_size, weight_decay, decay_1"),
        ("mirror_gan", "weight_step", "several particles, and there is one"),
        ("sgd", "step_size", ""),
        ("adam", "decay_2_schedule", ""),
        ("mirror_gan", "num_inner_steps", ""),
        ("sgd", "num_particles", ""),
        ("sgd", "game.temperature", ""),  # of no player
        ("sgd", "num_batches", ""),
    ],
)
def test_what_has_no_effect_is_told(algorithm, key, said):
    notes = unread(tiny(algorithm), [key])
    assert len(notes) == bool(said)
    for note in notes:
        assert note.startswith(f"--config.{key} has no effect: ")
        assert said in note


@pytest.mark.parametrize(
    ("key", "changes", "said"),
    [
        ("particles.batch", {}, "several particles"),
        ("particles.batch", {"generator__num_particles": 2}, ""),
        ("chambolle_pock.kappa", {}, "it is of chambolle_pock"),
        ("step_size_rate", {}, "step_size_schedule=exponential"),
        ("step_size_rate", {"step_size_schedule": "exponential", "step_size_rate": 0.1}, ""),
        ("step_size", {"step_size_schedule": "mine.py:f"}, "step_size_schedule=mine.py:f replaces"),
        ("step_size_rate", {"step_size_schedule": "mine.py:f"}, "step_size_schedule=exponential"),
        ("decay_2", {"generator__decay_2_schedule": "mine.py:f"}, ""),  # of the discriminator
        (
            "generator.decay_2",
            {"generator__decay_2_schedule": "mine.py:f"},
            "mine.py:f replaces it",
        ),
        ("score_samples", {}, "set score_every"),
        ("score_samples", {"score_every": 5}, ""),
        ("max_rollbacks", {}, "on_divergence=rollback"),
        (
            "game.penalty_every",
            {"game__r1": 0.1, "game__penalty_every": 10**6},
            "of the first outer step alone",
        ),
        ("game.penalty_every", {"game__r1": 0.1, "game__penalty_every": 1}, ""),
        ("step_size_schedule", {"step_size_schedule": "linear"}, ""),
        ("duality_gap.num_steps", {}, "the gap is off"),
        ("duality_gap.num_steps", {"duality_gap__every": 2}, ""),
        ("game.penalty_every", {"game__gradient_penalty": 0.0}, "there is no penalty"),
        ("game.penalty_every", {"game__gradient_penalty": 0.0, "game__r2": 0.1}, ""),
        ("game.augment_target", {}, "nothing is augmented"),
        ("game.augment", {}, ""),
        ("model.hidden_units", {}, ""),
        ("model.latent_dim", {}, ""),
    ],
)
def test_options_of_what_is_not_there_are_told(key, changes, said):
    notes = unread(tiny("adam", **changes), [key])
    assert len(notes) == bool(said)
    assert said in "".join(notes)


@pytest.mark.parametrize(
    ("key", "changes", "said"),
    [
        ("num_inner_steps", {"inner_steps_schedule": "mine.py:f"}, "mine.py:f replaces it"),
        ("inner_steps_schedule", {"inner_steps_schedule": "linear"}, "K_t is never less"),
        ("inner_steps_schedule", {"inner_steps_schedule": "mine.py:f"}, ""),
        (
            "inner_steps_schedule",
            {"inner_steps_schedule": "linear", "generator__num_inner_steps": 4},
            "",
        ),
        ("temperature_schedule", {"temperature": 0.0}, "the temperature is 0"),
        ("temperature_schedule", {"temperature": 0.0, "temperature_schedule": "m.py:f"}, ""),
        ("temperature_schedule", {"temperature": 1e-3}, ""),
    ],
)
def test_schedules_of_what_does_not_move_are_told(key, changes, said):
    notes = unread(tiny("mirror_gan", **changes), [key])
    assert len(notes) == bool(said)
    assert said in "".join(notes)


def test_options_of_networks_that_the_users_replace_are_told():
    config = {**tiny("adam")}
    config["model"] = {**config["model"], "generator": "mine.py:g"}
    told = unread(config, ["model.hidden_units", "model.start_scale", "model.fourier_features"])
    assert [note.split()[0] for note in told] == ["--config.model.start_scale"]


def test_weights_of_several_particles_have_one():
    config = tiny("adam", generator__num_particles=2)
    assert unread(config, ["generator.weights", "weights"]) == []
    assert len(unread(config, ["discriminator.weights"])) == 1


def test_what_an_algorithm_reads_is_never_told():
    for name, algorithm in ALGORITHMS.items():
        assert unread(tiny(name), algorithm.reads) == []


def test_the_command_says_it_of_what_was_asked_for_alone():
    line = "--config=configs/gaussians8_mp.py:tiny", "--dry_run", "--config.algorithm=sgd"
    done = command("trainers.run", *line, "--config.temperature=1e-3")
    assert "warning: --config.temperature has no effect: sgd does not read it" in done.stderr
    assert done.stderr.count("has no effect") == 1, "not what the config itself has"
    assert done.returncode == 0
