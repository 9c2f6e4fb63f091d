"""A GAN as a game between the parameter vectors of two networks (paper eq. 3)."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

import tensorflow as tf

from tf_mixed_nash import rng
from tf_mixed_nash.ahead import of_key
from tf_mixed_nash.errors import InputError, unknown
from tf_mixed_nash.games import by_hand
from tf_mixed_nash.games.augmentation import Augmentation, Augmented
from tf_mixed_nash.games.game import Shard
from tf_mixed_nash.games.objectives import Objective, wgan
from tf_mixed_nash.latents import LatentLaw
from tf_mixed_nash.models.chain import Chain, chain_of
from tf_mixed_nash.models.network import Network
from tf_mixed_nash.models.roles import reason
from tf_mixed_nash.types import Measure, Pair, Particles, Player

__all__ = [
    "FLOAT16_LOSS_SCALE",
    "GanGame",
    "ParticleDraws",
    "Penalty",
    "Regularizers",
    "check_penalty",
]

FLOAT16_LOSS_SCALE = 2.0**12


Penalty = Callable[[Callable[[tf.Tensor], tf.Tensor], tf.Tensor, tf.Tensor, tf.Tensor], Any]


class Regularizers(NamedTuple):
    """What is added to the discriminator's loss, and the box it lives in.

    Attributes:
      gradient_penalty: >= 0, weight of E (|grad_x f_w(x)| - 1)^2 between real and generated data
        (Gulrajani et al. 2017).
      r1: >= 0, weight of E |grad_x f_w(x)|^2 / 2 on real data (Mescheder et al. 2018).
      weight_clip: c > 0 clips every parameter of w to [-c, c] (Arjovsky et al. 2017); 0: no
        clipping.
      r2: weight of E |grad_x f_w(x)|^2 / 2 on generated data (Mescheder et al. 2018).
      own: a penalty of the user's, (critic, real, fake, key) -> one number: critic maps data to
        logits, real and fake are as many rows each, key is int32[2].
      every: the penalties are computed in every so many outer steps, on all of their mini-batches,
        and so many times as large ("lazy", Karras et al. 2020): of a mirror-prox step the first
        half only extrapolates, and a penalty on it alone would never move the point. It saves
        time; R3GAN's authors found that on Stacked MNIST and the 25 Gaussians it fails, where a
        penalty on every mini-batch does not.
      factor: a schedule of the mini-batch's number, which multiplies the penalties; None: 1.

    Example:
      >>> Regularizers(gradient_penalty=10.0).weight_clip
      0.0
    """

    gradient_penalty: float = 0.0
    r1: float = 0.0
    weight_clip: float = 0.0
    r2: float = 0.0
    own: Penalty | None = None
    every: int = 1
    factor: Callable[[Any], Any] | None = None

    @property
    def moving(self) -> bool:
        """Whether the penalties depend on the outer step's number or the mini-batch's."""
        return self.every > 1 or self.factor is not None

    @property
    def any(self) -> bool:
        """Whether there is a penalty."""
        return bool(self.gradient_penalty or self.r1 or self.r2 or self.own)

    @property
    def note(self) -> str:
        """What a user is told of penalties that are not in every outer step; "" of others."""
        if self.every == 1 or not self.any:
            return ""
        return (
            f"penalty_every={self.every}: it saves time, no more; R3GAN's authors found that "
            "penalties not at every step fail on Stacked MNIST and the 25 Gaussians."
        )

    def check(self) -> None:
        """Raises InputError for a weight below 0 or an interval below 1."""
        for name in ("gradient_penalty", "r1", "r2", "weight_clip"):
            if not getattr(self, name) >= 0:
                raise InputError(f"{name} must be at least 0, got {getattr(self, name)}.")
        if self.every < 1:
            raise InputError(
                f"Penalties are computed every n-th outer step, n >= 1, got {self.every}."
            )


def check_penalty(penalty: Penalty, critic: Network, shape: Sequence[int]) -> None:
    """Tries a penalty of the user's own on rows of zeros, in a graph as in training.

    Args:
      penalty: see `Regularizers.own`.
      critic: the discriminator, at its initial parameters.
      shape: of what it reads at once.

    Raises:
      InputError: unless it takes the four arguments and returns one number.
    """
    name = getattr(penalty, "__name__", type(penalty).__name__)
    what = f"penalty={name} must be a function (critic, real, fake, key) -> one number"
    key = tf.constant([0, 0], tf.int32)
    state = critic.initial_state() if critic.num_state else None
    z, found = critic.initial(), []

    def call():
        rows = tf.zeros([4, *shape], critic.dtype)
        draw = key if critic.random else None

        def logits(x):
            y = critic(z, x, draw, state)
            return y[:, None] if y.shape.rank == 1 else y

        found.append(penalty(logits, rows, tf.identity(rows), key))
        if found[0] is not None:
            found.append(tf.convert_to_tensor(found[0]))

    try:
        tf.function(call, autograph=False).get_concrete_function()
    except InputError:
        raise
    except Exception as error:  # a user's code
        if found and not tf.is_tensor(found[0]):
            raise InputError(f"{what}; it returned a {type(found[0]).__name__}.") from error
        raise InputError(
            f"{what}; it failed with {type(error).__name__}: {reason(error)}"
        ) from error
    if found[0] is None:
        raise InputError(f"{what}; it returned None.")
    value = found[1]
    if value.shape.rank != 0 or not (value.dtype.is_floating or value.dtype.is_integer):
        raise InputError(
            f"{what}; it returned {value.dtype.name} {value.shape}. Take the mean over the "
            "mini-batch (tf.reduce_mean)."
        )


class ParticleDraws(NamedTuple):
    """What the n' generators of a mixed strategy draw from a mini-batch of n.

    A generator's own field is a mean over samples of it, a critic's a mean over samples of the
    mixture; in every case without bias.

    Attributes:
      batch: "split": a critic sees n / n' samples of each generator, paired with as many real
        data; n in all, as of a single generator, and at its cost. Sample i is of generator i mod
        n'. A generator's field has n samples, as that of a single one.
        "full": a critic sees n of each, each beside all n real data; n' times the work of the
        fakes, and less noise.
        "thin": as split, and a generator's field, too, has n / n' samples: no more work than for
        a single one in either turn, and more noise.
      latents: "own": of each generator. "shared": the same for all. The atoms of a signed
        measure share theirs in any case with those they are subtracted from.
    """

    batch: str = "split"
    latents: str = "own"

    def check(self) -> None:
        """Raises InputError for an unknown word."""
        for name, valid in (("batch", ("split", "full", "thin")), ("latents", ("own", "shared"))):
            if (value := getattr(self, name)) not in valid:
                raise unknown(f"particles.{name}", value, valid)


class GanGame:
    """A GAN as a game between the parameter vectors of two networks.

    Args:
      generator: network from latents [n, latent_dim] to samples [n, ...].
      discriminator: network from samples to logits [n, 1]; [n] counts as that, and any other
        shape [n, ...] goes to an objective of one's own.
      latent_dim: the latents are N(0, I) of this dimension.
      objective: see `tf_mixed_nash.games.objectives`.
      regularizers: of the discriminator.
      num_classes: k > 0 makes the game class-conditional: real data [n, ..., C + k] end with the
        one-hot classes as constant channels; generated data take the classes of the real ones,
        which the generator reads behind its latents [n, latent_dim + k].
      latent_law: of other latents than N(0, I).
      draws: how mixtures of generators (`types.Particles`) are sampled.
      packing: m > 1: the discriminator reads m data at once, [n / m, ..., m C], each m all real or
        all of one generator (PacGAN, Lin et al. 2018), and so sees their variety. Rows k m to
        k m + m - 1 of the mini-batch make pack k, one after the other along the channels.
      augmentation: of what the discriminator reads, in `field` and there where m is given; its
        penalties are at, and by, what it reads.

    Raises:
      InputError: for unknown draws, a regulariser or augmentation out of its range, or packing
        below 1.

    Example:
      >>> game = GanGame(mlp(2, 2, (4,)), mlp(2, 1, (4,)), latent_dim=2)
      >>> game.latents(tf.constant([1, 2]), 3, tf.float32).shape.as_list()
      [3, 2]
    """

    def __init__(
        self,
        generator: Network,
        discriminator: Network,
        latent_dim: int,
        objective: Objective = wgan,
        regularizers: Regularizers = Regularizers(),  # noqa: B008 - immutable
        num_classes: int = 0,
        draws: ParticleDraws = ParticleDraws(),  # noqa: B008 - immutable
        latent_law: LatentLaw | None = None,
        packing: int = 1,
        augmentation: Augmentation | None = None,
    ):
        draws.check()
        regularizers.check()
        if augmentation:
            augmentation.check(generator.output_shape)
        if packing < 1:
            raise InputError(f"packing is how many data the critic reads at once, got {packing}.")
        self.packing = packing
        self.draws = draws
        self.generator = generator
        self.discriminator = discriminator
        self.latent_dim = latent_dim
        self.objective = objective
        self.regularizers = regularizers
        self.num_classes = num_classes
        self.latent_law = latent_law
        self.augmentation = augmentation

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
        # A weight that the loss does not depend on has the gradient 0.
        g = tape.gradient(loss, leaves, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        # Embeddings have sparse ones.
        g = [tf.convert_to_tensor(x) if isinstance(x, tf.IndexedSlices) else x for x in g]
        return g if scale == 1.0 else [x / scale for x in g]

    def latents(self, key: tf.Tensor, num: int, dtype: tf.DType) -> tf.Tensor:
        """num latents ~ N(0, I), or of the game's law: [num, latent_dim]."""
        if self.latent_law:
            return self.latent_law(rng.fold_in(key, 0), num, dtype)
        return rng.normal(key, [num, self.latent_dim], dtype, at=0)

    def _drawn(self, key, shard, dtype, num):
        """The rows of a shard of the latents of a mini-batch: [num, latent_dim]."""
        if self.latent_law:  # code of the user's
            return shard.rows(lambda n: self.latents(key, n, dtype), num)
        return shard.rows(lambda n: of_key(lambda key: self.latents(key, n, dtype), key), num)

    def inputs(self, key: tf.Tensor, num: int, dtype: tf.DType) -> tf.Tensor:
        """num latents and, in a conditional game, as many classes in turn: what G reads."""
        latents = self.latents(key, num, dtype)
        if not self.num_classes:
            return latents
        classes = tf.one_hot(tf.range(num) % self.num_classes, self.num_classes, dtype=dtype)
        return tf.concat([latents, classes], axis=1)

    @property
    def reads_the_step(self) -> bool:
        """Whether `field` must be given m and t, the mini-batch's number and the outer step's."""
        moving = self.regularizers.any and self.regularizers.moving
        return moving or self.augmentation is not None

    def field(
        self,
        player,
        z,
        opponent,
        batch,
        key,
        shard=Shard(),  # noqa: B008
        states=None,
        m=None,
        chance=None,
        t=None,
    ):
        """See `Game.field`; `batch` is real data [n, ...] of the parameters' dtype.

        Args:
          player: and the following: see `Game.field`.
          z: [d] or [n', d].
          opponent: of points or `Particles`.
          batch: real data.
          key: of latents, mixing numbers and the layers' draws.
          shard: of the mini-batch.
          states: Pair of what the layers of each player's networks keep: [S], of all its points;
            [n', S], of its atoms; None, where nothing is kept, or of networks from elsewhere,
            whose states are then those of `Network.settled`.
          m: the mini-batch's number, where `reads_the_step`; without it the penalties are those of
            every mini-batch, times 1, and nothing is augmented.
          chance: the augmentations' probability, where it follows the critic.
          t: the outer step's number, where m is given and penalties are of every n-th one.

        Raises:
          InputError: for m without t there.
        """
        layers = _Layers(self, key, shard, states, m, t)
        if self.augmentation and m is not None:
            seen = self.augmentation.of_field(player, m, shard, chance, self.num_classes)
            layers = layers._replace(seen=seen)
        if z.shape.rank == 2 or _mixed(opponent):
            if self.packing > 1:
                raise InputError(
                    "A pack is of one generator, since it would punish generators that "
                    "specialise, for one discriminator. Set packing to 1, or num_particles to 1."
                )
            return self._fields(player, z, opponent, batch, key, shard, layers)
        field = self._generator_field if player == "theta" else self._discriminator_field
        latents = self._drawn(key, shard, z.dtype, batch.shape[0])
        return field(z, opponent, batch, self.conditioned(latents, batch), key, shard, layers)

    def packed(self, x: tf.Tensor) -> tf.Tensor:
        """Data [n, ..., C] as the discriminator reads them: [n / m, ..., m C]."""
        m = self.packing
        if m == 1:
            return x
        num, channels = cast(int, x.shape[0]), cast(int, x.shape[-1])
        if num % m:
            raise InputError(
                f"A mini-batch of {num} data cannot be put into packs of {m} (packing). "
                f"Choose a multiple of {m}."
            )
        packs = tf.reshape(x, [-1, m, *x.shape[1:]])
        last = packs.shape.rank - 1
        packs = tf.transpose(packs, [0, *range(2, last), 1, last])
        return tf.reshape(packs, [*packs.shape[:-2], m * channels])

    def penalty(self, w: tf.Tensor, real: tf.Tensor, fake: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
        """The regularisers at a discriminator w [d], all in full, of real and generated data.

        Args:
          w: its parameters.
          real: [n, ...], with its classes where the game is conditional.
          fake: [n, ...], likewise.
          key: of what the penalties draw.
        """
        weights, f = [tf.ones([], real.dtype)], lambda x: self.discriminator(w, x)
        return self._penalties(f, self.packed(real), weights, [self.packed(fake)], key, Shard())

    def updated(self, points: Pair, batch: tf.Tensor, key: tf.Tensor, states: Pair) -> Pair:
        """What the layers keep after one more call in training mode, at new points.

        The generator's call is on fresh latents, the discriminator's on real data and as many of
        the (first) generator.

        Args:
          points: Pair of [d], or of atoms [n', d].
          batch: real data [n, ...].
          key: int32[2], of latents and draws.
          states: Pair of [S] or [n', S], as the points; None of a player without any.
        """
        theta, w = points
        num: Any = batch.shape[0]
        latents = self.latents(key, num, theta.dtype)
        latents = self.conditioned(latents, batch)
        layers = _Layers(self, key, Shard(), states)

        def of(player: Player, z, x):
            if states.of(player) is None:
                return None
            network = self._network(player)

            def one(z, state, draw):
                return network.update(network.unflatten(z), x, draw, state)

            if z.shape.rank == 1:
                return one(z, states.of(player), layers.key(player, _UPDATE))
            own = layers.many(player, _UPDATE, z.shape[0])
            keys = own.get("keys", [None] * z.shape[0])
            rows = zip(tf.unstack(z), tf.unstack(own["states"]), keys, strict=True)
            return tf.stack([one(*row) for row in rows])

        data = batch
        if states.w is not None:
            first = tf.reshape(theta, [-1, self.generator.dim])[0]
            state = states.theta if states.theta is None else _first_row(states.theta)
            fake = self.generator(first, latents, layers.key("theta", _GENERATED), state)
            fake = self.packed(self.labelled(fake, latents))
            data = tf.concat([self.packed(batch), fake], axis=0)
        return Pair(of("theta", theta, latents), of("w", w, data))

    def _network(self, player: Player) -> Network:
        return self.generator if player == "theta" else self.discriminator

    def _critic(self, leaves, x, **layers):
        """Logits [n, ...] of one discriminator; [n] counts as [n, 1]."""
        y = self.discriminator.apply(leaves, x, **layers)
        return y[:, None] if y.shape.rank == 1 else y

    def conditioned(self, latents: tf.Tensor, real: tf.Tensor) -> tf.Tensor:
        """What G reads: latents [n, D] and, in a conditional game, the classes of n real data."""
        if not self.num_classes:
            return latents
        return tf.concat([latents, self._classes(real)], axis=1)

    def _classes(self, real):
        """The one-hot classes of n real data, their last channels: [n, k]."""
        first = [0] * (real.shape.rank - 2)
        return real[(slice(None), *first, slice(-self.num_classes, None))]

    def labelled(self, fake: tf.Tensor, latents: tf.Tensor) -> tf.Tensor:
        """Generated data with the classes of their latents as channels, as real data have."""
        if not self.num_classes:
            return fake
        shape = [*fake.shape[:-1], self.num_classes]
        ones = [1] * (fake.shape.rank - 2)
        classes = tf.reshape(latents[:, self.latent_dim :], [-1, *ones, self.num_classes])
        return tf.concat([fake, tf.broadcast_to(classes, shape)], axis=-1)

    def judged(
        self, points: Pair, real: tf.Tensor, key: tf.Tensor, states: Pair | None = None
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Samples as the training draws them, and what the discriminators say.

        Args:
          points: Pair of atoms [n', d] and [m', e]. Each generator draws as many samples.
          real: [n, ...], with the classes of a conditional game.
          key: int32[2], of latents and draws.
          states: of the layers: Pair of [S], or of [n', S]; None of a player without any.

        Returns:
          (samples [n, ...] without classes, logits of the real rows, those of the samples, each a
          mean over the discriminators [n / packing, ...]); n is cut to a multiple of n'.
        """
        theta, w = points.theta[: real.shape[0]], points.w
        num, many = theta.shape[0], w.shape[0]
        real = real[: real.shape[0] // num * num]
        layers = _Layers(self, key, Shard(), states)
        latents = self._latents_of(num, True, theta.dtype, real, key, Shard())
        drawn = layers.many("theta", _GENERATED, num)
        fake = self._generated(self.generator.unflatten(theta), latents, drawn)
        fake: Any = tf.reshape(fake, [-1, *fake.shape[2:]])
        leaves = self.discriminator.unflatten(w)
        logits = (
            tf.reduce_mean(
                self._logits(leaves, self.packed(x)[None], layers.many("w", use, many))[:, 0], 0
            )
            for x, use in ((real, _REAL), (fake, _FAKE))
        )
        of_real, of_fake = logits
        samples = fake[..., : -self.num_classes] if self.num_classes else fake
        return samples, of_real, of_fake

    def project(self, player, z):
        """Clips w to its box, where there is one."""
        c = self.regularizers.weight_clip
        return tf.clip_by_value(z, -c, c) if player == "w" and c > 0 else z

    def _generator_field(self, theta, mu, real, latents, key, shard, layers):
        """A ~ P_theta;  grad_theta of  sum_j a_j loss(f_{w_j}(A))."""
        leaves = self.generator.unflatten(theta)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(leaves)
            samples = self.generator.apply(leaves, latents, **layers.one("theta", _GENERATED))
            fake = self.packed(layers.fake(self.labelled(samples, latents)))
            real = self.packed(layers.real(real))
            loss = tf.zeros([], theta.dtype)
            for j, (a, w) in enumerate(mu.terms()):
                # Most objectives do not read the real logits here; the graph drops them then.
                of_w = self.discriminator.unflatten(w)
                f = lambda x, use, j=j, of_w=of_w: self._critic(  # noqa: E731
                    of_w, x, **layers.one("w", use, j)
                )
                loss += a * self.objective(f(real, _REAL), f(fake, _FAKE)).generator
            scaled = loss * self._loss_scale
        g = self.generator.flatten(self._gradient(tape, scaled, leaves))
        return g, {"loss": loss, "penalty": tf.zeros([], theta.dtype)}

    def _discriminator_field(self, w, nu, real, latents, key, shard, layers):
        """B real, B'_j ~ P_{theta_j};  grad_w of  sum_j a_j [loss(f_w(B), f_w(B'_j)) + penalty].

        The atoms share their latents and their layers' draws (common random numbers), which keeps
        the variance of signed measures such as 2 nu_t - nu_{t-1} that of the difference.
        """
        drawn = layers.one("theta", _GENERATED)
        weights: tuple[Any, ...]
        weights, fakes = zip(
            *[
                (a, self.packed(layers.fake(self.labelled(of_z, latents))))
                for a, of_z in ((a, self.generator(z, latents, **drawn)) for a, z in nu.terms())
            ],
            strict=True,
        )
        real = self.packed(layers.real(real))
        leaves = self.discriminator.unflatten(w)
        if self._chain_of_critic(layers):
            found = self._by_hand(leaves, real, weights, fakes, key, shard)
            logs = {"loss": found.loss, "penalty": _or_zero(found.penalty, found.loss)}
            sign = self._sign(found.passed.y[: real.shape[0]])
            return self.discriminator.flatten(found.g), {**logs, **sign}

        def f(x, use=_PENALTY, j=0):
            return self._critic(leaves, x, **layers.one("w", use, j))

        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(leaves)
            if self.discriminator.mixes_rows:
                # Batch normalisation sees real and generated data apart, as in DCGAN.
                logits = [f(real, _REAL), *(f(x, _FAKE, j) for j, x in enumerate(fakes))]
            else:
                logits = tf.split(f(tf.concat([real, *fakes], axis=0), _REAL), 1 + len(fakes))
            loss = tf.zeros([], w.dtype)
            for a, fake_logits in zip(weights, logits[1:], strict=True):
                loss += a * self.objective(logits[0], fake_logits).discriminator
            penalty = self._penalty(
                lambda: self._penalties(f, real, weights, fakes, key, shard),
                tf.zeros_like(loss),
                layers,
            )
            total = (loss + penalty) * self._loss_scale
        g = self.discriminator.flatten(self._gradient(tape, total, leaves))
        return g, {"loss": loss, "penalty": penalty, **self._sign(logits[0])}

    # Of chains (`by_hand`): the discriminator's field, and both players' at once.

    @functools.cached_property
    def _chains(self) -> Pair:
        """Pair of the networks' chains, each None where it is none, or is not differentiated so."""
        if self._loss_scale != 1.0:
            return Pair(None, None)
        theta, w = chain_of(self.generator), chain_of(self.discriminator)
        return Pair(theta, w if w and w.one_logit else None)

    def both(self, points: Pair, batch: tf.Tensor, keys: Pair) -> Pair | None:
        """Both players' fields at (theta, w), each with its own latents, or None.

        Of two chains the generator's samples pass the discriminator beside those of its own field.

        Args:
          points: Pair of [d] and [e].
          batch: real data [n, ...].
          keys: Pair of int32[2], as `field` is given them.

        Returns:
          Pair of what `field` returns; None where it finds them one by one.
        """
        theta, w = self._chains
        plain = not (self.num_classes or self.augmentation or self.reads_the_step)
        if not (theta and w and plain and self.packing == 1 and self.regularizers.own is None):
            return None
        if any(not tf.is_tensor(z) or z.shape.rank != 1 for z in points):
            return None
        n, dtype = cast(int, batch.shape[0]), points.theta.dtype
        of_theta, of_w = (
            network.unflatten(z)
            for network, z in zip((self.generator, self.discriminator), points, strict=True)
        )
        latents = [self._drawn(key, Shard(), dtype, n) for key in keys]
        passed = theta.passed(of_theta, tf.concat(latents, axis=0))
        own, fake = passed.y[:n], passed.y[n:]
        found = self._by_hand(of_w, batch, (1.0,), (fake,), keys.w, Shard(), more=(own,))
        slopes, (of_real, of_own) = found.slopes[0][-n:], (found.passed.y[:n], found.passed.y[-n:])
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(of_own)
            loss = self.objective(of_real, of_own).generator
        c = tape.gradient(loss, of_own, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        u, _ = w.of_inputs(of_w, own, slopes)
        g = by_hand.generator(theta, of_theta, passed.rows(0, n), c * u)
        zero = tf.zeros([], dtype)
        return Pair(
            (self.generator.flatten(g), {"loss": loss, "penalty": zero}),
            (
                self.discriminator.flatten(found.g),
                {"loss": found.loss, "penalty": _or_zero(found.penalty, found.loss)},
            ),
        )

    def _chain_of_critic(self, layers) -> Chain | None:
        """The discriminator's, where its loss and penalties are those of a chain."""
        r = self.regularizers
        same = r.own is None and (layers.m is None or not (r.any and r.moving))
        return self._chains.w if same else None

    def _by_hand(self, leaves, real, weights, fakes, key, shard, more=()) -> by_hand.Found:
        """The discriminator's field on `real` and `fakes`; rows `more` pass its chain with them."""
        r, n = self.regularizers, real.shape[0]
        sizes = [n, *(x.shape[0] for x in fakes)]
        num = sum(sizes)
        between = []
        if r.gradient_penalty:
            between = [self._between(real, x, key, shard) for x in fakes]

        def loss(y):
            of_real, *of_fakes = tf.split(y, sizes)
            each = zip(weights, of_fakes, strict=True)
            return _total([a * self.objective(of_real, y).discriminator for a, y in each])

        span = self._span(n, num, num + sum(x.shape[0] for x in between))

        def penalty(u):
            squares = self._squares(u)

            def at(begin, end):
                return squares[begin - span[0] : end - span[0]]

            value = tf.zeros([], u.dtype)
            if r.gradient_penalty:
                for j, a in enumerate(weights):
                    value += a * self._far(at(num + j * n, num + (j + 1) * n))
            if r.r1:
                value += _total(weights) * (r.r1 * 0.5 * tf.reduce_mean(at(0, n)))
            if r.r2:
                for j, a in enumerate(weights):
                    mean = tf.reduce_mean(at((1 + j) * n, (2 + j) * n))
                    value += a * (r.r2 * 0.5 * mean)
            return value

        x = tf.concat([real, *fakes, *between, *more], axis=0)
        return by_hand.critic(self._chains.w, leaves, x, num, loss, span, penalty if span else None)

    def _span(self, n, num, end) -> Any:
        """Of rows [real n, fakes up to num, between them up to end]: whose slopes count."""
        r = self.regularizers
        if not r.any:
            return None
        begin = 0 if r.r1 else n if r.r2 else num
        return begin, end if r.gradient_penalty else num if r.r2 else n

    def _sign(self, logits) -> dict[str, tf.Tensor]:
        """For the augmentations' probability: the mean sign of D(real), of all logits."""
        if not (self.augmentation and self.augmentation.adaptive):
            return {}
        return {"sign": tf.reduce_mean(tf.sign(logits))}

    # Several atoms of a player, or against `Particles`: everything with leading axes.

    def _fields(self, player, z, opponent, real, key, shard, layers):
        """The fields of all rows of z, or of z [d], against a measure with `Particles` in it."""
        block = z if z.shape.rank == 2 else z[None]
        field = self._generator_fields if player == "theta" else self._discriminator_fields
        g, logs = field(block, opponent, real, key, shard, layers)
        return (g, logs) if z.shape.rank == 2 else (g[0], {k: x[0] for k, x in logs.items()})

    def _generator_fields(self, theta, mu, real, key, shard, layers):
        """Of every theta_i [n', d]:  A_i ~ P_{theta_i};  the field of `_generator_field`."""
        num, (weights, w) = theta.shape[0], _table(mu)
        thin, (terms, of_term) = self.draws.batch == "thin", weights.shape
        latents = self._latents_of(num, thin, theta.dtype, real, key, shard)
        leaves, critics = self.generator.unflatten(theta), self.discriminator.unflatten(w)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(leaves)
            drawn = layers.many("theta", _GENERATED, num)
            fake = layers.fake(self._generated(leaves, latents, drawn))  # [n', n, ...]
            real = layers.real(real)
            of = lambda use: layers.many("w", use, of_term, terms)  # noqa: E731
            of_real = self._logits(critics, real[None], of(_REAL))
            of_fake = self._logits(critics, fake, of(_FAKE))
            loss = tf.zeros([num], theta.dtype)
            for l, a in enumerate(tf.unstack(tf.reshape(weights, [-1]))):
                own = _groups(of_real[l, 0], num, thin)
                each = [self.objective(own[i], of_fake[l, i]).generator for i in range(num)]
                loss += a * tf.stack(each)
            # The atoms do not meet: the gradient of the sum is that of each.
            scaled = tf.reduce_sum(loss) * self._loss_scale
        g = self.generator.flatten(self._gradient(tape, scaled, leaves))
        return g, {"loss": loss, "penalty": tf.zeros_like(loss)}

    def _discriminator_fields(self, w, nu, real, key, shard, layers):
        """Of every w_l [m', e]: the field of `_discriminator_field`, against samples of nu.

        Below, c counts the measure's terms (two in 2 nu_t - nu_{t-1}), j the atoms of a term.
        """
        weights, theta = _table(nu)
        (terms, num), many = weights.shape, w.shape[0]
        split = self.draws.batch != "full"
        latents = self._latents_of(num, split, w.dtype, real, key, shard)
        fake = self._generated(
            self.generator.unflatten(theta),
            tf.tile(latents, [terms, 1, 1]),
            layers.many("theta", _GENERATED, num, terms),
        )  # [c j, b, ...]
        fake, real = layers.fake(fake, terms), layers.real(real)
        leaves = self.discriminator.unflatten(w)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(leaves)
            of = lambda use: layers.many("w", use, many)  # noqa: E731
            if self.discriminator.mixes_rows:
                of_real = self._logits(leaves, real[None], of(_REAL))
                of_fake = self._logits(leaves, fake, of(_FAKE))
            else:
                flat = tf.reshape(fake, [-1, *fake.shape[2:]])
                both = self._logits(leaves, tf.concat([real, flat], axis=0)[None], of(_REAL))
                of_real, of_fake = both[:, :, : real.shape[0]], both[:, :, real.shape[0] :]
            shape = [many, terms, num, fake.shape[1], *of_real.shape[3:]]
            of_fake = tf.reshape(of_fake, shape)
            a = tf.unstack(tf.reshape(weights, [-1]))
            loss = []
            for l in range(many):
                own = _groups(of_real[l, 0], num, split)
                losses = [
                    self.objective(own[j], of_fake[l, c, j]).discriminator
                    for c in range(terms)
                    for j in range(num)
                ]
                loss.append(sum(x * y for x, y in zip(a, losses, strict=True)))
            loss = tf.stack(loss)

            def penalties():
                f = lambda x: self._logits(leaves, x, of(_PENALTY))  # noqa: E731
                return self._block_penalties(f, leaves, real, weights, fake, split, key, shard, of)

            penalty = self._penalty(penalties, tf.zeros_like(loss), layers)
            total = tf.reduce_sum(loss + penalty) * self._loss_scale
        g = self.discriminator.flatten(self._gradient(tape, total, leaves))
        sign = {name: tf.fill([many], x) for name, x in self._sign(of_real).items()}
        return g, {"loss": loss, "penalty": penalty, **sign}

    def _latents_of(self, num, split, dtype, real, key, shard):
        """What each of `num` generators reads: [num, n or n / num, D (+ k)].

        The first generator's, and all together where they are split, are those of a single one.
        """
        n, first = real.shape[0], self._drawn(key, shard, dtype, real.shape[0])
        if split and n % num:
            raise InputError(
                f"A mini-batch of {n} cannot be split over {num} particles (particles.batch="
                f"split). Choose a multiple of {num}, or particles.batch=full."
            )
        if split:
            latents = _groups(first, num, True)
            if self.draws.latents == "shared":
                latents = _repeat(latents[:1], num)
        elif self.draws.latents == "shared":
            latents = _repeat(first[None], num)
        else:

            def others(n):
                shape = [n, num - 1, self.latent_dim]
                if self.latent_law:
                    own = rng.fold_in(key, 2)
                    return tf.reshape(self.latent_law(own, n * (num - 1), dtype), shape)
                return rng.normal(key, shape, dtype, at=2)

            rest = tf.transpose(shard.rows(others, n), [1, 0, 2])
            latents = tf.concat([first[None], rest], axis=0)
        if self.num_classes:
            classes = _groups(self._classes(real), num, split)
            latents = tf.concat([latents, classes], axis=2)
        return latents

    def _generated(self, leaves, latents, layers):
        """Samples [m, n, ...], with their classes, of m generators at latents [m, n, D (+ k)]."""
        fake = self.generator.apply_many(leaves, latents, **layers)
        if not self.num_classes:
            return fake
        flat = tf.reshape(fake, [-1, *fake.shape[2:]])
        labelled = self.labelled(flat, tf.reshape(latents, [-1, latents.shape[2]]))
        return tf.reshape(labelled, [*fake.shape[:2], *labelled.shape[1:]])

    def _logits(self, leaves, x, layers):
        """Of every critic at groups of data, [g, b, ...] or [m, g, b, ...]: [m, g, b, ...].

        Batch normalisation sees the groups apart, as it sees real and generated data.
        """
        own = x.shape.rank > len(self.discriminator.input_shape) + 2
        axis = 1 if own else 0

        def apply(x, group=0):
            y = self.discriminator.apply_many(leaves, x, **_of_group(layers, group))
            return tf.expand_dims(y, -1) if y.shape.rank == 2 else y

        if self.discriminator.mixes_rows:
            groups = enumerate(tf.unstack(x, axis=axis))
            return tf.stack([apply(group, i) for i, group in groups], axis=1)
        groups, rows = x.shape[axis], x.shape[axis + 1]
        merged = [*x.shape[:axis], groups * rows, *x.shape[axis + 2 :]]
        y = apply(tf.reshape(x, merged))
        return tf.reshape(y, [-1, groups, rows, *y.shape[2:]])

    def _squared_norms(self, f, x, many):
        """|grad_x f_l(x)|^2 of each of `many` critics, at groups x [g, b, ...]: [l, g, b]."""
        return self._squared_gradient_norm(f, tf.broadcast_to(x, [many, *x.shape]), rows=3)

    def _gradient_penalty(self, f, real, fake, key, shard):
        return self._far(self._squared_gradient_norm(f, self._between(real, fake, key, shard)))

    def _between(self, real, fake, key, shard):
        """Where the gradient penalty looks: u x + (1 - u) x', u uniform."""
        u = _mixing(real, key, shard)
        return u * real + (1.0 - u) * fake

    def _far(self, squares, axis=None):
        """The gradient penalty of squared slopes."""
        norm = tf.sqrt(squares + 1e-12)
        return self.regularizers.gradient_penalty * tf.reduce_mean((norm - 1.0) ** 2, axis)

    def _penalty(self, penalties, zero, layers):
        """What `penalties` computes, when it is due and times the regularisers' factor."""
        r, m, t = self.regularizers, layers.m, layers.t
        if not r.any:
            return zero
        if m is None or not r.moving:
            return penalties()
        factor = tf.cast(1.0 if r.factor is None else r.factor(m), zero.dtype)
        if r.every == 1:
            return factor * penalties()
        if t is None:
            raise InputError(
                f"Penalties are of every n-th outer step, n = {r.every}, and the field was asked "
                "without its number t. Ask oracle.with_outer_step(t)."
            )
        due = tf.equal(tf.math.floormod(tf.cast(t, tf.int64), r.every), 0)
        return tf.cond(due, lambda: r.every * factor * penalties(), lambda: zero)

    def _penalties(self, f, real, weights, fakes, key, shard):
        """Of one critic f: sum_j a_j penalty(real, fake_j)."""
        r, penalty = self.regularizers, tf.zeros([], real.dtype)
        for j, (a, fake) in enumerate(zip(weights, fakes, strict=True)):
            if r.gradient_penalty:
                penalty += a * self._gradient_penalty(f, real, fake, key, shard)
            if r.own:
                penalty += a * self._own_penalty(f, real, fake, rng.fold_in(key, _OWN + j))
        if r.r2:
            penalty += self._r1_and_r2(f, real, weights, fakes)
        elif r.r1:
            squares = self._squared_gradient_norm(f, real)
            penalty += _total(weights) * (r.r1 * 0.5 * tf.reduce_mean(squares))
        return penalty

    def _r1_and_r2(self, f, real, weights, fakes):
        """Both, by one pass over real and generated rows where a row does not see the others."""
        r = self.regularizers
        data = [real, *fakes] if r.r1 else list(fakes)
        if self.discriminator.mixes_rows:
            squares = [self._squared_gradient_norm(f, x) for x in data]
        else:
            squares = tf.split(self._squared_gradient_norm(f, tf.concat(data, axis=0)), len(data))
        of_real = r.r1 * tf.reduce_mean(squares[0]) if r.r1 else tf.zeros([], real.dtype)
        of_fakes = squares[1:] if r.r1 else squares
        return sum(
            a * 0.5 * (of_real + r.r2 * tf.reduce_mean(x))
            for a, x in zip(weights, of_fakes, strict=True)
        )

    def _block_penalties(self, f, leaves, real, weights, fake, split, key, shard, of):
        """Of every critic, at generated data [c j, b, ...] of weights [c, j]: [m']."""
        r, (terms, num), many = self.regularizers, weights.shape, leaves[0].shape[0]
        penalty, a = tf.zeros([many], real.dtype), tf.reshape(weights, [-1])
        if r.gradient_penalty:
            real_j, u = (_groups(x, num, split) for x in (real, _mixing(real, key, shard)))
            real_j, u = (_repeat(x, terms) for x in (real_j, u))
            between = u * real_j + (1.0 - u) * fake
            norm = tf.sqrt(self._squared_norms(f, between, many) + 1e-12)
            far = tf.reduce_mean((norm - 1.0) ** 2, axis=2)
            penalty += r.gradient_penalty * tf.reduce_sum(a * far, axis=1)
        if r.r1 and r.r2 and not self.discriminator.mixes_rows:
            both = tf.concat([real, tf.reshape(fake, [-1, *fake.shape[2:]])], axis=0)[None]
            squares = self._squared_norms(f, both, many)[:, 0]
            of_real = squares[:, : real.shape[0]][:, None]
            of_fake = tf.reshape(squares[:, real.shape[0] :], [many, *fake.shape[:2]])
        else:
            of_real = self._squared_norms(f, real[None], many) if r.r1 else None
            of_fake = self._squared_norms(f, fake, many) if r.r2 else None
        if of_real is not None:
            mean = tf.reduce_mean(of_real, axis=[1, 2])
            penalty += tf.reduce_sum(weights) * r.r1 * 0.5 * mean
        if of_fake is not None:
            mean = tf.reduce_mean(of_fake, axis=2)
            penalty += r.r2 * 0.5 * tf.reduce_sum(a * mean, axis=1)
        if r.own:
            penalty += tf.stack(
                [
                    self._own_penalties(
                        self._one_of(leaves, of(_PENALTY), l), real, a, fake, num, split, key
                    )
                    for l in range(many)
                ]
            )
        return penalty

    def _one_of(self, leaves, layers, l):
        """Critic number l of a block, as a function of data [n, ...]."""
        one = [leaf[l : l + 1] for leaf in leaves]
        own = {name: x[l : l + 1] for name, x in layers.items()}
        return lambda x: self._logits(one, x[None], own)[0, 0]

    def _own_penalties(self, f, real, a, fake, num, split, key):
        groups = _groups(real, num, split)
        return sum(
            weight * self._own_penalty(f, groups[i % num], fake[i], rng.fold_in(key, _OWN + i))
            for i, weight in enumerate(tf.unstack(a))
        )

    def _own_penalty(self, f, real, fake, key):
        value = self.regularizers.own(f, real, fake, key)  # pyright: ignore[reportOptionalCall]
        return tf.ensure_shape(tf.cast(value, real.dtype), [])

    def _squared_gradient_norm(self, f, x, rows=1):
        """|grad_x f(x)|^2 for every row of x, but for its last channels, the classes: [n].

        Where f has several leading axes of rows, of all of them.
        """
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(x)
            y = tf.reduce_sum(f(x)) * self._loss_scale
        (g,) = self._gradient(tape, y, [x])
        return self._squares(g, rows)

    def _squares(self, g, rows=1):
        """|g|^2 of every row, but for its last channels, the classes."""
        if self.num_classes:
            of_data: Any = tf.reshape(g, [*g.shape[:-1], self.packing, -1])
            of_data = of_data[..., : -self.num_classes]
            g = tf.reshape(of_data, [*g.shape[:-1], -1])
        return tf.reduce_sum(g**2, axis=list(range(rows, g.shape.rank)))


# What a call of a network is for: each has draws of its own (and `GanGame.latents` the counter 0,
# mixing numbers 1, further latents 2).
_DRAWS = 3
# Of a user's own penalty, by term or atom: above all that layers draw.
_OWN = 1 << 16
_GENERATED, _REAL, _FAKE, _PENALTY, _UPDATE = range(5)


class _Layers(NamedTuple):
    """What the layers of the networks draw and keep in the calls of one field.

    Nothing of either, and no operation in the graph, for networks without such layers. Shards draw
    by themselves: a layer's draws cannot be cut to rows.
    """

    game: GanGame
    of_field: Any
    shard: Shard
    states: Pair | None
    m: Any = None
    t: Any = None
    seen: Augmented | None = None

    def real(self, x: tf.Tensor) -> tf.Tensor:
        """Real data [n, ...] as the critic sees them."""
        return x if self.seen is None else self.seen.real(x)

    def fake(self, x: tf.Tensor, terms: int = 1) -> tf.Tensor:
        """Generated data as it does; see `Augmented.fake`."""
        return x if self.seen is None else self.seen.fake(x, terms)

    def key(self, player: Player, use: int, j: int = 0):
        """int32[2], of the draws for this use, by term or atom number j; None without any."""
        if not self.game._network(player).random:
            return None
        counters = [_DRAWS + use + 8 * (player == "w"), j]
        if self.shard.count > 1:
            counters.append(self.shard.index)
        return rng.fold_in(self.of_field, *counters)

    def one(self, player: Player, use: int, j: int = 0) -> dict[str, Any]:
        """`key` and `state` for `Network.apply`."""
        network, state = self.game._network(player), self._state(player)
        given: dict[str, Any] = {"key": self.key(player, use, j)} if network.random else {}
        return given if state is None else {**given, "state": state}

    def many(self, player: Player, use: int, num: int, terms: int = 1) -> dict[str, Any]:
        """`keys` and `states` for `Network.apply_many`, of `num` atoms, `terms` times over.

        The terms of a signed measure share them.
        """
        network, state = self.game._network(player), self._state(player)
        given: dict[str, Any] = {}
        if network.random:
            given["keys"] = [self.key(player, use, j) for j in range(num)] * terms
        if state is not None:
            rows = _repeat(state[None], num) if state.shape.rank == 1 else state
            given["states"] = _repeat(rows, terms)
        return given

    def _state(self, player: Player):
        return None if self.states is None else self.states.of(player)


def _first_row(x):
    return x if x.shape.rank == 1 else x[0]


def _of_group(layers: dict[str, Any], group: int) -> dict[str, Any]:
    """What each group of data draws by itself."""
    if not group or "keys" not in layers:
        return layers
    return {**layers, "keys": [rng.fold_in(key, group) for key in layers["keys"]]}


def _or_zero(x, like):
    return tf.zeros_like(like) if x is None else x


def _total(weights):
    return sum(weights[1:], start=weights[0])


def _mixing(real, key, shard):
    """The gradient penalty's mixing numbers, one for each row of real data."""

    shape = [1] * (real.shape.rank - 1)

    def mixing(num, key):
        return rng.uniform(key, [num, *shape], real.dtype, at=1)

    def uniforms(num):
        return of_key(lambda key: mixing(num, key), key)

    return shard.rows(uniforms, real.shape[0])


def _mixed(measure: Measure) -> bool:
    return isinstance(measure.atoms, tuple) and any(isinstance(z, Particles) for z in measure.atoms)


def _table(measure: Measure):
    """(weights [c, j], atoms [c j, d]) of a measure of points [d] (j = 1) or `Particles`."""
    terms = zip(measure.weights, measure.atoms, strict=True)
    if not isinstance(measure.atoms, tuple):
        terms = measure.terms()
    weights, atoms = [], []
    for a, z in terms:
        several = isinstance(z, Particles)
        atoms.append(z.atoms if several else z[None])
        ones = tf.ones([1], z.dtype) if not several else tf.exp(z.log_weights)
        weights.append(a * ones)
    return tf.stack(weights), tf.concat(atoms, axis=0)


def _groups(x, num: int, split: bool):
    """The part of each of `num` atoms in x [n, ...]: rows j, j + num, ..., or all of them."""
    if not split:
        return _repeat(x[None], num)
    # Whole turns of the atoms lie in every shard, so that a row's atom is the same in all.
    turns = tf.reshape(x, [-1, num, *x.shape[1:]])
    return tf.transpose(turns, [1, 0, *range(2, turns.shape.rank)])


def _repeat(x, times: int):
    """x `times` times, one after the other along its first axis."""
    return tf.tile(x, [times, *[1] * (x.shape.rank - 1)])
