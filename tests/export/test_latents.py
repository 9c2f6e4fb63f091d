"""Strategies whose latents are a law of TensorFlow Probability, published."""

import numpy as np
import pytest
import tensorflow as tf

from export.strategy import build_module, publish_strategy
from tests.tf_mixed_nash.test_latents import TFP
from tf_mixed_nash.latents import LatentLaw
from tf_mixed_nash.models import mlp
from tf_mixed_nash.strategies.mixed import MixedStrategy, seed_rows
from tf_mixed_nash.types import Measure


def saved(strategy, folder):
    """Two signatures of what is published."""
    module, signatures = build_module(strategy)
    some = {name: signatures[name] for name in ("draw", "sample")}
    tf.saved_model.save(module, str(folder), signatures=some)
    return folder


def published(strategy, folder):
    return publish_strategy(strategy, folder, {})  # passes every gate


@pytest.mark.parametrize("write", [saved, published])
@pytest.mark.parametrize("name", TFP)
def test_a_published_model_draws_the_latents_that_its_strategy_draws(name, write, tmp_path):
    law = LatentLaw(TFP[name])
    network = mlp(law.dim, 2, (8,))
    first = network.initial()
    measure = Measure(tf.stack([first, 2.0 * first]), tf.constant([0.25, 0.75]))
    strategy = MixedStrategy(measure, network, law.dim, latent_law=law)
    version = write(strategy, tmp_path / "model")
    signatures = tf.saved_model.load(str(version)).signatures
    seeds = seed_rows(3, 40)
    components, latents = strategy.draw(seeds)
    drawn = signatures["draw"](seeds)
    np.testing.assert_array_equal(drawn["components"], components)
    np.testing.assert_array_equal(drawn["latents"], latents)
    samples = signatures["sample"](seeds)["samples"]
    np.testing.assert_allclose(samples, strategy.sample(seeds), rtol=1e-5, atol=1e-6)
