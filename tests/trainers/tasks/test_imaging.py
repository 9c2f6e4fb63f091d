"""Training on images: the feed, runs from records to a published model, exact resumption."""

import json
import runpy

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from export import runtime
from tests.trainers.conftest import ROOT, command, photograph, state_of, tiny_images
from tf_mixed_nash import rng
from tf_mixed_nash.errors import InputError
from tf_mixed_nash.strategies.mixed import seed_rows
from tf_mixed_nash.training import order
from tf_mixed_nash.training.feeds import of_one_length
from tf_mixed_nash.training.loop import Loop
from trainers.answers import reading
from trainers.experiment import settings
from trainers.experiment.build import build
from trainers.session import train
from trainers.tasks import image_scores, imaging
from trainers.tasks.data.device_feed import DeviceFeed
from trainers.tasks.data.images import Images
from trainers.tasks.imaging import ImageFeed

IMAGE_CONFIGS = [
    path for name in ("mnist", "fashion_mnist", "cifar10", "lsun")
    for path in sorted(ROOT.glob(f"configs/{name}_m[dp].py"))
]  # fmt: skip


# Two layers less, and narrow; one picture on the way.
SMALL = ("--config.image.size=28", "--config.model.width=4", "--config.picture_every=2")
SMALL += ("--config.scorecard.num_samples=20", "--config.model.generator_normalization=layer")


@pytest.fixture(scope="module")
def patches(tmp_path_factory):
    """60 patches of a photograph with labels, as an .npz."""
    photo = photograph()
    images = np.stack([photo[8 * i : 8 * i + 40, 6 * i : 6 * i + 40] for i in range(60)])
    path = tmp_path_factory.mktemp("patches") / "patches.npz"
    np.savez(path, images=images, labels=np.arange(60) % 3)
    return path


def make(patches, **overrides):
    return tiny_images(data__path=str(patches), **overrides)


def assert_same(a, b):
    other = state_of(b)
    for name, value in state_of(a).items():
        np.testing.assert_array_equal(value, other[name], err_msg=name)


# The feed.


def test_blocks_read_ahead_have_the_mini_batches_of_the_feed_itself(patches, monkeypatch):
    """As `compile=whole` takes them, whose calls end where something is due."""
    config = make(patches, model__conditional=True, image__flip=True)
    run, dtype = build(config), tf.float32
    monkeypatch.setattr(imaging, "_BLOCK_BYTES", 5 * config["batch_size"] * 28 * 28)
    feed, plain = of_one_length(run.feed(dtype), 2), run.feed(dtype)
    blocks, m = set(), 0
    for until in (3, 4, 17, 18, 40):  # of two mini-batches a step
        while m < until:
            limit = feed.limit(m, until)
            end = m + -(-(limit - m) // 2) * 2
            block = feed.block(m, end)
            blocks.add(int(block[0]))
            for k in range(m, end):
                index = tf.constant(k, tf.int64)
                theirs = plain.batch_at(plain.block(k, k + 1), index)
                np.testing.assert_array_equal(feed.batch_at(block, index), theirs)
            m = end
    feed.close()
    plain.close()
    assert len(blocks) > 3


@pytest.mark.parametrize("flip", [True, False])
def test_images_that_lie_on_a_gpu_make_the_same_mini_batches(patches, monkeypatch, flip):
    task = build(make(patches, model__conditional=True, image__flip=flip)).task
    plain = task.feed(tf.float32)
    monkeypatch.setattr(imaging.compiling, "on_gpu", lambda: True)
    feed = task.feed(tf.float32)
    assert (type(plain), type(feed)) == (ImageFeed, DeviceFeed)
    for wrapped in (feed, of_one_length(feed, 2, 25)):
        block = wrapped.block(3, 11)  # over the end of an epoch of 60
        for m in range(3, 11):
            index = tf.constant(m, tf.int64)
            theirs = plain.batch_at(plain.block(m, m + 1), index)
            np.testing.assert_array_equal(wrapped.batch_at(block, index), theirs)
    plain.close()


def test_images_that_are_too_many_or_of_many_workers_do_not_lie_on_a_gpu(patches, monkeypatch):
    monkeypatch.setattr(imaging.compiling, "on_gpu", lambda: True)
    task = build(make(patches)).task
    monkeypatch.setattr(imaging, "DEVICE_BYTES", 60 * 28 * 28 - 1)
    assert type(task.feed(tf.float32)) is ImageFeed
    monkeypatch.setattr(imaging, "DEVICE_BYTES", 60 * 28 * 28)
    assert type(task.feed(tf.float32)) is DeviceFeed
    some = Images(task.source, task.preprocessing, 16, 0, rows=slice(8, 16))
    assert task.images.in_memory is not None
    assert some.in_memory is None
    assert Images(task.source, task.preprocessing, 16, 0, cache=False).in_memory is None


def test_the_feed_gives_the_records_of_the_order_as_numbers_around_zero(patches):
    config = make(patches, model__conditional=True, image__flip=True)
    task = build(config).task
    feed = task.feed(tf.float32)
    block = feed.block(5, 9)
    seed = rng.python_seed(rng.stream(config["seed"], "order"))
    pixels = task.images.at(np.arange(60))[0]
    for m in (8, 5):
        batch = feed.batch_at(block, tf.constant(m, tf.int64)).numpy()
        records = order.records(seed, m, 16, 60)
        mirrored = order.coin(seed, m, 16)
        expected = pixels[records] / 127.5 - 1.0
        expected[mirrored] = expected[mirrored, :, ::-1]
        assert batch.shape == (16, 28, 28, 1 + 3)
        np.testing.assert_allclose(batch[..., :1], expected, atol=1e-6)
        np.testing.assert_array_equal(batch[:, 3, 4, 1:], np.eye(3)[records % 3])
        assert (batch[..., 1:] == batch[:, :1, :1, 1:]).all()
    feed.close()


@pytest.mark.parametrize(
    "algorithm",
    [
        "mirror_gan",
        *(pytest.param(n, marks=pytest.mark.slow) for n in ("mirror_prox_gan", "alt_extra_adam")),
    ],
)
def test_neither_blocks_nor_stops_change_a_run(patches, monkeypatch, algorithm):
    """In one go; in two calls and blocks of one outer step, with the reader starting anew."""
    config = make(
        patches,
        algorithm=algorithm,
        num_batches=12,
        num_inner_steps=2,
        model__width=4,
        batch_size=8,
    )
    run = build(config)
    whole = Loop(run)
    whole.advance(12)
    monkeypatch.setattr(imaging, "_BLOCK_BYTES", 1)
    parts = Loop(run)
    parts.advance(5)
    parts.close()
    parts._feed = parts.run.task.feed(tf.float32)
    parts.advance(12)
    assert whole.step == parts.step == 12
    assert np.abs(state_of(whole)["ema"] - run.networks.theta.initial()).max() > 1e-6
    assert_same(whole, parts)


def test_held_out_batches_are_another_order_of_the_same_records(patches):
    task = build(make(patches)).task
    batch_at = task.batches("elsewhere", 3, 16, tf.float32)
    mine = np.concatenate([batch_at(tf.constant(m, tf.int64)) for m in range(3)])
    records = {x.tobytes() for x in task.images.at(np.arange(60))[0]}
    assert {x.tobytes() for x in imaging.to_pixels(mine)} <= records
    assert not np.array_equal(imaging.to_pixels(mine[:16]), task.images.batch(0)[0])
    np.testing.assert_array_equal(task.held_out("elsewhere", 16, tf.float32), mine[:16])


# Runs.


@pytest.mark.parametrize(
    ("config", "more", "size"),
    [
        # The user's own command: nothing but the data's path is given (and where to write).
        pytest.param("lsun_mp", (), 576, marks=pytest.mark.slow, id="as-it-is"),
        pytest.param("lsun_md", SMALL, 588, id="small"),
    ],
)
def test_a_run_from_an_lsun_directory_to_a_sample(config, more, size, lsun, tmp_path):
    arguments = (f"--config=configs/{config}.py:tiny", f"--config.data.path={lsun}", *more)
    workdir = tmp_path / "run"
    done = command("trainers.run", *arguments, f"--workdir={workdir}", timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "0000 00:" not in done.stderr, "no log lines of TensorFlow's C++ side"
    card = json.loads((workdir / "scorecard.json").read_text())
    assert {"fid", "kid", "precision", "recall", "density", "coverage"} < card.keys()
    assert card["strategies"].keys() == {"last", "ema", "mixture"}
    assert card["real_data_ceiling"]["fid"] >= 0
    assert card["data"]["num_records"] == 23
    assert card["data"]["num_corrupt"] == 2
    assert len(card["protocol"]["sha256"]) == 64
    for name in ("published", "nearest", "interpolation"):
        with Image.open(workdir / "samples" / f"{name}.png") as picture:
            assert np.asarray(picture).std() > 5, name
    output = tmp_path / "grid.png"
    model = workdir / "export" / "generator"
    drawn = command("export.sample", f"--model={model}", "--num=9", f"--output={output}")
    assert drawn.returncode == 0, drawn.stderr
    with Image.open(output) as picture:
        assert picture.size == (size, size), "three of so many times their pixels, above 512"


@pytest.mark.parametrize("path", IMAGE_CONFIGS, ids=lambda p: p.stem)
def test_every_image_config_says_what_it_is(path, patches):
    module = runpy.run_path(str(path))
    config = module["get_config"]("tiny")
    assert config.dataset == path.stem.rsplit("_", 1)[0]
    assert config.algorithm == {"md": "mirror_gan", "mp": "mirror_prox_gan"}[path.stem[-2:]]
    assert f"--config=configs/{path.name}" in module["__doc__"]
    assert "Not run: " in module["__doc__"] or "Seen" in module["__doc__"]
    full = settings.resolve(module["get_config"]())
    shape = build(full).networks.theta.model.output_shape
    assert shape == (None, full["image"]["size"], full["image"]["size"], full["image"]["channels"])


@pytest.mark.slow
def test_a_conditional_run_publishes_what_draws_by_class(patches, tmp_path):
    config = make(patches, model__conditional=True, game__objective="hinge",
                  model__discriminator_normalization="spectral", game__r1=0.1)  # fmt: skip
    workdir = tmp_path / "run"
    assert train.train(config, workdir) == 0
    version = workdir / "export" / "generator" / "1"
    manifest = json.loads((version / "manifest.json").read_text())
    assert manifest["num_classes"] == 3
    assert "class_names" not in manifest, "the labels of an .npz are numbers"
    with Image.open(workdir / "samples" / "classes.png") as picture:
        assert np.asarray(picture).std() > 5
    seeds = seed_rows(3, 12).numpy()
    with runtime.ServedModel(version) as served:
        mixed = served.run("sample", {"seeds": seeds})["samples"]
        by_class = [
            served.run("sample_class", {"seeds": seeds, "labels": np.full(12, k)})["samples"]
            for k in range(3)
        ]
        with pytest.raises(tf.errors.InvalidArgumentError, match="labels"):
            served.run("sample_class", {"seeds": seeds, "labels": np.full(12, 3)})
    # Every row of `sample` is that row of one class, and the classes differ.
    distance = np.stack([np.abs(mixed - x).max((1, 2, 3)) for x in by_class])
    assert distance.min(0).max() < 1e-5
    assert (np.sort(distance, 0)[1] > 1e-4).all()
    assert len(set(distance.argmin(0))) > 1


def test_interpolation_begins_and_ends_at_samples(patches):
    loop = Loop(build(make(patches, model__conditional=True)))
    strategy = reading.answers_of(loop)["last"]
    assert strategy.num_components == 1, "so that both ends come from one generator"
    strips = imaging.interpolation(strategy, 3, 5).reshape(3, 5, 28, 28, 1)
    seeds = seed_rows(0, 6)
    components, inputs = strategy.draw(seeds)
    # The class of the first sample is kept along the whole path.
    ends = strategy.latent_dim
    second = tf.concat([inputs[1::2, :ends], inputs[::2, ends:]], axis=1)
    drawn = [strategy.generate(components[::2], x).numpy() for x in (inputs[::2], second)]
    for place, samples in zip((0, -1), drawn, strict=True):
        off = strips[:, place].astype(int) - imaging.to_pixels(samples)
        assert np.abs(off).max() <= 1, "rounding of the slerp"
    assert (strips[:, 0] != strips[:, 2]).any()


def test_classes_have_a_sheet_each_of_the_same_latents(patches, tmp_path, monkeypatch):
    loop = Loop(build(make(patches, model__conditional=True)))
    strategy = reading.answers_of(loop)["last"]
    task = loop.run.task
    task.set_state({"classes": ["10", "$a$", "日本"]})
    drawn = []
    monkeypatch.setattr(imaging.pictures, "sheets", lambda path, rows, columns: drawn.extend(rows))
    task._draw_classes(tmp_path / "classes.png", strategy)
    ((ten, first), (dollars, second), (words, _)) = drawn[0]
    assert (ten, dollars, words) == ("10", "$a$", "日本")
    components, inputs = strategy.draw(seed_rows(0, 16))
    latents = strategy.with_classes(inputs[:, : strategy.latent_dim], tf.fill([16], 1))
    expected = imaging.to_pixels(strategy.generate(components, latents).numpy())
    np.testing.assert_array_equal(second, expected)
    assert (first != second).any()
    monkeypatch.undo()
    imaging.pictures.sheets(tmp_path / "c.png", drawn, columns=4)
    assert (tmp_path / "c.png").stat().st_size > 1000


def test_pixels_are_rounded_and_cut_off():
    # 127.5 (x + 1): -1 -> 0, 1 -> 255, 0 -> 127.5, to the even 128.
    values = np.array([-1.0, 1.0, 0.0, -1.2, 1.2, -1 + 0.6 / 127.5, -1 + 0.4 / 127.5])
    assert imaging.to_pixels(values).tolist() == [0, 255, 128, 0, 255, 1, 0]
    with pytest.raises(ValueError, match="finite"):
        imaging.to_pixels(np.array([np.nan]))


def test_real_images_are_their_own_nearest_and_each_sampler_has_its_own_card(
    patches, tmp_path, monkeypatch
):
    task = build(make(patches)).task
    pixels, _ = task.images.at(task.real.indices[:4])
    grids = {}
    monkeypatch.setattr(imaging.pictures, "grid", lambda path, x, **_: grids.update({path: x}))
    task._draw_nearest(tmp_path / "n.png", pixels)
    rows = grids[tmp_path / "n.png"].reshape(3, *pixels.shape)
    np.testing.assert_array_equal(rows[1], pixels)
    np.testing.assert_array_equal(rows[2], pixels)

    records = task.images.at(np.arange(len(task.images)))[0].astype(np.float32) / 127.5 - 1
    scores = task.score(
        {
            "real": lambda seeds: records[seeds[:, 1].numpy() % len(records)],
            "black": lambda seeds: np.full([len(seeds), *records.shape[1:]], -1, np.float32),
        }
    )
    cards = scores["strategies"]
    assert cards["real"]["fid"] < 0.1 * cards["black"]["fid"]
    assert cards["real"]["coverage"] > 0.9 > cards["black"]["coverage"]


@pytest.mark.slow
def test_published_samples_do_not_depend_on_their_batch(patches, tmp_path):
    """Batch normalisation is frozen: a row alone is that row among others."""
    workdir = tmp_path / "run"
    assert train.train(make(patches, num_batches=8), workdir) == 0
    with runtime.ServedModel(workdir / "export" / "generator" / "1") as served:
        many = served.run("sample", {"seeds": seed_rows(1, 20).numpy()})["samples"]
        one = served.run("sample", {"seeds": seed_rows(1, 1, 7).numpy()})["samples"]
    np.testing.assert_allclose(one[0], many[7], atol=2e-6)
    assert many.std() > 1e-3


@pytest.mark.slow
def test_the_duality_gap_monitor_works_on_images(patches, tmp_path):
    config = make(patches, duality_gap__every=2, duality_gap__num_samples=32)
    plain = make(patches)
    assert train.train(config, tmp_path / "gap") == 0
    assert train.train(plain, tmp_path / "plain") == 0
    card = json.loads((tmp_path / "gap" / "scorecard.json").read_text())
    assert np.isfinite(card["duality_gap"]["strategies"]["last"]["duality_gap"])
    theirs = json.loads((tmp_path / "plain" / "scorecard.json").read_text())
    assert card["strategies"] == theirs["strategies"], "the training is the same with and without"


@pytest.fixture
def places(patches, tmp_path):
    """Data that are missing, empty, broken or unreadable."""
    folders = {name: tmp_path / name for name in ("empty", "broken", "corrupt")}
    for folder in folders.values():
        folder.mkdir()
    (folders["broken"] / "data.mdb").write_bytes(b"\7" * 9000)
    for i in range(3):
        (folders["corrupt"] / f"{i}.jpg").write_bytes(b"no image")
    return {"patches": patches, **folders}


@pytest.mark.parametrize(
    ("name", "values", "says"),
    [
        ("lsun", {"data.path": "{empty}"}, "no images"),
        ("lsun", {"data.path": "{broken}"}, "cannot be read as LMDB"),
        ("lsun", {"data.path": "{patches}", "image.size": 50}, "28, 32, 64"),
        ("lsun", {"data.path": "{patches}", "image.channels": 2}, "1, 3"),
        ("mnist", {"dataset": "mnits", "data.tfds_dir": "{empty}"}, "no data set"),
        ("mnist", {"data.tfds_dir": "{empty}"}, "tfds build mnist"),
        ("lsun", {"data.path": "{patches}", "model.conditional": True}, "num_classes"),
        ("lsun", {"data.path": "{patches}", "game.gradient_penalty": 1.0}, "layer"),
        ("lsun", {"data.path": "{patches}", "scorecard.features": "/no.npz"}, "/no.npz"),
    ],
)
def test_bad_input_is_named_and_nothing_is_written(name, values, says, places, tmp_path):
    config = runpy.run_path(str(ROOT / "configs" / f"{name}_mp.py"))["get_config"]("tiny")
    for key, value in values.items():
        filled = value.format(**places) if isinstance(value, str) else value
        config.update_from_flattened_dict({key: filled})
    with pytest.raises(InputError, match=says):
        train.train(settings.resolve(config), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        ("lsun", [], "42.8 GiB"),
        ("lsun", ["data.path=/nowhere"], "3,033,042"),
        ("mnist", ["data.path={corrupt}"], "cannot be read"),
    ],
)
def test_the_command_exits_2_with_one_message(name, arguments, says, places, tmp_path):
    filled = [f"--config.{a.format(**places)}" for a in arguments]
    config = f"--config=configs/{name}_mp.py:tiny"
    done = command("trainers.run", config, *filled, f"--workdir={tmp_path / 'run'}")
    assert done.returncode == 2, done.stderr[-1500:]
    assert says in done.stderr
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


def test_records_that_are_held_out_are_never_trained_on(patches):
    """The monitor and the training divide the records; without the key all are trained on."""
    config = make(patches, image__held_out=0.2, model__conditional=True)
    task = build(config).task
    pixels, labels = task.source._source.read, task.source.labels
    assert len(task.source) == len(task.images) == 48
    assert labels is None or len(labels) == 48
    seen = {task.source.read(i).image.tobytes() for i in range(48)}
    everything = {pixels(i).image.tobytes() for i in range(60)}
    assert len(seen) == 48
    shown = task.images.at(np.arange(48))[0]
    held = task.held_out("duality_gap/evaluation", 24, tf.float32).numpy()
    assert held.shape == (24, 28, 28, 4)
    rows = {np.round((x[..., :1] + 1) * 127.5).astype(np.uint8).tobytes() for x in held}
    assert len(rows) == 12, "each of the twelve, twice"
    assert not rows & {x.tobytes() for x in shown}
    assert len(everything - seen) == 12
    assert task.source.where(0).startswith("record ")
    plain = build(make(patches)).task
    assert len(plain.source) == 60
    assert plain.source.fingerprint != task.source.fingerprint
    with pytest.raises(InputError, match=r"image.held_out must be in \[0, 1\), a fraction"):
        make(patches, image__held_out=1.0)


@pytest.fixture(scope="module")
def others(tmp_path_factory):
    """40 dark patches, that no run of `patches` trains on."""
    photo = photograph() // 4
    images = np.stack([photo[9 * i : 9 * i + 40, 5 * i : 5 * i + 40] for i in range(40)])
    path = tmp_path_factory.mktemp("others") / "others.npy"
    np.save(path, images)
    return path


def test_scores_compare_with_the_images_that_the_config_names(
    patches, others, tmp_path, monkeypatch
):
    """Real rows, ceiling and protocol are theirs; the training and what lies near it are not."""
    small = {"scorecard__num_samples": 16, "scorecard__prdc_samples": 16}
    plain = build(make(patches, **small)).task
    task = build(make(patches, **small, scorecard__path=str(others))).task
    task.check()
    pixels = task.judged.at(np.arange(40))[0]
    assert len(task.judged) == 40
    assert len(task.images) == 60
    np.testing.assert_array_equal(
        task.images.at(np.arange(60))[0], plain.images.at(np.arange(60))[0]
    )
    kept = task.real.indices[:16]
    np.testing.assert_allclose(task.real.reference, task.features(pixels[kept])[0], atol=1e-5)

    def draw(of):
        # The samples are the judge's own images: the nearest of all that there is.
        return lambda seeds: tf.constant(of[: len(seeds)] / 127.5 - 1.0, tf.float32)

    scores = task.score({"last": draw(pixels)})
    assert scores["protocol"]["path"] == str(others)
    assert scores["protocol"]["real_fingerprint"] == task.judged.source.fingerprint
    assert scores["protocol"]["real_fingerprint"] != task.source.fingerprint
    assert "path" not in plain.score({"last": draw(pixels)})["protocol"]
    mine, trained = scores["strategies"]["last"], plain.score({"last": draw(pixels)})
    assert mine["fid"] < 0.5 * trained["strategies"]["last"]["fid"]
    looked, nearest = [], image_scores.nearest
    monkeypatch.setattr(image_scores, "nearest", lambda a, b: looked.append(b) or nearest(a, b))
    task._draw_nearest(tmp_path / "nearest.png", pixels[:3])
    by_features, by_pixels = looked
    trained = {x.tobytes() for x in task.images.at(np.arange(60))[0]}
    assert len(by_pixels) == len({x.tobytes() for x in by_pixels} & trained) == 16
    np.testing.assert_allclose(by_features, task.features(by_pixels)[0], atol=1e-5)
    assert f"against 40 records of {task.judged.source.name}" in task.describe()


def test_pictures_of_what_is_near_look_through_all_of_a_few_images(patches, tmp_path):
    """Also those that scores have as the ceiling."""
    task = build(make(patches, scorecard__num_samples=1_000)).task
    asked, real_at = [], task.images.at
    _ = task.real
    task.images.at = lambda indices: asked.append(indices) or real_at(indices)
    task._draw_nearest(tmp_path / "nearest.png", real_at(np.arange(3))[0])
    assert sorted(asked[-1].tolist()) == list(range(60))


def test_one_training_image_is_enough_where_scores_have_their_own(others, tmp_path):
    np.save(tmp_path / "one.npy", np.full((1, 40, 40, 3), 9, np.uint8))
    task = build(make(tmp_path / "one.npy", scorecard__path=str(others))).task
    task.check()
    task._draw_nearest(tmp_path / "nearest.png", task.judged.at(np.arange(3))[0])
    assert (tmp_path / "nearest.png").exists()


def test_what_scores_compare_with_is_said_once_and_where_it_is_read(patches):
    with pytest.raises(InputError, match=r"a split of a TFDS data set.*config\.scorecard\.path"):
        make(patches, scorecard__split="test")
    with pytest.raises(InputError, match=r"both say what scores compare with\. Leave one out"):
        tiny_images(dataset="mnist", scorecard__split="test", scorecard__path="x")


def test_too_few_images_to_compare_with_are_refused_at_once(patches, tmp_path):
    np.save(tmp_path / "two.npy", np.zeros((2, 40, 40, 3), np.uint8))
    task = build(make(patches, scorecard__path=str(tmp_path / "two.npy"))).task
    with pytest.raises(InputError, match=r"2 readable images.*scorecard\.path or scorecard\.split"):
        task.check()
    task = build(make(patches, scorecard__path=str(tmp_path / "none.npy"))).task
    with pytest.raises(InputError, match=r"nothing at .*none\.npy \(--config\.scorecard\.path\)"):
        task.check()
