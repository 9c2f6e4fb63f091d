"""A run again: equal where nothing was touched, and the first difference named where it was."""

import json
import re
import shutil

import numpy as np
import pytest
import tensorflow as tf

from tests.shared import shared_folder
from tests.trainers.conftest import FEW_SCORED, command, photograph, tiny, tiny_images
from tf_mixed_nash.errors import InputError
from tf_mixed_nash.methods.oracle import Oracle
from trainers import replay as replays
from trainers.replay import DIFFERS, replay
from trainers.session import train
from trainers.tasks.data.sources import open_path
from trainers.workdir import recoveries
from trainers.workdir.checkpoints import Checkpoints
from trainers.workdir.differences import compare, first_difference

pytestmark = pytest.mark.usefixtures("without_publishing", "quick_pictures")

EVERY = {"log_every": 2, "picture_every": 4, "checkpoint_every": 4}
PLANAR = {**EVERY, **FEW_SCORED}


def by_name(rows):
    return {row.what.split(",")[0]: row for row in rows}


@pytest.fixture(scope="module")
def run(without_publishing, quick_pictures, tmp_path_factory):
    """A finished run of 12 mini-batches, with checkpoints at 4, 8 and 12. Do not change it."""

    def make(folder):
        assert train.train(tiny("mirror_gan", num_batches=12, **PLANAR), folder / "run") == 0

    return shared_folder(tmp_path_factory, "replay", make) / "run"


@pytest.fixture
def copy(run, tmp_path):
    """A copy of it."""
    return shutil.copytree(run, tmp_path / "copy")


@pytest.mark.slow
def test_the_command_finds_a_run_equal_and_removes_the_replay(finished):
    workdir, _ = finished
    done = command("trainers.replay", f"--workdir={workdir}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "metrics.jsonl, 6 lines" in done.stdout
    for part in ("checkpoint 8", "checkpoint 12", "6 pictures", "final.npz", "scorecard.json"):
        line = next(x for x in done.stdout.splitlines() if part in x)
        assert line.endswith("  equal"), line
    assert f"Equal to {workdir}, bit for bit" in done.stdout
    assert not list(workdir.parent.glob("*replay*"))


@pytest.mark.slow
def test_the_command_names_a_difference_and_keeps_the_replay(finished, tmp_path):
    copy = shutil.copytree(finished[0], tmp_path / "copy")
    picture = copy / "samples" / "step_00000008.png"
    data = bytearray(picture.read_bytes())
    data[-20] ^= 1
    picture.write_bytes(data)
    done = command("trainers.replay", f"--workdir={copy}")
    assert done.returncode == DIFFERS == 1
    assert "step_00000008.png has other bytes; 1 pictures differ" in done.stdout
    assert "1 differ (*)" in done.stdout
    (kept,) = tmp_path.glob("copy-replay-*")
    assert str(kept) in done.stdout
    assert (kept / "scorecard.json").is_file()


def change_line(workdir):
    path = workdir / "metrics.jsonl"
    lines = path.read_text().splitlines()
    record = json.loads(lines[2])
    record["loss/w"] += 1e-9
    lines[2] = json.dumps(record)
    path.write_text("\n".join(lines) + "\n")


def cut_lines(workdir):
    path = workdir / "metrics.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))


def remove_picture(workdir):
    (workdir / "samples" / "step_00000004.png").unlink()


def change_tensor(workdir):
    """One bit of one number, in a checkpoint that is as well signed as any."""
    checkpoints = Checkpoints(workdir / "checkpoints")
    tensors = dict(checkpoints.read(8).tensors)
    name = "scheme/theta/z"
    changed = tensors[name].copy()
    changed.view(np.uint32)[5] ^= 1
    tensors[name] = changed
    checkpoints.save(8, {k: tf.constant(v) for k, v in tensors.items()}, {"metrics": {}})
    checkpoints.close()
    assert checkpoints.saved(8)


def damage_checkpoint(workdir):
    (data,) = (workdir / "checkpoints" / "step_00000012").glob("tensors.data*")
    data.write_bytes(data.read_bytes()[:-1])


def change_samples(workdir):
    path = workdir / "samples" / "final.npz"
    with np.load(path) as arrays:
        arrays = dict(arrays)
    arrays["mixture"] = arrays["mixture"].astype(np.float64)
    np.savez_compressed(path, **arrays)


def change_score(workdir):
    path = workdir / "scorecard.json"
    card = json.loads(path.read_text())
    card["strategies"]["ema"]["hq_3"] = 0.123
    path.write_text(json.dumps(card))


@pytest.mark.parametrize(
    ("change", "what", "says"),
    [
        (change_line, "metrics.jsonl", r"line 3: loss/w -?[\d.e-]+ there, .* 1 lines differ"),
        (cut_lines, "metrics.jsonl", "6 lines now"),
        (remove_picture, "samples/step_*.png", "step_00000004.png is missing there"),
        (change_tensor, "checkpoint 8", r"scheme/theta/z differs by up to .*e-.* in 1 of"),
        (damage_checkpoint, "checkpoint 12", "bytes instead of"),
        (change_samples, "samples/final.npz", r"mixture float64 \[.*\] there, float32"),
        (change_score, "scorecard.json", r"strategies.ema.hq_3 0.123 there"),
    ],
)
def test_a_change_is_found_and_nothing_else(change, what, says, run, copy):
    change(copy)
    rows = compare(copy, run, 12, ended=True)
    different = [row for row in rows if row.equal is False]
    assert [row.what.split(",")[0] for row in different] == [what]
    assert re.search(says, different[0].result), different[0].result


def test_first_difference():
    nan = float("nan")
    assert first_difference({"a": nan, "b": {"c": [1]}}, {"a": nan, "b": {"c": [1]}}) is None
    assert first_difference({"a": 0.0}, {"a": -0.0}) == "a 0.0 there, -0.0 now"
    assert first_difference({"a": 1}, {"b": 1}) == (
        "a 1 there, nothing now (2 of 1 entries differ)"
    )
    same = {"x": np.array([nan, 1.0])}
    assert first_difference(same, {"x": np.array([nan, 1.0])}) is None
    assert "by up to 0.5 in 1 of 2" in first_difference(
        {"x": np.array([1.0, 2.0])}, {"x": np.array([1.0, 2.5])}
    )


def test_until_runs_the_first_part_of_the_same_run(run, tmp_path):
    code, rows = replay(run, tmp_path / "again", until=8)
    assert code == 0
    again = json.loads((tmp_path / "again" / "config.json").read_text())
    assert again["num_batches"] == 12  # so the step sizes, which fall to 0 at its end, are the same
    rows = by_name(rows)
    assert rows["metrics.jsonl"].what == "metrics.jsonl, 4 lines"
    assert rows["samples/step_*.png"].what == "samples/step_*.png, 2 pictures"
    assert rows["checkpoint 8"].equal
    assert rows["checkpoint 4"].equal
    for end in ("scorecard.json", "samples/final.npz"):
        assert rows[end].equal is None
    assert not (tmp_path / "again" / "scorecard.json").exists()


def test_until_between_two_records(run, tmp_path):
    code, rows = replay(run, tmp_path / "again", until=7)
    assert code == 0
    assert by_name(rows)["metrics.jsonl"].what == "metrics.jsonl, 3 lines"
    assert Checkpoints(tmp_path / "again" / "checkpoints").steps == [4, 7]
    assert by_name(rows)["checkpoint 4"].equal


@pytest.mark.slow
def test_an_unfinished_run_is_replayed_to_its_newest_checkpoint(tmp_path):
    config = tiny("mirror_gan", num_batches=12, **PLANAR)
    assert train.train(config, tmp_path / "run", until=7) == 143
    with (tmp_path / "run" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 8, "lo')  # as a kill leaves it
    code, rows = replay(tmp_path / "run", tmp_path / "again")
    assert code == 0
    assert by_name(rows)["checkpoint 7"].equal
    assert by_name(rows)["metrics.jsonl"].what == "metrics.jsonl, 3 lines"
    # And it goes on to what an undisturbed run becomes.
    assert train.train(config, tmp_path / "run") == 0
    assert train.train(config, tmp_path / "whole") == 0
    rows = compare(tmp_path / "run", tmp_path / "whole", 12, ended=True)
    assert not [row for row in rows if row.equal is False]


@pytest.mark.slow
def test_a_run_that_rolled_back_takes_the_same_path(tmp_path, monkeypatch):
    """Mini-batch 6 fails, and after one rollback 11; what replays has both behind it."""
    field, bad = Oracle.field, {0: 6, 1: 11}

    def bad_field(self, player, z, opponent, m):
        g, logs = field(self, player, z, opponent, m)
        fails = tf.cast(m, tf.int64) == bad.get(len(self._noise_restarts), -1)
        return tf.where(fails, tf.constant(np.nan, g.dtype), g), logs

    monkeypatch.setattr(Oracle, "field", bad_field)
    config = tiny(
        "mirror_gan", num_batches=16, on_divergence="rollback", temperature=1e-4,
        step_size=1e-3, keep_last=9, **PLANAR,
    )  # fmt: skip
    assert train.train(config, tmp_path / "run") == 0
    assert [r.step for r in recoveries.read(tmp_path / "run")] == [4, 8]
    bad.clear()  # had the replay no recoveries to begin with, it would have none at the end
    code, rows = replay(tmp_path / "run", tmp_path / "again")
    assert code == 0, rows
    assert by_name(rows)["recoveries.json"].equal
    assert by_name(rows)["metrics.jsonl"].what == "metrics.jsonl, 8 lines"
    assert by_name(rows)["checkpoint 4"].equal


def test_a_replay_that_diverges_is_a_difference(run, tmp_path, monkeypatch):
    field = Oracle.field

    def bad_field(self, player, z, opponent, m):
        g, logs = field(self, player, z, opponent, m)
        return tf.where(tf.cast(m, tf.int64) == 6, tf.constant(np.nan, g.dtype), g), logs

    monkeypatch.setattr(Oracle, "field", bad_field)
    code, rows = replay(run, tmp_path / "again")
    assert code == DIFFERS
    assert rows[0].what == "training"
    assert "after mini-batch 4" in rows[0].result


def test_other_circumstances_are_said_first(copy, tmp_path, capsys):
    path = copy / "provenance.json"
    facts = json.loads(path.read_text())
    facts["versions"]["tensorflow"] = "1.15"
    facts["hardware"]["processor"] = "Pentium"
    facts["code"]["commit"] = "0" * 40
    facts["sessions"] = [facts["sessions"][0], {**facts["sessions"][0], "hardware": {}}]
    path.write_text(json.dumps(facts))
    assert replay(copy, tmp_path / "again", until=4)[0] == 0
    said = capsys.readouterr().err
    assert "other tensorflow (1.15 there, " in said
    assert "other processor (Pentium there, " in said
    assert "other code (commit) (000" in said
    assert "2 sessions are not all of the same hardware" in said
    path.unlink()
    assert "provenance.json is missing" in "".join(
        replays._other_circumstances(copy, tiny("mirror_gan", num_batches=12))
    )


def test_the_fingerprint_of_a_numpy_file_is_that_of_its_content(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((3, 4, 4), np.uint8))
    shutil.copy(tmp_path / "a.npy", tmp_path / "b.npy")
    first = open_path(tmp_path / "a.npy").fingerprint
    assert open_path(tmp_path / "b.npy").fingerprint == first
    np.save(tmp_path / "b.npy", np.ones((3, 4, 4), np.uint8))
    assert open_path(tmp_path / "b.npy").fingerprint != first


@pytest.mark.slow
@pytest.mark.slow
def test_images_whose_data_moved(tmp_path, capsys):
    photo = photograph()
    parts = np.stack([photo[10 * i : 10 * i + 28, 50:78].mean(-1) for i in range(20)])
    np.save(tmp_path / "old.npy", parts.astype(np.uint8))
    config = tiny_images(num_batches=4, data__path=str(tmp_path / "old.npy"), **EVERY)
    assert train.train(config, tmp_path / "run") == 0
    (tmp_path / "old.npy").rename(tmp_path / "new.npy")
    with pytest.raises(InputError, match=r"old\.npy"):
        replay(tmp_path / "run", tmp_path / "again")
    shutil.rmtree(tmp_path / "again", ignore_errors=True)
    code, rows = replay(
        tmp_path / "run", tmp_path / "again", data={"path": str(tmp_path / "new.npy")}
    )
    assert code == 0, rows
    assert by_name(rows)["scorecard.json"].equal
    # Other pictures at the same place are noticed before the training.
    np.save(tmp_path / "new.npy", parts[::-1].astype(np.uint8)[:10])
    capsys.readouterr()
    replay(tmp_path / "run", tmp_path / "third", data={"path": str(tmp_path / "new.npy")})
    assert "other data (fingerprint)" in capsys.readouterr().err


def test_bad_input(run, copy, tmp_path):
    with pytest.raises(InputError, match=r"no config\.json"):
        replay(tmp_path / "none", tmp_path / "again")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("x")
    with pytest.raises(InputError, match="not empty"):
        replay(run, tmp_path / "full")
    shutil.rmtree(copy / "checkpoints")
    (copy / "metrics.jsonl").write_text('{"step": 2, "lo')
    with pytest.raises(InputError, match="nothing to compare"):
        replay(copy, tmp_path / "again")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--workdir={tmp}/none"], "no config.json"),
        (["--workdir={run}", "--until=0"], "--until must be at least 1"),
        (["--workdir={run}", "--output={run}"], "not empty"),
        ([], "workdir"),
    ],
)
def test_bad_commands_exit_2_with_one_message(arguments, says, run, tmp_path):
    arguments = [x.format(tmp=tmp_path, run=run) for x in arguments]
    done = command("trainers.replay", *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert says in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not list(run.parent.glob("*replay-*"))
