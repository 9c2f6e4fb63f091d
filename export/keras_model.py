"""A published generator as a Keras model again, for whoever trains it on.

A version keeps the architecture of its generators as Keras writes it (`publish.ARCHITECTURE`), and
their parameters as vectors in the SavedModel; `restore` puts the two together.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from export import publish
from export.publish import ARCHITECTURE
from tf_mixed_nash.errors import InputError
from tf_mixed_nash.models import Network, latents_and_labels

__all__ = ["describe", "restore", "run", "to_bytes"]


def describe(model: keras.Model) -> str | None:
    """The architecture as JSON text; None for a model that Keras cannot write so.

    A subclassed model without `get_config` is one.
    """
    try:
        return json.dumps(json.loads(model.to_json()), indent=1)
    except Exception:  # Keras and the layers have many kinds; publishing does without
        return None


def restore(version: Path, atom: np.ndarray) -> keras.Model:
    """The Keras model of one component.

    Args:
      version: a published version's folder.
      atom: the component's vector in `atoms`: its trainable parameters, then what its layers keep.

    Returns:
      A built model that takes what the user's own takes: [n, D] -> samples; of a class-conditional
      one [n, D + k], the latents followed by a one-hot class, or latents and labels. Called with
      training=False it is the served generator.

    Raises:
      InputError: if the version does not keep the architecture, or Keras does not read it here.
    """
    try:
        text = (version / ARCHITECTURE).read_text()
    except FileNotFoundError:
        raise InputError(
            f"{version} does not keep its generator's architecture ({ARCHITECTURE}): an earlier "
            "version of this package published it, or Keras cannot write the network as JSON. "
            "Publish it anew (python -m export.saved_model)."
        ) from None
    facts = publish.read_manifest(version)
    try:
        model: Any = keras.models.model_from_json(text)
        inputs = latents_and_labels(model, facts["latent_dim"], facts["num_classes"])
        network = Network(model, inputs)
    except Exception as error:  # Keras has many kinds for layers that it does not know
        reason = str(error).strip().partition("\n")[0][:300]
        raise InputError(
            f"Keras does not read the architecture of {version} ({type(error).__name__}: "
            f"{reason}). Import what registers its layers (keras.saving), or use the Keras that "
            "wrote it."
        ) from error
    return network.to_keras(tf.constant(atom))


def to_bytes(model: keras.Model) -> bytes:
    """The content of the .keras file of a model."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "generator.keras")
        model.save(path)
        return path.read_bytes()


def run(
    content: bytes, latents: np.ndarray, labels: np.ndarray | None = None, num_classes: int = 0
) -> np.ndarray:
    """What a .keras file generates: float32 [n, ...], by one graph over all rows.

    Args:
      content: of the file.
      latents: float32 [n, D].
      labels: int64 [n], of a class-conditional model.
      num_classes: k of that.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "generator.keras")
        path.write_bytes(content)
        model: Any = keras.models.load_model(path)
    D, packed = latents.shape[1], tf.constant(latents)
    if labels is not None:
        packed = tf.concat([packed, tf.one_hot(labels, num_classes)], axis=1)
    inputs = latents_and_labels(model, D, num_classes)
    generate = tf.function(lambda x: tf.cast(model(inputs(x), training=False), tf.float32))
    return generate(packed).numpy()
