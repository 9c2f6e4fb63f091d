"""MixedNashGAN on images, with augmentation, several averages, low points, schedules of K."""

import keras
import numpy as np
import pytest

from tf_mixed_nash import InputError, MixedNashGAN
from trainers.workdir import folder
from trainers.workdir.checkpoints import Checkpoints

IMAGES = np.random.default_rng(0).integers(0, 256, (32, 8, 8, 1)).astype(np.uint8)


def dense(n, seed, activation=None):
    return keras.layers.Dense(
        n, activation, kernel_initializer=keras.initializers.GlorotNormal(seed=seed)
    )


def game(**options):
    generator = keras.Sequential(
        [keras.Input((4,)), dense(64, 1, "tanh"), keras.layers.Reshape((8, 8, 1))]
    )
    discriminator = keras.Sequential(
        [keras.Input((8, 8, 1)), keras.layers.Flatten(), dense(8, 2, "relu"), dense(1, 3)]
    )
    given = {"objective": "nonsaturating", "augment": "color,translation,cutout", **options}
    return MixedNashGAN(generator, discriminator, algorithm="mirror_gan", **given)


def fitted(workdir=None, callbacks=()):
    gan = game(augment_target=0.3, augment_speed=500)
    gan.compile(
        seed=4,
        num_inner_steps=2,
        inner_steps_schedule="linear(end=0.5)",
        ema_half_lives=(64,),
        ema_schedule="constant(warmup=0.2)",
        step_size_schedule="cyclical(cycles=2)",
        window=(0.0, 1.0),
        when="low_points",
    )
    history = gan.fit(
        IMAGES,
        batch_size=8,
        num_batches=12,
        steps_per_epoch=4,
        verbose=0,
        workdir=workdir,
        callbacks=list(callbacks),
        picture_every=10**6,
        publish="ema_64",
    )
    return gan, history.history


@pytest.fixture(scope="module")
def whole():
    """(a game, the history of its fit)."""
    return fitted()


def test_all_of_it_trains_and_answers(whole):
    gan, history = whole
    assert gan.mixture().num_components == 2
    p = np.array(history["augment_probability"])
    # It moves by 8 of 500 samples for each mini-batch, and stays where it is at 0.
    np.testing.assert_allclose(p * 500 / 8, np.round(p * 500 / 8), atol=1e-4)
    assert p.max() > 0
    assert gan.sample(3, answer="ema_64").shape == (3, 8, 8, 1)
    assert np.abs(gan.sample(3, answer="ema_64") - gan.sample(3, answer="ema")).max() > 0
    with pytest.raises(InputError, match="last, ema, mixture, ema_64"):
        gan.sample(3, answer="ema_65")


# The loop's state is taken back by training/test_averages.py.
@pytest.mark.slow
@pytest.mark.usefixtures("without_publishing", "quick_pictures")
def test_a_run_that_stops_goes_on_as_if_it_had_not(tmp_path, whole):
    there, history = whole
    work = tmp_path / "run"
    stop = keras.callbacks.EarlyStopping("step", mode="min", patience=0)
    fitted(work, [stop])
    found = Checkpoints(work / "checkpoints").read()
    assert found is not None
    assert found.saved.step < 12
    p = dict(zip(history["step"], history["augment_probability"], strict=True))
    assert float(found.tensors["augment_probability"]) == p[found.saved.step]
    gan, _ = fitted(work)
    for answer in ("last", "ema_64", "mixture"):
        np.testing.assert_array_equal(gan.sample(4, answer=answer), there.sample(4, answer=answer))
    card = folder.read_card(work)
    assert card is not None
    assert card["strategies"].keys() == {"last", "ema", "mixture", "ema_64"}
    again = MixedNashGAN.load(work)
    np.testing.assert_array_equal(again.sample(3, answer="ema_64"), gan.sample(3, answer="ema_64"))
    assert again.generator("ema_64").predict(np.zeros((1, 4)), verbose=0).shape == (1, 8, 8, 1)


@pytest.mark.slow  # XLA compiles each for seconds
@pytest.mark.parametrize("adaptive", [{}, {"augment_target": 0.3, "augment_speed": 40}])
def test_augmentations_are_the_same_in_one_program(adaptive):
    """DiffAugment, and ADA, whose probability leaves 0 after the first mini-batch."""

    def end(xla, **options):
        gan = game(**options)
        gan.compile(step_size=0.01, num_inner_steps=1, seed=4, window=(0.0, 1.0), xla=xla)
        few = {"batch_size": 8, "num_batches": 2, "steps_per_epoch": 1, "verbose": 0}
        history = gan.fit(IMAGES, health_every=0, **few).history
        ends = [m.get_weights() for m in (gan.generator("last"), gan.discriminator())]
        weights = np.concatenate([x.ravel() for pair in ends for x in pair])
        return weights, history.get("augment_probability", [None])[0]

    (parts, p), (whole, same), (plain, _) = (
        end("parts", **adaptive), end("whole", **adaptive), end("parts", augment=""),
    )  # fmt: skip
    assert p == same == pytest.approx(8 / 40 if adaptive else 1.0)
    np.testing.assert_allclose(whole, parts, rtol=1e-5, atol=1e-6)
    assert np.abs(parts - plain).max() > 1e-3


def test_rows_that_are_no_images_are_refused():
    with pytest.raises(InputError, match=r'augment="cutout".*augmentations of images'):
        MixedNashGAN(
            keras.Sequential([keras.Input((2,)), dense(2, 1)]),
            keras.Sequential([keras.Input((2,)), dense(1, 1)]),
            augment="cutout",
        )
