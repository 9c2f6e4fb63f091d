"""MixedNashGAN: two Keras models and data to a trained mixed strategy, as trainers.run would."""

import doctest
import inspect
import json
import random
import re
import signal

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from configs import tuned
from tests.tf_mixed_nash.mixed_nash_gan.conftest import game, net, points
from tests.trainers.conftest import tiny
from tf_mixed_nash import InputError, MixedNashGAN, rng
from tf_mixed_nash.games.objectives import Losses
from tf_mixed_nash.strategies.mixed import seed_rows
from trainers.experiment.build import task_of
from trainers.session.train import train
from trainers.tasks.data import synthetic
from trainers.workdir.checkpoints import Checkpoints
from trainers.workdir.folder import whole_lines

QUIET = {"verbose": 0, "picture_every": 10**6}


def tensors(workdir):
    return Checkpoints(workdir / "checkpoints").read().tensors


def gaussians(seed):
    """The planar task's mini-batches, as a function of a user's."""
    data, key = synthetic.make("gaussians8"), rng.stream(seed, "data")

    @tf.function
    def batch(m, size):
        return data.sample(rng.fold_in(key, m), size, tf.float32)

    return batch


# As trainers.run.


@pytest.mark.usefixtures("without_publishing", "quick_pictures")
def test_fit_is_trainers_run_bit_for_bit(tmp_path):
    config = tiny("mirror_gan", seed=3)
    assert train(config, tmp_path / "run") == 0
    networks = task_of(config).networks()
    gan = MixedNashGAN(
        networks.theta.model, networks.w.model, algorithm="mirror_gan", gradient_penalty=0.1
    )
    # The data sets of the plane have defaults of their own, which a user's data have not.
    own = {key: config["generator"][key] for key in tuned.TUNED["mirror_gan"]}
    gan.compile(seed=3, num_components=2, window=(0.0, 1.0), **own)
    work = tmp_path / "fit"
    history = gan.fit(
        gaussians(3), batch_size=16, num_batches=2, steps_per_epoch=2, workdir=work, **QUIET
    )
    ours, theirs = tensors(work), tensors(tmp_path / "run")
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        np.testing.assert_array_equal(ours[name], value, name)
    assert (work / "metrics.jsonl").read_bytes() == (tmp_path / "run/metrics.jsonl").read_bytes()
    records = [json.loads(line) for line in whole_lines(work / "metrics.jsonl")]
    assert history.history["loss/w"] == [r["loss/w"] for r in records]
    theirs = MixedNashGAN.load(tmp_path / "run")  # a workdir of trainers.run is a game, too
    np.testing.assert_array_equal(theirs.sample(4), gan.sample(4))
    with pytest.raises(InputError, match="Call compile"):
        theirs.fit(points(16))


def langevin():
    """A game whose steps draw."""
    return game(algorithm="mirror_gan", gradient_penalty=0.1)


def layered():
    """A game whose layers draw, keep a state, and normalise by the mini-batch."""
    layers = keras.layers

    def generator():
        return keras.Sequential(
            [keras.Input((2,)), layers.Dense(8), layers.BatchNormalization(), layers.Dense(2)]
        )

    def discriminator():
        normalised = layers.SpectralNormalization(layers.Dense(8, "relu"))
        return keras.Sequential(
            [keras.Input((2,)), normalised, layers.Dropout(0.3), layers.Dense(1)]
        )

    return MixedNashGAN(generator, discriminator, algorithm="adam")


@pytest.mark.usefixtures("without_publishing", "quick_pictures")
@pytest.mark.parametrize("make", [langevin, pytest.param(layered, marks=pytest.mark.slow)])
def test_a_killed_fit_goes_on_as_if_nothing_had_happened(make, tmp_path):
    data = points(40)

    class Kill(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1:
                raise RuntimeError("killed")

    def fit(work, **more):
        gan = make()
        gan.compile(step_size=1e-2, seed=4, window=(0.0, 1.0), num_components=2)
        options = {"num_batches": 6, "batch_size": 8, "steps_per_epoch": 2, **QUIET}
        return gan, gan.fit(data, workdir=work, checkpoint_every=2, **options, **more)

    memory, kept = fit(None)
    with pytest.raises(RuntimeError, match="killed"):
        fit(tmp_path, callbacks=[Kill()])
    assert not (tmp_path / "scorecard.json").exists()
    gan, history = fit(tmp_path)
    assert history.epoch == [0, 1, 2]
    assert history.history == kept.history
    np.testing.assert_array_equal(gan.sample(5), memory.sample(5))
    assert (tmp_path / "scorecard.json").exists()
    again, _ = fit(tmp_path)  # finished: nothing is done
    np.testing.assert_array_equal(again.sample(5), memory.sample(5))


def test_without_a_workdir_nothing_touches_the_disk(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    gan = game()
    gan.compile()
    gan.fit(points(16), batch_size=8, num_batches=1, **QUIET)
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("without_determinism")
def test_the_process_is_as_it_was():
    """Determinism, the global generators, policies and signal handlers."""
    before = random.getstate(), np.random.get_state()[1].tolist()
    handlers = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]
    policy = keras.config.dtype_policy()
    gan = game(num_particles=2)
    gan.compile()

    def data(m, size):  # is called during the training, where all is as it was, too
        tf.random.normal([1])
        return points(size, seed=m)

    gan.fit(data, batch_size=8, num_batches=1, **QUIET)
    tf.random.normal([2])
    next(iter(tf.data.Dataset.range(4).shuffle(4)))
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before
    assert [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)] == handlers
    assert keras.config.dtype_policy() == policy


def test_an_interrupt_stops_after_a_whole_step():
    class Interrupt(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            signal.raise_signal(signal.SIGINT)

    gan = game()
    gan.compile()
    with pytest.raises(KeyboardInterrupt):
        gan.fit(
            points(16), batch_size=8, num_batches=4, steps_per_epoch=1, callbacks=[Interrupt()],
            **QUIET,
        )  # fmt: skip
    assert gan.sample(2).shape == (2, 2)


# What comes out.


def test_the_networks_are_the_answers_to_the_last_bit(trained):
    latents = np.random.default_rng(0).normal(size=(16, 2)).astype(np.float32)
    strategy = trained.mixture()
    assert strategy.num_components == 3
    for i in range(3):
        theirs = strategy.generator(strategy.atoms[i], latents)
        np.testing.assert_array_equal(trained.generator("mixture", i)(latents), theirs)
    critic = trained._trained.run.game.discriminator
    w = trained._trained.last().w
    np.testing.assert_array_equal(trained.discriminator()(latents), critic(w, latents))
    with pytest.raises(InputError, match=r"'mixture' is 3 networks; give component=0 \.\. 2"):
        trained.generator("mixture")
    with pytest.raises(InputError, match="Unknown answer 'best'"):
        trained.generator("best")


def test_a_sample_does_not_depend_on_how_many_are_drawn(trained):
    many = trained.sample(40, seed=5)
    for n in (1, 7, 16):
        np.testing.assert_array_equal(trained.sample(n, seed=5), many[:n])
    assert (trained.sample(40, seed=6) != many).any()


def test_save_and_load_give_the_same_game(trained, tmp_path):
    path = trained.save(tmp_path / "game")
    again = MixedNashGAN.load(path)
    for answer in ("mixture", "last", "ema"):
        np.testing.assert_array_equal(
            again.sample(9, answer=answer), trained.sample(9, answer=answer)
        )
    trained.save(path)  # replaces it
    assert [p.name for p in tmp_path.iterdir()] == ["game"]
    with pytest.raises(InputError, match="is there already"):
        trained.save(path, overwrite=False)
    other = tmp_path / "other"
    other.mkdir()
    with pytest.raises(InputError, match="is no saved game"):
        trained.save(other)
    with pytest.raises(InputError, match="The generator is another one"):
        MixedNashGAN.load(path, generator=net(2, 2, units=9))


def test_a_loaded_game_is_a_game_to_fit(trained, tmp_path):
    """With the same settings: the run that it was, again."""
    again = MixedNashGAN.load(trained.save(tmp_path / "game"), net(2, 2, 1), net(2, 1, 3))
    again.fit(points(64), batch_size=8, num_batches=6, steps_per_epoch=2, verbose=0)
    np.testing.assert_array_equal(again.sample(4), trained.sample(4))


def test_particles_and_schedules_of_ones_own(tmp_path):
    gan = game(num_particles=2)
    gan.compile(step_size=lambda t: 1e-2 / (1.0 + t), window=(0.0, 1.0), num_components=2)
    history = gan.fit(points(16), batch_size=8, num_batches=2, steps_per_epoch=1, **QUIET)
    assert history.history["step_size/theta"] == [1e-2, 5e-3]
    assert gan.mixture("last").num_components == 2
    assert gan.mixture().num_components == 4
    one, two = (gan.generator("last", i).get_weights()[0] for i in (0, 1))
    assert (one != two).any()
    again = MixedNashGAN.load(gan.save(tmp_path / "game"))
    np.testing.assert_array_equal(again.sample(4), gan.sample(4))
    with pytest.raises(InputError, match="The generator's step_size is a function of your own"):
        again.fit(points(16))


def test_latents_of_a_law_of_ones_own(tmp_path):
    def disc(key, n):
        return tf.math.l2_normalize(tf.random.stateless_normal([n, 2], key), axis=1)

    gan = game(latents=disc)
    gan.compile(step_size=0.0)
    gan.fit(points(16), batch_size=8, num_batches=1, **QUIET)
    strategy = gan.mixture("last")
    _, latents = strategy.draw(seed_rows(0, 9))
    np.testing.assert_allclose(np.linalg.norm(latents, axis=1), 1.0, rtol=1e-6)
    path = gan.save(tmp_path / "game")
    with pytest.raises(InputError, match="The latents of this game are a law of your own"):
        MixedNashGAN.load(path)
    again = MixedNashGAN.load(path, latents=disc)
    np.testing.assert_array_equal(again.sample(4), gan.sample(4))
    with pytest.raises(InputError, match="have 2 numbers"):
        game(latents=disc, latent_dim=3)


def of_two_clusters():
    """A law of TensorFlow Probability, which names no generator."""
    tfd = tfp.distributions
    each = tfd.MultivariateNormalDiag([[-1.0, 0.0], [1.0, 0.0]], [[0.1, 0.2]] * 2)
    return tfd.MixtureSameFamily(tfd.Categorical(probs=[0.3, 0.7]), each)


@pytest.mark.slow
def test_what_is_published_samples_as_the_game_does(tmp_path):
    gan = game(latents=of_two_clusters())
    gan.compile(step_size=0.0)
    gan.fit(points(16), batch_size=8, num_batches=1, **QUIET)
    version = gan.publish(tmp_path / "published", answer="last")
    sample = tf.saved_model.load(str(version)).signatures["sample"]
    samples = sample(seeds=seed_rows(0, 6))["samples"]
    np.testing.assert_array_equal(samples, gan.sample(6, answer="last"))


def test_a_class_conditional_game():
    k = 3
    gan = MixedNashGAN(net(2 + k, 2, 1), net(2 + k, 1, 3), algorithm="adam", num_classes=k)
    gan.compile()
    labels = np.arange(16) % k
    gan.fit((points(16), labels), batch_size=8, num_batches=1, **QUIET)
    one = gan.sample(4, labels=1)
    np.testing.assert_array_equal(gan.sample(4, labels=[0, 1, 1, 2])[1:3], one[1:3])
    assert (gan.sample(4, labels=2) != one).any()
    with pytest.raises(InputError, match=r"Labels must be in \[0, 3\)"):
        gan.sample(2, labels=3)


def test_evaluate_sees_a_shift():
    gan = game()
    gan.compile(step_size=0.0)
    gan.fit(points(16), batch_size=8, num_batches=1, **QUIET)
    real = gan.sample(200, seed=9)
    near, far = gan.evaluate(real), gan.evaluate(real + 1.0)
    assert abs(near["energy_distance"]) < 0.05 < far["energy_distance"]
    assert near["ks_max"] < 0.2 < far["ks_max"]


def test_by_turns_the_generator_meets_the_discriminator_that_has_just_moved():
    after = {}
    for alternated in (False, True):
        gan = game(algorithm="adam")
        gan.compile(step_size=1e-2, alternated=alternated)
        gan.fit(points(8), batch_size=8, num_batches=1, verbose=0)
        after[alternated] = [
            model.get_weights() for model in (gan.discriminator(), gan.generator("last"))
        ]
    for one, other in zip(after[False][0], after[True][0], strict=True):
        np.testing.assert_array_equal(one, other)
    pairs = zip(after[False][1], after[True][1], strict=True)
    assert max(abs(one - other).max() for one, other in pairs) > 1e-6
    with pytest.raises(InputError, match="must be bool, got 'yes'"):
        game(algorithm="adam").compile(alternated="yes")


# What it says.


def test_compile_takes_every_hyperparameter():
    parameters = inspect.signature(MixedNashGAN.compile).parameters
    assert set(tuned.ANY) <= set(parameters)
    told = re.findall(r"^ +(\w+): ", MixedNashGAN.compile.__doc__, re.MULTILINE)
    assert set(tuned.ANY) <= set(told)


@pytest.mark.parametrize(
    "publishing", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["", "publish"]
)
def test_the_examples_of_the_docstrings_run(publishing, tmp_path):
    gan = game()
    gan.compile(step_size=1e-3)
    gan.fit(points(32), batch_size=8, num_batches=2, steps_per_epoch=1, verbose=0)
    names = {"gan": gan, "np": np, "keras": keras, "tf": tf, "tmp": tmp_path}
    finder = doctest.DocTestFinder(recurse=True)
    runner = doctest.DocTestRunner(verbose=False)
    count = 0
    for test in finder.find(MixedNashGAN, globs={"MixedNashGAN": MixedNashGAN, **names}):
        if test.name.endswith(".publish") != publishing:
            continue
        # `fit` and `compile` change the game that the others look at.
        test.globs["gan"] = gan if not test.name.endswith((".fit", ".compile")) else compiled()
        count += len(test.examples)
        result = runner.run(test)
        assert not result.failed, test.name
    assert count > (1 if publishing else 15)
    undocumented = [
        name
        for name, value in vars(MixedNashGAN).items()
        if not name.startswith("_") and ">>>" not in (value.__doc__ or "")
        and callable(getattr(MixedNashGAN, name))
        and name != "load"
    ]  # fmt: skip
    assert undocumented == []


def compiled(**options):
    gan = game(**options)
    gan.compile()
    return gan


def fit(**options):
    given = {"data": points(16), "batch_size": 8, "num_batches": 1, **QUIET, **options}
    compiled().fit(**given)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: game(algorithm="adm"), "Unknown algorithm 'adm'"),
        (lambda: game(objective="wgn"), r"'wgn'\. Did you mean 'wgan'\? Choose one of: wgan"),
        (lambda: game(gradient_penalty=-1.0), "^gradient_penalty must be at least 0"),
        (lambda: game(latent_dim=3), r"takes .* where the game gives latents \[3\]"),
        (lambda: MixedNashGAN(net(2, 3), net(2, 1)), r"where the game gives data \[3\]"),
        (lambda: MixedNashGAN(net(2, 2), net(2, 2)), r"gives \[2\] numbers for each datum"),
        (
            lambda: MixedNashGAN(keras.Sequential([keras.layers.Dense(2)]), net(2, 1)),
            "is not built, so that it has no weights yet",
        ),
        (lambda: MixedNashGAN(3, net(2, 1)), "must be a keras.Model, or a function without"),
        (lambda: MixedNashGAN(lambda: 3, net(2, 1)), "generator made int instead of a keras.Model"),
        (
            lambda: game(objective=lambda real, fake: (1.0, 2.0)),
            "returned a tuple of 2 values; it must return",
        ),
        (
            lambda: game(objective=lambda real, fake: Losses(fake - real, -fake)),
            r"the discriminator's loss is float32 \[4, 1\]; it must be one number",
        ),
        (lambda: game(objective=lambda real: real), r"must take \(real, fake\)"),
        (lambda: game().fit(points(8)), "Call compile"),
        (lambda: game().sample(2), "not trained yet"),
        (lambda: game().compile(step_size=-1.0), "step_size must be at least 0"),
        (lambda: game().compile(step_size="fast"), "step_size must be float"),
        (lambda: game().compile(generator={"step_sise": 1.0}), "Did you mean 'step_size'"),
        (lambda: game().compile(generator={"learning_rate": 1.0}), "Did you mean 'step_size'"),
        (lambda: game().compile(learning_rate=1.0), "Did you mean 'step_size'"),
        (lambda: game().compile(epochs=3), r"Did you mean fit\(num_batches=...\)"),
        (lambda: game().fit(points(8), epochs=3), "Did you mean 'num_batches'"),
        (lambda: game(loss="wgan"), r"MixedNashGAN\(loss=...\) is not known. Did you mean 'obj"),
        (lambda: game().compile(step_size=lambda: 1.0), "a function of the outer step t"),
        (lambda: game().compile(window=(0.5, 0.2)), "^window must be fractions"),
        (lambda: fit(data=points(0)), "The data set is empty"),
        (lambda: fit(data=points(4)), "has 4 rows, fewer than a mini-batch of 8"),
        (
            lambda: fit(data=points(16, d=3)),
            r"where the game gives data \[3\]|shape \[2\], and the data are \[3\]",
        ),
        (lambda: fit(data=points(16) * np.nan), "16 of the 16 rows of the data hold NaN"),
        (lambda: fit(data="table.csv"), "Data must be an array"),
        (lambda: fit(data=points(16)[:, 0]), "must be rows"),
        (lambda: fit(data=lambda m, size: points(3)), "must return 8 rows"),
        (lambda: fit(labels=np.zeros(3, int)), "need as many labels"),
        (lambda: fit(num_batches=0), "num_batches must be an integer of at least 1"),
        (lambda: fit(batch_size=0), "batch_size must be an integer of at least 1"),
        (lambda: fit(on_divergence="rollback"), "Give workdir"),
        (lambda: fit(validation_split=1.5), r"a fraction in \[0, 1\)"),
        (lambda: fit(steps_per_epoch=0), "^steps_per_epoch must be an integer of at least 1"),
    ],
)
def test_bad_input_is_one_sentence_before_anything_is_written(call, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message) as caught:
        call()
    assert len(str(caught.value)) < 450
    assert not list(tmp_path.iterdir())


def test_data_that_the_generator_cannot_reach_are_warned_of():
    gan = MixedNashGAN(net(2, 2, 1, activation="tanh"), net(2, 1, 3), algorithm="adam")
    gan.compile()
    with pytest.warns(UserWarning, match=r"last activation reaches \[-1, 1\] only") as said:
        gan.fit(3.0 * points(16), batch_size=8, num_batches=1, **QUIET)
    assert said[0].filename == __file__  # where it is called


def test_labels_out_of_range_are_refused():
    gan = MixedNashGAN(net(5, 2, 1), net(5, 1, 3), algorithm="adam", num_classes=3)
    gan.compile()
    for labels, message in (
        (np.full(16, 3), r"they lie in \[3, 3\]"),
        (np.zeros(16), "Labels must be integers"),
        (None, "num_classes=3 needs labels"),
    ):
        with pytest.raises(InputError, match=message):
            gan.fit(points(16), labels=labels, batch_size=8, num_batches=1, **QUIET)


def test_a_divergence_is_an_error(tmp_path):
    gan = game(gradient_penalty=1e30)
    gan.compile(step_size=1e9)
    options = {"batch_size": 8, "num_batches": 4, "steps_per_epoch": 1, **QUIET}
    with pytest.raises(FloatingPointError, match="left the finite numbers at mini-batch"):
        gan.fit(points(16), **options)
    stop = keras.callbacks.TerminateOnNaN()
    gan.fit(points(16), callbacks=[stop], **options)
    with pytest.raises(FloatingPointError, match=r"postmortem_1\.json"):
        gan.fit(points(16), workdir=tmp_path / "run", **options)


def test_an_objective_of_ones_own_for_answers_of_any_shape(tmp_path):
    """What a folder cannot hold it asks for, once it is needed."""

    def of_pairs(real, fake):
        return Losses(tf.reduce_mean(fake - real), -tf.reduce_mean(fake))

    of_pairs.any_logits = True
    gan = MixedNashGAN(net(2, 2, 1), net(2, 3, 3), algorithm="sgd", objective=of_pairs)
    gan.compile()
    options = {"batch_size": 8, "num_batches": 1, **QUIET}
    gan.fit(points(16), **options)
    path = gan.save(tmp_path / "game")
    again = MixedNashGAN.load(path)
    np.testing.assert_array_equal(again.sample(4), gan.sample(4))
    with pytest.raises(InputError, match=r"MixedNashGAN\.load\(path, objective"):
        again.fit(points(16), **options)
    again = MixedNashGAN.load(path, net(2, 2, 1), net(2, 3, 3), objective=of_pairs)
    again.fit(points(16), **options)
    np.testing.assert_array_equal(again.sample(4), gan.sample(4))


def test_what_a_folder_cannot_hold_it_asks_for(tmp_path):
    """Weights that are not trained are in no checkpoint."""

    def frozen(seed):
        start = keras.initializers.GlorotUniform(seed=seed)
        first = keras.layers.Dense(4, kernel_initializer=start, trainable=False)
        return keras.Sequential([keras.Input((2,)), first, keras.layers.Dense(1)])

    critic = frozen(1)
    gan = MixedNashGAN(net(2, 2, 1), critic, algorithm="adam")
    gan.compile()
    gan.fit(points(16), batch_size=8, num_batches=1, **QUIET)
    path = gan.save(tmp_path / "game")
    with pytest.raises(InputError, match="discriminator has weights that are not trained"):
        MixedNashGAN.load(path)
    with pytest.raises(InputError, match="its weights that are not trained differ"):
        MixedNashGAN.load(path, discriminator=frozen(2))
    again = MixedNashGAN.load(path, discriminator=critic)
    real = points(8)
    np.testing.assert_array_equal(again.discriminator()(real), gan.discriminator()(real))


def test_a_discriminator_that_ends_with_a_sigmoid_is_warned_of():
    end = {"activation": "sigmoid"}
    with pytest.warns(UserWarning, match=r"reaches \[0, 1\] only, and the") as said:
        MixedNashGAN(net(2, 2), net(2, 1, **end), algorithm="adam", objective="minimax")
    assert said[0].filename == __file__
    MixedNashGAN(net(2, 2), net(2, 1, **end), algorithm="adam", objective="least_squares")


def test_penalties_packs_and_schedules_of_todays_gans(tmp_path, capsys):
    """As docs/modern.md has them; a packed critic reads twice the columns."""

    def net(inputs, outputs):
        return keras.Sequential([keras.Input((inputs,)), keras.layers.Dense(outputs)])

    def small_logits(critic, real, fake, key):
        return 0.1 * tf.reduce_mean(critic(real) ** 2)

    gan = MixedNashGAN(
        net(2, 2), net(4, 1), algorithm="adam", objective="relativistic", r1=0.1, r2=0.1,
        penalty=small_logits, penalty_every=2, penalty_schedule="cosine(end=0.1)", packing=2,
    )  # fmt: skip
    gan.compile(step_size=1e-3, step_size_schedule="cyclical(cycles=2)",
                decay_2_schedule="cosine(end=1.1)", seed=0)  # fmt: skip
    points = np.random.default_rng(0).normal(size=(100, 2))
    history = gan.fit(points, batch_size=16, num_batches=4, steps_per_epoch=2)
    assert "penalty_every=2: it saves time, no more" in capsys.readouterr().out
    assert np.isfinite(history.history["penalty/w"]).all()
    assert history.history["penalty/w"][0] > 0
    again = MixedNashGAN.load(gan.save(tmp_path / "gan"), penalty=small_logits)
    np.testing.assert_array_equal(again.sample(5, seed=1), gan.sample(5, seed=1))
    with pytest.raises(InputError, match=r"penalty must be a function \(critic, real, fake, key\)"):
        MixedNashGAN(net(2, 2), net(2, 1), penalty="r2")
    with pytest.raises(InputError, match=r"the game gives data \[4\]"):
        MixedNashGAN(net(2, 2), net(2, 1), packing=2)
