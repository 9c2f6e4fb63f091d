"""JAX: the whole step under jit, and a scan over the steps of a call. See `common`.

Weights of a DCGAN are laid out as Keras's: kernels [h, w, in, out], transposed ones
[h, w, out, in], maps channels last. On a GPU if JAX has one.
"""

from __future__ import annotations

import functools
import json
import sys
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.peers import common
from benchmarks.peers.common import Work

_COUNTED = 25  # steps of the program whose text is asked for
_RECORDS = 512  # random images
_MAPS = ("NHWC", "HWIO", "NHWC")


class State(NamedTuple):
    """Weights and moments: dicts by player of lists of arrays."""

    weights: Any
    first: Any
    second: Any
    count: Any


def _forward(leaves, x, dtype):
    x = x.astype(dtype)
    for i in range(0, len(leaves), 2):
        x = x @ leaves[i].astype(dtype) + leaves[i + 1].astype(dtype)
        if i + 2 < len(leaves):
            x = jax.nn.relu(x)
    return x.astype(jnp.float32)


def _normalized(x, gamma, beta, dtype):
    """By the statistics of the batch, in float32."""
    x = x.astype(jnp.float32)
    mean, variance = jnp.mean(x, (0, 1, 2)), jnp.var(x, (0, 1, 2))
    return ((x - mean) * (jax.lax.rsqrt(variance + 1e-5) * gamma) + beta).astype(dtype)


def _generator(leaves, z, work: Work, dtype):
    left = iter(leaves)
    widths = work.widths()[::-1]
    x = (z.astype(dtype) @ next(left).astype(dtype)).reshape(-1, 4, 4, widths[0])
    for i in range(len(widths)):
        x = jax.nn.relu(_normalized(x, next(left), next(left), dtype))
        kernel = next(left).astype(dtype)
        x = jax.lax.conv_transpose(
            x, kernel, (2, 2), "SAME", dimension_numbers=_MAPS, transpose_kernel=True
        )
        if i == len(widths) - 1:
            x += next(left).astype(dtype)
    return jnp.tanh(x).astype(jnp.float32)


def _discriminator(leaves, x, work: Work, dtype):
    left, x = iter(leaves), x.astype(dtype)
    for i in range(len(work.widths())):
        kernel = next(left).astype(dtype)
        x = jax.lax.conv_general_dilated(x, kernel, (2, 2), "SAME", dimension_numbers=_MAPS)
        if i:
            x = _normalized(x, next(left), next(left), dtype)
        else:
            x += next(left).astype(dtype)
        x = jax.nn.leaky_relu(x, 0.2)
    x = x.reshape(x.shape[0], -1) @ next(left).astype(dtype) + next(left).astype(dtype)
    return x.astype(jnp.float32)


def gradients(work: Work, weights, draws):
    """The fields of both players at their weights."""
    dtype = jnp.dtype(work.precision)
    if work.model == "mlp":
        f = g = functools.partial(_forward, dtype=dtype)
    else:
        f = functools.partial(_discriminator, work=work, dtype=dtype)
        g = functools.partial(_generator, work=work, dtype=dtype)

    def generator_loss(theta):
        logits = f(weights["w"], g(theta, draws["latents_theta"]))
        return jnp.mean(-logits if work.model == "mlp" else jax.nn.softplus(-logits))

    fake = g(weights["theta"], draws["latents_w"])

    def discriminator_loss(w):
        if work.model == "mlp":
            n = fake.shape[0]
            logits = f(w, jnp.concatenate([draws["real"], fake]))
            loss = jnp.mean(logits[n:]) - jnp.mean(logits[:n])
        else:  # batches of their own: the statistics are a batch's
            loss = jnp.mean(jax.nn.softplus(-f(w, draws["real"])))
            loss += jnp.mean(jax.nn.softplus(f(w, fake)))
        if work.penalty:
            between = draws["u"] * draws["real"] + (1 - draws["u"]) * fake
            slope = jax.grad(lambda x: jnp.sum(f(w, x)))(between)
            norm = jnp.sqrt(jnp.sum(slope**2, axis=1) + 1e-12)
            loss += work.penalty * jnp.mean((norm - 1) ** 2)
        return loss

    return {
        "theta": jax.grad(generator_loss)(weights["theta"]),
        "w": jax.grad(discriminator_loss)(weights["w"]),
    }


def step(work: Work, state: State, draws) -> State:
    """One mini-batch of both players."""
    g = gradients(work, state.weights, draws)
    t = state.count + 1
    lr, tree = work.step_size, jax.tree.map
    if work.algorithm == "adam":
        first = tree(lambda m, g: work.decay_1 * m + (1 - work.decay_1) * g, state.first, g)
        second = tree(lambda v, g: work.decay_2 * v + (1 - work.decay_2) * g**2, state.second, g)
        c1, c2 = 1 - work.decay_1**t, 1 - work.decay_2**t
        weights = tree(
            lambda z, m, v: z - lr * (m / c1) / (jnp.sqrt(v / c2) + work.stability),
            state.weights,
            first,
            second,
        )
        return State(weights, first, second, t)
    a = work.rms_decay
    second = tree(lambda v, g: a * v + (1 - a) * g**2, state.second, g)
    P = tree(lambda v: 1 / (jnp.sqrt(v) + work.stability), second)
    if work.algorithm == "rmsprop":
        weights = tree(lambda z, P, g: z - lr * P * g, state.weights, P, g)
    else:
        xi = {p: draws[f"xi_{p}"] for p in common.PLAYERS}
        scale = 2 * lr * work.temperature
        weights = tree(
            lambda z, P, g, xi: z + work.damping**2 * (-lr * P * g + jnp.sqrt(scale * P) * xi),
            state.weights,
            P,
            g,
            xi,
        )
    return State(weights, state.first, second, t)


def draw(work: Work, key, weights, images=None):
    """The draws of a mini-batch; real rows are of the images where there are some."""
    keys = jax.random.split(key, 7)
    n = work.batch_size
    if images is None:
        centres = jnp.asarray(common.modes())
        real = centres[jax.random.randint(keys[0], (n,), 0, 8)]
        real += common.SIGMA * jax.random.normal(keys[1], (n, 2))
    else:
        real = images[jax.random.randint(keys[0], (n,), 0, len(images))]
    draws = {
        "real": real,
        "latents_theta": jax.random.normal(keys[2], (n, work.latent_dim)),
        "latents_w": jax.random.normal(keys[3], (n, work.latent_dim)),
        "u": jax.random.uniform(keys[4], (n, 1)),
    }
    if work.algorithm == "mirror_gan":
        for p, k in zip(common.PLAYERS, keys[5:], strict=True):
            # One draw a player, cut to the leaves.
            sizes = np.cumsum([leaf.size for leaf in weights[p]])
            flat = jnp.split(jax.random.normal(k, (sizes[-1],)), sizes[:-1])
            shapes = [leaf.shape for leaf in weights[p]]
            draws[f"xi_{p}"] = [x.reshape(s) for x, s in zip(flat, shapes, strict=True)]
    return draws


class Trainer:
    """See `common`."""

    def __init__(self, work: Work):
        self._work = work
        self._state = self._start({p: work.weights(p) for p in common.PLAYERS})
        images = None
        if work.model == "dcgan":
            shape = (_RECORDS, work.size, work.size, work.channels)
            images = jax.random.uniform(jax.random.key(1), shape, minval=-1.0, maxval=1.0)
        self._key = jax.random.key(0)
        self._step = jax.jit(functools.partial(step, work))

        @functools.partial(jax.jit, static_argnums=1, donate_argnums=0)
        def many(state, num_steps, key, images):
            def body(state, key):
                return step(work, state, draw(work, key, state.weights, images)), ()

            return jax.lax.scan(body, state, jax.random.split(key, num_steps))[0]

        self._many, self._images = many, images

    def _start(self, weights) -> State:
        weights = jax.tree.map(jnp.asarray, weights)
        zeros = jax.tree.map(jnp.zeros_like, weights)
        return State(weights, zeros, jax.tree.map(jnp.zeros_like, weights), jnp.zeros(()))

    def program(self, num_steps: int) -> str:
        """XLA's text of a call of so many steps, compiled."""
        return self._many.lower(self._state, num_steps, self._key, self._images).compile().as_text()

    def advance(self, num_steps: int) -> None:
        """Trains."""
        self._key, key = jax.random.split(self._key)
        self._state = jax.block_until_ready(self._many(self._state, num_steps, key, self._images))

    def replay(self, weights, draws):
        """See `common`."""
        state = self._start(weights)
        for each in draws:
            state = self._step(state, jax.tree.map(jnp.asarray, each))
        return jax.tree.map(np.asarray, state.weights)


def noise(num: int):
    """Ways to draw `num` standard normals."""
    ways = {}
    for impl in ("threefry2x32", "rbg"):
        key = jax.random.key(0, impl=impl)
        function = jax.jit(lambda key: jax.random.normal(key, (num,)))
        ways[f"jax.random.normal, {impl}"] = lambda f=function, key=key: f(key).block_until_ready()
    return ways


if __name__ == "__main__":
    if len(sys.argv) > 1:  # a work, whose program benchmarks.kernels counts
        print(Trainer(Work(**json.loads(sys.argv[1]))).program(_COUNTED))
        sys.exit()
    sys.exit(common.serve(Trainer, noise))
