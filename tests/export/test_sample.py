"""The command that draws from a published model, with nothing but TensorFlow."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from matplotlib.image import imread

from export import publish
from export import sample as sample_command
from tests.export.conftest import ONLY_MIXTURE, PLOT, samples_of, seed_array
from tf_mixed_nash.errors import InputError

REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
RED, BLACK = (214, 39, 40), (0, 0, 0)


def pixels(path, color) -> np.ndarray:
    """Where the picture has the color: [n, 2] (row, column)."""
    picture = np.round(255 * imread(path)[..., :3])
    return np.argwhere((np.abs(picture - color) < 8).all(axis=-1))


# What it writes.


def test_array_is_the_strategy_s_samples(command, published, tmp_path):
    output = tmp_path / "new" / "folder" / "samples.npy"
    num = 1500  # more than one chunk
    code, out, err = command(
        sample_command,
        f"--model={published.version}",
        f"--num={num}",
        "--seed=7",
        f"--output={output}",
    )
    assert (code, err) == (0, "")
    assert str(output) in out
    samples = np.load(output)
    assert (samples.dtype, samples.shape) == (np.float32, (num, 2))
    expected = samples_of(published.strategy, seed_array(7, num))
    np.testing.assert_allclose(samples, expected, rtol=1e-5, atol=1e-4)


def test_a_larger_num_adds_samples(command, published, tmp_path):
    arrays = []
    for num in (1, 1025):
        output = tmp_path / f"{num}.npy"
        arguments = [f"--model={published.version.parent}", f"--num={num}", f"--output={output}"]
        assert command(sample_command, *arguments, "--seed=-2")[0] == 0
        arrays.append(np.load(output))
    np.testing.assert_array_equal(arrays[0], arrays[1][:1])


def test_draws_from_the_newest_version(command, published, tmp_path):
    """10 comes after 9, and the explicit version wins."""
    base = tmp_path / "model"
    for version in (9, 10):
        shutil.copytree(published.version, base / str(version))
    (base / ".building-11-ab").mkdir()
    output = tmp_path / "s.npy"
    for model, used in ((base, base / "10"), (base / "9", base / "9")):
        _, out, _ = command(sample_command, f"--model={model}", "--num=1", f"--output={output}")
        assert f"1 samples of {used}:" in out


def test_picture_of_a_model(command, published, tmp_path):
    output = tmp_path / "samples.png"
    arguments = [f"--model={published.version}", "--num=200", f"--output={output}"]
    assert command(sample_command, *arguments)[0] == 0
    first = output.read_bytes()
    assert first.startswith(b"\x89PNG")
    assert len(pixels(output, RED)) > 20
    assert command(sample_command, *arguments)[0] == 0
    assert output.read_bytes() == first
    # The manifest's window and modes are in it.
    samples, bare = np.zeros([1, 2], np.float32), tmp_path / "bare.png"
    sample_command.draw_picture(samples, {"window": PLOT["window"]}, bare)
    assert len(pixels(output, BLACK)) > len(pixels(bare, BLACK)) + 20


def test_a_table_has_the_samples_to_the_last_bit(tmp_path):
    path = tmp_path / "s.csv"
    samples = np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32)
    sample_command.write_samples(samples, {}, path)
    np.testing.assert_array_equal(np.loadtxt(path, np.float32, delimiter=","), samples)


def test_one_mode_is_enlarged_with_its_rings(tmp_path):
    """The one that most samples are near: a spread of 0.01 is unseen in a window of 2."""
    modes = [[-0.5, 0.0], [0.5, 0.0]]
    near = 0.01 * np.random.default_rng(0).normal(size=(500, 2)) + modes[1]
    samples = np.concatenate([near, [modes[0]]]).astype(np.float32)
    plot, path = {"window": [-1, 1, -1, 1], "modes": modes}, tmp_path / "p.png"
    sample_command.draw_picture(samples, plot, path)
    whole = pixels(path, RED)
    sample_command.draw_picture(samples, {**plot, "sigma": 0.01}, path)
    assert imread(path).shape == (550, 1100, 4)
    enlarged = pixels(path, RED)
    enlarged = enlarged[enlarged[:, 1] > 550]
    assert len(enlarged) > 20 * max(1, (whole[:, 1] > 550).sum())
    sample_command.draw_picture(samples - np.float32([1, 0]), {**plot, "sigma": 0.01}, path)
    moved = pixels(path, RED)
    assert len(moved[moved[:, 1] > 550]) > 1000  # the other mode has them now


def test_points_are_drawn_where_they_are(tmp_path):
    path = tmp_path / "p.png"

    def center(point, window):
        sample_command.draw_picture(np.array([point], np.float32), {"window": window}, path)
        found = pixels(path, RED)
        return found.mean(axis=0) if len(found) else None

    middle = center((0, 0), [-1, 1, -1, 1])
    right = center((0.5, 0), [-1, 1, -1, 1])
    above = center((0, 0.5), [-1, 1, -1, 1])
    step = right[1] - middle[1]
    assert step > 50
    assert abs(right[0] - middle[0]) < 1
    np.testing.assert_allclose(above - middle, [-step, 0], atol=2)
    np.testing.assert_allclose(center((15, 10), [5, 25, 0, 20]), middle, atol=8)
    assert center((0, 0), [5, 6, 5, 6]) is None


def test_images_become_a_square(tmp_path):
    images = np.stack([np.full([4, 5, 3], v, np.float32) for v in (-1, 0, 1, 3, -2)])
    images[1, :, :, 0] = 1
    path = tmp_path / "g.png"
    sample_command.draw_picture(images, {}, path)
    picture = np.round(255 * imread(path)[..., :3]).astype(int)
    scale = 35  # the first whole multiple of 512 pixels and more
    assert picture.shape == (scale * 2 * 4, scale * 3 * 5, 3)
    assert (picture == picture[::scale, ::scale].repeat(scale, 0).repeat(scale, 1)).all()
    picture = picture[::scale, ::scale]
    cells = [picture[4 * r : 4 * r + 4, 5 * c : 5 * c + 5] for r in range(2) for c in range(3)]
    for cell, color in zip(cells, (0, None, 255, 255, 0, 0), strict=True):
        if color is not None:
            assert (cell == color).all()
    np.testing.assert_array_equal(cells[1].reshape(-1, 3), [[255, 127, 127]] * 20)
    sample_command.draw_picture(images[..., :1], {}, path)
    gray = np.round(255 * imread(path)[::scale, ::scale, :3]).astype(int)
    assert (gray[:4, 5:10] == 255).all()
    assert (gray[:4, :5] == 0).all()


def test_other_samples_have_no_picture(tmp_path):
    for shape in ([4, 3], [4], [4, 8, 8, 2]):
        with pytest.raises(InputError, match=r"have no picture.*samples.npy"):
            sample_command.write_samples(np.zeros(shape, np.float32), {}, tmp_path / "s.png")
    assert list(tmp_path.iterdir()) == []


# A process of its own.


@ONLY_MIXTURE
def test_imports_neither_keras_nor_the_models(published, tmp_path):
    script = (
        "import runpy, sys\n"
        "sys.argv = ['export.sample', *sys.argv[1:]]\n"
        "try: runpy.run_module('export.sample', run_name='__main__', alter_sys=True)\n"
        "except SystemExit as e: assert not e.code\n"
        "print(*sorted(sys.modules))"
    )
    arguments = [f"--model={published.version}", "--num=8", f"--output={tmp_path / 's.npy'}"]
    environment = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    modules = done.stdout.splitlines()[-1].split()
    top = {name.split(".")[0] for name in modules}
    assert "tensorflow" in top
    assert not top & {"keras", "tf_keras", "tensorflow_probability"}
    assert "configs.common" not in modules
    ours = {name for name in modules if name.startswith(("tf_mixed_nash", "trainers"))}
    assert ours == {
        "tf_mixed_nash",
        "tf_mixed_nash.errors",
        "tf_mixed_nash.xla_flags",
        "trainers",
        "trainers.system",
        "trainers.system.cli",
        "trainers.system.environment",
        "trainers.system.files",
        "trainers.system.paths",
        "trainers.system.xla_cache",
        "trainers.system.quiet",
    }
    golden = np.load(published.version / "assets.extra" / "golden.npz")["samples"]
    assert np.load(tmp_path / "s.npy").tobytes() == golden.tobytes()


def test_help_and_errors_do_not_load_tensorflow():
    for arguments, code in ((["--help"], 0), (["--model=nowhere", "--output=s.png"], 2)):
        done = subprocess.run(
            [sys.executable, "-X", "importtime", "-m", "export.sample", *arguments],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code
        names = {line.split("|")[-1].strip() for line in done.stderr.splitlines()}
        assert "numpy" in names
        assert not names & {"tensorflow", "keras", "matplotlib"}
    assert "error: No such model: nowhere." in done.stderr


# What it refuses.


@pytest.fixture
def model(published, tmp_path):
    """A copy of the model, to be damaged; its only version is 1."""
    shutil.copytree(published.version, tmp_path / "model" / "1")
    return tmp_path / "model"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--num=0"], "--num must be at least 1, got 0"),
        (["--num=-5"], "at least 1"),
        (["--num=many"], "flag --num=many"),
        ([f"--seed={2**63}"], "--seed must be in"),
        (["--output={tmp}/s.jpg"], "'s.jpg'. --output must end in one of: .png, .npy"),
        (["--output={tmp}"], "must end in"),
        (["--output={tmp}/folder.npy"], "is a folder"),
        (["--output={tmp}/file/s.npy"], "is a file"),
        (["--model={tmp}/nothing"], "No such model"),
        (["--model={tmp}"], "holds no published version"),
        (["--model={tmp}/file"], "is a file"),
        (["--model={tmp}/model/2"], "does not exist. Other versions there: 1."),
        (["--model="], "holds no published version"),
        (["--signature=generate"], "draw by seed: sample, serving_default"),
        (["--sigature=sample"], "Unknown command line flag 'sigature'"),
        (["s.npy"], "'s.npy'"),
    ],
)
def test_refuses_bad_input(refused, model, tmp_path, arguments, message):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder.npy").mkdir()
    before = sorted(tmp_path.rglob("*"))
    given = [f"--model={model}", f"--output={tmp_path / 's.npy'}"]
    given += [a.replace("{tmp}", str(tmp_path)) for a in arguments]
    assert message in refused(sample_command, *given)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("missing", ["model", "output"])
def test_refuses_a_missing_flag(refused, missing):
    given = {"model": "m", "output": "s.npy"}
    del given[missing]
    assert missing in refused(sample_command, *(f"--{k}={v}" for k, v in given.items()))


def test_refuses_a_half_written_version(refused, model, tmp_path):
    arguments = [f"--model={model}", f"--output={tmp_path / 's.npy'}"]
    data = next((model / "1" / "variables").glob("*.data*"))
    whole = data.read_bytes()
    data.write_bytes(whole[:1000])
    assert "half-written or damaged" in refused(sample_command, *arguments)
    data.write_bytes(whole)
    (model / "1" / "manifest.json").unlink()
    assert "or only part of one" in refused(sample_command, *arguments)
    (model / "2").mkdir()
    assert "manifest.json is missing" in refused(sample_command, *arguments)
    assert not (tmp_path / "s.npy").exists()


def test_refuses_what_is_not_a_saved_model(refused, model, tmp_path):
    """Whole by its manifest, and still no model."""
    (model / "1" / "saved_model.pb").write_bytes(b"\xff\xff not a graph")
    publish.write_manifest(model / "1", {})
    message = refused(sample_command, f"--model={model}", f"--output={tmp_path / 's.npy'}")
    assert "does not load as a SavedModel" in message
    assert not (tmp_path / "s.npy").exists()


@pytest.mark.parametrize("suffix", [".npy", ".png"])
def test_a_full_disk_leaves_the_old_file(refused, published, tmp_path, monkeypatch, suffix):
    output = tmp_path / f"s{suffix}"
    output.write_text("old")

    def full(target, *_, **__):
        (tmp_path / os.path.basename(target)).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda _, *a, **k: full(*a))
    arguments = [f"--model={published.version}", f"--output={output}"]
    assert "No space left on device" in refused(sample_command, *arguments)
    assert output.read_text() == "old"
    assert list(tmp_path.iterdir()) == [output]
