"""Image data: sources, decoding, mini-batches by index, corrupt records, blocks."""

import os
import time
from pathlib import Path

import lmdb
import numpy as np
import pytest
from PIL import Image

from tests.trainers.conftest import encoded, photograph
from tf_mixed_nash.errors import InputError
from tf_mixed_nash.training import order
from trainers.tasks.data.images import Images, Prefetch, Preprocessing, decode, to_unit
from trainers.tasks.data.sources import ArraySource, FolderSource, LmdbSource, TfdsSource, open_path

TFDS_DIR = Path(__file__).parents[5] / "shared" / "data" / "tfds"
needs_tfds = pytest.mark.skipif(
    not TFDS_DIR.is_dir(), reason=f"needs data sets that tfds has prepared in {TFDS_DIR}"
)


def test_lmdb_records_come_back_in_the_order_of_their_keys(lsun):
    source = LmdbSource(lsun)
    assert len(source) == 23
    assert source.num_classes is None
    for i in (0, 3, 22):
        image = decode(source.read(i).image, Preprocessing(64))
        assert image.shape == (64, 64, 3)
        assert image.std() > 20  # a photograph, not a blank
    # The second time the keys come from the list beside the data.
    assert (lsun / LmdbSource._LIST).is_file()
    assert LmdbSource(lsun).read(3) == source.read(3)


def test_a_stale_key_list_is_made_anew(lsun):
    np.save(lsun / LmdbSource._LIST, np.array([b"\0\1x"]))
    assert len(LmdbSource(lsun)) == 23


def test_corrupt_records_are_replaced_by_the_next_and_counted(lsun):
    images = Images(LmdbSource(lsun), Preprocessing(32), 23, seed=0, cache=False)
    batch, _ = images.at(np.arange(23))
    assert sorted(images.corrupt) == [5, 8]
    np.testing.assert_array_equal(batch[5], batch[6])
    np.testing.assert_array_equal(batch[8], batch[9])
    assert not np.array_equal(batch[4], batch[5])


def test_too_many_corrupt_records_are_an_error(lsun):
    images = Images(LmdbSource(lsun), Preprocessing(32), 23, seed=0, max_corrupt=1, cache=False)
    with pytest.raises(InputError, match="max_corrupt=1"):
        images.at(np.arange(23))


def test_only_corrupt_records_are_an_error_not_a_loop(tmp_path):
    for i in range(3):
        (tmp_path / f"{i}.jpg").write_bytes(b"x")
    images = Images(FolderSource(tmp_path), Preprocessing(8), 3, seed=0, cache=False)
    with pytest.raises(InputError, match="cannot be read"):
        images.batch(0)


def test_the_centre_square_is_resized_with_antialiasing():
    """Stripes one pixel wide are grey when halved, not black or white; the sides are cut off."""
    stripes = np.zeros((40, 60, 3), np.uint8)
    stripes[:, ::2] = 255
    stripes[:, :10] = stripes[:, 50:] = [255, 0, 0]
    small = decode(encoded(stripes, "PNG"), Preprocessing(20))
    inner = small[2:-2, 2:-2].astype(float)
    assert abs(inner - 127.5).max() < 30
    assert abs(small[..., 0].astype(float) - small[..., 2]).max() < 40  # no red is left
    same = decode(stripes, Preprocessing(40))
    np.testing.assert_array_equal(same, stripes[:, 10:50])


def test_channels():
    photo = photograph()
    grey = decode(photo, Preprocessing(32, channels=1))
    assert grey.shape == (32, 32, 1)
    luminance = decode(photo, Preprocessing(32)) @ [0.299, 0.587, 0.114]
    assert abs(grey[..., 0] - luminance).max() < 3
    colours = decode(np.asarray(Image.fromarray(photo).convert("L")), Preprocessing(32))
    np.testing.assert_array_equal(colours[..., 0], colours[..., 2])


def test_pixels_go_to_the_unit_interval_around_zero():
    np.testing.assert_allclose(to_unit(np.array([0.0, 127.5, 255.0])), [-1.0, 0.0, 1.0])


def _random_source(num=50, size=8):
    pixels = np.random.default_rng(0).integers(0, 256, (num, size, size, 3), np.uint8)
    return ArraySource(pixels, np.arange(num) % 7)


def test_a_batch_is_a_function_of_seed_and_index_alone():
    one = Images(_random_source(), Preprocessing(8, flip=True), 16, seed=3, num_threads=1)
    many = Images(
        _random_source(), Preprocessing(8, flip=True), 16, seed=3, num_threads=4, cache=False
    )
    for m in (1000, 0, 7):  # in any order
        for a, b in zip(one.batch(m), many.batch(m), strict=True):
            np.testing.assert_array_equal(a, b)
    other = Images(_random_source(), Preprocessing(8, flip=True), 16, seed=4)
    assert not np.array_equal(one.batch(0)[0], other.batch(0)[0])


def test_rows_are_the_records_of_the_order_with_their_labels_and_flips():
    source = _random_source()
    images = Images(source, Preprocessing(8, flip=True), 16, seed=3)
    batch, labels = images.batch(5)
    indices, mirrored = order.records(3, 5, 16, 50), order.coin(3, 5, 16)
    assert 0 < mirrored.sum() < 16
    np.testing.assert_array_equal(labels, indices % 7)
    for row, i, flip in zip(batch, indices, mirrored, strict=True):
        pixels = source.read(i).image
        np.testing.assert_array_equal(row, pixels[:, ::-1] if flip else pixels)


def test_flipping_does_not_write_into_the_cache():
    images = Images(_random_source(), Preprocessing(8, flip=True), 50, seed=0, cache=True)
    before = images.at(np.arange(50))[0].copy()
    for m in range(5):
        images.batch(m)
    np.testing.assert_array_equal(images.at(np.arange(50))[0], before)


def test_mini_batches_are_taken_in_order_wherever_one_begins():
    images = Images(_random_source(), Preprocessing(8), 4, seed=0)
    prefetch = Prefetch(images, ahead=2)
    for start, num in ((10, 3), (13, 1), (14, 6), (3, 2), (5, 1)):  # 3 is a jump back
        pixels, labels = prefetch.take(start, num)
        assert pixels.shape == (num, 4, 8, 8, 3)
        for k in range(num):
            np.testing.assert_array_equal(pixels[k], images.batch(start + k)[0])
            np.testing.assert_array_equal(labels[k], images.batch(start + k)[1])
    prefetch.close()


def test_an_error_in_the_reading_thread_reaches_the_consumer(tmp_path):
    (tmp_path / "a.png").write_bytes(b"x")
    images = Images(FolderSource(tmp_path), Preprocessing(8), 1, seed=0, cache=False)
    prefetch = Prefetch(images, ahead=1)
    for _ in range(2):
        with pytest.raises(InputError, match="cannot be read"):
            prefetch.take(0, 1)


def test_closing_stops_a_reader_that_waits():
    prefetch = Prefetch(Images(_random_source(), Preprocessing(8), 4, seed=0), ahead=1)
    prefetch.take(0, 1)
    (thread,) = prefetch._reader._threads
    assert thread.is_alive()
    prefetch.close()
    assert not thread.is_alive()


def test_waiting_is_measured_but_not_for_the_first():
    """A reader that needs 50 ms for a mini-batch keeps its consumer waiting so long."""
    images = Images(_random_source(), Preprocessing(8), 4, seed=0)
    fast = images.batch
    images.batch = lambda m: (time.sleep(0.05), fast(m))[1]
    prefetch = Prefetch(images, ahead=1)
    prefetch.take(0, 1)
    assert prefetch.waited < 0.01
    prefetch.take(1, 4)
    assert 0.1 < prefetch.waited < 0.6
    waited = prefetch.waited
    time.sleep(0.3)
    prefetch.take(5, 1)  # was ready
    assert prefetch.waited - waited < 0.02
    prefetch.close()


def test_numpy_files(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 8, 8), np.uint8)
    np.save(tmp_path / "a.npy", pixels)
    np.savez(tmp_path / "b.npz", images=pixels, labels=np.arange(5))
    np.testing.assert_array_equal(open_path(tmp_path / "a.npy").read(3).image, pixels[3])
    assert open_path(tmp_path / "b.npz").read(3).label == 3
    np.savez(tmp_path / "c.npz", pictures=pixels)
    (tmp_path / "d.npy").write_bytes(b"no array")
    for bad in ("c.npz", "d.npy"):
        with pytest.raises(InputError, match="no NumPy file of images"):
            open_path(tmp_path / bad)


def test_sub_folders_are_classes(tmp_path):
    photo = photograph()
    for name in ("dog/1.jpg", "cat/2.png", "cat/deep/3.webp"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photo[:64, :64]).save(tmp_path / name)
    (tmp_path / "cat" / "notes.txt").write_text("no image")
    source = open_path(tmp_path)
    assert len(source) == 3
    assert source.num_classes == 2
    assert [source.read(i).label for i in range(3)] == [0, 0, 1]
    (tmp_path / "loose.jpg").write_bytes((tmp_path / "dog/1.jpg").read_bytes())
    assert open_path(tmp_path).num_classes is None
    assert open_path(tmp_path).fingerprint != source.fingerprint


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda d: open_path(d / "none", "lsun"), "42.8 GiB"),
        (lambda d: open_path(d), "no images"),
        (lambda d: LmdbSource(d), "no data.mdb"),
        (lambda d: ArraySource(np.zeros((3, 4, 4))), "uint8"),
        (lambda d: ArraySource(np.zeros((0, 4, 4), np.uint8)), "n >= 1"),
        (lambda d: ArraySource(np.zeros((2, 4, 4, 2), np.uint8)), "channels"),
        (lambda d: ArraySource(np.zeros((2, 4, 4), np.uint8), np.zeros(3, int)), "labels"),
        (lambda d: TfdsSource("no_such_set", "train", str(d)), "no data set"),
        (lambda d: TfdsSource("mnist", "train", str(d)), "not prepared"),
    ],
)
def test_bad_input_is_named(tmp_path, make, says):
    with pytest.raises(InputError, match=says):
        make(tmp_path)


def test_an_unreadable_lmdb_is_named(tmp_path):
    (tmp_path / "data.mdb").write_bytes(os.urandom(5000))
    with pytest.raises(InputError, match="cannot be read as LMDB"):
        open_path(tmp_path)


def test_a_truncated_lmdb_is_named_before_it_is_read(tmp_path):
    opened = lmdb.open(str(tmp_path), map_size=2**24)
    with opened as environment, environment.begin(write=True) as transaction:
        for i in range(100):
            transaction.put(b"%d" % i, bytes(2000))
    data = tmp_path / "data.mdb"
    os.truncate(data, data.stat().st_size // 2)
    with pytest.raises(InputError, match="cut short"):
        open_path(tmp_path)


def test_an_empty_lmdb_is_named(tmp_path):
    with lmdb.open(str(tmp_path)):
        pass
    with pytest.raises(InputError, match="without any record"):
        open_path(tmp_path)


@needs_tfds
def test_fashion_mnist_as_tfds_has_it():
    source = TfdsSource("fashion_mnist", "test", str(TFDS_DIR))
    assert len(source) == 10_000
    assert source.num_classes == 10
    images, labels = Images(source, Preprocessing(32, channels=1), 64, seed=0, cache=False).batch(0)
    assert images.shape == (64, 32, 32, 1)
    assert 30 < images.mean() < 110
    assert set(labels) <= set(range(10))


@needs_tfds
def test_an_unknown_split_is_named():
    with pytest.raises(InputError, match="It has: "):
        TfdsSource("mnist", "validation", str(TFDS_DIR))
    with pytest.raises(
        InputError, match=r"has nothing in 'test\[0:0\]'. It has: .*test \([\d,]+\)"
    ):
        TfdsSource("fashion_mnist", "test[0:0]", str(TFDS_DIR))
