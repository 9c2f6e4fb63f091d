"""The paper's multilayer perceptron."""

import keras
import numpy as np
import pytest

from tf_mixed_nash.models import mlp


def kernels(network):
    return [v.numpy() for v in network.model.trainable_variables if v.path.endswith("kernel")]


def biases(network):
    return [v.numpy() for v in network.model.trainable_variables if v.path.endswith("bias")]


def test_the_papers_network_has_three_layers_of_512_units():
    assert [k.shape for k in kernels(mlp(2, 1))] == [(2, 512), (512, 512), (512, 512), (512, 1)]


def test_the_output_is_linear_and_the_rest_is_not():
    activations = [layer.activation for layer in mlp(2, 1, (4, 4)).model.layers]
    assert activations == [keras.activations.relu] * 2 + [keras.activations.linear]


def test_he_initialisation():
    """Kernels of variance 2 / fan-in, biases 0. Keras's HeNormal is truncated at two standard
    deviations and rescaled: its excess kurtosis is -0.63 or so, hence a variance whose relative
    standard error is below sqrt(2/n)."""
    network = mlp(2, 1)
    for kernel in kernels(network):
        variance = 2 / kernel.shape[0]
        assert abs(np.mean(kernel)) < 5 * np.sqrt(variance / kernel.size)
        assert abs(np.var(kernel) / variance - 1) < 5 * np.sqrt(2 / kernel.size)
    assert all(np.all(bias == 0) for bias in biases(network))


def test_the_seed_decides_the_initialisation_and_layers_differ():
    a, b, c = (mlp(4, 4, (4,), seed=seed).initial().numpy() for seed in (0, 0, 1))
    np.testing.assert_array_equal(a, b)
    assert np.max(np.abs(a - c)) > 0.1
    first, second = kernels(mlp(4, 4, (4,)))
    assert np.max(np.abs(first - second)) > 0.1


@pytest.mark.parametrize(
    ("policy", "parameters"), [("float32",) * 2, ("float64",) * 2, ("mixed_bfloat16", "float32")]
)
def test_dtype_policy(policy, parameters):
    network = mlp(2, 1, (4,), dtype=policy)
    assert network.initial().dtype == parameters
    assert network.model.layers[0].compute_dtype == policy.removeprefix("mixed_")


def test_name_and_activation():
    network = mlp(2, 1, (4,), activation="tanh", name="critic")
    assert network.model.name == "critic"
    assert network.model.layers[0].activation is keras.activations.tanh


def test_a_small_start_is_small_and_somewhere():
    small = mlp(2, 2, (64,), start_scale=0.1, start_spread=3.0)
    whole = mlp(2, 2, (64,))
    for a, b in zip(kernels(small)[:-1], kernels(whole)[:-1], strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_allclose(kernels(small)[-1], 0.1 * kernels(whole)[-1], rtol=1e-5)
    assert np.all(biases(small)[0] == 0)
    places = [biases(mlp(2, 2, (4,), seed=10 * seed, start_spread=3.0))[-1] for seed in range(100)]
    assert abs(np.std(places) / 3.0 - 1) < 5 / np.sqrt(2 * 200)
    assert np.all(kernels(mlp(2, 2, (4,), start_scale=0.0))[-1] == 0)


def test_fourier_features_come_first():
    first, *rest = mlp(2, 1, (4,), fourier_features=3, fourier_highest=9.0).model.layers
    assert (first.count, first.highest) == (3, 9.0)
    assert [layer.kernel.shape for layer in rest] == [(8, 4), (4, 1)]
