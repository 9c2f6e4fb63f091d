"""What is guessed from a config before TensorFlow is loaded."""

import importlib
import os

import pytest

from trainers.experiment import settings, ways
from trainers.experiment.build import build
from trainers.experiment.sizes import likely_one_program
from trainers.system import threads


def configured(name, *overrides):
    config = importlib.import_module(f"configs.{name}").get_config()
    settings.override(config, list(overrides))
    return config


@pytest.mark.parametrize(
    ("name", "overrides", "one"),
    [
        ("gaussians8_mp", (), True),
        ("gaussians8_mp", ("num_batches=29999",), False),
        ("gaussians8_mp", ("num_batches=30000",), True),
        (
            "gaussians8_md",
            ("num_batches=100000", "model.hidden_units=(64, 64)", "num_particles=16"),
            False,
        ),
        ("gaussians8_mp", ("compile=parts",), False),
        ("gaussians8_mp", ("particles.batch=full",), False),
        ("gaussians8_md", ("num_batches=100000",), False),
        ("gaussians8_md", ("num_batches=100000", "model.hidden_units=(64, 64)"), True),
        ("gaussians25_mp", (), False),
    ],
)
def test_the_guess_is_what_will_be_chosen(name, overrides, one):
    config = configured(name, *overrides)
    assert likely_one_program(config) == one
    assert (build(settings.resolve(config)).compile == "whole") == one


@pytest.mark.parametrize(
    ("name", "overrides", "one"),
    [
        ("mnist_mp", (), False),
        ("mnist_mp", ("compile=whole",), True),
        ("gaussians8_mp", ("model.generator=models.py:make",), False),
    ],
)
def test_images_and_users_models_are_not_one_program_by_themselves(name, overrides, one):
    assert likely_one_program(configured(name, *overrides)) == one


def test_a_config_that_will_be_refused_is_no_obstacle():
    broken = {"compile": "auto", "dataset": "gaussians8", "num_batches": 10**6}
    broken["model"] = {"generator": "", "discriminator": ""}
    assert not likely_one_program(broken)


@pytest.mark.parametrize(("cores", "threads_"), [(1, "1"), (2, "1"), (3, "1"), (8, "4")])
def test_an_operation_has_half_of_the_cores(monkeypatch, cores, threads_):
    monkeypatch.setattr(threads, "_cores", lambda: cores)
    monkeypatch.setenv(threads.VARIABLE, "")  # so that it is put back
    monkeypatch.delenv(threads.VARIABLE)
    threads.for_training()
    assert os.environ[threads.VARIABLE] == threads_


def test_what_the_user_chose_stays(monkeypatch):
    monkeypatch.setenv(threads.VARIABLE, "7")
    threads.for_training()
    assert os.environ[threads.VARIABLE] == "7"


def test_the_rule_is_one():
    assert (ways.LONG, ways.SMALL) == (30_000, 3_000_000)
