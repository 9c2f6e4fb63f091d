"""Small models and data of a user."""

import keras
import numpy as np
import pytest

from tests.trainers.conftest import quick_pictures, without_publishing  # noqa: F401 - fixtures
from tf_mixed_nash import MixedNashGAN


def net(inputs, outputs, seed=None, activation=None, units=8):
    """A perceptron with one hidden layer; with a seed always the same."""

    def dense(n, i, activation=None):
        own = None if seed is None else seed + i
        start = keras.initializers.GlorotNormal(seed=own)
        return keras.layers.Dense(n, activation, kernel_initializer=start)

    layers = [keras.Input((inputs,)), dense(units, 0, "relu"), dense(outputs, 1, activation)]
    return keras.Sequential(layers)


def points(num, d=2, seed=0):
    """Rows of two clusters, float32 [num, d]."""
    r = np.random.default_rng(seed)
    return (r.choice([-1.0, 1.0], (num, 1)) + 0.1 * r.normal(size=(num, d))).astype(np.float32)


def game(**options):
    """An untrained game in the plane."""
    given = {"algorithm": "sgd", **options}
    return MixedNashGAN(net(2, 2, 1), net(2, 1, 3), **given)


@pytest.fixture(scope="module")
def trained():
    """A game that was trained a little, in memory."""
    gan = game()
    gan.compile(step_size=1e-2, seed=4, window=(0.0, 1.0), num_components=3)
    gan.fit(points(64), batch_size=8, num_batches=6, steps_per_epoch=2, verbose=0)
    return gan
