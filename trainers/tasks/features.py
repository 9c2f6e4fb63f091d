"""Feature networks of the image metrics.

FID and its relatives compare features, and mean something only for one feature network. Three
small classifiers (MNIST, Fashion-MNIST, CIFAR-10; about 135,000 weights, 96 features) come
with the package, so that everyone computes the same figures offline; docs/image_metrics.md has
their hashes. **Their FIDs are not Inception FIDs.** `load` also takes a user's Keras model and
Inception weights from a file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tf_mixed_nash.errors import InputError

if TYPE_CHECKING:
    import keras

__all__ = ["COMMITTED", "FeatureNetwork", "classifier", "load", "read", "save"]

COMMITTED = ("mnist", "fashion_mnist", "cifar10")
SIZE = 32
_FOLDER = Path(__file__).parent / "feature_networks"
_CHUNK = 250
# (channels, stride) of the 3 x 3 convolutions; their mean over the map is the feature.
_CONVOLUTIONS = ((32, 1), (48, 2), (64, 1), (64, 2), (96, 1))


class FeatureNetwork:
    """uint8 images -> features.

    Args:
      name: for reports.
      function: float32 [n, S, S, C] in [-1, 1] -> features [n, d], or (features,
        probabilities [n, k]).
      sha256: of the weights.
      size: S that `function` takes.
      channels: C that `function` takes.
      about: more for reports, such as the accuracy.

    Attributes:
      name, sha256, size, channels, about: as given.
    """

    def __init__(
        self,
        name: str,
        function: Callable,
        sha256: str,
        size: int,
        channels: int,
        about: dict[str, Any] | None = None,
    ):
        import tensorflow as tf

        self.name, self.sha256, self.size, self.channels = name, sha256, size, channels
        self.about = about or {}
        spec = tf.TensorSpec([_CHUNK, size, size, channels], tf.float32)
        self._function = tf.function(function, input_signature=[spec], autograph=False)

    def __call__(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """The features of images of any size, each resized by itself as in training data.

        Args:
          images: uint8 [n, S, S, C], any S, C = 1 or 3, n >= 1.

        Returns:
          (float32 [n, d], probabilities float32 [n, k] or None).
        """
        from trainers.tasks.data.images import to_unit

        parts = []
        for start in range(0, len(images), _CHUNK):
            chunk = self._fitted(images[start : start + _CHUNK])
            # Always whole chunks, so that a row does not depend on its place.
            padding = [(0, _CHUNK - len(chunk))] + [(0, 0)] * 3
            answer = self._function(to_unit(np.pad(chunk, padding).astype(np.float32)))
            answer = answer if isinstance(answer, (tuple, list)) else (answer,)
            parts.append([part.numpy()[: len(chunk)] for part in answer])
        joined = [np.concatenate(part) for part in zip(*parts, strict=True)]
        return joined[0], joined[1] if len(joined) > 1 else None

    def _fitted(self, images: np.ndarray) -> np.ndarray:
        from trainers.tasks.data.images import Preprocessing, decode

        if images.shape[1:] == (self.size, self.size, self.channels):
            return images
        to = Preprocessing(self.size, self.channels)
        return np.stack([decode(image, to) for image in images])


def classifier(channels: int, num_classes: int, seed: int = 0) -> keras.Model:
    """The architecture of the committed networks: 32 x 32 x C -> (features [96], logits [k])."""
    import keras

    from tf_mixed_nash import rng

    seeds = iter(np.random.SeedSequence(rng.python_seed(rng.stream(seed, "features"))).spawn(9))

    def start() -> Any:
        return keras.initializers.HeNormal(seed=int(next(seeds).generate_state(1)[0]) >> 1)

    inputs = x = keras.Input((SIZE, SIZE, channels))
    for units, stride in _CONVOLUTIONS:
        x = keras.layers.Conv2D(
            units, 3, stride, "same", activation="relu", kernel_initializer=start()
        )(x)
    features = keras.layers.GlobalAveragePooling2D(name="features")(x)
    logits = keras.layers.Dense(num_classes, kernel_initializer=start())(features)
    return keras.Model(inputs, [features, logits])


def weights_hash(weights: Sequence[np.ndarray]) -> str:
    """SHA-256 of the shapes and little-endian bytes of arrays, in order."""
    digest = hashlib.sha256()
    for w in weights:
        digest.update(repr((w.dtype.str.lstrip("<>=|"), w.shape)).encode())
        digest.update(np.ascontiguousarray(w, w.dtype.newbyteorder("<")).tobytes())
    return digest.hexdigest()


def save(path: Path, weights: Sequence[np.ndarray], header: dict[str, Any]) -> str:
    """Writes a network of `classifier`, its weights rounded to float16; returns their hash."""
    from trainers.system.files import save_arrays

    rounded = [np.asarray(w, np.float16) for w in weights]
    header = {**header, "sha256": weights_hash(rounded)}
    arrays = {f"weight_{i:02d}": w for i, w in enumerate(rounded)}
    save_arrays(path, {"header": np.array(json.dumps(header)), **arrays})
    return header["sha256"]


def read(path: Path, name: str) -> FeatureNetwork:
    """The network of a file of `save`.

    Raises:
      InputError: if the file is none, or its weights are not those that were hashed.
    """
    import tensorflow as tf

    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as saved:
            header = json.loads(str(saved["header"]))
            weights = [saved[key] for key in sorted(saved.files) if key != "header"]
    except Exception as error:  # numpy and zipfile raise many kinds on damaged files
        raise InputError(f"{path} is no feature network of trainers.features ({error}).") from None
    if weights_hash(weights) != header["sha256"]:
        raise InputError(
            f"{path} is damaged: its weights do not have the hash in its header. Make it anew "
            "with python -m trainers.features."
        )
    model: Any = classifier(header["channels"], header["num_classes"])
    model.set_weights([w.astype(np.float32) for w in weights])

    def function(x):
        features, logits = model(x, training=False)
        return features, tf.nn.softmax(logits)

    about = {k: header[k] for k in ("dataset", "accuracy", "num_train", "num_test", "complete")}
    return FeatureNetwork(name, function, header["sha256"], SIZE, header["channels"], about)


def load(spec: str, dataset: str, channels: int) -> FeatureNetwork:
    """The feature network that a config names.

    Args:
      spec: "auto" (the committed network of the data set, else that of CIFAR-10 for colour and
        of MNIST for grey images); a committed name; FILE.npz of this module's command;
        FILE.keras or FILE.h5[:LAYER], a Keras model that takes [-1, 1] (that layer's output, or
        the input of the last layer; maps are averaged); inception:FILE.h5, the weights of
        keras.applications.InceptionV3 (average pooling, 2,048 features, 299 pixels).
      dataset: the config's.
      channels: of the images.

    Raises:
      InputError: if there is no such network.
    """
    if spec == "auto":
        fallback = "cifar10" if channels == 3 else "mnist"
        name = dataset if dataset in COMMITTED else fallback
        return read(_FOLDER / f"{name}.npz", name)
    if spec in COMMITTED:
        return read(_FOLDER / f"{spec}.npz", spec)
    if spec.startswith("inception:"):
        return _inception(_existing(spec.removeprefix("inception:")))
    file, _, layer = spec.partition(":")
    path = _existing(file)
    if path.suffix in (".keras", ".h5"):
        return _keras(path, layer)
    return read(path, path.stem)


def _existing(file: str) -> Path:
    path = Path(file).expanduser()
    if not path.is_file():
        raise InputError(
            f"scorecard.features: there is no file {file!r}. Choose auto, "
            f"{', '.join(COMMITTED)}, FILE.npz (python -m trainers.features), "
            "FILE.keras[:LAYER], or inception:FILE.h5."
        )
    return path


def _keras(path: Path, layer: str) -> FeatureNetwork:
    import keras
    import tensorflow as tf

    try:
        model: Any = keras.models.load_model(path, compile=False)
    except Exception as error:  # Keras raises many kinds
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"{path} is no Keras model: {reason}") from None
    names = [x.name for x in model.layers]
    if layer and layer not in names:
        raise InputError(f"{path} has no layer {layer!r}. It has: {', '.join(names)}.")
    tap = model.get_layer(layer).output if layer else model.layers[-1].input
    shape = model.input_shape
    if len(shape) != 4 or shape[1] != shape[2] or None in shape[1:] or shape[3] not in (1, 3):
        raise InputError(
            f"{path} must take square images [n, S, S, 1 or 3] of a fixed size, not {shape}."
        )
    tapped: Any = keras.Model(model.inputs, tap)

    def function(x):
        y = tf.cast(tapped(x, training=False), tf.float32)
        return y if y.shape.rank == 2 else tf.reduce_mean(y, axis=list(range(1, y.shape.rank - 1)))

    return FeatureNetwork(
        path.name + (f":{layer}" if layer else ""),
        function,
        weights_hash(model.get_weights()),
        shape[1],
        shape[3],
    )


def _inception(path: Path) -> FeatureNetwork:
    import keras

    nothing: Any = None  # no download; the file's weights come below
    model: Any = keras.applications.InceptionV3(
        include_top=False, weights=nothing, pooling="avg", input_shape=(299, 299, 3)
    )
    try:
        model.load_weights(path)
    except Exception as error:  # Keras and h5py raise many kinds
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"{path} does not hold the weights of keras.applications.InceptionV3 without its top "
            f"({reason}). Take inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5."
        ) from None
    digest = weights_hash(model.get_weights())
    return FeatureNetwork("inception_v3", lambda x: model(x, training=False), digest, 299, 3)
