"""JAX: the whole step under jit, and a scan over the steps of a call. See `common`."""

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


def gradients(work: Work, weights, draws):
    """The fields of both players at their weights."""
    f = functools.partial(_forward, dtype=jnp.dtype(work.precision))

    def generator_loss(theta):
        return -jnp.mean(f(weights["w"], f(theta, draws["latents_theta"])))

    fake = f(weights["theta"], draws["latents_w"])

    def discriminator_loss(w):
        n = fake.shape[0]
        logits = f(w, jnp.concatenate([draws["real"], fake]))
        loss = jnp.mean(logits[n:]) - jnp.mean(logits[:n])
        if work.penalty:
            between = draws["u"] * draws["real"] + (1 - draws["u"]) * fake
            g = jax.grad(lambda x: jnp.sum(f(w, x)))(between)
            norm = jnp.sqrt(jnp.sum(g**2, axis=1) + 1e-12)
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


def draw(work: Work, key, weights):
    """The draws of a mini-batch."""
    keys = jax.random.split(key, 7)
    n = work.batch_size
    centres = jnp.asarray(common.modes())
    real = centres[jax.random.randint(keys[0], (n,), 0, 8)]
    draws = {
        "real": real + common.SIGMA * jax.random.normal(keys[1], (n, 2)),
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
        if work.model != "mlp":
            raise ValueError("the JAX peer has MLPs only")
        self._work = work
        self._state = self._start(
            {p: common.he_normal(work.mlp_sizes(p), i) for i, p in enumerate(common.PLAYERS)}
        )
        self._key = jax.random.key(0)
        self._step = jax.jit(functools.partial(step, work))

        @functools.partial(jax.jit, static_argnums=1, donate_argnums=0)
        def many(state, num_steps, key):
            def body(state, key):
                return step(work, state, draw(work, key, state.weights)), ()

            return jax.lax.scan(body, state, jax.random.split(key, num_steps))[0]

        self._many = many

    def _start(self, weights) -> State:
        weights = jax.tree.map(jnp.asarray, weights)
        zeros = jax.tree.map(jnp.zeros_like, weights)
        return State(weights, zeros, jax.tree.map(jnp.zeros_like, weights), jnp.zeros(()))

    def program(self, num_steps: int) -> str:
        """XLA's text of a call of so many steps, compiled."""
        return self._many.lower(self._state, num_steps, self._key).compile().as_text()

    def advance(self, num_steps: int) -> None:
        """Trains."""
        self._key, key = jax.random.split(self._key)
        self._state = jax.block_until_ready(self._many(self._state, num_steps, key))

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
