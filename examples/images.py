"""Images for the examples: Fashion-MNIST by Keras or TFDS, or with --tiny a few drawn ones."""

import keras
import numpy as np


def fashion_mnist(o) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(train images, train labels, test images): uint8 [n, 28, 28, 1], int [n], uint8.

    Args:
      o: of `options`; with --tfds_dir=DIR they are read there, and nothing is downloaded.
    """
    if o.tiny:  # bars, whose place is their class
        labels = np.arange(64) % 10
        images = np.zeros((64, 28, 28, 1), np.uint8)
        for image, label in zip(images, labels, strict=True):
            image[:, 2 * label + 3 : 2 * label + 6] = 255
        return images, labels, images[:32]
    if o.tfds_dir:
        import tensorflow_datasets as tfds

        where = {"data_dir": o.tfds_dir, "download": False, "batch_size": -1}
        train, test = (
            tfds.as_numpy(tfds.load("fashion_mnist", split=split, **where))
            for split in ("train", "test")
        )
        return train["image"], train["label"].astype(np.int64), test["image"]
    (train, labels), (test, _) = keras.datasets.fashion_mnist.load_data()
    return train[..., None], labels.astype(np.int64), test[..., None]
