"""From a resolved config to the objects of a run: data, networks, game, oracle, scheme."""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from tf_mixed_nash import algorithms, rng, schedules
from tf_mixed_nash.algorithms import Hyperparameters
from tf_mixed_nash.errors import InputError
from tf_mixed_nash.games import GanGame, Regularizers
from tf_mixed_nash.models import mlp
from tf_mixed_nash.objectives import OBJECTIVES, Objective
from tf_mixed_nash.oracle import Oracle
from tf_mixed_nash.schemes import Scheme
from tf_mixed_nash.types import PLAYERS, Pair, Player
from trainers import distribute
from trainers.data import synthetic

__all__ = ["Run", "build", "load_function", "load_object", "networks", "num_outer_steps"]


@dataclasses.dataclass(frozen=True)
class Run:
    """The objects of a run.

    Attributes:
      data: the real distribution.
      networks: Pair of `Network`, the generator and the discriminator.
      oracle: fields and noise.
      scheme: the algorithm.
      num_outer_steps: T.
      hyperparameters: Pair, with their schedules.
    """

    config: Mapping[str, Any]
    data: synthetic.PlanarData
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
        others = (networks(self.config, f"/{j}").of(player) for j in range(1, num_chains))
        return tf.stack([first, *(project(network.initial()) for network in others)])


def build(config: Mapping[str, Any]) -> Run:
    """Builds a run from a resolved config (`trainers.settings.resolve`)."""
    data = synthetic.make(config["dataset"])
    nets = networks(config)
    game = GanGame(
        nets.theta,
        nets.w,
        config["model"]["latent_dim"],
        _objective(config["game"]["objective"]),
        Regularizers(
            config["game"]["gradient_penalty"], config["game"]["r1"], config["game"]["weight_clip"]
        ),
    )
    key = rng.stream(config["seed"], "data")

    def batch_at(m):
        return data.sample(rng.fold_in(key, m), config["batch_size"], nets.theta.dtype)

    strategy = distribute.make_strategy(config["strategy"])
    oracle = Oracle(game, batch_at, config["seed"], distribute.evaluator(game, strategy))
    # How many outer steps T there are depends on K_t alone; the step sizes depend on T.
    num_steps = num_outer_steps(_scheme(config, num_steps=1)[0], config["num_batches"])
    scheme, hyperparameters = _scheme(config, num_steps)
    return Run(config, data, nets, oracle, scheme, num_steps, hyperparameters)


def networks(config: Mapping[str, Any], salt: str = "") -> Pair:
    """The generator and the discriminator, initialised from the seed and the salt."""
    model, precision = config["model"], config["precision"]

    def make(name, input_dim, output_dim):
        return mlp(
            input_dim,
            output_dim,
            tuple(model["hidden_units"]),
            model["activation"],
            rng.python_seed(rng.stream(config["seed"], f"init/{name}{salt}")),
            precision,
            name,
        )

    return Pair(make("generator", model["latent_dim"], 2), make("discriminator", 2, 1))


def _scheme(config: Mapping[str, Any], num_steps: int) -> tuple[Scheme, Pair]:
    both = Pair(
        _hyperparameters(config["generator"], num_steps, num_steps + 1),
        _hyperparameters(
            config["discriminator"], num_steps, num_steps * config["discriminator_steps"] + 1
        ),
    )
    name = config["algorithm"]
    options = config["chambolle_pock"] if name == "chambolle_pock" else {}
    return algorithms.build(name, both, config["discriminator_steps"], **options), both


def _hyperparameters(h: Mapping[str, Any], num_steps: int, num_strategies: int) -> Hyperparameters:
    def schedule(key):
        return schedules.make(h[f"{key}_schedule"], h[key], num_steps, h[f"{key}_rate"])

    same = ("damping", "preconditioner", "rms_decay", "stability", "decay_1", "decay_2")
    same += ("num_chains", "history", "history_batch", "mirror_step")
    return Hyperparameters(
        step_size=schedule("step_size"),
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


def load_object(address: str, what: str) -> Any:
    """What FILE.py calls NAME, for the address FILE.py:NAME.

    Args:
      address: FILE.py:NAME.
      what: the flag or key that gave it, for messages.

    Raises:
      InputError: if there is no such file or name, or the file fails to run.
    """
    file, _, name = address.rpartition(":")
    path = Path(file)
    if not file:
        raise InputError(f"{what}={address}: the form is FILE.py:NAME.")
    if not path.is_file():
        raise InputError(f"{what}={address}: there is no file {file!r}.")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise InputError(f"{what}={address}: {file!r} is not a Python file.")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise InputError(f"{what}={address}: running the file failed with {error!r}.") from error
    if not hasattr(module, name):
        found = [
            n
            for n, v in vars(module).items()
            if callable(v) and not n.startswith("_") and getattr(v, "__module__", "") == path.stem
        ]
        raise InputError(
            f"{what}={address}: there is no {name!r} in the file. It has: {', '.join(found)}."
        )
    return getattr(module, name)


def load_function(address: str, what: str) -> Callable:
    """The Python function at FILE.py:NAME.

    Raises:
      InputError: if there is none; see `load_object`.
    """
    function = load_object(address, what)
    if not callable(function):
        raise InputError(f"{what}={address} must be a function, got {function!r}.")
    return function
