"""From a resolved config to the objects of a run: data, networks, game, oracle, scheme."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from tf_mixed_nash import algorithms, rng
from tf_mixed_nash.algorithms import Hyperparameters
from tf_mixed_nash.games.gan import GanGame, Regularizers
from tf_mixed_nash.games.objectives import OBJECTIVES, Objective
from tf_mixed_nash.methods import schedules
from tf_mixed_nash.methods.oracle import Oracle
from tf_mixed_nash.methods.schemes import Scheme
from tf_mixed_nash.strategies.mixed import MixedStrategy
from tf_mixed_nash.types import PLAYERS, Measure, Pair, Player
from trainers.system import devices
from trainers.system.user_files import load_function
from trainers.tasks import kinds
from trainers.tasks.base import Task
from trainers.workdir.recoveries import Recovery

__all__ = ["Run", "build", "num_outer_steps"]

# Of batch_size latents each: the statistics of a published generator are means over them.
_CALIBRATION_BATCHES = 16


@dataclasses.dataclass(frozen=True)
class Run:
    """The objects of a run.

    Attributes:
      task: the data, and what is done with samples.
      networks: Pair of `Network`, the generator and the discriminator.
      oracle: fields and noise.
      scheme: the algorithm.
      num_outer_steps: T.
      hyperparameters: Pair, with their schedules.
    """

    config: Mapping[str, Any]
    task: Task
    networks: Pair
    oracle: Oracle
    scheme: Scheme
    num_outer_steps: int
    hyperparameters: Pair

    def initial_state(self) -> Pair:
        """The scheme's state at t = 0, inside the players' parameter sets.

        Where an algorithm keeps several chains of a player, each starts at its own initialisation.
        """
        return self.scheme.init(*(self._start(p) for p in PLAYERS))

    def _start(self, player: Player) -> tf.Tensor:
        """[d], or [n', d]."""
        project = functools.partial(self.oracle.project, player)
        first = project(self.networks.of(player).initial())
        num_chains = self.hyperparameters.of(player).num_chains
        if not algorithms.ALGORITHMS[self.config["algorithm"]].chains or num_chains == 1:
            return first
        others = (self.task.networks(f"/{j}").of(player) for j in range(1, num_chains))
        return tf.stack([first, *(project(network.initial()) for network in others)])

    def strategy(self, atoms: tf.Tensor, weights: tf.Tensor | None = None) -> MixedStrategy:
        """The mixed strategy of some of the run's generators, ready to be sampled.

        Normalisation layers get the statistics of each generator by itself, measured on latents
        of a stream of its own (docs/decisions/0012).

        Args:
          atoms: [M, d].
          weights: [M], of sum 1; equal ones by default.
        """
        generator, latent_dim = self.networks.theta, self.config["model"]["latent_dim"]
        count = int(atoms.shape[0])  # pyright: ignore[reportArgumentType]
        if weights is None:
            weights = tf.fill([count], tf.constant(1.0 / count, tf.float32))
        if generator.num_statistics:
            atoms = tf.map_fn(self._calibrate, atoms, fn_output_signature=self._calibrated)
        return MixedStrategy(
            Measure(atoms, weights), generator.frozen(), latent_dim, self.task.num_classes
        )

    @property
    def _calibrated(self) -> tf.TensorSpec:
        network = self.networks.theta
        return tf.TensorSpec([network.frozen().dim], network.dtype)

    @functools.cached_property
    def _calibrate(self):
        """theta [d] -> [d + s], compiled once."""
        game: Any = self.oracle.game
        generator, size = self.networks.theta, self.config["batch_size"]

        def calibrate(theta):
            key = rng.stream(self.config["seed"], "calibration")
            batches = (
                game.inputs(rng.fold_in(key, i), size, generator.dtype)
                for i in range(_CALIBRATION_BATCHES)
            )
            return generator.calibrated(theta, batches)

        return tf.function(calibrate, autograph=False)


def build(config: Mapping[str, Any], recoveries: Sequence[Recovery] = ()) -> Run:
    """Builds a run. Reads no data.

    Args:
      config: resolved (`trainers.settings.resolve`).
      recoveries: of the run so far; from each on, the step sizes are half of what they were and
        the noise is other.
    """
    strategy = devices.make_strategy(config["strategy"])
    task = kinds.make(config)
    nets = task.networks()
    game = GanGame(
        nets.theta,
        nets.w,
        config["model"]["latent_dim"],
        _objective(config["game"]["objective"]),
        Regularizers(
            config["game"]["gradient_penalty"], config["game"]["r1"], config["game"]["weight_clip"]
        ),
        task.num_classes,
    )
    oracle = Oracle(
        game,
        None,
        config["seed"],
        devices.evaluator(game, strategy, config["accumulate"]),
        [recovery.step for recovery in recoveries],
    )
    # How many outer steps T there are depends on K_t alone; the step sizes depend on T.
    num_steps = num_outer_steps(_scheme(config, num_steps=1)[0], config["num_batches"])
    cuts = [recovery.outer_step for recovery in recoveries]
    scheme, hyperparameters = _scheme(config, num_steps, cuts)
    return Run(config, task, nets, oracle, scheme, num_steps, hyperparameters)


def _scheme(
    config: Mapping[str, Any], num_steps: int, cuts: Sequence[int] = ()
) -> tuple[Scheme, Pair]:
    both = Pair(
        _hyperparameters(config["generator"], num_steps, num_steps + 1, cuts),
        _hyperparameters(
            config["discriminator"], num_steps, num_steps * config["discriminator_steps"] + 1, cuts
        ),
    )
    name = config["algorithm"]
    options = config["chambolle_pock"] if name == "chambolle_pock" else {}
    return algorithms.build(name, both, config["discriminator_steps"], **options), both


def _hyperparameters(
    h: Mapping[str, Any], num_steps: int, num_strategies: int, cuts: Sequence[int]
) -> Hyperparameters:
    def schedule(key):
        return schedules.make(h[f"{key}_schedule"], h[key], num_steps, h[f"{key}_rate"])

    same = ("damping", "preconditioner", "rms_decay", "stability", "decay_1", "decay_2")
    same += ("num_chains", "history", "history_batch", "mirror_step")
    return Hyperparameters(
        step_size=schedules.reduced(schedule("step_size"), cuts),
        temperature=schedule("temperature"),
        num_inner_steps=schedules.growing_inner_steps(h["num_inner_steps"], h["inner_steps_rate"]),
        history_capacity=num_strategies if h["history"] == "full" else h["history_capacity"],
        **{key: h[key] for key in same},
    )


def num_outer_steps(scheme: Scheme, num_batches: int) -> int:
    """T: the first number of outer steps that use at least `num_batches` mini-batches."""
    per_step = scheme.num_batches(0)
    if not tf.is_tensor(per_step):
        return -(-num_batches // per_step)
    used = tf.cumsum(scheme.num_batches(tf.range(num_batches, dtype=tf.int64)))
    enough = tf.searchsorted(used, tf.constant([num_batches], used.dtype))
    return int(enough[0]) + 1


def _objective(name: str) -> Objective:
    if name in OBJECTIVES:
        return OBJECTIVES[name]
    return load_function(name, "game.objective")
