"""What a training is made of: the objects that the compiled loop plays with, and how long."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, cast

import tensorflow as tf

from tf_mixed_nash import rng
from tf_mixed_nash.algorithms import ALGORITHMS
from tf_mixed_nash.games.gan import GanGame
from tf_mixed_nash.methods.oracle import Oracle
from tf_mixed_nash.methods.schedules import Schedule
from tf_mixed_nash.methods.schemes import Scheme
from tf_mixed_nash.strategies.mixed import MixedStrategy
from tf_mixed_nash.training.feeds import Feed
from tf_mixed_nash.types import PLAYERS, Measure, Pair, Player

__all__ = ["Training", "num_outer_steps"]

# Of batch_size latents each: the statistics of a published generator are means over them.
_CALIBRATION_BATCHES = 16


@dataclasses.dataclass(frozen=True, kw_only=True)
class Training:
    """A GAN, an algorithm and data: all that `Loop` needs. Reads no data by itself.

    Attributes:
      algorithm: a key of ALGORITHMS.
      oracle: fields and noise of a `GanGame`, without real data.
      scheme: the algorithm, as `algorithms.build` makes it from the hyperparameters.
      hyperparameters: Pair, with their schedules.
      feed: dtype of the networks -> the real mini-batches; called at the first step.
      other_networks: j -> Pair of networks like the game's, initialised otherwise: where chain
        or atom j >= 1 of a player starts, where it has several (num_chains, num_particles).
      seed: of every draw.
      num_batches: mini-batches of the whole training.
      num_outer_steps: T, the outer steps that use them (`num_outer_steps`).
      batch_size: B.
      num_components: M, the snapshots that are kept.
      window: of which part of the training, as fractions 0 <= first < last <= 1.
      kept_among: the outer steps of it whose outputs may be kept, ascending; None: all.
      ema_decay: per mini-batch, in [0, 1).
      ema_half_lives: of further averages, see `averages`.
      ema_factor: a schedule of the outer step, of what the half-lives of all averages are times;
        None: 1.
      compile: "parts" or "whole" (tf_mixed_nash/compile.py).
      or_parts: what XLA cannot compile whole is run in parts, and `Loop.refused` says why; else
        it is an error.
    """

    algorithm: str
    oracle: Oracle
    scheme: Scheme
    hyperparameters: Pair
    feed: Callable[[tf.DType], Feed]
    other_networks: Callable[[int], Pair]
    seed: int
    num_batches: int
    num_outer_steps: int
    batch_size: int
    num_components: int = 30
    window: tuple[float, float] = (0.75, 1.0)
    kept_among: Sequence[int] | None = None
    ema_decay: float = 0.999
    ema_half_lives: Sequence[int] = ()
    ema_factor: Schedule | None = None
    compile: str = "parts"
    or_parts: bool = False

    @property
    def game(self) -> GanGame:
        """What is played; it holds the networks, the latents' dimension and the classes."""
        return cast("GanGame", self.oracle.game)

    @property
    def networks(self) -> Pair:
        """Pair of `Network`, the generator and the discriminator."""
        return Pair(self.game.generator, self.game.discriminator)

    @property
    def kept_steps(self) -> tuple[int, int]:
        """The window in outer steps, [first, last)."""
        first, last = self.window
        return int(first * self.num_outer_steps), int(last * self.num_outer_steps)

    @property
    def most_batches(self) -> int:
        """The most mini-batches that an outer step uses."""
        per_step = self.scheme.num_batches(0)
        if not tf.is_tensor(per_step):
            return per_step
        steps = tf.range(self.num_outer_steps + 1, dtype=tf.int64)
        return int(tf.reduce_max(self.scheme.num_batches(steps)))

    def initial_state(self) -> Pair:
        """The scheme's state at t = 0, inside the players' parameter sets.

        Several chains or atoms of a player each start at their own initialisation.
        """
        return self.scheme.init(*(self._start(p) for p in PLAYERS))

    def initial_states(self, points: Pair) -> Pair:
        """What the networks' layers keep at t = 0; None of a player whose layers keep nothing.

        Args:
          points: Pair of [d], or of atoms or chains [n', d].

        Returns:
          Pair of [S], or [n', S]: every atom begins at the model's own.
        """

        def of(player: Player):
            network, z = self.networks.of(player), points.of(player)
            if not network.num_state:
                return None
            state = network.initial_state()
            return state if z.shape.rank == 1 else tf.tile(state[None], [z.shape[0], 1])

        return Pair(*(of(p) for p in PLAYERS))

    def _start(self, player: Player) -> tf.Tensor:
        """[d], or [n', d]."""
        project = functools.partial(self.oracle.project, player)
        first = project(self.networks.of(player).initial())
        h = self.hyperparameters.of(player)
        num = h.num_chains if ALGORITHMS[self.algorithm].chains else h.num_particles
        if num == 1:
            return first
        others = (self.other_networks(j).of(player) for j in range(1, num))
        return tf.stack([first, *(project(network.initial()) for network in others)])

    @property
    def num_particles(self) -> int:
        """n' of the generator."""
        return self.hyperparameters.theta.num_particles

    def strategy(
        self,
        atoms: tf.Tensor,
        weights: tf.Tensor | None = None,
        num_particles: int | None = None,
    ) -> MixedStrategy:
        """The mixed strategy of some of the run's generators, ready to be sampled.

        Normalisation layers get the statistics of each generator by itself, measured on latents
        of a stream of its own (docs/decisions/0012), and layers with a state that which belongs to
        the generator's parameters alone (docs/decisions/0021).

        Args:
          atoms: [M, d].
          weights: [M], of sum 1; equal ones by default.
          num_particles: see `MixedStrategy`; by default the run's, whose whole measures they are.
        """
        generator = self.game.generator
        a: Any
        if weights is None:
            count = int(atoms.shape[0])  # pyright: ignore[reportArgumentType]
            a = tf.fill([count], tf.constant(1.0 / count, tf.float32))
        else:
            a = tf.cast(weights, tf.float32)
        if generator.calibrates:
            calibrated = tf.TensorSpec([generator.frozen().dim], generator.dtype)
            atoms = tf.map_fn(self._calibrate, atoms, fn_output_signature=calibrated)
        measure = Measure(atoms, a)
        return MixedStrategy(
            measure,
            generator.frozen(),
            self.game.latent_dim,
            self.game.num_classes,
            num_particles or self.num_particles,
            self.game.latent_law,
        )

    @functools.cached_property
    def _calibrate(self):
        """theta [d] -> [d + s], compiled once."""
        generator = self.game.generator

        def calibrate(theta):
            key = rng.stream(self.seed, "calibration")
            batches = (
                self.game.inputs(rng.fold_in(key, i), self.batch_size, generator.dtype)
                for i in range(_CALIBRATION_BATCHES)
            )
            return generator.calibrated(theta, batches)

        return tf.function(calibrate, autograph=False)


def num_outer_steps(scheme: Scheme, num_batches: int) -> int:
    """T: the first number of outer steps that use at least `num_batches` mini-batches."""
    per_step = scheme.num_batches(0)
    if not tf.is_tensor(per_step):
        return -(-num_batches // per_step)
    used = tf.cumsum(scheme.num_batches(tf.range(num_batches, dtype=tf.int64)))
    enough = tf.searchsorted(used, tf.constant([num_batches], used.dtype))
    return int(enough[0]) + 1
