"""Float16: gradients that underflow without the loss scale, and are right with it."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_mixed_nash import rng
from tf_mixed_nash.games import gan as games
from tf_mixed_nash.games.gan import GanGame, Regularizers
from tf_mixed_nash.games.objectives import Losses
from tf_mixed_nash.models import Network, dcgan_discriminator, dcgan_generator, mlp
from tf_mixed_nash.types import dirac

KEY = rng.stream(0, "float16")
ROWS = 16


def small(real, fake):
    """A loss whose gradients are far below float16's 6e-8 when they reach single rows."""
    return Losses(2e-6 * tf.reduce_mean(fake - real), -2e-6 * tf.reduce_mean(fake))


def gan(kind, dtype, **penalties):
    if kind == "mlp":
        nets = mlp(4, 2, (32, 32), seed=1, dtype=dtype), mlp(2, 1, (32, 32), seed=2, dtype=dtype)
        real = tf.random.stateless_normal([ROWS, 2], (1, 2), alg="philox")
    else:
        nets = (
            dcgan_generator(28, 1, 4, 8, "layer", 1, dtype),
            dcgan_discriminator(28, 1, 8, "layer", 2, dtype),
        )
        real = tf.random.stateless_uniform([ROWS, 28, 28, 1], (1, 2), -1, 1, alg="philox")
    return GanGame(*nets, 4, small, Regularizers(**penalties)), real


def fields(game, real):
    theta, w = game.generator.initial(), game.discriminator.initial()
    assert theta.dtype == tf.float32
    g, logs = game.field("theta", theta, dirac(w), real, KEY)
    h, _ = game.field("w", w, dirac(theta), real, KEY)
    assert logs["loss"].dtype == g.dtype == h.dtype == tf.float32
    return g.numpy(), h.numpy()


def cosine(a, b):
    return a @ b / (np.linalg.norm(a) * np.linalg.norm(b))


def test_the_scale_is_there_if_any_layer_is_in_float16():
    """A model that ends in float32, as Keras recommends."""
    half = keras.Sequential(
        [
            keras.Input((2,)),
            keras.layers.Dense(8, dtype="mixed_float16"),
            keras.layers.Dense(1, dtype="float32"),
        ]
    )
    theta = mlp(4, 2, (8,))
    assert Network(half).compute_dtype == tf.float16
    assert GanGame(theta, Network(half), 4)._loss_scale == games.FLOAT16_LOSS_SCALE
    assert GanGame(theta, mlp(2, 1, (8,), dtype="mixed_bfloat16"), 4)._loss_scale == 1.0


@pytest.mark.parametrize("kind", ["mlp", "dcgan"])
def test_small_gradients_survive(kind, monkeypatch):
    right = fields(*gan(kind, "float32"))
    scaled = fields(*gan(kind, "mixed_float16"))
    for a, b in zip(scaled, right, strict=True):
        assert cosine(a, b) > 0.999
        assert np.linalg.norm(a) == pytest.approx(np.linalg.norm(b), rel=0.02)
    monkeypatch.setattr(games, "FLOAT16_LOSS_SCALE", 1.0)
    lost = fields(*gan(kind, "mixed_float16"))
    assert any(not a.any() or cosine(a, b) < 0.99 for a, b in zip(lost, right, strict=True)), (
        "without the scale they would be lost: else this test shows nothing"
    )


def test_penalties_are_scaled_inside_and_out():
    penalties = {"gradient_penalty": 0.5, "r1": 0.2}
    game, real = gan("mlp", "float32", **penalties)
    half, _ = gan("mlp", "mixed_float16", **penalties)
    at = game.discriminator.initial(), dirac(game.generator.initial()), real, KEY
    (g, logs), (h, half_logs) = game.field("w", *at), half.field("w", *at)
    assert float(half_logs["penalty"]) == pytest.approx(float(logs["penalty"]), rel=0.01)
    assert cosine(g.numpy(), h.numpy()) > 0.999
    assert np.linalg.norm(h) == pytest.approx(np.linalg.norm(g), rel=0.02)
