"""The compiled loop on Keras models with layers that draw and layers that keep something."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from tf_mixed_nash import rng
from tf_mixed_nash.algorithms import Hyperparameters, build
from tf_mixed_nash.games.gan import GanGame, Regularizers
from tf_mixed_nash.methods.oracle import Oracle
from tf_mixed_nash.methods.schedules import constant
from tf_mixed_nash.models import Network
from tf_mixed_nash.strategies.mixed import seed_rows
from tf_mixed_nash.training.loop import Loop, _reborn
from tf_mixed_nash.training.run import Training, num_outer_steps
from tf_mixed_nash.types import PLAYERS, Pair

D, N, STEPS = 3, 4, 6


class Points:
    """Mini-batch m is a function of m."""

    signature = ()
    waited = 0.0

    def limit(self, start, end):
        return end

    def block(self, start, end):
        return ()

    def batch_at(self, block, m):
        key = rng.fold_in(tf.constant([3, 4], tf.int32), m)
        return tf.random.stateless_normal([N, 2], key, alg="philox") * [1.0, 3.0]

    def close(self):
        pass


def spectral(units, **kwargs):
    return layers.SpectralNormalization(layers.Dense(units, **kwargs))


def generator(seed=0):
    keras.utils.set_random_seed(seed)
    return keras.Sequential(
        [
            keras.Input((D,)),
            spectral(6),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Dropout(0.3),
            layers.Dense(2),
        ]
    )


def critic(seed=1):
    keras.utils.set_random_seed(seed)
    return keras.Sequential(
        [
            keras.Input((2,)),
            spectral(6, activation="tanh"),
            layers.Dropout(0.3),
            layers.GaussianNoise(0.1),
            layers.Dense(1),
        ]
    )


def training(algorithm, num_particles=1, networks=None, compile="parts", **kwargs):
    """Of several chains where the algorithm has them."""
    chains = algorithm.startswith("sample")
    several = {"num_chains": 2} if chains else {"num_particles": num_particles}
    if num_particles > 1 and not chains:
        several |= {"weights": "learnt", "rebirth_below": 0.499, "weight_step": constant(5.0)}
    h = Hyperparameters(
        step_size=constant(1e-2), temperature=constant(1e-5), history_capacity=4, **several
    )
    scheme = build(algorithm, Pair(h, h), **kwargs)
    made = networks or Pair(Network(generator()), Network(critic()))
    game = GanGame(*made, D, regularizers=Regularizers(gradient_penalty=1.0))
    per_step = int(scheme.num_batches(0))
    return Training(
        algorithm=algorithm,
        oracle=Oracle(game, seed=7),
        scheme=scheme,
        hyperparameters=Pair(h, h),
        feed=lambda dtype: Points(),
        other_networks=lambda j: Pair(Network(generator(10 * j)), Network(critic(10 * j + 1))),
        seed=7,
        num_batches=STEPS * per_step,
        num_outer_steps=num_outer_steps(scheme, STEPS * per_step),
        batch_size=N,
        num_components=2,
        compile=compile,
    )


def arrays(loop):
    return {name: np.array(x) for name, x in loop.tensors().items()}


@pytest.mark.parametrize(
    ("algorithm", "num_particles"),
    [
        pytest.param("mirror_prox_gan", 1, marks=pytest.mark.slow),  # test_a_killed_fit's
        ("chambolle_pock", 2),
        pytest.param("adam", 2, marks=pytest.mark.slow),
        pytest.param("sample_mp", 1, marks=pytest.mark.slow),
    ],
)
def test_stopping_and_going_on_changes_no_bit(algorithm, num_particles):
    run = training(algorithm, num_particles)
    whole = Loop(run)
    per_step = run.num_batches // STEPS
    whole.advance(STEPS // 2 * per_step)
    kept = {name: tf.constant(x) for name, x in arrays(whole).items()}
    whole.advance(STEPS * per_step)
    second = Loop(training(algorithm, num_particles))  # its layers' seeds are others
    second.assign(kept)
    second.advance(STEPS * per_step)
    assert {"state/theta", "state/w"} <= kept.keys()
    expected, actual = arrays(whole), arrays(second)
    assert expected.keys() == actual.keys()
    for name, x in expected.items():
        np.testing.assert_array_equal(actual[name], x, name)
    assert np.all(np.isfinite(expected["state/w"]))
    assert np.any(kept["state/w"].numpy() != expected["state/w"])


def test_the_states_have_a_row_for_every_atom_and_chain():
    assert Loop(training("adam")).states().w.shape == [6]
    states = Loop(training("adam", 2)).states()
    assert [s.shape for s in states] == [[2, 6], [2, 6]]
    assert Loop(training("sample_md")).states().theta.shape == [2, 6]


def test_only_the_player_with_such_layers_has_a_state():
    plain = keras.Sequential([keras.Input((D,)), layers.Dense(2)])
    loop = Loop(training("adam", networks=Pair(Network(plain), Network(critic()))))
    assert [name for name in loop.variables if name.startswith("state/")] == ["state/w"]
    loop.advance(2)
    assert loop.states().theta is None
    other = keras.Sequential([keras.Input((2,)), layers.Dense(1)])
    loop = Loop(training("adam", networks=Pair(Network(plain), Network(other))))
    assert not any(name.startswith("state") for name in loop.variables)
    assert loop.states() == Pair(None, None)


def test_a_step_is_on_the_state_and_the_next_state_is_of_its_output():
    run = training("mirror_gan")
    loop = Loop(run)
    states, start = loop.states(), run.initial_state()
    oracle = run.oracle.with_batches(lambda m: Points().batch_at((), m))
    zero = tf.constant(0, tf.int64)

    @tf.function(autograph=False)
    def step(states):
        asked = oracle.with_states(states)
        new, _ = run.scheme.step(asked, start, zero, zero)
        output = run.scheme.output(new)
        return output, asked.states(output, zero)

    output, after = step(states)
    loop.advance(1)
    for player in PLAYERS:
        np.testing.assert_allclose(loop.last().of(player), output.of(player), atol=1e-6)
        np.testing.assert_allclose(loop.states().of(player), after.of(player), atol=1e-5)
        assert np.any(np.abs(after.of(player) - states.of(player)) > 1e-3)


def test_atoms_that_are_reborn_take_their_parents_state():
    rows = tf.constant(np.random.default_rng(0).normal(size=(2, 6)), tf.float32)
    logs = Pair({"parents": tf.constant([1, 1])}, {})
    theta, w = _reborn(Pair(rows, rows), logs)
    np.testing.assert_array_equal(theta, tf.stack([rows[1], rows[1]]))
    np.testing.assert_array_equal(w, rows)


def test_a_spectrally_normalised_kernel_has_norm_one():
    run = training("adam")
    loop = Loop(run)
    loop.advance(20)
    z, state = loop.last().w, loop.states().w
    network = run.networks.w
    raw = network.unflatten(z)[0]
    kernel = network.unflatten(network.calibrated(z, [], state))[0]
    assert abs(np.linalg.norm(raw, 2) - 1.0) > 0.01
    assert np.linalg.norm(kernel, 2) == pytest.approx(1.0, abs=1e-3)


def test_the_published_mixture_and_keras_models_are_the_same_function():
    run = training("mirror_prox_gan")
    loop = Loop(run)
    loop.advance(run.num_batches)
    atoms, weights = loop.answers()["mixture"]
    strategy = run.strategy(atoms, weights)
    seeds = seed_rows(0, 6)
    components, latents = strategy.draw(seeds)
    samples = strategy.generate(components, latents)
    np.testing.assert_array_equal(samples, strategy.sample(seeds))
    assert len(strategy.atoms) == 2
    for j in range(2):
        model = run.networks.theta.to_keras(strategy.atoms[j])
        rows = np.flatnonzero(components == j)
        expected = run.networks.theta.frozen()(strategy.atoms[j], latents)
        np.testing.assert_array_equal(model(latents, training=False), expected)
        np.testing.assert_allclose(tf.gather(expected, rows), tf.gather(samples, rows), rtol=1e-5)
    # Of the vector alone: whoever reads the checkpoint gets the same.
    others = Pair(Network(generator(5)), Network(critic(6)))
    again = training("mirror_prox_gan", networks=others).strategy(atoms, weights)
    np.testing.assert_array_equal(again.atoms, strategy.atoms)


@pytest.mark.slow
def test_the_whole_step_can_be_one_program():
    run = training("adam", compile="whole")
    loop = Loop(run)
    loop.advance(2)
    assert np.all(np.isfinite(loop.states().w))
    assert np.all(np.isfinite(loop.last().theta))
