"""Stacked MNIST: the stacks, their labels, their modes, and a run from end to end."""

import json

import numpy as np
import pytest

from configs import common
from tests.trainers.conftest import tiny_images
from tf_mixed_nash.errors import InputError
from trainers.answers import publishing
from trainers.experiment import settings
from trainers.experiment.build import build
from trainers.session import train
from trainers.tasks.data.sources import ArraySource
from trainers.tasks.data.stacked import StackedSource
from trainers.tasks.stacked import mode_card

# Digits that say what they are: class c has the grey level 20 c.
LABELS = np.array([0, 1, 2, 2, 3, 3, 3, 9])
DIGITS = np.broadcast_to((20 * LABELS)[:, None, None], (8, 28, 28)).astype(np.uint8)


def source(num=4000, seed=0):
    return StackedSource(ArraySource(DIGITS, LABELS), num, seed)


def test_a_stack_is_three_digits_and_its_label_their_classes():
    stacks = source()
    assert (len(stacks), stacks.num_classes) == (4000, 1000)
    for i in (0, 1, 17, 3999):
        image, label = stacks.read(i)
        assert image.shape == (28, 28, 3)
        a, b, c = (int(x) // 20 for x in image[0, 0])
        assert label == 100 * a + 10 * b + c
        assert (image == image[0, 0]).all()


def test_the_channels_are_uniform_draws_of_the_digits_and_independent():
    """Frequencies within 5 standard deviations of a binomial, pairs by their correlation."""
    n = 20_000
    stacks = source(n)
    classes = np.array([stacks.read(i).image[0, 0] // 20 for i in range(n)])
    for channel in classes.T:
        for c, p in zip(*np.unique(LABELS, return_counts=True), strict=True):
            share = p / len(LABELS)
            seen = np.mean(channel == c)
            assert abs(seen - share) < 5 * np.sqrt(share * (1 - share) / n)
    correlation = np.corrcoef(classes.T)[np.triu_indices(3, 1)]
    assert np.abs(correlation).max() < 5 / np.sqrt(n)


def test_stacks_are_a_function_of_the_seed_and_the_number():
    first, again, other = source(), source(), source(seed=1)
    assert first.fingerprint == again.fingerprint != other.fingerprint
    assert source(3999).fingerprint != first.fingerprint
    same = [(first.read(i).image == again.read(i).image).all() for i in range(20)]
    assert all(same)
    assert any((first.read(i).image != other.read(i).image).any() for i in range(20))


def test_digits_without_labels_are_refused():
    with pytest.raises(InputError, match="no labels, which tell the modes"):
        StackedSource(ArraySource(DIGITS), 10)


class Levels:
    """A classifier of the grey levels above."""

    def __call__(self, images):
        classes = images[:, 0, 0, 0].astype(int) // 20
        return np.zeros((len(images), 1)), np.eye(10)[classes]


def test_modes_and_their_divergence_by_hand():
    frequencies = np.full(10, 0.1)
    images = np.zeros((4, 28, 28, 3), np.uint8)
    images[1:3, ..., 0] = 20  # modes 000, 100, 100, 000 -> half and half
    card = mode_card(images, Levels(), frequencies)
    assert card["num_modes"] == 1000
    assert card["modes_captured"] == 2
    assert card["reverse_kl"] == pytest.approx(np.log(0.5 / 0.001))
    skewed = np.array([0.5, 0.5, *[0.0] * 8])
    card = mode_card(images, Levels(), skewed)
    assert card["reverse_kl"] == pytest.approx(np.log(0.5 / 0.125))
    assert (card["num_modes"], card["modes_captured"]) == (8, 2)
    images[3, ..., 2] = 40  # mode 002
    card = mode_card(images, Levels(), frequencies)
    assert card["modes_captured"] == 3
    assert card["reverse_kl"] == pytest.approx(0.5 * np.log(500) + 0.5 * np.log(250))
    images[3, ..., 2] = 0
    # A mode that the data never have.
    card = mode_card(np.full_like(images, 180), Levels(), skewed)
    assert (card["modes_captured"], card["reverse_kl"]) == (0, np.inf)


@pytest.fixture
def config(tmp_path):
    """Of a tiny run on stacks of 40 pictures of noise."""
    random = np.random.default_rng(0)
    np.savez(
        tmp_path / "digits.npz",
        images=random.integers(0, 256, (40, 28, 28), np.uint8),
        labels=np.arange(40) % 10,
    )
    config = common.images("stacked_mnist", "adam", "tiny")
    config.data.path = str(tmp_path / "digits.npz")
    config.game.objective, config.game.r1, config.game.r2 = "relativistic", 1.0, 1.0
    config.model.family, config.model.width, config.model.discriminator_width = "residual", 4, 2
    return settings.resolve(config)


def check_card(card):
    for scores in (*card["strategies"].values(), card["real_data_ceiling"]):
        assert scores["num_modes"] == 1000
        assert 1 <= scores["modes_captured"] <= 64
        assert scores["reverse_kl"] > 0
    assert card["protocol"]["digits"]["number"] == 40


def test_modes_of_answers_and_of_real_data_are_counted(config):
    task = build(config).task
    noise = np.random.default_rng(1).uniform(-1, 1, (64, 28, 28, 3)).astype(np.float32)
    card = task.score({"last": lambda seeds: noise[np.asarray(seeds)[:, 1] % 64]})
    check_card(card)
    text = task.format_table(card)
    assert "40 different digits" in text
    assert "modes" in text
    assert "classes" not in text, "those of the features' network are of photographs"


def test_modes_are_of_the_digits_that_scores_compare_with(config, tmp_path):
    """Which are of four classes, where the training has ten."""
    random = np.random.default_rng(2)
    digits = random.integers(0, 256, (20, 28, 28), np.uint8)
    np.savez(tmp_path / "four.npz", images=digits, labels=np.arange(20) % 4)
    config["scorecard"]["path"] = str(tmp_path / "four.npz")
    task = build(config).task
    np.testing.assert_array_equal(task.law, [*[0.25] * 4, *[0.0] * 6])
    np.testing.assert_array_equal(task.source.frequencies, np.full(10, 0.1))
    noise = random.uniform(-1, 1, (64, 28, 28, 3)).astype(np.float32)
    card = task.score({"last": lambda seeds: noise[np.asarray(seeds)[:, 1] % 64]})
    assert card["strategies"]["last"]["num_modes"] == 64
    assert card["protocol"]["digits"]["number"] == 20


def test_digits_of_more_classes_than_the_classifier_tells_are_refused(config, tmp_path):
    digits = np.zeros((24, 28, 28), np.uint8)
    np.savez(tmp_path / "letters.npz", images=digits, labels=np.arange(24))
    config["data"]["path"] = str(tmp_path / "letters.npz")
    with pytest.raises(InputError, match=r"24 classes, and the classifier .* knows ten"):
        build(config).task.check()


# Its parts: the score above, residual networks in test_residual.py, a run on images in
# test_imaging.py.
@pytest.mark.slow
def test_a_run_counts_the_modes_of_its_answers_and_of_real_data(
    config, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(publishing, "publish_strategy", lambda *a, **k: tmp_path / "none")
    assert train.train(config, tmp_path / "run") == 0
    check_card(json.loads((tmp_path / "run" / "scorecard.json").read_text()))
    out = capsys.readouterr().out
    assert "40 different digits" in out
    assert "modes" in out


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        ({"model__family": "r3gan"}, "dcgan, residual, wgan_gp"),
        ({"model__blocks": 2}, "model.blocks is not read by model.family=dcgan"),
        (
            {"model__family": "residual", "model__discriminator_normalization": "layer"},
            "model.discriminator_normalization is not read by model.family=residual",
        ),
        ({"game__r2": 1.0}, "game.r2 is a penalty on single samples"),
        ({"model__discriminator_width": -1}, "discriminator_width"),
    ],
)
def test_what_a_family_does_not_read_is_refused(overrides, says):
    with pytest.raises(InputError, match=says):
        tiny_images("adam", **overrides)
