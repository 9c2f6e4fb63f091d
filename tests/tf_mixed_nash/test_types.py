"""Pairs and measures."""

import numpy as np
import pytest
import tensorflow as tf

from tf_mixed_nash.types import Measure, Pair, dirac, other


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
