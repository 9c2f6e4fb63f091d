"""Warm starts: a run whose networks begin at another run's, or at a published model's.

    --config.init_from=WORKDIR            both players of a run
    --config.init_from=BASE/NAME          the generators of a published model
    --config.init_from=FILE.keras         one player's Keras model
    --config.init_players=generator       of one player alone (or discriminator)
    --config.init_answer=ema              the generators are of this answer (last, ema, mixture)

Layers are taken whole: those of the same weights' names and shapes, in the same order, as many
parameters as possible; so that a network of another size gives what fits. What begins is the
parameters alone: moments, noise, schedules and counters are a new run's. provenance.json says under
`init_from` what was taken and what was not.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from export import keras_model, publish
from tf_mixed_nash.errors import InputError, unknown
from tf_mixed_nash.models import Network
from tf_mixed_nash.types import PLAYERS, Pair
from trainers.answers import reading
from trainers.experiment import settings
from trainers.experiment.options import options_of
from trainers.system.paths import literal
from trainers.workdir.checkpoints import Checkpoints
from trainers.workdir.folder import CHECKPOINTS, CONFIG

__all__ = ["Layer", "Start", "fitting", "has_begun", "kept", "layers_of", "read"]

_WORDS = Pair("generator", "discriminator")
_FEW = 5  # names that the start of the run says; provenance.json has all
_DEFAULTS = {"init_from": "", "init_players": "", "init_answer": "last"}


class Layer(NamedTuple):
    """The trainable weights of one layer.

    Attributes:
      name: of its class and its number among those, such as "dense_2".
      weights: (name, shape) of each.
      values: as many arrays.
    """

    name: str
    weights: tuple[tuple[str, tuple[int, ...]], ...]
    values: tuple[np.ndarray, ...]

    @property
    def size(self) -> int:
        """Numbers in it."""
        return sum(v.size for v in self.values)

    @property
    def has_kernel(self) -> bool:
        """Whether one of its weights is a matrix, or has more axes."""
        return any(len(shape) > 1 for _, shape in self.weights)


def layers_of(model: keras.Model, leaves: Sequence[Any]) -> list[Layer]:
    """The layers of a model that have trainable weights, in their order.

    Args:
      model: built.
      leaves: in place of its trainable variables.
    """
    found: list[tuple[str, list[Any], list[np.ndarray]]] = []
    for variable, leaf in zip(model.trainable_variables, leaves, strict=True):
        owner, _, name = variable.path.rpartition("/")
        if not found or found[-1][0] != owner:
            found.append((owner, [], []))
        found[-1][1].append((name, tuple(variable.shape)))
        found[-1][2].append(np.asarray(leaf))
    count: dict[str, int] = {}
    layers = []
    for owner, weights, values in found:
        # Keras numbers its names through a process: here they are numbered through the model.
        base = re.sub(r"_\d+$", "", owner.rpartition("/")[2])
        count[base] = count.get(base, 0) + 1
        layers.append(Layer(f"{base}_{count[base]}", tuple(weights), tuple(values)))
    return layers


def fitting(source: Sequence[Layer], target: Sequence[Layer]) -> list[tuple[int, int]]:
    """Pairs (index in source, in target) of layers of the same weights, in the same order.

    Of all such pairings one with the most parameters.
    """
    n, m = len(source), len(target)
    best = np.zeros((n + 1, m + 1), np.int64)
    for i in reversed(range(n)):
        for j in reversed(range(m)):
            best[i, j] = max(best[i + 1, j], best[i, j + 1])
            if source[i].weights == target[j].weights:
                best[i, j] = max(best[i, j], best[i + 1, j + 1] + source[i].size)
    pairs, i, j = [], 0, 0
    while i < n and j < m:
        same = source[i].weights == target[j].weights
        if same and best[i, j] == best[i + 1, j + 1] + source[i].size:
            pairs.append((i, j))
            i, j = i + 1, j + 1
        elif best[i, j] == best[i + 1, j]:
            i += 1
        else:
            j += 1
    return pairs


class Start:
    """Where the networks of a run begin.

    Args:
      origin: what the config names.
      facts: of it, for provenance.json.
      atoms: Pair of lists, the layers of each network of a player; [] of a player that begins at
        its own initialisation.
      count: Pair, how many networks the run's players have.

    Raises:
      InputError: if it has fewer networks than the run.
    """

    def __init__(
        self,
        origin: str,
        facts: Mapping[str, Any],
        atoms: Pair[list[list[Layer]]],
        count: Pair[int],
    ):
        self._origin, self._facts, self._atoms = origin, dict(facts), atoms
        self._taken: dict[str, Any] = {}
        for word, have, need in zip(_WORDS, atoms, count, strict=True):
            if have and len(have) < need:
                more = word == "generator" and facts.get("answer", "mixture") != "mixture"
                mixture = "--config.init_answer=mixture, which has more generators, "
                raise InputError(
                    f"The run has {need} {word}s and init_from={origin} has {len(have)}. Choose "
                    f"{mixture * more}--config.{word}.num_particles={len(have)}, or "
                    f"--config.init_players={_WORDS[1 - _WORDS.index(word)]}."
                )

    def give(self, networks: Pair[Network], j: int) -> None:
        """Writes the weights that fit into the models of particle number j.

        Raises:
          InputError: if no layer fits that has more than biases and scales.
        """
        for word, atoms, network in zip(_WORDS, self._atoms, networks, strict=True):
            if not atoms:
                continue
            model = network.model
            source = atoms[j % len(atoms)]
            target = layers_of(model, network.unflatten(network.initial()))
            pairs = fitting(source, target)
            if not any(source[i].has_kernel for i, _ in pairs):
                raise InputError(
                    f"No layer of the {word} of init_from={self._origin} fits this run's: "
                    f"{_shapes(source)} there, {_shapes(target)} here. Choose networks of the same "
                    f"family and width, or --config.init_players={_WORDS[1 - _WORDS.index(word)]}."
                )
            variables = iter(model.trainable_variables)
            of_target = [[next(variables) for _ in layer.weights] for layer in target]
            for i, k in pairs:
                for variable, value in zip(of_target[k], source[i].values, strict=True):
                    variable.assign(tf.cast(value, variable.dtype))
            taken = {k for _, k in pairs}
            self._taken[word] = {
                "taken": [target[k].name for k in sorted(taken)],
                "from": [source[i].name for i, _ in pairs],
                "new": [x.name for k, x in enumerate(target) if k not in taken],
                "parameters_taken": sum(source[i].size for i, _ in pairs),
                "parameters": sum(x.size for x in target),
            }

    @property
    def facts(self) -> dict[str, Any]:
        """For provenance.json."""
        return {**self._facts, **self._taken}

    def text(self) -> str:
        """Lines for the start of the run: parameters, names of the first layers taken, new ones."""
        lines = []
        for word, x in self._taken.items():
            part = f"{x['parameters_taken']:,} of {x['parameters']:,} parameters"
            new = f"; new: {', '.join(x['new'])}" if x["new"] else ""
            taken = f"taken: {_shortened(x['taken'])}"
            lines.append(f"init_from    {word}: {part} of {self._origin}; {taken}{new}")
        if not self._facts.get("finished", True):
            lines.append(
                f"note         {self._origin} is not finished: its mini-batch "
                f"{self._facts['step']:,} was taken"
            )
        return "\n".join(lines)


def _shortened(names: Sequence[str]) -> str:
    if len(names) <= _FEW + 1:  # "and 1 more" is no shorter than its name
        return ", ".join(names)
    return f"{', '.join(names[:_FEW])} and {len(names) - _FEW:,} more"


def _shapes(layers: Sequence[Layer]) -> str:
    shown = ["x".join(map(str, s)) for x in layers for n, s in x.weights if len(s) > 1][:4]
    return ", ".join(shown) or "no matrices"


def has_begun(workdir: Path) -> bool:
    """Whether a workdir holds a checkpoint to go on from."""
    return (workdir / CONFIG).is_file() and bool(Checkpoints(workdir / CHECKPOINTS).steps)


def kept(config: Mapping[str, Any], workdir: Path) -> tuple[dict[str, Any], str]:
    """The config of a run with the beginning that it had, where it has begun.

    Args:
      config: resolved, as asked for now.
      workdir: of the run.

    Returns:
      (config, what is to be said).
    """
    config = dict(config)
    if not has_begun(workdir):
        return config, ""
    before = {**_DEFAULTS, **settings.load_workdir_config(workdir)}
    now = {**_DEFAULTS, **config}
    changed = [k for k in _DEFAULTS if now[k] != before[k]]
    if not changed:
        return config, ""
    asked = ", ".join(f"{k} {before[k]!r} there, {now[k]!r} now" for k in changed)
    config |= {k: before[k] for k in changed}
    return config, f"the run has begun and is resumed, so that init_from is not read ({asked})"


def read(config: Mapping[str, Any]) -> Start | None:
    """Where a new run of a resolved config begins; None: at its own initialisation.

    Raises:
      InputError: if `init_from` is neither a workdir with a checkpoint nor a model, or of another
        family of networks.
    """
    origin = config.get("init_from") or ""
    if not origin:
        return None
    path = Path(origin)
    players = config.get("init_players") or ""
    if (path / CONFIG).is_file():
        facts, atoms = _of_run(path, config)
    elif path.suffix in (".keras", ".h5"):
        facts, atoms = _of_file(path, players)
    elif path.is_dir():
        facts, atoms = _of_model(path, config)
    else:
        raise InputError(
            f"init_from={origin} is neither a workdir of trainers.run, nor a published model "
            "(BASE/NAME or BASE/NAME/VERSION), nor a .keras file. Give one of them."
        )
    if players not in ("", "both"):
        index = _WORDS.index(players)
        if not atoms[index]:
            raise InputError(
                f"init_from={origin} has no {players}: a published model holds generators. Give "
                "the run's workdir."
            )
        atoms = Pair(*(x if i == index else [] for i, x in enumerate(atoms)))
    elif players == "both" and not all(atoms):
        raise InputError(
            f"init_from={origin} has one player only. Leave init_players out, or give the run's "
            "workdir."
        )
    count = Pair(*(config[word]["num_particles"] for word in _WORDS))
    return Start(origin, facts, atoms, count)


def _of_run(path: Path, config: Mapping[str, Any]) -> tuple[dict[str, Any], Pair]:
    theirs = settings.load_workdir_config(path)
    ours = _family(config)
    if _family(theirs) != ours:
        raise InputError(
            f"init_from={path} has networks of family {_family(theirs)}, and this run's are "
            f"{ours}. Choose a run of the same --config.model.family."
        )
    checkpoints = Checkpoints(path / CHECKPOINTS)
    if not checkpoints.steps:
        raise InputError(
            f"init_from={path} has no checkpoint yet. Let that run reach its first "
            "--config.checkpoint_every."
        )
    try:
        loop = reading.load_loop(path)
    except InputError as error:
        raise InputError(f"init_from={path} cannot be read: {error}") from None
    measures = loop.answers()
    answer = config.get("init_answer") or "last"
    if answer not in measures:
        raise unknown(f"init_answer of init_from={path}", answer, measures)
    vectors = Pair(measures[answer].atoms, loop.latest().w.atoms)
    atoms = Pair(
        *(
            [layers_of(network.model, network.unflatten(z)) for z in tf.unstack(rows)]
            for network, rows in zip(loop.run.networks, vectors, strict=True)
        )
    )
    done = loop.step >= options_of(theirs).num_batches
    facts = {
        "path": str(path.resolve()),
        "kind": "workdir",
        "answer": answer,
        "step": loop.step,
        "finished": done,
        "sha256": {
            p: hashlib.sha256(np.ascontiguousarray(z).tobytes()).hexdigest()
            for p, z in zip(PLAYERS, vectors, strict=True)
        },
    }
    return facts, atoms


def _family(config: Mapping[str, Any]) -> str:
    model = config["model"]
    if "family" in model:
        return model["family"]
    return "images" if "image" in config else "perceptrons or one's own"


def _of_model(path: Path, config: Mapping[str, Any]) -> tuple[dict[str, Any], Pair]:
    version = publish.find_version(path)
    with literal(version) as plain:
        vectors = tf.saved_model.load(str(plain)).atoms.numpy()
    if (config.get("init_answer") or "last") != "last":
        raise InputError(
            "init_answer is of a workdir's answers; a published model is one. Leave it out."
        )
    models = (keras_model.restore(version, z) for z in vectors)
    atoms = [layers_of(m, [v.numpy() for v in m.trainable_variables]) for m in models]
    digest = hashlib.sha256(np.ascontiguousarray(vectors).tobytes()).hexdigest()
    facts = {"path": str(version.resolve()), "kind": "model", "sha256": {"theta": digest}}
    return facts, Pair(atoms, [])


def _of_file(path: Path, players: str) -> tuple[dict[str, Any], Pair]:
    try:
        model: Any = keras.models.load_model(path, compile=False)
    except (OSError, ValueError, TypeError) as error:
        reason = str(error).strip().partition("\n")[0][:200]
        there = "is not there" if not path.is_file() else f"is no model that Keras reads ({reason})"
        raise InputError(f"init_from={path} {there}.") from None
    layers = layers_of(model, [v.numpy() for v in model.trainable_variables])
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    facts = {"path": str(path.resolve()), "kind": "keras", "sha256": digest}
    one: Any = Pair([], [layers]) if players == "discriminator" else Pair([layers], [])
    return facts, one
