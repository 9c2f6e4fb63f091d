"""Our side of the comparison: a peer's `Work` as a run of the trainer's own loop."""

from __future__ import annotations

import dataclasses
import importlib
import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers.client import Peer
from benchmarks.peers.common import PLAYERS, Work

__all__ = ["FAR", "comparable", "difference", "make_loop"]

# Of the tuned defaults what no peer has: V corrected for its start, and a prior.
_AS_PEERS = ("rms_correction=false", "prior_std=0.0", "weight_decay=0.0")
FAR = 10**6  # mini-batches: the decaying step size is constant over the few that are timed
_RECORDS = 512


def make_loop(work: Work, folder: Path, overrides: tuple[str, ...] = ()) -> Any:
    """The `training.loop.Loop` that does this work.

    Args:
      work: what to train; its algorithm may be any of the registry.
      folder: where the random images of a DCGAN are written.
      overrides: KEY=VALUE of the config.
    """
    from tf_mixed_nash.training.loop import Loop
    from trainers.experiment import settings
    from trainers.experiment.build import build

    name = "gaussians8_md" if work.model == "mlp" else "lsun_md"
    config = importlib.import_module(f"configs.{name}").get_config()
    config.algorithm, config.batch_size, config.num_batches = work.algorithm, work.batch_size, FAR
    config.precision = "float32" if work.precision == "float32" else "mixed_bfloat16"
    for key in ("step_size", "temperature", "stability", "rms_decay", "decay_1", "decay_2"):
        config[key] = getattr(work, key)
    config.damping = work.damping
    config.game.gradient_penalty = work.penalty
    config.model.latent_dim = work.latent_dim
    if work.model == "mlp":
        config.model.hidden_units = (work.width,) * 3
    else:
        config.model.width = work.width
        config.image.size, config.image.channels = work.size, work.channels
        config.dataset, config.data.path = "folder", str(_images(work, folder))
    settings.override(config, list(overrides))
    return Loop(build(settings.resolve(config)))


def _images(work: Work, folder: Path) -> Path:
    path = folder / f"images{work.size}.npy"
    if not path.exists():
        shape = (_RECORDS, work.size, work.size, work.channels)
        np.save(path, np.random.default_rng(0).integers(0, 256, shape, np.uint8))
    return path


def comparable(name: str, work: Work) -> tuple[Work, float]:
    """The work on which this peer makes our update, and within which relative difference.

    Keras's RMSProp has its constant inside the root; only where it is small is that the same, and
    then the first update is all but the gradient's sign, which rounding turns where it is 0. On a
    GPU float32's products are TensorFloat-32, whose mantissa has 10 bits.
    """
    import tensorflow as tf

    exact = 1e-2 if tf.config.list_physical_devices("GPU") else 1e-4
    tolerance = exact if work.precision == "float32" else 0.2  # frameworks round at other places
    if name == "keras" and work.algorithm == "rmsprop":
        return dataclasses.replace(work, stability=1e-8), max(tolerance, 1e-2)
    return work, tolerance


def difference(peer: Peer, work: Work, steps: int = 1) -> dict[str, float]:
    """How far the peer's update is from ours, from the same weights and draws.

    Returns:
      By player: |peer's weights - ours| / |our weights after - before|, Euclidean norms; inf where
      one is not finite, for a NaN is not above any tolerance.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        loop = make_loop(work, folder, ("mixture.num_components=1", *_AS_PEERS))
        nets = {p: loop.run.networks.of(p) for p in PLAYERS}

        def weights():
            # Without the padding, which the noise moves, too.
            return {p: loop.last().of(p).numpy()[: nets[p].num_parameters] for p in PLAYERS}

        before = weights()
        arrays: dict[str, Any] = {"steps": np.array(steps)}
        for p in PLAYERS:
            _put(arrays, f"weights/{p}", nets[p], loop.last().of(p))
        for m in range(steps):
            _draws(arrays, loop, work, m)
        np.savez(folder / "inputs.npz", **arrays)
        peer.ask(
            do="check",
            id=peer.build(work),
            inputs=str(folder / "inputs.npz"),
            outputs=str(folder / "outputs.npz"),
        )
        loop.advance(steps)
        after = weights()
        loop.close()
        with np.load(folder / "outputs.npz") as file:
            theirs = {p: _packed(file, p, nets[p]) for p in PLAYERS}
    far = {
        p: np.linalg.norm(theirs[p] - after[p]) / np.linalg.norm(after[p] - before[p])
        for p in PLAYERS
    }
    return {p: float(value) if np.isfinite(value) else math.inf for p, value in far.items()}


def _draws(arrays, loop, work, m) -> None:
    """Everything random of mini-batch m, as the loop draws it."""
    import tensorflow as tf

    from tf_mixed_nash import rng
    from tf_mixed_nash.methods.oracle import Oracle

    run = loop.run
    feed, game, index = loop._feed, run.oracle.game, tf.constant(m, tf.int64)
    real = feed.batch_at(feed.block(m, m + 1), index)
    arrays[f"{m}/real"] = real.numpy()
    keys = Oracle(game, None, run.seed, lambda *args: (args[-1], {}))
    for p in PLAYERS:
        key = keys.field(p, None, None, index)[0]  # pyright: ignore[reportArgumentType]
        arrays[f"{m}/latents_{p}"] = game.latents(key, work.batch_size, tf.float32).numpy()
        if p == "w":
            arrays[f"{m}/u"] = rng.uniform(key, [work.batch_size, 1], at=1).numpy()
        if work.algorithm == "mirror_gan":
            z = loop.last().of(p)
            xi = run.oracle.noise(p, z, index)
            _put(arrays, f"{m}/xi_{p}", run.networks.of(p), xi)


def _put(arrays, name, network, vector) -> None:
    for j, leaf in enumerate(network.unflatten(vector)):
        arrays[f"{name}/{j}"] = leaf.numpy()


def _packed(file, player, network) -> np.ndarray:
    leaves = [file[f"{player}/{j}"].ravel() for j in range(len(network.shapes))]
    return np.concatenate(leaves)
