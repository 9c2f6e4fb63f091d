"""What all examples understand: --tiny, a few mini-batches of small networks, for tests.

Each calls its game `gan`, and the rows that it is scored against `held_out`: `benchmarks.examples`
runs them, and trains the same models by plain Keras.
"""

import argparse
from types import SimpleNamespace


def options(num_batches: int, **more: object) -> SimpleNamespace:
    """The options of an example.

    Args:
      num_batches: of the whole training; a few with --tiny.
      **more: options of its own, with their defaults.

    Returns:
      tiny, num_batches, units (of hidden layers), verbose, workdir, seed, tfds_dir and the others.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--tiny", action="store_true", help="a few mini-batches, in seconds")
    parser.add_argument("--num_batches", type=int, default=None)
    parser.add_argument("--workdir", default=None, help="write checkpoints, pictures, a model")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tfds_dir", default=None, help="where TFDS has Fashion-MNIST")
    for name, default in more.items():
        parser.add_argument(f"--{name}", type=type(default), default=default)
    given = parser.parse_args()
    num = given.num_batches or (4 if given.tiny else num_batches)
    known = {"num_batches": num, "units": 8 if given.tiny else 256, "verbose": not given.tiny}
    return SimpleNamespace(**{**vars(given), **known})
