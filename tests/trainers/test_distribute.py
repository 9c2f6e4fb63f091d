"""MirroredStrategy on two logical CPUs gives the run of one device."""

import subprocess
import sys

import pytest

from tests.trainers.conftest import ROOT

PROGRAM = """
import numpy as np, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from tests.trainers.conftest import tiny
from trainers import distribute
from trainers.build import build
from trainers.loop import Loop

def run(strategy):
    config = tiny("{algorithm}", num_batches=24, batch_size=16, strategy=strategy, step_size=1e-3,
                  temperature=1e-4, precision="float64")
    loop = Loop(build(config))
    loop.advance(24)
    return loop

assert distribute.num_replicas("mirrored") == 2
assert distribute.make_strategy("mirrored").num_replicas_in_sync == 2
one, two = run("default"), run("mirrored")
gap = 0.0
for name, a in one.variables.items():
    b = two.variables[name].numpy()
    np.testing.assert_allclose(b, a.numpy(), rtol=1e-9, atol=1e-11, err_msg=name)
    gap = max(gap, float(np.abs(b.astype(float) - a.numpy().astype(float)).max()))
# Sums in another order: the same code path would agree to the last bit.
assert gap > 0, "the batch was not split"
print("agree")
"""


@pytest.mark.parametrize("algorithm", ["mirror_prox_gan", "chambolle_pock"])
def test_two_replicas_agree_with_one_noise_and_latents_included(algorithm):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.replace("{algorithm}", algorithm)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "agree" in done.stdout
