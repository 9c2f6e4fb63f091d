"""A training that is killed, and the same call again: bit for bit as if nothing had happened.

python examples/resume.py [--tiny] [--workdir=DIR]

It kills itself half-way (SIGKILL, which no program sees coming) and starts itself again.
"""

import os
import signal
import subprocess
import sys
import tempfile

import keras
import numpy as np
from options import options

from tf_mixed_nash import MixedNashGAN

o = options(num_batches=2_000, die=0)
every = 1 if o.tiny else 100
data = np.random.default_rng(0).normal(size=(1_000, 2)).astype(np.float32)


class Die(keras.callbacks.Callback):
    """Kills the process at the end of an epoch."""

    def on_epoch_end(self, epoch, logs=None):
        if o.die and epoch == o.num_batches // every // 2:
            os.kill(os.getpid(), signal.SIGKILL)


def train(workdir):
    """The same call whether it begins or resumes."""

    def net(outputs, seed):
        start = keras.initializers.HeNormal(seed=seed)
        hidden = keras.layers.Dense(o.units, "relu", kernel_initializer=start)
        return keras.Sequential([keras.Input((2,)), hidden, keras.layers.Dense(outputs)])

    keras.utils.set_random_seed(0)  # the models' own weights must be the same, too
    gan = MixedNashGAN(net(2, 1), net(1, 2), algorithm="mirror_gan", gradient_penalty=0.1)
    gan.compile(seed=o.seed)
    gan.fit(
        data,
        batch_size=16,
        num_batches=o.num_batches,
        steps_per_epoch=every,
        checkpoint_every=every,
        workdir=workdir,
        callbacks=[Die()],
        verbose=0,
    )
    return gan.sample(100, seed=0)


if o.die:
    train(o.workdir)
else:
    with tempfile.TemporaryDirectory() as folder:
        workdir = o.workdir or f"{folder}/run"
        again = [sys.executable, *sys.argv, f"--workdir={workdir}", "--die=1"]
        code = subprocess.run(again, check=False).returncode
        print(f"killed (exit code {code}); the same call again")
        resumed, undisturbed = train(workdir), train(None)
        print("equal to the undisturbed one:", bool((resumed == undisturbed).all()))
