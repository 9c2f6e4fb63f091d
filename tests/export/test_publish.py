"""Version folders: whole or absent, never replaced, described truthfully."""

from __future__ import annotations

import errno
import hashlib
import importlib.metadata
import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from export import publish as lib
from tf_mixed_nash.errors import InputError


def write_model(directory: Path, content: bytes = b"graph") -> None:
    (directory / "saved_model.pb").write_bytes(content)
    (directory / "variables").mkdir()
    (directory / "variables" / "values").write_bytes(bytes(range(256)) * 8)


def tree(folder: Path) -> dict[str, bytes | None]:
    """Every path below folder, with the bytes of files."""
    return {
        str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None
        for p in sorted(folder.rglob("*"))
    }


# Numbers.


def test_versions_count_up_and_ignore_other_names(tmp_path):
    base = tmp_path / "model"
    assert lib.next_version(base) == 1
    for name in (".building-9-ab", "notes", "-4", "1.5", "٣"):
        (base / name).mkdir(parents=True)
    assert (lib.versions(base), lib.next_version(base)) == ([], 1)
    for name in ("2", "10", "007"):
        (base / name).mkdir()
    (base / "11").write_text("a file holds its number too")
    assert lib.versions(base) == [2, 7, 10, 11]
    assert lib.next_version(base) == 12


def test_publishes_one_after_the_other(tmp_path):
    base = tmp_path / "some" / "model"
    assert [lib.publish(base, write_model).name for _ in range(3)] == ["1", "2", "3"]
    assert tree(base / "2")["saved_model.pb"] == b"graph"


def test_a_removed_version_is_not_given_again(tmp_path):
    for _ in range(2):
        newest = lib.publish(tmp_path, write_model)
    for path in sorted(newest.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    newest.rmdir()
    assert lib.versions(tmp_path) == [1]
    assert lib.publish(tmp_path, write_model).name == "3"


def test_an_explicit_version_must_be_new(tmp_path):
    assert lib.publish(tmp_path, write_model, version=5).name == "5"
    before = tree(tmp_path)
    with pytest.raises(InputError, match=r"already has a version 5.*next free one is 6"):
        lib.publish(tmp_path, lambda d: write_model(d, b"other"), version=5)
    with pytest.raises(InputError, match=r"Version 4 .*versions only grow.*free one is 6"):
        lib.publish(tmp_path, write_model, version=4)
    assert tree(tmp_path) == before


# Whole or not at all.


@pytest.mark.parametrize("error", [RuntimeError("in the middle"), KeyboardInterrupt()])
def test_a_failing_writer_leaves_nothing(tmp_path, error):
    lib.publish(tmp_path / "model", write_model)
    before = tree(tmp_path)

    def write(directory):
        write_model(directory)
        raise error

    for base in (tmp_path / "model", tmp_path / "new" / "model"):
        with pytest.raises(type(error)):
            lib.publish(base, write)
        assert tree(tmp_path) == before


def test_nothing_is_visible_before_the_end(tmp_path):
    seen = []

    def write(directory):
        write_model(directory)
        assert directory.parent == tmp_path
        seen.append((lib.versions(tmp_path), directory.name))
        with pytest.raises(InputError, match="1 unfinished"):
            lib.find_version(tmp_path)

    lib.publish(tmp_path, write)
    ((versions, name),) = seen
    assert versions == []
    assert name.startswith(".building-1-")
    assert sorted(os.listdir(tmp_path)) == [".last-version", "1"]


def test_everything_is_on_the_disk_before_the_rename(tmp_path, monkeypatch):
    events = []
    fsync, rename = os.fsync, os.rename

    def recorded_fsync(descriptor):
        events.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")))
        fsync(descriptor)

    def recorded_rename(source, target):
        events.append("rename")
        rename(source, target)

    monkeypatch.setattr(os, "fsync", recorded_fsync)
    monkeypatch.setattr(os, "rename", recorded_rename)
    version = lib.publish(tmp_path, write_model)
    at = events.index("rename")
    below = {path.name for path in events[:at] if ".building-" in str(path)}
    (building,) = {path for path in events[:at] if path.name.startswith(".building-")}
    assert below == {building.name, *(p.name for p in version.rglob("*"))}
    assert tmp_path in events[at:]


@pytest.mark.parametrize("call", ["fsync", "rename"])
def test_a_failing_disk_leaves_nothing(tmp_path, monkeypatch, call):
    def fail(*_):
        raise OSError(errno.EIO, "broken disk")

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(OSError, match="broken disk"):
        lib.publish(tmp_path, write_model)
    assert lib.versions(tmp_path) == []
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".building")]


def test_a_killed_publisher_leaves_only_an_ignored_folder(tmp_path):
    script = (
        "import os, sys; from pathlib import Path; from export import publish\n"
        "def write(d): (d / 'saved_model.pb').write_text('half'); os._exit(9)\n"
        "publish.publish(Path(sys.argv[1]), write)"
    )
    done = subprocess.run([sys.executable, "-c", script, tmp_path], check=False)
    assert done.returncode == 9
    assert [name for name in os.listdir(tmp_path) if name.startswith(".building-1-")]
    assert lib.versions(tmp_path) == []
    assert lib.find_version(lib.publish(tmp_path, write_model).parent) == tmp_path / "1"


def test_a_version_of_a_stranger_is_not_overwritten(tmp_path):
    def write(directory):
        write_model(directory)
        stranger = tmp_path / str(lib.next_version(tmp_path))
        stranger.mkdir()
        (stranger / "saved_model.pb").write_text("a stranger's")

    assert lib.publish(tmp_path, write).name == "2"
    with pytest.raises(InputError, match="already has a version 3"):
        lib.publish(tmp_path, write, version=3)
    assert lib.versions(tmp_path) == [1, 2, 3]
    for name in ("1", "3"):
        assert tree(tmp_path / name) == {"saved_model.pb": b"a stranger's"}


def test_a_stranger_at_the_last_moment_is_not_overwritten(tmp_path, monkeypatch):
    rename = os.rename

    def late(source, target):
        target.mkdir()
        (target / "saved_model.pb").write_text("a stranger's")
        rename(source, target)

    monkeypatch.setattr(os, "rename", late)
    with pytest.raises(InputError, match="appeared meanwhile"):
        lib.publish(tmp_path, write_model)
    assert tree(tmp_path / "1") == {"saved_model.pb": b"a stranger's"}


def test_racing_threads_each_get_a_version(tmp_path):
    num = 8
    together = threading.Barrier(num)

    def one(i):
        def write(directory):
            write_model(directory, str(i).encode())
            together.wait(30)  # all have chosen version 1 by now

        return i, lib.publish(tmp_path / "model", write)

    with ThreadPoolExecutor(num) as pool:
        done = dict(pool.map(one, range(num)))
    assert sorted(path.name for path in done.values()) == [str(v) for v in range(1, num + 1)]
    for i, path in done.items():
        assert (path / "saved_model.pb").read_text() == str(i)
    assert lib.next_version(tmp_path / "model") == num + 1


def test_racing_processes_each_get_a_version(tmp_path):
    script = (
        "import sys; from pathlib import Path; from export import publish\n"
        "def write(d): (d / 'saved_model.pb').write_text(sys.argv[2])\n"
        "for _ in range(20): print(publish.publish(Path(sys.argv[1]), write).name)"
    )
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", script, tmp_path, name], stdout=subprocess.PIPE, text=True
        )
        for name in "ab"
    ]
    given = {name: r.communicate()[0].split() for name, r in zip("ab", racers, strict=True)}
    assert [r.returncode for r in racers] == [0, 0]
    assert sorted(int(v) for vs in given.values() for v in vs) == list(range(1, 41))
    for name, numbers in given.items():
        assert {(tmp_path / v / "saved_model.pb").read_text() for v in numbers} == {name}


def test_another_user_can_read_a_version(tmp_path):
    umask = os.umask(0o022)
    try:
        version = lib.publish(tmp_path, write_model)
    finally:
        os.umask(umask)
    assert version.stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("base", ["file", "file/below"])
def test_refuses_a_place_that_is_a_file(tmp_path, base):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match=r"cannot be a folder: .*file is a file"):
        lib.publish(tmp_path / base, write_model)
    assert tree(tmp_path) == {"file": b"mine"}


def test_refuses_a_place_without_permission(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everywhere
    with pytest.raises(InputError, match="no permission"):
        lib.publish(tmp_path / "model", write_model)
    assert tree(tmp_path) == {}


# The manifest.


def test_manifest_describes_every_file(tmp_path):
    write_model(tmp_path)
    returned = lib.write_manifest(tmp_path, {"weights": [0.5, 0.5], "score": float("nan")})
    text = (tmp_path / "manifest.json").read_text()
    manifest = json.loads(text)
    expected = {
        name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        for name, data in tree(tmp_path).items()
        if data is not None and name != "manifest.json"
    }
    assert set(expected) == {"saved_model.pb", "variables/values"}
    assert manifest["files"] == expected == returned["files"]
    assert manifest["versions"]["tensorflow"] == importlib.metadata.version("tensorflow")
    assert manifest["versions"]["keras"] == importlib.metadata.version("keras")
    assert (manifest["weights"], manifest["score"]) == ([0.5, 0.5], None)
    assert "NaN" not in text
    assert lib.read_manifest(tmp_path) == manifest


def test_manifest_keeps_its_own_keys(tmp_path):
    with pytest.raises(ValueError, match=r"\['files', 'versions'\]"):
        lib.write_manifest(tmp_path, {"files": {}, "versions": {}})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda d: (d / "variables" / "values").unlink(), "variables/values is missing"),
        (lambda d: (d / "saved_model.pb").write_bytes(b"gra"), "has 3 bytes instead of 5"),
        (lambda d: (d / "saved_model.pb").write_bytes(b"grapf"), "was changed after"),
        (lambda d: (d / "manifest.json").unlink(), "manifest.json is missing or unreadable"),
        (lambda d: (d / "manifest.json").write_text('{"fil'), "missing or unreadable"),
        (lambda d: (d / "manifest.json").write_text("[]"), "missing or unreadable"),
    ],
)
def test_a_damaged_version_is_noticed(tmp_path, damage, message):
    write_model(tmp_path)
    lib.write_manifest(tmp_path, {})
    damage(tmp_path)
    with pytest.raises(InputError, match=message):
        lib.read_manifest(tmp_path)


# From what a user types to a version.


def test_finds_the_newest_version_or_the_given_one(tmp_path):
    for version in (2, 10):
        lib.publish(tmp_path / "model", write_model, version=version)
    assert lib.find_version(tmp_path / "model") == tmp_path / "model" / "10"
    assert lib.find_version(tmp_path / "model" / "2") == tmp_path / "model" / "2"


def test_says_why_there_is_no_version(tmp_path):
    model = tmp_path / "model"
    with pytest.raises(InputError, match="No such model"):
        lib.find_version(model)
    (model / ".building-1-ab").mkdir(parents=True)
    with pytest.raises(InputError, match=r"no published version.*1 unfinished"):
        lib.find_version(model)
    lib.publish(model, write_model)
    (model / "4").mkdir()
    with pytest.raises(InputError, match=r"3 does not exist. Other versions there: 1, 4"):
        lib.find_version(model / "3")
    with pytest.raises(InputError, match=r"4 is not a SavedModel. Other versions there: 1\."):
        lib.find_version(model / "4")
    with pytest.raises(InputError, match="is a file"):
        lib.find_version(model / "1" / "saved_model.pb")
