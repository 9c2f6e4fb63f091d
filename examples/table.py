"""A table of ten columns of different units and shapes; scores by column on rows held out.

python examples/table.py [--tiny]
"""

import keras
import numpy as np
from options import options

from tf_mixed_nash import MixedNashGAN

o = options(num_batches=10_000)


def rows(num, seed):
    """Correlated, skewed, bounded and bimodal columns: float32 [num, 10]."""
    r = np.random.default_rng(seed)
    z = r.normal(size=(num, 10)) @ np.linalg.cholesky(0.5 * np.eye(10) + 0.5).T
    z[:, 1] = np.exp(0.5 * z[:, 1])
    z[:, 2] = np.tanh(z[:, 2])
    z[:, 3] += 3.0 * np.sign(z[:, 3])
    return (z * np.logspace(-1, 2, 10)).astype(np.float32)


train, held_out = rows(5_000, 0), rows(2_000, 1)
# Networks learn columns of one size; the samples are scaled back by the last layer.
mean, spread = train.mean(axis=0), train.std(axis=0)


def body(inputs):
    dense = keras.layers.Dense
    return [keras.Input((inputs,)), *(dense(o.units, "relu") for _ in range(3))]


generator = keras.Sequential(
    [
        *body(10),
        keras.layers.Dense(10),
        keras.layers.Rescaling(spread, mean),
    ]
)
discriminator = keras.Sequential(
    [
        keras.Input((10,)),
        keras.layers.Rescaling(1.0 / spread, -mean / spread),
        *body(10)[1:],
        keras.layers.Dense(1),
    ]
)
gan = MixedNashGAN(generator, discriminator, objective="wgan", gradient_penalty=1.0)
gan.compile(step_size=1e-3, seed=o.seed)
history = gan.fit(
    train,
    validation_data=held_out,
    batch_size=128 if not o.tiny else 16,
    num_batches=o.num_batches,
    steps_per_epoch=500 if not o.tiny else 2,
    score_every=500 if not o.tiny else 2,
    workdir=o.workdir,
    verbose=o.verbose,
)
scores = gan.evaluate(held_out)
print("KS of each column:", np.round(scores["ks"], 3))
print({k: round(v, 4) for k, v in scores.items() if k != "ks"})
