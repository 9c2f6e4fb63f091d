"""Models as strangers bring them to MixedNashGAN: described and rebuilt, made again, refused."""

import itertools
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.tf_mixed_nash.mixed_nash_gan.conftest import net, points
from tf_mixed_nash import InputError, MixedNashGAN
from tf_mixed_nash.models import Network, latents_and_labels
from tf_mixed_nash.models.adapters import example_of
from tf_mixed_nash.strategies.mixed import seed_rows
from trainers.tasks import user_models

K, D = 3, 3
layers = keras.layers


def fit(gan, data=None, **compiled):
    gan.compile(step_size=1e-2, **compiled)
    gan.fit(points(16) if data is None else data, batch_size=8, num_batches=1, verbose=0)
    return gan


# Described in config.json, and rebuilt from there.


def parts(dtype="int32", **names):
    """Inputs of latents and of labels, and what a generator makes of them."""
    z = keras.Input((D,), name=names.get("z"))
    shape = () if dtype == "int32" else (K,)
    y = keras.Input(shape, dtype=dtype, name=names.get("y"))
    label = layers.Embedding(K, 4)(y) if dtype == "int32" else y
    return z, y, layers.Dense(2)(layers.Concatenate()([z, label]))


def of_dict(order=("z", "y")):
    z, y, out = parts(z="z", y="y")
    given = {"z": z, "y": y}
    return keras.Model({name: given[name] for name in order}, out)


def of_list(**names):
    z, y, out = parts(**names)
    return keras.Model([z, y], out)


def told_by_name():
    """Latents and labels of one shape and type."""
    return of_list(dtype="float32", y="the_class")


def nested():
    """Shared, with dicts of inputs and outputs; an outer input is called as an inner layer is."""
    z, y, out = parts(z="z", y="y")
    inner = keras.Model({"z": z, "y": y}, {"one": out, "y": layers.Dense(2, name="label")(out)})
    z, y = keras.Input((D,), name="label"), keras.Input((), dtype="int32", name="z")
    one, two = inner({"z": z, "y": y}), inner({"z": 2.0 * z, "y": y})
    return keras.Model({"label": z, "z": y}, layers.Add()([one["one"], one["y"], two["y"]]))


@keras.saving.register_keras_serializable("tests")
class Subclassed(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense, self.embedding = layers.Dense(2), layers.Embedding(K, 4)

    def call(self, inputs):
        label = self.embedding(inputs["label"])
        return self.dense(tf.concat([inputs["z"], label], axis=1))


def subclassed():
    model = Subclassed()
    model({"z": tf.zeros([1, D]), "label": tf.zeros([1], tf.int32)})
    return model


MODELS = [of_dict, lambda: of_dict(("y", "z")), of_list, told_by_name, nested, subclassed]


@pytest.mark.parametrize("make", MODELS)
def test_a_described_model_is_rebuilt(make):
    model = make()
    network = Network(model, latents_and_labels(model, D, K))
    facts = user_models.describe(network)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # Keras's, of names that are not the keys
        again = user_models.from_description(facts, "generator")
    other = Network(again, latents_and_labels(again, D, K))
    x = tf.concat([tf.random.stateless_normal([5, D], (1, 2)), tf.one_hot([0, 1, 2, 1, 0], K)], 1)
    z = network.initial() + 0.1
    np.testing.assert_array_equal(other(z, x), network(z, x))
    assert user_models.describe(other)["sha256"] == facts["sha256"]
    another = make()
    facts_of_another = user_models.describe(Network(another, latents_and_labels(another, D, K)))
    assert facts_of_another == facts  # whatever numbers Keras gives to its layers by now


def test_a_game_of_models_with_dicts_is_loaded(tmp_path):
    x, y = keras.Input((2,), name="x"), keras.Input((K,), name="y")
    critic = keras.Model({"x": x, "y": y}, layers.Dense(1)(layers.Concatenate()([x, y])))
    gan = MixedNashGAN(of_dict(), critic, algorithm="sgd", num_classes=K, latent_dim=D)
    fit(gan, (points(16), np.arange(16) % K))
    again = MixedNashGAN.load(gan.save(tmp_path / "game"))
    np.testing.assert_array_equal(again.sample(4), gan.sample(4))
    assert set(again.generator("last").input) == {"z", "y"}


def test_a_description_that_keras_cannot_read_asks_for_the_model():
    model = of_dict()
    facts = user_models.describe(Network(model, latents_and_labels(model, D, K)))
    facts["keras"]["config"]["input_layers"]["z"][0] = "of another model"
    with pytest.raises(InputError, match=r"cannot be rebuilt.*MixedNashGAN.load\(path, generator="):
        user_models.from_description(facts, "generator")


# Made again, where another particle starts.


class Plain(keras.Model):
    """A class whose constructor takes nothing, not even a name."""

    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(2)

    def call(self, x):
        return self.dense(x)


def called(model):
    model(tf.zeros([1, D]))
    return model


@pytest.mark.parametrize("make", [lambda: called(Plain()), subclassed])
def test_particles_of_a_subclassed_model_start_at_different_weights(make):
    model = make()
    one, other, same = (user_models.restarted(model, "generator", seed) for seed in (1, 2, 1))
    assert one.built
    args, kwargs = example_of(model)
    assert one(*args, **kwargs).shape == (2, 2)
    for mine, theirs in zip(one.get_weights(), same.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert np.abs(one.get_weights()[0] - other.get_weights()[0]).min() > 1e-5
    assert np.abs(one.get_weights()[0] - model.get_weights()[0]).min() > 1e-5


def test_a_model_that_was_called_on_one_row_has_particles():
    """Keras keeps the rows of the first call in its build config."""
    model = Plain()
    model(tf.zeros((1, D)))
    one, other = starts(
        MixedNashGAN(model, net(2, 1), algorithm="sgd", num_particles=2, latent_dim=D)
    )
    assert np.abs(one - other)[:D].min() > 1e-6


def test_a_subclassed_model_that_is_built_and_was_not_called_is_refused_in_words():
    model = Plain()
    with pytest.warns(UserWarning, match="does not have a `build"):
        model.build((None, D))
    with pytest.raises(InputError, match=r"layers without weights yet \('dense.*Call it once on"):
        MixedNashGAN(model, net(2, 1), latent_dim=D)


# Functions that make models.


def starts(gan):
    """Where the generators of two particles start: two vectors [d]."""
    gan.compile()
    configuration = gan._configuration
    task = configuration.given(configuration.base, None).task
    return [task.networks(salt).theta.initial() for salt in ("", "/1")]


def test_layers_of_a_function_may_have_other_seeds():
    seeds = itertools.count()

    def make():
        dropout = keras.layers.Dropout(0.5, seed=next(seeds))
        return keras.Sequential([keras.Input((2,)), keras.layers.Dense(4), dropout,
                                 keras.layers.Dense(2)])  # fmt: skip

    one, other = starts(MixedNashGAN(make, net(2, 1), algorithm="sgd", num_particles=2))
    assert np.abs(one - other)[:8].min() > 1e-6
    assert next(seeds) > 1


@pytest.mark.parametrize("seed", [None, 3])
def test_particles_of_a_function_that_repeats_itself_start_at_different_weights(seed):
    """It gives the same model each time, or one whose initialisers have seeds."""
    same = net(2, 2)
    function = (lambda: same) if seed is None else (lambda: net(2, 2, seed))
    gan = MixedNashGAN(function, lambda: net(2, 1), algorithm="sgd", num_particles=2)
    one, other = starts(gan)
    assert np.abs(one - other)[:16].min() > 1e-6  # the first kernel
    again = MixedNashGAN(function, lambda: net(2, 1), algorithm="sgd", num_particles=2)
    np.testing.assert_array_equal(starts(again), [one, other])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda n: [layers.Dense(6 + n), layers.Dense(2)], r"dense\.units is \d, then \d"),
        (lambda n: [layers.Dense(2) for _ in range(n)], r"layers has \d entries, then \d"),
        (
            lambda n: [layers.Dense(2, "relu" if n % 2 else "tanh")],
            r"dense\.activation is '\w+', then '\w+'",
        ),
    ],
)
@pytest.mark.parametrize("num", [1, 2])
def test_a_function_that_makes_other_architectures_is_refused(change, words, num, tmp_path):
    calls = []

    def function():
        # Other ones for the second particle alone, or at every call.
        calls.append(len(calls) + 1 if num == 1 else max(1, len(calls)))
        return keras.Sequential([keras.Input((2,)), *change(calls[-1])])

    gan = MixedNashGAN(function, net(2, 1), algorithm="sgd", num_particles=num)
    gan.compile()
    with pytest.raises(InputError, match=f"makes the generator makes another .*{words}"):
        gan.fit(points(16), batch_size=8, num_batches=1, verbose=0, workdir=tmp_path / "run")
    assert not list(tmp_path.iterdir())


# Back in Keras.


def wide():
    """With a layer whose last bits depend on how many rows there are, and how it is called."""
    body = [layers.Dense(64, "relu"), layers.LayerNormalization(), layers.Dense(2)]
    return keras.Sequential([keras.Input((2,)), *body])


def test_a_generator_gives_the_samples_as_its_docstring_says():
    gan = fit(MixedNashGAN(wide, net(2, 1), algorithm="sgd", num_particles=2))
    samples, strategy = gan.sample(20, answer="last"), gan.mixture("last")
    components, latents = (x.numpy() for x in strategy.draw(seed_rows(0, 20)))
    for i in (0, 1):
        model, mine = gan.generator("last", i), components == i
        assert 1 < mine.sum() < 16
        rows = np.pad(latents[mine], [(0, 16 - mine.sum()), (0, 0)])
        exact = tf.function(model)(rows)[: mine.sum()]
        np.testing.assert_array_equal(exact, samples[mine])
        size = np.abs(samples).max()
        for called in (model(latents[mine]), [model(x[None])[0] for x in latents[mine]]):
            np.testing.assert_allclose(called, samples[mine], rtol=0, atol=2e-6 * size)
