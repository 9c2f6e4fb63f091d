"""Objectives against their closed forms in NumPy, and their gradients."""

import numpy as np
import pytest
import tensorflow as tf

from tests import helpers
from tests.helpers import assert_close, f64
from tests.oracles import gan
from tf_mixed_nash.games.objectives import OBJECTIVES

RANDOM = np.random.default_rng(1)
REAL, FAKE = RANDOM.normal(size=(2, 50, 1)) * 2
each_objective = pytest.mark.parametrize("name", [*OBJECTIVES, "cubic"])


def losses(name, real=REAL, fake=FAKE):
    """(Losses, gradients of the discriminator's and of the generator's loss)."""
    real, fake = f64(real), f64(fake)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([real, fake])
        values = {**OBJECTIVES, "cubic": helpers.cubic}[name](real, fake)
    d = tape.gradient(values.discriminator, [real, fake])
    g = tape.gradient(values.generator, fake, unconnected_gradients="zero")
    return values, d, g


@each_objective
def test_values_and_gradients(name):
    values, (d_real, d_fake), g_fake = losses(name)
    value, expected_real, expected_fake = gan.discriminator_loss(name, REAL, FAKE)
    assert_close(values.discriminator, value, 1e-14)
    assert_close(d_real, expected_real, 1e-14)
    assert_close(d_fake, expected_fake, 1e-14)
    value, expected_fake = gan.generator_loss(name, REAL, FAKE)
    assert_close(values.generator, value, 1e-14)
    assert_close(g_fake, expected_fake, 1e-14)


@pytest.mark.parametrize(("name", "zero_sum"), [(n, n in ("wgan", "minimax")) for n in OBJECTIVES])
def test_which_objectives_are_zero_sum(name, zero_sum):
    """The generator descends what the discriminator ascends: opposite gradients in the fake
    logits. The hinge loss is no such game where a logit is beyond the hinge."""
    _, (_, d_fake), g_fake = losses(name)
    assert np.allclose(d_fake, -g_fake, rtol=0, atol=1e-14) == zero_sum


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_discriminator_likes_real_and_the_generator_likes_fake_logits_up(name):
    """For logits between the labels and hinges."""
    _, (d_real, d_fake), g_fake = losses(name, REAL / 20 + 0.5, FAKE / 20 + 0.5)
    assert np.all(d_real.numpy() < 0)
    assert np.all(d_fake.numpy() > 0)
    assert np.all(g_fake.numpy() < 0)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_extreme_logits_are_finite(name):
    for value in (-1e4, 1e4):
        values, d, g = losses(name, np.full((3, 1), value), np.full((3, 1), value))
        assert all(np.all(np.isfinite(x)) for x in (*values, *d, g))
