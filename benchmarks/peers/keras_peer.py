"""Plain Keras on TensorFlow: a model with a `train_step`, as its guides write GANs. See `common`.

RMSProp and Adam are Keras's own optimizers; pSGLD is written into the train_step, on the
variables. Many steps a call, the draws in the graph, bfloat16 by the
dtype policy. Keras's RMSProp has its constant inside the root, sqrt(V + lambda^2) here.
"""

from __future__ import annotations

import sys
from typing import Any

from trainers.system.quiet import import_tensorflow

tf: Any = import_tensorflow()

import keras  # noqa: E402

from benchmarks.peers import common  # noqa: E402
from benchmarks.peers.common import Work  # noqa: E402

_RECORDS = 512  # random images


def _mlp(sizes: list[int], policy: str) -> Any:
    layers: list[Any] = [keras.Input((sizes[0],))]
    for i, units in enumerate(sizes[1:]):
        activation = "relu" if i < len(sizes) - 2 else None
        layers.append(keras.layers.Dense(units, activation=activation, dtype=policy))
    return keras.Sequential(layers)


def _dcgan(work: Work, player: str, policy: str) -> Any:
    layers, widths = keras.layers, work.widths()
    same: dict[str, Any] = {"padding": "same", "dtype": policy}

    def norm():
        return layers.BatchNormalization(epsilon=1e-5, dtype=policy)

    stack: list[Any] = []
    if player == "theta":
        stack += [keras.Input((work.latent_dim,))]
        stack += [layers.Dense(16 * widths[-1], use_bias=False, dtype=policy)]
        stack += [layers.Reshape((4, 4, widths[-1]), dtype=policy)]
        for i, channels in reversed([*enumerate([work.channels, *widths[:-1]])]):
            stack += [norm(), layers.ReLU(dtype=policy)]
            stack += [layers.Conv2DTranspose(channels, 4, 2, use_bias=i == 0, **same)]
        return keras.Sequential([*stack, layers.Activation("tanh", dtype=policy)])
    stack += [keras.Input((work.size, work.size, work.channels))]
    for i, channels in enumerate(widths):
        stack += [layers.Conv2D(channels, 4, 2, use_bias=i == 0, **same)]
        stack += [norm()] if i else []
        stack += [layers.LeakyReLU(0.2, dtype=policy)]
    return keras.Sequential([*stack, layers.Flatten(dtype=policy), layers.Dense(1, dtype=policy)])


class Gan(keras.Model):
    """The two networks, and the step of `common`."""

    def __init__(self, work: Work):
        super().__init__()
        policy = "float32" if work.precision == "float32" else "mixed_bfloat16"
        self.work = work
        self.nets = {
            p: _mlp(work.mlp_sizes(p), policy) if work.model == "mlp" else _dcgan(work, p, policy)
            for p in common.PLAYERS
        }
        self.optimizers, self.moments = {}, {}
        for p in common.PLAYERS:
            leaves = self.leaves(p)
            if work.algorithm == "mirror_gan":
                self.moments[p] = [tf.Variable(tf.zeros_like(leaf)) for leaf in leaves]
                continue
            if work.algorithm == "adam":
                optimizer = keras.optimizers.Adam(
                    work.step_size,
                    work.decay_1,
                    work.decay_2,
                    epsilon=work.stability * (1 - work.decay_2) ** 0.5,
                )
            else:
                optimizer = keras.optimizers.RMSprop(
                    work.step_size, work.rms_decay, epsilon=work.stability**2
                )
            optimizer.build(leaves)
            self.optimizers[p] = optimizer

    def leaves(self, player: str) -> list[Any]:
        """The weights of a player, layer by layer."""
        return self.nets[player].trainable_variables

    def train_step(self, draws):  # pyright: ignore[reportIncompatibleMethodOverride]
        """One mini-batch of both players."""
        work, G, D = self.work, self.nets["theta"], self.nets["w"]

        def f(net, x):
            return tf.cast(net(x, training=True), tf.float32)

        plus = tf.nn.softplus
        with tf.GradientTape() as tape:
            logits = f(D, f(G, draws["latents_theta"]))
            loss = tf.reduce_mean(-logits if work.model == "mlp" else plus(-logits))
        g_theta = tape.gradient(loss, self.leaves("theta"))
        real, fake = draws["real"], f(G, draws["latents_w"])
        with tf.GradientTape() as tape:
            if work.model == "mlp":
                logits = tf.split(f(D, tf.concat([real, fake], 0)), 2)
                loss = tf.reduce_mean(logits[1]) - tf.reduce_mean(logits[0])
            else:  # batches of their own: the statistics are a batch's
                loss = tf.reduce_mean(plus(-f(D, real))) + tf.reduce_mean(plus(f(D, fake)))
            if work.penalty:
                between = draws["u"] * real + (1 - draws["u"]) * fake
                with tf.GradientTape(watch_accessed_variables=False) as inner:
                    inner.watch(between)
                    y = tf.reduce_sum(f(D, between))
                g = inner.gradient(y, between)
                norm = tf.sqrt(tf.reduce_sum(g**2, 1) + 1e-12)
                loss += work.penalty * tf.reduce_mean((norm - 1) ** 2)
        g_w = tape.gradient(loss, self.leaves("w"))
        self._move("theta", g_theta, draws.get("xi_theta"))
        self._move("w", g_w, draws.get("xi_w"))

    def _move(self, player, gradients, xi):
        work, leaves = self.work, self.leaves(player)
        if work.algorithm != "mirror_gan":
            self.optimizers[player].apply(gradients, leaves)
            return
        for i, (z, V, g) in enumerate(zip(leaves, self.moments[player], gradients, strict=True)):
            V.assign(work.rms_decay * V + (1 - work.rms_decay) * g**2)
            P = 1 / (tf.sqrt(V) + work.stability)
            noise = tf.random.normal(z.shape) if xi is None else xi[i]
            spread = tf.sqrt(2 * work.step_size * work.temperature * P)
            z.assign_add(work.damping**2 * (spread * noise - work.step_size * P * g))


class Trainer:
    """See `common`."""

    def __init__(self, work: Work):
        self._work = work
        self._gan = Gan(work)
        for p in common.PLAYERS:
            self._load(p, work.weights(p))
        self._one = tf.function(self._gan.train_step, jit_compile=False)
        centres = tf.constant(common.modes())
        images = None
        if work.model == "dcgan":
            shape = (_RECORDS, work.size, work.size, work.channels)
            images = tf.Variable(tf.random.uniform(shape, -1.0, 1.0))

        @tf.function(input_signature=[tf.TensorSpec([], tf.int32)])
        def many(num_steps):
            n = work.batch_size
            for _ in tf.range(num_steps):
                if images is None:
                    index = tf.random.uniform([n], 0, 8, tf.int32)
                    real = tf.gather(centres, index) + common.SIGMA * tf.random.normal([n, 2])
                else:
                    real = tf.gather(images, tf.random.uniform([n], 0, _RECORDS, tf.int32))
                latents = [tf.random.normal([n, work.latent_dim]) for _ in range(2)]
                draws = {"real": real, "latents_theta": latents[0], "latents_w": latents[1]}
                self._gan.train_step({**draws, "u": tf.random.uniform([n, 1])})

        self._many = many

    def _load(self, player, leaves):
        for variable, leaf in zip(self._gan.leaves(player), leaves, strict=True):
            variable.assign(leaf)

    def advance(self, num_steps: int) -> None:
        """Trains."""
        self._many(tf.constant(num_steps))
        _ = self._gan.leaves("w")[0].numpy()

    def replay(self, weights, draws):
        """See `common`."""
        for p in common.PLAYERS:
            self._load(p, weights[p])
        for each in draws:
            self._one(tf.nest.map_structure(tf.constant, each))
        return {p: [v.numpy() for v in self._gan.leaves(p)] for p in common.PLAYERS}


def noise(num: int):
    """Ways to draw `num` standard normals."""
    key = tf.constant([1, 2], tf.int32)

    def stateless(algorithm, compiled):
        def draw(key):
            return tf.random.stateless_normal([num], key, alg=algorithm)

        function = tf.function(draw, jit_compile=compiled, autograph=False)
        return lambda: function(key)[0].numpy()

    stateful = tf.function(lambda: tf.random.normal([num]))
    return {
        "tf.random.normal": lambda: stateful()[0].numpy(),
        "stateless_normal, graph, philox": stateless("philox", False),
        "stateless_normal, XLA, threefry": stateless("threefry", True),
        "stateless_normal, XLA, default": stateless("auto_select", True),
    }


if __name__ == "__main__":
    sys.exit(common.serve(Trainer, noise))
