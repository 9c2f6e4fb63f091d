"""The image scorecard, against independent computations and injected faults."""

import numpy as np
import pytest
import scipy.linalg
from prdc import compute_prdc

from trainers.tasks import features, image_scores
from trainers.tasks.data.images import Images, Preprocessing
from trainers.tasks.data.sources import ArraySource
from trainers.tasks.features import FeatureNetwork
from trainers.tasks.kinds import ImageCard

NAMES = ("fid", "kid", "precision", "recall", "density", "coverage")
SETTINGS = ImageCard(features="auto", num_samples=200, prdc_samples=200, nearest_k=5,
                     kid_subsets=20, kid_subset_size=100)  # fmt: skip


def shapes(num, seed=0, classes=10, blur=0):
    """Grey images of `classes` kinds: bars whose place is the class, with noise."""
    random = np.random.default_rng(seed)
    kind = random.integers(0, classes, num)
    images = random.integers(0, 60, (num, 32, 32, 1))
    for i, k in enumerate(kind):
        images[i, 3 * k : 3 * k + 4, :, 0] += random.integers(120, 190)
    images = images.astype(np.float64)
    for _ in range(blur):
        images = (images + np.roll(images, 1, 1) + np.roll(images, 1, 2)) / 3
    return images.astype(np.uint8)


def profile(size=32):
    """A network that a test can follow: row means, and as probabilities the bars' places."""
    import tensorflow as tf

    def function(x):
        rows = tf.reduce_mean(x, [2, 3])
        bars = tf.stack([tf.reduce_mean(rows[:, 3 * k : 3 * k + 4], 1) for k in range(10)], 1)
        return rows[:, ::2], tf.nn.softmax(20.0 * bars)

    return FeatureNetwork("profile", function, "0" * 64, size, 1)


def images_of(pixels, flip=False):
    return Images(ArraySource(pixels), Preprocessing(32, 1, flip), 16, seed=0)


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")
    return image_scores.real_statistics(images_of(shapes(400)), profile(), 200, folder)


def test_the_reference_and_the_ceiling_are_different_records(real):
    assert len(real.reference) == len(real.ceiling) == 200
    assert len(set(real.indices)) == 400
    pixels = shapes(400)
    rows = pixels[real.indices[:200]].mean((2, 3))[:, ::2] / 127.5 - 1.0
    np.testing.assert_allclose(real.reference, rows, atol=1e-5)
    brightest = [
        shapes(400)[real.indices[:200], 3 * k : 3 * k + 4].mean((1, 2, 3)) for k in range(10)
    ]
    np.testing.assert_array_equal(real.reference_classes, np.argmax(brightest, 0))


def test_the_figures_are_scipys_and_prdcs_through_the_whole_pipeline(real):
    fake = shapes(300, seed=5, classes=7, blur=1)
    card = image_scores.scorecard(fake, real, profile(), SETTINGS)
    x = real.reference.astype(np.float64)
    y = fake.mean((2, 3))[:, ::2] / 127.5 - 1.0
    root = scipy.linalg.sqrtm(np.cov(x.T) @ np.cov(y.T)).real
    shift = ((x.mean(0) - y.mean(0)) ** 2).sum()
    fid = shift + np.trace(np.cov(x.T) + np.cov(y.T) - 2 * root)
    assert card["fid"] == pytest.approx(fid, rel=1e-3)
    theirs = compute_prdc(x[:200], y[:200], 5)
    for key, value in theirs.items():
        assert card[key] == pytest.approx(value, abs=0.01), key
    assert (card["num_samples"], card["num_real"]) == (300, 200)


def test_other_real_images_are_at_no_distance(real):
    """KID is unbiased: zero within its standard error; nothing else is as good."""
    card = image_scores.ceiling_scorecard(real, SETTINGS)
    worse = image_scores.scorecard(shapes(200, 3, classes=2), real, profile(), SETTINGS)
    # Subsets of 100 of the same 200 rows are dependent: the mean is no better than half of one.
    assert abs(card["kid"]) < 3 * card["kid_std"]
    assert worse["kid"] > 5 * card["kid_std"]
    assert worse["fid"] > 5 * card["fid"]
    assert card["coverage"] > 0.9
    assert card["classes_captured"] == 10
    assert card["class_kl"] < 0.15  # 9 degrees of freedom over 2 n, and the reference's own


def test_dropped_modes_show_in_recall_coverage_and_classes(real):
    full = image_scores.scorecard(shapes(200, 7), real, profile(), SETTINGS)
    some = image_scores.scorecard(shapes(200, 7, classes=4), real, profile(), SETTINGS)
    assert some["classes_captured"] == 4
    assert full["classes_captured"] == 10
    assert some["class_entropy"] < np.log(4) + 1e-9 < full["class_entropy"]
    assert some["class_kl"] == pytest.approx(np.log(10 / 4), abs=0.3)
    assert some["coverage"] < 0.6 * full["coverage"]
    assert some["recall"] < 0.7 * full["recall"]
    assert some["precision"] > 0.8 * full["precision"], "what is left is still good"


def test_a_network_without_classes_has_no_class_columns(real):
    network = FeatureNetwork("plain", lambda x: x[:, ::4, 0, 0], "1" * 64, 32, 1)
    statistics = image_scores.real_statistics(images_of(shapes(60)), network, 20, None)
    card = image_scores.scorecard(shapes(40, 1), statistics, network, SETTINGS)
    assert "class_entropy" not in card
    assert "class_entropy" not in image_scores.ceiling_scorecard(statistics, SETTINGS)
    assert np.isfinite([card[k] for k in NAMES]).all()


def test_the_cache_is_read_not_computed_and_survives_damage(tmp_path):
    images, calls = images_of(shapes(50)), []
    network = profile()
    inner = network._function
    network._function = lambda x: (calls.append(1), inner(x))[1]
    first = image_scores.real_statistics(images, network, 20, tmp_path)
    assert len(calls) == 1
    again = image_scores.real_statistics(images, network, 20, tmp_path)
    assert len(calls) == 1
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:200])
    repaired = image_scores.real_statistics(images, network, 20, tmp_path)
    assert len(calls) == 2
    np.testing.assert_array_equal(first.reference, repaired.reference)
    folder = tmp_path / "file"
    folder.write_text("in the way")
    image_scores.real_statistics(images, network, 20, folder)


def test_the_cache_key_changes_with_everything_that_matters():
    base = images_of(shapes(50))
    network = profile()
    keys = [
        image_scores.cache_key(base, network, 20),
        image_scores.cache_key(base, network, 21),
        image_scores.cache_key(images_of(shapes(50, seed=1)), network, 20),
        image_scores.cache_key(images_of(shapes(49)), network, 20),
        image_scores.cache_key(base, FeatureNetwork("x", network._function, "2" * 64, 32, 1), 20),
        image_scores.cache_key(
            Images(ArraySource(shapes(50)), Preprocessing(28, 1), 16, seed=0), network, 20
        ),
        image_scores.cache_key(
            Images(ArraySource(shapes(50)), Preprocessing(32, 3), 16, seed=0), network, 20
        ),
    ]
    assert len(set(keys)) == len(keys)
    # Flips and the seed of the training are not of the reference.
    assert image_scores.cache_key(images_of(shapes(50), flip=True), network, 20) == keys[0]


def test_the_nearest_rows():
    random = np.random.default_rng(0)
    candidates = random.integers(0, 256, (30, 4, 4, 1), np.uint8)
    queries = candidates[[7, 21]].astype(int) + random.integers(-2, 3, (2, 4, 4, 1))
    np.testing.assert_array_equal(
        image_scores.nearest(queries.clip(0, 255).astype(np.uint8), candidates), [7, 21]
    )


def test_the_table_and_the_protocol_say_the_network(real):
    network = features.load("mnist", "mnist", 1)
    images = images_of(shapes(50))
    said = image_scores.protocol(images, network, SETTINGS)
    assert said["sha256"] == network.sha256
    assert said["accuracy"] == network.about["accuracy"]
    assert said["nearest_k"] == 5
    assert "features" not in said, "its name and hash say more"
    card = image_scores.ceiling_scorecard(real, SETTINGS)
    scores = {"strategies": {"last": card}, "real_data_ceiling": card, "protocol": said}
    table = image_scores.format_table(scores, "last")
    assert "*last" in table
    assert network.sha256[:12] in table
    assert "10/10" in table
