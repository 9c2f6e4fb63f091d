"""What may go wrong with a run from outside: signals, kills, disks, damage, clocks, rivals.

After each, the same command ends where the undisturbed run ends, bit for bit. Random kills are
in tests/chaos.py.
"""

import contextlib
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from tests.trainers.conftest import (
    FEW_SCORED,
    ROOT,
    photograph,
    publish_without_model,
    tiny,
    tiny_images,
)
from tf_mixed_nash.errors import InputError
from tf_mixed_nash.training.loop import Loop
from trainers.answers import publishing
from trainers.session import journal as journal_module
from trainers.session import session, train
from trainers.system import lock
from trainers.system.stopping import StopRequest
from trainers.workdir.checkpoints import Checkpoints

pytestmark = pytest.mark.usefixtures("without_publishing", "quick_samplers", "quick_pictures")

MORE = {
    "num_batches": 60,
    "log_every": 10,
    "picture_every": 30,
    "checkpoint_every": 15,
    **FEW_SCORED,
}
# The least to trace; that every algorithm resumes exactly is in test_checkpoint.py.
CONFIG = tiny("rmsprop", **MORE)


def state(workdir):
    """What must be the same in an undisturbed run: name -> content."""
    content = {
        "metrics.jsonl": (workdir / "metrics.jsonl").read_bytes(),
        "scorecard.json": (workdir / "scorecard.json").read_bytes(),
    }
    for path in sorted((workdir / "samples").iterdir()):
        content[path.name] = path.read_bytes()
    for name, value in Checkpoints(workdir / "checkpoints").read().tensors.items():
        content[name] = value.tobytes()
    versions = sorted(p.name for p in (workdir / "export" / "generator").glob("[0-9]*"))
    return {**content, "versions": versions}


def assert_same(workdir, reference):
    ours = state(workdir)
    assert ours.keys() == reference.keys()
    assert [name for name, value in ours.items() if value != reference[name]] == []


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("reference") / "run"
    assert train.train(CONFIG, workdir) == 0
    return state(workdir)


@pytest.fixture(scope="module")
def cut(tmp_path_factory):
    """A run that was killed between its record 50 and the checkpoint 60. Do not change it."""
    workdir = tmp_path_factory.mktemp("cut") / "run"
    with pytest.MonkeyPatch.context() as patch, at_step(50, kill, patch), pytest.raises(Killed):
        train.train(CONFIG, workdir)
    return workdir


@pytest.fixture
def interrupted(cut, tmp_path):
    """A copy of it."""
    return shutil.copytree(cut, tmp_path / "run")


@contextlib.contextmanager
def at_step(step, act, monkeypatch):
    """Calls act() once, before the compiled call that begins at or after `step`."""
    advance, done = Loop.advance, []

    def acting(self, until):
        if self.step >= step and not done:
            done.append(True)
            act()
        return advance(self, until)

    with monkeypatch.context() as patch:
        patch.setattr(Loop, "advance", acting)
        yield
    assert done


class Killed(BaseException):
    pass


def kill():
    raise Killed


# Signals.


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_stops_at_the_next_step_and_loses_nothing(
    number, code, reference, tmp_path, monkeypatch, capsys
):
    workdir = tmp_path / "run"
    # Between two records: the half-summed metrics are part of the state.
    with at_step(23, lambda: os.kill(os.getpid(), number), monkeypatch):
        monkeypatch.setattr(session, "CALL_SECONDS", 1e-9)  # calls of one step
        assert train.train(CONFIG, workdir) == code
    assert "the same command resumes" in capsys.readouterr().out
    assert Checkpoints(workdir / "checkpoints").read().saved.step == 24
    assert train.train(CONFIG, workdir) == 0
    assert_same(workdir, reference)


def test_a_signal_while_the_run_is_scored_and_published(reference, tmp_path, monkeypatch):
    """The end is done again; what was published is not published twice."""
    workdir = tmp_path / "run"

    def publish_and_stop(*arguments):
        publish_without_model(*arguments)
        os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(publishing, "publish_strategy", publish_and_stop)
        assert train.train(CONFIG, workdir) == 143
    assert not (workdir / "scorecard.json").exists()
    assert train.train(CONFIG, workdir) == 0
    assert_same(workdir, reference)


def test_a_second_interrupt_ends_at_once():
    before = signal.getsignal(signal.SIGINT)
    with StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.code == 130
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


# Kills, where they hurt most.


@pytest.mark.parametrize(
    "where",
    [
        "sync_tree",
        *(pytest.param(n, marks=pytest.mark.slow) for n in ("write_json", "describe_files")),
    ],
)
def test_killed_inside_a_checkpoint(where, reference, tmp_path, monkeypatch):
    """As a kill leaves it: the half-written folder stays, and nothing is cleaned up."""
    from trainers.workdir import checkpoints as module

    workdir = tmp_path / "run"

    def killed(*arguments, **named):
        monkeypatch.setattr(module.shutil, "rmtree", lambda *a, **b: None)
        raise Killed

    with monkeypatch.context() as patch:
        count, whole = [], getattr(module, where)

        def second_time(*arguments, **named):
            count.append(1)
            return killed() if len(count) == 2 else whole(*arguments, **named)

        patch.setattr(module, where, second_time)
        with pytest.raises(Killed):
            train.train(CONFIG, workdir)
    monkeypatch.undo()
    assert list((workdir / "checkpoints").glob(".building-*"))
    assert Checkpoints(workdir / "checkpoints").steps == [15]
    assert train.train(CONFIG, workdir) == 0
    assert not list((workdir / "checkpoints").glob(".*"))
    assert_same(workdir, reference)


def test_killed_between_a_record_and_its_checkpoint(reference, interrupted):
    # TensorBoard's own: `event_accumulator` never drops tensors.
    from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator

    workdir = interrupted
    time.sleep(1.1)  # event files are told apart by the second
    with (workdir / "metrics.jsonl").open("a") as file:
        file.write('{"step": 60, "lo')
    assert train.train(CONFIG, workdir) == 0
    assert_same(workdir, reference)
    # TensorBoard shows each step once.
    events = EventAccumulator(str(workdir / "tensorboard"), {"tensors": 0})
    events.Reload()
    assert [e.step for e in events.Tensors("loss/w")] == [10, 20, 30, 40, 50, 60]


# Rivals.


def test_a_second_trainer_is_refused_and_a_crashed_one_leaves_no_lock(
    reference, tmp_path, monkeypatch
):
    workdir = tmp_path / "run"
    workdir.mkdir()
    program = (
        "import sys, time\nfrom pathlib import Path\nfrom trainers.system import lock\n"
        "with lock.hold(Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(60)\n"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", program, str(workdir)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(InputError, match=rf"in use by another trainer \(process {other.pid} "):
            train.train(CONFIG, workdir)
        assert [p.name for p in workdir.iterdir()] == [lock.FILE], "nothing was written"
    finally:
        other.kill()
        other.communicate()
    assert train.train(CONFIG, workdir) == 0
    assert_same(workdir, reference)


# Disks.


@contextlib.contextmanager
def tmpfs(folder, size):
    folder.mkdir()
    if os.geteuid() or subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder],
        check=False, capture_output=True,
    ).returncode:  # fmt: skip
        pytest.skip("needs to mount a small tmpfs: run as root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def remount(folder, options):
    subprocess.run(["mount", "-o", f"remount,{options}", folder], check=True)


def test_a_full_disk_stops_the_run_and_room_lets_it_go_on(reference, tmp_path):
    """A real one: first too small for the checkpoints, then larger."""
    with tmpfs(tmp_path / "small", "200k") as small:
        with pytest.raises(InputError, match=r"could not be written.*No space left.*resumes"):
            train.train(CONFIG, small / "run")
        good = Checkpoints(small / "run" / "checkpoints").read()
        assert not list((small / "run" / "checkpoints").glob(".building-*"))
        remount(small, "size=50m")
        assert train.train(CONFIG, small / "run") == 0
        assert_same(small / "run", reference)
        assert good is None or good.saved.step in (15, 30, 45, 60)


@pytest.mark.parametrize("what", ["metrics.jsonl", "picture", "tensorboard"])
def test_a_disk_that_fills_up_elsewhere_is_no_stack_trace(what, reference, tmp_path, monkeypatch):
    workdir = tmp_path / "run"

    def full(*arguments, **named):
        raise OSError(errno.ENOSPC, "No space left on device", str(workdir / what))

    with monkeypatch.context() as patch:
        if what == "metrics.jsonl":
            write = journal_module.Journal.write
            patch.setattr(
                journal_module.Journal,
                "write",
                lambda self, record, times, histograms: (
                    full() if record["step"] == 40 else write(self, record, times, histograms)
                ),
            )
        elif what == "picture":
            patch.setattr(session.Session, "_picture", full)
        else:
            patch.setattr(
                journal_module.tf.summary, "scalar",
                lambda *a, step, **b: full() if step == 40 else None,
            )  # fmt: skip
        with pytest.raises(InputError, match=rf"{what} could not be written.*No space left"):
            train.train(CONFIG, workdir)
    assert train.train(CONFIG, workdir) == 0
    assert_same(workdir, reference)


def test_a_read_only_workdir_is_refused_and_left_alone(cut, tmp_path):
    with tmpfs(tmp_path / "place", "50m") as place:
        workdir = shutil.copytree(cut, place / "run")
        before = {p: p.read_bytes() for p in workdir.rglob("*") if p.is_file()}
        remount(place, "ro")
        with pytest.raises(InputError, match=r"cannot be written \(Read-only file system\)"):
            train.train(CONFIG, workdir)
        assert {p: p.read_bytes() for p in workdir.rglob("*") if p.is_file()} == before


# Damage.


@pytest.mark.parametrize("damage", ["truncated", "flipped"])
def test_a_damaged_newest_checkpoint(damage, reference, interrupted, capsys):
    workdir = interrupted
    newest = Checkpoints(workdir / "checkpoints").latest
    data = newest / "tensors.data-00000-of-00001"
    if damage == "truncated":
        os.truncate(data, data.stat().st_size // 2)
    else:
        content = bytearray(data.read_bytes())
        content[len(content) // 2] ^= 1
        data.write_bytes(content)
    capsys.readouterr()
    assert train.train(CONFIG, workdir) == 0
    captured = capsys.readouterr()
    assert "step_00000045 is damaged" in captured.err
    assert "Resuming from" in captured.out
    assert "step_00000030" in captured.out
    assert list((workdir / "checkpoints").glob("damaged-step_00000045-*")), "the evidence stays"
    assert_same(workdir, reference)


def test_all_checkpoints_damaged_is_an_error(interrupted):
    workdir = interrupted
    for path in (workdir / "checkpoints").iterdir():
        (path / "manifest.json").unlink()
    before = (workdir / "metrics.jsonl").read_bytes()
    with pytest.raises(InputError, match="No checkpoint is good"):
        train.train(CONFIG, workdir)
    assert (workdir / "metrics.jsonl").read_bytes() == before, "nothing more was lost"


def test_missing_files(reference, interrupted, tmp_path, capsys):
    workdir = interrupted
    (workdir / "config.json").rename(workdir / "config")
    with pytest.raises(InputError, match=r"no config\.json"):
        train.train(CONFIG, workdir)
    (workdir / "config").rename(workdir / "config.json")
    (workdir / "provenance.json").unlink()
    shutil.rmtree(workdir / "tensorboard")
    for picture in (workdir / "samples").iterdir():
        picture.rename(tmp_path / picture.name)
    metrics = (workdir / "metrics.jsonl").read_text().splitlines(keepends=True)
    (workdir / "metrics.jsonl").unlink()
    capsys.readouterr()
    assert train.train(CONFIG, workdir) == 0
    err = capsys.readouterr().err
    assert "has 0 lines where the checkpoint knows of 4: records were lost" in err
    sessions = json.loads((workdir / "provenance.json").read_text())["sessions"]
    assert [s["from_step"] for s in sessions] == [45]
    # With what was taken away put back, it is the undisturbed run.
    rest = (workdir / "metrics.jsonl").read_text()
    (workdir / "metrics.jsonl").write_text("".join(metrics[:4]) + rest)
    for name in ("step_00000030.png",):
        (tmp_path / name).rename(workdir / "samples" / name)
    assert_same(workdir, reference)


# Clocks.


def test_a_clock_that_jumps(reference, tmp_path, monkeypatch):
    """Back by a day and on by ten years, while it trains and between two sessions."""
    workdir, now = tmp_path / "run", time.time
    jumps = iter([-86_400.0, 3e8, -1e6])

    def jump():
        by = next(jumps)
        monkeypatch.setattr(time, "time", lambda: now() + by)

    for step, stop in ((10, 25), (30, 47)):
        with at_step(step, jump, monkeypatch):
            assert train.train(CONFIG, workdir, until=stop) == 143
    jump()
    assert train.train(CONFIG, workdir) == 0
    assert_same(workdir, reference)


# Images, and batch normalisation.


@pytest.mark.slow
def test_the_image_trainer_with_batch_normalisation_resumes_exactly(tmp_path, monkeypatch):
    photo = photograph()
    patches = np.stack([photo[8 * i : 8 * i + 32, 6 * i : 6 * i + 32] for i in range(60)])
    np.save(tmp_path / "patches.npy", patches)
    config = tiny_images(
        data__path=str(tmp_path / "patches.npy"), num_batches=16, log_every=4, picture_every=8,
        checkpoint_every=4, temperature=1e-4,
    )  # fmt: skip
    assert config["model"]["generator_normalization"] == "batch"
    assert train.train(config, tmp_path / "whole") == 0
    whole = state(tmp_path / "whole")
    with at_step(10, kill, monkeypatch), pytest.raises(Killed):
        train.train(config, tmp_path / "again")
    assert Checkpoints(tmp_path / "again" / "checkpoints").read().saved.step in (8, 12)
    assert train.train(config, tmp_path / "again") == 0
    assert_same(tmp_path / "again", whole)


# Replicas.

REPLICAS = """
import sys
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from pathlib import Path
from tests.trainers.conftest import tiny
from tests.trainers.test_faults import MORE
from trainers.session import train
strategy, precision, until, workdir = sys.argv[1:]
config = tiny("mirror_gan", temperature=1e-4, strategy=strategy, precision=precision, **MORE)
until = int(until) or None
sys.exit(train.train(config, Path(workdir), until))
"""


def with_replicas(strategy, workdir, until=0, precision="float64"):
    arguments = [strategy, precision, str(until), str(workdir)]
    done = subprocess.run(
        [sys.executable, "-c", REPLICAS, *arguments], cwd=ROOT, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == (143 if until else 0), done.stderr[-3000:]
    return done


@pytest.mark.slow
def test_two_replicas_resume_exactly_and_take_over_from_one(tmp_path):
    with_replicas("mirrored", tmp_path / "whole")
    with_replicas("mirrored", tmp_path / "again", until=20)
    with_replicas("mirrored", tmp_path / "again")
    assert_same(tmp_path / "again", state(tmp_path / "whole"))
    # Elastic: begun on one, gone on on two, within the tolerance of docs/distribution.md.
    with_replicas("default", tmp_path / "elastic", until=20)
    done = with_replicas("mirrored", tmp_path / "elastic")
    assert "other replicas (1 there, 2 now)" in done.stderr
    one, two = (
        Checkpoints(tmp_path / name / "checkpoints").read().tensors for name in ("elastic", "whole")
    )
    for name in ("scheme/theta/z", "scheme/w/z", "ema", "mixture"):
        error = np.linalg.norm(one[name] - two[name]) / np.linalg.norm(two[name])
        assert 0 < error < 1e-8, name
    assert json.loads((tmp_path / "elastic" / "config.json").read_text())["strategy"] == "mirrored"
