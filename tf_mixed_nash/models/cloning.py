"""A Keras model made anew from its config."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import keras

from tf_mixed_nash.errors import InputError
from tf_mixed_nash.models.roles import reason

__all__ = ["cloned", "is_graph", "of_class"]


def is_graph(model: keras.Model) -> bool:
    """Whether the model is functional or Sequential, so that it says its inputs and outputs."""
    return isinstance(model, keras.Sequential) or isinstance(getattr(model, "inputs", None), list)


def cloned(model: keras.Model, example: Callable[[], Any]) -> keras.Model:
    """A built model of the same architecture, which shares nothing with it.

    Its variables are those of `model`, in the same order, with other values.

    Args:
      model: of any kind.
      example: () -> (arguments, keyword arguments) of a call, by which a subclassed one is built.

    Raises:
      InputError: if a layer, or a subclassed model, has no config from which it can be made.
    """
    try:
        new = (
            _cloned_graph(model)
            if is_graph(model)
            else of_class(model, model.get_config(), example)
        )
    except Exception as error:  # whatever a user's get_config and from_config raise
        raise InputError(
            f"{model.name!r} cannot be made anew from its config: {reason(error)} Give "
            "its class and its layers get_config, and register them by "
            "keras.saving.register_keras_serializable."
        ) from error
    shapes = [[tuple(v.shape) for v in m.variables] for m in (model, new)]
    if shapes[0] != shapes[1]:
        raise InputError(
            f"{model.name!r}, made anew from its config, has other variables "
            f"({len(shapes[1])}, not {len(shapes[0])}). Let get_config say all that the "
            "constructor needs."
        )
    return new


def _cloned_graph(model) -> Any:
    return keras.models.clone_model(model, clone_function=_cloned_layer, recursive=True)


def _cloned_layer(layer) -> Any:
    config = layer.get_config()
    if isinstance(layer, keras.layers.Lambda):  # a model in memory is no file from a stranger
        new = type(layer).from_config(config, safe_mode=False)
        new.function = layer.function  # with what it encloses
        return new
    # A function that is no named one of Keras has no config; it can be shared.
    if callable(activation := getattr(layer, "activation", None)) and "activation" in config:
        config["activation"] = activation
    return type(layer).from_config(config)


def of_class(model: keras.Model, config: dict[str, Any], example: Callable[[], Any]) -> Any:
    """A built model of the class of a subclassed one.

    Args:
      model: subclassed.
      config: like its own.
      example: see `cloned`.

    Raises:
      Exception: whatever a constructor, `from_config` or `call` of the user's raises.
    """
    parameters = inspect.signature(type(model).__init__).parameters
    # What Keras adds (name, trainable, dtype) a constructor need not take.
    if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        config = {name: value for name, value in config.items() if name in parameters}
    new = type(model).from_config(config)
    args, kwargs = example()
    new(*args, **kwargs)
    return new
