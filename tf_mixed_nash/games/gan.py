"""A GAN as a game between the parameter vectors of two networks (paper eq. 3)."""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf

from tf_mixed_nash import rng
from tf_mixed_nash.games.game import Shard
from tf_mixed_nash.games.objectives import Objective, wgan
from tf_mixed_nash.models.network import Network

__all__ = [
    "FLOAT16_LOSS_SCALE",
    "GanGame",
    "Regularizers",
]

FLOAT16_LOSS_SCALE = 2.0**12


class Regularizers(NamedTuple):
    """What is added to the discriminator's loss, and the box it lives in.

    Attributes:
      gradient_penalty: weight of E (|grad_x f_w(x)| - 1)^2 between real and generated data
        (Gulrajani et al. 2017).
      r1: weight of E |grad_x f_w(x)|^2 / 2 on real data (Mescheder et al. 2018).
      weight_clip: c > 0 clips every parameter of w to [-c, c] (Arjovsky et al. 2017); 0: no
        clipping.
    """

    gradient_penalty: float = 0.0
    r1: float = 0.0
    weight_clip: float = 0.0


class GanGame:
    """A GAN as a game between the parameter vectors of two networks.

    Args:
      generator: network from latents [n, latent_dim] to samples [n, ...].
      discriminator: network from samples to logits [n, 1].
      latent_dim: the latents are N(0, I) of this dimension.
      objective: see `tf_mixed_nash.games.objectives`.
      regularizers: of the discriminator.
      num_classes: k > 0 makes the game class-conditional: real data [n, ..., C + k] end with the
        one-hot classes as constant channels; generated data take the classes of the real ones,
        which the generator reads behind its latents [n, latent_dim + k].
    """

    def __init__(
        self,
        generator: Network,
        discriminator: Network,
        latent_dim: int,
        objective: Objective = wgan,
        regularizers: Regularizers = Regularizers(),  # noqa: B008 - immutable
        num_classes: int = 0,
    ):
        self.generator = generator
        self.discriminator = discriminator
        self.latent_dim = latent_dim
        self.objective = objective
        self.regularizers = regularizers
        self.num_classes = num_classes

    @property
    def _loss_scale(self) -> float:
        """What the loss is multiplied by before it is differentiated, and its gradient divided.

        Float16 has no numbers below 6e-8; gradients of deep layers are. A power of 2 changes
        no other precision's result, where it is 1. Constant, so that it is no state.
        """
        halves = tf.float16 in (self.generator.compute_dtype, self.discriminator.compute_dtype)
        return FLOAT16_LOSS_SCALE if halves else 1.0

    def _gradient(self, tape, loss, leaves) -> Any:
        scale = self._loss_scale
        g = tape.gradient(loss, leaves)
        return g if scale == 1.0 else [x / scale for x in g]

    def latents(self, key: tf.Tensor, num: int, dtype: tf.DType) -> tf.Tensor:
        """num latents ~ N(0, I): [num, latent_dim]."""
        return tf.random.stateless_normal(
            [num, self.latent_dim], rng.fold_in(key, 0), dtype=dtype, alg="philox"
        )

    def inputs(self, key: tf.Tensor, num: int, dtype: tf.DType) -> tf.Tensor:
        """num latents and, in a conditional game, as many classes in turn: what G reads."""
        latents = self.latents(key, num, dtype)
        if not self.num_classes:
            return latents
        classes = tf.one_hot(tf.range(num) % self.num_classes, self.num_classes, dtype=dtype)
        return tf.concat([latents, classes], axis=1)

    def field(self, player, z, opponent, batch, key, shard=Shard()):  # noqa: B008
        """See `Game.field`; `batch` is real data [n, ...] of the parameters' dtype."""
        field = self._generator_field if player == "theta" else self._discriminator_field
        latents = shard.rows(lambda num: self.latents(key, num, z.dtype), batch.shape[0])
        return field(z, opponent, batch, self.conditioned(latents, batch), key, shard)

    def conditioned(self, latents: tf.Tensor, real: tf.Tensor) -> tf.Tensor:
        """What G reads: latents [n, D] and, in a conditional game, the classes of n real data."""
        if not self.num_classes:
            return latents
        first = [0] * (real.shape.rank - 2)
        classes = real[(slice(None), *first, slice(-self.num_classes, None))]
        return tf.concat([latents, classes], axis=1)

    def labelled(self, fake: tf.Tensor, latents: tf.Tensor) -> tf.Tensor:
        """Generated data with the classes of their latents as channels, as real data have."""
        if not self.num_classes:
            return fake
        shape = [*fake.shape[:-1], self.num_classes]
        ones = [1] * (fake.shape.rank - 2)
        classes = tf.reshape(latents[:, self.latent_dim :], [-1, *ones, self.num_classes])
        return tf.concat([fake, tf.broadcast_to(classes, shape)], axis=-1)

    def project(self, player, z):
        """Clips w to its box, where there is one."""
        c = self.regularizers.weight_clip
        return tf.clip_by_value(z, -c, c) if player == "w" and c > 0 else z

    def _generator_field(self, theta, mu, real, latents, key, shard):
        """A ~ P_theta;  grad_theta of  sum_j a_j loss(f_{w_j}(A))."""
        leaves = self.generator.unflatten(theta)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(leaves)
            fake = self.labelled(self.generator.apply(leaves, latents), latents)
            loss = tf.zeros([], theta.dtype)
            for a, w in mu.terms():
                # No built-in objective reads the real logits here; the graph drops them then.
                f = lambda x, w=w: self.discriminator(w, x)  # noqa: E731
                loss += a * self.objective(f(real), f(fake)).generator
            scaled = loss * self._loss_scale
        g = self.generator.flatten(self._gradient(tape, scaled, leaves))
        return g, {"loss": loss, "penalty": tf.zeros([], theta.dtype)}

    def _discriminator_field(self, w, nu, real, latents, key, shard):
        """B real, B'_j ~ P_{theta_j};  grad_w of  sum_j a_j [loss(f_w(B), f_w(B'_j)) + penalty].

        The atoms share their latents (common random numbers), which keeps the variance of
        signed measures such as 2 nu_t - nu_{t-1} that of the difference.
        """
        weights, fakes = zip(
            *[(a, self.labelled(self.generator(z, latents), latents)) for a, z in nu.terms()],
            strict=True,
        )
        leaves = self.discriminator.unflatten(w)
        f = lambda x: self.discriminator.apply(leaves, x)  # noqa: E731
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(leaves)
            if self.discriminator.num_statistics:
                # Batch normalisation sees real and generated data apart, as in DCGAN.
                logits = [f(x) for x in (real, *fakes)]
            else:
                logits = tf.split(f(tf.concat([real, *fakes], axis=0)), 1 + len(fakes))
            loss = penalty = tf.zeros([], w.dtype)
            for a, fake, fake_logits in zip(weights, fakes, logits[1:], strict=True):
                loss += a * self.objective(logits[0], fake_logits).discriminator
                if self.regularizers.gradient_penalty:
                    penalty += a * self._gradient_penalty(f, real, fake, key, shard)
            if self.regularizers.r1:
                penalty += _total(weights) * self._r1(f, real)
            total = (loss + penalty) * self._loss_scale
        g = self.discriminator.flatten(self._gradient(tape, total, leaves))
        return g, {"loss": loss, "penalty": penalty}

    def _gradient_penalty(self, f, real, fake, key, shard):
        def uniforms(num):
            shape = [num] + [1] * (real.shape.rank - 1)
            return tf.random.stateless_uniform(
                shape, rng.fold_in(key, 1), dtype=real.dtype, alg="philox"
            )

        u = shard.rows(uniforms, real.shape[0])
        between = u * real + (1.0 - u) * fake
        norm = tf.sqrt(self._squared_gradient_norm(f, between) + 1e-12)
        return self.regularizers.gradient_penalty * tf.reduce_mean((norm - 1.0) ** 2)

    def _r1(self, f, real):
        return self.regularizers.r1 * 0.5 * tf.reduce_mean(self._squared_gradient_norm(f, real))

    def _squared_gradient_norm(self, f, x):
        """|grad_x f(x)|^2 for every row of x, but for its last channels, the classes: [n]."""
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(x)
            y = tf.reduce_sum(f(x)) * self._loss_scale
        (g,) = self._gradient(tape, y, [x])
        g = g[..., : -self.num_classes or None]
        return tf.reduce_sum(g**2, axis=list(range(1, x.shape.rank)))


def _total(weights):
    return sum(weights[1:], start=weights[0])
