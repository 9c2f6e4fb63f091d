"""A mixed strategy as a SavedModel, and its publishing as a version that was checked.

The signatures are those of `export.saved_model`, which publishes from a workdir.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import tensorflow as tf

from export import card, checks, keras_model, publish, verify, warmup
from export.checks import Call
from export.publish import ARCHITECTURE, GOLDEN
from tf_mixed_nash.errors import InputError
from tf_mixed_nash.memory import give_back
from tf_mixed_nash.models import FrozenNetwork, Network
from tf_mixed_nash.strategies.mixed import MixedStrategy, seed_rows
from tf_mixed_nash.types import Measure

__all__ = ["InWholeGroups", "build_module", "publish_strategy"]

_GOLDEN_SEED, _GOLDEN_ROWS = 0, 8
_COMPONENT_ROWS = 2  # of each component, checked before publishing
_SEED_RULE = (
    "Row (s, i) of seeds is sample number i of seed s: Threefry-2x32-20 words of that key "
    "(tf_mixed_nash.rng.row_words) give the latents and the component."
)
_SEED_RULE_OF_LAW = (
    "Row (s, i) of seeds is sample number i of seed s: Threefry-2x32-20 words of that key "
    "(tf_mixed_nash.rng.row_words); the first two are the key of the row's latents, which the "
    "graph draws (see `latents`), the third gives the component."
)
# Matrix products over whole groups of so many rows round alike however many groups there are;
# a single row would take the matrix-vector product, which differs in the last bits.
_ROW_GROUP = 8


class InWholeGroups:
    """A network that is called on whole groups of rows, the last filled up with zeros.

    A network of images is called on one group at a time: convolutions are blocked by the size of
    its batch, so that a row would round differently among 8 rows and among 64.

    Args:
      network: of rows.
    """

    def __init__(self, network: Network | FrozenNetwork):
        self.network, self.model = network, network.model
        self._shape = self.output_shape = network.output_shape
        self.takes_no_rows = len(self._shape) > 1 or network.takes_no_rows

    def __call__(self, z: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
        n = tf.shape(x)[0]
        filled = tf.pad(x, [[0, tf.math.floormod(-n, _ROW_GROUP)]] + [[0, 0]] * (x.shape.rank - 1))
        if len(self._shape) == 1:
            return self.network(z, filled)[:n]
        groups = tf.reshape(filled, [-1, _ROW_GROUP, *x.shape[1:]])
        spec = tf.TensorSpec([_ROW_GROUP, *self._shape], tf.float32)
        samples = tf.map_fn(
            lambda group: tf.cast(self.network(z, group), tf.float32),
            groups,
            fn_output_signature=spec,
        )
        return tf.reshape(samples, [-1, *self._shape])[:n]


def build_module(strategy: MixedStrategy) -> tuple[tf.Module, dict[str, Any]]:
    """A strategy as something that `tf.saved_model.save` writes and TF Serving reads.

    Args:
      strategy: of M components with d parameters each.

    Returns:
      The module, which tracks two variables, `atoms` [M, d] and `weights` float32 [M], and
      nothing else, and the function `network`: (z [d], latents [n, D + k]) -> samples; and its
      signatures, plain functions that draw by key.
    """
    module = tf.Module(name="mixed_strategy")
    module.atoms = tf.Variable(tf.convert_to_tensor(strategy.atoms), trainable=False, name="atoms")
    module.weights = tf.Variable(
        tf.cast(strategy.weights, tf.float32), trainable=False, name="weights"
    )
    # The Keras model stays in the closures. As an attribute of the module it would be tracked,
    # and its variables, which are never used here, would be exported too (trap 1).
    whole_groups = cast("Network", InWholeGroups(strategy.generator))
    served = MixedStrategy(
        Measure(module.atoms, module.weights),
        whole_groups,
        strategy.latent_dim,
        strategy.num_classes,
        latent_law=strategy.latent_law,
    )
    seeds = tf.TensorSpec([None, 2], tf.int64, name="seeds")
    latents = tf.TensorSpec([None, strategy.latent_dim], tf.float32, name="latents")
    components = tf.TensorSpec([None], tf.int64, name="components")

    labels = [tf.TensorSpec([None], tf.int64, name="labels")] if strategy.num_classes else []
    # No signature: one component without loops and groups, for `export.convert`.
    module.network = tf.function(
        lambda z, latents: tf.cast(strategy.generator(z, latents), tf.float32),
        input_signature=[
            tf.TensorSpec(strategy.atoms.shape[1:], strategy.atoms.dtype, name="z"),
            tf.TensorSpec([None, strategy.latent_dim + strategy.num_classes], tf.float32),
        ],
        autograph=False,
    )

    def inputs(latents, labels):
        """What the generator reads: latents and, in a class-conditional model, the classes."""
        if not labels:
            return latents
        checks = [
            _same_rows(labels[0], latents, "labels and latents"),
            _all_in(labels[0], strategy.num_classes, "labels"),
        ]
        with tf.control_dependencies(checks):
            return served.with_classes(latents, labels[0])

    def draw(seeds):
        components, drawn = served.draw(seeds)
        D = served.latent_dim
        drew = {"latents": drawn[:, :D], "components": components}
        if labels:
            drew["labels"] = tf.argmax(drawn[:, D:], axis=1, output_type=tf.int64)
        return drew

    def sample(seeds):
        return {"samples": served.sample(seeds)}

    def sample_class(seeds, labels):
        components, drawn = served.draw(seeds)
        latents = drawn[:, : served.latent_dim]
        return {"samples": served.generate(components, inputs(latents, [labels]))}

    def generate(latents, *labels):
        components = served.component_of_latents(latents)
        return {"samples": served.generate(components, inputs(latents, labels))}

    def generate_component(latents, components, *labels):
        checks = [
            _same_rows(components, latents, "components and latents"),
            _all_in(components, served.num_components, "components"),
        ]
        with tf.control_dependencies(checks):
            return {"samples": served.generate(components, inputs(latents, labels))}

    def signature(function, *specs):
        return tf.function(function, input_signature=specs, autograph=False)

    functions = {
        "sample": (sample, seeds),
        "generate": (generate, latents, *labels),
        "generate_component": (generate_component, latents, components, *labels),
    }
    if labels:
        functions["sample_class"] = (sample_class, seeds, *labels)
    if _is_image(strategy):
        for name, (function, *specs) in list(functions.items()):
            functions[f"{name}_png"] = (_as_png(function), *specs)
    signatures = {name: signature(*definition) for name, definition in functions.items()}
    signatures["serving_default"] = signatures["sample"]
    signatures["draw"] = signature(draw, seeds)
    return module, signatures


def _is_image(strategy: MixedStrategy) -> bool:
    shape = strategy.generator.output_shape
    return len(shape) == 3 and shape[-1] in (1, 3)


def _as_png(function):
    """The function with PNGs, string [n], instead of images in [-1, 1]."""

    # Tensors keep the names of the function's arguments, which are the signature's.
    @functools.wraps(function)
    def encoded(*inputs):
        samples = function(*inputs)["samples"]
        # The same rounding as `trainers.tasks.imaging.to_pixels`: half to even.
        pixels = tf.cast(tf.clip_by_value(tf.round((samples + 1.0) * 127.5), 0.0, 255.0), tf.uint8)
        return {
            "image_bytes": tf.map_fn(
                tf.io.encode_png, pixels, fn_output_signature=tf.TensorSpec([], tf.string)
            )
        }

    return encoded


def _same_rows(x, y, what: str):
    return tf.debugging.Assert(
        tf.shape(x)[0] == tf.shape(y)[0], [f"{what} must have the same number of rows"]
    )


def _all_in(x, limit: int, what: str):
    return tf.debugging.Assert(
        tf.reduce_all((x >= 0) & (x < limit)), [f"{what} must be in [0, {limit}), got", x]
    )


def publish_strategy(
    strategy: MixedStrategy, base: Path, metadata: Mapping[str, Any], isolated: bool = False
) -> Path:
    """Publishes a strategy as the next version of the model in `base`.

    The version holds the SavedModel; in assets.extra golden.npz (seeds and samples of 8 rows),
    TF Serving's warm-up requests and, where Keras can write it, the generator's architecture;
    README.md, a model card with a picture; manifest.json. Before it appears it is loaded back, by
    `tf.saved_model.load` and in a C++ session, every signature and component must answer as the
    strategy in memory does, and it must pass the gates of `export.verify`.

    Args:
      strategy: what is published.
      base: the model's folder, named as the model.
      metadata: entries of the manifest: the run's git commit, config, value range, the
        strategy's name, its scorecard, and `plot`: {"window": [xmin, xmax, ymin, ymax],
        "modes": [[x, y], ...]} for `export.sample`. The strategy's own facts win over entries
        of their names.
      isolated: also load it in another process, in which neither Keras nor this project can be
        imported (seconds).

    Returns:
      The version's folder.

    Raises:
      InputError: if base cannot be written, or not to the end; a parameter is not finite; or the
        SavedModel fails a check or a gate. Nothing is published then.
    """
    finite = tf.reduce_all(tf.math.is_finite(strategy.atoms), axis=1).numpy()
    if not finite.all():
        raise InputError(
            f"The strategy cannot be published: component {int(np.argmin(finite))} of "
            f"{strategy.num_components} has parameters that are not finite. The run diverged."
        )
    calls, unsaved = _known_calls(strategy), _Unsaved(strategy)
    facts = {**metadata, **_facts(strategy, unsaved.signatures)}
    # All components lie in memory as often as they must: the checks need room for their own.
    del strategy
    try:
        return publish.publish(
            base, lambda folder: _write_version(folder, base.name, unsaved, facts, calls, isolated)
        )
    except (OSError, tf.errors.OpError) as error:  # TensorFlow's files fail by its own errors
        reason, _, _ = str(error).partition("\n")
        raise InputError(
            f"{base} could not be written ({reason[:300]}). Nothing was published."
        ) from error


class _Unsaved:
    """The only owner of a strategy's module, until it is saved.

    Attributes:
      signatures: their names.
    """

    def __init__(self, strategy: MixedStrategy):
        self._module, self._functions = build_module(strategy)
        self._architecture = keras_model.describe(strategy.generator.model)
        self.signatures = sorted(self._functions)

    def save(self, directory: Path) -> None:
        """Writes the SavedModel and the architecture, once, and lets go of its variables."""
        tf.saved_model.save(self._module, str(directory), signatures=self._functions)
        extra = directory / ARCHITECTURE
        extra.parent.mkdir()
        if self._architecture:
            extra.write_text(self._architecture)
        del self._module, self._functions
        give_back()


def _write_version(
    directory: Path,
    model_name: str,
    unsaved: _Unsaved,
    facts: Mapping[str, Any],
    calls: list[Call],
    isolated: bool,
) -> None:
    """Fills the folder of a version, and checks it as far as it is."""
    unsaved.save(directory)
    checks.check_graph(directory)
    (golden, *_), served = checks.check_calls(directory, calls)
    with served:
        np.savez(directory / GOLDEN, samples=golden["samples"], seeds=calls[0].inputs["seeds"])
        warmup.write(directory, model_name)
        facts = {**facts, **_golden_facts(golden["samples"])}
        card.write(directory, model_name, facts, served)
        publish.write_manifest(directory, facts)
        verify.check(directory, isolated, served)


def _known_calls(strategy: MixedStrategy) -> list[Call]:
    """A call of every signature, with the strategy's own answer; the golden one first."""
    seeds = seed_rows(_GOLDEN_SEED, _GOLDEN_ROWS)
    components = tf.repeat(tf.range(strategy.num_components, dtype=tf.int64), _COMPONENT_ROWS)
    latents = tf.random.stateless_normal(
        [len(components), strategy.latent_dim], (0, 0), alg="philox"
    )
    k = strategy.num_classes
    labels = tf.math.floormod(tf.range(len(components), dtype=tf.int64), max(k, 1))
    generated = strategy.with_classes(latents, labels) if k else latents

    def answer(function, *inputs):
        return {"samples": rows_of(function, *inputs)}

    def rows_of(function, *inputs):
        # Each row in a group of its own, so that the strategy in memory, which does not fill
        # groups up, takes the same matrix products (in bfloat16 they differ by more than 1e-5).
        rows = [tf.repeat(x, _ROW_GROUP, axis=0) for x in inputs]
        concrete = tf.function(function, autograph=False).get_concrete_function(*rows)
        return concrete(*rows)[::_ROW_GROUP].numpy()

    by_seed = {"seeds": seeds.numpy()}, answer(strategy.sample, seeds)
    by_latent = answer(
        lambda z, x: strategy.generate(strategy.component_of_latents(z), x), latents, generated
    )
    by_component = answer(strategy.generate, components, generated)
    with_labels = {"latents": latents.numpy(), **({"labels": labels.numpy()} if k else {})}
    calls = [
        Call("sample", *by_seed),
        Call("serving_default", *by_seed),
        Call("generate", with_labels, by_latent),
        Call("generate_component", {"components": components.numpy(), **with_labels}, by_component),
    ]
    if k:
        classes = tf.math.floormod(seeds[:, 1], k)

        def of_class(seeds, classes):
            drawn, inputs = strategy.draw(seeds)
            latents = inputs[:, : strategy.latent_dim]
            return strategy.generate(drawn, strategy.with_classes(latents, classes))

        by_class = {"seeds": seeds.numpy(), "labels": classes.numpy()}
        calls.append(Call("sample_class", by_class, answer(of_class, seeds, classes)))
    if _is_image(strategy):
        calls += [_png_call(call) for call in calls if call.signature != "serving_default"]
    drawn, inputs = tf.function(strategy.draw, autograph=False)(seeds)
    draws = {
        "latents": inputs[:, : strategy.latent_dim].numpy(),
        "components": drawn.numpy(),
    }
    if k:
        draws["labels"] = np.argmax(inputs[:, strategy.latent_dim :], axis=1)
    calls.append(Call("draw", {"seeds": seeds.numpy()}, draws))
    return calls


def _png_call(call: Call) -> Call:
    pixels = np.clip(np.rint((call.expected["samples"] + 1) * 127.5), 0, 255).astype(np.uint8)
    return call._replace(signature=f"{call.signature}_png", expected={"image_bytes": pixels})


def _facts(strategy: MixedStrategy, signatures: list[str]) -> dict[str, Any]:
    """What the manifest says of the strategy itself."""
    num_particles = strategy.num_particles
    return {
        "dim": int(strategy.atoms.shape[1]),
        "num_components": strategy.num_components,
        "weights": np.asarray(tf.convert_to_tensor(strategy.weights)).tolist(),
        # Of whole measures: n', component i is atom i mod n' of one.
        **({"num_particles": num_particles} if num_particles > 1 else {}),
        "latent_dim": strategy.latent_dim,
        "num_classes": strategy.num_classes,
        "signatures": signatures,
        "seed_rule": _SEED_RULE if strategy.latent_law is None else _SEED_RULE_OF_LAW,
        **({"latents": strategy.latent_law.name} if strategy.latent_law else {}),
        "image": _is_image(strategy),
    }


def _golden_facts(samples: np.ndarray) -> dict[str, Any]:
    return {
        "sample_shape": list(samples.shape[1:]),
        "golden": {
            "file": GOLDEN,
            "signature": "sample",
            # Of the samples' bytes, little-endian, in C order. Another kind of processor may
            # round differently; compare the values there.
            "sha256": hashlib.sha256(samples.astype("<f4").tobytes()).hexdigest(),
        },
    }
