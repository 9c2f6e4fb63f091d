"""What a Keras model takes, from the packed tensor that the games know.

Games pack: a generator reads [n, D + k], its latents and one-hot classes, a discriminator
[n, ..., C + k], data with the one-hot classes as constant channels. A Keras model may take one such
tensor, or two inputs: the labels are the integer one, or the one of shape [] or [1], or one-hot
[k]; the other are the latents or the data.

    generator = Network(model, latents_and_labels(model, latent_dim=16, num_classes=10))
    discriminator = Network(other, data_and_labels(other, (28, 28, 1), num_classes=10))
"""

from __future__ import annotations

import dataclasses
import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from tf_mixed_nash.errors import InputError
from tf_mixed_nash.models.cloning import is_graph

__all__ = [
    "Arguments",
    "Inputs",
    "data_and_labels",
    "example_of",
    "latents_and_labels",
    "latents_of",
    "says_labels",
]


class Arguments(NamedTuple):
    """What a model takes by the names of its `call`'s arguments."""

    named: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Inputs:
    """A function from a packed tensor to what a model takes.

    Attributes:
      shape: of one row of the packed tensor.
      unpack: the function; None: the model takes the packed tensor.
    """

    shape: tuple[int, ...]
    unpack: Callable[[tf.Tensor], Any] | None = None

    @property
    def identity(self) -> bool:
        """Whether the model takes the packed tensor."""
        return self.unpack is None

    def __call__(self, x: tf.Tensor) -> Any:
        """What the model takes, of x [n, *shape]."""
        return x if self.unpack is None else self.unpack(x)


class _Spec(NamedTuple):
    """An input of a model: its name, the shape of a row, and its type (None: it does not say)."""

    name: str
    shape: tuple[int | None, ...]
    dtype: str | None

    def __str__(self) -> str:
        shape = ", ".join(str(n) for n in self.shape)
        return f"{self.name} [{shape}]" + (f" {self.dtype}" if self.dtype else "")

    @property
    def integer(self) -> bool:
        return self.dtype is not None and tf.as_dtype(self.dtype).is_integer

    def named_for_labels(self) -> bool:
        return says_labels(self.name)


def says_labels(name: str) -> bool:
    """Whether an input of this name is one of labels."""
    return any(word in name.lower() for word in ("label", "class", "condition", "categor"))


def latents_and_labels(model: keras.Model, latent_dim: int, num_classes: int = 0) -> Inputs:
    """How a generator takes [n, D + k].

    Args:
      model: built; of one input of D + k numbers, or of two, latents and labels. Latents of several
        axes are [D] in that shape.
      latent_dim: D.
      num_classes: k; 0 without classes.

    Raises:
      InputError: if the model is not built, or its inputs are no latents, or not clearly which.
    """
    D, k = latent_dim, num_classes
    specs, arrange = _inputs_of(model)
    what = f"latents [{D}]" + (f" and labels of {k} classes" if k else "")

    def fits(spec: _Spec) -> bool:
        return (not spec.integer and _fits(spec.shape, (D,))) or _count(spec.shape) == D

    if len(specs) == 1:
        (spec,) = specs
        if not spec.integer and _fits(spec.shape, (D + k,)):
            return Inputs((D + k,), None if arrange is None else lambda x: arrange([x]))
        if k or not fits(spec):
            advice = _one_input(k, f"one input [{D + k}]")
            if not k and (width := _count(spec.shape)):
                advice += f" Or let latents be of {width} numbers: latent_dim={width}."
            raise _refusal(model, specs, what, advice)
        return Inputs((D,), lambda x: _arranged(arrange, [_shaped(x, spec)]))
    value, label = _told_apart(model, specs, what, k, fits)
    return Inputs((D + k,), _splitting(arrange, specs, value, label, k, lambda x: x))


def latents_of(model: keras.Model, num_classes: int = 0) -> int | None:
    """D, where the model's inputs say it: latents and labels, or one vector of both.

    Args:
      model: built.
      num_classes: k; 0 without classes.

    Returns:
      D >= 1, or None.

    Raises:
      InputError: if the model does not say its inputs, or which of two are the labels.
    """
    specs, k = _inputs_of(model)[0], num_classes
    if len(specs) == 1:
        wide = specs[0].shape[0] if len(specs[0].shape) == 1 else None
        return None if specs[0].integer or wide is None or wide <= k else wide - k

    def fits(spec: _Spec) -> bool:
        return not spec.integer and _count(spec.shape) is not None

    what = "latents" + (f" and labels of {k} classes" if k else "")
    value, _ = _told_apart(model, specs, what, k, fits)
    return _count(specs[value].shape)


def data_and_labels(
    model: keras.Model, sample_shape: Sequence[int], num_classes: int = 0, packing: int = 1
) -> Inputs:
    """How a discriminator takes [n, ..., C + k], or packs of m data, [n, ..., m (C + k)].

    Args:
      model: built; of one input, data with their classes as channels, or of two, data and labels:
        of a pack [..., m C], and labels [m] or one-hot [m, k].
      sample_shape: (..., C), of one datum without classes: (2,) for points, (28, 28, 1) for images.
      num_classes: k; 0 without classes.
      packing: m >= 1, how many data it reads at once.

    Raises:
      InputError: if the model is not built, or its inputs are not these data, or not clearly which.
    """
    shape, k = tuple(int(n) for n in sample_shape), num_classes
    if not shape:
        raise InputError("Data have at least one axis beside the batch; got sample_shape ().")
    m, channels = packing, shape[-1]
    specs, arrange = _inputs_of(model)
    packed, wide = (*shape[:-1], m * (channels + k)), (*shape[:-1], m * channels)
    what = f"data {list(wide)}" + (f" and labels of {k} classes" if k else "")
    what += f", packs of {m} data" if m > 1 else ""

    def fits(spec: _Spec) -> bool:
        return not spec.integer and _fits(spec.shape, wide)

    if len(specs) == 1:
        (spec,) = specs
        if not spec.integer and _fits(spec.shape, packed):
            return Inputs(packed, None if arrange is None else lambda x: arrange([x]))
        raise _refusal(model, specs, what, _one_input(k, f"one input {list(packed)}"))
    value, label = _told_apart(model, specs, what, k, fits, m)
    first = (slice(None), *[0] * (len(shape) - 1))
    if m == 1:
        return Inputs(packed, _splitting(arrange, specs, value, label, k, lambda x: x[first]))

    def unpack(x):
        each: Any = tf.reshape(x, [-1, *shape[:-1], m, channels + k])
        one_hot = each[first][..., channels:]
        parts: list[Any] = [None, None]
        parts[value] = tf.reshape(each[..., :channels], [-1, *wide])
        spec = specs[label]
        index = tf.argmax(one_hot, axis=-1, output_type=tf.int32)
        labels = one_hot if len(spec.shape) == 2 else index
        parts[label] = tf.cast(labels, spec.dtype or labels.dtype)
        return _arranged(arrange, parts)

    return Inputs(packed, unpack)


def example_of(model: keras.Model) -> tuple[list[Any], dict[str, Any]]:
    """Arguments and keyword arguments of a call of the model, two rows of zeros.

    Raises:
      InputError: if the model is not built, or does not say its inputs.
    """
    specs, arrange = _inputs_of(model)
    given = _arranged(
        arrange,
        [tf.zeros([2, *(n or 8 for n in spec.shape)], spec.dtype or "float32") for spec in specs],
    )
    return ([], given.named) if isinstance(given, Arguments) else ([given], {})


def _splitting(arrange, specs, value: int, label: int, k: int, classes_of) -> Callable:
    """Packed x [n, ..., C + k] -> the two inputs; classes_of: x -> [n, C + k]."""

    def unpack(x):
        parts: list[Any] = [None, None]
        parts[value] = _shaped(x[..., :-k], specs[value])
        parts[label] = _labels(classes_of(x)[:, -k:], specs[label], k)
        return _arranged(arrange, parts)

    return unpack


def _labels(one_hot, spec: _Spec, k: int):
    dtype: Any = spec.dtype
    if _fits(spec.shape, (k,)) and k > 1:
        return tf.cast(one_hot, dtype) if spec.integer else one_hot
    index = tf.argmax(one_hot, axis=-1, output_type=tf.int32)
    index = tf.cast(index, dtype or tf.int32)
    return index[:, None] if len(spec.shape) else index


def _shaped(x, spec: _Spec):
    """x [n, ...] in the shape of the input."""
    if len(spec.shape) == x.shape.rank - 1:
        return x
    return tf.reshape(x, [-1, *spec.shape])


def _told_apart(model, specs, what: str, k: int, fits, m: int = 1) -> tuple[int, int]:
    """The places of the data (or latents) and of the labels among two inputs; m: of a pack."""
    if len(specs) != 2 or not k:
        expected = "two inputs" if k else "one input (num_classes is 0)"
        raise _refusal(model, specs, what, f"Give it {expected}.")

    def labels(spec: _Spec) -> bool:
        if m > 1:
            return _fits(spec.shape, (m,)) or _fits(spec.shape, (m, k))
        return spec.shape in ((), (1,), (None,)) or _fits(spec.shape, (k,))

    pairs = [(i, 1 - i) for i in (0, 1) if fits(specs[i]) and labels(specs[1 - i])]
    for sign in (lambda s: s.integer, _Spec.named_for_labels):
        if len(pairs) == 2 and sum(sign(s) for s in specs) == 1:
            pairs = [(i, j) for i, j in pairs if sign(specs[j])]
    if len(pairs) == 1:
        return pairs[0]
    advice = (
        "Either could be the labels: name one of them labels, or make it an integer input."
        if pairs
        else f"Labels are an input of shape [], [1] or one-hot [{k}]."
        if m == 1
        else f"The labels of a pack are an input of shape [{m}], or one-hot [{m}, {k}]."
    )
    raise _refusal(model, specs, what, advice)


def _one_input(k: int, single: str) -> str:
    if not k:
        return f"Give it {single}."
    return f"Give it a second input for the labels, or {single}, the one-hot classes last."


def _refusal(model, specs, what: str, advice: str) -> InputError:
    inputs = ", ".join(map(str, specs))
    return InputError(f"{model.name!r} takes {inputs}, where the game gives {what}. {advice}")


def _fits(shape, wanted: tuple[int, ...]) -> bool:
    return len(shape) == len(wanted) and all(
        n is None or n == m for n, m in zip(shape, wanted, strict=True)
    )


def _count(shape) -> int | None:
    return None if None in shape or not shape else math.prod(shape)


def _arranged(arrange, parts: list[Any]):
    return parts[0] if arrange is None else arrange(parts)


def _inputs_of(model) -> tuple[list[_Spec], Callable[[list[Any]], Any] | None]:
    """The inputs of a model in a flat order, and how such a list becomes what the model takes.

    None instead of a function: the model takes the one tensor.
    """
    if not isinstance(model, keras.Model):
        raise InputError(f"Expected a keras.Model, got {type(model).__name__}.")
    if not model.built:
        raise InputError(
            f"{model.name!r} is not built, so that it has no weights yet. Begin it with a "
            "keras.Input, or call it once on an example."
        )
    if is_graph(model):
        graph: Any = model
        taken = graph.inputs[0] if isinstance(model, keras.Sequential) else graph.input
        flat = keras.tree.flatten(taken)
        specs = [_Spec(x.name, tuple(x.shape[1:]), x.dtype) for x in flat]
        if taken is flat[0]:
            return specs, None
        return specs, lambda parts: keras.tree.pack_sequence_as(taken, parts)
    config = model.get_build_config() or {}
    if "shapes_dict" in config:
        named = {name.removesuffix("_shape"): s for name, s in config["shapes_dict"].items()}
        if all(_is_shape(shape) for shape in named.values()):
            specs = [_Spec(name, tuple(shape[1:]), None) for name, shape in named.items()]
            return specs, lambda parts: Arguments(dict(zip(named, parts, strict=True)))
    shape: Any = config.get("input_shape")
    arguments = _arguments_of(model)
    if len(arguments) > 1:
        names = ", ".join(arguments)
        raise InputError(
            f"{model.name!r} takes several arguments ({names}), whose shapes it does not say. Wrap "
            f"it: keras.Model([{names}], model({names})), of keras.Input of those names."
        )
    if _is_shape(shape):
        return [_Spec("input", tuple(shape[1:]), None)], None
    if isinstance(shape, dict) and all(map(_is_shape, shape.values())):
        specs = [_Spec(str(name), tuple(s[1:]), None) for name, s in shape.items()]
        return specs, lambda parts: dict(zip(shape, parts, strict=True))
    if isinstance(shape, list | tuple) and all(map(_is_shape, shape)):
        specs = [_Spec(f"input {i}", tuple(s[1:]), None) for i, s in enumerate(shape)]
        return specs, lambda parts: tuple(parts) if isinstance(shape, tuple) else parts
    raise InputError(
        f"{model.name!r} does not say what it takes. Call it once on an example of its input."
    )


def _arguments_of(model) -> list[str]:
    """The arguments of a subclassed model's call that must be given."""
    parameters = inspect.signature(model.call).parameters.values()
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [
        p.name
        for p in parameters
        if p.kind in kinds and p.default is p.empty and p.name not in ("training", "mask")
    ]


def _is_shape(shape) -> bool:
    return (
        isinstance(shape, list | tuple)
        and len(shape) > 0
        and all(n is None or isinstance(n, int) for n in shape)
    )
