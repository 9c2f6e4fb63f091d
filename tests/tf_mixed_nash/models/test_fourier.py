"""Fourier features: what they are, in a chain and of several networks at once."""

import keras
import numpy as np
import pytest

from tests.helpers import assert_close
from tf_mixed_nash.models import FourierFeatures, mlp


@pytest.mark.parametrize("dim", [1, 2, 5])
def test_the_frequencies_are_spread_evenly_on_a_logarithmic_scale(dim):
    B = FourierFeatures(10, 100.0).frequencies(dim)
    assert B.shape == (dim, 10)
    sizes = np.linalg.norm(B, axis=0)
    assert_close(np.log10(sizes), 0.1 + 0.2 * np.arange(10), 1e-12)


def test_the_directions_are_all_around():
    B = FourierFeatures(400, 1.0).frequencies(2)
    assert np.abs(B.mean(axis=1)).max() < 0.15
    assert_close(B @ B.T / 400, 0.5 * np.eye(2), 0.1)


def test_the_layer_is_its_definition_with_any_leading_axes():
    layer = FourierFeatures(3, 7.0, dtype="float64")
    x = np.random.default_rng(0).normal(size=(2, 4, 2))
    phase = x @ layer.frequencies(2)
    expected = np.concatenate([x, np.sin(phase), np.cos(phase)], axis=-1)
    assert_close(layer(x), expected, 1e-12)
    assert layer.compute_output_shape(x.shape) == expected.shape
    assert not layer.variables


def test_it_is_made_anew_from_its_config():
    layer = FourierFeatures(3, 7.0)
    again = FourierFeatures.from_config(layer.get_config())
    assert_close(again.frequencies(2), layer.frequencies(2), 0.0)


def test_several_networks_with_features_are_each_by_itself():
    networks = [mlp(2, 1, (4,), seed=seed, dtype="float64", fourier_features=3) for seed in (0, 9)]
    network = networks[0]
    assert network.batched
    z = np.stack([each.initial() for each in networks])
    x = np.random.default_rng(0).normal(size=(5, 2))
    together = network.many(keras.ops.convert_to_tensor(z), keras.ops.convert_to_tensor(x))
    for each, one in zip(networks, together, strict=True):
        assert_close(one, each.model(x), 1e-12)
