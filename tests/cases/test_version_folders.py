"""Folders of versions as people leave them, and what the embedded server makes of each."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil

import pytest

from export import publish
from export.serving import versions as module
from export.serving.config import ModelConfig, Policy
from export.serving.versions import Models
from tests.export.serving.conftest import models  # noqa: F401
from tf_mixed_nash.errors import InputError


class Fake:
    """Instead of loading a graph."""

    def __init__(self, model, number, directory):
        publish.read_manifest(directory)
        self.model, self.number, self.directory = model, number, directory
        self.in_use = 0
        self.served = type("Served", (), {"close": staticmethod(lambda: None)})


@pytest.fixture
def base(models, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr(module, "Version", Fake)
    shutil.copytree(models / "points" / "1", tmp_path / "points" / "1")
    return tmp_path / "points"


def follow(base, *changes, policy=Policy("all")):  # noqa: B008  # a tuple
    """The loaded folders' names after a look, and after each change and another look."""

    async def scenario():
        watched = Models([ModelConfig("points", base, policy)])
        found = []
        for change in (lambda: None, *changes):
            change()
            await watched.poll()
            loaded = watched.loaded("points")
            found.append({number: v.directory.name for number, v in loaded.items()})
        return found, watched

    return asyncio.run(scenario())


def test_a_number_that_is_no_int64_is_passed_over_and_said(base, caplog):
    for name in (str(2**63), "9" * 40, "9" * 255):
        shutil.copytree(base / "1", base / name)
    with caplog.at_level(logging.WARNING):
        found, _ = follow(base, lambda: None, policy=Policy("latest", 1))
    assert found[-1] == {1: "1"}
    warnings = [r.getMessage() for r in caplog.records if "passed over" in r.getMessage()]
    assert len(warnings) == 3, "once each, not at every look"
    assert "at most 2^63 - 1" in warnings[0]
    assert publish.next_version(base) == 2


def test_the_largest_number_is_one_and_nothing_is_published_after_it(base):
    (base / "1").rename(base / str(2**63 - 1))
    assert follow(base)[0] == [{2**63 - 1: str(2**63 - 1)}]
    with pytest.raises(InputError, match="above 2\\^63 - 1"):
        publish.publish(base, lambda building: None)


def test_leading_zeros_are_read_as_tf_serving_reads_them(base, caplog):
    (base / "1").rename(base / "007")
    assert follow(base)[0] == [{7: "007"}]
    shutil.copytree(base / "007", base / "7")
    with caplog.at_level(logging.WARNING):
        assert follow(base)[0] == [{7: "7"}]
    assert "007 is passed over" in caplog.text
    assert publish.version_paths(base) == {7: base / "7"}
    assert publish.versions(base) == [7]


def damage(base, how):
    """Damages version 1 and returns what mends it, without a change of any time or size."""
    file = base / "1" / "saved_model.pb"
    elsewhere = base.parent / "elsewhere"
    if how == "file_mode":
        file.chmod(0)
        return lambda: file.chmod(0o644)
    if how == "folder_mode":
        (base / "1").chmod(0)
        return lambda: (base / "1").chmod(0o755)
    if how == "folder_inside":
        (base / "1" / "variables").chmod(0)
        return lambda: (base / "1" / "variables").chmod(0o755)
    if how == "link_to_nothing":
        file.rename(elsewhere)
        file.symlink_to(base.parent / "not_there")
        return lambda: elsewhere.rename(base.parent / "not_there")
    if how == "linked_folder":
        (base / "1" / "variables").rename(elsewhere)
        (base / "1" / "variables").symlink_to(elsewhere)
        inside = next(elsewhere.iterdir())
        inside.rename(base.parent / "taken")
        return lambda: (base.parent / "taken").rename(inside)
    if how == "linked_version":
        (base / "1").rename(elsewhere)
        (base / "1").symlink_to(base.parent / "not_there")
        return lambda: elsewhere.rename(base.parent / "not_there")
    kept, times = file.read_bytes(), file.stat()
    file.write_bytes(bytes(len(kept)))

    def mend():
        file.write_bytes(kept)
        os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))

    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    return mend


@pytest.mark.parametrize(
    "how",
    ["file_mode", "folder_mode", "folder_inside", "link_to_nothing", "linked_folder",
     "linked_version", "same_times"],
)  # fmt: skip
def test_whatever_mends_a_version_is_seen(base, how):
    if (how.endswith("mode") or how == "folder_inside") and os.geteuid() == 0:
        before = module._fingerprint(base / "1")
        damage(base, how)
        assert module._fingerprint(base / "1") != before, "root reads it all the same"
        return
    mend = damage(base, how)
    found, _ = follow(base, lambda: None, mend)
    assert found == [{}, {}, {1: "1"}]


def test_a_folder_that_links_to_itself_is_looked_at_once(base):
    (base / "1" / "loop").symlink_to(base / "1")
    assert len(module._fingerprint(base / "1")) < 60


def test_a_version_is_tried_again_though_nothing_changed(base, monkeypatch, caplog):
    """What was missing may be elsewhere: descriptors, memory."""
    loads, fails = [], [True]

    class Failing(Fake):
        def __init__(self, *args):
            loads.append(args[1])
            if fails[0]:
                raise OSError(24, "Too many open files")
            super().__init__(*args)

    monkeypatch.setattr(module, "Version", Failing)
    monkeypatch.setattr(module, "_FIRST_WAIT", 1e9)
    found, watched = follow(base, lambda: None)
    assert (found, loads) == ([{}, {}], [1])
    assert "Too many open files" in watched.statuses("points")[1].error
    monkeypatch.setattr(module, "_FIRST_WAIT", 0.0)
    loads.clear()
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        found, _ = follow(base, lambda: None, lambda: fails.clear() or fails.append(False))
    assert (found[-1], loads) == ({1: "1"}, [1, 1, 1])
    assert len([r for r in caplog.records if r.levelname == "WARNING"]) == 1, "said once"
    # Waits double, up to the longest.
    monkeypatch.setattr(module, "_FIRST_WAIT", 1e-9)
    monkeypatch.setattr(module, "_LONGEST_WAIT", 3e-9)
    waits, fails[:] = [], [True]

    async def scenario():
        for _ in range(3):
            await watched.poll()
            waits.append(watched._models["points"].failed[1].wait)

    watched = Models([ModelConfig("points", base)])
    asyncio.run(scenario())
    assert waits == [1e-9, 2e-9, 3e-9]


def test_a_folder_that_cannot_be_listed_leaves_other_models_alone(base, monkeypatch):
    look = module._look

    def fails(folder):
        if folder.name == "other":
            raise OSError(24, "Too many open files")
        return look(folder)

    monkeypatch.setattr(module, "_look", fails)

    async def scenario():
        other = ModelConfig("other", base.parent / "other")
        watched = Models([other, ModelConfig("points", base)])
        await watched.poll()
        return watched.loaded("points")

    assert list(asyncio.run(scenario())) == [1]
