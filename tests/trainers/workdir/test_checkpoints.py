"""Checkpoints: whole, checked, exact, retained, and found again when the newest is damaged."""

import errno
import json
import os
import threading

import numpy as np
import pytest
import tensorflow as tf

from tests.trainers.conftest import command, photograph, state_of, tiny, tiny_images
from tf_mixed_nash import rng
from tf_mixed_nash.algorithms import ALGORITHMS
from tf_mixed_nash.errors import InputError
from tf_mixed_nash.training.loop import Loop
from tf_mixed_nash.training.rows import Row, Rows
from trainers.experiment.build import build
from trainers.workdir import checkpoints as module
from trainers.workdir.checkpoints import Checkpoints, Retention

MIXTURE = np.arange(12, dtype=np.float32).reshape(3, 4)
ARRAYS = {"scheme/theta/z": np.arange(40, dtype=np.float32), "m": np.int64(7)}


def save(checkpoints, step, **facts):
    tensors = {name: tf.constant(value + step) for name, value in ARRAYS.items()}
    tensors["mixture"] = Rows([Row(row + step) for row in MIXTURE], (4,), "float32")
    checkpoints.save(step, tensors, facts)
    checkpoints.wait()


def scramble(loop):
    """Fills every variable with what no run holds, and empties the reservoir."""
    loop.reservoir.clear()
    for variable in loop.variables.values():
        junk = -77 if variable.dtype.is_integer else np.nan
        variable.assign(tf.fill(variable.shape, tf.constant(junk, variable.dtype)))


# Exactness.


# Slow: images of blocks and stops are test_imaging.py's, batch statistics test_gan.py's.
@pytest.mark.parametrize("algorithm", [*ALGORITHMS, pytest.param("images", marks=pytest.mark.slow)])
def test_nothing_of_the_state_is_missing(algorithm, tmp_path):
    """N steps, a checkpoint, N steps: the same bits again from the checkpoint alone."""
    more = {"num_batches": 24, "temperature": 1e-6, "mixture__num_components": 3}
    if algorithm == "images":  # DCGAN with batch normalisation
        photo = photograph()
        np.save(tmp_path / "patches.npy", [photo[i : i + 32, i : i + 32] for i in range(60)])
        config = tiny_images("mirror_gan", data__path=str(tmp_path / "patches.npy"), **more)
        assert config["model"]["generator_normalization"] == "batch"
    else:
        more["num_inner_steps"] = 2 if ALGORITHMS[algorithm].langevin else 1
        config = tiny(algorithm, **more)
    loop = Loop(build(config))
    loop.advance(11)
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    checkpoints.save(loop.step, loop.tensors(), {})
    middle = state_of(loop)
    loop.advance(24)  # while the thread writes
    whole = state_of(loop)
    checkpoints.wait()
    scramble(loop)
    loop.assign(checkpoints.read().tensors)
    now = state_of(loop)
    for name, value in middle.items():
        np.testing.assert_array_equal(now[name], value, name)
    assert loop.advance(24) is None
    now = state_of(loop)
    for name, value in whole.items():
        np.testing.assert_array_equal(now[name], value, name)
        assert "scheme" not in name or name.endswith(("count", "t")) or np.isfinite(value).all()
    loop.close()


def test_what_is_saved_is_the_moment_it_was_asked_for(tmp_path):
    """The reservoir is written in place while the writer waits; what it holds must not change."""
    config = tiny("sgd", num_batches=60, mixture__num_components=2, mixture__window=(0.0, 1.0))
    loop = Loop(build(config))
    loop.advance(20)
    before = state_of(loop)
    tensors = loop.tensors()
    go = threading.Event()
    slow = {name: (lambda x=x: (go.wait(30), x)[1]) for name, x in tensors.items()}
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(20, slow, {})
    loop.advance(60)
    assert not np.array_equal(loop.mixture(), before["mixture"]), "the reservoir has changed"
    go.set()
    checkpoints.wait()
    found = checkpoints.read().tensors
    assert found.keys() == before.keys()
    for name, value in before.items():
        np.testing.assert_array_equal(found[name], value, name)


def test_only_the_rows_that_are_kept_are_written(tmp_path):
    config = tiny("sgd", num_batches=40, mixture__num_components=8, mixture__window=(0.5, 1.0))
    loop = Loop(build(config))
    checkpoints = Checkpoints(tmp_path)
    for until, rows in ((10, 0), (23, 3), (40, 8)):
        loop.advance(until)
        checkpoints.save(until, loop.tensors(), {})
        checkpoints.wait()
        found = checkpoints.read()
        assert found.tensors["mixture"].shape == (rows, loop.mixture().shape[1])
        assert found.saved.manifest["sizes"].get("mixture", 0) == 4 * found.tensors["mixture"].size
        expected = state_of(loop)
        scramble(loop)
        loop.assign(found.tensors)
        now = state_of(loop)
        for name, value in expected.items():
            np.testing.assert_array_equal(now[name], value, name)


def test_rows_that_stayed_are_copied_once_and_those_that_came_are_seen(tmp_path):
    config = tiny("sgd", num_batches=200, mixture__num_components=4, mixture__window=(0.0, 1.0))
    loop = Loop(build(config))
    checkpoints, known, stayed, came = Checkpoints(tmp_path), set(), 0, 0
    for until in (3, 10, 20, 30, 60, 200):
        loop.advance(until)
        tensors = loop.tensors()
        rows = set(tensors["mixture"].rows)  # the objects, which stay alive in `known`
        stayed, came = stayed + len(rows & known), came + len(rows - known)
        known |= rows
        checkpoints.save(until, tensors, {})
        checkpoints.wait()
        found = checkpoints.read(until).tensors
        for name in ("mixture", "mixture_w", "mixture_t"):
            assert len(found[name]) == min(until, 4)
            np.testing.assert_array_equal(found[name], state_of(loop)[name], name)
    assert min(stayed, came) >= 4, "both happened"


def test_other_rows_of_the_same_outer_steps_are_seen():
    """After a rollback the same t-hat has another theta."""
    loop = Loop(build(tiny("sgd", num_batches=20, mixture__window=(0.0, 1.0))))
    loop.advance(20)
    old = loop.tensors()["mixture"].rows[0].value
    state = state_of(loop)
    loop.assign({**state, "mixture": state["mixture"] + 1})
    np.testing.assert_array_equal(loop.tensors()["mixture"].rows[0].value, old + 1)


def test_a_checkpoint_of_format_1_is_read(tmp_path):
    """It had the reservoir among the tensors, with room for all M rows."""
    more = {"mixture__num_components": 5, "mixture__window": (0.85, 1.0)}
    loop = Loop(build(tiny("sgd", num_batches=20, **more)))
    loop.advance(20)
    expected = state_of(loop)
    assert expected["mixture_t"].tolist() == [17, 18, 19]
    checkpoints = Checkpoints(tmp_path)
    empty = {"mixture": 0, "mixture_w": 0, "mixture_t": -1}
    full = {
        n: np.concatenate([expected[n], np.full_like(expected[n][:2], x)]) for n, x in empty.items()
    }
    checkpoints.save(20, {n: tf.constant(x) for n, x in {**expected, **full}.items()}, {})
    checkpoints.wait()
    manifest = json.loads((checkpoints.latest / "manifest.json").read_text())
    del manifest["checksum"], manifest["rows"]
    manifest = {**manifest, "format": 1, "checksum": module._checksum({**manifest, "format": 1})}
    (checkpoints.latest / "manifest.json").write_text(json.dumps(manifest))
    found = checkpoints.read()
    assert (found.damaged, found.saved.manifest["format"]) == ((), 1)
    scramble(loop)
    loop.assign(found.tensors)
    now = state_of(loop)
    for name, value in expected.items():
        np.testing.assert_array_equal(now[name], value, name)


def test_the_state_of_another_run_is_refused_and_changes_nothing():
    loop, other = Loop(build(tiny("sgd"))), Loop(build(tiny("adam")))
    before = loop.last().theta.numpy()
    with pytest.raises(InputError, match="not of this run"):
        loop.assign({n: v.numpy() for n, v in other.variables.items()})
    wider = Loop(build(tiny("sgd", model__hidden_units=(20, 20))))
    with pytest.raises(InputError, match="has shape"):
        loop.assign({n: v.numpy() for n, v in wider.variables.items()})
    np.testing.assert_array_equal(loop.last().theta, before)


# What a checkpoint says.


def test_the_manifest_says_what_is_in_it(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    save(checkpoints, 5, outer_step=3, metrics={"loss/w": float("nan")})
    found = checkpoints.read()
    manifest = found.saved.manifest
    assert (found.saved.step, manifest["step"], manifest["outer_step"]) == (5, 5, 3)
    assert manifest["metrics"] == {"loss/w": None}, "JSON has no NaN"
    assert manifest["sizes"] == {"scheme/theta": 160, "m": 8, "mixture": 48}
    files = {p.name: p.stat().st_size for p in found.saved.path.iterdir()}
    assert files.keys() - {"manifest.json"} == manifest["files"].keys()
    assert manifest["bytes"] == sum(files.values()) - files["manifest.json"] > 216
    reader = tf.train.load_checkpoint(str(found.saved.path / "tensors"))
    np.testing.assert_array_equal(reader.get_tensor("scheme/theta/z"), np.arange(40) + 5)


def test_a_step_that_is_there_is_replaced(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    save(checkpoints, 5, note="old")
    save(checkpoints, 5, note="new")
    assert checkpoints.read().saved.manifest["note"] == "new"
    assert checkpoints.steps == [5]


def test_nothing_there_is_none(tmp_path):
    assert Checkpoints(tmp_path / "none").read() is None
    assert Checkpoints(tmp_path).latest is None
    with pytest.raises(InputError, match=r"no checkpoint of mini-batch 3\. There are: none"):
        Checkpoints(tmp_path).read(3)


# Retention.


@pytest.mark.parametrize(
    ("retention", "stay"),
    [
        (Retention(last=2), [9, 10]),
        (Retention(last=1, every=4), [4, 8, 10]),
        # Checkpoints need not fall on the multiples.
        (Retention(last=1, every=3), [3, 6, 9, 10]),
        (Retention(last=1, best="min:loss/w"), [7, 10]),
        (Retention(last=1, best="max:loss/w"), [2, 10]),
        (Retention(last=1, best="min:absent"), [10]),
    ],
)
def test_retention(tmp_path, retention, stay):
    checkpoints = Checkpoints(tmp_path, retention)
    for step in (1, 2, 3, 4, 5, 6, 7, 8, 9, 10):
        loss = {2: 9.0, 7: -9.0, 8: float("nan")}.get(step, 0.0)
        save(checkpoints, step, metrics={"loss/w": loss})
    assert checkpoints.steps == stay
    assert [p.name for p in tmp_path.glob(".*")] == []


def test_every_keeps_the_first_at_or_after_a_multiple(tmp_path):
    checkpoints = Checkpoints(tmp_path, Retention(last=1, every=10))
    for step in (4, 8, 12, 16, 20, 24, 33):
        save(checkpoints, step)
    assert checkpoints.steps == [12, 20, 33]


# Damage.


def flip(path, at=-3):
    content = bytearray(path.read_bytes())
    content[at] ^= 16
    path.write_bytes(content)


DAMAGE = {
    "truncated data": lambda p: os.truncate(p / "tensors.data-00000-of-00001", 50),
    "empty data": lambda p: os.truncate(p / "tensors.data-00000-of-00001", 0),
    "flipped data": lambda p: flip(p / "tensors.data-00000-of-00001"),
    "flipped index": lambda p: flip(p / "tensors.index", 20),
    "flipped manifest": lambda p: flip(p / "manifest.json", 25),
    "another number in the manifest": lambda p: (p / "manifest.json").write_text(
        (p / "manifest.json").read_text().replace('"step": 9', '"step": 8')
    ),
    "another fact in the manifest": lambda p: (p / "manifest.json").write_text(
        (p / "manifest.json").read_text().replace('"keep": false', '"keep": true')
    ),
    "cut manifest": lambda p: os.truncate(p / "manifest.json", 30),
    "no manifest": lambda p: (p / "manifest.json").unlink(),
    "truncated rows": lambda p: os.truncate(p / "mixture.rows", 20),
    "one byte more": lambda p: (p / "mixture.rows").write_bytes(
        (p / "mixture.rows").read_bytes() + b"1"
    ),
    "flipped rows": lambda p: flip(p / "mixture.rows"),
    "flipped first row": lambda p: flip(p / "mixture.rows", 2),
    "swapped rows": lambda p: (p / "mixture.rows").write_bytes(
        (p / "mixture.rows").read_bytes()[16:] + (p / "mixture.rows").read_bytes()[:16]
    ),
    "no rows": lambda p: (p / "mixture.rows").unlink(),
    "no data": lambda p: (p / "tensors.data-00000-of-00001").unlink(),
    "nothing in it": lambda p: [f.unlink() for f in p.iterdir()],
    "of another step": lambda p: p.rename(p.with_name("step_00000010")),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_newest_one_is_found_and_the_one_before_is_taken(tmp_path, damage):
    checkpoints = Checkpoints(tmp_path)
    for step in (3, 6, 9):
        save(checkpoints, step)
    DAMAGE[damage](tmp_path / "step_00000009")
    found = checkpoints.read()
    assert found.saved.step == 6
    np.testing.assert_array_equal(found.tensors["scheme/theta/z"], np.arange(40) + 6)
    np.testing.assert_array_equal(found.tensors["mixture"], MIXTURE + 6)
    ((path, reason),) = found.damaged
    assert path.name in ("step_00000009", "step_00000010")
    assert reason
    with pytest.raises(InputError, match="No checkpoint is good"):
        checkpoints.read(max(checkpoints.steps))
    aside = checkpoints.set_aside(path)
    assert aside.name.startswith("damaged-step_")
    assert checkpoints.steps == [3, 6]
    assert checkpoints.read().damaged == ()


def test_all_damaged_is_an_error_and_not_a_new_beginning(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    for step in (3, 6):
        save(checkpoints, step)
        flip(tmp_path / f"step_0000000{step}" / "tensors.index", 20)
    with pytest.raises(InputError, match=r"No checkpoint is good.*step_00000006.*step_00000003"):
        checkpoints.read()


# Interrupted writing.


@pytest.mark.parametrize(
    "stage", ["SaveV2", "describe_files", "_write_rows", "write_json", "sync_tree", "rename"]
)
def test_a_full_disk_leaves_the_good_ones_and_nothing_half_written(tmp_path, monkeypatch, stage):
    checkpoints = Checkpoints(tmp_path, Retention(last=1))
    save(checkpoints, 3)

    def full(*arguments, **named):
        raise OSError(errno.ENOSPC, "No space left on device")

    where = {"SaveV2": tf.raw_ops, "rename": module.Path}.get(stage, module)
    monkeypatch.setattr(where, stage, full)
    checkpoints.save(6, {"m": tf.constant(1), "mixture": Rows([], (4,), "float32")}, {})
    with pytest.raises(InputError, match=r"mini-batch 6 could not be written \(No space left"):
        checkpoints.wait()
    monkeypatch.undo()
    assert [p.name for p in tmp_path.iterdir()] == ["step_00000003"]
    assert checkpoints.read().saved.step == 3
    save(checkpoints, 9)  # there is room again
    assert checkpoints.steps == [9]


def test_the_error_is_raised_at_the_next_save_at_the_latest(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path)
    monkeypatch.setattr(module, "sync_tree", lambda _: (_ for _ in ()).throw(OSError(28, "full")))
    checkpoints.save(6, {"m": tf.constant(1)}, {})
    with pytest.raises(InputError, match="mini-batch 6"):
        checkpoints.save(9, {"m": tf.constant(1)}, {})


def test_what_a_killed_process_left_is_ignored_and_removed(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    save(checkpoints, 3)
    for name in (".building-step_00000006-ab", ".removing-step_00000001-ab"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "tensors.index").write_text("half")
    (tmp_path / "step_7").mkdir()  # no name of ours
    assert checkpoints.steps == [3]
    assert checkpoints.read().saved.step == 3
    checkpoints.clean()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step_00000003", "step_7"]


# The command.


def test_the_command_lists_and_checks(finished, tmp_path):
    done = command("trainers.checkpoint", f"--workdir={finished[0]}")
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["8", "10", "12"]
    assert "MB" in done.stdout
    assert "()" not in done.stdout, "of what is less than 0.1 MB"
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    save(Checkpoints(folder), 3)
    flip(folder / "step_00000003" / "tensors.index", 20)
    done = command("trainers.checkpoint", f"--workdir={tmp_path}")
    assert (done.returncode, "DAMAGED" in done.stdout) == (2, True)
    assert command("trainers.checkpoint", f"--workdir={tmp_path}/none").returncode == 2


def test_a_run_writes_what_the_issue_of_resuming_needs(finished):
    (*_, newest) = sorted((finished[0] / "checkpoints").iterdir())
    manifest = json.loads((newest / "manifest.json").read_text())
    assert manifest["config"] == json.loads((finished[0] / "config.json").read_text())
    assert manifest["rng"] == {"seed": 0, "next_batch": 12, "draws": rng.LAW}
    assert manifest["compile"] == "parts"
    assert manifest["num_records"] == 6
    assert manifest["metrics"]["step"] == 12
    assert manifest["code"].keys() == {"commit", "dirty"}
    assert (manifest["replicas"], manifest["outer_step"]) == (1, 6)
    names = set(Checkpoints(newest.parent).read().tensors)
    for part in ("scheme/theta/", "scheme/w/", "ema", "anchor", "mixture_t", "sums/w/loss"):
        assert any(name.startswith(part) for name in names), part
