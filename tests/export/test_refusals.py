"""Publishing that is refused or fails: one clear message, and nothing has changed.

Every case goes through the command, on the folder of a running server, which must then hold the
version that it held, serve the same bytes, and have no half-written folder.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import re
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from export import card, publish, saved_model, verify, warmup
from export import strategy as strategies
from export.serving.config import ModelConfig
from export.serving.server import Settings
from export.serving.versions import State
from tests.export.conftest import make_strategy, published_points, seed_array
from tests.export.serving.conftest import Running, ask
from tests.export.test_publish import tree
from tf_mixed_nash.strategies.mixed import MixedStrategy
from tf_mixed_nash.types import Measure
from trainers.answers import reading

SEEDS = seed_array(4, 9).tolist()


@pytest.fixture(scope="module")
def version(tmp_path_factory):
    """A published version, to be copied."""
    return published_points(tmp_path_factory, 1)


@pytest.fixture(scope="module")
def served(version, tmp_path_factory):
    """A server of the version `base`/3: `base`, `answer` (what it answers now), `running`."""
    base = tmp_path_factory.mktemp("served") / "points"
    with serve(base, version) as found:
        yield found


class serve:  # noqa: N801  # a context manager
    """A server of the model in base, whose version 3 is a copy of `version`."""

    def __init__(self, base, version):
        shutil.copytree(version, base / "3")
        (base / ".last-version").write_text("3\n")
        self.base = base
        self.running = Running(
            Settings([ModelConfig("points", base)], poll_seconds=3600, access_log="")
        )

    def __enter__(self):
        self.running.__enter__()
        return self

    def __exit__(self, *exception):
        self.running.__exit__(*exception)

    def answer(self):
        """What the server answers after a look at its folder."""
        self.running.poll()
        ask_for = ("POST", "/v1/models/points:predict", {"instances": SEEDS})
        ((status, content),) = ask(self.running.rest, ask_for)
        assert status == 200
        return content


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A workdir in which trainers.answers.reading finds `run.strategy`."""
    found = SimpleNamespace(folder=tmp_path / "run", strategy=make_strategy(1))
    monkeypatch.setattr(reading, "load_answer", lambda *_: (found.strategy, {"average": "mixture"}))
    monkeypatch.setattr(reading, "export_metadata", lambda _: {})
    found.folder.mkdir()
    return found


@contextlib.contextmanager
def nothing_changes(served):
    """Checks that what is done inside leaves the folder and the server as they were."""
    before, answer = tree(served.base), served.answer()
    yield
    after = tree(served.base)
    # A number that was given is not given again, whatever became of it.
    numbers = [int(files.pop(".last-version")) for files in (before, after)]
    assert numbers[0] <= numbers[1] <= numbers[0] + 1
    assert after == before
    assert served.answer() == answer
    states = served.running.server.models.statuses("points")
    assert [n for n, s in states.items() if s.state == State.AVAILABLE] == [3], states


@pytest.fixture
def unchanged(refused, run):
    """Runs the command, which must refuse and change nothing; returns its message."""

    def command(served, output=None):
        with nothing_changes(served):
            output = output or served.base
            return refused(saved_model, f"--workdir={run.folder}", f"--output={output}")

    return command


@pytest.fixture
def quick(version, monkeypatch):
    """The command copies a version instead of making one: a case takes milliseconds."""

    monkeypatch.setattr(strategies, "_known_calls", lambda strategy: [])
    monkeypatch.setattr(
        strategies, "_write_version", lambda building, *_: copy_into(version, building)
    )


# Models that must not be published.


def with_atoms(change):
    def make():
        strategy = make_strategy(1)
        atoms = change(strategy.atoms.numpy())
        return MixedStrategy(
            Measure(tf.constant(atoms), strategy.weights), strategy.generator, strategy.latent_dim
        )

    return make


def poked(atoms):
    atoms[0, 7] = np.nan
    return atoms


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (poked, "parameters that are not finite"),
        (lambda x: x * 1e30, "samples that are not finite"),
    ],
    ids=["parameter", "sample"],
)
def test_what_is_not_finite(served, unchanged, run, change, says):
    run.strategy = with_atoms(change)()
    assert says in unchanged(served)


def stateful(samples):
    # With a seed, which TensorFlow wants where another test made its operations deterministic.
    return samples + 0.0 * tf.random.normal(tf.shape(samples), seed=1)


@tf.function(jit_compile=True)
def compiled(samples):
    return samples * 1.0


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (stateful, "RandomStandardNormal .*gives different samples at each load"),
        (compiled, "must be compiled by XLA"),
        (lambda samples: samples + 0.01, "differs from the strategy in memory by up to 0.01"),
    ],
    ids=["stateful", "compiled", "other"],
)
def test_a_graph_that_fails_a_check(served, unchanged, monkeypatch, change, says):
    build = strategies.build_module

    def build_other(strategy):
        module, signatures = build(strategy)
        sample = signatures["sample"]

        def other(seeds):
            return {"samples": change(sample(seeds)["samples"])}

        spec = [tf.TensorSpec([None, 2], tf.int64, name="seeds")]
        signatures["sample"] = tf.function(other, input_signature=spec, autograph=False)
        return module, signatures

    monkeypatch.setattr(strategies, "build_module", build_other)
    message = unchanged(served)
    assert "The model cannot be published" in message
    assert re.search(says, message)


def test_golden_samples_that_are_others(served, unchanged, monkeypatch):
    savez = np.savez

    def other(path, samples, seeds):
        savez(path, samples=samples + 0.5, seeds=seeds)

    monkeypatch.setattr(np, "savez", other)
    monkeypatch.delitem(verify.GATES, "isolated")  # comes later, and takes seconds
    assert "gate golden: The golden samples differ by up to 0.5" in unchanged(served)


# Versions that are there.


def test_a_version_s_folder_is_no_output(served, unchanged):
    assert f"--output={served.base}" in unchanged(served, served.base / "3")
    assert "versions are numbered by themselves" in unchanged(served, served.base / "4")


def test_a_version_that_appears_at_the_last_moment(served, quick, refused, run, monkeypatch):
    """By a publisher that does not know our lock: it keeps its number."""
    rename, stranger = os.rename, []

    def late(source, target):
        stranger.append(Path(target))
        shutil.copytree(served.base / "3", target)
        rename(source, target)

    monkeypatch.setattr(os, "rename", late)
    answer = served.answer()
    message = refused(saved_model, f"--workdir={run.folder}", f"--output={served.base}")
    assert "appeared meanwhile; it was left as it is" in message
    (there,) = stranger
    assert tree(there) == tree(served.base / "3")
    assert not [p for p in served.base.iterdir() if p.name.startswith(".building")]
    assert served.answer() == answer
    shutil.rmtree(there)


# A disk that is full, by injection.


def no_space(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def tensorflow_no_space(*_, **__):
    raise tf.errors.ResourceExhaustedError(None, None, "x/variables; No space left on device")


STAGES = {
    "saved_model": (tf.saved_model, "save", tensorflow_no_space),
    "golden": (np, "savez", no_space),
    "warm-up": (warmup, "write", tensorflow_no_space),
    "card": (card, "write", no_space),
    "manifest": (publish, "write_manifest", no_space),
}


@pytest.mark.parametrize("stage", STAGES)
def test_a_full_disk_while_the_version_is_written(served, unchanged, monkeypatch, stage):
    monkeypatch.setattr(*STAGES[stage])
    message = unchanged(served)
    assert f"{served.base} could not be written" in message
    assert "No space left on device" in message
    assert "Nothing was published." in message


def failing(monkeypatch, call, number, at):
    """Makes os.`call` fail the at-th time."""
    real, calls = getattr(os, call), itertools.count(1)

    def fail(*arguments, **options):
        if next(calls) == at:
            raise OSError(number, os.strerror(number))
        return real(*arguments, **options)

    monkeypatch.setattr(os, call, fail)


@pytest.mark.parametrize(
    ("call", "number"),
    [
        ("mkdir", errno.ENOSPC),
        ("open", errno.ENOSPC),
        ("fsync", errno.ENOSPC),
        ("pwrite", errno.ENOSPC),
        ("ftruncate", errno.EIO),
        ("rename", errno.ENOSPC),
        ("mkdir", errno.EROFS),
        ("rename", errno.EDQUOT),
    ],
)
def test_a_disk_that_fails_at_any_call(served, quick, command, run, monkeypatch, call, number):
    """The first call fails, then the second, and so on until the publisher gets through."""
    arguments = [f"--workdir={run.folder}", f"--output={served.base}"]
    for at in itertools.count(1):
        with nothing_changes(served):
            with monkeypatch.context() as context:
                failing(context, call, number, at)
                code, out, err = command(saved_model, *arguments)
            if code == 0:
                shutil.rmtree(served.base / out.split()[1].rsplit("/", 1)[1])
                break
        assert (code, out) == (2, "")
        assert err.startswith(f"error: {served.base} could not be written (")
        assert os.strerror(number) in err
        assert err.endswith("). Nothing was published.\n")
        assert err.count("\n") == 1
    assert at > 1, "the publisher never made that call"
    assert err == ""


def test_the_number_outlasts_a_disk_that_is_full(tmp_path, monkeypatch):
    """Version 12 was published and removed: 12 must not be given again."""
    (tmp_path / ".last-version").write_text("12\n")
    monkeypatch.setattr(os, "pwrite", no_space)
    for _ in range(2):
        with pytest.raises(OSError, match="No space"):
            publish.publish(tmp_path, lambda folder: (folder / "saved_model.pb").touch())
    monkeypatch.undo()
    assert publish.next_version(tmp_path) == 13
    (tmp_path / ".last-version").write_text("1300 and more\n")
    assert publish.publish(tmp_path, lambda folder: (folder / "x").touch()).name == "1"
    assert publish.next_version(tmp_path) == 2


# The same with real disks.


@pytest.fixture
def disk(tmp_path):
    """mount(folder, options) mounts a tmpfs until the test ends, or skips it."""
    mounted = []

    def mount(folder, options):
        folder.mkdir(exist_ok=True)
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            pytest.skip(f"no tmpfs can be mounted here: {done.stderr.strip()}")
        mounted.append(folder)

    if not shutil.which("mount") or os.geteuid() != 0:
        pytest.skip("mounting a tmpfs takes root")
    yield mount
    for folder in mounted:
        subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize("parts", ["half", "all"])
def test_a_disk_that_is_really_full(version, disk, unchanged, tmp_path, parts):
    """Half of a version, two blocks, nearly all of it: each ends in another file."""
    place = tmp_path / "disk"
    disk(place, "size=16m")
    size = sum(p.stat().st_size for p in version.rglob("*") if p.is_file())
    with serve(place / "points", version) as served:
        for free in (size // 2, 8192, size - 20_000)[: 1 if parts == "half" else 3]:
            filler = fill(place, free)
            message = unchanged(served)
            assert f"{served.base} could not be written" in message, free
            assert "Nothing was published." in message
            filler.unlink()
        publish.publish(served.base, lambda building: copy_into(version, building))
        served.answer()
        assert max(served.running.server.models.loaded("points")) > 3


def copy_into(version, building):
    shutil.copytree(version, building, dirs_exist_ok=True)


def fill(place, free):
    """A file that leaves `free` bytes of a file system."""
    path = place / "filler"
    status = os.statvfs(place)
    with path.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, status.f_bavail * status.f_frsize - free)
    return path


def test_a_disk_that_is_read_only(version, disk, unchanged, tmp_path):
    place = tmp_path / "disk"
    disk(place, "size=16m")
    with serve(place / "points", version) as served:
        subprocess.run(["mount", "-o", "remount,ro", place], check=True)
        message = unchanged(served)
        assert f"{served.base} cannot be written: no permission in {served.base}" in message
        other = place / "new" / "model"
        assert f"{other} cannot be written: no permission in {place}" in unchanged(served, other)
        assert not other.exists()
