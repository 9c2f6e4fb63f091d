"""Generators with layers that draw, keep, or stand still are published as they are at inference."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from export import runtime
from export import strategy as strategies
from tests.export.conftest import seed_array
from tf_mixed_nash.models import Network, latents_and_labels, residual_generator
from tf_mixed_nash.strategies.mixed import MixedStrategy
from tf_mixed_nash.types import Measure

D, K = 3, 2


def generator():
    keras.utils.set_random_seed(3)
    label, z = keras.Input((), dtype="int32", name="label"), keras.Input((D,))
    h = layers.Concatenate()([z, layers.Embedding(K, 2)(label)])
    h = layers.SpectralNormalization(layers.Dense(6, "tanh"))(h)
    h = layers.Dense(6, trainable=False)(layers.BatchNormalization()(h))
    model = keras.Model([label, z], layers.Dense(2)(layers.Dropout(0.5)(h)))
    return Network(model, latents_and_labels(model, D, K))


@pytest.mark.slow
def test_what_is_published_is_the_network_at_inference(tmp_path):
    network = generator()
    x = tf.concat([tf.random.stateless_normal([8, D], (1, 2)), tf.one_hot([0, 1] * 4, K)], 1)
    atoms = [network.calibrated(a * network.initial(), [x]) for a in (1.0, 1.5)]
    measure = Measure(tf.stack(atoms), tf.constant([0.25, 0.75]))
    strategy = MixedStrategy(measure, network.frozen(), D, K)
    version = strategies.publish_strategy(strategy, tmp_path / "model", {})
    seeds = seed_array(0, 20)
    with runtime.ServedModel(version) as served:
        values = served.run("sample", {"seeds": seeds})["samples"]
    np.testing.assert_allclose(values, strategy.sample(tf.constant(seeds)), rtol=1e-5, atol=1e-6)
    component, latents = strategy.draw(tf.constant(seeds))
    for j, atom in enumerate(atoms):
        rows = np.flatnonzero(component == j)
        label = tf.argmax(latents[:, D:], 1, tf.int32)
        expected = network.to_keras(atom)([label, latents[:, :D]], training=False)
        np.testing.assert_allclose(values[rows], expected.numpy()[rows], rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_a_residual_generator_passes_every_gate(tmp_path):
    """Keras's own grouped convolutions would not: they are compiled by XLA on CPUs."""
    network = Network(residual_generator(28, 1, latent_dim=3, width=16))
    atoms = tf.stack([network.initial(), 1.5 * network.initial()])
    strategy = MixedStrategy(Measure(atoms, tf.constant([0.5, 0.5])), network, 3)
    version = strategies.publish_strategy(strategy, tmp_path / "model", {"strategy": "mixture"})
    assert (version / "saved_model.pb").is_file()
