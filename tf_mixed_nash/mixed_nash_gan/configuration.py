"""What a game is and how it is trained: a config, and the objects that no config can hold."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from configs import common, tuned
from tf_mixed_nash.algorithms import unread
from tf_mixed_nash.errors import InputError
from tf_mixed_nash.games.objectives import Objective
from tf_mixed_nash.latents import LatentLaw
from tf_mixed_nash.methods.schedules import of_function
from tf_mixed_nash.mixed_nash_gan.arguments import meant, own
from tf_mixed_nash.types import Pair
from trainers.experiment import settings
from trainers.experiment.build import PYTHON, Given
from trainers.experiment.options import spec_of
from trainers.experiment.unread import reason
from trainers.system import devices
from trainers.tasks import user_models
from trainers.tasks.custom import CustomTask
from trainers.tasks.kinds import CustomSpec

__all__ = ["PLAYERS", "Configuration", "models_of"]

PLAYERS = ("generator", "discriminator")
_CHAMBOLLE_POCK = {"kappa": 1.0, "extrapolate": "measure"}
_ONE_PARTICLE = {"batch": "split", "latents": "own"}
_FUNCTIONS = ("step_size", "temperature")  # hyperparameters that may be functions of t


class Configuration:
    """See the module. It is checked when it is made, and changes by `compile` alone.

    Args:
      models: Pair of Keras models or functions that make them.
      algorithm: a name.
      objective: a name, or a function.
      latents: their law; None: N(0, I).
      penalties: what the config's `game` has beside the objective; `penalty` is a function or None.
      latent_dim: D.
      num_classes: k, or 0.
      num_particles: n'.
      descriptions: of the models (`user_models.describe`), generator and discriminator.

    Attributes:
      models, objective, penalties: as given.
      base: the resolved config once it is compiled, else None.

    Raises:
      InputError: for the first value that is out of its range.
    """

    def __init__(
        self,
        models: Pair,
        algorithm: str,
        objective: str | Objective,
        latents: LatentLaw | None,
        penalties: Mapping[str, Any],
        latent_dim: int,
        num_classes: int,
        num_particles: int,
        descriptions: Pair,
    ):
        self.models, self._algorithm = models, algorithm
        self.objective, self._latents = objective, latents
        self.penalties = {**penalties, "penalty": ""}
        self._penalty = penalties["penalty"]
        if self._penalty is not None:
            if not callable(self._penalty):
                raise InputError(
                    "penalty must be a function (critic, real, fake, key) -> number, got "
                    f"{type(self._penalty).__name__}."
                )
            self.penalties["penalty"] = _named(self._penalty)
        self._model = {"latent_dim": latent_dim, "num_classes": num_classes}
        self._num_particles, self._descriptions = num_particles, descriptions
        self._first = descriptions  # of what functions made then
        self._schedules: dict[tuple[str, str], Callable] = {}
        self.base: dict[str, Any] | None = None
        self.resolved(num_batches=1)

    def resolved(self, **values: Any) -> dict[str, Any]:
        """A resolved config of this game with these values; nested ones as mappings."""
        if self.base is None:
            flat = settings.flatten(
                {
                    "num_particles": self._num_particles,
                    "game": {**self.penalties, "objective": _named(self.objective)},
                    "model": self._model,
                    "batch_size": 2 * _lcm(values, self._num_particles),
                    **values,
                }
            )
            c = common.custom(self._algorithm)
            for key, value in flat.items():
                try:
                    if isinstance(value, bool) and _type_of(c, key) != "bool":
                        raise TypeError  # else it would be 0 or 1
                    c.update_from_flattened_dict({key: value})
                except (KeyError, TypeError, ValueError):
                    raise InputError(f"{key} must be {_type_of(c, key)}, got {value!r}.") from None
            config = settings.resolve(c)
            for player, facts in zip(PLAYERS, self._descriptions, strict=True):
                config["model"][player] = facts
            if self._latents:
                config["model"]["latents"] = f"{PYTHON}{self._latents.name}"
            return config
        config = copy.deepcopy(self.base)
        for key, value in values.items():
            if isinstance(value, Mapping) and isinstance(config.get(key), dict):
                config[key].update(value)
            else:
                config[key] = value
        settings.check(config, devices.num_replicas(config["strategy"]))
        return config

    def compile(self, hyperparameters: Mapping[str, Any], **values: Any) -> None:
        """Takes what `MixedNashGAN.compile` is given; unchanged where that is refused.

        Args:
          hyperparameters: of both players, and `generator` and `discriminator`, mappings or None;
            None is the algorithm's default.
          **values: the other keys of a config.

        Raises:
          InputError: for the first value that is not valid.
        """
        both = {k: hyperparameters[k] for k in tuned.ANY if hyperparameters[k] is not None}
        both.setdefault("num_particles", self._num_particles)
        each = {p: dict(own(p, hyperparameters[p])) for p in PLAYERS}
        schedules: dict[tuple[str, str], Callable] = {}
        for player, mine in each.items():
            for key in mine:
                if key not in tuned.ANY:
                    hint = _meant(key, tuned.ANY) or f" Choose among: {', '.join(tuned.ANY)}."
                    raise InputError(
                        f"compile({player}={{{key!r}: ...}}): there is no such key.{hint}"
                    )
            for key in _FUNCTIONS:
                function = mine.get(key, both.get(key))
                if callable(function):
                    if text := mine.get(f"{key}_schedule", both.get(f"{key}_schedule")):
                        raise InputError(
                            f"compile({key}=function, {key}_schedule={text!r}): the function is "
                            f"the schedule. Leave {key}_schedule out."
                        )
                    schedules[player, key], mine[key] = of_function(function, key)
                    mine[f"{key}_schedule"] = _named(function)
        for key in _FUNCTIONS:
            if callable(both.get(key)):
                both.pop(key)
        counts = [m.get("num_particles", both["num_particles"]) for m in each.values()]
        for mine in each.values():
            self._check_read({**both, **mine}, counts)
        self._check_options(values, counts)
        before = self.base
        self.base = None
        try:
            self.base = self.resolved(num_batches=1, **both, **each, **values)
            given = [key for key in both if key != "num_particles"]
            functions = {f"{p}.{key}" for p, key in schedules}  # whose first value stands there
            given += [f"{p}.{key}" for p, mine in each.items() for key in mine]
            given = [key for key in given if key not in functions]
            for key in given:
                if why := reason(self.base, key):
                    player, _, name = key.rpartition(".")
                    shown = f"{player}={{{name!r}: ...}}" if player else f"{name}=..."
                    raise InputError(f"compile({shown}) would have no effect: {why}.")
        except InputError:
            self.base = before
            raise
        self._schedules = schedules

    def _check_read(self, given: Mapping[str, Any], counts: Sequence[Any]) -> None:
        """Raises InputError for a hyperparameter that nothing would read."""
        for key in given:
            if why := unread(self._algorithm, key, any(n > 1 for n in counts)):
                raise InputError(f"compile({key}=...): {why}.")

    def _check_options(self, values: Mapping[str, Any], counts: Sequence[Any]) -> None:
        """Raises InputError for an option of others that is not at its default."""
        if self._algorithm != "chambolle_pock":
            for key, value in values["chambolle_pock"].items():
                if value != _CHAMBOLLE_POCK[key]:
                    raise InputError(
                        f"compile({key}={value!r}) is of chambolle_pock; {self._algorithm} does "
                        "not read it."
                    )
        if all(n == 1 for n in counts):
            for key, value in values["particles"].items():
                if value != _ONE_PARTICLE[key]:
                    raise InputError(
                        f"compile(particle_{key}={value!r}) is of several particles, and there is "
                        "one. Set num_particles, or leave it out."
                    )

    def restore(self, config: Mapping[str, Any], folder: Path) -> None:
        """Takes the config of a folder, with its descriptions of the models.

        Raises:
          InputError: if the models are other ones.
        """
        for player, facts in zip(PLAYERS, self._descriptions, strict=True):
            there = config["model"][player]
            if facts["shapes"] != there["shapes"]:
                raise InputError(
                    f"The {player} is another one than that of {folder}: its weights have "
                    f"shapes {facts['shapes'][:4]}, there {there['shapes'][:4]}."
                )
            if "constants" in there and facts.get("constants") != there["constants"]:
                raise InputError(
                    f"The {player} is another one than that of {folder}: its weights that are not "
                    "trained differ. Give the model that was trained."
                )
        self._descriptions = Pair(*(config["model"][p] for p in PLAYERS))
        self.base = dict(config)

    def check_schedules(self) -> None:
        """Raises InputError for a schedule that is a function which a loaded game does not have."""
        assert self.base is not None
        for player in PLAYERS:
            for key in _FUNCTIONS:
                name = self.base[player][f"{key}_schedule"]
                if name.startswith(PYTHON) and (player, key) not in self._schedules:
                    raise InputError(
                        f"The {player}'s {key} is a function of your own, "
                        f"{name.removeprefix(PYTHON)}, which the folder does not hold. Call "
                        "compile(...) with it before fit(...)."
                    )

    def given(self, config: Mapping[str, Any], data: Any, held_out: Any = None) -> Given:
        """The objects that `trainers.experiment.build` needs beside a config.

        Args:
          config: of `resolved`.
          data: `trainers.tasks.data.user_data.UserData`, or None: nothing is trained.
          held_out: of which scores are, or None.
        """
        seed, first = config["seed"], models_of(self.models, config["seed"])
        for player, mine, facts, model in zip(
            PLAYERS, self.models, self._first, first, strict=True
        ):
            if mine is not model:
                user_models.check_same(facts, model, player)
        models = lambda salt: models_of(self.models, seed, salt) if salt else first  # noqa: E731
        spec = spec_of(config)
        assert isinstance(spec, CustomSpec)  # of dataset "python"
        return Given(
            task=CustomTask(spec, models, data, held_out),
            objective=self.objective if callable(self.objective) else None,
            penalty=self._penalty,
            latents=self._latents,
            schedules=dict(self._schedules),
        )


def models_of(given: Pair, seed: int, salt: str = "") -> Pair:
    """The players' Keras models.

    Args:
      given: a model or a function that makes one, for each player.
      seed: of the initial weights that a function leaves open.
      salt: of another particle, which starts at other weights in any case.

    Raises:
      InputError: if a function makes no model, or a model cannot be made anew.
    """

    def model(name: str, one: Any, seed: int) -> Any:
        if isinstance(one, keras.Model):
            return user_models.restarted(one, name, seed) if salt else one
        return user_models.made(one, name, seed) if callable(one) else one

    return Pair(*map(model, PLAYERS, given, user_models.seeds_of(seed, salt)))


def _meant(word: str, words: Any) -> str:
    close = meant(word, words)
    return f" Did you mean {close!r}?" if close else ""


def _named(function: Any) -> str:
    """How a config calls it."""
    if isinstance(function, str):
        return function
    name = getattr(function, "__qualname__", None) or type(function).__qualname__
    return f"{PYTHON}{getattr(function, '__module__', '')}.{name}"


def _lcm(values: Mapping[str, Any], num_particles: int) -> int:
    """A batch size that every check accepts, before `fit` says the true one."""
    counts = [values.get("num_particles", num_particles)]
    counts += [dict(values.get(p, {})).get("num_particles", 1) for p in PLAYERS]
    good = [n for n in counts if isinstance(n, int) and n > 0]
    return int(np.lcm.reduce(good or [1]))


def _type_of(config: Any, key: str) -> str:
    *above, last = key.split(".")
    for part in above:
        config = config[part]
    return getattr(config.get_type(last), "__name__", "of another type")
