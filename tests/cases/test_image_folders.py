"""Folders of images as people have them: what each kind becomes (docs/images.md)."""

import io
import os
import shutil

import numpy as np
import pytest
from PIL import Image, ImageCms

from export import card
from tests.trainers.conftest import tiny_images
from tf_mixed_nash.errors import InputError
from trainers.experiment.build import build
from trainers.tasks.data import found
from trainers.tasks.data.images import Images, Preprocessing, decode
from trainers.tasks.data.sources import ArraySource, FolderSource, LmdbSource, open_path

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "grey": (90, 90, 90)}


def write(path, colour="red", size=(12, 10)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, COLOURS[colour]).save(path, "PNG")


def encoded(picture, kind, **options):
    content = io.BytesIO()
    picture.save(content, kind, **options)
    return content.getvalue()


def rows(source, size=8):
    return Images(source, Preprocessing(size), 4, seed=0, cache=False).at(np.arange(len(source)))


# Which files are records.


def test_linked_class_folders_are_classes_beside_real_ones(tmp_path):
    """Seen: "holds no images", or a linked class was left out beside a real one."""
    write(tmp_path / "elsewhere" / "c" / "1.png", "red")
    write(tmp_path / "data" / "real" / "1.png", "blue")
    (tmp_path / "data" / "linked").symlink_to(tmp_path / "elsewhere" / "c")
    source = open_path(tmp_path / "data")
    assert source.class_names == ("linked", "real")
    assert [source.read(i).label for i in range(2)] == [0, 1]
    only = tmp_path / "only"
    only.mkdir()
    (only / "linked").symlink_to(tmp_path / "elsewhere" / "c")
    assert open_path(only).class_names == ("linked",)


def test_links_to_nothing_to_files_and_around_a_circle(tmp_path):
    write(tmp_path / "a" / "1.png")
    write(tmp_path / "other.png", "green")
    (tmp_path / "a" / "2.png").symlink_to(tmp_path / "other.png")
    (tmp_path / "a" / "3.png").symlink_to(tmp_path / "gone.png")
    (tmp_path / "a" / "again").symlink_to(tmp_path / "a")
    (tmp_path / "a" / "self.png").symlink_to(tmp_path / "a" / "self.png")
    os.mkfifo(tmp_path / "a" / "pipe.png")
    source = open_path(tmp_path / "a")
    assert [source.where(i) for i in range(len(source))] == ["1.png", "2.png"]
    assert {s.name: s.why for s in source.skipped} == {
        "3.png": "a link to nothing",
        "again": "a link to a folder that it lies in",
        "self.png": "a link to itself",
        "pipe.png": "no regular file",
    }
    assert rows(source)[0][1, 0, 0].tolist() == [0, 255, 0]


def test_two_folders_that_link_to_each_other(tmp_path):
    write(tmp_path / "a" / "1.png")
    write(tmp_path / "b" / "2.png")
    (tmp_path / "a" / "b").symlink_to(tmp_path / "b")
    (tmp_path / "b" / "a").symlink_to(tmp_path / "a")
    source = open_path(tmp_path)
    names = [source.where(i) for i in range(len(source))]
    assert names == ["a/1.png", "a/b/2.png", "b/2.png", "b/a/1.png"]


@pytest.mark.parametrize(
    "name",
    [".ipynb_checkpoints/1-checkpoint.png", "__MACOSX/a/1.png", "@eaDir/1.png", ".hidden.png",
     "a/._1.png", "a/.ipynb_checkpoints/1.png", "$RECYCLE.BIN/1.png", "a/Thumbs.db"],
)  # fmt: skip
def test_hidden_and_system_names_are_no_records_and_no_classes(tmp_path, name):
    """Seen: .ipynb_checkpoints became class 0 and shifted all labels."""
    write(tmp_path / "a" / "1.png")
    write(tmp_path / "b" / "1.png")
    write(tmp_path / name)
    source = open_path(tmp_path)
    assert source.class_names == ("a", "b")
    assert [source.read(i).label for i in range(len(source))] == [0, 1]
    assert len(source.skipped) == 1
    assert source.skipped[0].why in ("hidden", "of the system")


def test_a_hidden_folder_may_be_the_data_themselves(tmp_path):
    write(tmp_path / ".cache" / "set" / "1.png")
    assert len(open_path(tmp_path / ".cache" / "set")) == 1


def test_what_is_an_image_is_one_whatever_its_name(tmp_path):
    Image.new("RGB", (9, 9), "red").save(tmp_path / "a.JPG", "JPEG")
    Image.new("RGB", (9, 9), "red").save(tmp_path / "b.jfif", "JPEG")
    write(tmp_path / "no ending")
    write(tmp_path / "png.jpg")  # of another ending's format
    Image.new("L", (9, 9)).save(tmp_path / "c.pgm")
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "drawing.ps").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    source = open_path(tmp_path)
    names = [source.where(i) for i in range(len(source))]
    assert names == ["a.JPG", "b.jfif", "c.pgm", "no ending", "png.jpg"]
    assert {s.name for s in source.skipped} == {"notes.txt", "drawing.ps"}
    assert not Images(source, Preprocessing(8), 5, seed=0).corrupt


def test_classes_are_counted_as_people_count(tmp_path):
    """Seen: 1, 10, 2. Names whose numbers are of one length stay in the order of text."""
    for name in ("10", "1", "2"):
        write(tmp_path / "digits" / name / "x.png")
    for name in ("n02", "n10", "n01", "Z", "a"):
        write(tmp_path / "words" / name / "x.png")
    source = open_path(tmp_path / "digits")
    assert source.class_names == ("1", "2", "10")
    # The records stay in the order of text; labels follow the classes.
    assert [source.read(i).label for i in range(3)] == [0, 2, 1]
    assert open_path(tmp_path / "words").class_names == ("Z", "a", "n01", "n02", "n10")


@pytest.mark.parametrize(
    "name",
    ["dä [1]", "日本", "a*b", "x\ny", "$p$", b"raw\xff".decode("utf-8", "surrogateescape")],
)
def test_any_name_that_the_file_system_allows(tmp_path, name):
    for folder in (name, "plain"):
        for i in range(2):
            write(tmp_path / folder / f"{name} {i}.png")
    source = open_path(tmp_path)
    assert set(source.class_names) == {name, "plain"}
    assert len(rows(source)[0]) == 4
    seen = found.look(source, 8)
    said = found.text(source, seen, 8)
    assert said.encode()
    assert said.count("\n") == 0


def test_loose_images_beside_class_folders_are_said(tmp_path):
    write(tmp_path / "a" / "1.png")
    write(tmp_path / "loose.png")
    source = open_path(tmp_path)
    assert source.num_classes is None
    assert "1 images lie beside the 1 sub-folders (loose.png)" in source.notes[0]


def test_empty_class_folders_and_splits_are_said(tmp_path):
    write(tmp_path / "train" / "cat" / "1.png")
    write(tmp_path / "test" / "cat" / "1.png")
    (tmp_path / "empty").mkdir()
    notes = open_path(tmp_path).notes
    assert any("empty" in note for note in notes)
    assert any("parts of a data set" in note for note in notes)


@pytest.mark.skipif(os.getuid() == 0, reason="root may read every folder")
def test_a_folder_that_cannot_be_read_is_an_error(tmp_path):
    write(tmp_path / "a" / "1.png")
    write(tmp_path / "b" / "1.png")
    (tmp_path / "b").chmod(0)
    with pytest.raises(InputError, match="cannot be read"):
        open_path(tmp_path)
    (tmp_path / "b").chmod(0o700)


# What becomes of their pixels.


def turned(kind, orientation):
    """White above black, as a camera writes it that was held so."""
    upright = np.zeros((40, 40, 3), np.uint8)
    upright[:20] = 255
    back = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90,
            8: Image.Transpose.ROTATE_270}  # fmt: skip
    picture, exif = Image.fromarray(upright), Image.Exif()
    if orientation in back:
        picture = picture.transpose(back[orientation])
    exif[274] = orientation
    return encoded(picture, kind, exif=exif)


def of(values, kind="TIFF"):
    return encoded(Image.fromarray(values), kind)


def palette(transparency=None):
    picture = Image.new("P", (9, 9))
    picture.putpalette([255, 0, 0, 0, 255, 0])
    more = {} if transparency is None else {"transparency": transparency}
    return encoded(picture, "PNG", **more)


def moving(kind):
    first, second = (Image.new("RGB", (9, 9), c) for c in ("red", "blue"))
    return encoded(first, kind, save_all=True, append_images=[second])


def full(value, dtype):
    return np.full((9, 9), value, dtype)


_SEMI = np.full((9, 9, 4), [255, 0, 0, 128], np.uint8)
PIXELS = {
    "16-bit PNG": (lambda: of(full(32768, np.uint16), "PNG"), 128),
    "16-bit PNG, white": (lambda: of(full(65535, np.uint16), "PNG"), 255),
    "16-bit PNG of 8 bits": (lambda: of(full(77 * 257, np.uint16), "PNG"), 77),
    "16-bit TIFF": (lambda: of(full(20000, np.uint16)), 78),
    "16-bit PGM": (lambda: of(full(200, np.uint16), "PPM"), 1),
    "float TIFF of [0, 1]": (lambda: of(full(0.5, np.float32)), 128),
    "float TIFF of [0, 255]": (lambda: of(full(77.0, np.float32)), 77),
    "32-bit TIFF of [0, 255]": (lambda: of(full(77, np.int32)), 77),
    "32-bit TIFF of [0, 65535]": (lambda: of(full(32768, np.int32)), 128),
    "transparent": (lambda: encoded(Image.new("RGBA", (9, 9), (0, 0, 0, 0)), "PNG"), 255),
    "half transparent": (lambda: encoded(Image.fromarray(_SEMI), "PNG"), (255, 127, 127)),
    "opaque alpha": (lambda: encoded(Image.new("RGBA", (9, 9), (9, 8, 7, 255)), "PNG"), (9, 8, 7)),
    "grey with alpha": (lambda: encoded(Image.new("LA", (9, 9), (9, 0)), "PNG"), 255),
    "palette": (palette, (255, 0, 0)),
    "palette, transparent": (lambda: palette(0), 255),
    "one bit": (lambda: encoded(Image.new("1", (9, 9), 1), "PNG"), 255),
    "CMYK": (lambda: encoded(Image.new("CMYK", (9, 9), (0, 255, 255, 0)), "TIFF"), (255, 0, 0)),
    "animated GIF": (lambda: moving("GIF"), (255, 0, 0)),
    "animated PNG": (lambda: moving("PNG"), (255, 0, 0)),
    "TIFF of two pages": (lambda: moving("TIFF"), (255, 0, 0)),
    "one pixel": (lambda: encoded(Image.new("RGB", (1, 1), (3, 4, 5)), "PNG"), (3, 4, 5)),
    "long and thin": (lambda: encoded(Image.new("RGB", (5000, 1), (3, 4, 5)), "PNG"), (3, 4, 5)),
}


@pytest.mark.parametrize("kind", PIXELS)
def test_pixels_of_every_kind(kind):
    """Seen: 16-bit PNGs became white, float TIFFs black."""
    make, value = PIXELS[kind]
    pixels = decode(make(), Preprocessing(8))
    assert np.abs(pixels.astype(int) - np.array(value)).max() <= 1
    grey = decode(make(), Preprocessing(8, channels=1))
    luminance = np.dot(np.broadcast_to(value, 3), [0.299, 0.587, 0.114])
    assert np.abs(grey.astype(int) - luminance).max() <= 1.5


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_photographs_are_upright(kind, orientation):
    pixels = decode(turned(kind, orientation), Preprocessing(8)).astype(int)
    assert pixels[1].min() > 240
    assert pixels[-2].max() < 15


def test_a_damaged_exif_tag_says_nothing():
    content = encoded(Image.new("RGB", (9, 9), "red"), "JPEG", exif=b"Exif\x00\x00MM\x00*\xff\xff")
    assert decode(content, Preprocessing(8))[0, 0].tolist() == pytest.approx([254, 0, 0], abs=2)


def test_colour_profiles_are_not_applied():
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    content = encoded(Image.new("RGB", (9, 9), (9, 8, 7)), "PNG", icc_profile=srgb)
    assert decode(content, Preprocessing(8))[0, 0].tolist() == [9, 8, 7]


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: b"", "no format"),
        (lambda: b"GIF89a", "not a readable"),
        (lambda: encoded(Image.effect_noise((64, 64), 50), "PNG")[:900], "truncated"),
        (lambda: encoded(Image.effect_noise((64, 64), 50), "JPEG")[:900], "truncated"),
        (lambda: of(full(np.nan, np.float32)), "nan"),
        (lambda: of(full(-0.5, np.float32)), r"from -0.5 to -0.5, expected \[0, 1\]"),
        (lambda: of(full(1e5, np.float32)), "100000"),
        (lambda: of(full(-3, np.int32)), "integers from -3"),
        (lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no format"),
    ],
)
def test_what_is_no_image_says_why(make, says):
    with pytest.raises(ValueError, match=says):
        decode(make(), Preprocessing(8))


def test_images_too_large_to_be_meant_are_unreadable(monkeypatch, tmp_path):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    for i in range(3):
        write(tmp_path / f"{i}.png")
    write(tmp_path / "poster.png", size=(60, 60))
    images = Images(FolderSource(tmp_path), Preprocessing(8), 4, seed=0)
    assert "decompression bomb" in images.corrupt[3]


def test_damaged_files_are_named(tmp_path):
    write(tmp_path / "1.png")
    for name in ("2.png", "3.png"):
        (tmp_path / name).write_bytes((tmp_path / "1.png").read_bytes()[:40])
    images = Images(FolderSource(tmp_path), Preprocessing(8), 4, seed=0)
    said = found.unreadable(images.source, images.corrupt)
    assert said.startswith("2 of 3 records could not be read: 2.png (")
    with pytest.raises(InputError, match=r"the last one 3.png \("):
        Images(FolderSource(tmp_path), Preprocessing(8), 4, seed=0, max_corrupt=1)


def test_a_file_that_is_gone_when_it_is_read_is_a_damaged_one(tmp_path):
    for i in range(3):
        write(tmp_path / f"{i}.png")
    images = Images(FolderSource(tmp_path), Preprocessing(8), 3, seed=0, cache=False)
    (tmp_path / "1.png").unlink()
    assert len(images.at(np.arange(3))[0]) == 3
    assert "No such file" in images.corrupt[1]


# Sets that change, and sets that are too small.


def test_images_exchanged_under_their_names_are_other_data(tmp_path):
    """Seen: the fingerprint stayed, and FID was against the statistics of the old ones."""
    for name, colour in (("1.png", "red"), ("2.png", "blue")):
        Image.new("RGB", (9, 9), colour).save(tmp_path / name, "BMP")
    before = FolderSource(tmp_path).fingerprint
    times = [(tmp_path / n).stat().st_mtime_ns for n in ("1.png", "2.png")]
    assert (tmp_path / "1.png").stat().st_size == (tmp_path / "2.png").stat().st_size
    for old, new in (("1.png", "x"), ("2.png", "1.png"), ("x", "2.png")):
        (tmp_path / old).rename(tmp_path / new)
    for name, time in zip(("1.png", "2.png"), times, strict=True):
        os.utime(tmp_path / name, ns=(time, time))
    assert FolderSource(tmp_path).fingerprint != before


def test_a_copy_is_the_same_data(tmp_path):
    write(tmp_path / "a" / "k" / "1.png")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    os.utime(tmp_path / "b" / "k" / "1.png", ns=(1, 1))
    assert FolderSource(tmp_path / "a").fingerprint == FolderSource(tmp_path / "b").fingerprint
    (tmp_path / "b" / "k").rename(tmp_path / "b" / "other")
    assert FolderSource(tmp_path / "a").fingerprint != FolderSource(tmp_path / "b").fingerprint


def test_large_sets_are_told_by_sizes_times_and_some_contents(tmp_path, monkeypatch):
    monkeypatch.setattr("trainers.tasks.data.folders._HASHED_BYTES", 0)
    for i in range(3):
        write(tmp_path / f"{i}.png", "red")
    before = FolderSource(tmp_path).fingerprint
    assert FolderSource(tmp_path).fingerprint == before
    os.utime(tmp_path / "1.png", ns=(1, 1))
    assert FolderSource(tmp_path).fingerprint != before


def test_a_file_that_changes_while_a_run_reads_it_is_counted(tmp_path):
    write(tmp_path / "1.png", "red")
    source = FolderSource(tmp_path)
    source.read(0)
    assert not source.changed
    write(tmp_path / "1.png", "blue", (50, 50))
    source.read(0)
    assert source.changed == {0}


def lmdb_of(folder, names, colour):
    import lmdb

    content = encoded(Image.new("RGB", (9, 9), COLOURS[colour]), "PNG")
    with lmdb.open(str(folder), map_size=2**20) as environment, environment.begin(write=True) as t:
        for name in names:
            t.put(name, content)


def test_an_lmdb_replaced_in_place_is_other_data_with_other_keys(tmp_path):
    """Of as many records, as many bytes, and not newer than the list of keys beside it."""
    place, other = tmp_path / "set", tmp_path / "other"
    lmdb_of(place, [b"a", b"b"], "red")
    first = LmdbSource(place)
    assert rows(first)[0][0, 0, 0].tolist() == [255, 0, 0]
    lmdb_of(other, [b"c", b"d"], "green")
    time = (place / "data.mdb").stat().st_mtime_ns
    os.replace(other / "data.mdb", place / "data.mdb")
    os.utime(place / "data.mdb", ns=(time, time))
    second = LmdbSource(place)
    assert second.where(0) == "key c"
    assert rows(second)[0][0, 0, 0].tolist() == [0, 255, 0]
    assert second.fingerprint != first.fingerprint
    assert LmdbSource(place).fingerprint == second.fingerprint


def test_labels_of_arrays_are_whole_numbers_or_names():
    images = np.zeros((4, 8, 8), np.uint8)
    named = ArraySource(images, np.array(["10", "9", "cat", "9"]))
    assert named.class_names == ("9", "10", "cat")
    assert [named.read(i).label for i in range(4)] == [1, 0, 2, 0]
    numbered = ArraySource(images, np.array([0.0, 1.0, 1.0, 0.0]))
    assert numbered.num_classes == 2
    assert numbered.fingerprint != ArraySource(images, np.array([1, 0, 0, 1])).fingerprint
    for bad in ([-1, 0, 1, 2], [0.5, 0, 1, 1]):
        with pytest.raises(InputError, match="whole numbers"):
            ArraySource(images, np.array(bad))


@pytest.mark.parametrize(
    ("name", "dataset", "says", "never"),
    [
        ("my_imags", "folder", "Did you mean .*my_images", "LSUN"),
        ("my_imags/train", "lsun", "Did you mean .*my_images", "42.8 GiB"),
        ("nowhere", "folder", "is there, and holds: my_images, one.zip", "LSUN"),
        ("nowhere", "lsun", "42.8 GiB", "Did you mean"),
        ("gone", "folder", "a link to nothing", "LSUN"),
        ("one.zip", "folder", "archive", "LSUN"),
        ("my_images/1.png", "folder", "one image", "LSUN"),
    ],
)
def test_a_wrong_path_is_answered_by_what_is_there(tmp_path, name, dataset, says, never):
    """Seen: the typo of a folder's name was answered by how to download LSUN."""
    write(tmp_path / "my_images" / "1.png")
    (tmp_path / "one.zip").touch()
    if name == "gone":
        (tmp_path / "gone").symlink_to(tmp_path / "target")
    with pytest.raises(InputError, match=says) as caught:
        open_path(tmp_path / name, dataset)
    assert never not in str(caught.value)


@pytest.mark.parametrize("num", [1, 2, 3])
def test_too_few_images_for_scores_are_refused_before_training(tmp_path, num):
    """Seen: such a run trained to its end, and died in a traceback of the scorecard."""
    for i in range(num):
        write(tmp_path / f"{i}.png")
    (tmp_path / "bad.png").write_bytes(b"no image")
    task = build(tiny_images(data__path=str(tmp_path))).task
    with pytest.raises(InputError, match=f"{num} readable images .*bad.png.* at least 4"):
        task.check()


def test_a_run_says_what_it_found(tmp_path):
    for name, colour in (("10", "red"), ("2", "blue")):
        for i in range(2):
            write(tmp_path / name / f"{i}.png", colour, (30 + i, 40))
    Image.new("L", (9, 9)).save(tmp_path / "2" / "small.png")
    (tmp_path / "2" / "cut.png").write_bytes(b"\x89PNG")
    (tmp_path / "2" / "notes.txt").write_text("no image")
    (tmp_path / "10" / "x.png").symlink_to("nothing")
    write(tmp_path / ".hidden" / "1.png")
    task = build(tiny_images(data__path=str(tmp_path))).task
    task.check()
    data, skipped, unreadable, *notes = task.describe().splitlines()
    assert data == (
        f"data         {tmp_path}: 6 images in 2 classes, 2 (4), 10 (2); 9 x 9 to 31 x 40; RGB 4, "
        "L 1; 1 smaller than 28 pixels, which are enlarged"
    )
    assert skipped == (
        "skipped      3: 10/x.png (a link to nothing), 2/notes.txt (no image), .hidden (hidden)"
    )
    assert unreadable.startswith("unreadable   1 of 6 records could not be read: 2/cut.png (")
    assert any("mini-batch of 16" in note for note in notes)
    facts = found.facts(task.source, task.found, task.images.corrupt)
    assert facts["classes"] == {"2": 4, "10": 2}
    assert facts["modes"] == {"RGB": 4, "L": 1}
    assert list(facts["corrupt"]) == ["2/cut.png"]
    assert facts["num_skipped"] == 3
    assert len(facts["skipped"]) == 3


def test_what_could_not_be_read_counts_for_the_same_data_only(tmp_path):
    for i in range(5):
        write(tmp_path / f"{i}.png")
    task = build(tiny_images(data__path=str(tmp_path))).task
    state = {**task.state(), "corrupt": {"2": "why"}}
    fresh = build(tiny_images(data__path=str(tmp_path))).task
    fresh.set_state(state)
    assert fresh.images.corrupt == {2: "why"}
    write(tmp_path / "00.png")
    changed = build(tiny_images(data__path=str(tmp_path))).task
    changed.set_state(state)
    assert changed.images.corrupt == {}


def test_names_of_classes_go_with_the_model_and_need_no_data(tmp_path):
    for name in ("10", "cat", "2"):
        for i in range(2):
            write(tmp_path / "set" / name / f"{i}.png")
    config = tiny_images(data__path=str(tmp_path / "set"), model__conditional=True)
    task = build(config).task
    task.check()
    assert task.export_metadata()["class_names"] == ["2", "10", "cat"]
    state = task.state()
    shutil.rmtree(tmp_path / "set")
    later = build(config).task
    assert "class_names" not in later.export_metadata()
    later.set_state(state)
    assert later.export_metadata()["class_names"] == ["2", "10", "cat"]


def test_a_conditional_model_of_other_classes_is_told_which_there_are(tmp_path):
    for name in ("cat", "dog"):
        write(tmp_path / name / "1.png")
    task = build(tiny_images(data__path=str(tmp_path), model__conditional=True)).task
    with pytest.raises(InputError, match=r"2 \(cat, dog\)"):
        task.check()


def test_a_card_lists_names_of_classes_whatever_is_in_them():
    table = card._classes(["2", "a|b", "x\ny", "<i>é</i>", "\udcff"])
    assert table.splitlines()[2:] == [
        "| 0 | 2 |",
        "| 1 | a&#124;b |",
        "| 2 | x y |",
        "| 3 | &lt;i&gt;é&lt;/i&gt; |",
        "| 4 |   |",
    ]
    assert table.encode()
