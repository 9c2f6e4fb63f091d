"""An objective and a schedule of one's own: logistic losses with a label smoothed, a warm-up.

python examples/objective_and_schedule.py [--tiny]
"""

import keras
import numpy as np
import tensorflow as tf
from options import options

from tf_mixed_nash import MixedNashGAN
from tf_mixed_nash.games.objectives import Losses

o = options(num_batches=8_000)


def smoothed(real, fake):
    """Non-saturating losses, real data labelled 0.9: two scalars, each to be descended."""
    softplus = tf.nn.softplus
    real_loss = tf.reduce_mean(0.9 * softplus(-real) + 0.1 * softplus(real))
    return Losses(
        discriminator=real_loss + tf.reduce_mean(softplus(fake)),
        generator=tf.reduce_mean(softplus(-fake)),
    )


def warm_up(t):
    """gamma_t of outer step t, a float64 tensor."""
    return 1e-3 * tf.minimum((t + 1.0) / 200.0, 1.0) / (1.0 + t / 4_000.0)


@tf.function
def ring(m, size):
    """Mini-batch m: eight clusters, a function of m alone, inside the compiled steps."""
    seed = [0, tf.cast(m, tf.int32)]
    angle = tf.random.stateless_uniform([size], seed, 0, 8, tf.int32)
    angle = tf.cast(angle, tf.float32) * (2.0 * np.pi / 8.0)
    noise = 0.02 * tf.random.stateless_normal([size, 2], seed)
    return tf.stack([tf.cos(angle), tf.sin(angle)], axis=1) + noise


held_out = ring(tf.constant(2**30), 2_000).numpy()  # a mini-batch that no training reaches


def net(inputs, outputs):
    hidden = [keras.layers.Dense(o.units, "relu") for _ in range(3)]
    return keras.Sequential([keras.Input((inputs,)), *hidden, keras.layers.Dense(outputs)])


gan = MixedNashGAN(net(2, 2), net(2, 1), algorithm="mirror_gan", objective=smoothed, r1=0.1)
gan.compile(step_size=warm_up, discriminator={"temperature": 1e-7}, seed=o.seed)
history = gan.fit(
    ring,
    batch_size=64 if not o.tiny else 8,
    num_batches=o.num_batches,
    steps_per_epoch=400 if not o.tiny else 2,
    workdir=o.workdir,
    verbose=o.verbose,
)
print("step sizes:", np.round(history.history["step_size/theta"], 6)[:5])
print({k: round(v, 4) for k, v in gan.evaluate(held_out).items() if k != "ks"})
