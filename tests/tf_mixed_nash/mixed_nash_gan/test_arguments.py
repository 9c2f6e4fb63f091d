"""Arguments as strangers give them: each is taken, or answered in one sentence."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from benchmarks.pages.code import pieces_of
from tf_mixed_nash import MixedNashGAN
from tf_mixed_nash.algorithms import ALGORITHMS
from tf_mixed_nash.errors import InputError

ROWS = np.random.default_rng(0).normal(size=(40, 2)).astype(np.float32)
callbacks = keras.callbacks


def network(inputs, units):
    layers = [keras.Input((inputs,)), keras.layers.Dense(4, "relu"), keras.layers.Dense(units)]
    return keras.Sequential(layers)


def game(num_classes=0, **options):
    theta, w = network(2 + num_classes, 2), network(2 + num_classes, 1)
    return MixedNashGAN(theta, w, num_classes=num_classes, **options)


def fit(gan, data=ROWS, **options):
    few = {"batch_size": 8, "num_batches": 2, "steps_per_epoch": 1, "verbose": 0}
    return gan.fit(data, **{**few, **options})


@pytest.fixture(scope="module")
def trained():
    gan = game(algorithm="sgd")
    gan.compile()
    fit(gan)
    return gan


@pytest.fixture(scope="module")
def conditional():
    gan = game(num_classes=3, algorithm="sgd")
    gan.compile()
    fit(gan, (ROWS, np.arange(40) % 3))
    return gan


# Numbers of NumPy and TensorFlow.


def test_numbers_of_numpy_and_tensorflow_are_pythons():
    gans = game(), game()
    gans[0].compile(step_size=1e-3, seed=3, generator={"damping": 0.5})
    gans[1].compile(
        step_size=tf.constant(1e-3, tf.float64),
        seed=np.int64(3),
        generator={"damping": np.float64(0.5)},
    )
    assert gans[0]._configuration.base == gans[1]._configuration.base


def test_samples_are_counted_by_any_integer(trained):
    np.testing.assert_array_equal(trained.sample(np.int32(3), np.int64(7)), trained.sample(3, 7))


# What is refused, and how.

ONE_SENTENCE = {
    "a negative number of samples": (lambda g: g.sample(-1), "n must be an integer of at least 0"),
    "half a sample": (lambda g: g.sample(2.5), "n must be an integer of at least 0, got 2.5"),
    "true": (lambda g: g.sample(True), "n must be an integer of at least 0, got True"),
    "a seed below 0": (lambda g: g.sample(1, seed=-1), r"seed must be an integer in \[0, 922337"),
    "a seed of 64 bits": (lambda g: g.sample(1, seed=2**63), "seed must be an integer in"),
    "a component in words": (lambda g: g.generator("last", "0"), "'last' is one network, got '0'"),
    "an answer of a discriminator": (lambda g: g.discriminator("last"), "one network, got 'last'"),
    "a path that is none": (lambda g: g.save(None), "path must be the path of a folder, got None"),
    "a folder of the kernel": (lambda g: g.save("/proc/x"), "/proc cannot be written"),
    "a number to publish to": (lambda g: g.publish(3), "base must be the path of a folder, got 3"),
    "the current folder": (lambda g: g.publish(""), "base must be the path of a folder, got ''"),
    "no samples": (lambda g: g.evaluate(ROWS, num_samples=0), "num_samples must be an integer of"),
    "fewer samples than neighbours": (
        lambda g: g.evaluate(ROWS, num_samples=5), "num_samples must be above nearest_k=5, got 5"),
    "no neighbour": (lambda g: g.evaluate(ROWS, nearest_k=0), "nearest_k must be an integer of"),
    "nothing to load": (lambda g: g.load("nowhere"), "nowhere holds no game: it has no config.js"),
}  # fmt: skip


@pytest.mark.parametrize("name", ONE_SENTENCE)
def test_what_a_trained_game_is_asked(name, trained):
    ask, says = ONE_SENTENCE[name]
    with pytest.raises(InputError, match=says):
        ask(trained)


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        ([0, 1], r"a class for each of the 3 samples, got shape \[2\]"),
        (np.eye(3), r"a class for each of the 3 samples, got shape \[3, 3\]"),
        ([0.5, 1.0, 2.0], "integers"),
    ],
)
def test_labels_that_are_none(labels, says, conditional):
    with pytest.raises(InputError, match=says):
        conditional.sample(3, labels=labels)


def test_labels_in_a_column_and_of_no_sample(conditional):
    column = conditional.sample(3, labels=[[0], [1], [2]])
    np.testing.assert_array_equal(column, conditional.sample(3, labels=[0, 1, 2]))
    assert conditional.sample(0, labels=[]).shape == (0, 2)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"generator": 3}, "generator must be a mapping"),
        ({"window": 0.5}, "window must be two numbers"),
        ({"window": (0.5,)}, "window must be two numbers"),
        ({"ema_half_lives": 10}, "ema_half_lives must be a tuple of numbers, got 10"),
        # Nothing that nobody reads.
        ({"decay_1": 0.5}, r"compile\(decay_1=...\): mirror_prox_gan does not read it; adam"),
        ({"generator": {"decay_2_schedule": "linear"}}, "does not read it; adam, optimistic_adam"),
        ({"num_chains": 2}, "does not read it; sample_md, sample_mp do"),
        (
            {"temperature_rate": 0.1},
            r"compile\(temperature_rate=...\) would have no effect: it is of",
        ),
        (
            {"generator": {"step_size_rate": 0.1}},
            r"compile\(generator=\{'step_size_rate': ...\}\) w",
        ),
        ({"inner_steps_schedule": "linear"}, r"K\) is 1, and K_t is never less"),
        ({"step_size_schedule": "exponential"}, "step_size_rate, which is 0, or to an end"),
        (
            {"step_size": lambda t: 1e-3, "step_size_schedule": "linear"},
            "function is the schedule. Leave step_size_schedule out",
        ),
        ({"kappa": 2.0}, "is of chambolle_pock; mirror_prox_gan does not"),
        ({"weights": "learnt"}, "is of several particles, and there is one"),
        ({"particle_batch": "full"}, "is of several particles, and there is one"),
        # In the words of the argument, not of a config.
        ({"xla": "yes"}, "Unknown xla 'yes'"),
        ({"num_components": 0}, "^num_components must be"),
        ({"kappa": -1.0, "_algorithm": "chambolle_pock"}, "^kappa must be"),
        ({"particle_batch": "x", "num_particles": 2}, "Unknown particle_batch 'x'"),
        ({"alternated": True}, 'Set algorithm="alt_mirror_prox_gan" instead'),
    ],
)
def test_what_compile_refuses(options, says):
    options = dict(options)
    gan = game(algorithm=options.pop("_algorithm", "mirror_prox_gan"))
    with pytest.raises(InputError, match=says):
        gan.compile(**options)
    assert gan._configuration.base is None


def test_what_is_read_is_taken():
    few = {"step_size_schedule": "linear", "num_inner_steps": 3, "inner_steps_rate": 0.5}
    game().compile(**few, inner_steps_schedule="constant")
    game().compile(temperature_schedule="exponential", temperature_rate=0.1)
    game(algorithm="adam").compile(decay_2_schedule="linear", decay_1=0.5)
    game(num_particles=2).compile(weights="learnt", particle_batch="full")
    game().compile(generator={"num_particles": 2}, weight_floor=0.2)


@pytest.mark.parametrize("name", list(ALGORITHMS))
def test_an_algorithm_reads_what_its_code_reads(name):
    chains = {"num_chains"} if ALGORITHMS[name].chains else set()  # read of both players at once
    assert set(ALGORITHMS[name].reads) == pieces_of(name)[1] | chains


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"steps_per_epoch": 0}, "^steps_per_epoch must be"),
        ({"devices": "gpu"}, "Unknown devices 'gpu'"),
        ({"workdir": 3}, "workdir must be the path of a folder, got 3"),
        ({"keep_best": "min:loss/w"}, "keeps a checkpoint, which a workdir holds"),
        ({"callbacks": [3]}, "callbacks must be a list of keras.callbacks.Callback, got int 3"),
        (
            {"callbacks": [callbacks.LearningRateScheduler(lambda epoch, rate: rate)]},
            "LearningRateScheduler needs one model with an optimizer.*step_size_schedule",
        ),
        ({"callbacks": callbacks.ReduceLROnPlateau("loss")}, "ReduceLROnPlateau needs one model"),
        ({"callbacks": [callbacks.BackupAndRestore("b")]}, r"Use fit\(workdir=...\), which goes"),
        ({"callbacks": [callbacks.SwapEMAWeights()]}, 'Use the answer "ema"'),
    ],
)
def test_what_fit_refuses(options, says):
    gan = game(algorithm="sgd")
    gan.compile()
    with pytest.raises(InputError, match=says):
        fit(gan, **options)


def test_one_callback_alone(trained):
    gan, seen = game(algorithm="sgd"), []
    gan.compile()
    fit(
        gan, callbacks=callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(epoch))
    )
    assert seen == [0, 1]


@pytest.mark.usefixtures("without_publishing", "quick_pictures")
def test_another_model_in_a_workdir_is_no_page_of_text(tmp_path):
    gan = game(algorithm="sgd")
    gan.compile()
    fit(gan, workdir=tmp_path / "w")
    other = MixedNashGAN(network(2, 2), network(2, 1), algorithm="sgd", latent_dim=2)
    other.compile(seed=5)
    with pytest.raises(InputError, match="Give a new workdir, or the same arguments") as error:
        fit(other, workdir=tmp_path / "w")
    assert len(str(error.value)) < 1_000


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"penalty_every": 4}, "penalty_every and penalty_schedule are of a penalty, and there is"),
        ({"penalty_schedule": "linear"}, "Give one of gradient_penalty, r1, r2, penalty"),
    ],
)
def test_what_is_of_a_penalty_needs_one(options, says):
    with pytest.raises(InputError, match=says):
        game(algorithm="adam", gradient_penalty=0.0, **options)
    game(algorithm="adam", gradient_penalty=0.0, r1=0.1, **options)


def test_scores_that_nobody_makes_have_no_number_of_samples():
    gan = game(algorithm="adam")
    gan.compile()
    with pytest.raises(InputError, match="Set score_every, or leave score_samples out"):
        gan.fit(np.zeros((64, 2), "float32"), num_batches=2, score_samples=100, verbose=0)
