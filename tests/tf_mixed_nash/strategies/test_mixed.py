"""Mixed strategies: the law of the components, and what a row of seeds decides."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from tests.statistics import NUM_SIGMAS, assert_counts
from tf_mixed_nash import rng
from tf_mixed_nash.models import Network, mlp, residual_generator
from tf_mixed_nash.rng import reservoir_slot
from tf_mixed_nash.strategies.mixed import MixedStrategy, seed_rows
from tf_mixed_nash.types import Measure

LATENT_DIM = 3
GENERATOR = mlp(LATENT_DIM, 2, (16,), seed=0)
WEIGHTS = [0.1, 0.5, 0.05, 0.35]

# Matrix products of 16 terms in float32 that are summed in another order differ by 1e-7 of the
# size of the terms, which is about 1.
ROUNDING = 1e-6


def strategy(weights=WEIGHTS):
    """A mixture of len(weights) generators, each its own initialisation."""
    atoms = [mlp(LATENT_DIM, 2, (16,), seed=100 * j).initial() for j in range(len(weights))]
    return MixedStrategy(Measure(tf.stack(atoms), tf.constant(weights)), GENERATOR, LATENT_DIM)


def counts(components, num):
    return np.bincount(np.asarray(components), minlength=num)


# The reservoir.


@tf.function
def reservoirs(seeds, num_elements, num_slots):
    """The kept elements [runs, slots] of reservoir sampling, -1 in an empty slot."""

    def one(seed):
        key, kept = rng.fold_in(tf.constant([8, 15]), seed), tf.fill([num_slots], -1)
        for i in tf.range(num_elements):
            slot = reservoir_slot(i, num_slots, rng.fold_in(key, i))
            if slot >= 0:
                kept = tf.tensor_scatter_nd_update(kept, [[slot]], [i])
        return kept

    return tf.map_fn(one, seeds)


def test_reservoir_keeps_a_uniform_subset():
    """After 6 elements all 15 pairs are equally likely."""
    kept = np.sort(reservoirs(tf.range(6000), 6, 2), axis=1)
    pairs = list(itertools.combinations(range(6), 2))
    assert_counts([np.sum(np.all(kept == pair, axis=1)) for pair in pairs], np.full(15, 1 / 15))


@pytest.mark.parametrize("num_elements", [3, 4, 20])
def test_reservoir_keeps_exactly_as_many_as_it_has_slots(num_elements):
    kept = np.sort(reservoirs(tf.range(50), num_elements, 3), axis=1)
    assert np.all(kept >= 0)
    assert np.all(np.diff(kept, axis=1) > 0)
    assert np.all(kept < num_elements)


def test_reservoir_fills_its_slots_in_order():
    key = tf.constant([1, 2])
    assert [int(reservoir_slot(i, 4, key)) for i in range(4)] == [0, 1, 2, 3]


def test_reservoir_of_one_keeps_a_uniform_index():
    """The paper's random index t-hat."""
    kept = reservoirs(tf.range(4000), 5, 1)[:, 0]
    assert_counts(counts(kept, 5), np.full(5, 0.2))


# Seeds.


def test_seed_rows():
    expected = [[7, 3], [7, 4]]
    rows = seed_rows(7, 2, start=3)
    assert rows.dtype == tf.int64
    np.testing.assert_array_equal(rows, expected)
    np.testing.assert_array_equal(seed_rows(2**40, 1), [[2**40, 0]])


def test_more_samples_of_a_seed_have_the_same_beginning():
    few, many = strategy().sample(seed_rows(3, 10)), strategy().sample(seed_rows(3, 200))
    assert few.shape == (10, 2)
    np.testing.assert_allclose(few, many[:10], rtol=0, atol=ROUNDING)


def test_a_row_is_the_same_sample_in_any_batch():
    """Alone, and shuffled among rows of another seed."""
    mixed, rows = strategy(), tf.concat([seed_rows(3, 10), seed_rows(4, 15)], axis=0)
    together = mixed.sample(rows).numpy()
    order = np.random.default_rng(0).permutation(25)
    shuffled = mixed.sample(tf.gather(rows, order)).numpy()
    np.testing.assert_allclose(shuffled, together[order], rtol=0, atol=ROUNDING)
    alone = np.concatenate([mixed.sample(rows[i : i + 1]) for i in range(25)])
    np.testing.assert_allclose(alone, together, rtol=0, atol=ROUNDING)
    assert len(np.unique(together, axis=0)) == 25


def test_draws_are_the_same_bits_in_any_batch_and_in_a_graph():
    rows = seed_rows(5, 40)
    components, latents = strategy().draw(rows)
    again, late_latents = tf.function(strategy().draw)(rows[25:])
    np.testing.assert_array_equal(components[25:], again)
    np.testing.assert_array_equal(latents[25:], late_latents)


# The law.


@pytest.fixture(scope="module")
def draws():
    """(components, latents) of 20,000 rows."""
    components, latents = tf.function(strategy().draw)(seed_rows(1, 20_000))
    return components.numpy(), latents.numpy()


def test_components_have_the_weights(draws):
    assert_counts(counts(draws[0], 4), WEIGHTS)


def test_latents_are_standard_normal_given_the_component(draws):
    """Means of n normals have standard error 1/sqrt n, variances sqrt(2/n)."""
    components, latents = draws
    for j in range(4):
        z = latents[components == j]
        assert np.all(np.abs(z.mean(0)) < NUM_SIGMAS / np.sqrt(len(z)))
        assert np.all(np.abs(z.var(0) - 1) < NUM_SIGMAS * np.sqrt(2 / len(z)))


@pytest.mark.parametrize("weights", [[0.25, 0.75], [0.0, 1.0, 0.0], [1.0]])
def test_component_at_inverts_the_distribution_function(weights):
    """Every quantile; components of weight 0 are never drawn; the ends are in range."""
    mixed = strategy(weights)
    u = np.concatenate([(np.arange(1000) + 0.5) / 1000, [0.0, 1.0]]).astype(np.float32)
    expected = np.searchsorted(np.cumsum(weights), u, side="right").clip(max=len(weights) - 1)
    np.testing.assert_array_equal(mixed.component_at(u)[:1000], expected[:1000])
    ends = mixed.component_at(u[1000:]).numpy()
    assert np.all((ends >= 0) & (ends < len(weights)))
    share = counts(mixed.component_at(u[:1000]), len(weights)) / 1000
    np.testing.assert_allclose(share, weights, atol=1e-3)


def test_weights_that_sum_to_one_only_in_exact_arithmetic():
    mixed = strategy([0.1] * 10)
    assert int(mixed.component_at(tf.constant([1.0]))[0]) == 9


def test_components_of_latents_have_the_weights_too():
    latents = np.random.default_rng(0).normal(size=(20_000, LATENT_DIM)).astype(np.float32)
    components = strategy().component_of_latents(tf.constant(latents)).numpy()
    assert_counts(counts(components, 4), WEIGHTS)
    # Also where the latents are confined to a half of their space.
    assert_counts(counts(components[latents[:, 0] > 0], 4), WEIGHTS)


def test_the_component_of_latents_is_a_function_of_the_row():
    latents = tf.random.stateless_normal([100, LATENT_DIM], [1, 2])
    components = strategy().component_of_latents(latents).numpy()
    assert len(set(components)) == 4
    np.testing.assert_array_equal(strategy().component_of_latents(latents[60:]), components[60:])


# The networks.


@pytest.mark.parametrize("components", [[0] * 5, [3, 1, 1, 0, 3], [2, 2, 0, 3, 1]])
def test_generate_is_the_network_of_each_component(components):
    """Also where some component has no row."""
    mixed, latents = strategy(), tf.random.stateless_normal([5, LATENT_DIM], [3, 4])
    generated = mixed.generate(tf.constant(components, tf.int64), latents)
    assert generated.dtype == tf.float32
    for i, j in enumerate(components):
        direct = GENERATOR(mixed.atoms[j], latents[i : i + 1])[0]
        np.testing.assert_allclose(generated[i], direct, rtol=0, atol=ROUNDING)
    everywhere = [GENERATOR(z, latents).numpy() for z in mixed.atoms]
    assert np.ptp(everywhere, axis=0).min() > 1e-2  # so that the components can be told apart


def test_a_pure_strategy_is_its_network():
    pure = strategy([1.0])
    components, latents = pure.draw(seed_rows(0, 6))
    np.testing.assert_array_equal(components, np.zeros(6))
    direct = GENERATOR(pure.atoms[0], latents)
    np.testing.assert_allclose(pure.sample(seed_rows(0, 6)), direct, rtol=0, atol=ROUNDING)


def test_sampling_works_in_a_graph_of_unknown_batch_size():
    mixed = strategy()
    signature = [tf.TensorSpec([None, 2], tf.int64)]
    sample = tf.function(mixed.sample, input_signature=signature)
    for num in (1, 9):
        eager = mixed.sample(seed_rows(2, num))
        np.testing.assert_allclose(sample(seed_rows(2, num)), eager, rtol=0, atol=ROUNDING)
    assert sample.experimental_get_tracing_count() == 1


def test_components_of_whole_measures_are_their_atoms():
    """Two measures of two atoms: components 0 and 2 are of atom 0."""
    four = strategy()
    both = MixedStrategy(Measure(four.atoms, four.weights), GENERATOR, LATENT_DIM, num_particles=2)
    seeds = seed_rows(1, 300)
    components = both.draw(seeds)[0].numpy()
    assert set(components) == {0, 1, 2, 3}
    np.testing.assert_array_equal(both.atom_of(seeds), components % 2)
    np.testing.assert_allclose(both.atom_weights(), [0.15, 0.85], rtol=1e-6)
    assert set(four.atom_of(seeds).numpy()) == {0}


def test_a_component_without_rows_is_no_trouble_for_convolutions():
    """On CPUs they give no rows the channels of their input, which a residual block cannot add."""
    network = Network(residual_generator(28, 1, latent_dim=2, width=2))
    z = network.initial()
    strategy = MixedStrategy(
        Measure(tf.stack([z, 2.0 * z, z]), tf.constant([1.0, 0.0, 0.0])), network, 2
    )
    components, latents = tf.constant([0, 0, 2], tf.int64), tf.ones([3, 2])
    generate = tf.function(strategy.generate, autograph=False)
    images = generate(components, latents)
    assert images.shape == (3, 28, 28, 1)
    np.testing.assert_allclose(images[1], network(z, latents)[1], atol=1e-5)
    one = MixedStrategy(Measure(z[None], tf.ones([1])), network, 2)
    for each in (strategy, one):
        assert tf.function(each.generate)(components[:0], latents[:0]).shape == (0, 28, 28, 1)


class _Counted:
    """A network that counts its calls."""

    takes_no_rows, output_shape = True, (2,)

    def __init__(self):
        self.calls = []

    def __call__(self, z, latents):
        self.calls.append(int(tf.shape(latents)[0]))
        return GENERATOR(z, latents)


@pytest.mark.parametrize(("components", "calls"), [([3, 1, 3, 3], [1, 3]), ([2], [1]), ([], [0])])
def test_only_the_components_that_are_there_are_called(components, calls):
    mixture = strategy()
    mixture.generator = network = _Counted()
    latents = tf.random.stateless_normal([len(components), LATENT_DIM], (1, 2))
    given = mixture.generate(tf.constant(components, tf.int64), latents)
    assert network.calls == calls
    expected = [
        GENERATOR(mixture.atoms[j], x[None])[0] for j, x in zip(components, latents, strict=True)
    ]
    assert np.allclose(given, np.reshape(expected, [-1, 2]), atol=ROUNDING)
