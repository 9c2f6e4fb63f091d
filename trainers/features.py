"""Feature networks of the image metrics, and the command that trains a small one.

    python -m trainers.features --dataset=fashion_mnist --tfds_dir=DIR --output=FILE.npz

FID and its relatives compare features, and mean something only for one feature network. Three
small classifiers (MNIST, Fashion-MNIST, CIFAR-10; about 135,000 weights, 96 features) come
with the package, so that everyone computes the same figures offline; docs/image_metrics.md has
their hashes. **Their FIDs are not Inception FIDs.** `load` also takes a user's Keras model and
Inception weights from a file.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from absl import flags

from tf_mixed_nash.errors import InputError
from tf_mixed_nash.quiet import import_tensorflow
from trainers import cli

if TYPE_CHECKING:
    import keras

__all__ = ["COMMITTED", "FeatureNetwork", "classifier", "load", "read", "save", "train"]

COMMITTED = ("mnist", "fashion_mnist", "cifar10")
SIZE = 32
_FOLDER = Path(__file__).parent / "feature_networks"
_CHUNK = 250
# (channels, stride) of the 3 x 3 convolutions; their mean over the map is the feature.
_CONVOLUTIONS = ((32, 1), (48, 2), (64, 1), (64, 2), (96, 1))
# Epochs that reach the accuracy of docs/image_metrics.md; flips of shirts and frogs are shirts
# and frogs, of digits they are not digits.
_TRAINING = {"mnist": (20, False), "fashion_mnist": (5, True), "cifar10": (16, True)}
_BATCH = 128


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
        from trainers.data.images import to_unit

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
        from trainers.data.images import Preprocessing, decode

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
    from trainers.files import save_arrays

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


def train(dataset: str, tfds_dir: str | None, epochs: int, flip: bool, seed: int):
    """Trains a classifier; deterministic on one machine.

    Returns:
      (weights, header): header has dataset, channels, num_classes, accuracy (on the test split,
      with the weights rounded as they are kept), num_train, num_test, complete.
    """
    import keras
    import tensorflow as tf
    from tqdm import tqdm

    from trainers.data.images import Images, Preprocessing, to_unit
    from trainers.data.sources import TfdsSource

    tf.config.experimental.enable_op_determinism()
    sources = [TfdsSource(dataset, split, tfds_dir) for split in ("train", "test")]
    channels = 3 if dataset == "cifar10" else 1
    images, held_out = (
        Images(s, Preprocessing(SIZE, channels, f), _BATCH, seed)
        for s, f in zip(sources, (flip, False), strict=True)
    )
    num_classes = sources[0].num_classes
    model: Any = classifier(channels, num_classes or 0, seed)
    steps = epochs * len(images) // _BATCH
    decay: Any = keras.optimizers.schedules.CosineDecay(2e-3, steps)
    adam: Any = keras.optimizers.Adam(decay)
    loss_of: Any = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    @tf.function(autograph=False)
    def step(x, y):
        with tf.GradientTape() as tape:
            _, logits = model(to_unit(tf.cast(x, tf.float32)), training=True)
            loss = loss_of(y, logits)
        weights: Any = model.trainable_variables
        adam.apply(tape.gradient(loss, weights), weights)
        return loss

    for m in tqdm(range(steps), desc=dataset, mininterval=0.5 if sys.stderr.isatty() else 15):
        step(*images.batch(m))
    model.set_weights([w.astype(np.float16).astype(np.float32) for w in model.get_weights()])
    pixels, labels = held_out.at(np.arange(len(held_out)))
    predict = tf.function(lambda x: model(to_unit(tf.cast(x, tf.float32)))[1], autograph=False)
    guesses = [predict(pixels[i : i + 500]).numpy().argmax(1) for i in range(0, len(pixels), 500)]
    return model.get_weights(), {
        "dataset": dataset,
        "channels": channels,
        "num_classes": num_classes,
        "accuracy": round(float((np.concatenate(guesses) == labels).mean()), 4),
        "num_train": len(images),
        "num_test": len(held_out),
        "complete": len(images) == {"cifar10": 50_000}.get(dataset, 60_000),
        "epochs": epochs,
        "seed": seed,
    }


def main() -> int:
    """The command."""
    f = flags.FLAGS
    if f.dataset not in COMMITTED:
        raise InputError(f"--dataset must be one of: {', '.join(COMMITTED)}; got {f.dataset!r}.")
    if not f.output or Path(f.output).suffix != ".npz":
        raise InputError("Say where the network goes, with --output=FILE.npz.")
    import_tensorflow()
    from trainers.files import make_writable

    make_writable(Path(f.output).resolve().parent, "--output")
    epochs, flip = _TRAINING[f.dataset]
    weights, header = train(f.dataset, f.tfds_dir, f.epochs or epochs, flip, f.seed)
    digest = save(Path(f.output), weights, header)
    print(
        f"{f.dataset}: accuracy {header['accuracy']:.4f} on {header['num_test']:,} test images, "
        f"trained on {header['num_train']:,}"
        f"{'' if header['complete'] else ' (a part of the data set)'}"
    )
    print(f"sha256 {digest}\nwrote {f.output} ({Path(f.output).stat().st_size:,} bytes)")
    return cli.DONE


if __name__ == "__main__":
    flags.DEFINE_string("dataset", None, "mnist, fashion_mnist or cifar10.")
    flags.DEFINE_string("tfds_dir", None, "Where TFDS data sets are prepared.")
    flags.DEFINE_string("output", None, "The file to write, .npz.")
    flags.DEFINE_integer("epochs", None, "Passes over the training split.", lower_bound=1)
    flags.DEFINE_integer("seed", 0, "Of the initialisation and the order.")
    cli.main(main, sys.argv)
