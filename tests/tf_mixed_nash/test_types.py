"""Pairs and measures."""

import numpy as np
import pytest
import tensorflow as tf

from tf_mixed_nash.errors import InputError
from tf_mixed_nash.types import (
    Measure,
    Pair,
    atoms_of,
    dirac,
    other,
    particles,
    weights_of,
)


def test_pair_gives_each_player_its_own():
    pair = Pair(theta="generator", w="discriminator")
    assert pair.of("theta") == "generator"
    assert pair.of("w") == "discriminator"
    assert pair.of(other("theta")) == "discriminator"


def test_dirac_is_one_atom_of_weight_one():
    z = tf.constant([1.0, 2.0])
    measure = dirac(z)
    assert measure.num_atoms == 1
    assert measure.weights == (1.0,)
    np.testing.assert_array_equal(measure.atoms[0], z)


@pytest.mark.parametrize(
    "measure",
    [
        Measure(tf.zeros([3, 2]), tf.zeros([3])),
        Measure((tf.zeros([2]),) * 3, (1.0, 1.0, -1.0)),
    ],
    ids=["tensors", "tuples"],
)
def test_the_number_of_atoms_is_static(measure):
    assert isinstance(measure.num_atoms, int)
    assert measure.num_atoms == 3


ROWS = tf.constant([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], tf.float64)


def test_particles_have_equal_weights_or_those_given():
    np.testing.assert_allclose(weights_of(particles(ROWS)), [1 / 3] * 3, rtol=1e-15)
    z = particles(ROWS, [0.25, 0.75, 0.0])
    np.testing.assert_allclose(weights_of(z), [0.25, 0.75, 0.0], rtol=1e-15)
    assert weights_of(z).dtype == tf.float64
    assert atoms_of(z) is z.atoms
    assert atoms_of(ROWS[0]).shape == [2]
    assert weights_of(ROWS[0]) is None


@pytest.mark.parametrize(
    ("atoms", "weights", "message"),
    [
        (ROWS[0], None, "got shape"),
        (ROWS[:0], None, r"n' >= 1; got shape \(0, 2\)"),
        (ROWS, [0.5, 0.5], r"3 particles have 3 weights, got shape \(2,\)"),
        (ROWS, [0.5, 0.6, -0.1], "at least 0 and sum to 1"),
        (ROWS, [0.5, 0.5, 0.5], "at least 0 and sum to 1"),
        (ROWS, [float("nan")] * 3, "at least 0 and sum to 1"),
    ],
)
def test_particles_of_another_form_are_refused(atoms, weights, message):
    with pytest.raises(InputError, match=message):
        particles(atoms, weights)


def test_the_terms_of_particles_are_those_of_their_mixture():
    measure = Measure((particles(ROWS, [0.2, 0.3, 0.5]), ROWS[0]), (2.0, -1.0))
    weights, atoms = zip(*measure.terms(), strict=True)
    np.testing.assert_allclose(weights, [0.4, 0.6, 1.0, -1.0])
    np.testing.assert_array_equal(atoms, tf.concat([ROWS, ROWS[:1]], axis=0))
