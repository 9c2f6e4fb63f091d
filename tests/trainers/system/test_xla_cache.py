"""Where compiled programs are kept, when not, and how many."""

import os
import subprocess
import sys

import pytest

from trainers.system import xla_cache

FLAG = "--tf_xla_persistent_cache_directory"


@pytest.fixture
def environment(monkeypatch, tmp_path):
    """An empty home and no wishes."""
    monkeypatch.setenv("XLA_FLAGS", "")  # what a test sets goes with it
    for name in ("XDG_CACHE_HOME", "TF_XLA_FLAGS", xla_cache.VARIABLE):
        monkeypatch.setenv(name, "")  # else what a test sets stays, where there was nothing
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    xla_cache._machine.cache_clear()
    yield monkeypatch
    xla_cache._machine.cache_clear()


def folder():
    """What TensorFlow would be told."""
    flags = os.environ.get("TF_XLA_FLAGS", "").split()
    return next((flag.partition("=")[2] for flag in flags if flag.startswith(FLAG)), None)


def test_programs_lie_in_the_users_cache(environment, tmp_path):
    environment.setattr(xla_cache, "_gpus", lambda: ["a driver", "a GPU"])
    xla_cache.keep()
    first = folder()
    assert first is not None
    assert first.startswith(str(tmp_path / "home/.cache/tf_mixed_nash/xla/"))
    assert os.listdir(first) == []
    xla_cache.keep()
    assert os.environ["TF_XLA_FLAGS"].count(FLAG) == 1, "it is ours already"


def test_the_chosen_folder_is_taken_and_other_flags_stay(environment, tmp_path):
    environment.setenv("TF_XLA_FLAGS", "--tf_xla_clustering_debug")
    environment.setenv(xla_cache.VARIABLE, str(tmp_path / "mine"))
    xla_cache.keep()
    assert os.environ["TF_XLA_FLAGS"].startswith(f"--tf_xla_clustering_debug {FLAG}=")
    assert str(folder()).startswith(str(tmp_path / "mine"))


def test_another_machine_or_other_flags_have_another_folder(environment, tmp_path):
    environment.setenv(xla_cache.VARIABLE, str(tmp_path))
    places = set()
    for flags, processor in (("", "a"), ("--xla_cpu_x=1", "a"), ("", "b")):
        environment.setenv("XLA_FLAGS", flags)
        environment.setattr(xla_cache, "_processor", lambda name=processor: [name])
        environment.delenv("TF_XLA_FLAGS", raising=False)
        xla_cache._machine.cache_clear()
        xla_cache.keep()
        places.add(folder())
    assert len(places) == 3


@pytest.mark.parametrize(
    "reason", ["off", "theirs", "unwritable", "full", "blank", "homeless", "cpus"]
)
def test_nothing_is_kept(environment, tmp_path, reason):
    if reason == "off":
        environment.setenv(xla_cache.VARIABLE, "off")
    elif reason == "theirs":
        environment.setenv("TF_XLA_FLAGS", f"{FLAG}=/elsewhere")
    elif reason == "unwritable":
        (tmp_path / "file").touch()
        environment.setenv(xla_cache.VARIABLE, str(tmp_path / "file"))
    elif reason == "full":
        environment.setenv(xla_cache.VARIABLE, str(tmp_path))
        environment.setattr(xla_cache, "_ROOM", 2**60)
    elif reason == "blank":
        environment.setenv(xla_cache.VARIABLE, str(tmp_path / "two words"))
    elif reason == "homeless":
        environment.setattr(xla_cache, "_gpus", lambda: ["a driver", "a GPU"])
        environment.delenv("HOME")
    else:
        environment.setattr(xla_cache, "_gpus", lambda: [""])
    xla_cache.keep()
    assert folder() == ("/elsewhere" if reason == "theirs" else None)
    assert not list(tmp_path.glob("**/*.pb"))


def test_the_oldest_programs_go(tmp_path):
    for age, name in enumerate("abcd"):
        (tmp_path / name).write_bytes(b"x" * 10)
        os.utime(tmp_path / name, (1000 - age, 1000 - age))
    xla_cache._forget([*tmp_path.iterdir(), tmp_path / "gone"], 25)
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b"}


def field(number, content):
    return bytes([number << 3 | 2, len(content)]) + content


@pytest.mark.parametrize(
    ("content", "whole"),
    [
        (field(1, b"key") + b"\x10\x96\x01" + field(3, b"program"), True),
        (b"", False),
        (bytes(40), False),
        (field(1, b"key") + field(3, b"program")[:-1], False),
        (field(1, b"key") + b"\x1a", False),
        (b"\x1b\x01", False),  # of a kind that these files do not have
    ],
)
def test_programs_that_were_cut_short_are_removed(environment, tmp_path, content, whole):
    environment.setenv(xla_cache.VARIABLE, str(tmp_path))
    path = tmp_path / xla_cache._machine() / "xla_compile_cache.pb"
    path.parent.mkdir()
    path.write_bytes(content)
    xla_cache.keep()
    assert path.exists() == whole
    assert folder() == str(path.parent)


_COUNT = """
import sys
from trainers.system.quiet import import_tensorflow
tf = import_tensorflow()
f = tf.function(lambda x: tf.reduce_sum(tf.sin(x) ** 2), jit_compile=True)
print(f(tf.constant([float(sys.argv[1]), 2.0])).numpy())
"""


@pytest.mark.slow
def test_a_second_start_loads_what_the_first_compiled(environment, tmp_path):
    environment.setenv(xla_cache.VARIABLE, str(tmp_path))

    def start():
        code = [sys.executable, "-c", _COUNT, "1.0"]
        done = subprocess.run(code, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout, {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/*.pb")}

    first, second = start(), start()
    assert len(first[1]) == 1
    assert second == first
    (path,) = first[1]
    path.write_bytes(path.read_bytes()[:100])  # cut short: TensorFlow would end the run
    assert start()[0] == first[0]


@pytest.mark.parametrize(
    ("gpus", "given", "after"),
    [
        (["a driver", "a GPU"], "", "--xla_gpu_enable_triton_gemm=false"),
        (["a driver", "a GPU"], "--xla_x=1", "--xla_x=1 --xla_gpu_enable_triton_gemm=false"),
        (["a driver"], "--xla_gpu_enable_triton_gemm=true", "--xla_gpu_enable_triton_gemm=true"),
        ([""], "", ""),
    ],
)
def test_products_go_to_the_library_where_there_is_a_gpu(environment, gpus, given, after):
    """Deterministic programs get XLA's first Triton kernel otherwise; the user's wish stays."""
    environment.setattr(xla_cache, "_gpus", lambda: gpus)
    environment.setenv("XLA_FLAGS", given)
    xla_cache.keep()
    assert os.environ["XLA_FLAGS"] == after
