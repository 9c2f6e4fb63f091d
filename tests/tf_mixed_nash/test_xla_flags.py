"""Which of XLA's flags a run's process gets, and for which programs kernels are timed."""

import importlib.metadata
import os

import pytest
import tensorflow as tf
from tensorflow.python.framework.config import is_op_determinism_enabled

from tf_mixed_nash import compile as compiling
from tf_mixed_nash import xla_flags
from trainers.system import cli
from trainers.tasks.kinds import program_of

LIBRARY = "--xla_gpu_enable_triton_gemm=false"
GRAPHS = "--xla_gpu_command_buffer_scheduling_mode=CONCURRENT"
LONG = xla_flags.LONG


@pytest.mark.parametrize(
    ("convolutions", "num_batches", "flags", "timed"),
    [
        (True, LONG, [LIBRARY], False),
        (True, 0, [LIBRARY], False),
        (False, LONG - 1, [LIBRARY, GRAPHS], False),
        (False, LONG, [GRAPHS], True),
    ],
)
def test_flags_of_one_run(monkeypatch, convolutions, num_batches, flags, timed):
    monkeypatch.setenv("XLA_FLAGS", "--xla_x=1")
    for _ in range(2):  # again: they are there already
        xla_flags.for_one_run(convolutions, num_batches)
        assert os.environ["XLA_FLAGS"].split() == ["--xla_x=1", *flags]
    assert xla_flags.timed(convolutions, num_batches) == timed


@pytest.mark.parametrize("version", ["2.20.1", "3.0.0", "", None])
def test_a_flag_that_xla_may_not_know_is_not_set(monkeypatch, version):
    def of(name):
        if version is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return version

    monkeypatch.setattr(importlib.metadata, "version", of)
    monkeypatch.setenv("XLA_FLAGS", "")
    xla_flags.for_one_run(convolutions=False, num_batches=0)
    known = [GRAPHS] if version == "3.0.0" else []
    assert os.environ["XLA_FLAGS"].split() == [LIBRARY, *known]


def test_the_users_flags_stay(monkeypatch):
    for flag in (LIBRARY, LIBRARY.replace("false", "true")):
        given = f"{flag} {GRAPHS.replace('CONCURRENT', 'LHS')}"
        monkeypatch.setenv("XLA_FLAGS", given)
        xla_flags.for_one_run(convolutions=False, num_batches=LONG)
        assert os.environ["XLA_FLAGS"] == given
        assert xla_flags.timed(convolutions=False, num_batches=LONG) == (flag != LIBRARY)


@pytest.mark.parametrize(
    ("address", "changes", "dense"),
    [
        ("gaussians8_mp", {}, True),
        ("lsun_mp", {}, False),
        ("gaussians8_mp", {"generator": "mine.py:generator"}, False),
        ("gaussians8_mp", {"discriminator": "mine.py:critic"}, False),
    ],
)
def test_a_config_tells_whether_there_are_convolutions(address, changes, dense):
    config = cli.load_config(address)
    for key, value in changes.items():
        config.model[key] = value
    config.num_batches = 1234
    assert program_of(config) == (dense, 1234)


def test_of_a_config_that_is_none_nothing_is_known():
    config = {"dataset": "gaussians8", "model": {}, "num_batches": 3}
    assert program_of(config) == (False, 0)


def test_convolutions_are_found_in_functions_of_functions():
    kernel = tf.ones([3, 3, 1, 1])

    @tf.function
    def inner(x):
        return tf.nn.conv2d(x, kernel, 1, "SAME")

    @tf.function
    def outer(x):
        return inner(x) + 1.0

    @tf.function
    def gradient(x):
        return tf.nn.conv2d_transpose(x, kernel, [1, 4, 4, 1], 1)

    @tf.function
    def products(x):
        return tf.matmul(x, x, transpose_b=True)

    for function, found in ((outer, True), (gradient, True), (products, False)):
        graph = function.get_concrete_function(tf.ones([1, 4, 4, 1])).graph
        assert xla_flags.have_convolutions(graph) == found


@pytest.mark.usefixtures("without_determinism")
def test_operations_are_free_inside_and_as_they_were_after():
    with compiling.deterministic():
        with compiling.freely():
            assert not is_op_determinism_enabled()
        assert is_op_determinism_enabled()
    assert not is_op_determinism_enabled()
    with compiling.freely():
        pass
    assert not is_op_determinism_enabled()
