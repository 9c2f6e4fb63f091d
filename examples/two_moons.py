"""Two moons in twenty lines: two Keras models, data, a mixture of generators.

python examples/two_moons.py [--tiny]
"""

import keras
import numpy as np
from options import options

from tf_mixed_nash import MixedNashGAN

o = options(num_batches=8_000)
r = np.random.default_rng(0)
angle, moon = r.uniform(0.0, np.pi, 4_000), r.integers(0, 2, 4_000)
x = np.where(moon, 1.0 - np.cos(angle), np.cos(angle))
y = np.where(moon, 0.5 - np.sin(angle), np.sin(angle))
rows = (np.stack([x, y], axis=1) + 0.05 * r.normal(size=(4_000, 2))).astype(np.float32)
train, held_out = rows[:3_000], rows[3_000:]


def net(inputs, outputs):
    dense = keras.layers.Dense
    hidden = [dense(o.units, "relu") for _ in range(3)]
    return keras.Sequential([keras.Input((inputs,)), *hidden, dense(outputs)])


gan = MixedNashGAN(
    net(2, 2), net(2, 1), algorithm="mirror_prox_gan", objective="wgan", gradient_penalty=0.1
)
gan.compile(step_size=1e-3, seed=o.seed)
gan.fit(train, batch_size=64, num_batches=o.num_batches, verbose=o.verbose)
print({k: round(v, 4) for k, v in gan.evaluate(held_out).items() if k != "ks"})
