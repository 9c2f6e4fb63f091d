"""Trains a small feature network of the image metrics (trainers/tasks/features.py).

python -m trainers.features --dataset=fashion_mnist --tfds_dir=DIR --output=FILE.npz
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from tf_mixed_nash.errors import InputError, unknown
from trainers.system import cli
from trainers.system.quiet import import_tensorflow
from trainers.tasks import features

__all__ = ["train"]

# Epochs that reach the accuracy of docs/image_metrics.md; flips of shirts and frogs are shirts
# and frogs, of digits they are not digits.
_TRAINING = {"mnist": (20, False), "fashion_mnist": (5, True), "cifar10": (16, True)}
_BATCH = 128


def train(dataset: str, tfds_dir: str | None, epochs: int, flip: bool, seed: int):
    """Trains a classifier; deterministic on one machine.

    Returns:
      (weights, header): header has dataset, channels, num_classes, accuracy (on the test split,
      with the weights rounded as they are kept), num_train, num_test, complete.
    """
    import keras
    import tensorflow as tf
    from tqdm import tqdm

    from trainers.tasks.data.images import Images, Preprocessing, to_unit
    from trainers.tasks.data.sources import TfdsSource

    tf.config.experimental.enable_op_determinism()
    sources = [TfdsSource(dataset, split, tfds_dir) for split in ("train", "test")]
    channels = 3 if dataset == "cifar10" else 1
    images, held_out = (
        Images(s, Preprocessing(features.SIZE, channels, f), _BATCH, seed)
        for s, f in zip(sources, (flip, False), strict=True)
    )
    num_classes = sources[0].num_classes
    model: Any = features.classifier(channels, num_classes or 0, seed)
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
    if f.dataset not in features.COMMITTED:
        raise unknown("--dataset", f.dataset, features.COMMITTED)
    if not f.output or Path(f.output).suffix != ".npz":
        raise InputError("Say where the network goes, with --output=FILE.npz.")
    import_tensorflow()
    from trainers.system.files import check_file

    check_file(Path(f.output), "--output")
    epochs, flip = _TRAINING[f.dataset]
    weights, header = train(f.dataset, f.tfds_dir, f.epochs or epochs, flip, f.seed)
    digest = features.save(Path(f.output), weights, header)
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
