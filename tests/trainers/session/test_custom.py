"""Networks and data of files, from the command line's config to a finished run."""

import json
import shutil

import numpy as np
import pytest

from configs import common
from tests.trainers.conftest import tiny, tiny_images
from tf_mixed_nash.errors import InputError
from trainers import replay
from trainers.answers import reading
from trainers.experiment import settings
from trainers.experiment.build import build, task_of
from trainers.session.train import train
from trainers.system import provenance
from trainers.workdir.folder import read_card

PARTS = """
import keras

def net(i, o):
    return keras.Sequential(
        [keras.Input((i,)), keras.layers.Dense(8, "relu"), keras.layers.Dense(o)]
    )
"""
NETS = """
from __future__ import annotations
import dataclasses
import numpy as np
import keras
from own_parts import net

@dataclasses.dataclass
class Sizes:
    d: int = 3

def generator():
    return net(2, Sizes().d)

def discriminator():
    return net(Sizes().d, 1)

flat = net(2, 2)

def judge():
    return net(2, 1)

def rows(m, size):
    return np.random.default_rng(m).normal(size=(size, 3)).astype(np.float32)

def image():
    return keras.Sequential(
        [keras.Input((100,)), keras.layers.Dense(784, "tanh"), keras.layers.Reshape((28, 28, 1))]
    )

def plain(real, fake):
    return real.sum(), fake


def of_rows(critic, real, fake, key):
    return critic(real)[:, 0] ** 2

def broken():
    raise OSError("no weights here")

def broken_rows(m, size):
    raise OSError("no rows here")

def two():
    return keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])

def odd_generator():
    return keras.Sequential([keras.Input((2,)), keras.layers.Dense(3, "relu")])

def odd_discriminator():
    return keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, "sigmoid")])

def not_finite(critic, real, fake, key):
    return keras.ops.convert_to_tensor(float("nan"))

def no_number(real, fake):
    from tf_mixed_nash.games.objectives import Losses
    ops = keras.ops
    return Losses(generator=-ops.mean(fake), discriminator=ops.mean(ops.log(-ops.square(fake))))
"""


@pytest.fixture
def files(tmp_path):
    """A folder with a user's files and a table."""
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "own_parts.py").write_text(PARTS)
    (folder / "nets.py").write_text(NETS)
    np.save(folder / "points.npy", np.random.default_rng(0).normal(size=(200, 3)))
    return folder


def config(files, **overrides):
    own = {f"model__{p}": f"{files}/nets.py:{p}" for p in ("generator", "discriminator")}
    return tiny("adam", **{**own, "dataset": f"{files}/nets.py:rows", **overrides})


@pytest.mark.usefixtures("without_publishing", "quick_pictures")
def test_a_run_of_files_from_end_to_end(files, tmp_path, capsys):
    # Of another run of this process, with the same names.
    earlier = shutil.copytree(files, tmp_path / "earlier")
    (earlier / "own_parts.py").write_text(PARTS.replace("Dense(8", "Dense(9"))
    sizes = [task_of(config(f)).networks().theta.num_parameters for f in (earlier, files)]
    assert sizes == [2 * n + n + n * 3 + 3 for n in (9, 8)]
    work = tmp_path / "run"
    c = config(files, dataset="vectors", data__path=str(files / "points.npy"))
    assert train(c, work, until=1) == 143
    then = json.loads((work / provenance.FILE).read_text())["user_files"]
    assert {*then} == {str(files / name) for name in ("nets.py", "own_parts.py")}
    assert then[str(files / "nets.py")]["text"] == NETS
    # Edited between two sessions: said, and written down.
    (files / "nets.py").write_text(NETS + "\n# edited\n")
    capsys.readouterr()
    assert train(c, work) == 0
    assert "nets.py was edited since the checkpoint" in capsys.readouterr().err
    *_, last = json.loads((work / provenance.FILE).read_text())["sessions"]
    assert last["edited_files"][str(files / "nets.py")]["text"].endswith("# edited\n")
    (files / "nets.py").write_text(NETS + "\n# edited again\n")
    notes = list(replay._other_circumstances(work, c))
    assert any("nets.py is not as it was" in note for note in notes)
    capsys.readouterr()
    _, known = reading.load_answer(work, "last")
    assert "scorecard" not in known, "it is of other networks, perhaps"
    assert "nets.py was edited since the checkpoint" in capsys.readouterr().err
    (files / "nets.py").write_text(NETS + "\n# edited\n")
    assert "scorecard" in reading.load_answer(work, "last")[1]
    assert "edited" not in capsys.readouterr().err
    card = read_card(work)
    assert card["data"]["held_out"]
    assert 0 < card["ks_max"] <= 1
    assert len(card["ks"]) == 3
    pictures = {p.name for p in (work / "samples").glob("*.png")}
    assert {"published.png", "pairs_last.png", "step_00000002.png"} <= pictures


def test_initial_weights_are_a_function_of_the_seed(files):
    def start(**overrides):
        return build(config(files, **overrides)).networks

    first, again, other = start(), start(), start(seed=1)
    for player in ("theta", "w"):
        np.testing.assert_array_equal(first.of(player).initial(), again.of(player).initial())
        assert (first.of(player).initial() != other.of(player).initial()).numpy().any()
    task = task_of(config(files))
    assert (task.networks("/1").theta.initial() != first.theta.initial()).numpy().any()
    feed = task.feed(first.theta.dtype)
    assert feed.block(0, 1)[1].shape == (1, 16, 3)


def test_networks_of_ones_own_on_the_paper_s_data_and_on_images(files):
    own = {
        "model__generator": f"{files}/nets.py:flat",
        "model__discriminator": f"{files}/nets.py:judge",
    }
    run = build(tiny("adam", **own))
    assert run.networks.theta.num_parameters == 2 * 8 + 8 + 8 * 2 + 2
    half = build(tiny("adam", model__generator=f"{files}/nets.py:flat"))
    assert half.networks.w.num_parameters > run.networks.w.num_parameters
    # A model that is an object starts elsewhere as another particle.
    task = task_of(tiny("adam", **own))
    a, b = (task.networks(salt).theta.initial() for salt in ("", "/1"))
    assert (a != b).numpy().any()
    images = build(tiny_images("adam", model__generator=f"{files}/nets.py:image"))
    assert images.networks.theta.num_parameters == 100 * 784 + 784


def test_keys_that_are_not_read_are_not_written():
    c = tiny("adam")
    assert not {"generator", "discriminator"} & set(c["model"])
    assert "held_out" not in c["data"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"dataset": "gaussians8", "data__path": "x.npy"}, "data.path='x.npy' is not read"),
        ({"data__path": "x.npy"}, "is not read"),
        ({"dataset": "vectors"}, "needs --config.data.path"),
        ({"dataset": "vectors", "data__path": "none.npy"}, "There is no file none.npy"),
        ({"dataset": "vectors", "data__held_out": 1.5}, "held_out must be in"),
        ({"data__held_out": 0.5}, "data.held_out=0.5 is not read"),
        ({"dataset": "none.py:rows"}, "there is no file"),
        ({"model__generator": "{files}/nets.py:nothing"}, "there is no 'nothing' in the file"),
        (
            {"model__generator": "{files}/nets.py:flat"},
            r"gives samples of shape \[2\], and the data are \[3\]",
        ),
        ({"model__generator": "{files}/nets.py:rows"}, "must be a function without arguments"),
        ({"game__objective": "{files}/nets.py:plain"}, "The objective plain must take"),
        ({"game__penalty": "{files}/nets.py:of_rows"}, r"penalty=of_rows must be .* one number"),
        ({"model__discriminator": "{files}/nets.py:two"}, r"gives \[2\] numbers for each datum"),
        ({"model__discriminator": "{files}/nets.py:broken"}, "failed with OSError: no weights"),
        (
            {"dataset": "{files}/nets.py:broken_rows"},
            r"broken_rows\(0, 16\) failed with OSError: no",
        ),
        ({"dataset": "nowhere"}, "Unknown dataset 'nowhere'"),
    ],
)
def test_what_is_refused_before_anything_is_written(files, tmp_path, overrides, message):
    given = {k: v.format(files=files) if isinstance(v, str) else v for k, v in overrides.items()}
    with pytest.raises(InputError, match=message):
        train(config(files, **given), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("without_publishing", "quick_pictures")
def test_last_layers_that_hardly_fit_are_warned_of(files, tmp_path, capsys):
    own = {f"model__{p}": f"{files}/nets.py:odd_{p}" for p in ("generator", "discriminator")}
    assert train(config(files, **own), tmp_path / "run", until=1) == 143
    said = capsys.readouterr().err
    assert "warning: the discriminator's last activation reaches [0, 1] only" in said
    assert "the generator's last activation reaches [0, inf]" in said


@pytest.mark.usefixtures("without_publishing", "quick_pictures")
def test_a_penalty_that_is_not_finite_is_a_divergence(files, tmp_path, capsys):
    assert train(config(files, game__penalty=f"{files}/nets.py:not_finite"), tmp_path / "run") == 3
    assert "the discriminator left the finite numbers at mini-batch 0" in capsys.readouterr().err


@pytest.mark.usefixtures("without_publishing", "quick_pictures")
def test_a_loss_that_is_no_number_is_a_divergence(files, tmp_path, capsys):
    """Its gradients are finite."""
    objective = f"{files}/nets.py:no_number"
    assert train(config(files, game__objective=objective), tmp_path / "run") == 3
    assert "the discriminator left the finite numbers at mini-batch 0" in capsys.readouterr().err
    assert (tmp_path / "run" / "postmortem_1.json").is_file()


def test_images_of_files_are_refused_from_configs_of_images(files):
    c = common.images("mnist", "adam", "tiny")
    c.dataset = f"{files}/nets.py:rows"
    with pytest.raises(InputError, match="Take a config of the plane"):
        settings.resolve(c)


@pytest.mark.usefixtures("without_publishing", "quick_pictures")
def test_losses_that_overflow_end_with_a_post_mortem(tmp_path, capsys):
    """Infinite means of a record are no JSON; the next session says the same."""
    c = tiny(
        "sgd", num_batches=40, log_every=1, step_size=1e9, game__gradient_penalty=1e20,
        generator__step_size_schedule="constant", discriminator__step_size_schedule="constant",
    )  # fmt: skip
    assert train(c, tmp_path) == 3
    assert "left the finite numbers" in capsys.readouterr().err
    text = (tmp_path / "postmortem_1.json").read_text()
    assert "inf" in [r for record in json.loads(text)["last_records"] for r in record.values()]
