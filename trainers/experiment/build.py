"""From a resolved config to the objects of a run: data, networks, game, oracle, scheme."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from tf_mixed_nash import algorithms
from tf_mixed_nash.algorithms import Hyperparameters
from tf_mixed_nash.games.gan import GanGame, ParticleDraws, Regularizers
from tf_mixed_nash.games.objectives import OBJECTIVES, Objective
from tf_mixed_nash.methods import schedules
from tf_mixed_nash.methods.oracle import Oracle
from tf_mixed_nash.methods.schemes import Scheme
from tf_mixed_nash.training.run import Training, num_outer_steps
from tf_mixed_nash.types import Pair
from trainers.experiment.options import Options, Recovery, options_of, spec_of
from trainers.system import devices
from trainers.system.user_files import load_function
from trainers.tasks.base import Task
from trainers.tasks.kinds import ImageSpec, PlanarSpec

__all__ = ["Run", "build", "task_of"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run(Training):
    """A training that was made from a config.

    Attributes:
      task: the data, and what is done with samples.
      options: what else the config says.
      config: resolved, for the files that must hold all of it; nobody reads its keys.
    """

    task: Task
    options: Options
    config: Mapping[str, Any]


def task_of(config: Mapping[str, Any] | PlanarSpec | ImageSpec) -> Task:
    """The task of a resolved config, or of what was read from one. Opens no data yet."""
    spec = config if isinstance(config, (PlanarSpec, ImageSpec)) else spec_of(config)
    if isinstance(spec, ImageSpec):
        from trainers.tasks.imaging import ImageTask  # not for those who need no image libraries

        return ImageTask(spec)
    from trainers.tasks.planar import PlanarTask

    return PlanarTask(spec)


def build(config: Mapping[str, Any], recoveries: Sequence[Recovery] = ()) -> Run:
    """Builds a run. Reads no data.

    Args:
      config: resolved (`settings.resolve`).
      recoveries: of the run so far; from each on, the step sizes are half of what they were and
        the noise is other.
    """
    options, task = options_of(config), task_of(config)
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
        ParticleDraws(**config["particles"]),
    )
    oracle = Oracle(
        game,
        None,
        options.seed,
        devices.evaluator(game, devices.make_strategy(options.devices), config["accumulate"]),
        [recovery.step for recovery in recoveries],
    )
    # How many outer steps T there are depends on K_t alone; the step sizes depend on T.
    num_steps = num_outer_steps(_scheme(config, num_steps=1)[0], options.num_batches)
    cuts = [recovery.outer_step for recovery in recoveries]
    scheme, hyperparameters = _scheme(config, num_steps, cuts)
    return Run(
        algorithm=options.algorithm,
        oracle=oracle,
        scheme=scheme,
        hyperparameters=hyperparameters,
        feed=task.feed,
        other_networks=lambda j: task.networks(f"/{j}"),
        seed=options.seed,
        num_batches=options.num_batches,
        num_outer_steps=num_steps,
        batch_size=config["batch_size"],
        num_components=config["mixture"]["num_components"],
        window=tuple(config["mixture"]["window"]),
        ema_decay=config["ema_decay"],
        compile=config["compile"],
        task=task,
        options=options,
        config=config,
    )


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
    same += ("num_particles", "weights", "weight_floor", "rebirth_noise")
    return Hyperparameters(
        step_size=schedules.reduced(schedule("step_size"), cuts),
        temperature=schedule("temperature"),
        num_inner_steps=schedules.growing_inner_steps(h["num_inner_steps"], h["inner_steps_rate"]),
        weight_step=schedules.constant(h["weight_step"]),
        # A common flag does not concern a player that is one point.
        rebirth_below=h["rebirth_below"] if h["num_particles"] > 1 else 0.0,
        history_capacity=num_strategies if h["history"] == "full" else h["history_capacity"],
        **{key: h[key] for key in same},
    )


def _objective(name: str) -> Objective:
    if name in OBJECTIVES:
        return OBJECTIVES[name]
    return load_function(name, "game.objective")
