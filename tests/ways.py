"""How far the ways of computing one run end from each other, in a process of its own.

    python -m tests.ways MODEL ALGORITHM,ALGORITHM,...

MODEL is mlp or dcgan; one line of JSON for each algorithm: {"algorithm", "moved", "whole",
"replicas", "resumed"}. All runs are of float64, with noise, on 50 mini-batches. `moved` is how far
the run went, the others the largest difference, in the whole state of a checkpoint and relative to
1 and to the number, from `compile=parts` on one replica: of one XLA program; of two replicas; of a
run whose first half was one way and whose second the other.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import tensorflow as tf

from tests.trainers.conftest import state_of, tiny, tiny_images
from tf_mixed_nash.algorithms import ALGORITHMS
from tf_mixed_nash.compile import deterministic
from tf_mixed_nash.training.loop import Loop
from trainers.experiment.build import build

BATCHES = 50


def _loop(model: str, algorithm: str, folder: Path, **more) -> Loop:
    more |= {"precision": "float64", "num_batches": BATCHES, "batch_size": 4, "seed": 3}
    if "stability" in ALGORITHMS[algorithm].reads:
        # With the tuned defaults (3e-7) a unit that wakes up moves by its gradient's rounding
        # times a million.
        more |= {"stability": 1e-3}
    if ALGORITHMS[algorithm].langevin:
        more |= {"temperature": 1e-4}
    if ALGORITHMS[algorithm].chains:
        more |= {"num_chains": 2, "history": "reservoir", "history_capacity": 4}
        more |= {"history_batch": 2}
    if model == "mlp":
        return Loop(build(tiny(algorithm, model__hidden_units=(8, 8), **more)))
    return Loop(
        build(
            tiny_images(
                algorithm,
                model__width=2,
                # Each replica would normalise by its own rows.
                model__generator_normalization="layer",
                model__discriminator_normalization="none",
                data__path=str(folder / "images.npy"),
                **more,
            )
        )
    )


def _distance(a: dict, b: dict) -> float:
    far = 0.0
    for name, x in a.items():
        x, y = np.asarray(x, np.float64), np.asarray(b[name], np.float64)
        gap = np.abs(x - y) / np.maximum(1.0, np.abs(x))
        # max(far, nan) is far: a NaN would not be seen.
        far = max(far, float(np.max(np.nan_to_num(gap, nan=np.inf), initial=0.0)))
    return far


def _ended(loop: Loop, until: int = BATCHES) -> Loop:
    with deterministic():
        if loop.advance(until) is not None:
            raise RuntimeError("the run left the finite numbers")
    return loop


def measure(model: str, algorithm: str, folder: Path) -> dict[str, float | str]:
    """The line of an algorithm."""
    parts = _loop(model, algorithm, folder, compile="parts")
    start = state_of(parts)
    end = state_of(_ended(parts))
    half = _ended(_loop(model, algorithm, folder, compile="parts"), BATCHES // 2)
    begun = {name: tf.constant(x) for name, x in state_of(half).items()}
    whole = _loop(model, algorithm, folder, compile="whole")
    far = _distance(end, state_of(_ended(whole)))
    whole.assign(begun)  # compiled already
    resumed = _distance(end, state_of(_ended(whole)))
    replicas = _loop(model, algorithm, folder, compile="parts", strategy="mirrored")
    return {
        "algorithm": algorithm,
        "moved": _distance({"ema": start["ema"]}, end),
        "whole": far,
        "replicas": _distance(end, state_of(_ended(replicas))),
        "resumed": resumed,
    }


def main(model: str, algorithms: str) -> None:
    """The command."""
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        images = np.random.default_rng(0).integers(0, 256, (64, 28, 28, 1), np.uint8)
        np.save(folder / "images.npy", images)
        for algorithm in algorithms.split(","):
            print(json.dumps(measure(model, algorithm, folder)), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
