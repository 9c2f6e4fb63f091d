"""Mixed Nash equilibria in ten lines: from matching pennies to a GAN. See benchmarks/pages."""

# %% [markdown]
# # Mixed Nash in ten lines
#
# Two children play matching pennies: the row player wins a penny if both show the same side, the
# column player if not. Whoever always shows heads loses. The answer is a *mixed* strategy: heads
# and tails, half each. No pair of pure choices is an equilibrium, and a method that looks for one
# goes around in circles.

# %%
import sys

import numpy as np

from tf_mixed_nash import MatrixGame, solve

TINY = "--tiny" in sys.argv  # a few steps, for tests

pennies = MatrixGame.from_table([[1, -1], [-1, 1]])
solution = solve(pennies, "mirror_prox", num_steps=200)
print("row player:", np.round(solution.mu.weights, 3), "value:", round(float(solution.value), 6))
print(f"duality gap: {solution.gap:.1e}, {solution.certificate}")

# %% [markdown]
# `gap` is what a player can still win by deviating: 0 at an equilibrium. The steps were those of
# mirror-prox, the paper's Algorithm 2, on the weights of two pure strategies.
#
# A GAN is the same game with uncountably many pure strategies: all the weights of a generator, all
# those of a discriminator. The paper samples from the mixed strategies by Langevin dynamics in the
# place of keeping weights. Here are the data: a ring that one Gaussian cannot make.

# %%
r = np.random.default_rng(0)
angle = 2 * np.pi * r.integers(0, 8, 4_000) / 8
data = np.stack([np.cos(angle), np.sin(angle)], axis=1) + 0.02 * r.normal(size=(4_000, 2))
data = data.astype(np.float32)

# %% [markdown]
# And the ten lines:

# %%
import keras

from tf_mixed_nash import MixedNashGAN


def net(inputs, outputs):
    hidden = [keras.layers.Dense(8 if TINY else 256, "relu") for _ in range(3)]
    return keras.Sequential([keras.Input((inputs,)), *hidden, keras.layers.Dense(outputs)])


gan = MixedNashGAN(
    net(2, 2),
    net(2, 1),
    algorithm="mirror_prox_gan",
    objective="wgan",
    gradient_penalty=0.1,
)
gan.compile(step_size=1e-3, seed=0)
gan.fit(data, batch_size=64, num_batches=8 if TINY else 8_000, verbose=0)

# %% [markdown]
# Three answers come out: the last generator, the moving average of its weights, and the mixture:
# 30 generators of the last quarter of the training, one of which draws each sample. The mixture is
# what the theory is about.

# %%
for answer in ("last", "ema", "mixture"):
    samples = gan.sample(1_000, seed=0, answer=answer)
    mode = np.round(np.arctan2(samples[:, 1], samples[:, 0]) / (2 * np.pi / 8)) % 8
    near = np.abs(np.linalg.norm(samples, axis=1) - 1.0) < 0.06
    print(f"{answer:<8}{len(set(mode[near]))} of 8 modes, {near.mean():.2f} near the ring")

# %% [markdown]
# Next: [your own Keras models](2_own_models.md).
