"""From a resolved config to the objects of a run: data, networks, game, oracle, scheme."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tf_mixed_nash import algorithms
from tf_mixed_nash.algorithms import Hyperparameters
from tf_mixed_nash.errors import InputError
from tf_mixed_nash.games import augmentation
from tf_mixed_nash.games.augmentation import Augmentation
from tf_mixed_nash.games.gan import GanGame, ParticleDraws, Penalty, Regularizers
from tf_mixed_nash.games.objectives import OBJECTIVES, Objective
from tf_mixed_nash.latents import LatentLaw
from tf_mixed_nash.methods import schedules
from tf_mixed_nash.methods.oracle import Oracle
from tf_mixed_nash.methods.schedules import Schedule
from tf_mixed_nash.methods.schemes import Scheme
from tf_mixed_nash.training.run import Training, num_outer_steps
from tf_mixed_nash.types import PLAYERS, Pair
from trainers.experiment import settings, ways
from trainers.experiment.options import Options, Recovery, options_of, spec_of
from trainers.experiment.ways import Choice
from trainers.system import devices, user_files
from trainers.system.user_files import load_function
from trainers.tasks.base import Task
from trainers.tasks.kinds import CustomSpec, ImageSpec, PlanarSpec

__all__ = ["Given", "Run", "build", "check_schedules", "task_of"]

# (networks, number of the particle): writes initial weights into their models.
Warm = Callable[[Pair, int], None]

# How a config calls an object of a Python program.
PYTHON = "python:"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Given:
    """Objects of a Python program, which a config can only describe.

    Attributes:
      task: data and networks.
      objective: None: the one that the config names.
      penalty: the same.
      latents: None: N(0, I).
      schedules: (player, key) -> schedule in place of the config's: player is "generator" or
        "discriminator", key "step_size" or "temperature".
      script: the program's file, for provenance.json.
    """

    task: Task
    objective: Objective | None = None
    penalty: Penalty | None = None
    latents: LatentLaw | None = None
    schedules: Mapping[tuple[str, str], Schedule] = dataclasses.field(default_factory=dict)
    script: Path | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run(Training):
    """A training that was made from a config.

    Attributes:
      task: the data, and what is done with samples.
      options: what else the config says.
      config: resolved, for the files that must hold all of it; nobody reads its keys.
      choice: of `compile`, and why.
      given: what the config could only describe, to build the run again.
      start: what wrote other initial weights into the networks, the same.
      cold: of a warm start, player -> the parameters before it: what a session that resumes the
        run, and has no warm start, takes for the initial ones.
      files: of the user's, which the config names.
    """

    task: Task
    options: Options
    config: Mapping[str, Any]
    choice: Choice
    given: Given | None = None
    start: Warm | None = None
    cold: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    files: tuple[Path, ...] = ()

    def user_texts(self) -> dict[str, str]:
        """Path -> text of the user's files and script, see `user_files.texts`."""
        return user_files.texts(self.files, self.given.script if self.given else None)


def task_of(config: Mapping[str, Any] | PlanarSpec | ImageSpec | CustomSpec) -> Task:
    """The task of a resolved config, or of what was read from one.

    Opens no data yet, but of the user's own, which say what the networks must make.
    """
    known = isinstance(config, (PlanarSpec, ImageSpec, CustomSpec))
    spec = config if known else spec_of(config)
    if isinstance(spec, CustomSpec):
        from trainers.tasks import custom

        return custom.load(spec)
    if isinstance(spec, ImageSpec):
        # Not for those who need no image libraries.
        if spec.dataset == "stacked_mnist":
            from trainers.tasks.stacked import StackedTask

            return StackedTask(spec)
        from trainers.tasks.imaging import ImageTask

        return ImageTask(spec)
    from trainers.tasks.planar import PlanarTask

    return PlanarTask(spec)


def build(
    config: Mapping[str, Any],
    recoveries: Sequence[Recovery] = (),
    given: Given | None = None,
    start: Warm | None = None,
) -> Run:
    """Builds a run. Reads no data (but see `task_of`).

    Args:
      config: resolved (`settings.resolve`).
      recoveries: of the run so far; from each on, the step sizes are half of what they were and
        the noise is other.
      given: what the config only describes.
      start: of a warm start; None: the networks begin at their own initialisation.

    Raises:
      InputError: if a file of the user's holds something else than the config says.
    """
    options, task = options_of(config), given.task if given else task_of(config)
    cold: dict[str, np.ndarray] = {}

    def networks(j: int = 0) -> Pair:
        made = task.networks(f"/{j}" if j else "")
        if start:
            if not j:
                cold.update(zip(PLAYERS, (n.initial().numpy() for n in made), strict=True))
            start(made, j)
        return made

    nets = networks()
    schedules = given.schedules if given else {}
    # How many outer steps T there are depends on K_t alone; the step sizes depend on T.
    num_steps, horizon = _outer_steps(config, schedules)
    cuts = [recovery.outer_step for recovery in recoveries]
    scheme, hyperparameters = _scheme(config, schedules, num_steps, horizon, cuts)
    products = _products(config, nets, hyperparameters, task, given)
    choice = ways.choose(config["compile"], options.devices, options.num_batches, products)
    game = GanGame(
        nets.theta,
        nets.w,
        config["model"]["latent_dim"],
        given.objective if given and given.objective else _objective(config["game"]["objective"]),
        _regularizers(config, given),
        task.num_classes,
        ParticleDraws(**config["particles"]),
        given.latents if given else _latents(config),
        config["game"]["packing"],
        _augmentation(config, options.seed),
    )
    oracle = Oracle(
        game,
        None,
        options.seed,
        devices.evaluator(game, devices.make_strategy(options.devices), config["accumulate"]),
        [recovery.step for recovery in recoveries],
    )
    return Run(
        algorithm=options.algorithm,
        oracle=oracle,
        scheme=scheme,
        hyperparameters=hyperparameters,
        feed=task.feed,
        other_networks=networks,
        seed=options.seed,
        num_batches=options.num_batches,
        num_outer_steps=num_steps,
        batch_size=config["batch_size"],
        num_components=config["mixture"]["num_components"],
        window=tuple(config["mixture"]["window"]),
        kept_among=_kept_among(config, num_steps),
        ema_decay=config["ema_decay"],
        ema_half_lives=tuple(config["ema_half_lives"]),
        ema_factor=_moving(_schedule(config["ema_schedule"], 1.0, num_steps)),
        compile=choice.way,
        or_parts=choice.asked == "auto",
        choice=choice,
        task=task,
        options=options,
        config=config,
        given=given,
        start=start,
        cold=cold,
        files=_files(config),
    )


def _products(
    config: Mapping[str, Any], nets: Pair, hyperparameters: Pair, task: Task, given: Given | None
) -> int | None:
    """Weights times the rows that read them in a mini-batch, of both players (`ways.choose`).

    None if a step has convolutions, which XLA computes slowly on CPUs, layers that draw by
    TensorFlow's generators, slow there as well, or functions of the user's, of which nothing is
    known.
    """
    own = (given.objective, given.penalty, given.latents, given.schedules) if given else ()
    if any(own) or _files(config) or not task.without_functions or config["game"]["augment"]:
        return None
    if any(
        net.random or not net.known or any(len(shape) > 2 for shape in net.shapes) for net in nets
    ):
        return None
    chains = algorithms.ALGORITHMS[config["algorithm"]].chains
    atoms = [h.num_chains if chains else h.num_particles for h in hyperparameters]
    shared = config["particles"]["batch"] == "thin"  # the generators share the rows
    return config["batch_size"] * sum(
        net.num_parameters * (1 if shared and player == "theta" else n)
        for player, net, n in zip(PLAYERS, nets, atoms, strict=True)
    )


# The clocks that schedules follow.
_STEPS, _BATCHES = "the outer step t", "the mini-batch t"


def check_schedules(run: Run) -> None:
    """Raises InputError for a schedule that leaves its range, or has more cycles than steps.

    Looked at are those of the user's own, and of Adam's decay_2, which must stay below 1.
    """
    config, num_steps = run.config, run.num_outer_steps
    given = run.given.schedules if run.given else {}
    for player in settings.PLAYERS:
        h = config[player]
        for key in ("step_size", "temperature", "decay_2", "inner_steps"):
            below = 1.0 if key == "decay_2" else math.inf
            if own := given.get((player, key)):
                schedules.check(own, num_steps, f"The {player}'s {key}", below)
                continue
            value = float(h["num_inner_steps" if key == "inner_steps" else key])
            rate = 0.0 if key == "inner_steps" else h.get(f"{key}_rate", 0.0)
            name = f"{key}_schedule"
            _check_schedule(f"{player}.{name}", h[name], value, num_steps, rate, _STEPS, below)
    _check_schedule("ema_schedule", config["ema_schedule"], 1.0, num_steps)
    for name in ("penalty_schedule", "augment_schedule"):
        text, num_batches = config["game"][name], config["num_batches"]
        _check_schedule(f"game.{name}", text, 1.0, num_batches, 0.0, _BATCHES)


def _check_schedule(
    key: str,
    text: str,
    value: float,
    num_steps: int,
    rate: float = 0.0,
    of: str = _STEPS,
    below: float = math.inf,
) -> None:
    if text.startswith(PYTHON):
        return  # of a program that is not here
    own = ".py:" in text
    kind, options = ("", {}) if own else schedules.parse(text)
    if kind == "cyclical" and (cycles := options.get("cycles", 4)) > num_steps:
        raise InputError(
            f"{key}={text} has {cycles:g} cycles in the {num_steps:,} steps of the run."
        )
    if own or (below < math.inf and kind != "constant"):
        moving = _schedule(text, value, num_steps, rate, key, of)
        schedules.check(moving, num_steps, f"{key}={text}", below)


def _files(config: Mapping[str, Any]) -> tuple[Path, ...]:
    """Those of the FILE.py:NAME of a config."""
    values = settings.flatten(config).values()
    addresses = [v for v in values if isinstance(v, str) and ".py:" in v]
    return tuple(Path(address.rpartition(":")[0]).resolve() for address in addresses)


def _kept_among(config: Mapping[str, Any], num_steps: int) -> list[int] | None:
    if config["mixture"]["when"] == "random":
        return None
    return schedules.low_points(config["generator"]["step_size_schedule"], num_steps)


def _outer_steps(
    config: Mapping[str, Any], given: Mapping[tuple[str, str], Schedule]
) -> tuple[int, int]:
    """(T, the number of steps at which a schedule of K_t ends).

    The second is what makes the first: the least that gives enough mini-batches by itself.
    """
    num_batches = config["num_batches"]

    def of(horizon: int) -> Scheme:
        return _scheme(config, given, 1, horizon)[0]

    texts = {config[player]["inner_steps_schedule"] for player in ("generator", "discriminator")}
    low, high = 1, num_batches  # every step has a mini-batch
    while low < high and texts != {"constant"}:
        middle = (low + high) // 2
        used = of(middle).num_batches(tf.range(middle, dtype=tf.int64))
        used = middle * used if isinstance(used, int) else int(tf.reduce_sum(used))
        low, high = (low, middle) if used >= num_batches else (middle + 1, high)
    return num_outer_steps(of(low), num_batches), low


def _scheme(
    config: Mapping[str, Any],
    given: Mapping[tuple[str, str], Schedule],
    num_steps: int,
    horizon: int,
    cuts: Sequence[int] = (),
) -> tuple[Scheme, Pair]:
    theta, w = (
        {key: schedule for (name, key), schedule in given.items() if name == player}
        for player in ("generator", "discriminator")
    )
    both = Pair(
        _hyperparameters(config["generator"], theta, num_steps, horizon, num_steps + 1, cuts),
        _hyperparameters(
            config["discriminator"],
            w,
            num_steps,
            horizon,
            num_steps * config["discriminator_steps"] + 1,
            cuts,
        ),
    )
    name = config["algorithm"]
    options: dict[str, Any] = config["chambolle_pock"] if name == "chambolle_pock" else {}
    if config.get("alternated"):
        options = {"alternated": True}
    return algorithms.build(name, both, config["discriminator_steps"], **options), both


def _hyperparameters(
    h: Mapping[str, Any],
    given: Mapping[str, Schedule],
    num_steps: int,
    horizon: int,
    num_strategies: int,
    cuts: Sequence[int],
) -> Hyperparameters:
    def schedule(key):
        if key in given:
            return given[key]
        rate = h.get(f"{key}_rate", 0.0)
        return _schedule(h[f"{key}_schedule"], h[key], num_steps, rate, f"{key}_schedule")

    decay_2, K = schedule("decay_2"), h["num_inner_steps"]
    growing = schedules.growing_inner_steps(K, h["inner_steps_rate"])
    moving = h["inner_steps_schedule"] != "constant"
    key = "inner_steps_schedule"
    inner_steps = schedules.inner_steps(_schedule(h[key], float(K), horizon, 0.0, key))
    same = ("damping", "preconditioner", "rms_decay", "stability", "decay_1")
    same += ("num_chains", "history", "history_batch", "mirror_step")
    same += ("rms_correction", "prior_std", "weight_decay")
    same += ("num_particles", "weights", "weight_floor", "rebirth_noise")
    return Hyperparameters(
        step_size=schedules.reduced(schedule("step_size"), cuts),
        temperature=schedule("temperature"),
        num_inner_steps=inner_steps if moving else growing,
        weight_step=schedules.constant(h["weight_step"]),
        decay_2=getattr(decay_2, "value", decay_2),
        # A common flag does not concern a player that is one point.
        rebirth_below=h["rebirth_below"] if h["num_particles"] > 1 else 0.0,
        history_capacity=num_strategies if h["history"] == "full" else h["history_capacity"],
        **{key: h[key] for key in same},
    )


def _schedule(
    text: str,
    value: float,
    num_steps: int,
    rate: float = 0.0,
    key: str = "schedule",
    of: str = _STEPS,
) -> Schedule:
    if text.startswith(PYTHON):
        return schedules.constant(value)  # who only reads a run takes no step
    if ".py:" not in text:
        return schedules.make(text, value, num_steps, rate)
    return schedules.of_function(load_function(text, key), f"{key}={text}", of)[0]


def _missing_penalty(name: str) -> Penalty:
    def missing(critic, real, fake, key):
        raise InputError(
            "The penalty of this run is a function of a Python program, "
            f"{name.removeprefix(PYTHON)}, which its folder does not hold. Call "
            "MixedNashGAN.load(path, penalty=...)."
        )

    return missing


def _regularizers(config: Mapping[str, Any], given: Given | None) -> Regularizers:
    game = config["game"]
    own = given.penalty if given else None
    if own is None and (name := game["penalty"]):
        own = _missing_penalty(name) if name.startswith(PYTHON) else load_function(name, "penalty")
    text, key = game["penalty_schedule"], "game.penalty_schedule"
    factor = _schedule(text, 1.0, config["num_batches"], 0.0, key, _BATCHES)
    return Regularizers(
        game["gradient_penalty"],
        game["r1"],
        game["weight_clip"],
        game["r2"],
        own,
        game["penalty_every"],
        _moving(factor),
    )


def _augmentation(config: Mapping[str, Any], seed: int) -> Augmentation | None:
    game = config["game"]
    if not (policy := augmentation.parse(game["augment"])):
        return None
    return Augmentation(
        policy,
        seed,
        game["augment_probability"],
        _moving(_schedule(game["augment_schedule"], 1.0, config["num_batches"])),
        game["augment_target"],
        game["augment_speed"],
    )


def _moving(factor: Schedule) -> Schedule | None:
    """None for a factor that is always 1."""
    return None if getattr(factor, "value", None) == 1.0 else factor


def _latents(config: Mapping[str, Any]) -> None:
    """None: N(0, I). A law of a Python program no config can hold."""
    if law := config["model"].get("latents"):
        raise InputError(
            f"The latents of this run are a law of a Python program, {law.removeprefix(PYTHON)}, "
            "which its folder does not hold. Call MixedNashGAN.load(path, latents=...)."
        )


def _objective(name: str) -> Objective:
    if name in OBJECTIVES:
        return OBJECTIVES[name]
    if name.startswith(PYTHON):

        def missing(real, fake):
            raise InputError(
                f"The objective of this run is a function of a Python program, "
                f"{name.removeprefix(PYTHON)}, which its folder does not hold. Call "
                "MixedNashGAN.load(path, objective=...)."
            )

        return missing
    return load_function(name, "game.objective")
