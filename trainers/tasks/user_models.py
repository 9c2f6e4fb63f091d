"""Keras models of the user's own as the networks of a game.

The only place that makes a `Network` of a model that this project did not build.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import json
import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras
import numpy as np

from tf_mixed_nash import rng
from tf_mixed_nash.errors import InputError
from tf_mixed_nash.games.checks import check_pair
from tf_mixed_nash.games.objectives import Objective
from tf_mixed_nash.models import Network, latents_and_labels
from tf_mixed_nash.models.adapters import example_of, latents_of, says_labels
from tf_mixed_nash.models.cloning import is_graph, of_class
from tf_mixed_nash.models.roles import reason
from tf_mixed_nash.types import Pair
from trainers.system import user_files

__all__ = [
    "Models",
    "another",
    "check_same",
    "chosen",
    "describe",
    "drawing_nothing",
    "from_description",
    "latent_dim_of",
    "load",
    "networks",
    "reach",
    "restarted",
    "squashed",
]

# A player's model, or a function that makes one.
Model = keras.Model | Callable[[], keras.Model]
Models = Pair[Any]
PLAYERS = ("generator", "discriminator")

# Where a Keras config says which layers a model begins and ends with.
_ENDS = ("input_layers", "output_layers")
# Layers that change no number.
_SHAPES = (keras.layers.Reshape, keras.layers.Flatten, keras.layers.Permute)
# What a last layer's activation can reach.
_REACH = {
    "tanh": (-1.0, 1.0),
    "sigmoid": (0.0, 1.0),
    "hard_sigmoid": (0.0, 1.0),
    "softmax": (0.0, 1.0),
    "softsign": (-1.0, 1.0),
    "relu": (0.0, np.inf),
    "relu6": (0.0, 6.0),
    "softplus": (0.0, np.inf),
    "exponential": (0.0, np.inf),
}


def networks(
    models: Models,
    latent_dim: int,
    num_classes: int = 0,
    shape: tuple[int, ...] | None = None,
    objective: Objective | None = None,
    packing: int = 1,
) -> Pair:
    """The networks of a game.

    Args:
      models: Pair of built Keras models: generator, discriminator.
      latent_dim: D.
      num_classes: k of a class-conditional game, or 0.
      shape: of a row of the data; by default what the generator makes.
      objective: that the discriminator's answers must suit, where it is known.
      packing: how many data the discriminator reads at once.

    Raises:
      InputError: for a model that cannot be played with, naming model, layer and reason.
    """
    for name, model in zip(PLAYERS, models, strict=True):
        if not isinstance(model, keras.Model):
            raise InputError(
                f"The {name} must be a keras.Model, or a function without arguments that makes "
                f"one; got {type(model).__name__}."
            )
    made: Any = shape
    if made is None:
        inputs = latents_and_labels(models.theta, latent_dim, num_classes)
        made = Network(models.theta, inputs).output_shape
    return check_pair(*models, latent_dim, num_classes, made, objective, packing)


def latent_dim_of(generator: keras.Model, num_classes: int) -> int:
    """D, of what the generator reads.

    Raises:
      InputError: if it is not built, or reads no vector, or it is not clear which are the latents.
    """
    if not isinstance(generator, keras.Model):
        raise InputError(
            "The generator must be a keras.Model, or a function without arguments that makes one; "
            f"got {type(generator).__name__}."
        )
    if found := latents_of(generator, num_classes):
        return found
    raise InputError(
        f"The generator {generator.name!r} reads {list(Network(generator).input_shape)}, of which "
        "the latents [D] are not clear. Give latent_dim=D."
    )


# From descriptions and files.


def load(address: str, key: str, seed: int, again: bool = False) -> keras.Model:
    """The model at FILE.py:NAME, which is one or a function without arguments that makes one.

    Args:
      address: FILE.py:NAME.
      key: of the config, for messages.
      seed: of the initial weights that have no seed of their own.
      again: for another particle, whose initial weights are others in any case.

    Raises:
      InputError: if there is none.
    """
    with seeded(seed):
        found = user_files.load_object(address, key)
        if isinstance(found, keras.Model):
            return restarted(found, key.removeprefix("model."), seed) if again else found
        if not callable(found):
            raise InputError(
                f"{key}={address} must be a keras.Model or a function that makes one, got "
                f"{type(found).__name__}."
            )
        return made(found, f"{key}={address}", seed)


def chosen(spec: Any, salt: str, builtin: Callable[[], Pair], shape: tuple[int, ...]) -> Pair:
    """The built-in networks, but for those that the config gives as FILE.py:NAME.

    Args:
      spec: with generator, discriminator, seed and latent_dim.
      salt: of the initial weights, see `tasks.Task.networks`.
      builtin: makes the built-in ones.
      shape: of the data's rows.

    Raises:
      InputError: if there is no such model, or it does not fit.
    """
    if not (spec.generator or spec.discriminator):
        return builtin()
    seeds, num_classes = seeds_of(spec.seed, salt), getattr(spec, "num_classes", 0)
    own = Pair(
        *(
            load(address, f"model.{name}", seed, bool(salt)) if address else None
            for name, address, seed in zip(
                ("generator", "discriminator"),
                (spec.generator, spec.discriminator),
                seeds,
                strict=True,
            )
        )
    )
    others = Pair(None, None) if all(own) else builtin()
    models = Pair(*(a if a is not None else b.model for a, b in zip(own, others, strict=True)))
    return networks(models, spec.latent_dim, num_classes, shape, packing=spec.packing)


def made(function: Callable[[], Any], what: str, seed: int) -> keras.Model:
    """What a user's function makes, with initial weights that are a function of the seed.

    Raises:
      InputError: if it makes no model.
    """
    with seeded(seed):
        try:
            model = function()
        except InputError:
            raise
        except TypeError as error:
            raise InputError(
                f"{what} must be a function without arguments that makes a model ({error})."
            ) from error
        except Exception as error:  # a user's code
            raise InputError(
                f"{what}: the function failed with {type(error).__name__}: {reason(error)}"
            ) from error
    if not isinstance(model, keras.Model):
        raise InputError(f"{what} made {type(model).__name__} instead of a keras.Model.")
    return model


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Inside, Keras's initialisers and NumPy's global generator draw from the seed."""
    with drawing_nothing():
        random.seed(seed)
        np.random.seed(seed % 2**32)
        yield


@contextlib.contextmanager
def drawing_nothing() -> Iterator[None]:
    """After it the global generators of Python and NumPy are where they were.

    Keras takes the seeds of its initialisers from Python's, also for weights that are then set.
    """
    before, arrays = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        random.setstate(before)
        np.random.set_state(arrays)


def restarted(model: keras.Model, name: str, seed: int) -> keras.Model:
    """A model like this one with other initial weights: where another particle starts.

    Raises:
      InputError: if the model cannot be made anew from its Keras config.
    """
    try:
        config = _with_seeds(model.get_config(), seed)
        with seeded(seed):
            if not is_graph(model):
                return of_class(model, config, lambda: example_of(model))
            new = type(model).from_config(config)
            if not new.built:
                new.build_from_config(model.get_build_config())
            return new
    except InputError:
        raise
    except Exception as error:  # Keras's own, and whatever a user's constructor raises
        raise InputError(
            f"The {name} {model.name!r} cannot be made anew from its Keras config "
            f"({reason(error)[:200]}), and several particles start at different weights. Give a "
            "function without arguments that makes it anew at each call, without seeds."
        ) from None


def another(model: keras.Model, first: keras.Model, name: str, seed: int) -> keras.Model:
    """The model of another particle, one that does not start where the first one does.

    Args:
      model: of the same function, or made by `restarted`.
      first: of the first particle.
      name: of the player.
      seed: of the initial weights, where a function always gives the same model, or has seeds.

    Raises:
      InputError: if its architecture is another one, or it cannot be made anew.
    """
    check_same(_said(first), model, name)
    weights = zip(model.trainable_variables, first.trainable_variables, strict=True)
    if all(np.array_equal(mine.numpy(), theirs.numpy()) for mine, theirs in weights):
        return restarted(model, name, seed)
    return model


def check_same(facts: Mapping[str, Any], model: keras.Model, name: str) -> None:
    """Raises InputError, naming the difference, for an architecture other than that of `describe`.

    Args:
      facts: of `describe`.
      model: that the same function made later.
      name: of the player.
    """
    now = _said(model)
    before, now = ({key: x.get(key) for key in ("class", "keras", "shapes")} for x in (facts, now))
    if difference := _difference(before, now):
        raise InputError(
            f"The function that makes the {name} makes another architecture each time: "
            f"{difference}. Let it always make the same layers."
        )


def _difference(one: Any, other: Any, path: str = "") -> str:
    """Where two descriptions of models differ, but for how weights are initialised; "" if not."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        if "class_name" in one and (name := dict(one.get("config") or {}).get("name")):
            path = name
        for key in one:
            # `build_config` has the rows of whatever a model was called on first.
            if key in ("seed", "build_config") or key.endswith("initializer"):
                continue
            inside = path if key in ("config", "keras") else f"{path}.{key}".lstrip(".")
            if found := _difference(one[key], other.get(key), inside):
                return found
        return ""
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        pairs = zip(one, other, strict=True)
        return next(filter(None, (_difference(a, b, path) for a, b in pairs)), "")
    if one == other:
        return ""
    if isinstance(one, list) and isinstance(other, list):
        return f"{path} has {len(one)} entries, then {len(other)}"
    return f"{path} is {one!r:.60}, then {other!r:.60}"


def _with_seeds(tree: Any, seed: int) -> Any:
    """A Keras config in which initialisers that were given a seed have another."""
    if isinstance(tree, Mapping):
        return {
            k: (int(v) + seed) % 2**31
            if k == "seed" and isinstance(v, int)
            else _with_seeds(v, seed)
            for k, v in tree.items()
        }
    if isinstance(tree, (list, tuple)):
        return type(tree)(_with_seeds(v, seed) for v in tree)
    return tree


def describe(network: Network) -> dict[str, Any]:
    """A model for config.json: its class, shapes, and Keras config where it has one.

    Weights that are not trained (of frozen layers, adapted normalisations) are in no checkpoint;
    `constants` is their SHA-256, where there are any.

    Names that Keras numbers through a process (dense_7) are numbered through the model, so that
    the same lines give the same description.
    """
    model, facts = network.model, _said(network.model)
    if "keras" in facts:
        text = json.dumps(facts["keras"], sort_keys=True)
    else:
        # A class of the user's without a config: its source stands for it.
        try:
            text = inspect.getsource(type(model))
        except (OSError, TypeError):
            text = type(model).__qualname__
    facts["sha256"] = hashlib.sha256(text.encode()).hexdigest()
    if constants := network.constants:
        digest = hashlib.sha256()
        for value in constants:
            digest.update(np.ascontiguousarray(value).tobytes())
        facts["constants"] = digest.hexdigest()
    return facts


def _said(model: keras.Model) -> dict[str, Any]:
    """What `describe` says of the architecture."""
    facts: dict[str, Any] = {
        "class": type(model).__name__,
        "parameters": int(sum(np.prod(v.shape) for v in model.trainable_variables)),
        "shapes": [list(v.shape) for v in model.trainable_variables],
    }
    with contextlib.suppress(NotImplementedError, TypeError, ValueError):
        text = json.dumps(_renamed(json.loads(model.to_json())), sort_keys=True)
        facts["keras"] = json.loads(text)
    return facts


def _renamed(config: dict[str, Any]) -> dict[str, Any]:
    """With layers called 0_dense, 1_dense, ... in the order in which they stand there.

    Inputs keep the names by which they are told apart: the keys of a dict, labels by their name.
    """
    names: dict[str, str] = {}
    kept = _names_of_inputs(config)

    def collect(node: Any) -> None:
        if isinstance(node, Mapping):
            inner = node.get("config")
            if "class_name" in node and isinstance(inner, Mapping):
                name = inner.get("name")
                # A dtype policy has a name, too, which is its meaning.
                policy = str(node["class_name"]).endswith("DTypePolicy")
                if isinstance(name, str) and name not in {*names, *kept} and not policy:
                    names[name] = f"{len(names)}_{node['class_name'].lower()}"
            for value in node.values():
                collect(value)
        elif isinstance(node, list):
            for value in node:
                collect(value)

    def rename(node: Any, key: str = "") -> Any:
        if isinstance(node, Mapping):
            # Inputs and outputs may be dicts, whose keys are no names of layers.
            return {k: rename(v, key if key in _ENDS else k) for k, v in node.items()}
        if isinstance(node, list):
            return [rename(v, key) for v in node]
        named = key in ("name", "keras_history", *_ENDS)
        return names.get(node, node) if named and isinstance(node, str) else node

    collect(config)
    return rename(config)


def _names_of_inputs(node: Any) -> set[str]:
    """The names in a Keras config by which inputs are told apart."""
    if isinstance(node, list):
        return set().union(*map(_names_of_inputs, node))
    if not isinstance(node, Mapping):
        return set()
    found = set().union(*map(_names_of_inputs, node.values()))
    if isinstance(inputs := node.get("input_layers"), Mapping):
        found |= set(inputs)
    if node.get("class_name") == "InputLayer":
        name, dtype = node["config"]["name"], str(node["config"]["dtype"])
        if says_labels(name) and not dtype.startswith(("int", "uint")):
            found.add(name)
    return found


def from_description(facts: Mapping[str, Any], name: str) -> keras.Model:
    """The architecture of `describe`; its weights are of no meaning.

    Raises:
      InputError: if it holds none.
    """
    if "keras" not in facts:
        raise InputError(
            f"The {name} is a {facts.get('class', 'model')} without a Keras config, so that the "
            f"run alone cannot rebuild it. Give it: MixedNashGAN.load(path, {name}=...)."
        )
    if "constants" in facts:
        raise InputError(
            f"The {name} has weights that are not trained (layers with trainable=False, adapted "
            "normalisations), which the run does not hold. Give it: MixedNashGAN.load(path, "
            f"{name}=...)."
        )
    try:
        return keras.models.model_from_json(json.dumps(facts["keras"]))
    except Exception as error:  # Keras's own, and whatever a user's from_config raises
        raise InputError(
            f"The {name} cannot be rebuilt from its Keras config ({reason(error)[:200]}). Give it: "
            f"MixedNashGAN.load(path, {name}=...)."
        ) from None


def reach(model: keras.Model) -> tuple[float, float]:
    """Between which numbers its outputs lie, by its last layer's activation."""
    for layer in reversed(getattr(model, "layers", None) or []):
        if not isinstance(layer, _SHAPES):
            activation = getattr(layer, "activation", None)
            return _REACH.get(getattr(activation, "__name__", ""), (-np.inf, np.inf))
    return -np.inf, np.inf


def squashed(discriminator: keras.Model, objective: str) -> str | None:
    """What to warn of: an activation at the end of a discriminator, whose objective takes logits.

    Least squares takes any numbers.
    """
    low, high = reach(discriminator)
    if objective == "least_squares" or not np.isfinite([low, high]).all():
        return None
    return (
        f"the discriminator's last activation reaches [{low:g}, {high:g}] only, and the objective "
        f"{objective} takes logits: leave the activation out"
    )


def seeds_of(seed: int, salt: str = "") -> Pair:
    """Of the two players' initial weights."""
    return Pair(*(rng.python_seed(rng.stream(seed, f"init/{name}{salt}")) for name in PLAYERS))
