"""Which configs may be runs of one population (tf_mixed_nash/training/population.py)."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

from tf_mixed_nash.algorithms import ALGORITHMS
from tf_mixed_nash.errors import InputError
from tf_mixed_nash.methods.schedules import Schedule
from tf_mixed_nash.training import population
from trainers.experiment.build import Given, Run, build
from trainers.experiment.settings import PLAYERS, flatten
from trainers.system import devices
from trainers.tasks import kinds

__all__ = ["OWN", "check", "expected", "kind_of", "refusal", "template"]

_SCHEDULES = ("step_size", "temperature")
# In what the runs of a population may differ.
OWN = ("seed", *(f"{p}.{key}" for p in PLAYERS for key in _SCHEDULES))
_OWN_KEYS = {"seed"} | {
    f"{player}{key}{more}"
    for player in ("", *(f"{p}." for p in PLAYERS))
    for key in _SCHEDULES
    for more in ("", "_schedule", "_rate")
}


def kind_of(config: Mapping[str, Any]) -> str:
    """What the configs of one population have in common, as text; another's is another text.

    Args:
      config: resolved.
    """
    flat = {k: v for k, v in flatten(config).items() if k not in _OWN_KEYS}
    return json.dumps(flat, sort_keys=True, default=str)


def refusal(config: Mapping[str, Any]) -> str:
    """Why a resolved config cannot be a run of a population, as far as it says; "" if it can."""
    if kinds.kind_of(config) != "planar":
        return population.DATA
    if config.get("init_from"):
        return "it begins where another run ended (init_from), each by itself"
    if config["strategy"] != "default":
        return f"a population is of one device, and strategy={config['strategy']} is of several"
    if ALGORITHMS[config["algorithm"]].chains:
        return population.CHAINS.format(config["algorithm"])
    if config["game"]["penalty_every"] > 1:
        return population.LAZY.format(config["game"]["penalty_every"])
    if any(config[p]["num_particles"] > 1 and config[p]["rebirth_below"] for p in PLAYERS):
        return population.REBORN
    return ""


def expected(config: Mapping[str, Any]) -> bool:
    """Whether its networks are perceptrons of ours, of which there is such a program for certain.

    Args:
      config: resolved.
    """
    own = any(config["model"].get(player) for player in PLAYERS)
    return not own and not refusal(config)


def check(runs: Sequence[Run]) -> None:
    """Raises InputError unless they can be one population."""
    for run in runs:
        if reason := refusal(run.config) or population.refusal(run):
            raise InputError(f"These runs cannot be one population: {reason}. Run each alone.")
    if devices.num_replicas(runs[0].options.devices) > 1:
        raise InputError(
            "A population is of one device, and this machine has several GPUs. Start one with "
            "CUDA_VISIBLE_DEVICES=0, others with 1, 2, ..."
        )
    first = flatten(runs[0].config)
    for run in runs[1:]:
        other = flatten(run.config)
        for key in sorted(first.keys() | other.keys()):
            if key not in _OWN_KEYS and first.get(key) != other.get(key):
                raise InputError(
                    f"The runs of a population have the same {key}, got {first.get(key)!r} and "
                    f"{other.get(key)!r}. They may differ in: {', '.join(OWN)}."
                )


def template(runs: Sequence[Run]) -> Run:
    """The first of the runs with the schedules of all: what `Population` traces.

    Args:
      runs: that `check` lets pass.
    """
    first = runs[0]
    given = first.given or Given(task=first.task)
    schedules: dict[tuple[str, str], Schedule] = {}
    for player in PLAYERS:
        for key in _SCHEDULES:
            each, known = [], {}
            for run in runs:
                h = run.hyperparameters.theta if player == "generator" else run.hyperparameters.w
                said = _said(run, player, key)
                each.append(known.setdefault(said, getattr(h, key)))
            schedules[player, key] = population.of_runs(each)
    return build(first.config, (), dataclasses.replace(given, schedules=schedules))


def _said(run: Run, player: str, key: str) -> Any:
    """What a schedule is made of: the same text is the same schedule."""
    config = run.config[player]
    return tuple(config.get(f"{key}{more}") for more in ("", "_schedule", "_rate"))
