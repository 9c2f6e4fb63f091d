"""Which way of compiling is chosen where the config leaves it to us."""

import importlib
import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_mixed_nash import MixedNashGAN
from tf_mixed_nash.compile import WAYS
from tf_mixed_nash.games.objectives import Losses
from trainers.experiment import settings, ways
from trainers.experiment.build import build
from trainers.system import devices

LONG, SMALL = ways.LONG, ways.SMALL


@pytest.mark.parametrize(
    ("gpus", "replicas", "num_batches", "products", "way", "why"),
    [
        (0, 1, LONG, SMALL, "whole", "faster with 3 million products"),
        (0, 1, LONG - 1, SMALL, "parts", "than it saves in 29,999 mini-batches"),
        (0, 1, LONG, SMALL + 1, "parts", "gains nothing"),
        (0, 1, LONG, None, "parts", "dense layers"),
        (1, 1, 1, None, "whole", "GPU"),
        (2, 2, LONG, 1, "parts", "this run has 2"),
        (0, 2, LONG, 1, "parts", "this run has 2"),
    ],
)
def test_auto_is_whole_where_it_is_faster(
    monkeypatch, gpus, replicas, num_batches, products, way, why
):
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: ["GPU"] * gpus)
    monkeypatch.setattr(devices, "num_replicas", lambda strategy: replicas)
    choice = ways.choose("auto", "default", num_batches, products)
    assert (choice.asked, choice.way) == ("auto", way)
    assert why in choice.reason


@pytest.mark.parametrize("way", WAYS)
def test_a_config_has_its_way(way):
    assert ways.choose(way, "default", LONG, 1) == (way, way, "the config says so")


class ChosenError(Exception):
    """Ends a build where the choice is made."""


@pytest.fixture
def counted(monkeypatch):
    """What `build` counts in what a function builds."""

    def choose(asked, strategy, num_batches, products):
        raise ChosenError(num_batches, products)

    def of(make):
        with pytest.raises(ChosenError) as found:
            make()
        return found.value.args

    monkeypatch.setattr(ways, "choose", choose)
    return of


def configured(name, *overrides):
    config = importlib.import_module(f"configs.{name}").get_config()
    settings.override(config, list(overrides))
    return settings.resolve(config)


def perceptron(*widths):
    return sum((n + 1) * m for n, m in itertools.pairwise(widths))


SMALL_ONE, WIDE = perceptron(2, 64, 64, 64, 2), perceptron(2, 512, 512, 512, 1)


@pytest.mark.parametrize(
    ("name", "overrides", "expected"),
    [
        # 48 frequencies in 2 dimensions: the critic reads more than the plane's two numbers.
        ("gaussians8_mp", (), 64 * (SMALL_ONE + perceptron(98, 128, 128, 1))),
        (
            "gaussians8_mp",
            ("particles.batch=split",),
            64 * (8 * SMALL_ONE + perceptron(98, 128, 128, 1)),
        ),
        ("swissroll_md", (), 64 * (perceptron(2, 512, 512, 512, 2) + WIDE)),
        (
            "swissroll_md",
            ("algorithm=sample_md", "num_chains=3", "model.hidden_units=64,64,64"),
            64 * 3 * (SMALL_ONE + perceptron(2, 64, 64, 64, 1)),
        ),
        ("fashion_mnist_mp", (), None),
    ],
)
def test_products_are_weights_times_rows(counted, name, overrides, expected):
    config = configured(name, *overrides)
    assert counted(lambda: build(config)) == (config["num_batches"], expected)


def test_a_long_run_of_small_networks_is_whole_if_xla_can(monkeypatch):
    monkeypatch.setattr(ways, "LONG", 2)
    run = build(configured("gaussians8_mp", "num_batches=2"))
    assert (run.compile, run.or_parts, run.choice.asked) == ("whole", True, "auto")


ROWS = np.zeros([40, 3], np.float32)


@pytest.mark.parametrize(
    ("layers", "data", "given", "expected"),
    [
        ((), ROWS, {}, 8 * (perceptron(2, 3) + perceptron(3, 1))),
        ((), lambda m, n: np.zeros([n, 3], np.float32), {}, None),
        (
            (),
            tf.data.Dataset.from_tensor_slices(ROWS),
            {},
            8 * (perceptron(2, 3) + perceptron(3, 1)),
        ),
        ((keras.layers.Dropout(0.5),), ROWS, {}, None),
        ((keras.layers.Reshape([3, 1]), keras.layers.Conv1D(2, 2)), ROWS, {}, None),
        (
            (),
            ROWS,
            {"objective": lambda real, fake: Losses(*2 * [tf.reduce_mean(fake - real)])},
            None,
        ),
        ((), ROWS, {"penalty": lambda critic, real, fake, key: tf.reduce_mean(real)}, None),
        ((), ROWS, {"step_size": lambda t: 1e-3 / (1.0 + t)}, None),
        ((), ROWS, {"latents": lambda key, n: tf.random.stateless_normal([n, 2], key)}, None),
    ],
)
def test_what_a_user_gives_is_looked_at(counted, layers, data, given, expected):
    given = dict(given)
    schedule = {"step_size": given.pop("step_size")} if "step_size" in given else {}
    generator = keras.Sequential([keras.Input([2]), keras.layers.Dense(3)])
    critic = keras.Sequential(
        [keras.Input([3]), *layers, keras.layers.Flatten(), keras.layers.Dense(1)]
    )
    gan = MixedNashGAN(generator, critic, algorithm="rmsprop", latent_dim=2, **given)
    gan.compile(seed=0, **schedule)
    fit = counted(lambda: gan.fit(data, batch_size=8, num_batches=7))
    assert fit == (7, expected)
