"""Feature networks: files, hashes, resizing, users' own models."""

import io
import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.trainers.conftest import ROOT, command, photograph
from tests.trainers.tasks.data.test_images import TFDS_DIR, needs_tfds
from tf_mixed_nash.errors import InputError
from trainers.tasks import features
from trainers.tasks.data.sources import TfdsSource

keras_writes_by_an_old_protocol = pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")


def patches(num, size, channels=3):
    photo = photograph()
    images = np.stack([photo[5 * i : 5 * i + size, 3 * i : 3 * i + size] for i in range(num)])
    return images if channels == 3 else images[..., :1]


def header(**more):
    return {
        "dataset": "mnist", "channels": 1, "num_classes": 10, "accuracy": 0.5, "num_train": 3,
        "num_test": 2, "complete": False, **more,
    }  # fmt: skip


@pytest.mark.parametrize("name", features.COMMITTED)
def test_the_committed_networks_are_those_of_the_docs(name):
    network = features.load(name, name, 1)
    page = (ROOT / "docs" / "image_metrics.md").read_text()
    row = next(line for line in page.splitlines() if line.startswith(f"| `{name}`"))
    assert network.sha256 in row
    assert f"{network.about['accuracy']:.4f}" in row
    assert network.channels == (3 if name == "cifar10" else 1)
    seen, probabilities = network(patches(3, 32, network.channels))
    assert seen.shape == (3, 96)
    assert probabilities is not None
    np.testing.assert_allclose(probabilities.sum(1), 1.0, rtol=1e-5)


@needs_tfds
@pytest.mark.parametrize("name", features.COMMITTED)
def test_the_committed_networks_recognise_their_test_data(name):
    network, source = features.load(name, name, 1), TfdsSource(name, "test", str(TFDS_DIR))
    # A sample: the TFDS order is no order of classes.
    records = [source.read(i) for i in range(400)]
    pixels = [np.asarray(Image.open(io.BytesIO(r.image))) for r in records]
    images = np.stack(pixels).reshape(400, pixels[0].shape[0], pixels[0].shape[1], -1)
    _, probabilities = network(images)
    assert probabilities is not None
    accuracy = (probabilities.argmax(1) == [r.label for r in records]).mean()
    stated = network.about["accuracy"]
    # Four binomial deviations of 400, and 28 px are resized here where the header has them too.
    assert abs(accuracy - stated) < 4 * np.sqrt(stated * (1 - stated) / 400) + 0.005


def test_auto_takes_the_data_s_own_network_or_says_which_other():
    assert features.load("auto", "fashion_mnist", 1).name == "fashion_mnist"
    assert features.load("auto", "lsun", 3).name == "cifar10"
    assert features.load("auto", "folder", 1).name == "mnist"


def test_a_row_depends_on_its_image_alone(monkeypatch):
    network, images = features.load("cifar10", "cifar10", 3), patches(60, 48)
    whole, _ = network(images)
    np.testing.assert_array_equal(network(images[7:8])[0][0], whole[7])
    order = np.random.default_rng(0).permutation(60)
    np.testing.assert_array_equal(network(images[order])[0], whole[order])
    assert np.abs(whole[0] - whole[30]).max() > 1e-2


def test_images_are_resized_and_made_grey_by_pillow():
    network, images = features.load("mnist", "mnist", 1), patches(4, 64)
    by_hand = np.stack(
        [
            np.asarray(Image.fromarray(x).convert("L").resize((32, 32), Image.Resampling.LANCZOS))
            for x in images
        ]
    )[..., None]
    np.testing.assert_array_equal(network(images)[0], network(by_hand)[0])


def test_files_go_and_come_back_and_damage_is_seen(tmp_path):
    model = features.classifier(1, 10, seed=3)
    path = tmp_path / "mine.npz"
    digest = features.save(path, model.get_weights(), header())
    network = features.read(path, "mine")
    assert (network.sha256, network.about["accuracy"]) == (digest, 0.5)
    x = patches(2, 32, 1)
    model.set_weights([w.astype(np.float16).astype(np.float32) for w in model.get_weights()])
    expected = model(x / 127.5 - 1.0)[0]
    np.testing.assert_allclose(network(x)[0], expected, rtol=1e-4, atol=1e-5)
    assert features.save(tmp_path / "again.npz", model.get_weights(), header(accuracy=1)) == digest
    weights = model.get_weights()
    weights[2] = weights[2] + 0.01
    assert features.save(tmp_path / "other.npz", weights, header()) != digest
    with np.load(path) as saved:
        arrays = dict(saved)
    arrays["weight_00"] = arrays["weight_00"] * np.float16(2)
    np.savez(path, **arrays)
    with pytest.raises(InputError, match="damaged"):
        features.read(path, "mine")
    path.write_bytes(b"nothing")
    with pytest.raises(InputError, match="no feature network"):
        features.load(str(path), "mnist", 1)


@keras_writes_by_an_old_protocol
def test_a_users_keras_model(tmp_path):
    inputs = keras.Input((20, 20, 3))
    x = keras.layers.Conv2D(5, 3, name="maps", kernel_initializer="ones")(inputs)
    x = keras.layers.Flatten()(x)
    x = keras.layers.Dense(7, name="last_hidden")(x)
    model = keras.Model(inputs, keras.layers.Dense(2)(x))
    path = tmp_path / "judge.keras"
    model.save(path)
    images = patches(3, 20)
    unit = images / 127.5 - 1.0
    hidden = features.load(str(path), "lsun", 3)
    assert hidden(images)[1] is None
    expected = keras.Model(inputs, x)(unit)
    np.testing.assert_allclose(hidden(images)[0], expected, rtol=1e-4, atol=1e-4)
    maps = features.load(f"{path}:maps", "lsun", 3)
    expected = tf.reduce_mean(model.get_layer("maps")(tf.constant(unit, tf.float32)), [1, 2])
    np.testing.assert_allclose(maps(images)[0], expected, rtol=1e-3, atol=1e-3)
    with pytest.raises(InputError, match=r"It has: .*last_hidden"):
        features.load(f"{path}:nowhere", "lsun", 3)
    (tmp_path / "bad.keras").write_bytes(b"x")
    with pytest.raises(InputError, match="no Keras model"):
        features.load(str(tmp_path / "bad.keras"), "lsun", 3)


@pytest.mark.parametrize("spec", ["nowhere.npz", "inception:nowhere.h5", "imagenet"])
def test_what_there_is_not_is_said_with_the_choices(spec):
    with pytest.raises(InputError, match=r"auto, mnist, .*inception:FILE"):
        features.load(spec, "lsun", 3)


@keras_writes_by_an_old_protocol
def test_inception_weights_of_another_network_are_refused(tmp_path):
    path = tmp_path / "other.weights.h5"
    keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]).save_weights(path)
    with pytest.raises(InputError, match="InceptionV3 without its top"):
        features.load(f"inception:{path}", "lsun", 3)


@needs_tfds
@pytest.mark.slow
def test_the_command_trains_the_same_network_twice(tmp_path):
    hashes = []
    for i in range(2):
        done = command(
            "trainers.features", "--dataset=mnist", f"--tfds_dir={TFDS_DIR}", "--epochs=1",
            f"--output={tmp_path / f'{i}.npz'}", timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert float(re.search(r"accuracy ([\d.]+)", done.stdout)[1]) > 0.3
        hashes.append(re.search(r"sha256 (\w{64})", done.stdout)[1])
    assert hashes[0] == hashes[1]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--dataset=lsun", "--output=x.npz"], "mnist, fashion_mnist, cifar10"),
        (["--dataset=mnist", "--output=x.keras"], "--output=FILE.npz"),
        (["--dataset=mnist", "--output={tmp}/x.npz", "--tfds_dir={tmp}"], "tfds build mnist"),
    ],
)
def test_bad_commands_exit_2(arguments, says, tmp_path):
    done = command("trainers.features", *(a.format(tmp=tmp_path) for a in arguments))
    assert done.returncode == 2, done.stderr
    assert says in done.stderr
    assert not list(tmp_path.glob("*.npz"))
