"""What the variables of a Keras model are to us, and which models cannot be functions.

A `Network` is a function of (z, x, a key, a state). What the trainable variables hold is z; every
other variable has one of these roles (docs/decisions/0021):

    statistic  a moving mean or variance of a trainable BatchNormalization: measured, never carried
               (docs/decisions/0012)
    seed       the state of a SeedGenerator: made from the key
    state      of float type, written by the training-mode call: carried from step to step
    constant   everything else: weights of layers that are not trainable, tables of numbers

Keras's own layers are known; a model with others is traced once to see what it does. What such a
layer does outside its variables (stateful random numbers, lookups, Python) no function can do.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from tf_mixed_nash.errors import InputError

__all__ = ["CONSTANT", "SEED", "STATE", "STATISTIC", "Roles", "layers_of", "reason", "roles_of"]

STATISTIC, SEED, STATE, CONSTANT = "statistic", "seed", "state", "constant"

# Modules of Keras whose layers are functions of their variables, and write none but those that
# `_known` names. Not there: lookups, text, lambdas, wrappers of other programs.
_KNOWN = (
    "keras.src.models.",
    *(
        f"keras.src.layers.{room}"
        for room in (
            "activations.",
            "attention.",
            "convolutional.",
            "core.dense",
            "core.einsum_dense",
            "core.embedding",
            "core.identity",
            "core.input_layer",
            "core.masking",
            "core.reversible_embedding",
            "core.wrapper",
            "layer",
            "merging.",
            "normalization.",
            "pooling.",
            "preprocessing.image_preprocessing.",
            "preprocessing.normalization",
            "preprocessing.rescaling",
            "regularization.",
            "reshaping.",
        )
    ),
    "keras.src.ops.",
    "tf_mixed_nash.models.",
)
# But these, which mix the rows of a batch.
_UNKNOWN = (keras.layers.CutMix, keras.layers.MixUp)
# Operations that TensorFlow calls stateful and that change nothing that is computed.
_HARMLESS = ("Assert", "PrintV2", "CheckNumericsV2")


class Roles(NamedTuple):
    """See the module.

    Attributes:
      kinds: of each of the model's `non_trainable_variables`.
      assigns: a call in training mode writes trainable variables, too (a normalised kernel).
      known: every layer is one of Keras's or ours that was looked at.
    """

    kinds: tuple[str, ...]
    assigns: bool
    known: bool


def layers_of(model: keras.Model) -> list[Any]:
    """The model's layers, those inside others too, itself first."""
    return model._flatten_layers()


def roles_of(model: keras.Model, example: Callable[[], Any]) -> Roles:
    """The roles of a built model's variables.

    Args:
      model: see `Network`.
      example: () -> (arguments, keyword arguments) of a call of the model on two rows; it is
        called where a layer is not known.

    Raises:
      InputError: if the model has a layer that cannot be carried.
    """
    layers = layers_of(model)
    _check_weights(model)
    for layer in layers:
        _check_layer(model, layer)
    known, assigns = _known(model, layers)
    strange = [layer for layer in layers if not _is_known(layer)]
    if strange:
        written = _looked_at(model, example, strange)
        for v in model.non_trainable_variables:
            if id(v) in written and id(v) not in known:
                known[id(v)] = _carried(model, v, strange)
        assigns |= any(id(v) in written for v in model.trainable_variables)
    kinds = tuple(known.get(id(v), CONSTANT) for v in model.non_trainable_variables)
    return Roles(kinds, assigns, known=not strange)


def _is_known(layer) -> bool:
    return type(layer).__module__.startswith(_KNOWN) and not isinstance(layer, _UNKNOWN)


def _known(model, layers) -> tuple[dict[int, str], bool]:
    """What Keras's own layers write: {id of a variable: its role}; whether weights are."""
    kinds, assigns = {}, False
    trainable = {id(v) for v in model.trainable_variables}
    for v in model.non_trainable_variables:
        if v.path.rsplit("/", 1)[-1] == "seed_generator_state":
            kinds[id(v)] = SEED
    for layer in layers:
        if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable:
            kinds |= {id(layer.moving_mean): STATISTIC, id(layer.moving_variance): STATISTIC}
        if isinstance(layer, keras.layers.SpectralNormalization):
            kinds[id(layer.vector_u)] = STATE
            # A kernel that is not trained is written all the same.
            if id(layer.kernel) in trainable:
                assigns = True
            else:
                kinds[id(layer.kernel)] = STATE
    return kinds, assigns


def _check_weights(model) -> None:
    weights = model.trainable_variables
    for v in weights:
        if not tf.as_dtype(v.dtype).is_floating:
            raise InputError(
                f"The weight {v.path} of {model.name!r} is {v.dtype}: weights that are trained "
                "are float. Make it non-trainable, or float32."
            )
    dtypes = sorted({v.dtype for v in weights})
    if len(dtypes) > 1:
        raise InputError(
            f"The weights of {model.name!r} are {' and '.join(dtypes)}, and a player is one vector "
            "of one type. Give its layers one dtype policy."
        )
    if dtypes and tf.as_dtype(dtypes[0]) not in (tf.float32, tf.float64):
        raise InputError(
            f"The weights of {model.name!r} are {dtypes[0]}, in which steps of training vanish. "
            "Choose the policy mixed_bfloat16 or mixed_float16, which keep weights in float32."
        )
    for v in weights:
        if v.regularizer is not None:
            raise InputError(
                f"The weight {v.path} of {model.name!r} has a regularizer, which is no part of the "
                "game's losses and would be ignored. Leave it out."
            )
        if v.constraint is not None:
            raise InputError(
                f"The weight {v.path} of {model.name!r} has a constraint, and the algorithms move "
                "all weights as one vector, unconstrained. Leave it out; weight_clip keeps a "
                "discriminator's weights in a box."
            )


def _check_layer(model, layer) -> None:
    def refusal(reason: str) -> InputError:
        return InputError(f"Layer {layer.name!r} of {model.name!r} {reason}")

    if getattr(layer, "stateful", False):
        raise refusal(
            "remembers from batch to batch (stateful=True), and mini-batches are independent. "
            "Choose stateful=False."
        )
    if isinstance(layer, keras.layers.BatchNormalization) and layer.renorm:
        raise refusal(
            "normalises by its moving statistics in training (renorm=True), of which there are "
            "none. Choose renorm=False."
        )
    if getattr(layer.dtype_policy, "quantization_mode", None):
        raise refusal(
            f"is quantised ({layer.dtype_policy.name}); train the model before it is quantised."
        )
    if hasattr(layer, "recurrent_dropout") and (layer.dropout or layer.recurrent_dropout):
        raise refusal(
            "has a dropout of its own, whose masks Keras draws with training=False, too. Leave "
            "dropout and recurrent_dropout out, and put keras.layers.Dropout before or behind it."
        )
    if isinstance(layer, keras.layers.AugMix):
        raise refusal(
            "chooses its augmentations by Python's random numbers, once and for all. Choose "
            "RandAugment."
        )
    if layer.activity_regularizer is not None:
        raise refusal(
            "has an activity_regularizer, which is no part of the game's losses and would be "
            "ignored. Leave it out."
        )


def _carried(model, v, strange: Sequence[Any]) -> str:
    layer = _owner(v, strange)
    if not tf.as_dtype(v.dtype).is_floating:
        raise InputError(
            f"Layer {layer} of {model.name!r} counts in {v.path} ({v.dtype}), and only a state of "
            "float type is carried from step to step. Make it float32, or leave it constant."
        )
    return STATE


def _owner(v, strange: Sequence[Any]) -> str:
    for layer in reversed(strange):
        if any(v is own for own in layer.variables):
            return repr(layer.name)
    return "?"


def _looked_at(model, example, strange: Sequence[Any]) -> set[int]:
    """The ids of the variables that a training-mode call writes.

    Raises:
      InputError: if a layer does what no function of the variables can do.
    """
    written = _traced(model, example, strange, training=True)
    at_rest = _traced(model, example, strange, training=False)
    for v in model.variables:
        if id(v) in at_rest and v.path.rsplit("/", 1)[-1] == "seed_generator_state":
            raise InputError(
                f"Layer {_owner(v, strange)} of {model.name!r} draws random numbers with "
                "training=False, too: a sample would depend on the rows beside it. Draw where "
                "training is true, and take other noise from the latents."
            )
    return written


def _traced(model, example, strange, training: bool) -> set[int]:
    classes = ", ".join(sorted({type(layer).__name__ for layer in strange}))
    written: set[int] = set()
    losses: list[Any] = []
    variables = {id(v): v for v in model.variables}
    unbuilt = [layer for layer in layers_of(model) if not layer.built]

    def call(values):
        mapping = list(zip(variables.values(), values, strict=True))
        args, kwargs = example()
        with keras.StatelessScope(state_mapping=mapping, collect_losses=True) as scope:
            start = dict(scope.state_mapping)
            output = model(*args, training=training, **kwargs)
        written.update(i for i, x in scope.state_mapping.items() if start.get(i) is not x)
        losses.extend(scope.losses)
        return output

    specs = [tf.TensorSpec(v.shape, v.dtype) for v in variables.values()]
    traced = tf.function(call, autograph=False, input_signature=[specs])
    try:
        graph = traced.get_concrete_function().graph
    except Exception as error:  # whatever a user's layer raises
        raise InputError(
            f"{model.name!r}, with layers of {classes}, cannot be called in a graph: "
            f"{reason(error)}"
        ) from error
    if len(model.variables) > len(variables):
        late = ", ".join(sorted(repr(layer.name) for layer in unbuilt if layer.built))
        raise InputError(
            f"{model.name!r} has layers without weights yet ({late}), which its first call makes, "
            "not build(input_shape). Call it once on an example before you give it."
        )
    if written - set(variables):
        raise InputError(
            f"A layer of {model.name!r} (of {classes}) writes a variable that is not the model's: "
            "random numbers by keras.random without a seed do. Give the layer a "
            "keras.random.SeedGenerator, as an attribute, and pass it as seed."
        )
    if losses:
        raise InputError(
            f"A layer of {model.name!r} (of {classes}) adds a loss (add_loss), which is no part of "
            "the game's losses and would be ignored. Leave it out."
        )
    for op in graph.get_operations():
        kind = op.type
        stateful = op.op_def is not None and op.op_def.is_stateful
        if stateful and kind not in _HARMLESS and not kind.startswith("Stateless"):
            raise InputError(
                f"Layer {_named(op.name, strange)} of {model.name!r} does what is no function of "
                f"its inputs and weights ({kind}), so that no run could be resumed. Draw random "
                "numbers by keras.random with a keras.random.SeedGenerator of the layer, keep "
                "weights by add_weight, and look words up before the model."
            )
    return written


def reason(error: Exception) -> str:
    """The first line of an error that says something, without Keras's frame and colours."""
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line).strip() for line in str(error).splitlines()]
    said = [x for x in lines if x and not x.startswith("Exception encountered when calling")]
    return said[0] if said else type(error).__name__


def _named(path: str, strange) -> str:
    parts = path.split("/")
    for layer in reversed(strange):
        if layer.name in parts:
            return repr(layer.name)
    return " or ".join(sorted({repr(layer.name) for layer in strange}))
