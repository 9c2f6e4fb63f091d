"""From a user's config to a checked, resolved one: plain values, no placeholders left."""

from __future__ import annotations

import ast
import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import ml_collections

from configs import tuned
from tf_mixed_nash.errors import InputError, unknown
from trainers.system import cli
from trainers.system.cli import flatten
from trainers.tasks import kinds

__all__ = [
    "ANSWERS",
    "CONFIG",
    "HYPERPARAMETERS",
    "LATER",
    "METRICS",
    "answers_of",
    "assign",
    "check",
    "differences",
    "fingerprint",
    "flatten",
    "load_workdir_config",
    "override",
    "resolve",
    "to_json",
]

# What a run answers: the last iterate, its exponential moving average, the mixture of snapshots.
ANSWERS = ("last", "ema", "mixture")
CONFIG = "config.json"  # in a workdir
HYPERPARAMETERS = tuple(tuned.ANY)
PLAYERS = ("generator", "discriminator")

# Keys that change what is written along the way, where the run is computed, and what follows a
# divergence, not the result of the run (with other replicas: not beyond rounding).
_FREE = (
    "log_every",
    "picture_every",
    "film",
    "checkpoint_every",
    "keep_last",
    "keep_every",
    "keep_best",
    "keep_checkpoints",  # of earlier versions
    "on_divergence",
    "max_rollbacks",
    "strategy",
    "compile",
    "data",
    "duality_gap",
    "score_every",
    "score_samples",
    "health_every",
    "export",
)
# What configs of runs without it lack, as they always have.
_UNLESS_SET = ("film", "alternated")
# Where a run began: what has begun goes on, whatever they say now.
_OF_BEGINNING = ("init_from", "init_players", "init_answer")

# What keep_best may name.
METRICS = (
    *(
        f"{name}/{player}"
        for name in ("loss", "penalty", "field_norm")
        for player in ("theta", "w")
    ),
    "duality_gap",
)

COMPILE = ("auto", "parts", "whole")

PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16", "float64")

# Keys of the sampled algorithms and of particles, which workdirs of earlier versions lack; and
# others that came later.
LATER = {
    key: tuned.ANY[key]
    for key in (
        *("num_chains", "history", "history_capacity", "history_batch", "mirror_step"),
        *("num_particles", "weights", "weight_step", "weight_floor"),
        *("rebirth_below", "rebirth_noise", "decay_2_schedule", "inner_steps_schedule"),
        *("rms_correction", "prior_std", "weight_decay"),
    )
}
_LATER_OF_MIXTURE = {"when": "random"}
_LATER_KEYS = {
    "accumulate": 1,
    "compile": "parts",
    "ema_half_lives": [],
    "ema_schedule": "constant",
    "export": True,
    "particles": {"batch": "split", "latents": "own"},
}
# What runs of earlier versions do not say of their models.
_LATER_FACTS = tuple(f"model.{player}.constants" for player in PLAYERS)
_LATER_OF_GAME = {
    "r2": 0.0,
    "penalty": "",
    "penalty_every": 1,
    "penalty_schedule": "constant",
    "packing": 1,
    "augment": "",
    "augment_probability": 1.0,
    "augment_schedule": "constant",
    "augment_target": 0.0,
    "augment_speed": 500_000,
}
_NORMALIZATIONS = ("generator_normalization", "discriminator_normalization")
_LATER_OF_IMAGES = {"family": "dcgan", "discriminator_width": 0}
_WIDTHS = ("generator_hidden_units", "discriminator_hidden_units")
# Keys of `model` that only the generator's perceptron has, and the discriminator's, with the values
# that change nothing.
START = {"start_scale": 1.0, "start_spread": 0.0}
FOURIER = {"fourier_features": 0, "fourier_highest": 80.0}


def resolve(config: ml_collections.ConfigDict, num_replicas: int = 1) -> dict[str, Any]:
    """The config as a plain dict with every hyperparameter filled in, for each player.

    A hyperparameter is the player's own flag, else the common flag, else the algorithm's
    tuned default for this kind of data.

    Args:
      config: as made by a file in configs/, with the user's overrides.
      num_replicas: devices that a batch is split over.

    Raises:
      InputError: for the first value out of its range, with the valid choices.
    """
    c = json.loads(config.to_json_best_effort())
    common = {key: c.pop(key) for key in HYPERPARAMETERS}
    several = any(_first(c[p]["num_particles"], common["num_particles"], 1) != 1 for p in PLAYERS)
    defaults = tuned.defaults(c["algorithm"], kinds.kind_of(c), several)
    _drop_unread(c)
    for player in PLAYERS:
        own = c[player]
        c[player] = {key: _first(own[key], common[key], defaults[key]) for key in HYPERPARAMETERS}
    check(c, num_replicas)
    return c


def _drop_unread(c: dict[str, Any]) -> None:
    """Leaves out what a task of this kind does not read.

    Raises:
      InputError: for a key of them that is set.
    """
    kind, model, data = kinds.kind_of(c), c["model"], c.get("data", {})
    for key in _UNLESS_SET:
        if not c.get(key):
            c.pop(key, None)
    if kind == "custom" and "image" in c:
        raise InputError(
            f"dataset={c['dataset']} is of the user's own, and this config is of images. Take a "
            "config of the plane, such as configs/gaussians8_mp.py, and give networks with "
            "--config.model.generator and --config.model.discriminator."
        )
    unread = [] if kind == "images" else ["data.tfds_dir"]
    if c["dataset"] != "vectors" and kind != "images":
        unread.append("data.path")
    if flatten(c).get("data.held_out") is not None and c["dataset"] != "vectors":
        unread.append("data.held_out")
    flat = flatten(c)
    for key in unread:
        if flat.get(key) is not None:
            what = "in the plane" if kind == "planar" else "of a file FILE.py:NAME"
            raise InputError(
                f"{key}={flat[key]!r} is not read: {c['dataset']} is a data set {what}. Leave it "
                "out, or set --config.dataset=vectors for a table of your own."
            )
    if (family := model.get("family", "dcgan")) != "dcgan":
        for key in _NORMALIZATIONS:
            if model.pop(key) != "batch":
                raise InputError(
                    f"model.{key} is not read by model.family={family}, whose networks have their "
                    "own. Leave it out, or choose --config.model.family=dcgan."
                )
    if family != "residual" and model.pop("blocks", 1) != 1:
        raise InputError(
            f"model.blocks is not read by model.family={family}. Choose family residual."
        )
    _drop_unread_of_perceptrons(model)
    for player in PLAYERS:
        if not model.get(player):
            model.pop(player, None)
    if c["dataset"] == "vectors":
        data["held_out"] = _first(data.get("held_out"), 0.1)
    else:
        data.pop("held_out", None)
    if all(model.get(player) for player in PLAYERS):
        for key in ("hidden_units", *_WIDTHS, "activation"):
            model.pop(key, None)
    if kind == "custom":
        c["scorecard"].pop("capture_samples", None)
        c["scorecard"].setdefault("nearest_k", 5)


def _drop_unread_of_perceptrons(model: dict[str, Any]) -> None:
    """Leaves out what a network of the user's own does not read, and what changes nothing.

    Configs of runs without these keys stay as they always were.
    """
    for player, keys in zip(PLAYERS, (START, FOURIER), strict=True):
        if model.get(player) or all(model.get(key, off) == off for key, off in keys.items()):
            for key in keys:
                model.pop(key, None)
    if "fourier_highest" in model and not model["fourier_features"]:
        raise InputError(
            f"model.fourier_highest={model['fourier_highest']} is not read without Fourier "
            "features. Set --config.model.fourier_features=48, say, or leave it out."
        )


def override(config: ml_collections.ConfigDict, items: Iterable[str]) -> None:
    """Sets keys of a config as a command's flags would.

    Args:
      config: changed in place.
      items: "KEY=VALUE" each; the value is a Python literal or a text.

    Raises:
      InputError: for another form, an unknown key, or a value of another type.
    """
    for item in items:
        key, equals, text = item.partition("=")
        if not equals:
            raise InputError(f"--set={item} is not of the form KEY=VALUE.")
        assign(config, key, _literal(text), "--set")


def assign(config: ml_collections.ConfigDict, key: str, value: Any, flag: str) -> None:
    """Sets one key of a config.

    Args:
      config: changed in place.
      key: dotted.
      value: of the key's type; true and false also as texts, as --config takes them.
      flag: that gave it, --FLAG=KEY=...; for messages.

    Raises:
      InputError: for an unknown key, with the nearest one, or a value of another type.
    """
    if key not in (keys := cli.keys_of(config)):
        raise cli.unknown_key(key, keys, f"{flag}=")
    *groups, last = key.split(".")
    group: Any = config
    for name in groups:
        group = group[name]
    if isinstance(value, str) and group.get_type(last) is bool:
        value = {"true": True, "false": False}.get(value.lower(), value)
    try:
        group[last] = value
    except (TypeError, ValueError):
        kind = group.get_type(last).__name__
        raise InputError(
            f"{flag}={key}: the value must be of type {kind}, got {value!r}."
        ) from None


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _first(*values):
    return next(v for v in values if v is not None)


def check(c: Mapping[str, Any], num_replicas: int = 1) -> None:
    """Raises InputError for the first value of a resolved config that is out of its range.

    Args:
      c: with all hyperparameters of each player.
      num_replicas: devices that a batch is split over.
    """
    # Imported here: the names live with the mathematics, which loads TensorFlow.
    from tf_mixed_nash.algorithms import ALGORITHMS
    from tf_mixed_nash.games.objectives import OBJECTIVES
    from tf_mixed_nash.methods.histories import KINDS
    from trainers.system.devices import DEVICES

    flat = flatten(c)
    _choices(flat, ALGORITHMS, "algorithm")
    _choices(flat, PRECISIONS, "precision")
    _choices(flat, DEVICES, "strategy")
    _choices(flat, COMPILE, "compile")
    if c["compile"] == "whole" and num_replicas > 1:
        raise InputError(
            f"compile=whole makes one program for one device; there are {num_replicas} replicas "
            f"of strategy={c['strategy']}. Choose --config.compile=auto, or parts."
        )
    for player in PLAYERS:
        if c[player]["inner_steps_rate"] and c[player]["inner_steps_schedule"] != "constant":
            raise InputError(
                f"{player}.inner_steps_rate and {player}.inner_steps_schedule both say how K_t "
                "moves. Leave one of them out."
            )
    _check_averages(c)
    _choices(flat, ("mixture", "last", "ema", *answers_of(c)[len(ANSWERS) :]), "publish")
    both = lambda *keys: [f"{player}.{key}" for player in PLAYERS for key in keys]  # noqa: E731
    for key in (
        *both("step_size_schedule", "temperature_schedule", "decay_2_schedule"),
        *both("inner_steps_schedule"),
        *("game.penalty_schedule", "game.augment_schedule", "ema_schedule"),
    ):
        _schedule(flat, key)
    _choices(flat, ("rms", "none"), *both("preconditioner"))
    _choices(flat, KINDS, *both("history"))
    _numbers(flat, lambda v: 0 < v <= 1, "(beta) in (0, 1]", *both("damping"))
    _numbers(flat, lambda v: v > 0, "(eta) above 0", *both("mirror_step"))
    _numbers(flat, lambda v: v > 0, "greater than 0", "duality_gap.step_size")
    rates = both("step_size_rate", "temperature_rate", "rms_decay", "decay_1", "decay_2")
    _numbers(flat, lambda v: 0 <= v < 1, "in [0, 1)", *rates, "ema_decay")
    sizes = both("step_size", "temperature", "stability", "inner_steps_rate")
    sizes += both("prior_std", "weight_decay")
    sizes += ["game.gradient_penalty", "game.r1", "game.r2", "game.weight_clip"]
    sizes += ["chambolle_pock.kappa"]
    _numbers(flat, lambda v: v >= 0, "at least 0", *sizes)
    _integers(flat, 1, *both("num_inner_steps"), symbol=" (K_t)")
    _integers(flat, 1, *both("num_chains"), symbol=" (n')")
    _integers(flat, 1, *both("history_capacity"), symbol=" (H)")
    _integers(flat, 0, *both("history_batch"), symbol=" (b; 0 is the exact sum)")
    _integers(flat, 1, "num_batches", "batch_size", "discriminator_steps", "accumulate")
    _integers(flat, 1, "game.penalty_every", "game.packing")
    _integers(flat, 1, "log_every", "checkpoint_every", "keep_last")
    _integers(flat, 0, "picture_every", symbol=" (0: at the end alone)")
    _integers(flat, 1, "model.latent_dim", "mixture.num_components", "duality_gap.num_samples")
    _integers(flat, 0, "keep_every", "max_rollbacks", "score_every")
    if flat.get("score_samples") is not None:
        _integers(flat, 16, "score_samples")
    if flat.get("health_every") is not None:
        _integers(flat, 0, "health_every", symbol=" (0: off)")
    _integers(flat, 0, "duality_gap.every", symbol=" (0: off)")
    _integers(flat, 1, "duality_gap.num_steps", symbol=" (K)")
    _choices(flat, ("stop", "rollback"), "on_divergence")
    if c["keep_best"]:
        scores = kinds.monitored(c)
        _check_best(c["keep_best"], scores, answers_of(c))
        if not c["score_every"] and c["keep_best"].partition(":")[2] not in METRICS:
            raise InputError(
                f"keep_best={c['keep_best']} is by a score. Set --config.score_every to the "
                "mini-batches between two scores."
            )
        if c["keep_best"].endswith("duality_gap") and not c["duality_gap"]["every"]:
            raise InputError(
                f"keep_best={c['keep_best']} needs the monitor. Set --config.duality_gap.every."
            )
    if not (isinstance(c["seed"], int) and 0 <= c["seed"] < 2**62):
        raise InputError(f"seed must be an integer in [0, 2**62), got {c['seed']!r}.")
    _check_alternated(c)
    _check_beginning(c)
    _check_particles(c)
    parts = num_replicas * c["accumulate"]
    atoms = c["generator"]["num_particles"] if c["particles"]["batch"] != "full" else 1
    if c["batch_size"] % (parts * atoms):
        what = f"the {num_replicas} replicas of strategy={c['strategy']}"
        if c["accumulate"] > 1:
            what += f" times accumulate={c['accumulate']}"
        if atoms > 1:
            what += f" times generator.num_particles={atoms} (particles.batch="
            what += f"{c['particles']['batch']})"
            parts *= atoms
        raise InputError(
            f"batch_size {c['batch_size']} is not divisible by {what}. Choose a multiple of "
            f"{parts}."
        )
    if ".py:" not in c["game"]["objective"] and not c["game"]["objective"].startswith("python:"):
        _choices(flat, (*OBJECTIVES, "FILE.py:NAME"), "game.objective")
    _check_packing(c, num_replicas * c["accumulate"])
    _check_augment(c)
    _choices(flat, ("measure", "parameters"), "chambolle_pock.extrapolate")
    window = tuple(c["mixture"]["window"])
    if len(window) != 2 or not 0 <= window[0] < window[1] <= 1:
        raise InputError(
            "mixture.window must be fractions of the run with 0 <= start < end <= 1, got "
            f"({', '.join(map(str, window))})."
        )
    _check_low_points(c)
    checks = {"images": _check_images, "planar": _check_planar, "custom": _check_custom}
    checks[kinds.kind_of(c)](flat)


def _check_alternated(c: Mapping[str, Any]) -> None:
    if not c.get("alternated"):
        return
    name = c["algorithm"]
    from tf_mixed_nash.algorithms import ALGORITHMS, ALTERNATING

    if name in ALTERNATING:
        return
    if name.startswith("alt_") or name == "chambolle_pock":
        advice = f"{name} is by turns already. Leave it out."
    elif f"alt_{name}" in ALGORITHMS:
        advice = f"Set --config.algorithm=alt_{name} instead."
    else:
        advice = "Leave it out."
    raise InputError(f"alternated=True is of {', '.join(ALTERNATING)}. {advice}")


def _check_beginning(c: Mapping[str, Any]) -> None:
    if "init_from" not in c:  # of an earlier version
        return
    if c["init_players"]:
        _choices(c, (*PLAYERS, "both"), "init_players")
    if not str(c["init_answer"]).startswith("ema_"):  # of that run, which says which it has
        _choices(c, ANSWERS, "init_answer")
    for key, default in (("init_players", ""), ("init_answer", "last")):
        if c[key] != default and not c["init_from"]:
            raise InputError(f"{key}={c[key]} says nothing without --config.init_from=WORKDIR.")


def _check_particles(c: Mapping[str, Any]) -> None:
    flat = flatten(c)
    both = lambda *keys: [f"{player}.{key}" for player in PLAYERS for key in keys]  # noqa: E731
    _integers(flat, 1, *both("num_particles"), symbol=" (n')")
    _choices(flat, ("uniform", "learnt"), *both("weights"))
    _numbers(flat, lambda v: 0 <= v < 1, "(delta) in [0, 1)", *both("weight_floor"))
    _numbers(
        flat,
        lambda v: v >= 0,
        "at least 0",
        *both("weight_step", "rebirth_below", "rebirth_noise"),
    )
    _choices(flat, ("split", "full", "thin"), "particles.batch")
    _choices(flat, ("own", "shared"), "particles.latents")
    for player in PLAYERS:
        h = c[player]
        n, below = h["num_particles"], h["rebirth_below"]
        least, equal = h["weight_floor"] / n, 1.0 / n
        if n == 1 or not below:
            continue
        if h["weights"] != "learnt":
            raise InputError(
                f"{player}.rebirth_below={below} gives up atoms of light weight, but uniform "
                f"weights stay equal. Set --config.{player}.weights=learnt."
            )
        if not least < below < equal:
            raise InputError(
                f"{player}.rebirth_below must be 0 (no rebirth) or lie between the least weight "
                f"that the floor leaves, {least:g}, and the equal one, {equal:g}; got {below}."
            )


def answers_of(c: Mapping[str, Any]) -> tuple[str, ...]:
    """What a run of this config answers: ANSWERS, and its further averages."""
    from tf_mixed_nash.training import averages

    return (*ANSWERS, *averages.names(c["ema_half_lives"]))


def _check_averages(c: Mapping[str, Any]) -> None:
    half_lives = c["ema_half_lives"]
    good = [h for h in half_lives if isinstance(h, int) and not isinstance(h, bool) and h >= 1]
    if len(set(good)) < len(half_lives):
        raise InputError(
            "ema_half_lives must be whole numbers of samples of at least 1, no two alike, such as "
            f"(10000, 500000); got ({', '.join(map(str, half_lives))})."
        )


def _check_low_points(c: Mapping[str, Any]) -> None:
    _choices(flatten(c), ("random", "low_points"), "mixture.when")
    text = c["generator"]["step_size_schedule"]
    if c["mixture"]["when"] == "low_points" and not text.strip().startswith("cyclical"):
        raise InputError(
            "mixture.when=low_points takes snapshots at the ends of the cycles of the generator's "
            f"step size, and its schedule is {text!r}. Set --config.step_size_schedule=cyclical, "
            "or --config.mixture.when=random."
        )


def _check_packing(c: Mapping[str, Any], parts: int) -> None:
    packing = c["game"]["packing"]
    if packing == 1:
        return
    if c["batch_size"] % (packing * parts):
        raise InputError(
            f"batch_size {c['batch_size']} cannot be put into packs of {packing} (game.packing"
            f"{f', on each of {parts} parts' if parts > 1 else ''}). Choose a multiple of "
            f"{packing * parts}."
        )
    if c["generator"]["num_particles"] > 1:
        raise InputError(
            f"game.packing={packing} with several generators: a pack holds data of one of them, "
            "and would punish generators that specialise. Set one of both to 1."
        )
    if c["discriminator"]["num_particles"] > 1:
        raise InputError(
            f"game.packing={packing} is for one discriminator, and there are "
            f"{c['discriminator']['num_particles']}. Set one of both to 1."
        )


def _check_augment(c: Mapping[str, Any]) -> None:
    from tf_mixed_nash.algorithms import ALGORITHMS
    from tf_mixed_nash.games import augmentation

    game, flat = c["game"], flatten(c)
    try:
        policy = augmentation.parse(game["augment"])
    except InputError as error:
        raise InputError(f"game.augment: {error}") from None
    of_p = ("augment_probability", "augment_schedule", "augment_target", "augment_speed")
    if not policy:
        if moved := [key for key in of_p if game[key] != _LATER_OF_GAME[key]]:
            raise InputError(
                f"game.{moved[0]}={game[moved[0]]!r} is of augmentations, and there are none. Name "
                "them, such as --config.game.augment=color,translation,cutout."
            )
        return
    _numbers(flat, lambda v: 0 < v <= 1, "in (0, 1]", "game.augment_probability")
    _numbers(flat, lambda v: 0 <= v < 1, "in [0, 1); 0: off", "game.augment_target")
    _numbers(flat, lambda v: v > 0, "above 0", "game.augment_speed")
    if kinds.kind_of(c) == "planar":
        raise InputError(
            f"game.augment={game['augment']} is of images, and {c['dataset']} is a data set in the "
            "plane. Leave it out."
        )
    if not game["augment_target"]:
        return
    if game["augment_schedule"] != "constant":
        raise InputError(
            "game.augment_target lets the probability follow the discriminator, and "
            "game.augment_schedule says it. Leave one of them out."
        )
    if ALGORITHMS[c["algorithm"]].chains:
        raise InputError(
            f"game.augment_target follows the newest discriminator, and {c['algorithm']} plays "
            "against a past of them. Set a probability and its schedule."
        )
    if game["objective"] == "wgan" or game["objective"].startswith("relativistic"):
        raise InputError(
            f"game.augment_target follows the sign of D(real), and objective={game['objective']} "
            "knows differences of D alone. Set a probability and its schedule, or another "
            "objective."
        )


def _schedule(flat: Mapping[str, Any], key: str) -> None:
    """A text of `schedules.make`, FILE.py:NAME, or a function of a Python program."""
    from tf_mixed_nash.methods import schedules

    text = flat[key]
    if text.startswith("python:") or ".py:" in text:
        return
    try:
        kind, options = schedules.parse(text)
    except InputError as error:
        raise InputError(f"{key}: {error} Or give FILE.py:NAME, a function of t.") from None
    if kind == "exponential":
        name = f"{key.removesuffix('_schedule')}_rate"
        if (flat.get(name, 0.0) > 0) == ("end" in options):
            by = f"by {name}, which is {flat[name]:g}" if name in flat else "by no rate"
            raise InputError(
                f"{key}={text} falls {by}, or to an end. Give one of both, such as exponential("
                "end=0.01): a hundredth is left at the end of the run."
            )


def _check_planar(flat: Mapping[str, Any]) -> None:
    from trainers.tasks.data.synthetic import DATASETS

    _choices(flat, (*DATASETS, "vectors", "FILE.py:NAME"), "dataset")
    _check_widths(flat)
    _integers(flat, 100, "scorecard.num_samples")
    _integers(flat, 1, "scorecard.capture_samples")


def _check_custom(flat: Mapping[str, Any]) -> None:
    _check_widths(flat)
    _integers(flat, 10, "scorecard.num_samples")
    _integers(flat, 1, "scorecard.nearest_k")
    if flat["dataset"] == "vectors":
        _numbers(flat, lambda v: 0 <= v < 1, "in [0, 1), a fraction of the rows", "data.held_out")


def _check_widths(flat: Mapping[str, Any]) -> None:
    _check_perceptrons(flat)
    for key in ("hidden_units", *_WIDTHS):
        if f"model.{key}" not in flat:  # networks of the user's own
            continue
        units = flat[f"model.{key}"]
        own = key in _WIDTHS  # may be (), for hidden_units
        if not (units or own) or any(not isinstance(u, int) or u < 1 for u in units):
            raise InputError(
                f"model.{key} must be positive widths, such as (512, 512, 512), got {tuple(units)}."
            )


def _check_perceptrons(flat: Mapping[str, Any]) -> None:
    if "model.fourier_features" in flat:
        _integers(flat, 0, "model.fourier_features", symbol=" (0: none)")
        _numbers(flat, lambda v: v >= 1, "of at least 1", "model.fourier_highest")
    if "model.start_scale" in flat:
        _numbers(flat, lambda v: v >= 0, "at least 0", *(f"model.{key}" for key in START))


def _check_images(flat: Mapping[str, Any]) -> None:
    from tf_mixed_nash.models import FAMILIES
    from tf_mixed_nash.models.dcgan import NORMALIZATIONS

    _choices(flat, FAMILIES, "model.family")
    dcgan = flat["model.family"] == "dcgan"
    _choices(flat, FAMILIES[flat["model.family"]].sizes, "image.size")
    _integers(flat, 0, "model.discriminator_width", symbol=" (0: model.width)")
    if "model.blocks" in flat:
        _integers(flat, 1, "model.blocks")
    if flat["dataset"] == "stacked_mnist":
        _integers(flat, 1, "data.num_stacks")
        if (flat["image.size"], flat["image.channels"]) != (28, 3):
            raise InputError("stacked_mnist has 28 x 28 pixels of 3 digits: image.channels is 3.")
    _choices(flat, (1, 3), "image.channels")
    _numbers(flat, lambda v: 0 <= v < 1, "in [0, 1), a fraction of the records", "image.held_out")
    _integers(flat, 0, "image.num_classes", "data.max_corrupt")
    _integers(flat, 1, "model.width", "data.num_threads")
    _integers(flat, 1, "scorecard.nearest_k", "scorecard.kid_subsets")
    _integers(flat, 2, "scorecard.kid_subset_size")
    _integers(flat, 16, "scorecard.num_samples", "scorecard.prdc_samples")
    _check_judged(flat)
    norms = tuple(n for n in NORMALIZATIONS if n != "spectral")
    if dcgan:
        _choices(flat, norms, "model.generator_normalization")
        _choices(flat, NORMALIZATIONS, "model.discriminator_normalization")
    if flat["model.conditional"] and flat["image.num_classes"] < 2:
        raise InputError("model.conditional needs --config.image.num_classes of at least 2.")
    single = [key for key in ("game.gradient_penalty", "game.r2") if flat[key]]
    if single and flat.get("model.discriminator_normalization") == "batch":
        raise InputError(
            f"{single[0]} is a penalty on single samples, which batch normalisation ties together. "
            "Choose --config.model.discriminator_normalization=layer, spectral or none."
        )
    if flat["duality_gap.every"] and flat["image.size"] > 64:
        raise InputError("duality_gap.every works on images of up to 64 pixels. Set it to 0.")


def _check_judged(flat: Mapping[str, Any]) -> None:
    split, path = (flat[f"scorecard.{key}"] for key in ("split", "path"))
    if split and path:
        raise InputError(
            f"scorecard.split={split} and scorecard.path={path} both say what scores compare "
            "with. Leave one out."
        )
    if split and flat["data.path"]:
        raise InputError(
            f"scorecard.split={split} is a split of a TFDS data set, and the data are those at "
            f"data.path={flat['data.path']}. Give the images that scores compare with by "
            "--config.scorecard.path."
        )


def _check_best(given: str, scores: Iterable[str], answers: Iterable[str]) -> None:
    direction, _, name = given.partition(":")
    if direction not in ("min", "max"):
        raise InputError(
            f"keep_best must be min:KEY or max:KEY, such as min:loss/w, got {given!r}."
        )
    valid = (*METRICS, *scores)
    answer, _, score = name.partition("/")
    if name not in valid and not (answer in answers and score in scores):
        more = f"; a score also of one answer, as last/KEY ({', '.join(answers)})"
        raise unknown("key of keep_best", name, valid, more)


def _choices(flat: Mapping[str, Any], valid: Iterable, *keys: str) -> None:
    for key in keys:
        if flat[key] not in valid:
            raise unknown(key, flat[key], valid)


def _numbers(flat: Mapping[str, Any], holds: Callable, what: str, *keys: str) -> None:
    for key in keys:
        value = flat[key]
        if not (isinstance(value, (int, float)) and math.isfinite(value) and holds(value)):
            finite = isinstance(value, (int, float)) and math.isfinite(value)
            raise InputError(f"{key} must be {'' if finite else 'finite and '}{what}, got {value}.")


def _integers(flat: Mapping[str, Any], minimum: int, *keys: str, symbol: str = "") -> None:
    for key in keys:
        value = flat[key]
        if not isinstance(value, int) or isinstance(value, bool) or value < minimum:
            raise InputError(
                f"{key}{symbol} must be an integer of at least {minimum}, got {value!r}."
            )


def to_json(resolved: Mapping[str, Any]) -> str:
    """The text of config.json."""
    return json.dumps(resolved, indent=2, sort_keys=True) + "\n"


def load_workdir_config(workdir: Path) -> dict[str, Any]:
    """The resolved config of a workdir.

    Hyperparameters that came after the run was made take the value that changes nothing for it.

    Raises:
      InputError: if the folder holds no readable config.json.
    """
    path = workdir / CONFIG
    try:
        config = json.loads(path.read_text())
    except FileNotFoundError:
        raise InputError(
            f"{workdir} is not a workdir of trainers.run: it has no config.json."
        ) from None
    except (json.JSONDecodeError, OSError) as error:
        raise InputError(f"{path} cannot be read: {error}.") from None
    config = {**_LATER_KEYS, **config}
    if "mixture" in config:
        config["mixture"] = {**_LATER_OF_MIXTURE, **config["mixture"]}
    if "game" in config:
        config["game"] = {**_LATER_OF_GAME, **config["game"]}
    if "image" in config:
        config["model"] = {**_LATER_OF_IMAGES, **config["model"]}
        config["image"] = {"held_out": 0.0, **config["image"]}
        config["scorecard"] = {"split": "", "path": "", **config["scorecard"]}
    if "hidden_units" in config.get("model", {}):
        config["model"] = {**{key: [] for key in _WIDTHS}, **config["model"]}
    for player in PLAYERS:
        if player in config:
            config[player] = {**LATER, **config[player]}
    return config


def differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    """The keys in which two resolved configs describe different runs, as "key: a != b"."""
    off = dict.fromkeys(_UNLESS_SET, False)
    flat_ours, flat_theirs = flatten({**off, **ours}), flatten({**off, **theirs})
    return [
        f"{key}: {flat_theirs.get(key)!r} there, {flat_ours.get(key)!r} now"
        for key in sorted(flat_ours.keys() | flat_theirs.keys())
        if key.split(".")[0] not in (*_FREE, *_OF_BEGINNING)
        and flat_ours.get(key) != flat_theirs.get(key)
        and not (key in _LATER_FACTS and key not in flat_theirs)
    ]


def fingerprint(resolved: Mapping[str, Any]) -> int:
    """A number of 52 bits that is equal for configs that describe the same run."""
    flat = {k: v for k, v in flatten(resolved).items() if k.split(".")[0] not in _FREE}
    flat = {k: v for k, v in flat.items() if v or k not in _OF_BEGINNING}
    text = json.dumps(flat, sort_keys=True).encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "big") >> 12
