"""How far executions may be apart: by precision, and only where kernels differ."""

import numpy as np
import pytest
import tensorflow as tf

from export import checks, rounding
from tf_mixed_nash.errors import InputError


@pytest.fixture
def gpu(monkeypatch):
    """A GPU, as far as rounding goes."""
    monkeypatch.setattr(rounding, "_has_gpu", lambda: True)


def save(folder, dtype):
    """A SavedModel that multiplies [n, 2] by the unit matrix in this type."""
    module = tf.Module()

    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, name="x")])
    def double(x):
        product = tf.matmul(tf.cast(x, dtype), 2.0 * tf.eye(2, dtype=dtype))
        return {"y": tf.cast(product, tf.float32)}

    tf.saved_model.save(module, str(folder), signatures={"double": double})
    return folder


@pytest.mark.parametrize(
    ("dtype", "bits"), [("float32", 9), ("float16", 9), ("bfloat16", 6)], ids=lambda x: str(x)
)
def test_a_gpu_rounds_by_its_precision(tmp_path, gpu, dtype, bits):
    folder = save(tmp_path / "model", dtype)
    assert rounding.of_this_machine(folder) == rounding.of_other_kernels(folder) == 2.0**-bits


def test_a_gpu_without_tf32_rounds_as_a_cpu(tmp_path, gpu):
    folder = save(tmp_path / "model", "float32")
    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        assert rounding.of_this_machine(folder) == 1e-4
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(True)


@pytest.mark.parametrize(("dtype", "others"), [("float32", 1e-4), ("bfloat16", 2.0**-6)])
def test_one_cpu_has_the_same_kernels(tmp_path, dtype, others):
    folder = save(tmp_path / "model", dtype)
    assert rounding.of_this_machine(folder) == 1e-5
    assert rounding.of_other_kernels(folder) == others


def call(error):
    """Of `double` on numbers that every type holds, with an answer that is off by `error`."""
    x = np.array([[0.5, 0.0], [-0.25, 0.125]], np.float32)
    return checks.Call("double", {"x": x}, {"y": (2 * x + np.float32(error))})


def test_roundings_are_no_mistakes_on_a_gpu(tmp_path, gpu):
    folder = save(tmp_path / "model", "bfloat16")
    (answer,), served = checks.check_calls(folder, [call(1 / 128)])
    served.close()
    np.testing.assert_array_equal(answer["y"], call(0).expected["y"])
    with pytest.raises(InputError, match=r"differs from the strategy in memory by up to 0\.05"):
        checks.check_calls(folder, [call(0.05)])


def test_the_same_is_a_mistake_on_a_cpu(tmp_path):
    folder = save(tmp_path / "model", "bfloat16")
    checks.check_calls(folder, [call(0)])[1].close()
    with pytest.raises(InputError, match=r"differs from the strategy in memory by up to 0\.0078"):
        checks.check_calls(folder, [call(1 / 128)])
